//! Faults of the machine: a full disk, a missing program, an unreachable database.
//!
//! A fault says nothing about the work that met it, so it never fails a revision. The step that
//! meets one pauses, logs it, and retries until it is gone.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};

use rustix::io::Errno;

use crate::db;

/// A fault of the machine: what is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFault {
    what: String,
    hint: Option<&'static str>,
    scarce: bool,
}

impl fmt::Display for MachineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.hint.map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

impl Error for MachineFault {}

impl MachineFault {
    /// A fault with its description; `hint` says what to do.
    pub fn new(what: impl Into<String>, hint: Option<&'static str>) -> Self {
        Self { what: what.into(), hint, scarce: false }
    }

    /// Whether memory or file descriptors ran out. The work that met the fault may have used them
    /// up itself.
    pub fn is_scarcity(&self) -> bool {
        self.scarce
    }

    /// The fault of the machine that an error reports; `None` if the machine is not the cause.
    pub fn of(error: &anyhow::Error) -> Option<Self> {
        let of = |cause: &(dyn Error + 'static)| {
            if let Some(fault) = cause.downcast_ref::<Self>() {
                Some(fault.clone())
            } else if let Some(error) = cause.downcast_ref::<db::Error>() {
                error.is_passing().then(|| Self::new(error.to_string(), None))
            } else {
                let fault = Self::of_io(cause.downcast_ref()?)?;
                Some(Self { what: format!("{error:#}"), ..fault })
            }
        };
        error.chain().find_map(of)
    }

    /// The fault of the machine that an error of a file or a process reports.
    pub fn of_io(error: &io::Error) -> Option<Self> {
        let scarce = error.kind() == ErrorKind::OutOfMemory
            || Errno::from_io_error(error).is_some_and(|errno| [Errno::MFILE, Errno::NFILE].contains(&errno));
        Some(Self { what: error.to_string(), hint: Some(hint(error)?), scarce })
    }
}

/// Whether the output of a failed program blames the machine. Untrusted code may have written that
/// text, so this decides only how soon a retry is due.
pub fn mentions_machine_fault(text: &str) -> bool {
    const WORDS: [&str; 8] = [
        "No space left on device",
        "Disk quota exceeded",
        "Input/output error",
        "Read-only file system",
        "Cannot allocate memory",
        "Too many open files",
        "cannot start ",
        "bwrap: ",
    ];
    WORDS.iter().any(|words| text.contains(words))
}

/// The hint for an error that the machine causes; `None` for any other error.
fn hint(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::StorageFull => return Some("the disk is full: free some space"),
        ErrorKind::QuotaExceeded => return Some("the disk quota of this user is used up"),
        ErrorKind::ReadOnlyFilesystem => return Some("the file system is read-only: see the kernel's log"),
        ErrorKind::OutOfMemory => return Some("no memory is left: lower `memory` in gorget.toml"),
        ErrorKind::StaleNetworkFileHandle => return Some("the file server lost the file: mount it again"),
        _ => {}
    }
    match Errno::from_io_error(error)? {
        Errno::IO => Some("the disk fails: see the kernel's log"),
        Errno::MFILE | Errno::NFILE => Some("too many files are open: raise the limit (`ulimit -n`)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_machine_is_blamed_for_what_is_its_own_wherever_it_stands_in_the_chain() {
        let fault = |errno: Errno| {
            let error: io::Result<()> = Err(errno.into());
            MachineFault::of(&error.context("checking out a channel").unwrap_err())
        };
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::IO, Errno::NOMEM, Errno::MFILE] {
            let fault = fault(errno).unwrap().to_string();
            assert!(fault.starts_with("checking out a channel: ") && fault.contains("\nhint: "), "{fault}");
        }
        assert_eq!(fault(Errno::NOENT), None);
        assert_eq!(fault(Errno::PIPE), None);
        let message = anyhow::anyhow!("No space left on device");
        assert_eq!(MachineFault::of(&message), None, "a text may be anybody's");
        let database = anyhow::Error::from(db::Error::NotSweeping);
        assert_eq!(MachineFault::of(&database), None);
    }
}
