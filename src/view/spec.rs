use schemars::JsonSchema;
use serde::Serialize;

use crate::db::{self, Db, EvaluationId, Result};
use crate::domain::revision::Revision;
use crate::domain::spec::System;
use crate::view::sorted;

/// A part of the specs, by name.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Specs<'a> {
    /// The specs.
    pub items: Vec<SpecSummary<'a>>,
    /// The list goes on with this as `after`; `None` at its end.
    pub next_after: Option<&'a str>,
}

/// A spec, and how it stands.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SpecSummary<'a> {
    /// Whether it is watched and evaluated at all.
    pub active: bool,
    /// Why it is not evaluated, if it is blocked.
    pub blocked: Option<&'a str>,
    /// Its newest evaluation for each system.
    pub evaluations: Vec<NewestEvaluation<'a>>,
    /// Its name.
    pub name: &'a str,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether its file is still there.
    pub present: bool,
    /// From 0 (first) to 9 (last).
    pub priority: u8,
    /// The systems that it is evaluated for.
    pub systems: Vec<&'a str>,
    /// The template that it was made from.
    pub template: Option<&'a str>,
}

/// The newest evaluation of a spec for a system.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NewestEvaluation<'a> {
    /// How many jobs could not be evaluated.
    pub errors: i64,
    /// Its number.
    pub id: EvaluationId,
    /// The revision that is evaluated.
    #[serde(serialize_with = "sorted")]
    pub revision: &'a Revision,
    /// Its state.
    pub state: &'static str,
    /// The system.
    pub system: &'a str,
}

/// The rows of a part of the specs.
#[derive(Debug)]
pub struct Rows {
    specs: Vec<db::StoredSpec>,
    is_cut: bool,
    blocked: Vec<db::BlockedSpec>,
    pauses: Vec<db::Pause>,
    newest: Vec<db::Evaluation>,
}

impl Rows {
    /// Reads at most `limit` specs: those whose names contain `text`, after the name `after`.
    pub async fn load(db: &Db, text: &str, after: &str, limit: usize) -> Result<Self> {
        let mut specs = db.specs().await?;
        // Databases may sort names in another way.
        specs.sort_by(|one, other| one.spec.name.cmp(&other.spec.name));
        specs.retain(|stored| stored.spec.name.contains(text) && stored.spec.name.as_str() > after);
        let is_cut = specs.len() > limit;
        specs.truncate(limit);
        Ok(Self {
            specs,
            is_cut,
            blocked: db.blocked_specs().await?,
            pauses: db.pauses().await?,
            newest: db.newest_evaluations().await?,
        })
    }
}

impl<'a> Specs<'a> {
    /// The view of these rows.
    pub fn new(rows: &'a Rows) -> Self {
        Self {
            items: rows.specs.iter().map(|stored| SpecSummary::new(stored, rows)).collect(),
            next_after: rows.specs.last().filter(|_| rows.is_cut).map(|stored| stored.spec.name.as_str()),
        }
    }
}

impl<'a> SpecSummary<'a> {
    fn new(stored: &'a db::StoredSpec, rows: &'a Rows) -> Self {
        let spec = &stored.spec;
        let name = spec.name.as_str();
        let newest = rows.newest.iter().filter(|one| one.spec_id == stored.id);
        let blocked = rows.blocked.iter().find(|block| block.spec == name);
        Self {
            active: spec.active,
            blocked: blocked.map(|block| block.reason.as_str()),
            evaluations: newest.map(NewestEvaluation::new).collect(),
            name,
            paused: rows.pauses.iter().any(|pause| pause.stops_spec(spec)),
            present: stored.present,
            priority: spec.priority,
            systems: spec.systems.iter().map(System::as_str).collect(),
            template: spec.template.as_deref(),
        }
    }
}

impl<'a> NewestEvaluation<'a> {
    fn new(row: &'a db::Evaluation) -> Self {
        Self {
            errors: row.errors,
            id: row.id,
            revision: &row.revision,
            state: row.state.word(),
            system: row.system.as_str(),
        }
    }
}
