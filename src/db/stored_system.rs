use crate::db::{Error, Result};
use crate::domain::spec::System;

/// The system that we stored as `name`; `what` names the place.
pub(in crate::db) fn stored_system(name: &str, what: impl FnOnce() -> String) -> Result<System> {
    System::new(name).ok_or_else(|| Error::Damaged {
        what: what(),
        reason: format!("`{name}` is no system that Guix has"),
    })
}
