//! The module files of a revision, in layers of directories.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType};

use super::key_limits::{KeyLimits, LimitExceeded, Meter};
use super::layer::{Kind, Layer};
use super::layer_reader::{LayerReader, Unreadable};

/// One file of modules.
#[derive(Debug)]
pub struct File {
    /// Its path below the layer: `guix/packages.scm`.
    pub path: String,
    /// In a channel: its path from the top of the repository, with links resolved, because files
    /// are named relative to that. Elsewhere: the same as `path`.
    pub place: String,
    /// Which layer it is from.
    pub layer: usize,
    /// What kind of layer that is.
    pub kind: Kind,
    /// Its contents.
    pub text: Vec<u8>,
}

/// Why the modules of a revision cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// A layer has forbidden contents, or too much. This error is permanent.
    #[error("the modules of `{layer}` cannot be read: {reason}\nhint: {HINT}")]
    Refused {
        /// The layer's name.
        layer: String,
        /// What is wrong, with the path if it concerns one file.
        reason: String,
    },
    /// The machine cannot read this file now.
    #[error("{path}")]
    File {
        /// The file.
        path: String,
        /// The error.
        #[source]
        error: io::Error,
    },
    /// The machine cannot read them now.
    #[error(transparent)]
    Io(#[from] io::Error),
}

const HINT: &str = "remove that file from the channel, or the channel from the spec; if the channel keeps its \
    modules in a directory of their own, its .guix-channel can say so";

/// Directories deeper than this are not looked at: links can make them endless.
const MAX_DEPTH: usize = 24;
/// Most files and directories of a layer.
const MAX_ENTRIES: usize = 500_000;
/// Most module files of all channels together. Guix has 1,400.
const MAX_FILES: usize = 40_000;
/// Most bytes of all paths of a layer.
const MAX_PATHS: usize = 32 << 20;
/// Largest module file, in bytes. The largest of Guix has 6 MiB.
pub(super) const MAX_SOURCE: u64 = 16 << 20;
/// Most bytes of all module files together. Those of Guix take 60 MiB.
pub(super) const MAX_SOURCES: u64 = 192 << 20;

/// Whether the file or directory `name` belongs to Guix, so that library layers leave it out.
fn of_guix(name: &str) -> bool {
    matches!(name, "gnu" | "guix" | "gnu.scm" | "guix.scm")
}

/// Reads the module files of all layers, sorted by path.
///
/// # Errors
/// When a file cannot be read, or is a link that leads out of its channel, or a limit is exceeded:
/// it would be unknown what Guile finds.
pub fn files(layers: &[Layer], limits: &KeyLimits) -> Result<Vec<File>, SourcesError> {
    let mut found: HashMap<String, (usize, bool)> = HashMap::new();
    let meter = limits.meter();
    let mut opened = Vec::with_capacity(layers.len());
    for (number, layer) in layers.iter().enumerate() {
        let files = LayerReader::new(layer)?;
        let (entries, paths) = (MAX_ENTRIES, MAX_PATHS);
        let mut lister = Lister { files: &files, layer, meter: &meter, entries, paths, found: Vec::new() };
        lister.list(Path::new("."), "", false)?;
        for (path, linked) in lister.found {
            found.entry(path).or_insert((number, linked));
        }
        if !layer.kind.is_trusted() && found.len() > MAX_FILES {
            return Err(layer.refused(format!("it brings the modules to more than {MAX_FILES}")));
        }
        opened.push(files);
    }
    let mut left = MAX_SOURCES;
    let mut files = Vec::with_capacity(found.len());
    for (path, (layer, linked)) in found {
        meter.settle().map_err(|exceeded| SourcesError::halted(layers, exceeded))?;
        let text = opened[layer].read(Path::new(&path), left.min(MAX_SOURCE));
        let text = text.map_err(|error| layers[layer].unreadable(&path, error))?;
        left -= text.len() as u64;
        let place = layers[layer].place(&opened[layer], &path, linked)?;
        meter.bytes(place.len()).map_err(|exceeded| SourcesError::halted(layers, exceeded))?;
        files.push(File { path, place, layer, kind: layers[layer].kind, text });
    }
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Replaces the file `path` by one with the contents `text`, which counts as a library.
pub fn replace(files: &mut Vec<File>, path: &str, text: Vec<u8>) {
    let of = || path.to_owned();
    let file = |text| File { path: of(), place: of(), layer: 0, kind: Kind::Library, text };
    match files.binary_search_by(|file| file.path.as_str().cmp(path)) {
        Ok(at) => files[at] = file(text),
        Err(at) => files.insert(at, file(text)),
    }
}

impl SourcesError {
    /// The error that comparing the modules in `layers` exceeds a limit.
    pub(super) fn halted(layers: &[Layer], exceeded: LimitExceeded) -> Self {
        let channels = layers.iter().filter(|layer| !layer.kind.is_trusted());
        let names: Vec<&str> = channels.map(|layer| layer.name.as_str()).collect();
        match exceeded {
            LimitExceeded::Steps | LimitExceeded::Bytes if !names.is_empty() => {
                Self::Refused { layer: names.join("`, `"), reason: exceeded.to_string() }
            }
            exceeded => Self::Io(io::Error::other(exceeded)),
        }
    }
}

impl Layer {
    /// A layer whose directory is not part of a larger one.
    pub(super) fn alone(directory: PathBuf, kind: Kind) -> Self {
        Self { name: directory.display().to_string(), top: directory.clone(), directory, kind }
    }

    /// The path of the file at `path` from the top of a channel's repository, with links resolved.
    fn place(&self, files: &LayerReader, path: &str, linked: bool) -> Result<String, SourcesError> {
        let real = match (self.kind.is_trusted(), linked) {
            (true, _) => return Ok(path.to_owned()),
            (false, true) => files.real(Path::new(path)).map_err(|error| self.unreadable(path, error))?,
            (false, false) => self.directory.join(path),
        };
        Ok(real.strip_prefix(&self.top).unwrap_or(&real).to_string_lossy().into_owned())
    }

    /// The error that this layer cannot be used. Only errors of channels are permanent.
    pub(super) fn refused(&self, reason: String) -> SourcesError {
        if self.kind.is_trusted() {
            return SourcesError::Io(io::Error::other(format!("{}: {reason}", self.name)));
        }
        SourcesError::Refused { layer: self.name.clone(), reason }
    }

    /// The error for this layer when the file at `path` cannot be read.
    pub(super) fn unreadable(&self, path: &str, error: Unreadable) -> SourcesError {
        match error {
            Unreadable::Io(error) => {
                SourcesError::File { path: self.directory.join(path).display().to_string(), error }
            }
            Unreadable::TooLarge => self.refused(format!(
                "{path} is larger than {} MiB, or all modules are larger than {} MiB",
                MAX_SOURCE >> 20,
                MAX_SOURCES >> 20
            )),
            error => self.refused(format!("{path}: {error}")),
        }
    }
}

struct Lister<'a> {
    files: &'a LayerReader,
    layer: &'a Layer,
    meter: &'a Meter<'a>,
    /// How many more entries there may be.
    entries: usize,
    /// How many more bytes their paths may take.
    paths: usize,
    /// Paths, and whether each leads through a link.
    found: Vec<(String, bool)>,
}

impl Lister<'_> {
    /// Lists `directory`, whose path with a slash at its end is `prefix`.
    fn list(&mut self, directory: &Path, prefix: &str, linked: bool) -> Result<(), SourcesError> {
        let opened = self.files.open(directory).map_err(|error| self.layer.unreadable(prefix, error))?;
        let entries = Dir::read_from(opened.file()).map_err(io::Error::from)?;
        for entry in entries {
            let entry = entry.map_err(io::Error::from)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name.starts_with('.')
                || (prefix.is_empty() && self.layer.kind == Kind::Library && of_guix(name))
            {
                continue;
            }
            let path = format!("{prefix}{name}");
            self.count(&path)?;
            let is_scheme = Path::new(name).extension() == Some("scm".as_ref());
            let linked = linked || entry.file_type() == FileType::Symlink;
            match self.kind(&path, is_scheme, entry.file_type())? {
                FileType::Directory if prefix.matches('/').count() < MAX_DEPTH => {
                    self.list(Path::new(&path), &format!("{path}/"), linked)?;
                }
                FileType::RegularFile if is_scheme => self.found.push((path, linked)),
                _ => {}
            }
        }
        Ok(())
    }

    fn count(&mut self, path: &str) -> Result<(), SourcesError> {
        let left = (self.entries.checked_sub(1), self.paths.checked_sub(path.len()));
        let (Some(entries), Some(paths)) = left else {
            let reason = format!(
                "it has more than {MAX_ENTRIES} files, or their names take more than {} MiB",
                MAX_PATHS >> 20
            );
            return Err(self.layer.refused(reason));
        };
        (self.entries, self.paths) = (entries, paths);
        self.meter
            .settle()
            .map_err(|exceeded| SourcesError::halted(std::slice::from_ref(self.layer), exceeded))
    }

    /// The type of an entry, or of the file that it links to.
    fn kind(&self, path: &str, is_scheme: bool, kind: FileType) -> Result<FileType, SourcesError> {
        if !matches!(kind, FileType::Symlink | FileType::Unknown) {
            return Ok(kind);
        }
        match self.files.open(Path::new(path)) {
            Ok(file) => {
                let kind = file.metadata()?.file_type();
                let regular = if kind.is_file() { FileType::RegularFile } else { FileType::Unknown };
                Ok(if kind.is_dir() { FileType::Directory } else { regular })
            }
            // Guile finds nothing there either.
            Err(Unreadable::Absent) => Ok(FileType::Unknown),
            Err(Unreadable::NotAllowed(_)) if !is_scheme => Ok(FileType::Unknown),
            Err(error) => Err(self.layer.unreadable(path, error)),
        }
    }
}
