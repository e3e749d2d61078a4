//! The files of commits, read-only, with each content stored once.
//!
//! ```text
//! blobs/ab/abcd…     a file's content, named by its hash, with `x` at the end if it is executable
//! trees/COMMIT/…     hard links to them; a tree that is there is complete
//! new/…              trees that are being made
//! ```
//!
//! # Guarantees
//!
//! * The result is that of a fresh clone by Guix. Guix's own cached checkout may keep older files
//!   where only attributes changed.
//! * No half-written file is ever found in `blobs`, whatever crashes. A tree is made under a
//!   temporary name: what `blobs` has is linked; what it lacks is written into the tree, made
//!   durable, and only then linked into `blobs`.
//! * A hostile tree cannot make a write go through a symbolic link. Every file is created under a
//!   name that must not exist yet, in a directory that was just made.
//!
//! Files are dated one second after 1970: a later date would make compiled modules look out of
//! date. Contents that attributes convert are stored by the hash of the result.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{FileTimes, Permissions};
use std::io::{self, Write};
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err::os::unix::fs::symlink;
use git2::{Odb, Oid};
use tokio_util::sync::CancellationToken;

use super::conversion::{Converted, convert};
use super::tree::{CheckoutError, Entry, Kind, Refusal, Source, refuse_stopped};
use super::{blocking, stoppable};

/// The biggest file of a commit, in bytes.
const BIGGEST_FILE: usize = 256 << 20;
/// The most that one checkout writes, in bytes.
const MOST_WRITTEN: usize = 4 << 30;
/// The same limit for a channel that only another channel names. A revision can have 32 channels.
const MOST_BROUGHT: usize = 512 << 20;
/// The longest target of a symbolic link, in bytes.
const LONGEST_LINK: usize = 4095;

/// The files of one commit. They are kept as long as this value lives.
#[derive(Debug)]
pub struct Checkout {
    path: PathBuf,
    _hold: fs_err::File,
}

impl Deref for Checkout {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Checkout {
    fn hold(path: PathBuf) -> io::Result<Self> {
        let hold = fs_err::File::open(&path)?;
        hold.file().lock_shared()?;
        Ok(Self { path, _hold: hold })
    }
}

/// The checkouts in one directory.
#[derive(Debug, Clone)]
pub struct Checkouts {
    directory: PathBuf,
    /// The most that one checkout writes, in bytes.
    limit: usize,
}

impl Checkouts {
    /// Keeps checkouts in `directory`, which is created when needed. It must be on one file system.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), limit: MOST_WRITTEN }
    }

    /// The same checkouts, with a lower limit on size, for channels that only another channel
    /// names.
    #[must_use]
    pub fn for_brought_channels(&self) -> Self {
        Self { limit: MOST_BROUGHT, ..self.clone() }
    }

    /// The path of the files of `commit`, whether they exist or not.
    pub fn path(&self, commit: &str) -> PathBuf {
        self.directory.join("trees").join(commit)
    }

    /// The files of `commit` of the repository at `repository`: a directory of read-only files.
    ///
    /// Submodules become empty directories. Concurrent calls for the same commit are safe.
    pub async fn checkout(&self, repository: &Path, commit: &str) -> Result<Checkout, CheckoutError> {
        let (this, repository, commit) = (self.clone(), repository.to_owned(), commit.to_owned());
        stoppable(move |stop| this.make(&repository, &commit, stop)).await
    }

    /// Removes the files of all commits except those in `keep` and those in use by this process or
    /// another; returns the number of commits removed. Waits until no checkout is being made.
    pub async fn remove_unused(&self, keep: HashSet<String>) -> io::Result<usize> {
        let this = self.clone();
        blocking(move || this.sweep(&keep)).await
    }

    fn make(
        &self,
        repository: &Path,
        commit: &str,
        stop: &CancellationToken,
    ) -> Result<Checkout, CheckoutError> {
        let source = Source::open(repository, commit)?;
        let tree = self.path(commit);
        let lock = self.open()?;
        lock.file().lock_shared()?;
        if tree.is_dir() {
            return Ok(Checkout::hold(tree)?);
        }
        let mut entries = source.entries(stop)?;
        let staging = tempfile::tempdir_in(self.directory.join("new"))?;
        let new = staging.path().join(commit);
        fs_err::create_dir(&new)?;
        let converted = convert(&source, &mut entries, &staging.path().join("converted"), stop)?;
        let odb = source.repository.odb().map_err(|error| source.unreadable(error))?;
        let blobs = self.directory.join("blobs");
        let (root, written) = (new.clone(), HashMap::new());
        let mut writer = Writer { source: &source, odb, blobs, root, converted, written, left: self.limit };
        for entry in &entries {
            refuse_stopped(stop)?;
            writer.write(entry)?;
        }
        writer.publish()?;
        match fs_err::rename(&new, &tree) {
            // Another process or task has made the same tree meanwhile.
            Err(error) if !tree.is_dir() => Err(error.into()),
            _ => Ok(Checkout::hold(tree)?),
        }
    }

    fn sweep(&self, keep: &HashSet<String>) -> io::Result<usize> {
        let lock = self.open()?;
        lock.file().lock()?;
        let (trees, new) = (self.directory.join("trees"), self.directory.join("new"));
        let mut removed = 0;
        for entry in fs_err::read_dir(trees)? {
            let entry = entry?;
            let kept = entry.file_name().to_str().is_some_and(|commit| keep.contains(commit));
            if !kept && fs_err::File::open(entry.path())?.file().try_lock().is_ok() {
                fs_err::rename(entry.path(), new.join(entry.file_name()))?;
                removed += 1;
            }
        }
        for entry in fs_err::read_dir(new)? {
            fs_err::remove_dir_all(entry?.path())?;
        }
        for shelf in fs_err::read_dir(self.directory.join("blobs"))? {
            for blob in fs_err::read_dir(shelf?.path())? {
                let blob = blob?;
                if blob.metadata()?.nlink() == 1 {
                    fs_err::remove_file(blob.path())?;
                }
            }
        }
        Ok(removed)
    }

    /// Creates missing directories; returns the lock file, on which a running checkout holds a
    /// shared lock.
    fn open(&self) -> io::Result<fs_err::File> {
        for name in ["blobs", "trees", "new"] {
            fs_err::create_dir_all(self.directory.join(name))?;
        }
        fs_err::OpenOptions::new().create(true).append(true).open(self.directory.join("lock"))
    }
}

/// Writes one commit.
struct Writer<'a> {
    source: &'a Source,
    odb: Odb<'a>,
    blobs: PathBuf,
    root: PathBuf,
    converted: Converted,
    /// The path in the new tree of each content that `blobs` lacks.
    written: HashMap<(Oid, Kind), PathBuf>,
    /// How many bytes it may still write.
    left: usize,
}

impl Writer<'_> {
    fn write(&mut self, entry: &Entry) -> Result<(), CheckoutError> {
        let path = self.root.join(&entry.path);
        match entry.kind {
            Kind::Directory | Kind::Submodule => Ok(fs_err::create_dir(path)?),
            Kind::Link => self.write_link(entry, &path),
            Kind::File | Kind::Executable => {
                let key = (entry.id, entry.kind);
                let stored = self.stored(key);
                let existing = self.written.get(&key).unwrap_or(&stored);
                match std::fs::hard_link(existing, &path) {
                    Err(error) if is_worth_a_copy(&error) => {
                        self.write_file(entry, &path)?;
                        self.written.insert(key, path);
                        Ok(())
                    }
                    Err(_) => Ok(fs_err::hard_link(existing, &path)?),
                    Ok(()) => Ok(()),
                }
            }
        }
    }

    fn write_file(&mut self, entry: &Entry, path: &Path) -> Result<(), CheckoutError> {
        let content = self.read(entry, BIGGEST_FILE)?;
        let mut file = fs_err::OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(&content)?;
        let mode = if entry.kind == Kind::Executable { 0o555 } else { 0o444 };
        file.set_permissions(Permissions::from_mode(mode))?;
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        Ok(file.file().set_times(FileTimes::new().set_modified(date))?)
    }

    fn write_link(&mut self, entry: &Entry, path: &Path) -> Result<(), CheckoutError> {
        let target = self.read(entry, LONGEST_LINK)?;
        if target.is_empty() || target.contains(&0) {
            return Err(self.source.refused(&entry.path, Refusal::Link));
        }
        Ok(symlink(OsStr::from_bytes(&target), path)?)
    }

    /// Reads a content of at most `limit` bytes.
    fn read(&mut self, entry: &Entry, limit: usize) -> Result<Vec<u8>, CheckoutError> {
        let unreadable = |error| self.source.unreadable(error);
        let converted = self.converted.get(&entry.id);
        let size = match converted {
            Some(path) => usize::try_from(fs_err::metadata(path)?.len()).unwrap_or(usize::MAX),
            None => self.odb.read_header(entry.id).map_err(unreadable)?.0,
        };
        match self.left.checked_sub(size) {
            Some(left) if size <= limit => self.left = left,
            _ => return Err(self.source.refused(&entry.path, Refusal::TooBig)),
        }
        if let Some(path) = converted {
            return Ok(fs_err::read(path)?);
        }
        let blob = self.source.repository.find_blob(entry.id).map_err(unreadable)?;
        Ok(blob.content().to_owned())
    }

    /// Links the new contents into `blobs`, once they are durable.
    fn publish(&self) -> io::Result<()> {
        if self.written.is_empty() {
            return Ok(());
        }
        rustix::fs::syncfs(fs_err::File::open(&self.root)?.file())?;
        for (key, path) in &self.written {
            let stored = self.stored(*key);
            if let Some(shelf) = stored.parent() {
                fs_err::create_dir_all(shelf)?;
            }
            match fs_err::hard_link(path, &stored) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::TooManyLinks => {}
                result => result?,
            }
        }
        Ok(())
    }

    fn stored(&self, (id, kind): (Oid, Kind)) -> PathBuf {
        let mut name = id.to_string();
        if kind == Kind::Executable {
            name.push('x');
        }
        self.blobs.join(&name[..2]).join(name)
    }
}

/// Whether a link failed because the content does not exist, or has as many links as the file
/// system allows.
fn is_worth_a_copy(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::TooManyLinks)
}
