//! A package, or a job, over specs and systems: what it is now, and what it was.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::db::{self, BuildId, BuildState, Db, EvaluationId, OutputBuild, Result};
use crate::view::history::Span;

/// The most current jobs.
const JOBS: i64 = 500;

/// A package or job.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Package<'a> {
    /// The derivations that its jobs had, the newest first.
    pub history: Vec<Span<'a>>,
    /// The name that was asked for.
    pub name: &'a str,
    /// Its jobs in the newest evaluations, at most 500.
    pub now: Vec<CurrentJob<'a>>,
}

/// A job as it is now.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CurrentJob<'a> {
    /// The build of its outputs, if they are wanted or known.
    pub build: Option<BuildId>,
    /// The store path of its derivation.
    pub derivation: &'a str,
    /// The first evaluation in which it has this derivation.
    pub first: EvaluationId,
    /// Its name.
    pub job: &'a str,
    /// The spec.
    pub spec: &'a str,
    /// The state of the build.
    pub state: Option<BuildState>,
    /// The system.
    pub system: &'a str,
    /// The version of the package.
    pub version: Option<&'a str>,
}

/// The rows about a package.
#[derive(Debug)]
pub struct Rows {
    name: String,
    history: Vec<db::Span>,
    now: Vec<db::Span>,
    builds: HashMap<i64, OutputBuild>,
}

impl Rows {
    /// Reads the rows, with this number of entries of the history; `None` if no evaluation has or
    /// had the package or job.
    pub async fn load(db: &Db, name: &str, spec: Option<&str>, history: i64) -> Result<Option<Self>> {
        let now = db.current_spans(name, spec, JOBS).await?;
        let history = db.history(name, spec, history).await?;
        if history.is_empty() {
            return Ok(None);
        }
        let builds = db.output_builds(now.iter().map(|span| span.outputs)).await?;
        Ok(Some(Self { name: name.to_owned(), history, now, builds }))
    }
}

impl<'a> Package<'a> {
    /// The view of these rows.
    pub fn new(rows: &'a Rows) -> Self {
        let current = |span: &'a db::Span| {
            let build = rows.builds.get(&span.outputs);
            CurrentJob {
                build: build.map(|build| build.id),
                derivation: &span.derivation,
                first: span.first,
                job: &span.job,
                spec: &span.spec,
                state: build.map(|build| build.state),
                system: &span.system,
                version: span.version.as_deref(),
            }
        };
        Self {
            history: rows.history.iter().map(Span::new).collect(),
            name: &rows.name,
            now: rows.now.iter().map(current).collect(),
        }
    }
}
