//! The source reader: a separate process that reads the modules of channels.
//!
//! Comparing modules means parsing megabytes of untrusted text. The farm does not do that itself,
//! because it holds the signing key and the database: it starts Gorget once more as
//! `gorget read-sources`, which answers one request and ends. That process has no environment and
//! no secret, can open only the modules that the request names, cannot start a process, and has
//! limits of its own.
//!
//! The farm checks everything in the answer that could lead it elsewhere: paths stay below their
//! layers, numbers of layers exist, and the size of an answer is limited. A reader can only forge
//! the keys of the modules that it was shown, and modules compiled under these keys are used only
//! where the same channels are seen (see the parent module). So a request shows no more channels
//! than the requested modules may import from.
//!
//! The messages are one `Request` and one `Answer`, as `postcard` writes them; each ends where its sender closes
//! that direction.

mod answer;
mod ask;
mod serve;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::compiler::CompilerIdentity;
use super::layer::{Kind, Layer};

pub(super) use answer::{InstalledKeys, Module, Modules};
pub(super) use ask::SourceReader;
pub use serve::serve;

/// The command that the process is started with.
pub const COMMAND: &str = "read-sources";

/// The longest request, in bytes: the names of Guile's macros, and as many layers as there are channels.
const LONGEST_REQUEST: u64 = 16 << 20;
/// The longest answer, in bytes. The answer for Guix has 300 KiB; for as many modules as channels
/// may have, it has 7 MiB.
const LONGEST_ANSWER: u64 = 8 << 20;

/// A request from the farm.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    /// Where modules are; earlier layers hide files of later ones.
    layers: Vec<Layer>,
    /// `guix/config.scm`, which takes part as a library.
    config: PathBuf,
    /// What keys depend on.
    compiler: CompilerIdentity,
    /// What else the process has to open: the targets of links of the installed Guix.
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
