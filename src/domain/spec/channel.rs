//! Reads the channels of a spec.

use std::ops::Range;

use toml::Spanned;

use super::diagnostic::Diagnostic;
use super::location::{check_branch, check_url, is_local};
use super::name::is_name;
use super::section::{Section, Value, boolean, list, string, strings, table};
use super::template::{check_pattern, is_pattern};
use super::{Channel, Introduction};

/// Guix's own repositories, and the introduction by which `guix pull` authenticates them
/// (`guix/channels.scm`).
const GUIX_URLS: [&str; 3] = [
    "https://git.guix.gnu.org/guix.git",
    "https://codeberg.org/guix/guix.git",
    "https://git.savannah.gnu.org/git/guix.git",
];
const GUIX_INTRODUCTION: (&str, &str) =
    ("9edb3f66fd807b096b48283debdcddccfea34bad", "BBB02DDF2CEAF6A80D1DE643A2A06DF2A33A54FA");

/// The URL of Guix's own channel.
pub const GUIX_URL: &str = GUIX_URLS[0];

/// Whether Guix's own channel comes from a URL, so that its introduction is known.
pub fn is_guix_url(url: &str) -> bool {
    GUIX_URLS.contains(&url)
}

/// The introduction of Guix's own channel: a commit, and the fingerprint of its signer.
pub fn guix_introduction() -> Introduction {
    let (commit, signer) = GUIX_INTRODUCTION;
    Introduction { commit: commit.to_owned(), signer: signer.to_owned() }
}

/// Reads all channels. There must be at least one, and no two may have the same name, or the same
/// URL and branch. `None` if one has faults, so that references to it by name are not reported as
/// faults too.
pub(super) fn channels(section: &mut Section<'_>, faults: &mut Vec<Diagnostic>) -> Option<Vec<Channel>> {
    let hint = "add `[[channel]]` with `name` and `url`";
    let tables = list(section.require("channel", hint, faults)?, faults)?;
    let mut channels: Vec<Channel> = Vec::new();
    let mut all_sound = true;
    for value in tables {
        let Some(channel) = channel(value, faults) else {
            all_sound = false;
            continue;
        };
        let same_name = channels.iter().any(|other| other.name == channel.name);
        let same_place =
            channels.iter().any(|other| (&other.url, &other.branch) == (&channel.url, &channel.branch));
        if same_name {
            let message = format!("two channels are called `{}`", channel.name);
            faults.push(Diagnostic::fault(value.span(), message).label("the second one").hint("rename it"));
        } else if same_place {
            let message = "two channels have the same URL and branch";
            faults
                .push(Diagnostic::fault(value.span(), message).label("the second one").hint("leave it out"));
        }
        let both = is_pattern(&channel.branch) && channels.iter().any(|other| is_pattern(&other.branch));
        if both {
            let fault = Diagnostic::fault(value.span(), "two channels have a pattern as `branch`");
            faults.push(fault.label("the second one").hint("make two specs of this one"));
        }
        channels.push(channel);
    }
    all_sound.then_some(channels)
}

fn channel(value: Value<'_>, faults: &mut Vec<Diagnostic>) -> Option<Channel> {
    let mut section = table(value, "a channel", faults)?;
    let name = section
        .require("name", "the channel that brings Guix itself is called `guix`", faults)
        .and_then(|value| string(value, faults))
        .and_then(|text| name(&text, faults));
    let url = section
        .require("url", "say where Git fetches it from", faults)
        .and_then(|value| string(value, faults))
        .and_then(|text| url(&text, faults));
    let branch = section.take("branch").map_or_else(
        || Some("master".to_owned()),
        |value| string(value, faults).and_then(|text| branch(&text, faults)),
    );
    let commit = section.take("commit").and_then(|value| string(value, faults));
    let commit = commit.map(|text| commit_hash(&text, faults));
    let exclude = section.take("exclude");
    let excluded = exclude.map_or(Some(Vec::new()), |value| strings(value, faults, pattern));
    let introduced = section.take("introduction");
    let introduction = introduced.map(|value| (value.span(), introduction(value, faults)));
    let authenticate = section.take("authenticate").map(|value| (value.span(), boolean(value, faults)));
    let span = section.span();
    section.finish(faults);
    // A key that is present and faulty is `Some(None)`; its fault has been noted.
    let (name, url, branch) = (name?, url?, branch?);
    if is_pattern(&branch) && commit.is_some() {
        let fault = Diagnostic::fault(span.clone(), "a channel with a pattern as `branch` has no `commit`");
        faults.push(fault.hint("leave one of them out"));
    }
    if let Some(value) = exclude.filter(|_| !is_pattern(&branch)) {
        let fault = Diagnostic::fault(value.span(), "`exclude` goes with a pattern as `branch`");
        faults.push(fault.hint("a pattern has a `*` in it, such as `branch = \"*-team\"`"));
    }
    let introduction = authenticated(&name, &url, span, introduction, authenticate, faults);
    let (commit, exclude) = (commit.flatten(), excluded?);
    Some(Channel { name, url, branch, exclude, commit, introduction })
}

/// The introduction that authenticates the channel. `None` means no authentication: the spec says
/// so, or none is required, or a fault or warning has been noted.
///
/// Guix accepts no channel called `guix` without an introduction, and neither does Gorget. Other
/// channels need none, but a missing one gets a warning. A repository on this machine is trusted as
/// much as its admin.
fn authenticated(
    name: &str,
    url: &str,
    span: Range<usize>,
    introduction: Option<(Range<usize>, Option<Introduction>)>,
    authenticate: Option<(Range<usize>, Option<bool>)>,
    faults: &mut Vec<Diagnostic>,
) -> Option<Introduction> {
    match (introduction, authenticate) {
        (Some(_), Some((span, Some(false)))) => {
            let fault =
                Diagnostic::fault(span, "`introduction` and `authenticate = false` contradict each other");
            faults.push(fault.hint("leave out either `introduction` or `authenticate = false`"));
            None
        }
        (_, Some((_, Some(false) | None))) => None,
        (Some((_, introduction)), _) => introduction,
        (None, authenticate) => match (MissingIntroduction::of(name, url), authenticate) {
            (MissingIntroduction::Standard(introduction), _) => Some(introduction),
            (_, Some((span, _))) => {
                let fault = Diagnostic::fault(span, "there is nothing to authenticate this channel by");
                faults.push(fault.hint(ADD_INTRODUCTION));
                None
            }
            (MissingIntroduction::Local, None) => None,
            (rule, None) => {
                let hint = format!("{ADD_INTRODUCTION}, or say `authenticate = false`");
                let message = format!("commits of the channel `{name}` are not authenticated");
                let refused = rule == MissingIntroduction::Refused;
                let diagnostic = if refused { Diagnostic::fault } else { Diagnostic::warning };
                faults.push(diagnostic(span, message).label("it has no introduction").hint(hint));
                None
            }
        },
    }
}

/// The rule for a channel without an introduction, whether a spec names it or another channel needs
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingIntroduction {
    /// Guix at one of its own addresses: it is authenticated by this introduction.
    Standard(Introduction),
    /// A repository on this machine: it is accepted.
    Local,
    /// Any other channel: it is accepted with a warning.
    Warned,
    /// Guix at any other address: it is refused.
    Refused,
}

impl MissingIntroduction {
    /// The rule for the channel `name` at `url`.
    pub fn of(name: &str, url: &str) -> Self {
        let (commit, signer) = GUIX_INTRODUCTION;
        match name == "guix" {
            true if GUIX_URLS.contains(&url) => {
                Self::Standard(Introduction { commit: commit.to_owned(), signer: signer.to_owned() })
            }
            _ if is_local(url) => Self::Local,
            true => Self::Refused,
            false => Self::Warned,
        }
    }
}

const ADD_INTRODUCTION: &str = "add `introduction = { commit = \"…\", signer = \"…\" }`";

/// Reads the name of a spec or a channel. It becomes part of file names and addresses.
pub(super) fn name(text: &Spanned<&str>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    if is_name(text.get_ref()) {
        return Some((*text.get_ref()).to_owned());
    }
    let hint = "a name has at most 64 letters, digits, `.`, `_` and `-`, and begins with a letter or digit";
    faults.push(Diagnostic::fault(text.span(), "this is not a valid name").hint(hint));
    None
}

fn url(text: &Spanned<&str>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    match check_url(text.get_ref()) {
        Ok(()) => Some((*text.get_ref()).to_owned()),
        Err(error) => {
            faults.push(Diagnostic::fault(text.span(), error.to_string()).hint(error.hint()));
            None
        }
    }
}

fn branch(text: &Spanned<&str>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    // A `*` marks a pattern, because Git allows no `*` in the name of a branch.
    let check = if is_pattern(text.get_ref()) { check_pattern } else { check_branch };
    match check(text.get_ref()) {
        Ok(()) => Some((*text.get_ref()).to_owned()),
        Err(error) => {
            let fault = Diagnostic::fault(text.span(), error.to_string());
            let hint = "write the name of the main branch: `git ls-remote --symref URL HEAD` tells it";
            faults.push(if *text.get_ref() == "HEAD" { fault.hint(hint) } else { fault });
            None
        }
    }
}

fn pattern(text: &Spanned<&str>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    match check_pattern(text.get_ref()) {
        Ok(()) => Some((*text.get_ref()).to_owned()),
        Err(error) => {
            faults.push(Diagnostic::fault(text.span(), error.to_string()));
            None
        }
    }
}

fn commit_hash(text: &Spanned<&str>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    let hash = forty_digits(text.get_ref());
    if hash.is_none() {
        let fault = Diagnostic::fault(text.span(), "this is not a full commit hash");
        faults.push(fault.hint("write all 40 hexadecimal digits, as `git rev-parse` shows them"));
    }
    hash
}

fn introduction(value: Value<'_>, faults: &mut Vec<Diagnostic>) -> Option<Introduction> {
    let mut section = table(value, "an introduction", faults)?;
    let commit = section
        .require("commit", "the first commit whose signature counts", faults)
        .and_then(|value| string(value, faults))
        .and_then(|text| commit_hash(&text, faults));
    let signer = section
        .require("signer", "the OpenPGP fingerprint of who signed that commit", faults)
        .and_then(|value| string(value, faults))
        .and_then(|text| fingerprint(&text, faults));
    section.finish(faults);
    Some(Introduction { commit: commit?, signer: signer? })
}

fn fingerprint(text: &Spanned<&str>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    let digits = fingerprint_digits(text.get_ref());
    if digits.is_none() {
        let fault = Diagnostic::fault(text.span(), "this is not an OpenPGP fingerprint");
        faults.push(fault.hint("write all 40 hexadecimal digits; blanks between them are ignored"));
    }
    digits
}

fn fingerprint_digits(text: &str) -> Option<String> {
    forty_digits(&text.replace(' ', "")).map(|digits| digits.to_uppercase())
}

/// Forty hexadecimal digits, converted to lower case.
fn forty_digits(text: &str) -> Option<String> {
    let right = text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    right.then(|| text.to_lowercase())
}

impl Introduction {
    /// Makes an introduction, if these are a full commit hash and a fingerprint.
    pub fn new(commit: &str, signer: &str) -> Option<Self> {
        Some(Self { commit: forty_digits(commit)?, signer: fingerprint_digits(signer)? })
    }
}
