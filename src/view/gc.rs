use serde::Serialize;

use crate::clock::Seconds;
use crate::db::{self, EvaluationId};
use crate::domain::retention::Reason;

/// An evaluation that is kept or forgotten.
#[derive(Debug, Serialize)]
pub struct Retained<'a> {
    /// When it ended.
    pub at: Seconds,
    /// Its number.
    pub evaluation: EvaluationId,
    /// Why it is kept; none if it is forgotten.
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

/// What a sweep removed, or would remove.
#[derive(Debug, Serialize)]
pub struct Swept {
    /// The size of the store items.
    pub bytes: i64,
    /// How many derivations.
    pub derivations: u64,
    /// How many store items.
    pub items: u64,
}

impl Swept {
    /// The view of a row.
    pub fn new(row: &db::Swept) -> Self {
        let &db::Swept { derivations, items, bytes } = row;
        Self { bytes, derivations, items }
    }
}
