use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Seconds;
use crate::db::{self, Db, EvaluationId};
use crate::domain::coverage::{ANSWER_LIFETIME, Counts, Enough, Missing};

/// What substitute servers have of the newest complete evaluation of a spec and system.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Coverage<'a> {
    /// When it was counted; `null` if it is not counted yet, so that nothing is known.
    pub counted_at: Option<Seconds>,
    /// The evaluation.
    pub evaluation: Option<EvaluationId>,
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
    /// What all servers have together; `null` if it is not counted yet.
    pub total: Option<Share>,
    /// When the evaluation was wanted.
    pub wanted_at: Option<Seconds>,
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
    /// Whether some server has not answered, so that it may be there.
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

/// What views of coverage are made of.
#[derive(Debug)]
pub struct Rows {
    specs: Vec<db::StoredSpec>,
    counts: Vec<db::Coverage>,
    now: Seconds,
}

impl Rows {
    /// Reads the active specs, or one of them, and what was counted for them.
    pub async fn load(db: &Db, spec: Option<&str>, now: Seconds) -> db::Result<Self> {
        let mut specs = db.specs().await?;
        specs.retain(|stored| {
            let is_asked_for = stored.present && stored.spec.active && !stored.spec.is_template();
            is_asked_for && spec.is_none_or(|name| stored.spec.name == name)
        });
        Ok(Self { specs, counts: db.coverage(spec).await?, now })
    }

    /// The numbers of a row. Old ones say nothing.
    fn share(&self, row: &db::Coverage) -> Share {
        let is_old = self.now - row.counted_at >= ANSWER_LIFETIME;
        let unknown = Counts { present: 0, absent: 0, unknown: row.counts.total() };
        Share::new(if is_old { unknown } else { row.counts })
    }
}

impl<'a> Coverage<'a> {
    /// The views of each spec and system, whether it was counted or not.
    pub fn all(rows: &'a Rows) -> Vec<Self> {
        let of_spec = |stored: &'a db::StoredSpec| {
            stored.spec.systems.iter().map(|system| Self::new(rows, &stored.spec.name, system.as_str()))
        };
        rows.specs.iter().flat_map(of_spec).collect()
    }

    fn new(rows: &'a Rows, spec: &'a str, system: &'a str) -> Self {
        let own: Vec<&db::Coverage> =
            rows.counts.iter().filter(|row| row.spec == spec && row.system == system).collect();
        let last = own.iter().find(|row| row.server.is_empty() && row.hours == 0);
        let at_server = own.iter().filter(|row| !row.server.is_empty() && row.hours == 0);
        let then = own.iter().filter(|row| row.server.is_empty() && row.hours > 0);
        let total = last.map(|row| rows.share(row));
        Self {
            counted_at: last.map(|row| row.counted_at),
            evaluation: last.map(|row| row.evaluation),
            missing: last
                .and_then(|row| row.missing.as_ref())
                .filter(|_| total.is_some_and(|total| total.absent > 0)),
            servers: at_server.map(|row| ServerShare { share: rows.share(row), url: &row.server }).collect(),
            spec,
            system,
            then: then.map(|row| ShareThen { share: Share::new(row.counts), hours: row.hours }).collect(),
            total,
            wanted_at: last.map(|row| row.created_at),
        }
    }

    /// What all servers have, or the one at `url`; `None` if there is no such server.
    pub fn share(&self, url: Option<&str>) -> Option<Share> {
        let Some(url) = url else { return self.total };
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
