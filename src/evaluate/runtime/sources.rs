//! The module files of a revision, in layers of directories.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::RuntimeError;

/// A directory of modules; earlier layers hide equally named files of later ones.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Where it is on this machine.
    pub directory: PathBuf,
    /// What it is a part of: links in a channel must lead to files below this.
    pub top: PathBuf,
    /// What it is.
    pub kind: Kind,
}

impl Layer {
    /// Modules that can be trusted: their links lead anywhere.
    pub fn trusted(directory: PathBuf, kind: Kind) -> Self {
        Self { top: directory.clone(), directory, kind }
    }
}

/// What a directory of modules is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Whether these are files of a repository, which may be anything.
    fn is_channel(self) -> bool {
        matches!(self, Self::Guix | Self::Channel)
    }
}

/// One file of modules.
#[derive(Debug)]
pub struct File {
    /// Its path below the layer: `guix/packages.scm`.
    pub path: String,
    /// In a channel, where it is from the top of the repository, links followed: files are named
    /// relative to that. Elsewhere, the path.
    pub place: String,
    /// Which layer it is from.
    pub layer: usize,
    /// What kind of layer that is.
    pub kind: Kind,
    /// Its contents.
    pub text: Vec<u8>,
}

/// Directories deeper than this are not looked at: links can make them endless.
const MAX_DEPTH: usize = 24;
/// A layer may have so many files and directories.
const MAX_ENTRIES: usize = 500_000;
/// A module file may be so large, in bytes.
const MAX_SOURCE: u64 = 64 << 20;

/// Whether the library layers leave out the file or directory `name`: it belongs to Guix.
fn of_guix(name: &str) -> bool {
    matches!(name, "gnu" | "guix" | "gnu.scm" | "guix.scm")
}

/// Reads the module files of all layers, sorted by path.
///
/// # Errors
/// When a file cannot be read, is too large, or is a link that leads out of its channel: what Guile
/// would find there can then not be known.
pub fn files(layers: &[Layer]) -> Result<Vec<File>, RuntimeError> {
    let mut found: HashMap<String, (usize, PathBuf)> = HashMap::new();
    for (number, layer) in layers.iter().enumerate() {
        let directory = fs_err::canonicalize(&layer.directory)?;
        let mut lister = Lister { top: &layer.top, kind: layer.kind, left: MAX_ENTRIES, found: Vec::new() };
        lister.list(&directory, "")?;
        for (path, file) in lister.found {
            found.entry(path).or_insert((number, file));
        }
    }
    let mut files = found
        .into_iter()
        .map(|(path, (layer, file))| {
            if fs_err::metadata(&file)?.len() > MAX_SOURCE {
                return Err(io::Error::other(format!("{} is larger than 64 MiB", file.display())).into());
            }
            let Layer { top, kind, .. } = &layers[layer];
            let place = if kind.is_channel() { relative(&file, top) } else { path.clone() };
            Ok(File { path, place, layer, kind: *kind, text: fs_err::read(file)? })
        })
        .collect::<Result<Vec<_>, RuntimeError>>()?;
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Puts `text` in the place of the file `path`, which takes part as a library from now on.
pub fn replace(files: &mut Vec<File>, path: &str, text: Vec<u8>) {
    let of = || path.to_owned();
    let file = |text| File { path: of(), place: of(), layer: 0, kind: Kind::Library, text };
    match files.binary_search_by(|file| file.path.as_str().cmp(path)) {
        Ok(at) => files[at] = file(text),
        Err(at) => files.insert(at, file(text)),
    }
}

struct Lister<'a> {
    top: &'a Path,
    kind: Kind,
    left: usize,
    found: Vec<(String, PathBuf)>,
}

impl Lister<'_> {
    fn list(&mut self, directory: &Path, prefix: &str) -> Result<(), RuntimeError> {
        for entry in fs_err::read_dir(directory)? {
            let entry = entry?;
            self.left = self.left.checked_sub(1).ok_or_else(|| {
                io::Error::other(format!("{} has more than {MAX_ENTRIES} files", self.top.display()))
            })?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') || (prefix.is_empty() && self.kind == Kind::Library && of_guix(&name)) {
                continue;
            }
            let is_scheme = Path::new(&name).extension() == Some("scm".as_ref());
            let (mut path, mut of) = (entry.path(), entry.file_type()?);
            if of.is_symlink() {
                let Some(target) = self.linked(&path, is_scheme)? else { continue };
                path = target;
                of = fs_err::metadata(&path)?.file_type();
            }
            if of.is_dir() && prefix.matches('/').count() < MAX_DEPTH {
                self.list(&path, &format!("{prefix}{name}/"))?;
            } else if of.is_file() && is_scheme {
                self.found.push((format!("{prefix}{name}"), path));
            }
        }
        Ok(())
    }

    /// Follows a link. Trusted layers may link anywhere: Guix profiles are made of links.
    fn linked(&self, link: &Path, wanted: bool) -> Result<Option<PathBuf>, RuntimeError> {
        match fs_err::canonicalize(link) {
            Ok(target) if !self.kind.is_channel() || target.starts_with(self.top) => Ok(Some(target)),
            Err(error) if !self.kind.is_channel() && wanted => Err(error.into()),
            Ok(target) if !wanted && !target.is_dir() => Ok(None),
            Err(_) if !wanted => Ok(None),
            _ => Err(RuntimeError::LinkLeadsOut { file: relative(link, self.top) }),
        }
    }
}

/// Where `file` is, from `top`.
fn relative(file: &Path, top: &Path) -> String {
    file.strip_prefix(top).unwrap_or(file).to_string_lossy().into_owned()
}
