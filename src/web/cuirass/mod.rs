//! Cuirass's API, at the root of the host, for clients of Cuirass such as Guix's own `(guix ci)`
//! and `guix weather`. It has the builds and evaluations of the native API in Cuirass's words.
//!
//! An evaluation of Cuirass is for all systems. Here each system has its own.

mod old_pages;
mod parameters;

use std::collections::{HashMap, HashSet};
use std::io::SeekFrom;
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::Shared;
use super::api::spec_named;
use super::caller::Caller;
use super::pages::build_page as link_to;
use super::problem::Problem;
use crate::db::{
    BuildId, BuildOrder, BuildState, Db, EvaluationId, EvaluationState, TimedBuild, TimedFilter,
};
use crate::view::cuirass::{Build, Evaluation, History, Job, build_status, specification};
use crate::view::explanation::log;
pub(super) use old_pages::{evaluation as evaluation_page, jobset, search, status, workers};
use parameters::Parameters;

/// Most builds or evaluations of one answer.
const MOST: i64 = 1000;
/// Most evaluations of a history.
const MOST_HISTORY: i64 = 100;
/// Most names of jobs in a request.
const MOST_NAMES: usize = 50;
/// How much of the end of a log is served, in bytes.
const MOST_LOG: u64 = 4 << 20;

type Answer = Result<Response, Fault>;
type Farm = State<Arc<Shared>>;

/// Why a request was refused, in Cuirass's form.
pub(super) struct Fault(Problem);

impl<T: Into<Problem>> From<T> for Fault {
    fn from(problem: T) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.0.status, Json(json!({ "error": self.0.detail }))).into_response()
    }
}

fn missing(text: String) -> Fault {
    Fault(Problem::missing(text))
}

fn wrong(text: impl Into<String>) -> Fault {
    Fault(Problem::new(StatusCode::BAD_REQUEST, text))
}

/// The builds that have ended, those of the newest evaluation first.
pub(super) async fn latest_builds(State(shared): Farm, given: Parameters) -> Answer {
    let is_over = |state: BuildState| !state.is_open() && state != BuildState::Known;
    builds(&shared, &given, is_over, BuildOrder::Newest).await
}

/// The builds that have not ended, those that are being built first.
pub(super) async fn queue(State(shared): Farm, given: Parameters) -> Answer {
    builds(&shared, &given, BuildState::is_wanted, BuildOrder::Queue).await
}

async fn builds(
    shared: &Shared,
    given: &Parameters,
    of: impl Fn(BuildState) -> bool,
    order: BuildOrder,
) -> Answer {
    let limit = given.limit(MOST)?;
    if given.word("worker").is_some() {
        return Err(wrong("builds have no `worker` here: coordinators have agents"));
    }
    let number = given.number("status")?;
    let is_meant = |state: BuildState| number.is_none_or(|number| i64::from(build_status(state)) == number);
    let selected = BuildState::ALL.into_iter().filter(|state| of(*state) && is_meant(*state));
    let own = |name: &str| given.word(name).map(ToOwned::to_owned);
    let filter = TimedFilter {
        spec: own("jobset"),
        system: own("system"),
        job: own("job"),
        evaluation: given.number("evaluation")?.map(EvaluationId),
        states: selected.collect(),
    };
    let db = &shared.moment().await?;
    let rows = match given.word("derivation") {
        Some(derivation) => {
            one_build(db, derivation).await?.filter(|row| fits(&filter, row)).into_iter().collect()
        }
        None => db.timed_builds(&filter, order, limit).await?,
    };
    Ok(Json(rows.iter().map(Build::new).collect::<Vec<_>>()).into_response())
}

/// Whether a filter selects a build.
fn fits(filter: &TimedFilter, row: &TimedBuild) -> bool {
    let build = &row.build;
    let same = |wanted: &Option<String>, word: &str| wanted.as_ref().is_none_or(|wanted| wanted == word);
    filter.states.contains(&build.state)
        && same(&filter.spec, &build.spec)
        && same(&filter.system, build.system.as_str())
        && same(&filter.job, &build.job)
        && filter.evaluation.is_none_or(|id| id == build.evaluation)
}

/// The build with a number, or with a derivation: the base name or the whole name of its file.
async fn one_build(db: &Db, name: &str) -> crate::db::Result<Option<TimedBuild>> {
    let id = if let Ok(number) = name.parse() {
        Some(BuildId(number))
    } else {
        let base_name = name.trim_start_matches("/gnu/store/");
        let hash = base_name.get(..32).filter(|_| base_name.strip_suffix(".drv").is_some());
        match hash {
            Some(hash) => db.build_of_derivation(hash).await?,
            None => None,
        }
    };
    let Some(id) = id else { return Ok(None) };
    let build = db.build(id).await?;
    Ok(db.with_times(build.into_iter().collect()).await?.pop())
}

/// One build, for programs. A browser is sent to its page.
pub(super) async fn build(State(shared): Farm, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    let Some(row) = one_build(&shared.moment().await?, &name).await? else {
        return Err(missing(format!("Build with ID {name} doesn't exist.")));
    };
    let accepted = headers.get(ACCEPT).and_then(|accepted| accepted.to_str().ok()).unwrap_or_default();
    if accepted.starts_with("text/html") {
        return Ok(page_of(&row));
    }
    Ok(Json(Build::new(&row)).into_response())
}

/// Sends to the page of a build.
pub(super) async fn build_page(State(shared): Farm, Path(name): Path<String>) -> Answer {
    let row = one_build(&shared.moment().await?, &name).await?;
    row.map_or_else(|| Err(missing(format!("Build with ID {name} doesn't exist."))), |row| Ok(page_of(&row)))
}

fn page_of(row: &TimedBuild) -> Response {
    Redirect::to(&link_to(row.build.id)).into_response()
}

/// The log of a build, by its number or its derivation, if it was built on this machine.
pub(super) async fn build_log(State(shared): Farm, Path(name): Path<String>) -> Answer {
    let db = &shared.moment().await?;
    let Some(row) = one_build(db, &name).await? else {
        return Err(missing(format!("there is no build {name}")));
    };
    let Some(file) = log(&db.build_events(row.build.id).await?, &shared.pages().logs) else {
        return Err(missing(format!("there is no log of {} on this machine", row.build.derivation)));
    };
    let text = end_of(&file).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// The end of a log. A first line says so if it is not all.
async fn end_of(file: &FilePath) -> std::io::Result<Vec<u8>> {
    let mut log = fs_err::tokio::File::open(file).await?;
    let left_out = log.metadata().await?.len().saturating_sub(MOST_LOG);
    let mut text = Vec::new();
    if left_out > 0 {
        text.extend(format!("[the first {left_out} bytes of this log are left out]\n").into_bytes());
        log.seek(SeekFrom::Start(left_out)).await?;
    }
    log.take(MOST_LOG).read_to_end(&mut text).await?;
    Ok(text)
}

/// The names of jobs in a request.
fn names(given: &Parameters) -> Result<Option<HashSet<&str>>, Fault> {
    let names: Option<HashSet<&str>> = given.word("names").map(|names| names.split(',').collect());
    if names.as_ref().is_some_and(|names| names.len() > MOST_NAMES) {
        return Err(wrong(format!("`names` has at most {MOST_NAMES} names")));
    }
    Ok(names)
}

/// One evaluation.
pub(super) async fn evaluation(State(shared): Farm, given: Parameters) -> Answer {
    let id = given.needed("id")?;
    let row = shared.web.db.evaluation(EvaluationId(id)).await?;
    let row = row.ok_or_else(|| missing(format!("Evaluation with ID {id} doesn't exist.")))?;
    Ok(Json(Evaluation::new(&row)).into_response())
}

/// The newest evaluations.
pub(super) async fn evaluations(State(shared): Farm, given: Parameters) -> Answer {
    let limit = given.limit(MOST)?;
    let rows = shared.web.db.evaluations(given.word("spec"), None, limit).await?;
    Ok(Json(rows.iter().map(Evaluation::new).collect::<Vec<_>>()).into_response())
}

/// The jobs of a complete evaluation that have builds.
pub(super) async fn jobs(State(shared): Farm, given: Parameters) -> Answer {
    let id = EvaluationId(given.needed("evaluation")?);
    let db = &shared.moment().await?;
    let row = db.evaluation(id).await?;
    let row = row.ok_or_else(|| missing(format!("Evaluation with ID {id} doesn't exist.")))?;
    if row.state != EvaluationState::Complete {
        return Err(missing(format!("evaluation {id} is {}: its jobs are not known", row.state.word())));
    }
    let names = names(&given)?;
    let is_meant = given.word("system").is_none_or(|system| system == row.system.as_str());
    let mut jobs = db.jobs(id).await?;
    jobs.retain(|job| is_meant && names.as_ref().is_none_or(|names| names.contains(job.name.as_str())));
    let builds: HashMap<_, _> = db.output_builds(jobs.iter().map(|job| job.outputs)).await?;
    let mut listed: Vec<Job<'_>> = jobs
        .iter()
        .filter_map(|job| {
            let build = builds.get(&job.outputs)?;
            Some(Job { build: build.id, name: &job.name, status: build_status(build.state) })
        })
        .collect();
    listed.sort_unstable_by_key(|job| (job.name, job.build));
    Ok(Json(listed).into_response())
}

/// Certain jobs in the newest complete evaluations of a spec.
pub(super) async fn history(State(shared): Farm, given: Parameters) -> Answer {
    let limit = given.limit(MOST_HISTORY)?;
    let (Some(spec), Some(names)) = (given.word("spec"), names(&given)?) else {
        return Err(wrong("this takes `spec` and `names`"));
    };
    let names: Vec<&str> = names.into_iter().collect();
    let db = &shared.moment().await?;
    let spec = spec_named(db, spec).await?.id;
    let jobs = db.builds_of_jobs(spec, &names, limit).await?;
    let mut ids: Vec<EvaluationId> = jobs.iter().map(|job| job.evaluation).collect();
    ids.dedup();
    let mut rows = Vec::new();
    for id in ids {
        rows.extend(db.evaluation(id).await?);
    }
    Ok(Json(rows.iter().map(|row| History::new(row, &jobs)).collect::<Vec<_>>()).into_response())
}

/// The specs that are evaluated.
pub(super) async fn specifications(State(shared): Farm) -> Answer {
    let now = shared.web.clock.now();
    let specs = shared.web.db.specs().await?;
    let active = specs.iter().filter(|stored| stored.present && stored.spec.is_evaluated());
    Ok(Json(active.map(|stored| specification(&stored.spec, now)).collect::<Vec<_>>()).into_response())
}

/// Requests a poll of the branches of a spec. Cuirass asks nobody for a token.
pub(super) async fn evaluate(
    State(shared): Farm,
    Extension(by): Extension<Caller>,
    Path(name): Path<String>,
) -> Answer {
    shared.actions(&by).poll(Some(&name)).await?;
    shared.web.bells.watch.ring();
    Ok(Json(json!({ "jobset": name })).into_response())
}
