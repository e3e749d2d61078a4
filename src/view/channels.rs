use std::fmt::Write as _;

use serde::Serialize;

use super::sorted;
use crate::db::Evaluation;
use crate::domain::revision::ChannelCommit;

/// The channels of an evaluation.
#[derive(Debug, Serialize)]
pub struct Channels<'a> {
    /// Each with its commit and its origin, in the order in which Guix searches them.
    #[serde(serialize_with = "sorted")]
    pub channels: &'a [ChannelCommit],
}

impl<'a> Channels<'a> {
    /// The view of an evaluation.
    pub fn new(evaluation: &'a Evaluation) -> Self {
        Self { channels: evaluation.revision.channels() }
    }
}

/// The text of a channel file.
pub fn channel_file(evaluation: &Evaluation) -> String {
    let Evaluation { id, spec, system, revision, .. } = evaluation;
    let mut text = format!(";; Evaluation {id} of {spec} for {system}.\n");
    let guix = revision.channels().iter().find(|channel| channel.name == "guix");
    match guix {
        None => text.push_str(";; The Guix that was installed then evaluated it: it is not in this list.\n"),
        Some(guix) if guix.origin.introduction.is_none() => {
            text.push_str(
                ";; `guix` was not authenticated: guix time-machine --disable-authentication -C FILE\n",
            );
        }
        Some(_) => text.push_str(";; guix time-machine -C FILE -- COMMAND\n"),
    }
    text.push_str("(list");
    for channel in revision.channels() {
        text.push_str(&entry(channel));
    }
    text.push_str(")\n");
    text
}

fn entry(channel: &ChannelCommit) -> String {
    let ChannelCommit { name, url, commit, origin } = channel;
    let mut entry = format!("\n (channel\n  (name (string->symbol {}))", literal(name));
    // Writing to a string does not fail.
    let _ = write!(entry, "\n  (url {})", literal(url));
    if !origin.branch.is_empty() {
        let _ = write!(entry, "\n  (branch {})", literal(&origin.branch));
    }
    let _ = write!(entry, "\n  (commit {})", literal(commit));
    if let Some(introduction) = &origin.introduction {
        let (commit, signer) = (literal(&introduction.commit), literal(&introduction.signer));
        let made = format!("(make-channel-introduction\n    {commit}\n    (openpgp-fingerprint {signer}))");
        let _ = write!(entry, "\n  (introduction\n   {made})");
    }
    entry.push(')');
    entry
}

/// A string literal in Scheme.
fn literal(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_string() {
        assert_eq!(literal(r#"a"b\c"#), r#""a\"b\\c""#);
    }
}
