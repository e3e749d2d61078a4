//! `gorget queue`: the builds that are wanted.

use serde_json::json;

use super::{Exit, browse, tell};
use crate::clock::{Clock, readable, readable_span};
use crate::config::Config;
use crate::db::{Build, BuildState, QueueFilter};

/// Most builds that are listed for a person.
const LINES: i64 = 40;

/// Lists the builds that are wanted, in the order in which they are submitted
#[derive(Debug, clap::Args)]
pub(super) struct Queue {
    /// Write one JSON object for every build
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Queue, config: Config) -> anyhow::Result<Exit> {
    let db = browse::open(&config).await?;
    let filter = |state| QueueFilter { state: Some(state), ..QueueFilter::default() };
    if args.json {
        for state in [BuildState::Queued, BuildState::Submitted, BuildState::Refused] {
            for build in db.queue(&filter(state), i64::MAX).await? {
                tell::json(&object(&build))?;
            }
        }
        return Ok(Exit::Done);
    }
    let now = Clock::System.now();
    let queued = db.queue(&filter(BuildState::Queued), LINES).await?;
    let refused = db.queue(&filter(BuildState::Refused), LINES).await?;
    let rows = queued.iter().chain(&refused).map(|build| {
        vec![
            build.job.clone(),
            build.spec.clone(),
            word(build.state).to_owned(),
            readable_span(now - build.created_at),
            build.derivation.clone(),
            build.answer.clone().unwrap_or_default(),
        ]
    });
    tell::table(&["JOB", "SPEC", "STATE", "FOR", "DERIVATION", "ANSWER"], rows.collect())?;
    let mut counts = std::collections::BTreeMap::new();
    for count in db.build_counts().await? {
        *counts.entry(word(count.state)).or_insert(0) += count.count;
    }
    let of = |state| counts.get(word(state)).copied().unwrap_or(0);
    tell::line(&format!(
        "{} queued, {} submitted, {} refused, {} recorded",
        of(BuildState::Queued),
        of(BuildState::Submitted),
        of(BuildState::Refused),
        of(BuildState::Recorded)
    ))?;
    Ok(Exit::Done)
}

/// The word for a state.
pub(super) fn word(state: BuildState) -> &'static str {
    match state {
        BuildState::Recorded => "recorded",
        BuildState::Queued => "queued",
        BuildState::Submitted => "submitted",
        BuildState::Refused => "refused",
    }
}

fn object(build: &Build) -> serde_json::Value {
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
        "created_at": build.created_at,
        "created": readable(build.created_at),
        "reference": build.reference,
        "answer": build.answer,
        "attempts": build.attempts,
    })
}
