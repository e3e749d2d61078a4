//! The commits that are evaluated together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::spec::Introduction;

/// One commit of every channel of a spec, including the channels that those need. An evaluation
/// evaluates one revision.
///
/// Channels are in the order in which Guix searches them: those that the spec names in its order,
/// then those that they need, breadth first. If two channels have a package of the same name and
/// version, the order decides which one others get. So two orders are two revisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revision {
    channels: Vec<ChannelCommit>,
}

/// A channel at a commit. Equality ignores its [`Origin`].
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ChannelCommit {
    /// The channel's name.
    pub name: String,
    /// The URL of the repository.
    pub url: String,
    /// Full commit hash.
    pub commit: String,
    /// How it came into the revision.
    #[serde(default, skip_serializing_if = "Origin::is_unknown")]
    pub origin: Origin,
}

/// How a channel came into a revision: what is needed to repeat it, and what authenticates it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Origin {
    /// The branch on which the commit was found.
    pub branch: String,
    /// Whether the commit was named, so that the branch is not followed.
    pub pinned: bool,
    /// The channel that needs it; `None` when the spec names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed_by: Option<String>,
    /// The introduction that it was authenticated by; `None` when it was not authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub introduction: Option<Introduction>,
    /// The signer of the commit: an OpenPGP fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// The directory of its modules, if that is not the top directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The file with the channel's news.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub news: Option<String>,
    /// Warnings for the admin about how it came in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Origin {
    fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether only other channels name the repository of `channel`, and not the spec. `channels` are
/// all channels of its revision.
pub fn is_brought(channels: &[ChannelCommit], channel: &ChannelCommit) -> bool {
    let named = |other: &ChannelCommit| other.origin.needed_by.is_none() && other.url == channel.url;
    !channels.iter().any(named)
}

impl ChannelCommit {
    /// A channel of unknown origin.
    pub fn new(name: impl Into<String>, url: impl Into<String>, commit: impl Into<String>) -> Self {
        let (name, url, commit) = (name.into(), url.into(), commit.into());
        Self { name, url, commit, origin: Origin::default() }
    }

    fn identity(&self) -> [&str; 3] {
        [&self.name, &self.url, &self.commit]
    }
}

impl PartialEq for ChannelCommit {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for ChannelCommit {}

impl Revision {
    /// Makes a revision of channels.
    pub fn new(channels: Vec<ChannelCommit>) -> Self {
        Self { channels }
    }

    /// Its channels, in the order in which Guix searches them.
    pub fn channels(&self) -> &[ChannelCommit] {
        &self.channels
    }

    /// The channels that the spec names itself.
    pub fn named(&self) -> impl Iterator<Item = &ChannelCommit> {
        self.channels.iter().filter(|channel| channel.origin.needed_by.is_none())
    }

    /// The warnings about all of its channels.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().flat_map(|channel| &channel.origin.warnings).map(String::as_str)
    }

    /// The text that identifies the revision: equal keys mean equal revisions.
    pub fn key(&self) -> String {
        let words = self.channels.iter().map(|channel| channel.identity().join("\t"));
        words.collect::<Vec<_>>().join("\n")
    }

    /// The name for people: the abbreviated commits, the Guix channel's first.
    pub fn short(&self) -> String {
        let mut channels: Vec<_> = self.channels.iter().collect();
        channels.sort_by_key(|channel| channel.name != "guix");
        let words = channels.iter().map(|c| c.commit.get(..10).unwrap_or(&c.commit));
        words.collect::<Vec<_>>().join("+")
    }
}
