use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Seconds;
use crate::db::{self, EvaluationId};
use crate::domain::coverage::{Counts, Enough, Missing};

/// What substitute servers have of the newest complete evaluation of a spec and system.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Coverage<'a> {
    /// When it was counted.
    pub counted_at: Seconds,
    /// The evaluation.
    pub evaluation: EvaluationId,
    /// What keeps absent outputs back.
    pub missing: Option<&'a Missing>,
    /// What each server has.
    pub servers: Vec<ServerShare<'a>>,
    /// The spec.
    pub spec: &'a str,
    /// The system.
    pub system: &'a str,
    /// What all servers had together some hours after the evaluation was wanted.
    pub then: Vec<ShareThen>,
    /// What all servers have together.
    pub total: Share,
    /// When the evaluation was wanted.
    pub wanted_at: Seconds,
}

/// Numbers of sets of outputs. A set counts as present if all its outputs are.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct Share {
    /// The server does not have them.
    pub absent: i64,
    /// How many per cent are present, rounded down; `null` if there is nothing.
    pub percent: Option<f64>,
    /// The server has them.
    pub present: i64,
    /// The server was not asked yet, or has not answered for a while.
    pub unknown: i64,
}

/// What one server has.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServerShare<'a> {
    /// How much.
    pub share: Share,
    /// Its URL, without credentials.
    pub url: &'a str,
}

/// What servers had some time after the evaluation was wanted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ShareThen {
    /// After so many hours.
    pub hours: i64,
    /// How much.
    pub share: Share,
}

/// A job whose outputs no server has, as far as is known.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MissingJob<'a> {
    /// The number of its build.
    pub build: Option<i64>,
    /// The name of the job.
    pub job: &'a str,
    /// Whether a server has not answered, so that it may be there.
    pub may_be_there: bool,
    /// The spec.
    pub spec: &'a str,
    /// The state of its build; `null` if nothing wants it.
    pub state: Option<&'static str>,
    /// The system.
    pub system: &'a str,
}

/// A part of the missing jobs of a spec and system, by name.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MissingJobs<'a> {
    /// The jobs.
    pub items: Vec<MissingJob<'a>>,
    /// The list goes on with this as `after`; `None` at its end.
    pub next: Option<&'a str>,
}

impl<'a> MissingJob<'a> {
    /// The view of a row.
    pub fn new(of: &Coverage<'a>, row: &'a db::MissingJob) -> Self {
        Self {
            build: row.build.map(|id| id.0),
            job: &row.job,
            may_be_there: row.absent_at < i64::try_from(of.servers.len()).unwrap_or(i64::MAX),
            spec: of.spec,
            state: row.state.map(db::BuildState::word),
            system: of.system,
        }
    }
}

impl Share {
    fn new(counts: Counts) -> Self {
        let Counts { present, absent, unknown } = counts;
        Self { absent, percent: counts.percent(), present, unknown }
    }

    /// The numbers.
    pub fn counts(self) -> Counts {
        let Self { absent, present, unknown, .. } = self;
        Counts { present, absent, unknown }
    }
}

impl<'a> Coverage<'a> {
    /// The views of rows, which come by spec and system, and of each of these by server.
    pub fn all(rows: &'a [db::Coverage]) -> Vec<Self> {
        rows.chunk_by(|one, next| one.evaluation == next.evaluation).filter_map(Self::new).collect()
    }

    fn new(rows: &'a [db::Coverage]) -> Option<Self> {
        let last = rows.iter().find(|row| row.server.is_empty() && row.hours == 0)?;
        let server = |row: &'a db::Coverage| ServerShare { share: Share::new(row.counts), url: &row.server };
        let then = |row: &db::Coverage| ShareThen { share: Share::new(row.counts), hours: row.hours };
        Some(Self {
            counted_at: last.counted_at,
            evaluation: last.evaluation,
            missing: last.missing.as_ref(),
            total: Share::new(last.counts),
            servers: rows.iter().filter(|row| !row.server.is_empty() && row.hours == 0).map(server).collect(),
            spec: &last.spec,
            system: &last.system,
            then: rows.iter().filter(|row| row.server.is_empty() && row.hours > 0).map(then).collect(),
            wanted_at: last.created_at,
        })
    }

    /// What all servers have, or the one at `url`; `None` if there is no such server.
    pub fn share(&self, url: Option<&str>) -> Option<Share> {
        let Some(url) = url else { return Some(self.total) };
        self.servers.iter().find(|server| server.url == url).map(|server| server.share)
    }

    /// What keeps absent outputs back, in words: the most frequent first.
    pub fn reasons(&self) -> Vec<(&'a str, i64)> {
        let states = self.missing.iter().flat_map(|missing| &missing.states);
        let mut states: Vec<(&str, i64)> = states.map(|(state, count)| (state.as_str(), *count)).collect();
        states.sort_by_key(|(state, count)| (std::cmp::Reverse(*count), *state));
        states
    }
}

/// Whether each of these is covered to so many per cent: no if any is not, or else unknown if that
/// is not known of any, or if there is none.
pub fn enough(shares: impl IntoIterator<Item = Option<Share>>, percent: f64) -> Enough {
    let mut result = None;
    for share in shares {
        match share.map_or(Enough::Unknown, |share| share.counts().has(percent)) {
            Enough::No => return Enough::No,
            Enough::Unknown => result = Some(Enough::Unknown),
            Enough::Yes => result = result.or(Some(Enough::Yes)),
        }
    }
    result.unwrap_or(Enough::Unknown)
}

/// A percentage for people: `99.1 %`.
pub fn percentage(percent: Option<f64>) -> String {
    percent.map_or_else(|| "–".to_owned(), |percent| format!("{percent:.1}\u{a0}%"))
}
