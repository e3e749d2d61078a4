//! Which coordinator makes a build.
//!
//! A coordinator that names the spec comes before one that names the system, and that before one
//! that names nothing. As soon as a build is queued, the first step of any coordinator that runs
//! writes down its coordinator. Builds that none serves are looked at again whenever they are
//! planned, because other specs may want them by then.

/// The name of the coordinator that `[coordinator]` in the configuration describes.
pub const DEFAULT: &str = "default";

/// What a coordinator serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// The coordinator's name.
    pub coordinator: String,
    /// Only builds that these specs want; of all when there are none.
    pub specs: Vec<String>,
    /// Only derivations for these systems; for all when there are none.
    pub systems: Vec<String>,
}

/// What all coordinators serve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(pub Vec<Route>);

impl Route {
    /// How much it says about what it serves: who names a spec comes before all others, then who names
    /// a system.
    fn precision(&self) -> (bool, bool) {
        (!self.specs.is_empty(), !self.systems.is_empty())
    }

    fn serves(&self, spec: &str, system: &str) -> bool {
        let has = |list: &[String], name: &str| list.is_empty() || list.iter().any(|other| other == name);
        has(&self.specs, spec) && has(&self.systems, system)
    }

    /// Whether it cannot be told which of both serves some build.
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
