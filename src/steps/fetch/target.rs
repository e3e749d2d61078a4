//! The targets of specs, determined from the database alone.

use sha2::{Digest, Sha256};

use crate::db::{Evaluation, StoredSpec};
use crate::domain::revision::{ChannelCommit, Origin};
use crate::domain::spec::Spec;
use crate::git::Tips;

/// The channels that a spec names, at the commits that it wants; `None` unless all of its branches
/// are known.
pub(super) fn named(spec: &Spec, tips: &Tips) -> Option<Vec<ChannelCommit>> {
    let channels = spec.channels.iter().map(|channel| {
        let tip = || tips.get(&(channel.url.clone(), channel.branch.clone())).cloned();
        let commit = channel.commit.clone().or_else(tip)?;
        let origin = Origin {
            branch: channel.branch.clone(),
            pinned: channel.commit.is_some(),
            introduction: channel.introduction.clone(),
            ..Origin::default()
        };
        Some(ChannelCommit { origin, ..ChannelCommit::new(&channel.name, &channel.url, commit) })
    });
    channels.collect()
}

/// A text that changes with the spec and its target.
pub(super) fn identity(spec: &Spec, named: &[ChannelCommit]) -> String {
    let text = serde_json::json!([spec, named]).to_string();
    data_encoding::HEXLOWER.encode(&Sha256::digest(text)[..20])
}

/// Whether the newest evaluation of each of the spec's systems has these channels and jobs, and the
/// channels that they need have not moved.
pub(super) fn is_asked_for(
    stored: &StoredSpec,
    named: &[ChannelCommit],
    tips: &Tips,
    newest: &[Evaluation],
) -> bool {
    stored.spec.systems.iter().all(|system| {
        newest.iter().any(|evaluation| {
            let same = evaluation.build == stored.spec.build && is_current(evaluation, named, tips);
            evaluation.spec_id == stored.id && evaluation.system == *system && same
        })
    })
}

fn is_current(evaluation: &Evaluation, named: &[ChannelCommit], tips: &Tips) -> bool {
    let revision = &evaluation.revision;
    let stands = |needed: &ChannelCommit| {
        let ChannelCommit { url, commit, origin, .. } = needed;
        let tip = tips.get(&(url.clone(), origin.branch.clone()));
        origin.needed_by.is_none() || origin.pinned || tip.is_none_or(|tip| tip == commit)
    };
    revision.named().count() == named.len()
        && revision.named().zip(named).all(|(one, other)| is_same(one, other))
        && revision.channels().iter().all(stands)
}

fn is_same(one: &ChannelCommit, other: &ChannelCommit) -> bool {
    let written = |channel: &ChannelCommit| {
        let Origin { branch, pinned, introduction, .. } = channel.origin.clone();
        (branch, pinned, introduction)
    };
    one == other && written(one) == written(other)
}
