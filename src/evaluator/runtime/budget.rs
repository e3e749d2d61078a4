//! How many bytes the compiled modules of one revision may take on the disk.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The least that a file takes on disk, in bytes.
pub(super) const BLOCK: u64 = 4096;

/// The budget that all sandboxes share that compile for one revision.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicU64,
    spent: AtomicBool,
}

impl Budget {
    /// A budget of `bytes`.
    pub(super) fn new(bytes: u64) -> Self {
        Self { left: bytes.into(), spent: false.into() }
    }

    /// Takes `bytes` from the budget; `false` when fewer are left.
    pub(super) fn take(&self, bytes: u64) -> bool {
        let less = |left: u64| left.checked_sub(bytes);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        if !taken {
            self.spent.store(true, Ordering::Relaxed);
        }
        taken
    }

    /// Takes the disk space that a file of `bytes` needs.
    pub(super) fn take_file(&self, bytes: usize) -> bool {
        self.take((bytes as u64).next_multiple_of(BLOCK))
    }

    /// Whether something did not fit into the budget.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }
}

/// A file that is being written. If it is dropped before it is complete, the file is removed, and
/// its bytes return to the budget.
#[derive(Debug)]
pub(super) struct PendingFile<'a> {
    budget: &'a Budget,
    file: PathBuf,
    bytes: u64,
    is_complete: bool,
}

impl<'a> PendingFile<'a> {
    /// An empty file.
    pub(super) fn new(budget: &'a Budget, file: PathBuf) -> Self {
        Self { budget, file, bytes: 0, is_complete: false }
    }

    /// Lets the file grow by `count` bytes; `false` when fewer are left in the budget.
    pub(super) fn grow(&mut self, count: usize) -> bool {
        let count = count as u64;
        let grows = self.budget.take(count);
        self.bytes += if grows { count } else { 0 };
        grows
    }

    /// The size so far, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps the file, and returns its path.
    pub(super) fn complete(mut self) -> PathBuf {
        self.is_complete = true;
        std::mem::take(&mut self.file)
    }
}

impl Drop for PendingFile<'_> {
    fn drop(&mut self) {
        if !self.is_complete {
            let _ = fs_err::remove_file(&self.file);
            self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_arrive_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let budget = Budget::new(10_000);
        for name in ["kept", "dropped"] {
            fs_err::write(file(name), name).unwrap();
        }
        let mut kept = PendingFile::new(&budget, file("kept"));
        let mut dropped = PendingFile::new(&budget, file("dropped"));
        assert!(kept.grow(4_000) && dropped.grow(5_000) && !budget.is_spent());
        assert!(!kept.grow(2_000) && budget.is_spent());
        drop(dropped);
        assert!(kept.grow(2_000));
        assert_eq!((kept.bytes(), kept.complete()), (6_000, file("kept")));
        assert!(file("kept").exists() && !file("dropped").exists());
        assert!(!budget.take_file(1) && budget.take(4_000));
    }
}
