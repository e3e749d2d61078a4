use crate::domain::spec::System;

/// Selects by spec and system. What is not set selects all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this spec.
    pub spec: Option<String>,
    /// Only for this system.
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
