//! What a query asks for.

use serde::Deserialize;

use crate::db::{BuildState, QueueFilter};
use crate::domain::spec::System;
use crate::view::filter::Filter;

/// What is asked for; an empty value is none, as a form sends it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    pub(super) spec: String,
    pub(super) system: String,
    pub(super) state: String,
}

impl Asked {
    pub(super) fn filter(&self) -> Filter {
        let spec = Some(self.spec.clone()).filter(|name| !name.is_empty());
        Filter { spec, system: System::new(&self.system) }
    }

    /// The states that are asked for, else these.
    pub(super) fn states(&self, default: &[BuildState]) -> Vec<BuildState> {
        let named = BuildState::ALL.into_iter().find(|state| state.word() == self.state);
        named.map_or_else(|| default.to_vec(), |state| vec![state])
    }
}

/// What is asked for of one state.
pub(super) fn of_state(filter: &Filter, state: BuildState) -> QueueFilter {
    let Filter { spec, system } = filter.clone();
    QueueFilter { spec, system, state: Some(state), ..QueueFilter::default() }
}
