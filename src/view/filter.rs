use crate::domain::spec::System;

/// Of which spec and system things are shown; nothing given, of all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this spec.
    pub spec: Option<String>,
    /// Only for this system.
    pub system: Option<System>,
}

impl Filter {
    /// Whether it lets through what is of a spec, for a system.
    pub fn admits(&self, spec: &str, system: &str) -> bool {
        self.admits_spec(spec) && self.system.as_ref().is_none_or(|known| known.as_str() == system)
    }

    /// Whether it lets through what is of a spec.
    pub fn admits_spec(&self, spec: &str) -> bool {
        self.spec.as_ref().is_none_or(|name| name == spec)
    }
}
