//! `gorget queue`: the builds that are wanted.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Exit, open_db, output};
use crate::clock::{Clock, Seconds, readable, readable_span};
use crate::config::Config;
use crate::db::{Blocker, Build, BuildState, QueueFilter};

/// Most builds that are listed for a person.
const LINES: i64 = 40;

/// Most failed builds that are listed for others wait for them.
const BLOCKERS: usize = 10;

/// In which states builds are listed: those that are to be built, or need not be.
const LISTED: [BuildState; 8] = [
    BuildState::Wanted,
    BuildState::Held,
    BuildState::Queued,
    BuildState::Submitted,
    BuildState::Started,
    BuildState::Canceling,
    BuildState::Refused,
    BuildState::Substituted,
];
/// The order in which they are counted.
const STATES: [BuildState; 12] = [
    BuildState::Wanted,
    BuildState::Held,
    BuildState::Queued,
    BuildState::Submitted,
    BuildState::Started,
    BuildState::Succeeded,
    BuildState::Failed,
    BuildState::Canceling,
    BuildState::Canceled,
    BuildState::Refused,
    BuildState::Substituted,
    BuildState::Recorded,
];
/// The same for a person.
const SHOWN: [BuildState; 5] =
    [BuildState::Queued, BuildState::Wanted, BuildState::Held, BuildState::Refused, BuildState::Substituted];

/// Lists the builds that are wanted, in the order in which they are submitted
#[derive(Debug, clap::Args)]
pub(super) struct Queue {
    /// Write one JSON object for every build
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Queue, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    let filter = |state| QueueFilter { state: Some(state), ..QueueFilter::default() };
    let blockers = db.blockers().await?;
    if args.json {
        for state in LISTED {
            for build in db.queue(&filter(state), i64::MAX).await? {
                let mut object = object(&build);
                let causes =
                    blockers.iter().filter(|blocker| blocker.blocked.binary_search(&build.id).is_ok());
                object["blocked_by"] = causes.map(|blocker| blocker.build.job.clone()).collect();
                output::json(&object)?;
            }
        }
        return Ok(Exit::Done);
    }
    let now = Clock::System.now();
    let mut rows = Vec::new();
    for state in SHOWN {
        let builds = db.queue(&filter(state), LINES).await?;
        rows.extend(builds.iter().map(|build| row(build, now)));
    }
    output::table(&["JOB", "SPEC", "STATE", "FOR", "DERIVATION", "ANSWER"], rows)?;
    let mut counts = BTreeMap::new();
    for count in db.build_counts().await? {
        *counts.entry(word(count.state)).or_insert(0) += count.count;
    }
    let told =
        STATES.iter().filter_map(|state| Some(format!("{} {}", counts.get(word(*state))?, word(*state))));
    let told: Vec<String> = told.collect();
    output::line(&if told.is_empty() { "no builds".to_owned() } else { told.join(", ") })?;
    show_blockers(&blockers)?;
    Ok(Exit::Done)
}

/// Shows what failed and keeps other builds from being made.
pub(super) fn show_blockers(blockers: &[Blocker]) -> std::io::Result<()> {
    let rows = blockers.iter().take(BLOCKERS).map(|blocker| {
        let build = &blocker.build;
        let (job, spec, derivation) = (build.job.clone(), build.spec.clone(), build.derivation.clone());
        vec![blocker.blocked.len().to_string(), job, spec, word(build.state).to_owned(), derivation]
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        output::line("")?;
    }
    output::table(&["WAITING", "FOR", "SPEC", "STATE", "DERIVATION"], rows)
}

/// Whether it is queued for nobody.
pub(super) fn is_unserved(build: &Build) -> bool {
    build.state == BuildState::Queued && build.coordinator.as_deref() == Some("")
}

fn row(build: &Build, now: Seconds) -> Vec<String> {
    vec![
        build.job.clone(),
        build.spec.clone(),
        word(build.state).to_owned(),
        readable_span(now - build.created_at),
        build.derivation.clone(),
        match &build.answer {
            None if is_unserved(build) => "no coordinator serves it".to_owned(),
            answer => answer.clone().unwrap_or_default(),
        },
    ]
}

/// The word for a state.
pub(super) fn word(state: BuildState) -> &'static str {
    match state {
        BuildState::Recorded => "recorded",
        BuildState::Wanted => "wanted",
        BuildState::Held => "held",
        BuildState::Substituted => "substituted",
        BuildState::Queued => "queued",
        BuildState::Submitted => "submitted",
        BuildState::Refused => "refused",
        BuildState::Started => "started",
        BuildState::Succeeded => "succeeded",
        BuildState::Failed => "failed",
        BuildState::Canceling => "canceling",
        BuildState::Canceled => "canceled",
    }
}

/// What is told about a build.
pub(super) fn object(build: &Build) -> serde_json::Value {
    json!({
        "id": build.id.0,
        "job": build.job,
        "spec": build.spec,
        "system": build.system,
        "revision": build.revision,
        "evaluation": build.evaluation.0,
        "derivation": build.derivation,
        "state": word(build.state),
        "priority": build.priority,
        "urgency": build.urgency,
        "created_at": build.created_at,
        "created": readable(build.created_at),
        "coordinator": build.coordinator.as_ref().filter(|name| !name.is_empty()),
        "unserved": is_unserved(build),
        "reference": build.reference,
        "answer": build.answer,
        "attempts": build.attempts,
    })
}
