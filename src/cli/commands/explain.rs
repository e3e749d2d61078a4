//! `gorget explain`: why a job is built, or is not.

use crate::cli::filter::Filter;
use crate::cli::{Exit, farm, open_db, output, user_error};
use crate::clock::{Clock, Seconds, readable, readable_span};
use crate::config::Config;
use crate::view::explanation::{self, Ahead, Answer, Event, Found, Job, NAMED, Rows};

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
    let db = open_db::for_report(&config).await?;
    args.filter.check(&db).await?;
    let found = match Found::load(&db, &args.job, &args.filter.view()).await? {
        Ok(found) => found,
        Err(similar) => return Err(unknown(&args.job, &similar)),
    };
    let (routes, logs) = (config.routes(), farm::logs(&config));
    let rows = Rows::load_all(&db, found.jobs, &routes, &logs).await?;
    let answer = Answer::new(&rows, &found.errors);
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

fn unknown(name: &str, similar: &[String]) -> anyhow::Error {
    let hint = if similar.is_empty() {
        "hint: `gorget diff` and `gorget queue` show names of jobs".to_owned()
    } else {
        format!("hint: there are {}", similar.join(", "))
    };
    user_error(format!("no evaluation has a job called {name}\n{hint}"))
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
    lines.extend(job.events.iter().map(|event| event_line(event, job.derivation)));
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
fn event_line(event: &Event<'_>, derivation: &str) -> String {
    let at = readable(event.happened_at.unwrap_or(event.received_at));
    let other = event.derivation.filter(|hash| !derivation.contains(*hash));
    let other = other.map(|hash| format!(", of {hash}")).unwrap_or_default();
    format!("  {at} {} as {}{other}", event.attempt, event.reference)
}
