use crate::domain::spec::System;

/// Selects by spec and system. A field that is not set selects all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Selects this spec only.
    pub spec: Option<String>,
    /// Selects this system only.
    pub system: Option<System>,
}

impl Filter {
    /// Whether it selects this spec and system.
    pub fn admits(&self, spec: &str, system: &str) -> bool {
        self.admits_spec(spec) && self.system.as_ref().is_none_or(|known| known.as_str() == system)
    }

    /// Whether it selects this spec.
    pub fn admits_spec(&self, spec: &str) -> bool {
        self.spec.as_ref().is_none_or(|name| name == spec)
    }
}
