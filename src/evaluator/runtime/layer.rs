use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A directory of modules; earlier layers hide equally named files of later ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The channel's name, or what else it is called in messages.
    pub name: String,
    /// Where it is on this machine.
    pub directory: PathBuf,
    /// What it is a part of: links in a channel must lead to files below this.
    pub top: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// What a directory of modules is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The channel that brings Guix: what is compiled how depends on the path.
    Guix,
    /// The installed Guix.
    Installed,
    /// Another channel.
    Channel,
    /// Guile libraries, without the Guix that may be installed in the same place.
    Library,
    /// Guile's own modules.
    Guile,
}

impl Kind {
    /// Whether the admin installed it, so that only a channel's limits do not apply to it.
    pub(super) fn is_trusted(self) -> bool {
        !matches!(self, Self::Guix | Self::Channel)
    }
}
