//! `gorget coverage`: what substitute servers have of the newest evaluations.

use crate::cli::filter::system;
use crate::cli::{Exit, open_db, output, user_error};
use crate::clock::{Clock, utc};
use crate::config::Config;
use crate::db::Db;
use crate::domain::coverage::{ANSWER_LIFETIME, Enough};
use crate::domain::spec::System;
use crate::view::coverage::{Coverage, MissingJob, Rows, Share, enough, percentage};

/// Show how much substitute servers have of the newest evaluations
///
/// A running farm asks the servers of the configuration for every output. Exit codes with
/// `--require`: 0 enough is there, 4 too little, 5 not known.
#[derive(Debug, clap::Args)]
#[command(name = "coverage")]
pub(in crate::cli) struct CoverageArgs {
    /// The spec; without, all specs in short
    spec: Option<String>,
    /// Only for this system
    #[arg(long, value_parser = system)]
    system: Option<System>,
    /// Only what this server has, by its URL; without, what any server has
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Fail unless so many per cent are there for each system
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    require: Option<f64>,
    /// List the jobs whose outputs no server is known to have
    #[arg(long, requires = "spec", conflicts_with = "server")]
    missing: bool,
    /// Write one JSON object for each system, or with `--missing` for each job
    #[arg(long)]
    json: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "a number from 0 to 100 is needed".to_owned())
}

pub(in crate::cli) async fn run(args: &CoverageArgs, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::for_report(&config).await?;
    check_spec(&db, args.spec.as_deref()).await?;
    let rows = Rows::load(&db, args.spec.as_deref(), Clock::System.now()).await?;
    let mut found = Coverage::all(&rows);
    found.retain(|one| args.system.as_ref().is_none_or(|system| system.as_str() == one.system));
    check_server(&found, args.server.as_deref())?;
    if found.iter().all(|one| one.counted_at.is_none()) {
        output::note(if config.substitutes.servers.is_empty() {
            "nothing is known: the configuration names no substitute server\n\
             hint: list them in `[substitutes]`, `servers`"
        } else {
            "nothing is known yet: a running farm asks the servers once an evaluation is complete"
        });
    }
    if args.missing {
        for one in &found {
            show_missing(&db, one, args.json).await?;
        }
    } else if args.json {
        found.iter().try_for_each(output::json)?;
    } else if args.spec.is_some() {
        found.iter().try_for_each(show)?;
    } else {
        list(&found, args.server.as_deref())?;
    }
    let Some(percent) = args.require else { return Ok(Exit::Done) };
    Ok(match enough(found.iter().map(|one| one.share(args.server.as_deref())), percent) {
        Enough::Yes => Exit::Done,
        Enough::No => Exit::No,
        Enough::Unknown => Exit::Unknown,
    })
}

async fn check_spec(db: &Db, name: Option<&str>) -> anyhow::Result<()> {
    let Some(name) = name else { return Ok(()) };
    let specs = db.specs().await?;
    if specs.iter().any(|stored| stored.present && stored.spec.name == name) {
        return Ok(());
    }
    Err(user_error(format!("there is no spec {name}\nhint: `gorget status` lists them")))
}

/// Fails if a server was named that none of these knows.
fn check_server(found: &[Coverage<'_>], url: Option<&str>) -> anyhow::Result<()> {
    let Some(url) = url else { return Ok(()) };
    let is_counted = found.iter().any(|one| one.counted_at.is_some());
    if !is_counted || found.iter().any(|one| one.share(Some(url)).is_some()) {
        return Ok(());
    }
    let mut known: Vec<&str> =
        found.iter().flat_map(|one| one.servers.iter().map(|server| server.url)).collect();
    known.sort_unstable();
    known.dedup();
    Err(user_error(format!("{url} is not asked\nhint: these are: {}", known.join(", "))))
}

fn list(found: &[Coverage<'_>], server: Option<&str>) -> std::io::Result<()> {
    let row = |one: &Coverage<'_>| {
        let share = one.share(server);
        let shown = |of: fn(Share) -> String| share.map_or_else(|| "-".to_owned(), of);
        vec![
            one.spec.to_owned(),
            one.system.to_owned(),
            one.evaluation.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            shown(|share| percentage(share.percent)),
            shown(|share| share.counts().total().to_string()),
            shown(|share| share.absent.to_string()),
            shown(|share| share.unknown.to_string()),
            one.counted_at.map_or_else(|| "not yet".to_owned(), utc),
        ]
    };
    let header = ["SPEC", "SYSTEM", "EVALUATION", "PRESENT", "OF", "ABSENT", "UNKNOWN", "COUNTED"];
    output::table(&header, found.iter().map(row).collect())
}

fn show(one: &Coverage<'_>) -> std::io::Result<()> {
    let (Some(counted_at), Some(evaluation), Some(wanted_at), Some(total)) =
        (one.counted_at, one.evaluation, one.wanted_at, one.total)
    else {
        return output::line(&format!("{}, {}: not counted yet", one.spec, one.system));
    };
    output::line(&format!(
        "{}, {}: {} of {} (evaluation {evaluation}, wanted at {})",
        one.spec,
        one.system,
        percentage(total.percent),
        output::count(
            usize::try_from(total.counts().total()).unwrap_or(0),
            "set of outputs",
            "sets of outputs"
        ),
        utc(wanted_at),
    ))?;
    let mut rows: Vec<Vec<String>> = one.servers.iter().map(|known| server(known.url, known.share)).collect();
    rows.push(server("any", total));
    output::table(&["SERVER", "", "PRESENT", "ABSENT", "UNKNOWN"], rows)?;
    let reasons: Vec<String> =
        one.reasons().into_iter().map(|(state, count)| format!("{state} {count}")).collect();
    if !reasons.is_empty() {
        output::line(&format!("absent: {}", reasons.join(", ")))?;
    }
    for cause in one.missing.iter().flat_map(|missing| &missing.causes) {
        output::line(&format!("  {} wait for {} (build {})", cause.blocked, cause.job, cause.build))?;
    }
    let then = one.then.iter().map(|then| format!("{} h {}", then.hours, percentage(then.share.percent)));
    let then: Vec<String> = then.collect();
    if !then.is_empty() {
        output::line(&format!("after {}", then.join(", ")))?;
    }
    output::line(&format!("counted at {}", utc(counted_at)))
}

/// The row of a server.
fn server(url: &str, share: Share) -> Vec<String> {
    let numbers = [share.present, share.absent, share.unknown].map(|number| number.to_string());
    [url.to_owned(), percentage(share.percent)].into_iter().chain(numbers).collect()
}

/// Lists the jobs whose outputs no server is known to have.
async fn show_missing(db: &Db, one: &Coverage<'_>, json: bool) -> anyhow::Result<()> {
    let since = Clock::System.now() - ANSWER_LIFETIME;
    let Some(evaluation) = one.evaluation else { return Ok(()) };
    let rows = db.missing_jobs(evaluation, "", since, i64::MAX).await?;
    let jobs: Vec<MissingJob<'_>> = rows.iter().map(|row| MissingJob::new(one, row)).collect();
    if json {
        return jobs.iter().try_for_each(output::json);
    }
    let row = |job: &MissingJob<'_>| {
        let state = job.state.unwrap_or("no build");
        let state =
            if job.may_be_there { format!("{state}, not all servers have answered") } else { state.into() };
        vec![job.job.to_owned(), job.system.to_owned(), state]
    };
    Ok(output::table(&["JOB", "SYSTEM", "BUILD"], jobs.iter().map(row).collect())?)
}
