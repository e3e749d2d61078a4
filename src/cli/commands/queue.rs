//! `gorget queue`: the builds that are wanted.

use std::collections::BTreeMap;

use serde_json::json;

use crate::cli::filter::Filter;
use crate::cli::{Exit, open_db, output};
use crate::clock::{Clock, Seconds, readable, readable_span};
use crate::config::Config;
use crate::db::{Blocker, Build, BuildState, QueueFilter};

/// Most builds that are listed for a person.
const LINES: i64 = 40;

/// Most failed builds that are listed for others wait for them.
const BLOCKERS: usize = 10;

/// In which states builds are listed: those that are to be built, or need not be.
const LISTED: [BuildState; 8] = [
    BuildState::Pending,
    BuildState::AwaitingApproval,
    BuildState::Queued,
    BuildState::Submitted,
    BuildState::Building,
    BuildState::Canceling,
    BuildState::Rejected,
    BuildState::Substituted,
];
/// The same for a person.
const SHOWN: [BuildState; 5] = [
    BuildState::Queued,
    BuildState::Pending,
    BuildState::AwaitingApproval,
    BuildState::Rejected,
    BuildState::Substituted,
];

/// List wanted builds in the order of submission
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Queue {
    #[command(flatten)]
    filter: Filter,
    /// Only those in this state, whichever it is
    #[arg(long, value_name = "STATE", value_parser = state)]
    in_state: Option<BuildState>,
    /// Write one JSON object for every build
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Queue, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    args.filter.check(&db).await?;
    let filter = |state: &BuildState| QueueFilter {
        spec: args.filter.spec.clone(),
        system: args.filter.system.clone(),
        state: Some(*state),
        ..QueueFilter::default()
    };
    let mut blockers = db.blockers().await?;
    blockers.retain(|blocker| args.filter.admits(&blocker.build.spec, blocker.build.system.as_str()));
    if args.json {
        for state in args.in_state.as_ref().map_or(&LISTED[..], std::slice::from_ref) {
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
    for state in args.in_state.as_ref().map_or(&SHOWN[..], std::slice::from_ref) {
        let builds = db.queue(&filter(state), LINES).await?;
        rows.extend(builds.iter().map(|build| row(build, now)));
    }
    output::table(&["JOB", "SPEC", "STATE", "FOR", "DERIVATION", "ANSWER"], rows)?;
    let mut counts = BTreeMap::new();
    for count in db.build_counts().await? {
        let is_shown =
            args.filter.admits(&count.spec, &count.system) && args.in_state.is_none_or(|s| s == count.state);
        if !is_shown {
            continue;
        }
        *counts.entry(count.state.word()).or_insert(0) += count.count;
    }
    let told = BuildState::ALL
        .iter()
        .filter_map(|state| Some(format!("{} {}", counts.get(state.word())?, state.word())));
    let told: Vec<String> = told.collect();
    output::line(&if told.is_empty() { "no builds".to_owned() } else { told.join(", ") })?;
    show_blockers(&blockers)?;
    Ok(Exit::Done)
}

fn state(word: &str) -> Result<BuildState, String> {
    let known = || BuildState::ALL.map(BuildState::word).join(", ");
    let named = BuildState::ALL.into_iter().find(|state| state.word() == word);
    named.ok_or_else(|| format!("the states are {}", known()))
}

/// Shows what failed and keeps other builds from being made.
pub(super) fn show_blockers(blockers: &[Blocker]) -> std::io::Result<()> {
    let rows = blockers.iter().take(BLOCKERS).map(|blocker| {
        let build = &blocker.build;
        let (job, spec, derivation) = (build.job.clone(), build.spec.clone(), build.derivation.clone());
        vec![blocker.blocked.len().to_string(), job, spec, build.state.word().to_owned(), derivation]
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
        build.state.word().to_owned(),
        readable_span(now - build.created_at),
        build.derivation.clone(),
        match &build.answer {
            None if is_unserved(build) => "no coordinator serves it".to_owned(),
            answer => answer.clone().unwrap_or_default(),
        },
    ]
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
        "state": build.state.word(),
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
