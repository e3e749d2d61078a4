//! The branches of a remote, as it lists them.
//!
//! The answer is read line by line, up to 64 MiB and 500,000 branches. Of the names that match
//! patterns, at most `branches` of one repository are kept. Names beyond that, and names that
//! cannot be watched (`HEAD`, `-x`, names that are not UTF-8), are reported as the `reason` of the
//! pattern's row. A branch that vanished keeps its place for a day, so a remote with ever new names
//! costs no more than the limit each day.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use super::access::{Access, Contact};
use super::is_commit;
use super::remote::{RemoteError, presentable, run_failed};
use crate::domain::spec::{BranchError, check_branch};

/// The longest answer that is read, in bytes.
const LONGEST: usize = 64 << 20;
/// The longest line of an answer, in bytes: Git itself sends no longer ones.
const LONGEST_LINE: usize = 64 << 10;
/// The most branches that a remote may have.
const MOST_BRANCHES: usize = 500_000;
/// The most branches that are asked for by name: Git compares each with every branch.
const MOST_NAMES: usize = 64;
/// How many skipped branches a message names.
const NAMED: usize = 3;

/// The branches of a remote.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The tips of branches; `None` for a branch that was asked for and does not exist.
    pub tips: BTreeMap<String, Option<String>>,
    /// Whether the remote has no reference at all, of any name.
    pub is_empty: bool,
    /// The remote's main branch. Only set where an expected branch is missing.
    pub default: Option<String>,
    /// How many matching branches are left out, because there is no room for them.
    pub left_out: usize,
    /// The matching branches that cannot be watched, and why.
    pub unwatchable: Option<String>,
}

impl Listing {
    /// The tip of the only branch that was asked for.
    pub fn tip(&self) -> Option<&String> {
        self.tips.values().next()?.as_ref()
    }
}

/// Which branches are asked for.
pub(super) struct Question<'a> {
    /// Branches by name.
    pub(super) names: &'a [&'a str],
    /// Matches further branches.
    pub(super) matches: &'a (dyn Fn(&str) -> bool + Sync),
    /// How many of the matching branches are kept, the first by name.
    pub(super) limit: usize,
    /// Whether `matches` can match at all.
    pub(super) has_pattern: bool,
}

/// Asks a remote for its branches. Fetches nothing.
pub(super) async fn list(
    access: &Access,
    url: &str,
    question: &Question<'_>,
    limit: Duration,
) -> Result<Listing, RemoteError> {
    let mut tally = Tally::new(question);
    let references: Vec<String> = question.names.iter().filter_map(|branch| reference(branch)).collect();
    if references.is_empty() && !question.has_pattern {
        return Ok(tally.listing());
    }
    let all = question.has_pattern || references.len() > MOST_NAMES;
    let wanted = if all { Vec::new() } else { references };
    let begun = Instant::now();
    ask(access, url, &["--heads"], &wanted, limit, &mut tally).await?;
    let has_branches = tally.branches > 0;
    let mut listing = tally.listing();
    let lacks = !has_branches || !question.has_pattern && listing.tips.values().any(Option::is_none);
    if lacks {
        // Find out whether there is anything else, and which branch is the main one.
        let mut rest =
            Tally::new(&Question { names: &[], matches: &|_| false, limit: 0, has_pattern: false });
        rest.stop_at_first = true;
        let left = limit.saturating_sub(begun.elapsed());
        ask(access, url, &["--symref"], &[], left, &mut rest).await?;
        listing.is_empty = !rest.any;
        listing.default = rest.default;
    }
    Ok(listing)
}

async fn ask(
    access: &Access,
    url: &str,
    options: &[&str],
    references: &[String],
    limit: Duration,
    tally: &mut Tally<'_>,
) -> Result<(), RemoteError> {
    let begun = Instant::now();
    let Contact { git, url: place } = access.contact(Path::new("/dev/null"), url, limit).await?;
    let git = git.arg("ls-remote").args(options).args(["--", place.as_str()]).args(references);
    let (mut process, stdout) = git.spawn_reading()?;
    let Ok(read) = tokio::time::timeout(limit, read(stdout, tally)).await else {
        return Err(RemoteError::TimedOut { url: presentable(url), limit });
    };
    match read {
        Ok(true) => Ok(()),
        Ok(false) => {
            let finished = process.finish(limit.saturating_sub(begun.elapsed())).await?;
            if finished.success() { Ok(()) } else { Err(run_failed(&finished, url, limit)) }
        }
        Err(Fault::Sha256) => Err(RemoteError::Sha256 { url: presentable(url) }),
        Err(Fault::Malformed(reason)) => {
            Err(RemoteError::BadListing { url: presentable(url), reason: presentable(&reason) })
        }
        Err(Fault::Local(error)) => Err(error.into()),
    }
}

/// The full name of a branch, or `None` if that is not a valid name of a branch.
pub(super) fn reference(branch: &str) -> Option<String> {
    let name = format!("refs/heads/{branch}");
    (!name.contains('\0') && git2::Reference::is_valid_name(&name)).then_some(name)
}

/// Why a listing cannot be used.
#[derive(Debug)]
enum Fault {
    Sha256,
    Malformed(String),
    Local(std::io::Error),
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::Malformed(reason)
    }
}

/// Reads a listing to its end, or until enough is known: then returns `true`.
async fn read(listing: impl AsyncRead + Unpin, tally: &mut Tally<'_>) -> Result<bool, Fault> {
    let mut listing = BufReader::with_capacity(LONGEST_LINE, listing);
    let (mut line, mut total) = (Vec::new(), 0);
    loop {
        line.clear();
        let most = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX);
        let count = (&mut listing).take(most).read_until(b'\n', &mut line).await.map_err(Fault::Local)?;
        if count == 0 {
            return Ok(false);
        }
        total += count;
        if total > LONGEST {
            return Err(format!("it is longer than {} MiB", LONGEST >> 20).into());
        }
        if line.pop_if(|byte| *byte == b'\n').is_none() && count == LONGEST_LINE {
            return Err(format!("it has a line of more than {LONGEST_LINE} bytes").into());
        }
        tally.take(&line)?;
        if tally.stop_at_first && tally.any {
            return Ok(true);
        }
    }
}

/// What has been read so far.
struct Tally<'a> {
    question: &'a Question<'a>,
    names: BTreeMap<String, Option<String>>,
    found: BTreeMap<String, String>,
    branches: usize,
    left_out: usize,
    unwatchable: BTreeMap<String, (usize, Vec<String>)>,
    default: Option<String>,
    /// Whether there was any reference at all.
    any: bool,
    /// Whether reading stops at the first reference: `default` is known by then.
    stop_at_first: bool,
}

impl<'a> Tally<'a> {
    fn new(question: &'a Question<'a>) -> Self {
        let names = question.names.iter().map(|branch| ((*branch).to_owned(), None)).collect();
        Self {
            question,
            names,
            found: BTreeMap::new(),
            branches: 0,
            left_out: 0,
            unwatchable: BTreeMap::new(),
            default: None,
            any: false,
            stop_at_first: false,
        }
    }

    /// Takes a line. It may name no branch, because git compares only the ends of names.
    fn take(&mut self, line: &[u8]) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(line);
        let malformed = || format!("the line {:?}", text.chars().take(200).collect::<String>());
        let (commit, name) = text.split_once('\t').ok_or_else(malformed)?;
        if let Some(target) = commit.strip_prefix("ref: ") {
            self.default = target.strip_prefix("refs/heads/").map(str::to_owned);
            return Ok(());
        }
        if commit.len() == 64 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Fault::Sha256);
        }
        if !is_commit(commit) {
            return Err(
                format!("{:?} is not a commit hash", commit.chars().take(80).collect::<String>()).into()
            );
        }
        self.any = true;
        let Some(branch) = name.strip_prefix("refs/heads/") else { return Ok(()) };
        self.branches += 1;
        if self.branches > MOST_BRANCHES {
            return Err(format!("it has more than {MOST_BRANCHES} branches").into());
        }
        let is_text = matches!(text, std::borrow::Cow::Borrowed(_));
        self.branch(branch, commit, is_text).map_err(Fault::from)
    }

    fn branch(&mut self, branch: &str, commit: &str, is_text: bool) -> Result<(), String> {
        let twice = || format!("it names {branch:?} twice");
        if let Some(known) = self.names.get_mut(branch).filter(|_| is_text) {
            return if known.replace(commit.to_owned()).is_none() { Ok(()) } else { Err(twice()) };
        }
        if !(self.question.matches)(branch) {
            return Ok(());
        }
        let fault =
            if is_text { check_branch(branch).err().map(BranchError::rule) } else { Some("it is not UTF-8") };
        if let Some(rule) = fault {
            let (count, names) = self.unwatchable.entry(rule.to_owned()).or_default();
            *count += 1;
            if names.len() < NAMED {
                names.push(presentable(&branch.chars().take(80).collect::<String>()));
            }
            return Ok(());
        }
        if self.found.insert(branch.to_owned(), commit.to_owned()).is_some() {
            return Err(twice());
        }
        if self.found.len() > self.question.limit {
            self.found.pop_last();
            self.left_out += 1;
        }
        Ok(())
    }

    fn listing(self) -> Listing {
        let kinds = self.unwatchable.iter().map(|(rule, (count, names))| {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            let more = if *count > names.len() {
                format!(" and {} more", count - names.len())
            } else {
                String::new()
            };
            format!("{}{more} ({rule})", names.join(", "))
        });
        let kinds = kinds.collect::<Vec<_>>().join("; ");
        let found = self.found.into_iter().map(|(name, tip)| (name, Some(tip)));
        let tips: BTreeMap<_, _> = self.names.into_iter().chain(found).collect();
        Listing {
            tips,
            is_empty: false,
            default: None,
            left_out: self.left_out,
            unwatchable: (!kinds.is_empty()).then(|| format!("ignored: {kinds}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    async fn told(names: &[&str], limit: usize, listing: &[u8]) -> Result<Listing, Fault> {
        let question = Question { names, matches: &|name| !name.ends_with("main"), limit, has_pattern: true };
        let mut tally = Tally::new(&question);
        read(listing, &mut tally).await.map(|_| tally.listing())
    }

    #[tokio::test]
    async fn a_listing_tells_of_branches_only() {
        let text = format!(
            "{ONE}\tHEAD\n{ONE}\trefs/heads/main\n{TWO}\trefs/x/refs/heads/main\n{TWO}\trefs/heads/é\n"
        );
        let listing = told(&["main", "gone"], 5, text.as_bytes()).await.unwrap();
        let expected = [("gone", None), ("main", Some(ONE)), ("é", Some(TWO))];
        assert_eq!(
            listing.tips,
            expected.map(|(name, tip)| (name.to_owned(), tip.map(str::to_owned))).into()
        );
        assert_eq!((listing.left_out, listing.unwatchable), (0, None));
    }

    #[tokio::test]
    async fn what_cannot_be_watched_is_told_and_what_has_no_room_is_counted() {
        let mut text = Vec::new();
        for name in
            [&b"HEAD"[..], b"-x", b"-y", b"-z", b"-zz", b"refs/heads/x", b"\xff", b"c", b"b", b"a", b"d"]
        {
            text.extend_from_slice(&[ONE.as_bytes(), b"\trefs/heads/", name, b"\n"].concat());
        }
        let listing = told(&["main"], 2, &text).await.unwrap();
        let names: Vec<&str> = listing.tips.keys().map(String::as_str).collect();
        assert_eq!((names, listing.left_out), (vec!["a", "b", "main"], 2));
        let told = listing.unwatchable.unwrap();
        for part in [
            "`HEAD` (",
            "`-x`, `-y`, `-z` and 1 more (it begins with `-`)",
            "`refs/heads/x` (",
            "(it is not UTF-8)",
        ] {
            assert!(told.contains(part), "{told}");
        }
    }

    #[tokio::test]
    async fn a_listing_that_makes_no_sense_is_not_an_empty_one() {
        let wrong = [
            "garbage".to_owned(),
            format!("{}\trefs/heads/main\n", &ONE[1..]),
            format!("{}\trefs/heads/main\n", ONE.replace('1', "G")),
            format!("{ONE} refs/heads/main\n"),
            format!("{ONE}\trefs/heads/main\n{TWO}\trefs/heads/main\n"),
            format!("{ONE}\trefs/heads/x\n{TWO}\trefs/heads/x\n"),
            format!("{ONE}\trefs/heads/{}\n", "x".repeat(70_000)),
            format!("{ONE}\trefs/x/refs/heads/main\n").repeat(1_100_000),
            format!("{ONE}\trefs/heads/main2\n").repeat(600_000),
        ];
        for listing in &wrong {
            let error = told(&["main"], 5, listing.as_bytes()).await.unwrap_err();
            assert!(matches!(error, Fault::Malformed(_)), "{}: {error:?}", &listing[..60.min(listing.len())]);
        }
        let other = format!("{ONE}{}\trefs/heads/main\n", &TWO[..24]);
        assert!(matches!(told(&["main"], 5, other.as_bytes()).await, Err(Fault::Sha256)));
    }

    #[test]
    fn names_that_no_branch_can_have() {
        for name in ["", "a b", "a..b", "*", "a:b", "a\0b", "a\nb", "x.lock", "+", "a/"] {
            let expected = (name == "+").then(|| "refs/heads/+".to_owned());
            assert_eq!(reference(name), expected, "{name:?}");
        }
    }
}
