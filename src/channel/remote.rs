//! What is asked of a remote through the `git` program.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sandbox::Tool;

use super::is_commit;

/// The longest answer to "where are these branches?" that is read, in bytes: some ten thousand
/// branches. As much of an output is kept.
const LONGEST_LISTING: usize = 1 << 20;

/// The longest explanation by git that is kept, in characters.
const LONGEST_REASON: usize = 2000;

/// How long git may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For one look at a remote's branches.
    pub look: Duration,
    /// For one fetch, the first one of a big repository included.
    pub fetch: Duration,
}

impl Default for Limits {
    /// A minute for a look, an hour for a fetch.
    fn default() -> Self {
        Self { look: Duration::from_mins(1), fetch: Duration::from_hours(1) }
    }
}

/// Why a remote did not give what was asked of it.
///
/// URLs and reasons are fit to be shown: without control characters, without passwords.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Nothing that speaks Git answers there, or it does not let us in.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The remote.
        url: String,
        /// What git says.
        reason: String,
    },
    /// It tells its branches, but a fetch fails.
    #[error("cannot fetch from {url}: {reason}")]
    Refused {
        /// The remote.
        url: String,
        /// What git says.
        reason: String,
    },
    /// It answered a question about branches with something else.
    #[error("{url} sent a list of branches that makes no sense: {reason}")]
    BadListing {
        /// The remote.
        url: String,
        /// What is wrong with the list.
        reason: String,
    },
    /// It has no such branch, and does not give the commit without it either.
    #[error("{url} has no branch {branch:?}")]
    MissingBranch {
        /// The remote.
        url: String,
        /// The branch that was asked for.
        branch: String,
    },
    /// It has the branch, but gives no such commit.
    #[error(
        "{url} has no commit {commit:?} on branch {branch:?}\nhint: a commit that no branch leads to any more cannot be had from every server"
    )]
    MissingCommit {
        /// The remote.
        url: String,
        /// The branch that was asked for.
        branch: String,
        /// The commit that was asked for.
        commit: String,
    },
    /// git was killed because its time was over.
    #[error("{url} did not answer within {} s", .limit.as_secs_f32())]
    TimedOut {
        /// The remote.
        url: String,
        /// How long it was given.
        limit: Duration,
    },
    /// The mirror on this machine cannot be made or read.
    #[error("cannot use the mirror {}: {source}", .path.display())]
    Mirror {
        /// The mirror's directory.
        path: PathBuf,
        /// What libgit2 says.
        source: git2::Error,
    },
    /// Something on this machine failed, the remote is not at fault.
    #[error(transparent)]
    Local(#[from] io::Error),
}

/// Begins a run of git on the repository at `directory`, which may be missing.
///
/// Keys, credential helpers and proxies of the user count; nothing asks questions, runs hooks, or
/// speaks another protocol than these five (`ext::` would run commands).
pub(super) fn git(directory: &Path) -> Tool {
    let settings = [
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        // One fetch, one pack: packs are written durably and end in a checksum.
        "fetch.unpackLimit=1",
        "fetch.recurseSubmodules=no",
        "gc.autoDetach=false",
        "maintenance.autoDetach=false",
    ];
    let settings = settings.iter().flat_map(|setting| ["-c", setting]);
    Tool::new("git")
        .args(settings)
        .env("GIT_DIR", directory)
        .env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ADVICE", "0")
        .env("SSH_ASKPASS", "false")
        .env("SSH_ASKPASS_REQUIRE", "force")
        .env("LC_ALL", "C")
}

/// Runs git to its end; gives what it printed, or [`RemoteError::Unreachable`] when it failed.
pub(super) async fn run(git: &Tool, url: &str, limit: Duration) -> Result<Vec<u8>, RemoteError> {
    let finished = git.spawn()?.finish(limit).await?;
    if finished.success() {
        return Ok(finished.stdout);
    }
    let url = url.to_owned();
    match finished.status {
        None => Err(RemoteError::TimedOut { url: presentable(&url, &url), limit }),
        Some(_) => Err(RemoteError::Unreachable {
            reason: presentable(&finished.reason(), &url),
            url: presentable(&url, &url),
        }),
    }
}

/// Where `branches` are: one question to the remote, nothing is fetched.
pub(super) async fn look(
    url: &str,
    branches: &[&str],
    limit: Duration,
) -> Result<BTreeMap<String, Option<String>>, RemoteError> {
    let mut tips: BTreeMap<String, Option<String>> =
        branches.iter().map(|branch| ((*branch).to_owned(), None)).collect();
    let references: Vec<_> = branches.iter().filter_map(|branch| reference(branch)).collect();
    if references.is_empty() {
        return Ok(tips);
    }
    let many = references.len() > MOST_NAMES;
    let wanted = if many { vec![EVERY_BRANCH.to_owned()] } else { references };
    for (name, tip) in ask(url, &wanted, limit).await? {
        if let Some(known) = tips.get_mut(&name) {
            *known = Some(tip);
        }
    }
    Ok(tips)
}

/// Where all branches are whose names are UTF-8.
pub(super) async fn list(
    url: &str,
    limit: Duration,
) -> Result<BTreeMap<String, Option<String>>, RemoteError> {
    let tips = ask(url, &[EVERY_BRANCH.to_owned()], limit).await?;
    Ok(tips.into_iter().map(|(name, tip)| (name, Some(tip))).collect())
}

/// What Git takes for all branches.
const EVERY_BRANCH: &str = "refs/heads/*";
/// The most branches that are asked for one by one: each costs Git a comparison with every other.
const MOST_NAMES: usize = 64;

async fn ask(
    url: &str,
    references: &[String],
    limit: Duration,
) -> Result<BTreeMap<String, String>, RemoteError> {
    let git = git(Path::new("/dev/null")).args(["ls-remote", "--", url]).args(references);
    let listing = run(&git, url, limit).await?;
    read_listing(&listing).map_err(|reason| RemoteError::BadListing {
        url: presentable(url, url),
        reason: presentable(&reason, url),
    })
}

/// The full name of a branch, or `None` when no branch can be called so.
pub(super) fn reference(branch: &str) -> Option<String> {
    let name = format!("refs/heads/{branch}");
    (!name.contains('\0') && git2::Reference::is_valid_name(&name)).then_some(name)
}

/// The branches of a listing and their commits. It may name other things: git compares the ends of
/// names.
fn read_listing(listing: &[u8]) -> Result<BTreeMap<String, String>, String> {
    if listing.len() >= LONGEST_LISTING {
        return Err(format!("it is longer than {LONGEST_LISTING} bytes"));
    }
    let mut tips = BTreeMap::new();
    for line in listing.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Ok(line) = str::from_utf8(line) else { continue };
        let (commit, name) = line.split_once('\t').ok_or_else(|| format!("the line {line:?}"))?;
        if !is_commit(commit) {
            return Err(format!("{commit:?} is not a commit hash"));
        }
        if let Some(branch) = name.strip_prefix("refs/heads/")
            && tips.insert(branch.to_owned(), commit.to_owned()).is_some()
        {
            return Err(format!("it names {name:?} twice"));
        }
    }
    Ok(tips)
}

/// What may be shown of a text about `url`: one line, no control characters, no password or token.
pub(super) fn presentable(text: &str, url: &str) -> String {
    let text = match secret(url) {
        Some(secret) => text.replace(secret, "***"),
        None => text.to_owned(),
    };
    let lines = text.lines().map(|line| line.replace(char::is_control, ""));
    lines.collect::<Vec<_>>().join("; ").chars().take(LONGEST_REASON).collect()
}

/// The part of an HTTP URL between `//` and `@`, or of another URL what follows the user's name there.
fn secret(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let (user, _) = rest.split(['/', '?', '#']).next()?.rsplit_once('@')?;
    let secret = if scheme.starts_with("http") { user } else { user.split_once(':')?.1 };
    (!secret.is_empty()).then_some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    fn read(listing: &str) -> Result<BTreeMap<String, String>, String> {
        read_listing(listing.as_bytes())
    }

    #[test]
    fn a_listing_tells_of_branches_only() {
        let text = format!("{ONE}\trefs/heads/main\n{TWO}\trefs/x/refs/heads/main\n{TWO}\trefs/heads/é\n");
        let tips = read(&text).unwrap();
        let expected = [("main".to_owned(), ONE.to_owned()), ("é".to_owned(), TWO.to_owned())];
        assert_eq!(tips, expected.into());
        let odd = [ONE.as_bytes(), b"\trefs/heads/\xff\n", TWO.as_bytes(), b"\trefs/heads/main\n"].concat();
        assert_eq!(read_listing(&odd).unwrap().len(), 1, "who could write that down?");
    }

    #[test]
    fn a_listing_that_makes_no_sense_is_not_an_empty_one() {
        let wrong = [
            "garbage".to_owned(),
            format!("{}\trefs/heads/main\n", &ONE[1..]),
            format!("{}\trefs/heads/main\n", ONE.replace('1', "G")),
            format!("{ONE} refs/heads/main\n"),
            format!("{ONE}\trefs/heads/main\n{TWO}\trefs/heads/main\n"),
            format!("{ONE}\trefs/x/refs/heads/main\n").repeat(20_000),
        ];
        for listing in &wrong {
            assert!(read(listing).is_err(), "{}", &listing[..60.min(listing.len())]);
        }
    }

    #[test]
    fn shown_texts_hold_no_passwords_and_no_escapes() {
        let url = "https://me:s3cret@example.org/guix.git";
        let text = format!("\x1b[31mfatal\x07: unable to access '{url}/'\nsecond\x00 line\r");
        let shown = presentable(&text, url);
        assert_eq!(shown, "[31mfatal: unable to access 'https://***@example.org/guix.git/'; second line");
        assert_eq!(presentable("ssh://git@a/b@c", "ssh://git@a/b@c"), "ssh://git@a/b@c");
        assert_eq!(presentable("https://token@a/", "https://token@a/"), "https://***@a/");
    }

    #[test]
    fn names_that_no_branch_can_have() {
        for name in ["", "a b", "a..b", "*", "a:b", "a\0b", "a\nb", "x.lock", "+", "a/"] {
            let expected = (name == "+").then(|| "refs/heads/+".to_owned());
            assert_eq!(reference(name), expected, "{name:?}");
        }
    }
}
