use crate::db::{Error, Result};
use crate::domain::spec::System;

/// Reads the stored name of a system; `what` names the place in errors.
pub(in crate::db) fn stored_system(name: &str, what: impl FnOnce() -> String) -> Result<System> {
    System::new(name)
        .ok_or_else(|| Error::Damaged { what: what(), reason: format!("`{name}` is not a system of Guix") })
}
