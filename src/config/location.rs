use std::fmt;
use std::path::{Path, PathBuf};

/// A path or a URL, which may contain a password. `Display` and `Debug` leave the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct Location(String);

impl Location {
    /// Takes the text unchanged.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The whole text, secrets included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a path absolute, relative to `directory`; leaves a URL as it is.
    ///
    /// # Errors
    /// Returns the path when it is not UTF-8.
    pub(super) fn inside(self, directory: &Path) -> Result<Self, PathBuf> {
        if self.0.contains("://") {
            return Ok(self);
        }
        directory.join(self.0).into_os_string().into_string().map(Self).map_err(PathBuf::from)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else { return f.write_str(&self.0) };
        let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?…"));
        let (user, host) = rest.rsplit_once('@').map_or(("", rest), |(_, host)| ("…@", host));
        write!(f, "{scheme}://{user}{host}{query}")
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}
