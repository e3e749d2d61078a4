//! The part of `gorget status` about coordinators.

use crate::cli::output;
use crate::view::coordinator::{Coordinator, STATES};

/// Shows coordinators and their builds.
pub(super) fn show(all: &[Coordinator<'_>]) -> std::io::Result<()> {
    if !all.is_empty() {
        output::line("")?;
    }
    let rows = all.iter().map(|coordinator| {
        let mut row = vec![coordinator.name.to_owned(), serves(coordinator)];
        row.extend(STATES.map(|state| coordinator.count(state).to_string()));
        row.push(coordinator.problem.unwrap_or_default().to_owned());
        row
    });
    output::table(
        &["COORDINATOR", "SERVES", "QUEUED", "SUBMITTED", "BUILDING", "CANCELING", "PROBLEM"],
        rows.collect(),
    )
}

fn serves(coordinator: &Coordinator<'_>) -> String {
    let Some(service) = &coordinator.serves else {
        return format!(
            "(not in gorget.toml; `gorget reassign {}` gives its builds to others)",
            coordinator.name
        );
    };
    let parts = [service.specs.join(" "), service.systems.join(" ")];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "all others".to_owned() } else { parts.join(", ") }
}
