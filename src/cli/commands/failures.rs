//! `gorget failures`: what began to fail, still fails, or was fixed.

use crate::cli::{Exit, open_db, output, user_error};
use crate::config::Config;
use crate::db::EvaluationId;
use crate::domain::spec::System;
use crate::view::failures::{FailingJob, Failures as View, Rows};

/// List jobs of a spec that began to fail, still fail or were fixed
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Failures {
    /// Name of the spec
    spec: String,
    /// Only for this system
    #[arg(long)]
    system: Option<String>,
    /// Compare the newest complete evaluation with this one, and not with the one before it
    #[arg(long, value_name = "N")]
    since: Option<i64>,
    /// Write one JSON object for every system
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Failures, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::for_report(&config).await?;
    let specs = db.specs().await?;
    let Some(spec) = specs.iter().find(|stored| stored.spec.name == args.spec) else {
        let names: Vec<&str> = specs.iter().map(|stored| stored.spec.name.as_str()).collect();
        return Err(user_error(format!(
            "there is no spec {}\nhint: there are {}",
            args.spec,
            names.join(", ")
        )));
    };
    let wanted = |system: &&System| args.system.as_ref().is_none_or(|name| name == system.as_str());
    let systems: Vec<&System> = spec.spec.systems.iter().filter(wanted).collect();
    if systems.is_empty() {
        return Err(user_error(format!("{} is not evaluated for that system", args.spec)));
    }
    let since = args.since.map(EvaluationId);
    if let Some(id) = since
        && db.evaluation(id).await?.is_none()
    {
        return Err(user_error(format!("there is no evaluation {id}")));
    }
    for system in systems {
        let Some(rows) = Rows::load(&db, spec, system, since).await? else {
            output::note(&format!("{} has no complete evaluation for {system}", args.spec));
            continue;
        };
        let view = View::of(&rows);
        if args.json {
            output::json(&view)?;
        } else {
            show(&view)?;
        }
    }
    Ok(Exit::Done)
}

fn show(view: &View<'_>) -> std::io::Result<()> {
    let View { spec, system, to, from, .. } = view;
    let before = from.as_ref().map_or("none".to_owned(), |from| {
        format!("evaluation {} ({})", from.evaluation, from.revision.short())
    });
    let (id, short) = (to.evaluation, to.revision.short());
    output::line(&format!("{spec} for {system}: evaluation {id} ({short}); before: {before}"))?;
    let mut counts = Vec::new();
    for (heading, jobs) in
        [("newly failing", &view.new), ("still failing", &view.still), ("fixed", &view.fixed)]
    {
        counts.push(format!("{} {heading}", jobs.len()));
        if !jobs.is_empty() {
            output::line(&format!("{heading}:"))?;
        }
        jobs.iter().try_for_each(|job| output::line(&format!("  {}", line(job))))?;
    }
    output::line(&counts.join(", "))
}

fn line(job: &FailingJob<'_>) -> String {
    let FailingJob { before, since, blocks, .. } = job;
    let first = since.revision.short();
    let range = before
        .as_ref()
        .map_or_else(|| format!("up to {first}"), |before| format!("{}..{first}", before.revision.short()));
    let waiting = if *blocks > 0 {
        format!(", {} for it", output::count(*blocks, "build waits", "builds wait"))
    } else {
        String::new()
    };
    format!("{} since evaluation {} ({range}){waiting}", job.job, since.evaluation)
}
