//! Compiled modules by key, on disk.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::index::Hash;

/// A compiled module may be so large, in bytes.
const MAX_COMPILED: u64 = 256 << 20;
/// What is kept of the message of a failed compilation, in bytes.
const MAX_MESSAGE: usize = 8 << 10;

/// Compiled modules that were made for earlier revisions, and what failed to compile.
///
/// Entries are written whole and never changed, so any number of evaluations can share a cache.
///
/// While a module is compiled, the code of everything that it imports runs, and could write a
/// compiled module that does something else than its source says. A sandbox cannot prevent that.
/// Hence the *domain*: entries made for one domain are never used in another. Use one domain for
/// branches whose committers trust each other.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    domain: String,
}

impl Cache {
    /// The cache in `directory`, which is made when it is missing, for the domain `domain`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(directory: impl Into<PathBuf>, domain: impl Into<String>) -> io::Result<Self> {
        let cache = Self { directory: directory.into(), domain: domain.into() };
        for name in ["compiled", "failed", "work"] {
            fs_err::create_dir_all(cache.directory.join(name))?;
        }
        let directory = fs_err::canonicalize(&cache.directory)?;
        Ok(Self { directory, ..cache })
    }

    /// The directory of compiled modules.
    pub(super) fn compiled(&self) -> PathBuf {
        self.directory.join("compiled")
    }

    /// A directory for work in progress; it goes when it is dropped.
    pub(super) fn work(&self, prefix: &str) -> io::Result<tempfile::TempDir> {
        tempfile::Builder::new().prefix(prefix).tempdir_in(self.directory.join("work"))
    }

    /// The file name of the compiled module with `key`.
    pub(super) fn name(&self, key: &Hash) -> String {
        let hash = Sha256::new_with_prefix(self.domain.as_bytes()).chain_update([0]).chain_update(key);
        format!("{}.go", data_encoding::HEXLOWER.encode(&hash.finalize()))
    }

    /// Whether there is a compiled module with `key`.
    pub(super) fn has(&self, key: &Hash) -> bool {
        self.compiled().join(self.name(key)).is_file()
    }

    /// Why the module with the failure key `key` does not compile, when that is known.
    pub(super) fn failure(&self, key: &Hash) -> Option<String> {
        let text = fs_err::read(self.directory.join("failed").join(self.name(key))).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Takes in `file`, which a sandbox that has ended left behind; `false` when it is no compiled
    /// module.
    ///
    /// The contents are copied, not the file moved: nobody else can have a hold of the copy.
    pub(super) fn add(&self, key: &Hash, file: &Path) -> io::Result<bool> {
        let Ok(metadata) = file.symlink_metadata() else { return Ok(false) };
        if !metadata.is_file() || metadata.len() > MAX_COMPILED {
            return Ok(false);
        }
        let contents = fs_err::read(file)?;
        if !contents.starts_with(b"\x7fELF") {
            return Ok(false);
        }
        self.write(&self.compiled().join(self.name(key)), &contents)?;
        Ok(true)
    }

    /// Remembers that the module with the failure key `key` does not compile.
    pub(super) fn add_failure(&self, key: &Hash, message: &str) -> io::Result<()> {
        self.write(&self.directory.join("failed").join(self.name(key)), message.as_bytes())
    }

    /// Reads the message in `file`, if a sandbox that has ended left a proper one.
    pub(super) fn message(file: &Path) -> Option<String> {
        let is_file = file.symlink_metadata().ok()?.is_file();
        let text = is_file.then(|| fs_err::read(file).ok()).flatten()?;
        let text = String::from_utf8_lossy(&text[..text.len().min(MAX_MESSAGE)]).trim().to_owned();
        Some(text)
    }

    fn write(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(self.directory.join("work"))?;
        file.write_all(contents)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}
