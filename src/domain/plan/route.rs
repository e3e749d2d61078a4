//! Chooses the coordinator of a build.
//!
//! A coordinator that names the spec comes before one that names the system, and that one before a
//! coordinator that names neither. When a build is queued, the first step of any coordinator that
//! runs stores which coordinator gets it. Builds that no coordinator serves are checked again at
//! each planning, because other specs may want them by then.

/// The name of the coordinator that `[coordinator]` in the configuration describes.
pub const DEFAULT: &str = "default";

/// The builds that one coordinator serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// The coordinator's name.
    pub coordinator: String,
    /// Serve only builds that these specs want; empty for all specs.
    pub specs: Vec<String>,
    /// Serve only derivations for these systems; empty for all systems.
    pub systems: Vec<String>,
}

/// The routes of all coordinators.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(pub Vec<Route>);

impl Route {
    /// How specific the route is: one that names specs comes before all others, then one that names
    /// systems.
    fn precision(&self) -> (bool, bool) {
        (!self.specs.is_empty(), !self.systems.is_empty())
    }

    fn serves(&self, spec: &str, system: &str) -> bool {
        let has = |list: &[String], name: &str| list.is_empty() || list.iter().any(|other| other == name);
        has(&self.specs, spec) && has(&self.systems, system)
    }

    /// Whether both routes serve some build equally specifically, so that neither comes first.
    pub fn contends_with(&self, other: &Self) -> bool {
        let overlap =
            |one: &[String], other: &[String]| one.is_empty() || one.iter().any(|name| other.contains(name));
        self.precision() == other.precision()
            && overlap(&self.specs, &other.specs)
            && overlap(&self.systems, &other.systems)
    }
}

impl Routes {
    /// The name of the coordinator that serves builds of a spec for a system, if any does.
    pub fn serving(&self, spec: &str, system: &str) -> Option<&str> {
        let serving = self.0.iter().filter(|route| route.serves(spec, system));
        serving.max_by_key(|route| route.precision()).map(|route| route.coordinator.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(coordinator: &str, specs: &[&str], systems: &[&str]) -> Route {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Route { coordinator: coordinator.to_owned(), specs: owned(specs), systems: owned(systems) }
    }

    #[test]
    fn who_names_the_spec_comes_first_then_who_names_the_system() {
        let mut routes = Routes(vec![
            route("rest", &[], &[]),
            route("arm", &[], &["aarch64-linux", "armhf-linux"]),
            route("release", &["release"], &[]),
            route("release-arm", &["release"], &["aarch64-linux"]),
        ]);
        for (spec, system, expected) in [
            ("master", "x86_64-linux", "rest"),
            ("master", "armhf-linux", "arm"),
            ("release", "armhf-linux", "release"),
            ("release", "aarch64-linux", "release-arm"),
        ] {
            assert_eq!(routes.serving(spec, system), Some(expected), "{spec} {system}");
        }
        routes.0.remove(0);
        assert_eq!(routes.serving("master", "x86_64-linux"), None);
        assert_eq!(Routes::default().serving("master", "x86_64-linux"), None);
    }

    #[test]
    fn two_contend_when_both_say_as_much_about_the_same_build() {
        let arm = route("a", &[], &["aarch64-linux", "armhf-linux"]);
        assert!(arm.contends_with(&route("b", &[], &["armhf-linux"])));
        assert!(!arm.contends_with(&route("b", &[], &["x86_64-linux"])));
        assert!(!arm.contends_with(&route("b", &["master"], &["armhf-linux"])));
        assert!(!arm.contends_with(&route("b", &[], &[])));
        assert!(route("a", &[], &[]).contends_with(&route("b", &[], &[])));
        assert!(!route("a", &["x"], &["armhf-linux"]).contends_with(&route("b", &["y"], &["armhf-linux"])));
    }
}
