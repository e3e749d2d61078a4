use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::db::{self, BuildState};
use crate::domain::plan::route::{Route, Routes};

/// The states that are shown of a coordinator's builds.
pub const STATES: [BuildState; 4] =
    [BuildState::Queued, BuildState::Submitted, BuildState::Building, BuildState::Canceling];

/// A coordinator and its builds.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Coordinator<'a> {
    /// How many builds it has or will get, by state.
    pub builds: BTreeMap<&'static str, i64>,
    /// Whether it is in the configuration.
    pub configured: bool,
    /// Its name.
    pub name: &'a str,
    /// Why builds cannot be submitted or canceled there.
    pub problem: Option<&'a str>,
    /// The builds that it serves, if it is in the configuration.
    pub serves: Option<Service<'a>>,
}

/// Which builds a coordinator serves.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Service<'a> {
    /// Only builds that these specs want; empty means all.
    pub specs: &'a [String],
    /// Only builds for these systems; empty means all.
    pub systems: &'a [String],
}

impl<'a> Coordinator<'a> {
    fn new(name: &'a str, route: Option<&'a Route>) -> Self {
        let serves = route.map(|Route { specs, systems, .. }| Service { specs, systems });
        Self { builds: BTreeMap::new(), configured: serves.is_some(), name, problem: None, serves }
    }

    /// All coordinators that are in the configuration or have builds.
    pub fn all(routes: &'a Routes, counts: &'a [db::CoordinatorCount]) -> Vec<Self> {
        let configured = routes.0.iter().map(|route| Self::new(&route.coordinator, Some(route)));
        let mut all: Vec<Self> = configured.collect();
        for count in counts {
            let place = all.iter().position(|other| other.name == count.coordinator).unwrap_or_else(|| {
                all.push(Self::new(&count.coordinator, None));
                all.len() - 1
            });
            all[place].builds.insert(count.state.word(), count.count);
            all[place].problem = all[place].problem.or(count.problem.as_deref());
        }
        all
    }

    /// The number of its builds in `state`.
    pub fn count(&self, state: BuildState) -> i64 {
        self.builds.get(state.word()).copied().unwrap_or(0)
    }
}

/// Queued builds that no coordinator serves.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Unserved<'a> {
    /// The number of builds.
    pub count: i64,
    /// The spec that wanted them first.
    pub spec: &'a str,
    /// The system that they are for.
    pub system: &'a str,
}

impl<'a> Unserved<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Unserved) -> Self {
        let db::Unserved { spec, system, count } = row;
        Self { count: *count, spec, system }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_with_builds_is_shown_though_it_is_not_configured() {
        let route = |name: &str| Route { coordinator: name.to_owned(), ..Route::default() };
        let routes = Routes(vec![route("idle"), route("busy")]);
        let count = |name: &str, state, count, problem: Option<&str>| db::CoordinatorCount {
            coordinator: name.to_owned(),
            state,
            count,
            problem: problem.map(str::to_owned),
        };
        let counts = [
            count("busy", BuildState::Queued, 3, None),
            count("busy", BuildState::Submitted, 1, Some("it does not answer")),
            count("gone", BuildState::Building, 2, None),
        ];
        let all = Coordinator::all(&routes, &counts);
        let shown: Vec<_> = all.iter().map(|one| (one.name, one.configured, one.problem)).collect();
        let busy = ("busy", true, Some("it does not answer"));
        assert_eq!(shown, [("idle", true, None), busy, ("gone", false, None)]);
        assert_eq!([BuildState::Queued, BuildState::Building].map(|state| all[1].count(state)), [3, 0]);
    }
}
