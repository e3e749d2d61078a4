use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A directory of modules; earlier layers hide equally named files of later ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The channel's name, or another name for messages.
    pub name: String,
    /// Where it is on this machine.
    pub directory: PathBuf,
    /// The directory that it is a part of. Links in a channel must lead to files below this.
    pub top: PathBuf,
    /// What kind of layer it is.
    pub kind: Kind,
}

/// What a directory of modules is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The channel that brings Guix. How a module is compiled depends on its path.
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
    /// Whether the admin installed it, so that the limits of channels do not apply to it.
    pub(super) fn is_trusted(self) -> bool {
        !matches!(self, Self::Guix | Self::Channel)
    }
}
