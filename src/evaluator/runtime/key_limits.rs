//! Limits for computing keys.
//!
//! Real channels come nowhere near these limits. Malicious sources could make the comparison of
//! modules take time that grows with the square of their size.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most steps for untrusted sources. A step takes some tens of nanoseconds. Guix takes 70 million.
const MAX_STEPS: u64 = 3_000_000_000;
/// Most memory beside the sources, in bytes, as counted here. Guix takes 77 MiB.
const MAX_BYTES: u64 = 512 << 20;
/// How much a meter counts before it takes that from the shared limits.
const CHUNK: u64 = 1 << 16;

/// What is left of the limits. Threads share it, each through a meter of its own.
#[derive(Debug)]
pub struct KeyLimits {
    steps: AtomicU64,
    bytes: AtomicU64,
}

/// Why a computation ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitExceeded {
    /// It would take too long.
    #[error("comparing them takes more than {MAX_STEPS} steps")]
    Steps,
    /// It would take too much memory.
    #[error("comparing them takes more than {} MiB of memory", MAX_BYTES >> 20)]
    Bytes,
}

impl KeyLimits {
    /// Limits for channels.
    pub fn limited() -> Self {
        Self::of(MAX_STEPS, MAX_BYTES)
    }

    /// No limits, for what is installed.
    pub fn unlimited() -> Self {
        Self::of(u64::MAX, u64::MAX)
    }

    /// Limits of `steps` and `bytes`.
    pub(super) fn of(steps: u64, bytes: u64) -> Self {
        Self { steps: steps.into(), bytes: bytes.into() }
    }

    /// A meter for one thread.
    pub fn meter(&self) -> Meter<'_> {
        Meter { limits: self, steps: Cell::new(0), bytes: Cell::new(0) }
    }

    /// The steps and bytes that were used, of those that channels may use.
    pub fn used(&self) -> (u64, u64) {
        let left = [&self.steps, &self.bytes].map(|left| left.load(Ordering::Relaxed));
        (MAX_STEPS.saturating_sub(left[0]), MAX_BYTES.saturating_sub(left[1]))
    }
}

/// Counts what one thread uses.
pub struct Meter<'a> {
    limits: &'a KeyLimits,
    steps: Cell<u64>,
    bytes: Cell<u64>,
}

impl Meter<'_> {
    /// Counts steps.
    pub fn steps(&self, count: usize) -> Result<(), LimitExceeded> {
        self.steps.set(self.steps.get() + count as u64);
        if self.steps.get() < CHUNK { Ok(()) } else { self.settle() }
    }

    /// Counts bytes that are kept.
    pub fn bytes(&self, count: usize) -> Result<(), LimitExceeded> {
        self.bytes.set(self.bytes.get() + count as u64);
        if self.bytes.get() < CHUNK { Ok(()) } else { self.settle() }
    }

    /// Takes what was counted from the shared limits.
    pub fn settle(&self) -> Result<(), LimitExceeded> {
        let take = |left: &AtomicU64, count: u64| {
            let less = |left: u64| Some(left.saturating_sub(count));
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok_and(|left| left >= count)
        };
        let steps = take(&self.limits.steps, self.steps.take());
        let bytes = take(&self.limits.bytes, self.bytes.take());
        match () {
            () if !steps => Err(LimitExceeded::Steps),
            () if !bytes => Err(LimitExceeded::Bytes),
            () => Ok(()),
        }
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        let _ = self.settle();
    }
}
