//! The metadata of a job.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Serialize};

/// Metadata of a job. All of it comes from evaluated code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobMetadata {
    /// Name of the package or of the manifest entry; `None` for any other job.
    pub package: Option<String>,
    /// Version of that package or entry.
    pub version: Option<String>,
    /// Where the package is defined.
    pub location: Option<Location>,
    /// The target that it is cross-built for.
    pub target: Option<String>,
    /// The channel that defines it.
    pub channel: Option<String>,
    /// Seconds without a line of output after which a build is given up.
    pub max_silent_time: i64,
    /// Seconds after which a build is given up.
    pub timeout: i64,
    /// Whether Guix hides it from users.
    pub hidden: bool,
    /// Whether it is a graft replacement for another package.
    pub replacement: bool,
    /// Whether the outputs may come from a substitute server.
    pub substitutable: bool,
}

impl JobMetadata {
    /// All texts of the metadata.
    pub fn texts_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let Self { package, version, target, channel, location, .. } = self;
        let file = location.as_mut().map(|location| &mut location.file);
        [package, version, target, channel].into_iter().filter_map(Option::as_mut).chain(file)
    }
}

/// A position in a file of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// The file, relative to the directory of the channel's modules.
    pub file: String,
    /// The line, counted from 1.
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
