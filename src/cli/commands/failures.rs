//! `gorget failures`: what began to fail, still fails, or was fixed.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::cli::{Exit, open_db, output, user_error};
use crate::config::Config;
use crate::db::{BuildId, Db, Evaluation, EvaluationId, JobRuns, StoredSpec};
use crate::domain::failures::{Change, change};
use crate::domain::spec::System;

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

/// What is told of one system.
struct Report {
    system: System,
    from: Option<Evaluation>,
    to: Evaluation,
    found: Vec<Found>,
    /// Builds that wait for these jobs in vain.
    blocked: HashMap<BuildId, usize>,
}

struct Found {
    job: JobRuns,
    change: Change,
    /// The last complete evaluation before that, and the first one with it.
    range: (Option<Evaluation>, Evaluation),
}

pub(in crate::cli) async fn run(args: &Failures, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
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
    let blockers = db.blockers().await?;
    let blocked: HashMap<BuildId, usize> =
        blockers.iter().map(|blocker| (blocker.build.id, blocker.blocked.len())).collect();
    for system in systems {
        let since = args.since.map(EvaluationId);
        let Some(report) = report(&db, spec, system, since, &blocked).await? else {
            output::note(&format!("{} has no complete evaluation for {system}", args.spec));
            continue;
        };
        if args.json {
            output::json(&report.object(&args.spec))?;
        } else {
            report.show(&args.spec)?;
        }
    }
    Ok(Exit::Done)
}

async fn report(
    db: &Db,
    spec: &StoredSpec,
    system: &System,
    since: Option<EvaluationId>,
    blocked: &HashMap<BuildId, usize>,
) -> anyhow::Result<Option<Report>> {
    let newest = db.complete_evaluations(spec.id, system, None, 2).await?;
    let Some(&to) = newest.first() else { return Ok(None) };
    let from = since.or_else(|| newest.get(1).copied());
    let mut found = Vec::new();
    for job in db.failing_jobs(spec.id, system).await? {
        let Some(change) = change(&job.runs, from.map_or(0, |from| from.0), to.0) else { continue };
        let (Change::New { since } | Change::Still { since } | Change::Fixed { since }) = change;
        let before = EvaluationId(since - 1);
        let before = db.complete_evaluations(spec.id, system, Some(before), 1).await?;
        let before = match before.first() {
            Some(id) => db.evaluation(*id).await?,
            None => None,
        };
        let Some(first) = db.evaluation(EvaluationId(since)).await? else { continue };
        found.push(Found { job, change, range: (before, first) });
    }
    let from = match from {
        Some(id) => {
            Some(db.evaluation(id).await?.ok_or_else(|| user_error(format!("there is no evaluation {id}")))?)
        }
        None => None,
    };
    let Some(to) = db.evaluation(to).await? else { return Ok(None) };
    Ok(Some(Report { system: system.clone(), from, to, found, blocked: blocked.clone() }))
}

/// A key, words for a person, and which changes belong there.
type Heading = (&'static str, &'static str, fn(Change) -> bool);

const HEADINGS: [Heading; 3] = [
    ("new", "newly failing", |change| matches!(change, Change::New { .. })),
    ("still", "still failing", |change| matches!(change, Change::Still { .. })),
    ("fixed", "fixed", |change| matches!(change, Change::Fixed { .. })),
];

impl Report {
    fn under(&self, belongs: fn(Change) -> bool) -> impl Iterator<Item = &Found> {
        self.found.iter().filter(move |found| belongs(found.change))
    }

    fn show(&self, spec: &str) -> anyhow::Result<()> {
        let before = self
            .from
            .as_ref()
            .map_or("none".to_owned(), |from| format!("evaluation {} ({})", from.id, from.revision.short()));
        let (id, short) = (self.to.id, self.to.revision.short());
        output::line(&format!("{spec} for {}: evaluation {id} ({short}); before: {before}", self.system))?;
        let mut counts = Vec::new();
        for (_, heading, belongs) in HEADINGS {
            counts.push(format!("{} {heading}", self.under(belongs).count()));
            for (place, found) in self.under(belongs).enumerate() {
                if place == 0 {
                    output::line(&format!("{heading}:"))?;
                }
                output::line(&format!("  {}", self.line(found)))?;
            }
        }
        Ok(output::line(&counts.join(", "))?)
    }

    fn line(&self, found: &Found) -> String {
        let (before, first) = &found.range;
        let range = before.as_ref().map_or_else(
            || format!("up to {}", first.revision.short()),
            |before| format!("{}..{}", before.revision.short(), first.revision.short()),
        );
        let blocked = self.blocked_by(found);
        let waiting = if blocked > 0 {
            format!(", {} for it", output::count(blocked, "build waits", "builds wait"))
        } else {
            String::new()
        };
        format!("{} since evaluation {} ({range}){waiting}", found.job.job, first.id)
    }

    fn blocked_by(&self, found: &Found) -> usize {
        found.job.build.and_then(|build| self.blocked.get(&build)).copied().unwrap_or(0)
    }

    fn object(&self, spec: &str) -> Value {
        let evaluation =
            |evaluation: &Evaluation| json!({ "evaluation": evaluation.id, "revision": evaluation.revision });
        let mut object = json!({
            "spec": spec, "system": self.system,
            "to": evaluation(&self.to), "from": self.from.as_ref().map(evaluation),
        });
        for (name, _, belongs) in HEADINGS {
            let jobs = self.under(belongs).map(|found| {
                json!({
                    "job": found.job.job, "derivation": found.job.derivation,
                    "since": evaluation(&found.range.1), "before": found.range.0.as_ref().map(evaluation),
                    "blocks": self.blocked_by(found),
                })
            });
            object[name] = jobs.collect();
        }
        object
    }
}
