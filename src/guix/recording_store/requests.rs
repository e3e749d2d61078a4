//! Counts the requests of clients.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

/// A kind of request.
#[derive(Debug, Clone, Copy)]
pub(super) enum RequestKind {
    /// To add a text, which may be a derivation.
    Text { is_derivation: bool },
    /// To add a file tree.
    Tree,
    /// To build.
    Build,
    /// Anything else.
    Question,
}

/// The counters that connections update.
#[derive(Debug, Default)]
pub(super) struct Counting {
    texts: AtomicU64,
    derivations: AtomicU64,
    trees: AtomicU64,
    builds: AtomicU64,
    questions: AtomicU64,
}

/// How many requests of each kind were answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Requests {
    /// Requests to add a text that is not a derivation, such as a builder.
    pub texts: u64,
    /// Requests to add a derivation.
    pub derivations: u64,
    /// Requests to add a file tree, such as a patch.
    pub trees: u64,
    /// Requests to build.
    pub builds: u64,
    /// Other requests, such as whether a path is valid.
    pub questions: u64,
}

impl AddAssign for Requests {
    fn add_assign(&mut self, more: Self) {
        self.texts += more.texts;
        self.derivations += more.derivations;
        self.trees += more.trees;
        self.builds += more.builds;
        self.questions += more.questions;
    }
}

impl Counting {
    /// Counts one request.
    pub(super) fn count(&self, kind: RequestKind) {
        let counter = match kind {
            RequestKind::Text { is_derivation: false } => &self.texts,
            RequestKind::Text { is_derivation: true } => &self.derivations,
            RequestKind::Tree => &self.trees,
            RequestKind::Build => &self.builds,
            RequestKind::Question => &self.questions,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of requests of each kind so far.
    pub(super) fn so_far(&self) -> Requests {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Requests {
            texts: read(&self.texts),
            derivations: read(&self.derivations),
            trees: read(&self.trees),
            builds: read(&self.builds),
            questions: read(&self.questions),
        }
    }
}
