//! The branches that are watched, and how often.

use std::collections::{BTreeMap, BTreeSet};

use crate::db::{Evaluation, StoredSpec};
use crate::domain::spec::{Channel, Period, is_pattern};

/// The demand for polls of a branch, or of the branches that match a pattern.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    pub(super) periods: Vec<Period>,
    /// The channels that have this pattern, if it is one.
    pub(super) patterns: Vec<Channel>,
    /// Whether a spec names its repository.
    pub(super) named: bool,
}

/// Every watched branch: those that specs name, and those of channels that their newest evaluations
/// needed.
pub(super) fn watchers(specs: &[StoredSpec], newest: &[Evaluation]) -> BTreeMap<(String, String), Watchers> {
    let mut watchers: BTreeMap<(String, String), Watchers> = BTreeMap::new();
    for stored in specs.iter().filter(|stored| stored.present && stored.spec.active) {
        let spec = &stored.spec;
        let mut watch = |url: &str, branch: &str| {
            let entry = watchers.entry((url.to_owned(), branch.to_owned())).or_default();
            entry.periods.push(spec.period.clone());
        };
        let of_template = |channel: &&Channel| is_pattern(&channel.branch) || !spec.is_template();
        let channels = spec.channels.iter().filter(|channel| channel.commit.is_none()).filter(of_template);
        for channel in channels {
            watch(&channel.url, &channel.branch);
        }
        for evaluation in newest.iter().filter(|evaluation| evaluation.spec_id == stored.id) {
            let needed = evaluation.revision.channels().iter().filter(|c| c.origin.needed_by.is_some());
            needed.filter(|c| !c.origin.pinned).for_each(|c| watch(&c.url, &c.origin.branch));
        }
        for channel in spec.channels.iter().filter(|channel| is_pattern(&channel.branch)) {
            let key = (channel.url.clone(), channel.branch.clone());
            watchers.entry(key).or_default().patterns.push(channel.clone());
        }
    }
    let present = specs.iter().filter(|stored| stored.present);
    let named: BTreeSet<&str> =
        present.flat_map(|stored| &stored.spec.channels).map(|channel| channel.url.as_str()).collect();
    for ((url, _), watchers) in &mut watchers {
        watchers.named = named.contains(url.as_str());
    }
    watchers
}
