//! `[verdict]`: with what a branch is compared, and what it takes to be ready.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::System;
use super::channel::name;
use super::diagnostic::Diagnostic;
use super::section::{Value, string, strings, system, table, whole};

/// The share of changed jobs, in percent, that has to be built.
const KNOWN: u32 = 98;

/// What a branch has to do to be ready for its base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The spec whose branch this one is to be merged into.
    pub base: String,
    /// The systems on which it has to do well; without, all systems of the spec.
    #[serde(default)]
    pub required: Vec<System>,
    /// Specs whose packages all have to be built.
    #[serde(default)]
    pub sets: Vec<String>,
    /// The share of changed jobs, in percent, of which it has to be known whether they build.
    pub known: u32,
}

impl Policy {
    /// Whether the branch has to do well on a system.
    pub fn requires(&self, system: &System) -> bool {
        self.required.is_empty() || self.required.contains(system)
    }
}

/// Reads the table. `own` is the name of the spec, `systems` are those that it is evaluated for.
pub(super) fn policy(
    value: Value<'_>,
    own: Option<&str>,
    systems: Option<&[System]>,
    faults: &mut Vec<Diagnostic>,
) -> Option<Policy> {
    let mut section = table(value, "`[verdict]`", faults)?;
    let base = section.require("base", "name the spec of the branch to merge into", faults);
    let base = base.and_then(|value| string(value, faults)).and_then(|text| {
        let found = name(&text, faults)?;
        if own == Some(found.as_str()) {
            let fault = Diagnostic::fault(text.span(), "a spec cannot be its own base");
            faults.push(fault.hint("name the spec of the branch to merge into"));
            return None;
        }
        Some(found)
    });
    let of_spec = |text: &Spanned<&str>, faults: &mut Vec<Diagnostic>| {
        let found = system(text, faults)?;
        if systems.is_some_and(|systems| !systems.contains(&found)) {
            let fault = Diagnostic::fault(text.span(), format!("the spec is not evaluated for {found}"));
            faults.push(fault.hint("add it to `systems`, or leave it out here"));
            return None;
        }
        Some(found)
    };
    let required = section.take("required");
    let required = required.map_or(Some(Vec::new()), |value| strings(value, faults, of_spec));
    let sets = section.take("sets").map_or(Some(Vec::new()), |value| strings(value, faults, name));
    let what = ("the share that has to be known", "98 is usual, and 100 waits for every job");
    let known = section.take("known").map_or(Some(KNOWN), |value| whole(value, 0..=100, what, faults));
    section.finish(faults);
    Some(Policy { base: base?, required: required?, sets: sets?, known: known? })
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    fn faults(table: &str) -> Vec<String> {
        let source = format!(
            "build = \"hello\"\nsystems = [\"x86_64-linux\"]\n\
             [[channel]]\nname = \"guix\"\nurl = \"/srv/guix\"\n[verdict]\n{table}"
        );
        let faults = parse(&source, "team").err().unwrap_or_default();
        faults.into_iter().map(|fault| fault.message).collect()
    }

    #[test]
    fn a_base_is_another_spec_and_a_system_one_of_its_own() {
        assert_eq!(faults("base = \"master\"\nrequired = [\"x86_64-linux\"]\nknown = 100"), [""; 0]);
        assert_eq!(faults("known = 98"), ["`[verdict]` needs `base`"]);
        assert_eq!(faults("base = \"team\""), ["a spec cannot be its own base"]);
        assert_eq!(
            faults("base = \"master\"\nrequired = [\"i686-linux\"]\nknown = 101"),
            [
                "the spec is not evaluated for i686-linux",
                "the share that has to be known is a number from 0 to 100"
            ]
        );
    }
}
