//! `gorget explain`: why a job is built, or is not.

use std::path::PathBuf;

use crate::cli::filter::Filter;
use crate::cli::{Exit, farm, open_db, output, user_error};
use crate::clock::{Clock, Seconds, readable, readable_span};
use crate::config::Config;
use crate::db::{Blocker, Build, BuildEvent, BuildState, Db, FormerError, JobRecord};
use crate::guix::store_path::StorePath;
use crate::view::explanation::{self, Ahead, Answer, Event, Job, Rows};

/// How many of the builds that come first are named.
const NAMED: i64 = 3;
/// How many similar names are suggested.
const SIMILAR: u8 = 5;

/// Explain why a job is queued, or is not
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Explain {
    /// Name of a job, such as `hello.x86_64-linux`, or the store path of a derivation
    job: String,
    #[command(flatten)]
    filter: Filter,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Explain, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    args.filter.check(&db).await?;
    let (jobs, errors) = find(&db, args).await?;
    let mut rows = Vec::new();
    for job in jobs {
        rows.push(load(&db, job, &config).await?);
    }
    let errors = errors.iter().map(explanation::Error::new).collect();
    let answer = Answer { errors, jobs: rows.iter().map(Job::new).collect() };
    if args.json {
        output::json(&answer)?;
        return Ok(Exit::Done);
    }
    let now = Clock::System.now();
    for (job, rows) in answer.jobs.iter().zip(&rows) {
        lines(job, rows, now).iter().try_for_each(|line| output::line(line))?;
    }
    for error in &answer.errors {
        let explanation::Error { cause, evaluation, message, spec, system } = error;
        output::entry(&format!(
            "{} of {spec} for {system} could not be evaluated in evaluation {evaluation} ({cause}): {message}",
            args.job
        ))?;
    }
    Ok(Exit::Done)
}

/// The jobs that are meant, and the errors of jobs called so.
async fn find(db: &Db, args: &Explain) -> anyhow::Result<(Vec<JobRecord>, Vec<FormerError>)> {
    let path = StorePath::parse(args.job.as_bytes()).ok().map(|path| path.hash_text());
    let (mut jobs, mut errors) = match &path {
        Some(hash) => (db.jobs_of_derivation(hash).await?, Vec::new()),
        None => (db.jobs_called(&args.job).await?, db.errors_called(&args.job).await?),
    };
    if jobs.is_empty() {
        jobs = db.inputs_called(path.as_deref().unwrap_or(&args.job)).await?;
    }
    if jobs.is_empty() && errors.is_empty() {
        let similar = db.jobs_like(&args.job, SIMILAR.into()).await?;
        let Some(only) = only_job_of(&args.job, &similar) else { return Err(unknown(&args.job, &similar)) };
        jobs = db.jobs_called(only).await?;
    }
    jobs.retain(|job| args.filter.admits(&job.spec, &job.system));
    errors.retain(|error| args.filter.admits(&error.spec, &error.system));
    Ok((jobs, errors))
}

/// The job of the package called `name`, if it is the only one among `similar`.
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

fn unknown(name: &str, similar: &[String]) -> anyhow::Error {
    let hint = if similar.is_empty() {
        "hint: `gorget diff` and `gorget queue` show names of jobs".to_owned()
    } else {
        format!("hint: there are {}", similar.join(", "))
    };
    user_error(format!("no evaluation has a job called {name}\n{hint}"))
}

/// All that the database has of a job.
async fn load(db: &Db, job: JobRecord, config: &Config) -> anyhow::Result<Rows> {
    let specs = db.specs().await?;
    let spec = specs.into_iter().find(|stored| stored.spec.name == job.spec);
    let retry_failed = spec.map(|stored| stored.spec.retry_failed).unwrap_or_default();
    let mut rows = Rows {
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
    rows.is_gone = is_gone(build, config);
    rows.log = log(&rows.events, config);
    Ok(rows)
}

/// Whether the coordinator that may have a build is not in the configuration any more.
fn is_gone(build: &Build, config: &Config) -> bool {
    let routes = config.routes();
    let is_known = |name: &str| routes.0.iter().any(|route| route.coordinator == name);
    build.sent && build.coordinator.as_deref().is_some_and(|name| !is_known(name))
}

/// The log of the last attempt, if this machine made it.
fn log(events: &[BuildEvent], config: &Config) -> Option<PathBuf> {
    let logs = farm::logs(config);
    let named = |event: &BuildEvent| logs.join(format!("{}.log", event.reference));
    events.iter().rev().map(named).find(|file| file.starts_with(&logs) && file.exists())
}

/// The failed builds that a build needs, and how many builds it keeps waiting itself.
async fn blockers(db: &Db, build: &Build) -> anyhow::Result<(Vec<Blocker>, usize)> {
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

/// What is told of a job.
fn lines(job: &Job<'_>, rows: &Rows, now: Seconds) -> Vec<String> {
    let mut lines = vec![
        format!("{} of {} for {}", job.job, job.spec, job.system),
        format!("  {}", job.because),
        format!("  derivation {} since evaluation {}", job.derivation, job.first_evaluation),
    ];
    if let Some(last) = job.last_evaluation {
        lines.push(format!("  evaluation {last} was the last that had it"));
    }
    let needed_by = rows.needed_by.as_ref();
    lines.extend(needed_by.map(|user| format!("  {} of {} needs it", user.job, user.spec)));
    lines.extend(job.shared.iter().map(|text| format!("  {text}")));
    let failed = job.failed_others();
    lines.extend(failed.map(|other| format!("  {} {} failed", readable(other.failed_at), other.derivation)));
    lines.extend(job.blocked_by.iter().map(|blocker| {
        let waiting = output::count(blocker.blocks, "build waits", "builds wait");
        format!("  {waiting} for {}", blocker.derivation)
    }));
    if job.blocks > 0 {
        lines.push(format!("  {} for it", output::count(job.blocks, "build waits", "builds wait")));
    }
    let build = rows.build.as_ref().filter(|build| build.next_attempt > now);
    lines.extend(build.map(|build| {
        let again = readable_span(build.next_attempt - now);
        format!("  next attempt in {again}: {}", build.answer.as_deref().unwrap_or_default())
    }));
    lines.extend(job.ahead.as_ref().map(ahead));
    lines.extend(job.events.iter().map(|event| told(event, job.derivation)));
    lines.extend(job.log.map(|log| format!("  its log is {}", log.display())));
    lines
}

/// The builds that come first.
fn ahead(ahead: &Ahead<'_>) -> String {
    let more = if ahead.next.is_empty() { String::new() } else { format!(": {}", ahead.next.join(", ")) };
    let etc = if ahead.count > NAMED { ", …" } else { "" };
    let builds = output::count(usize::try_from(ahead.count).unwrap_or(0), "build comes", "builds come");
    format!("  {builds} before it{more}{etc}")
}

/// What a coordinator told, and of which derivation, if that is not `derivation`.
fn told(event: &Event<'_>, derivation: &str) -> String {
    let at = readable(event.happened_at.unwrap_or(event.received_at));
    let other = event.derivation.filter(|hash| !derivation.contains(*hash));
    let other = other.map(|hash| format!(", of {hash}")).unwrap_or_default();
    format!("  {at} {} as {}{other}", event.attempt, event.reference)
}
