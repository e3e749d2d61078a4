use std::fmt;
use std::path::{Path, PathBuf};

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// On a Unix socket, an absolute path.
    Socket(PathBuf),
    /// On `HOST:PORT`.
    Address(String),
}

impl Listen {
    /// Reads `HOST:PORT`, or a path, which may be relative to `directory`.
    pub fn new(text: &str, directory: &Path) -> Self {
        let has_port = text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if has_port && !text.contains('/') {
            Self::Address(text.to_owned())
        } else {
            Self::Socket(directory.join(text))
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Address(address) => f.write_str(address),
        }
    }
}
