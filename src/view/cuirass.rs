//! The objects of Cuirass's API, for clients of Cuirass such as Guix's own `(guix ci)`.
//!
//! Guile's JSON reader runs the converter of a field also if the field is missing. So no field is
//! null or missing, in any object: a time that is not known is 0.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::Seconds;
use crate::db::{self, BuildId, BuildState, EvaluationId, EvaluationState, JobBuild, TimedBuild};
use crate::domain::revision::Revision;
use crate::domain::spec::{Spec, Subset};

/// Cuirass's number for an unknown change of a job's result.
const WEATHER_UNKNOWN: i8 = -1;

/// Cuirass's number for the state of a build.
pub fn build_status(state: BuildState) -> i8 {
    use BuildState::{
        AwaitingApproval, Building, Canceled, Canceling, Failed, Known, Pending, Queued, Rejected, Submitted,
        Substituted, Succeeded,
    };
    match state {
        Known | Pending | AwaitingApproval | Queued | Submitted => -2,
        Building => -1,
        Succeeded | Substituted => 0,
        Failed => 1,
        Rejected => 3,
        Canceling | Canceled => 4,
    }
}

/// A build.
#[derive(Debug, Serialize)]
pub struct Build<'a> {
    /// The outputs, by name.
    pub buildoutputs: BTreeMap<&'a str, Output>,
    /// What can be downloaded: nothing.
    pub buildproducts: [(); 0],
    /// The state, as a number.
    pub buildstatus: i8,
    /// 1 while it is being built.
    pub busy: u8,
    /// The store path of its derivation.
    pub derivation: &'a str,
    /// The evaluation that wanted it first.
    pub evaluation: EvaluationId,
    /// 1 if it has ended.
    pub finished: u8,
    /// Its number.
    pub id: BuildId,
    /// The job that wanted it.
    pub job: &'a str,
    /// The spec of the evaluation.
    pub jobset: &'a str,
    /// The name of the derivation.
    pub nixname: &'a str,
    /// The priority of its spec, 0 (first) to 9 (last).
    pub priority: i64,
    /// When the last attempt began.
    pub starttime: Seconds,
    /// When it ended.
    pub stoptime: Seconds,
    /// The system of the evaluation.
    pub system: &'a str,
    /// When it ended, else when it was queued.
    pub timestamp: Seconds,
    /// How the result differs from the job's result before.
    pub weather: i8,
}

/// An output of a build.
#[derive(Debug, Serialize)]
pub struct Output {
    /// Its store path.
    pub path: String,
}

impl<'a> Build<'a> {
    /// The view of a row.
    pub fn new(row: &'a TimedBuild) -> Self {
        let db::Build { state, created_at, .. } = row.build;
        let is_over = !state.is_open() && state != BuildState::Known;
        // A substitute server has no attempts.
        let ended_at = row.ended_at.or(row.build.answered_at).unwrap_or(created_at);
        let base_name = row.build.derivation.trim_start_matches("/gnu/store/");
        let name = base_name.get(33..).unwrap_or(base_name);
        let output = |(name, base_name): &'a (String, String)| {
            (name.as_str(), Output { path: format!("/gnu/store/{base_name}") })
        };
        Self {
            buildoutputs: row.outputs.iter().map(output).collect(),
            buildproducts: [],
            buildstatus: build_status(state),
            busy: u8::from(state == BuildState::Building),
            derivation: &row.build.derivation,
            evaluation: row.build.evaluation,
            finished: u8::from(is_over),
            id: row.build.id,
            job: &row.build.job,
            jobset: &row.build.spec,
            nixname: name.trim_end_matches(".drv"),
            priority: row.build.priority,
            starttime: row.started_at.unwrap_or(if is_over { ended_at } else { 0 }),
            stoptime: if is_over { ended_at } else { 0 },
            system: row.build.system.as_str(),
            timestamp: if is_over { ended_at } else { created_at },
            weather: WEATHER_UNKNOWN,
        }
    }
}

/// The commit of a channel.
#[derive(Debug, Serialize)]
pub struct Checkout<'a> {
    /// The name of the channel.
    pub channel: &'a str,
    /// The commit.
    pub commit: &'a str,
    /// The name of the channel, as older clients read it.
    pub input: &'a str,
}

/// The commits of the channels that the spec names. `channel-with-substitutes-available` of Guix
/// takes an evaluation of one channel only, so the channels that others need are left out.
fn checkouts(revision: &Revision) -> Vec<Checkout<'_>> {
    let named = revision.channels().iter().filter(|channel| channel.origin.needed_by.is_none());
    named.map(|one| Checkout { channel: &one.name, commit: &one.commit, input: &one.name }).collect()
}

/// An evaluation.
#[derive(Debug, Serialize)]
pub struct Evaluation<'a> {
    /// The commits of its channels.
    pub checkouts: Vec<Checkout<'a>>,
    /// When it was started.
    pub checkouttime: Seconds,
    /// When it ended.
    pub evaltime: Seconds,
    /// Its number.
    pub id: EvaluationId,
    /// 1 if it has not ended.
    #[serde(rename = "in-progress")]
    pub in_progress: u8,
    /// The spec.
    pub specification: &'a str,
    /// The state: -1 if it has not ended, 0 if it is complete, 1 if it failed.
    pub status: i8,
    /// When it was requested.
    pub timestamp: Seconds,
}

impl<'a> Evaluation<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Evaluation) -> Self {
        let status = match row.state {
            EvaluationState::Pending | EvaluationState::Running => -1,
            EvaluationState::Complete => 0,
            EvaluationState::Failed => 1,
        };
        Self {
            checkouts: checkouts(&row.revision),
            checkouttime: row.started_at.unwrap_or(0),
            evaltime: row.finished_at.unwrap_or(0),
            id: row.id,
            in_progress: u8::from(status < 0),
            specification: &row.spec,
            status,
            timestamp: row.created_at,
        }
    }
}

/// A job of an evaluation.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Job<'a> {
    /// The number of its build.
    pub build: BuildId,
    /// The name of the job.
    pub name: &'a str,
    /// The state of its build, as a number.
    pub status: i8,
}

/// An evaluation with some of its jobs.
#[derive(Debug, Serialize)]
pub struct History<'a> {
    /// The commits of its channels.
    pub checkouts: Vec<Checkout<'a>>,
    /// The number of the evaluation.
    pub evaluation: EvaluationId,
    /// The jobs.
    pub jobs: Vec<Job<'a>>,
}

impl<'a> History<'a> {
    /// The view of an evaluation with those of `jobs` that it has.
    pub fn new(row: &'a db::Evaluation, jobs: &'a [JobBuild]) -> Self {
        let own = jobs.iter().filter(|job| job.evaluation == row.id);
        let job =
            |job: &'a JobBuild| Job { build: job.build, name: &job.job, status: build_status(job.state) };
        Self { checkouts: checkouts(&row.revision), evaluation: row.id, jobs: own.map(job).collect() }
    }
}

/// The specification that a spec is in Cuirass.
pub fn specification(spec: &Spec, now: Seconds) -> Value {
    let build = match &spec.build.subset {
        Subset::Packages(names) => json!({ "packages": names }),
        Subset::Channels(names) => json!({ "channels": names }),
        Subset::Manifests(files) => json!({ "manifests": files }),
        Subset::Custom(_) => json!("custom"),
        subset => json!(subset),
    };
    let channels = spec.channels.iter().map(|channel| {
        let commit = channel.commit.as_deref().map_or(Value::Bool(false), Value::from);
        json!({ "branch": channel.branch, "commit": commit, "name": channel.name, "url": channel.url })
    });
    let next = spec.period.next(now);
    json!({
        "build": build, "build-outputs": [], "channels": channels.collect::<Vec<_>>(), "name": spec.name,
        "notifications": [], "period": spec.period.next(next) - next, "priority": spec.priority,
        "systems": spec.systems,
    })
}
