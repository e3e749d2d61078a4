//! What clients asked for.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

/// A kind of request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    /// To take a text, which may be a derivation.
    Text { is_derivation: bool },
    /// To take a file tree.
    Tree,
    /// To build.
    Build,
    /// Anything else.
    Question,
}

/// Counts them while clients are served.
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
    /// To take a text that is no derivation, such as a builder.
    pub texts: u64,
    /// To take a derivation.
    pub derivations: u64,
    /// To take a file tree, such as a patch.
    pub trees: u64,
    /// To build.
    pub builds: u64,
    /// Anything else, such as whether something is there.
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
    /// Counts one.
    pub(super) fn count(&self, asked: Asked) {
        let counter = match asked {
            Asked::Text { is_derivation: false } => &self.texts,
            Asked::Text { is_derivation: true } => &self.derivations,
            Asked::Tree => &self.trees,
            Asked::Build => &self.builds,
            Asked::Question => &self.questions,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were up to now.
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
