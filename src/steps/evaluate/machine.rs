//! Checks whether this machine can evaluate.

use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use crate::evaluator::runtime::{InstalledGuix, RuntimeError};
use crate::farm::fault::MachineFault;

/// How much space must be free in a directory that an evaluation writes to, in bytes.
const SPACE: u64 = 16 << 20;

/// Checks that these directories are writable, and that the Guix below `root` runs in a sandbox.
pub(super) async fn examine(root: &Path, directories: &[PathBuf]) -> Result<(), MachineFault> {
    for directory in directories {
        check_directory(directory).await?;
    }
    check_guix(root).await.map(drop)
}

/// Checks that a directory is writable.
///
/// # Errors
/// Returns why it is not.
pub async fn check_directory(directory: &Path) -> Result<(), MachineFault> {
    let (directory, place) = (directory.to_owned(), directory.display().to_string());
    let written = tokio::task::spawn_blocking(move || write_to(&directory)).await;
    written.map_err(io::Error::other).flatten().map_err(|error| {
        let what = format!("cannot write to {place}: {error}");
        MachineFault::of(&anyhow::Error::from(error).context(format!("writing to {place}")))
            .unwrap_or_else(|| MachineFault::new(what, None))
    })
}

/// Checks that the Guix below `root` runs in a sandbox.
///
/// # Errors
/// Returns what the machine lacks.
pub async fn check_guix(root: &Path) -> Result<InstalledGuix, MachineFault> {
    InstalledGuix::probe(root).await.map_err(|error| explain(root, &error))
}

fn write_to(directory: &Path) -> io::Result<()> {
    let mut file = tempfile::tempfile_in(directory)?;
    match fallocate(&file, FallocateFlags::empty(), 0, SPACE) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    file.write_all(&[1; 4096])?;
    file.sync_data()
}

fn explain(root: &Path, error: &RuntimeError) -> MachineFault {
    match error {
        RuntimeError::Io(error) if error.kind() == ErrorKind::NotFound => {
            if error.to_string().contains("bwrap") {
                let hint = "install bubblewrap, or put `bwrap` on this program's PATH";
                MachineFault::new(error.to_string(), Some(hint))
            } else {
                let what = format!("there is no Guix root {}: {error}", root.display());
                MachineFault::new(what, Some("say where Guix is: `guix-root` in gorget.toml"))
            }
        }
        RuntimeError::Io(error) => MachineFault::of_io(error).unwrap_or_else(|| {
            MachineFault::new(format!("the Guix below {} cannot be started: {error}", root.display()), None)
        }),
        RuntimeError::Probe { reason, .. } if reason.contains("bwrap: ") => MachineFault::new(
            format!("the sandbox cannot be made: {reason}"),
            Some(
                "user namespaces must be allowed; `bwrap --unshare-all --ro-bind / / true` shows what is missing",
            ),
        ),
        error => MachineFault::new(error.to_string(), None),
    }
}
