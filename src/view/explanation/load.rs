//! Reads the rows that explain a job from the database.

use std::path::{Path, PathBuf};

use crate::db::{Blocker, Build, BuildEvent, BuildState, Db, FormerError, JobRecord, Pause, Result};
use crate::domain::plan::route::Routes;
use crate::domain::spec::Spec;
use crate::guix::store_path::StorePath;
use crate::view::explanation::{NAMED, Rows};
use crate::view::filter::Filter;

/// How many similar names are suggested.
const SIMILAR: u8 = 5;

/// The result of a look-up by the name of a job or the store path of a derivation.
#[derive(Debug)]
pub struct Found {
    /// The jobs that were found.
    pub jobs: Vec<JobRecord>,
    /// The errors of jobs with this name.
    pub errors: Vec<FormerError>,
}

impl Found {
    /// Looks up a name or path; returns similar names if there is no such job.
    pub async fn load(
        db: &Db,
        word: &str,
        filter: &Filter,
    ) -> Result<std::result::Result<Self, Vec<String>>> {
        let path = StorePath::parse(word.as_bytes()).ok().map(|path| path.hash_text());
        let (mut jobs, mut errors) = match &path {
            Some(hash) => (db.jobs_of_derivation(hash).await?, Vec::new()),
            None => (db.jobs_called(word).await?, db.errors_called(word).await?),
        };
        if jobs.is_empty() {
            jobs = db.inputs_called(path.as_deref().unwrap_or(word)).await?;
        }
        if jobs.is_empty() && errors.is_empty() {
            let similar = db.jobs_like(word, SIMILAR.into()).await?;
            let Some(only) = only_job_of(word, &similar) else { return Ok(Err(similar)) };
            jobs = db.jobs_called(only).await?;
        }
        jobs.retain(|job| filter.admits(&job.spec, &job.system));
        errors.retain(|error| filter.admits(&error.spec, &error.system));
        Ok(Ok(Self { jobs, errors }))
    }
}

/// The job of the package `name`, if `similar` has exactly one.
fn only_job_of<'a>(name: &str, similar: &'a [String]) -> Option<&'a str> {
    let is_its = |job: &&String| {
        let rest = job.strip_prefix("base.").unwrap_or(job).strip_prefix(name);
        let version = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
        rest.is_some_and(|rest| rest.starts_with('.') || rest.strip_prefix('-').is_some_and(version))
    };
    let mut its = similar.iter().filter(is_its);
    let only = its.next().filter(|_| its.next().is_none() && similar.len() < SIMILAR.into())?;
    Some(only)
}

impl Rows {
    /// Reads all rows about a job. `logs` is the directory of logs of builds on this machine.
    pub async fn load(db: &Db, job: JobRecord, routes: &Routes, logs: &Path) -> Result<Self> {
        let specs = db.specs().await?;
        let spec = |name: &str| Some(&specs.iter().find(|stored| stored.spec.name == name)?.spec);
        let retry_failed = spec(&job.spec).map(|spec| spec.retry_failed).unwrap_or_default();
        let pauses = db.pauses().await?;
        let mut rows = Self {
            build: db.build_of(&job).await?,
            job,
            needed_by: None,
            retry_failed,
            ahead: None,
            events: Vec::new(),
            failed: Vec::new(),
            blockers: Vec::new(),
            blocks: 0,
            is_gone: false,
            pause: None,
            log: None,
        };
        let Some(build) = &rows.build else { return Ok(rows) };
        if let Some(id) = build.needed_by {
            rows.needed_by = db.build(id).await?;
        }
        if matches!(build.state, BuildState::Pending | BuildState::Queued) {
            rows.ahead = Some(db.ahead_of(build, NAMED).await?);
        }
        rows.events = db.build_events(build.id).await?;
        rows.failed = db.failed_derivations(build.id).await?;
        (rows.blockers, rows.blocks) = blockers(db, build).await?;
        rows.is_gone = is_gone(build, routes);
        rows.pause = pauses.into_iter().find(|pause| stops(pause, build, spec(&build.spec)));
        rows.log = log(&rows.events, logs);
        Ok(rows)
    }
}

impl Rows {
    /// The same for several jobs.
    pub async fn load_all(db: &Db, jobs: Vec<JobRecord>, routes: &Routes, logs: &Path) -> Result<Vec<Self>> {
        let mut rows = Vec::new();
        for job in jobs {
            rows.push(Self::load(db, job, routes, logs).await?);
        }
        Ok(rows)
    }
}

/// Whether the pause keeps a build of this spec from being submitted.
fn stops(pause: &Pause, build: &Build, spec: Option<&Spec>) -> bool {
    pause.stops_submission()
        || pause.stops_system(&build.system)
        || spec.is_some_and(|spec| pause.stops_spec(spec))
}

/// Whether the coordinator that may have a build is no longer in the configuration.
fn is_gone(build: &Build, routes: &Routes) -> bool {
    let is_known = |name: &str| routes.0.iter().any(|route| route.coordinator == name);
    build.sent && build.coordinator.as_deref().is_some_and(|name| !is_known(name))
}

/// The log of the last attempt, if it was made on this machine.
pub fn log(events: &[BuildEvent], logs: &Path) -> Option<PathBuf> {
    // The coordinator chooses the name, so a `/` must not be part of it.
    let is_name = |event: &&BuildEvent| !event.reference.contains('/');
    let named = |event: &BuildEvent| logs.join(format!("{}.log", event.reference));
    events.iter().rev().filter(is_name).map(named).find(|file| file.exists())
}

/// The failed builds that a build needs, and how many builds wait for it.
async fn blockers(db: &Db, build: &Build) -> Result<(Vec<Blocker>, usize)> {
    if build.state.has_failed() {
        let all = db.blockers().await?;
        let own = all.iter().find(|blocker| blocker.build.id == build.id);
        return Ok((Vec::new(), own.map_or(0, |blocker| blocker.blocked.len())));
    }
    if !build.state.is_waiting() {
        return Ok((Vec::new(), 0));
    }
    let own = db.blockers_of(build).await?;
    if own.is_empty() {
        return Ok((own, 0));
    }
    let mut all = db.blockers().await?;
    all.retain(|blocker| own.iter().any(|cause| cause.build.id == blocker.build.id));
    Ok((all, 0))
}
