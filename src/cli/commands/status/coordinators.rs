//! What `gorget status` shows of coordinators.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::output;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{BuildState, Db, Unserved};
use crate::domain::plan::route::Route;

/// The states in which a coordinator has builds, or is to get them.
const STATES: [BuildState; 4] =
    [BuildState::Queued, BuildState::Submitted, BuildState::Building, BuildState::Canceling];

/// A coordinator, and what it has.
pub(super) struct Coordinator {
    name: String,
    /// What it serves; nothing if it is not in the configuration.
    serves: Option<Route>,
    /// How many builds, by their states.
    counts: BTreeMap<&'static str, i64>,
    /// Why builds cannot be handed to it, or given up there.
    problem: Option<String>,
}

/// All coordinators that are in the configuration, or have builds.
pub(super) async fn all(db: &Db, config: &Config) -> anyhow::Result<Vec<Coordinator>> {
    let new = |name: String, serves| Coordinator { name, serves, counts: BTreeMap::new(), problem: None };
    let mut all: Vec<Coordinator> = Vec::new();
    for route in config.routes().0 {
        all.push(new(route.coordinator.clone(), Some(route)));
    }
    for count in db.coordinator_counts(Clock::System.now()).await? {
        let place = all.iter().position(|other| other.name == count.coordinator).unwrap_or_else(|| {
            all.push(new(count.coordinator.clone(), None));
            all.len() - 1
        });
        all[place].counts.insert(count.state.word(), count.count);
        all[place].problem = all[place].problem.take().or(count.problem);
    }
    Ok(all)
}

/// Shows them, and what none of them serves.
pub(super) fn show(all: &[Coordinator], unserved: &[Unserved]) -> std::io::Result<()> {
    if !all.is_empty() {
        output::line("")?;
    }
    let rows = all.iter().map(|coordinator| {
        let count = |state: BuildState| coordinator.counts.get(state.word()).copied().unwrap_or(0);
        let mut row = vec![coordinator.name.clone(), serves(coordinator)];
        row.extend(STATES.map(|state| count(state).to_string()));
        row.push(coordinator.problem.clone().unwrap_or_default());
        row
    });
    output::table(
        &["COORDINATOR", "SERVES", "QUEUED", "SUBMITTED", "BUILDING", "CANCELING", "PROBLEM"],
        rows.collect(),
    )?;
    for Unserved { spec, system, count } in unserved {
        let builds = output::count(usize::try_from(*count).unwrap_or(0), "build", "builds");
        output::paragraph(&format!("{builds} of {spec} for {system}: no coordinator serves them"))?;
    }
    Ok(())
}

fn serves(coordinator: &Coordinator) -> String {
    let Some(route) = &coordinator.serves else {
        return format!(
            "(not in gorget.toml; `gorget reassign {}` takes its builds from it)",
            coordinator.name
        );
    };
    let parts = [route.specs.join(" "), route.systems.join(" ")];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "all others".to_owned() } else { parts.join(", ") }
}

/// All that is known of one.
pub(super) fn object(coordinator: &Coordinator) -> Value {
    let serves =
        coordinator.serves.as_ref().map(|route| json!({ "specs": route.specs, "systems": route.systems }));
    json!({
        "name": coordinator.name, "configured": coordinator.serves.is_some(), "serves": serves,
        "builds": coordinator.counts, "problem": coordinator.problem,
    })
}
