//! The filters that a query sets.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::db::{self, BuildState, Db, QueueFilter};
use crate::domain::spec::System;
use crate::view::filter::Filter;

/// The states of builds that are still to be made, in the order in which they are listed.
const WANTED: [BuildState; 5] = [
    BuildState::Building,
    BuildState::Submitted,
    BuildState::Queued,
    BuildState::Pending,
    BuildState::AwaitingApproval,
];

/// The filters of a query. Forms send an empty value for a filter that is not set.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct QueryFilters {
    /// Only of this spec.
    pub(super) spec: String,
    /// Only for this system.
    pub(super) system: String,
    /// Only builds in this state.
    pub(super) state: String,
}

/// The error that a filter names something that does not exist, with a text that says what.
#[derive(Debug)]
pub(super) struct Unknown(pub(super) String);

impl QueryFilters {
    /// The spec and the system. An unknown name is an error: ignoring it would select everything.
    pub(super) async fn filter(&self, db: &Db) -> db::Result<Result<Filter, Unknown>> {
        let Self { spec, system, .. } = self;
        if !spec.is_empty() && db.specs().await?.iter().all(|stored| stored.spec.name != *spec) {
            return Ok(Err(Unknown(format!("there is no spec {spec}"))));
        }
        let known = System::new(system);
        if !system.is_empty() && known.is_none() {
            return Ok(Err(Unknown(format!("Guix has no system {system}"))));
        }
        let spec = Some(spec.clone()).filter(|name| !name.is_empty());
        Ok(Ok(Filter { spec, system: known }))
    }

    /// The state in the query.
    pub(super) fn state(&self) -> Result<Option<BuildState>, Unknown> {
        if self.state.is_empty() {
            return Ok(None);
        }
        let named = BuildState::ALL.into_iter().find(|state| state.word() == self.state);
        named.map(Some).ok_or_else(|| Unknown(format!("no build is ever {}", self.state)))
    }

    /// The states of builds to list: the one in the query, or all states of builds that are still
    /// to be made.
    pub(super) fn states(&self) -> Result<Vec<BuildState>, Unknown> {
        Ok(self.state()?.map_or(WANTED.to_vec(), |state| vec![state]))
    }
}

/// The filter for builds in one state.
pub(super) fn of_state(filter: &Filter, state: BuildState) -> QueueFilter {
    let Filter { spec, system } = filter.clone();
    QueueFilter { spec, system, state: Some(state), ..QueueFilter::default() }
}
