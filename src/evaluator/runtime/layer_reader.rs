//! Reads the files of a layer of modules. A channel's files are untrusted: no name and no link
//! leads out of the channel.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;

use super::layer::Layer;

/// How often opening a file is tried while the kernel cannot resolve its path.
const TRIES: usize = 100;

/// A directory whose files are read.
pub(super) struct LayerReader {
    /// The directory that no name leads out of.
    top: OwnedFd,
    /// The directory to read, relative to `top`.
    within: PathBuf,
    resolve: ResolveFlags,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// There is no file of this name.
    #[error("there is no such file")]
    Absent,
    /// It is not a file that may be read. A retry would give the same.
    #[error("{0}")]
    NotAllowed(&'static str),
    /// It is longer than the limit that is left.
    #[error("it is too large")]
    TooLarge,
    /// The machine cannot read it now.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl LayerReader {
    /// In a channel, only links within its repository are followed. The installed Guix may link
    /// anywhere, because profiles are made of links.
    pub(super) fn new(layer: &Layer) -> io::Result<Self> {
        let within = layer.directory.strip_prefix(&layer.top).map_err(io::Error::other)?.to_owned();
        let mut resolve = ResolveFlags::NO_MAGICLINKS;
        resolve.set(ResolveFlags::BENEATH, !layer.kind.is_trusted());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { top: open(&layer.top, flags, Mode::empty())?, within, resolve })
    }

    /// Opens a file of any type, without blocking.
    pub(super) fn open(&self, path: &Path) -> Result<fs_err::File, Unreadable> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let path = self.within.join(path);
        // While directories are renamed anywhere, the kernel may not know where `..` leads.
        let mut tries = (0..TRIES).map(|_| openat2(&self.top, &path, flags, Mode::empty(), self.resolve));
        let opened = tries.find(|opened| !matches!(opened, Err(Errno::AGAIN))).unwrap_or(Err(Errno::AGAIN));
        let file = opened.map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL => Unreadable::Absent,
            Errno::XDEV => Unreadable::NotAllowed("it is a link that leads out of its channel"),
            Errno::LOOP => Unreadable::NotAllowed("it is a link that leads nowhere"),
            error => Unreadable::Io(error.into()),
        })?;
        Ok(fs_err::File::from_parts(file.into(), path))
    }

    /// The real path of a file on this machine, with links resolved.
    pub(super) fn real(&self, path: &Path) -> Result<PathBuf, Unreadable> {
        real(&self.open(path)?)
    }

    /// The real path of a directory, with links resolved.
    pub(super) fn directory(&self, path: &Path) -> Result<PathBuf, Unreadable> {
        let file = self.open(path)?;
        if file.metadata()?.is_dir() {
            real(&file)
        } else {
            Err(Unreadable::NotAllowed("it is not a directory"))
        }
    }

    /// The contents of a regular file of at most `limit` bytes.
    pub(super) fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, Unreadable> {
        let file = self.open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(Unreadable::Absent);
        }
        if !metadata.is_file() {
            return Err(Unreadable::NotAllowed("it is not a regular file"));
        }
        let mut text = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut text)?;
        if text.len() as u64 > limit {
            return Err(Unreadable::TooLarge);
        }
        Ok(text)
    }
}

fn real(file: &fs_err::File) -> Result<PathBuf, Unreadable> {
    Ok(fs_err::read_link(format!("/proc/self/fd/{}", file.file().as_raw_fd()))?)
}
