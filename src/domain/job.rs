//! What is known of a job beside its derivation.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Serialize};

/// Metadata of what a job builds. All of it comes from evaluated code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobMetadata {
    /// Name of the package, or of the manifest entry; `None` when it builds neither.
    pub package: Option<String>,
    /// The version of that.
    pub version: Option<String>,
    /// Where the package is defined.
    pub location: Option<Location>,
    /// The target that it is cross-built for.
    pub target: Option<String>,
    /// The channel that defines it.
    pub channel: Option<String>,
    /// After so many seconds without a line of output, building it is given up.
    pub max_silent_time: i64,
    /// After so many seconds, building it is given up.
    pub timeout: i64,
    /// Guix does not show it to users.
    pub hidden: bool,
    /// It replaces another package when that is grafted.
    pub replacement: bool,
    /// It may be had from a substitute server.
    pub substitutable: bool,
}

impl JobMetadata {
    /// All texts in it.
    pub fn texts_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let Self { package, version, target, channel, location, .. } = self;
        let file = location.as_mut().map(|location| &mut location.file);
        [package, version, target, channel].into_iter().filter_map(Option::as_mut).chain(file)
    }
}

/// A place in a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// The file, relative to where the channel's modules begin.
    pub file: String,
    /// Counted from 1.
    pub line: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Serialize for Location {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parts = text.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?)));
        let (file, line) = parts.ok_or_else(|| D::Error::custom("a place has no line"))?;
        Ok(Self { file: file.to_owned(), line })
    }
}
