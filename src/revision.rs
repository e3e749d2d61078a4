//! What is evaluated together.

use serde::{Deserialize, Serialize};

/// One commit of every channel of a spec: what an evaluation is made of.
///
/// Two specs with the same channels at the same commits have the same revision, whatever the order
/// in which they list them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    channels: Vec<ChannelCommit>,
}

/// A channel at a commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChannelCommit {
    /// The channel's name.
    pub name: String,
    /// Where it comes from.
    pub url: String,
    /// Full commit hash.
    pub commit: String,
}

impl Revision {
    /// Puts channels together.
    pub fn new(mut channels: Vec<ChannelCommit>) -> Self {
        channels.sort();
        Self { channels }
    }

    /// Its channels, sorted by name.
    pub fn channels(&self) -> &[ChannelCommit] {
        &self.channels
    }

    /// The text that identifies it: equal keys, equal revisions.
    pub fn key(&self) -> String {
        let words = self.channels.iter().map(|c| [c.name.as_str(), &c.url, &c.commit].join("\t"));
        words.collect::<Vec<_>>().join("\n")
    }

    /// How a person calls it: the abbreviated commits, the Guix channel's first.
    pub fn short(&self) -> String {
        let mut channels: Vec<_> = self.channels.iter().collect();
        channels.sort_by_key(|channel| channel.name != "guix");
        let words = channels.iter().map(|c| c.commit.get(..10).unwrap_or(&c.commit));
        words.collect::<Vec<_>>().join("+")
    }
}
