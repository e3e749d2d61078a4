//! The paths of channels, on this machine and in the sandbox.
//!
//! The sandbox shows all of a channel's repository, and Guile loads modules from a directory of
//! it, as Guix links its load path into the checkout. Files are named relative to modules
//! (`local-file`, `current-source-directory`), and `..` leads to other directories of the same
//! repository. A name that leads out of the repository is an error.

use std::path::{Path, PathBuf};

use super::RuntimeError;
use super::layer::{Kind, Layer};
use super::layer_reader::{LayerReader, Unreadable};
use crate::domain::revision::ChannelCommit;
use crate::domain::spec::Introduction;

/// Where the sandbox shows the repositories of channels.
pub(super) const CHANNELS: &str = "/gorget/channels";

/// The files of a channel.
#[derive(Debug, Clone)]
pub struct Source {
    /// The channel's name.
    pub name: String,
    /// The URL of its repository.
    pub url: String,
    /// Its commit.
    pub commit: String,
    /// The introduction that authenticates it, if it has one.
    pub introduction: Option<Introduction>,
    /// Its checkout.
    pub checkout: PathBuf,
    /// The directory of its modules, relative to the checkout.
    pub directory: Option<String>,
}

impl Source {
    /// The files of `channel` in `checkout`.
    pub fn new(channel: &ChannelCommit, checkout: &Path) -> Self {
        let ChannelCommit { name, url, commit, origin } = channel.clone();
        let (introduction, directory) = (origin.introduction, origin.directory);
        Self { name, url, commit, introduction, checkout: checkout.to_owned(), directory }
    }

    /// Finds its directories.
    ///
    /// # Errors
    /// When its name cannot be part of a search path, or its modules are not in the checkout.
    pub(super) fn place(&self) -> Result<Place, RuntimeError> {
        let name = &self.name;
        if name.is_empty() || name.starts_with('.') || name.contains(['/', ':', '\0']) {
            return Err(RuntimeError::ChannelName { name: name.clone() });
        }
        let here = fs_err::canonicalize(&self.checkout)?;
        let inside = Path::new(CHANNELS).join(name);
        let Some(directory) = &self.directory else {
            return Ok(Place { modules: here.clone(), load: inside.clone(), here, inside });
        };
        // Links in `directory` are followed, as `..` is when files are opened.
        let top =
            Layer { name: name.clone(), directory: here.clone(), top: here.clone(), kind: Kind::Channel };
        let modules = match LayerReader::new(&top)?.directory(Path::new(directory)) {
            Err(Unreadable::Io(error)) => return Err(error.into()),
            modules => modules.ok(),
        };
        let relative = modules.as_ref().and_then(|modules| modules.strip_prefix(&here).ok()?.to_str());
        match (&modules, relative) {
            (Some(modules), Some(relative)) if !relative.contains(':') => {
                let load = if relative.is_empty() { inside.clone() } else { inside.join(relative) };
                Ok(Place { modules: modules.clone(), load, here, inside })
            }
            _ => Err(RuntimeError::NoModules { channel: name.clone(), directory: directory.clone() }),
        }
    }
}

/// The directories of a channel.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The checkout.
    pub(super) here: PathBuf,
    /// Its modules.
    pub(super) modules: PathBuf,
    /// The checkout in the sandbox.
    pub(super) inside: PathBuf,
    /// The modules in the sandbox.
    pub(super) load: PathBuf,
}

impl Place {
    /// The paths of the checkout: here, and where the sandbox shows it.
    pub(super) fn bind(&self) -> (PathBuf, PathBuf) {
        (self.here.clone(), self.inside.clone())
    }

    /// The layer of its modules.
    pub(super) fn layer(&self, name: &str, kind: Kind) -> Layer {
        Layer { name: name.to_owned(), directory: self.modules.clone(), top: self.here.clone(), kind }
    }
}
