//! The channels of a written spec.

use std::ops::Range;

use toml::Spanned;

use super::diagnostic::Diagnostic;
use super::location::{check_branch, check_url};
use super::section::{Section, Value, list, string, table};
use super::{Channel, Introduction};

/// All channels, of which there must be one, and no two of the same name or place.
pub(super) fn channels(section: &mut Section<'_>, faults: &mut Vec<Diagnostic>) -> Option<Vec<Channel>> {
    let hint = "add `[[channel]]` with `name` and `url`";
    let tables = list(section.require("channel", hint, faults)?, faults)?;
    let mut channels: Vec<Channel> = Vec::new();
    for value in tables {
        let Some(channel) = channel(value, faults) else { continue };
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
        channels.push(channel);
    }
    Some(channels)
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
    let introduction = section.take("introduction").map(|value| introduction(value, faults));
    section.finish(faults);
    // A key that is there and faulty has been noted: only then is it `Some(None)`.
    Some(Channel {
        name: name?,
        url: url?,
        branch: branch?,
        commit: commit.flatten(),
        introduction: introduction.flatten(),
    })
}

/// A name of a spec or a channel: it becomes part of file names and addresses.
pub(super) fn name(text: &Spanned<&str>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
    let name = *text.get_ref();
    if name.len() <= 64
        && name.starts_with(|char: char| char.is_ascii_alphanumeric())
        && name.chars().all(is_plain)
    {
        return Some(name.to_owned());
    }
    let hint = "a name has at most 64 letters, digits, `.`, `_` and `-`, and begins with a letter or digit";
    faults.push(Diagnostic::fault(text.span(), "this does not do as a name").hint(hint));
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
    match check_branch(text.get_ref()) {
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
    unauthenticated(value.span(), faults);
    Some(Introduction { commit: commit?, signer: signer? })
}

/// Who writes an introduction counts on commits being authenticated, so that they are not yet must
/// not go unsaid.
fn unauthenticated(span: Range<usize>, faults: &mut Vec<Diagnostic>) {
    let warning = Diagnostic::warning(span, "commits are not authenticated yet");
    faults.push(warning.label("recorded, but not heeded").hint("watch only repositories that you trust"));
}

fn fingerprint(text: &Spanned<&str>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    let digits = forty_digits(&text.get_ref().replace(' ', ""));
    if digits.is_none() {
        let fault = Diagnostic::fault(text.span(), "this is not an OpenPGP fingerprint");
        faults.push(fault.hint("write all 40 hexadecimal digits; blanks between them do no harm"));
    }
    digits.map(|digits| digits.to_uppercase())
}

/// Forty hexadecimal digits, made lower-case.
fn forty_digits(text: &str) -> Option<String> {
    let right = text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    right.then(|| text.to_lowercase())
}
