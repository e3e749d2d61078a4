//! The branches that a remote says it has.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::access::{Access, Contact};
use super::is_commit;
use super::remote::{RemoteError, presentable, run};

/// The longest answer to "where are these branches?" that is read, in bytes: some ten thousand
/// branches. As much of an output is kept.
const LONGEST_LISTING: usize = 1 << 20;

/// Where `branches` are: one question to the remote, nothing is fetched.
pub(super) async fn look(
    access: &Access,
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
    for (name, tip) in ask(access, url, &wanted, limit).await? {
        if let Some(known) = tips.get_mut(&name) {
            *known = Some(tip);
        }
    }
    Ok(tips)
}

/// Where all branches are whose names are UTF-8.
pub(super) async fn list(
    access: &Access,
    url: &str,
    limit: Duration,
) -> Result<BTreeMap<String, Option<String>>, RemoteError> {
    let tips = ask(access, url, &[EVERY_BRANCH.to_owned()], limit).await?;
    Ok(tips.into_iter().map(|(name, tip)| (name, Some(tip))).collect())
}

/// What Git takes for all branches.
const EVERY_BRANCH: &str = "refs/heads/*";
/// The most branches that are asked for one by one: each costs Git a comparison with every other.
const MOST_NAMES: usize = 64;

async fn ask(
    access: &Access,
    url: &str,
    references: &[String],
    limit: Duration,
) -> Result<BTreeMap<String, String>, RemoteError> {
    let Contact { git, url: place } = access.contact(Path::new("/dev/null"), url, limit).await?;
    let git = git.args(["ls-remote", "--"]).arg(place).args(references);
    let listing = run(&git, url, limit).await?;
    read_listing(&listing)
        .map_err(|reason| RemoteError::BadListing { url: presentable(url), reason: presentable(&reason) })
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
    fn names_that_no_branch_can_have() {
        for name in ["", "a b", "a..b", "*", "a:b", "a\0b", "a\nb", "x.lock", "+", "a/"] {
            let expected = (name == "+").then(|| "refs/heads/+".to_owned());
            assert_eq!(reference(name), expected, "{name:?}");
        }
    }
}
