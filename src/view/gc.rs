use serde::Serialize;

use crate::clock::Seconds;
use crate::db::{self, EvaluationId};
use crate::domain::retention::Reason;

/// An evaluation, and whether it is kept.
#[derive(Debug, Serialize)]
pub struct Retained<'a> {
    /// When it ended.
    pub at: Seconds,
    /// Its number.
    pub evaluation: EvaluationId,
    /// Why it is kept; `None` if it is removed.
    pub kept: Option<&'static str>,
    /// Its spec.
    pub spec: &'a str,
    /// Its system.
    pub system: &'a str,
}

impl<'a> Retained<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Retained) -> Self {
        let db::Retained { id, spec, system, at, reason } = row;
        Self { at: *at, evaluation: *id, kept: reason.map(Reason::words), spec, system }
    }
}

/// The result of a sweep, real or simulated.
#[derive(Debug, Serialize)]
pub struct Swept {
    /// The total size of the store items, in bytes.
    pub bytes: i64,
    /// The number of derivations.
    pub derivations: u64,
    /// The number of store items.
    pub items: u64,
}

impl Swept {
    /// The view of a row.
    pub fn new(row: &db::Swept) -> Self {
        let &db::Swept { derivations, items, bytes } = row;
        Self { bytes, derivations, items }
    }
}
