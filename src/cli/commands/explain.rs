//! `gorget explain`: why a job is built, or is not.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::queue;
use crate::cli::filter::Filter;
use crate::cli::{Exit, farm, open_db, output, user_error};
use crate::clock::{Clock, Seconds, readable, readable_span};
use crate::config::{Config, DEFAULT};
use crate::db::{
    Blocker, Build, BuildEvent, BuildState, Db, EvaluationState, FailedDerivation, FormerError, JobRecord,
};
use crate::domain::spec::RetryFailed;
use crate::guix::store_path::StorePath;

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

/// All that is known about a job.
struct Story {
    job: JobRecord,
    build: Option<Build>,
    /// The build that needs it, when it is no job itself.
    needed_by: Option<Build>,
    /// When the job's spec has what failed queued again.
    retry_failed: RetryFailed,
    /// Builds that come before it, while it waits: how many, and the next few.
    ahead: Option<(i64, Vec<Build>)>,
    events: Vec<BuildEvent>,
    /// The derivations with which its outputs were to be built in vain.
    failed: Vec<FailedDerivation>,
    /// What failed and keeps it from being built, and how many builds wait for each of these.
    blockers: Vec<Blocker>,
    /// How many builds wait for this one, if it failed.
    blocks: usize,
    /// Whether its coordinator is none of the farm's any more.
    is_gone: bool,
    /// The log of the last attempt, if it was made by this machine.
    log: Option<PathBuf>,
}

pub(in crate::cli) async fn run(args: &Explain, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    args.filter.check(&db).await?;
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
    let mut stories = Vec::new();
    for job in jobs {
        stories.push(story(&db, job, &config).await?);
    }
    if args.json {
        let jobs: Vec<Value> = stories.iter().map(Story::object).collect();
        let errors: Vec<Value> = errors.iter().map(error_object).collect();
        output::json(&json!({ "jobs": jobs, "errors": errors }))?;
        return Ok(Exit::Done);
    }
    let now = Clock::System.now();
    for story in &stories {
        story.lines(now).iter().try_for_each(|line| output::line(line))?;
    }
    for error in &errors {
        output::entry(&format!(
            "{} of {} for {} could not be evaluated in evaluation {} ({}): {}",
            args.job, error.spec, error.system, error.evaluation_id, error.cause, error.message
        ))?;
    }
    Ok(Exit::Done)
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

async fn story(db: &Db, job: JobRecord, config: &Config) -> anyhow::Result<Story> {
    let build = db.build_of(&job).await?;
    let (mut ahead, mut events, mut failed) = (None, Vec::new(), Vec::new());
    if let Some(build) = &build {
        events = db.build_events(build.id).await?;
        failed = db.failed_derivations(build.id).await?;
        if matches!(build.state, BuildState::Pending | BuildState::Queued) {
            ahead = Some(db.ahead_of(build, NAMED).await?);
        }
    }
    let specs = db.specs().await?;
    let spec = specs.into_iter().find(|stored| stored.spec.name == job.spec);
    let retry_failed = spec.map(|stored| stored.spec.retry_failed).unwrap_or_default();
    let needed_by = match build.as_ref().and_then(|build| build.needed_by) {
        Some(id) => db.build(id).await?,
        None => None,
    };
    let (blockers, blocks) = match &build {
        Some(build) => blockers(db, build).await?,
        None => (Vec::new(), 0),
    };
    let logs = farm::logs(config);
    let routes = config.routes();
    let is_known = |name: &str| routes.0.iter().any(|route| route.coordinator == name);
    let has_it = build.as_ref().filter(|build| build.sent).and_then(|build| build.coordinator.as_deref());
    let is_gone = has_it.is_some_and(|name| !is_known(name));
    let named = |event: &BuildEvent| logs.join(format!("{}.log", event.reference));
    let log = events.iter().rev().map(named).find(|file| file.starts_with(&logs) && file.exists());
    Ok(Story { job, build, needed_by, retry_failed, ahead, events, failed, blockers, blocks, is_gone, log })
}

/// What keeps a build from being made, and how many builds it keeps from that itself.
async fn blockers(db: &Db, build: &Build) -> anyhow::Result<(Vec<Blocker>, usize)> {
    match build.state {
        BuildState::Failed | BuildState::Rejected => {
            let all = db.blockers().await?;
            let own = all.iter().find(|blocker| blocker.build.id == build.id);
            Ok((Vec::new(), own.map_or(0, |blocker| blocker.blocked.len())))
        }
        BuildState::Pending | BuildState::AwaitingApproval | BuildState::Queued | BuildState::Submitted => {
            let own = db.blockers_of(build).await?;
            if own.is_empty() {
                return Ok((own, 0));
            }
            let mut all = db.blockers().await?;
            all.retain(|blocker| own.iter().any(|cause| cause.build.id == blocker.build.id));
            Ok((all, 0))
        }
        _ => Ok((Vec::new(), 0)),
    }
}

impl Story {
    /// A word for the rule that decided, and what it says here.
    fn rule(&self) -> (&'static str, String) {
        let Some(build) = &self.build else { return self.no_build() };
        let first = format!("evaluation {} ({}, {})", build.evaluation, build.spec, build.revision.short());
        let said = build.answer.as_deref().unwrap_or("nothing");
        let named = build.reference.as_deref().map(|name| format!(" as {name}")).unwrap_or_default();
        if let Some(blocker) = self.blockers.first() {
            let cause = &blocker.build;
            return (
                "blocked",
                format!("blocked: it needs {} of {}, which {}", cause.job, cause.spec, cause.state.word()),
            );
        }
        let who = coordinator(build);
        if self.is_gone {
            let name = build.coordinator.as_deref().unwrap_or_default();
            let text = format!(
                "{who} may have it{named}, and is not in gorget.toml any more (`gorget reassign {name}` takes its builds from it)"
            );
            return ("coordinator-gone", text);
        }
        match build.state {
            BuildState::Queued if queue::is_unserved(build) => (
                "unserved",
                format!(
                    "queued, but no coordinator serves it: [coordinators] in gorget.toml says which builds each gets; its outputs were new in {first}"
                ),
            ),
            BuildState::Queued if build.in_doubt => (
                "in-doubt",
                format!(
                    "queued: {who} was asked for it and has not answered; it is looked for there before that is asked again; its outputs were new in {first}"
                ),
            ),
            BuildState::Known => (
                "known",
                format!(
                    "not queued: {first} was the first of a spec that takes its first evaluation for known"
                ),
            ),
            BuildState::Pending => (
                "looking-up",
                format!(
                    "not queued yet: its outputs were new in {first}, and substitute servers are asked first"
                ),
            ),
            BuildState::AwaitingApproval => (
                "awaiting-approval",
                format!(
                    "awaits approval: {said} (`gorget approve {}` has it built); its outputs were new in {first}",
                    build.evaluation
                ),
            ),
            BuildState::Substituted => ("substituted", format!("not queued: {said} has its outputs")),
            BuildState::Queued => {
                ("new-outputs", format!("queued{}: its outputs were new in {first}", whose(build)))
            }
            BuildState::Submitted => ("submitted", format!("{who} has it{named}: {said}")),
            BuildState::Rejected | BuildState::Failed if self.is_untried() => (
                "other-failed",
                "not queued yet: its outputs could not be built with another derivation; its own is tried with the next plan".to_owned(),
            ),
            BuildState::Rejected => ("rejected", format!("{who} rejected it: {said}")),
            BuildState::Building => ("building", format!("it is being built{named}")),
            BuildState::Succeeded => ("succeeded", format!("not queued: it was built{named}")),
            BuildState::Failed => {
                ("failed", format!("not queued: its build{named} failed; {}", self.policy()))
            }
            BuildState::Canceling => {
                ("canceling", format!("given up: {said}; {who} is asked to cancel it{named}"))
            }
            BuildState::Canceled if build.unwanted_at.is_some() => {
                ("superseded", format!("given up: {said}; it is queued when somebody wants it again"))
            }
            BuildState::Canceled => {
                ("canceled", "its build was canceled; it is queued when a new evaluation has it".to_owned())
            }
        }
    }

    /// Whether its outputs were only tried to be built with other derivations.
    fn is_untried(&self) -> bool {
        let is_own = |failed: &FailedDerivation| failed.derivation == self.job.derivation;
        self.job.last_evaluation.is_none() && !self.failed.iter().any(is_own)
    }

    /// The derivations of others with which its outputs were to be built in vain.
    fn failed_others(&self) -> impl Iterator<Item = String> {
        let others = self.failed.iter().filter(|failed| failed.derivation != self.job.derivation);
        others.map(|failed| format!("{} {} failed", readable(failed.failed_at), failed.derivation))
    }

    /// What becomes of it after it failed.
    fn policy(&self) -> String {
        match self.retry_failed {
            RetryFailed::Never => format!("{} says that what failed is not tried again", self.job.spec),
            RetryFailed::Next => format!("the next evaluation of {} queues it again", self.job.spec),
            RetryFailed::After(seconds) => format!(
                "the first evaluation of {} that is complete {} after that queues it again",
                self.job.spec,
                readable_span(seconds)
            ),
        }
    }

    fn no_build(&self) -> (&'static str, String) {
        let first = self.job.first_evaluation;
        match self.job.first_state {
            EvaluationState::Failed => {
                ("evaluation-failed", format!("not queued: evaluation {first} failed"))
            }
            _ => ("not-scheduled", format!("not queued yet: evaluation {first} found it just now")),
        }
    }

    /// That the build was first wanted for something else, if so.
    fn shared(&self) -> Option<String> {
        let build = self.build.as_ref()?;
        if build.derivation != self.job.derivation {
            return Some(format!(
                "the same outputs are built by {}, for {} of {}",
                build.derivation, build.job, build.spec
            ));
        }
        (build.job != self.job.name || build.spec != self.job.spec)
            .then(|| format!("it is the same build as {} of {}", build.job, build.spec))
    }

    /// What keeps it waiting.
    fn obstacle(&self, now: Seconds) -> Option<String> {
        let build = self.build.as_ref().filter(|build| build.next_attempt > now)?;
        let again = readable_span(build.next_attempt - now);
        Some(format!("next attempt in {again}: {}", build.answer.as_deref().unwrap_or_default()))
    }

    fn lines(&self, now: Seconds) -> Vec<String> {
        let job = &self.job;
        let mut lines = vec![
            format!("{} of {} for {}", job.name, job.spec, job.system),
            format!("  {}", self.rule().1),
            format!("  derivation {} since evaluation {}", job.derivation, job.first_evaluation),
        ];
        if let Some(last) = job.last_evaluation {
            lines.push(format!("  evaluation {last} was the last that had it"));
        }
        let needed_by = self.needed_by.as_ref();
        lines.extend(needed_by.map(|user| format!("  {} of {} needs it", user.job, user.spec)));
        lines.extend(self.shared().map(|text| format!("  {text}")));
        lines.extend(self.failed_others().map(|text| format!("  {text}")));
        lines.extend(self.blockers.iter().map(|blocker| {
            let waiting = output::count(blocker.blocked.len(), "build waits", "builds wait");
            format!("  {waiting} for {}", blocker.build.derivation)
        }));
        if self.blocks > 0 {
            lines.push(format!("  {} for it", output::count(self.blocks, "build waits", "builds wait")));
        }
        lines.extend(self.obstacle(now).map(|text| format!("  {text}")));
        if let Some((count, next)) = &self.ahead {
            let names: Vec<&str> = next.iter().map(|build| build.job.as_str()).collect();
            let more = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
            let etc = if *count > NAMED { ", …" } else { "" };
            let builds = output::count(usize::try_from(*count).unwrap_or(0), "build comes", "builds come");
            lines.push(format!("  {builds} before it{more}{etc}"));
        }
        lines.extend(self.events.iter().map(|event| {
            let at = readable(event.happened_at.unwrap_or(event.received_at));
            let other = event.derivation.as_ref().filter(|hash| !self.job.derivation.contains(*hash));
            let other = other.map(|hash| format!(", of {hash}")).unwrap_or_default();
            format!("  {at} {} as {}{other}", event.attempt.word(), event.reference)
        }));
        lines.extend(self.log.iter().map(|log| format!("  its log is {}", log.display())));
        lines
    }

    fn object(&self) -> Value {
        let (rule, because) = self.rule();
        let outputs: Vec<String> = self
            .job
            .outputs
            .lines()
            .filter_map(|line| Some(format!("/gnu/store/{}", line.split_once(' ')?.1)))
            .collect();
        let ahead = self.ahead.as_ref().map(|(count, next)| {
            json!({ "count": count, "next": next.iter().map(|build| &build.job).collect::<Vec<_>>() })
        });
        let events = self.events.iter().map(|event| {
            json!({
                "attempt": event.attempt.word(), "reference": event.reference, "derivation": event.derivation,
                "happened_at": event.happened_at, "received_at": event.received_at,
            })
        });
        json!({
            "job": self.job.name, "spec": self.job.spec, "system": self.job.system,
            "derivation": self.job.derivation, "outputs": outputs,
            "first_evaluation": self.job.first_evaluation, "last_evaluation": self.job.last_evaluation,
            "rule": rule, "because": because, "shared": self.shared(),
            "needed_by": self.needed_by.as_ref().map(|user| &user.job),
            "build": self.build.as_ref().map(queue::object),
            "blocked_by": self.blockers.iter().map(|blocker| json!({
                "job": blocker.build.job, "derivation": blocker.build.derivation, "blocks": blocker.blocked.len(),
            })).collect::<Vec<_>>(),
            "blocks": self.blocks,
            "failed": self.failed,
            "ahead": ahead, "events": events.collect::<Vec<_>>(), "log": self.log,
        })
    }
}

/// What its coordinator is called in a sentence.
fn coordinator(build: &Build) -> String {
    match build.coordinator.as_deref() {
        None | Some("" | DEFAULT) => "the coordinator".to_owned(),
        Some(name) => format!("the coordinator {name}"),
    }
}

/// For which coordinator it is, if that has a name.
fn whose(build: &Build) -> String {
    match build.coordinator.as_deref() {
        None | Some("" | DEFAULT) => String::new(),
        Some(name) => format!(" for {name}"),
    }
}

fn error_object(error: &FormerError) -> Value {
    json!({
        "spec": error.spec, "system": error.system, "evaluation": error.evaluation_id,
        "cause": error.cause, "message": error.message,
    })
}
