//! The requests of channels for other channels, and conflicts between requests.

use super::description::Dependency;
use super::obstacle::Obstacle;
use crate::domain::revision::ChannelCommit;
use crate::domain::spec::{Introduction, MissingIntroduction};

/// The most warnings that are kept for a channel.
const MOST_WARNINGS: usize = 16;

/// A channel that another one needs.
#[derive(Debug)]
pub(super) struct DependencyRequest {
    pub(super) dependency: Dependency,
    pub(super) needed_by: String,
    /// The URL of the channel `needed_by`.
    pub(super) by_url: String,
}

impl DependencyRequest {
    /// The name of the channel that is needed.
    pub(super) fn name(&self) -> &str {
        &self.dependency.name
    }

    /// Whether this request replaces the channel that was found before: only if this one names a
    /// commit and that one does not. A channel that the spec names is never replaced.
    pub(super) fn replaces(&self, found: &ChannelCommit) -> bool {
        let origin = &found.origin;
        origin.needed_by.is_some() && self.dependency.commit.is_some() && !origin.pinned
    }

    /// The warning if this request asks for something else than the channel that was taken in the
    /// end.
    pub(super) fn conflict(&self, taken: &ChannelCommit) -> Option<String> {
        let Dependency { name, url, branch, commit, introduction } = &self.dependency;
        let origin = &taken.origin;
        let taken_commit = origin.pinned.then_some(&taken.commit);
        let same_commit = commit.as_ref() == taken_commit && (commit.is_some() || *branch == origin.branch);
        let same_introduction = introduction.is_none() || *introduction == origin.introduction;
        if is_same_source(name, url, &taken.url) && same_commit && same_introduction {
            return None;
        }
        let (mine, other) = (
            describe_source(url, branch, commit.as_ref()),
            describe_source(&taken.url, &origin.branch, taken_commit),
        );
        let introduction = if same_introduction { "" } else { " with another introduction" };
        let other = match &origin.needed_by {
            Some(channel) => format!("{other}, which channel {channel} needs,"),
            None => format!("{other}, which the spec names,"),
        };
        let by = &self.needed_by;
        Some(format!("channel {name}: {other} is used, but channel {by} needs {mine}{introduction}"))
    }

    /// The introduction that authenticates the channel, and warnings. The rules are those for
    /// channels that a spec names.
    pub(super) fn introduction(&self) -> Result<(Option<Introduction>, Vec<String>), Box<Obstacle>> {
        let Dependency { name, url, introduction, .. } = &self.dependency;
        if introduction.is_some() {
            return Ok((introduction.clone(), Vec::new()));
        }
        let needed_by = &self.needed_by;
        match MissingIntroduction::of(name, url) {
            MissingIntroduction::Standard(introduction) => Ok((Some(introduction), Vec::new())),
            MissingIntroduction::Local => Ok((None, Vec::new())),
            MissingIntroduction::Warned => {
                let warning = format!(
                    "channel {name}: its commits are not authenticated, since channel {needed_by}, which needs \
                     it, gives no introduction"
                );
                Ok((None, vec![warning]))
            }
            MissingIntroduction::Refused => {
                let (needed_by, channel, url) = (needed_by.clone(), name.clone(), url.clone());
                Err(Box::new(Obstacle::MissingIntroduction { needed_by, channel, url }))
            }
        }
    }
}

/// Adds a warning to a channel, unless it has it already.
pub(super) fn warn(channel: &mut ChannelCommit, warning: String) {
    let warnings = &mut channel.origin.warnings;
    if warnings.len() < MOST_WARNINGS && !warnings.contains(&warning) {
        warnings.push(warning);
    }
}

fn describe_source(url: &str, branch: &str, commit: Option<&String>) -> String {
    match commit {
        Some(commit) => format!("commit {commit} of {url}"),
        None => format!("branch {branch} of {url}"),
    }
}

fn is_same_source(name: &str, one: &str, other: &str) -> bool {
    let plain = |url: &str| url.trim_end_matches('/').trim_end_matches(".git").to_owned();
    let is_standard = |url| matches!(MissingIntroduction::of(name, url), MissingIntroduction::Standard(_));
    plain(one) == plain(other) || is_standard(one) && is_standard(other)
}
