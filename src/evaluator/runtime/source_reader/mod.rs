//! The source reader: a process of its own that reads the modules of channels.
//!
//! Comparing modules means to parse megabytes that strangers wrote. The farm does not do that itself, because it
//! holds the signing key and the database: it starts Gorget once more as `gorget read-sources`, which answers one
//! request and ends. That process has no environment and no secret, can open nothing but the modules that the
//! request names, starts nothing, and is held to limits of its own.
//!
//! The farm believes nothing of the answer that could lead it elsewhere: paths stay below their layers, numbers of
//! layers exist, and an answer has a most size. What a reader can forge are the keys of the modules that it was
//! shown: whatever is compiled for them is used where the same channels are seen, and nowhere else (see the parent
//! module). So a request shows no more channels than the modules that it asks for may import from.
//!
//! The messages are one `Request` and one `Answer`, as `postcard` writes them; each ends where its sender closes
//! that direction.

mod answer;
mod ask;
mod serve;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::compiler::Compiler;
use super::layer::{Kind, Layer};

pub(super) use answer::{InstalledKeys, Module, Modules};
pub(super) use ask::SourceReader;
pub use serve::serve;

/// The command that the process is started with.
pub const COMMAND: &str = "read-sources";

/// The longest request, in bytes: the names of Guile's macros, and as many layers as there are channels.
const LONGEST_REQUEST: u64 = 16 << 20;
/// The longest answer. Of Guix, it has 300 KiB, and of as many modules as channels may have, 7 MiB.
const LONGEST_ANSWER: u64 = 8 << 20;

/// What the farm wants to know.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    /// Where modules are; earlier layers hide files of later ones.
    layers: Vec<Layer>,
    /// `guix/config.scm`, which takes part as a library.
    config: PathBuf,
    /// What keys depend on.
    compiler: Compiler,
    /// What else the process has to open: where links of the installed Guix lead.
    linked: Vec<PathBuf>,
    asked: Asked,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Asked {
    /// The keys of the installed Guix's modules, and the macros of Guile, whose modules these are.
    Installed { guile: Layer },
    /// All modules, with the keys of those of a kind.
    Modules { kind: Kind },
}

impl Request {
    /// What the process may read.
    fn readable(&self) -> Vec<PathBuf> {
        let guile = match &self.asked {
            Asked::Installed { guile } => Some(guile),
            Asked::Modules { .. } => None,
        };
        let tops = self.layers.iter().chain(guile).map(|layer| layer.top.clone());
        tops.chain([self.config.clone()]).chain(self.linked.iter().cloned()).collect()
    }
}
