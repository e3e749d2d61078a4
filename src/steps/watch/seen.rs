//! What a listing of a repository says about its known branches.

use std::collections::BTreeSet;

use crate::clock::Seconds;
use crate::db::{Branch, BranchState, GONE_AFTER};
use crate::domain::spec::{Channel, is_pattern, watches_branch};
use crate::farm::fault::mentions_machine_fault;
use crate::farm::reconciler::retry_delay;
use crate::git::{Listing, Mirrors, RemoteError, missing_branch};

use super::{Due, Watched};

/// How many branches of a repository one poll may log by name; above this, the log has only their
/// number.
const TOLD: usize = 20;

/// A branch, its state in the listing, and when to poll it next.
pub(super) type BranchObservation = (Branch, BranchState, Seconds);

impl Due {
    /// A repository without branches yet.
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), since: Seconds::MAX, watched: Vec::new(), others: Vec::new() }
    }

    /// Whether any branch of the repository is known to exist.
    pub(super) fn has_branches(&self) -> bool {
        let watched = self.watched.iter().map(|watched| &watched.branch);
        watched.chain(&self.others).any(|branch| branch.tip.is_some())
    }

    /// The names of all known branches.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        let watched = self.watched.iter().map(|watched| &watched.branch);
        watched.chain(&self.others).map(|branch| branch.name.as_str()).collect()
    }

    /// Asks for the branches that are due and, if patterns are due, for further branches that match
    /// them, as far as there is room. A branch that vanished keeps its place until it is deleted
    /// from the database, so a repository cannot have ever new branches watched.
    pub(super) async fn list(&self, mirrors: &Mirrors) -> Result<Listing, RemoteError> {
        let is_named = self.watched.iter().any(|watched| watched.named);
        let mirrors = if is_named { mirrors } else { &mirrors.for_brought_channels() };
        let due =
            self.watched.iter().map(|watched| &watched.branch).filter(|branch| !is_pattern(&branch.name));
        let patterns = self.patterns();
        let is_watched = |name: &str| patterns.iter().any(|channel| watches_branch(channel, name));
        let names: Vec<&str> = due.chain(self.is_watched()).map(|branch| branch.name.as_str()).collect();
        if patterns.is_empty() {
            return mirrors.tips(&self.url, &names).await;
        }
        let places = names.iter().filter(|name| is_watched(name)).count();
        let room = mirrors.limits().branches.saturating_sub(places);
        mirrors.list(&self.url, &names, &is_watched, room).await
    }

    fn patterns(&self) -> Vec<&Channel> {
        self.watched.iter().flat_map(|watched| &watched.patterns).collect()
    }

    /// Branches that are not due themselves, but match patterns that are.
    fn is_watched(&self) -> impl Iterator<Item = &Branch> {
        let patterns = self.patterns();
        let is_watched = move |name: &str| patterns.iter().any(|channel| watches_branch(channel, name));
        self.others.iter().filter(move |branch| !is_pattern(&branch.name) && is_watched(&branch.name))
    }

    /// The state of each branch according to `listing`.
    pub(super) fn seen(&self, listing: &Listing, most: usize, now: Seconds) -> Vec<BranchObservation> {
        let of =
            |branch: &Branch, next: Seconds| match listing.tips.get(&branch.name).and_then(Option::as_ref) {
                Some(tip) => (branch.clone(), BranchState::At(tip.clone()), next),
                None => self.missing(branch, listing, now),
            };
        let watched = self.watched.iter().map(|Watched { branch, patterns, next, .. }| {
            if patterns.is_empty() {
                return of(branch, *next);
            }
            (branch.clone(), BranchState::Listed(unwatched(listing, most)), *next)
        });
        let gone = |branch: &&Branch| branch.tip.is_none() && listing.tips.get(&branch.name) == Some(&None);
        let others = self.is_watched().filter(|branch| !gone(branch)).map(|branch| of(branch, now));
        watched.chain(others).collect()
    }

    fn missing(&self, branch: &Branch, listing: &Listing, now: Seconds) -> BranchObservation {
        let mut reason = missing_branch(&self.url, &branch.name, listing.default.as_deref());
        let next = match (&branch.tip, branch.missing_since) {
            (None, _) => now + retry_delay(branch.failures, &self.url),
            (Some(_), since) => since.unwrap_or(now).saturating_add(GONE_AFTER).max(now + 1),
        };
        if !is_gone(branch, now) {
            let minutes = GONE_AFTER / 60;
            reason = format!("{reason}; it counts as gone if it is still missing in {minutes} minutes");
        }
        (branch.clone(), BranchState::Missing(reason), next)
    }

    /// The states when there was no answer.
    pub(super) fn unreachable(&self, reason: &str, now: Seconds) -> Vec<BranchObservation> {
        // A fault of the machine is retried soon.
        let soon = mentions_machine_fault(reason);
        let again = |branch: &Branch| now + retry_delay(if soon { 0 } else { branch.failures }, &self.url);
        let watched = self.watched.iter().map(|watched| &watched.branch);
        watched
            .map(|branch| (branch.clone(), BranchState::Unreachable(reason.to_owned()), again(branch)))
            .collect()
    }
}

/// Whether a branch that is missing now counts as deleted.
fn is_gone(branch: &Branch, now: Seconds) -> bool {
    branch.tip.is_none() || branch.missing_since.is_some_and(|since| now - since >= GONE_AFTER)
}

/// The matching branches that are not watched, and why.
fn unwatched(listing: &Listing, most: usize) -> Option<String> {
    let left_out = (listing.left_out > 0).then(|| {
        let count = listing.left_out;
        format!("{count} more branches are not watched: the limit is {most} of one repository (`branches` in [git])")
    });
    let all: Vec<String> = left_out.into_iter().chain(listing.unwatchable.clone()).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Logs changes.
pub(super) fn log_changes(url: &str, polls: &[BranchObservation], now: Seconds) {
    let moved = |(branch, seen, _): &&BranchObservation| matches!(seen, BranchState::At(commit) if branch.tip.as_ref() != Some(commit));
    let missing = |(branch, seen, _): &&BranchObservation| {
        let is_new = branch.missing_since.is_none() || branch.tip.is_some() && is_gone(branch, now);
        matches!(seen, BranchState::Missing(_))
            && is_new
            && (branch.tip.is_some() || branch.polled_at.is_none())
    };
    let (moved, missing): (Vec<_>, Vec<_>) =
        (polls.iter().filter(moved).collect(), polls.iter().filter(missing).collect());
    for (branch, seen, _) in polls {
        if let BranchState::Listed(Some(note)) = seen
            && branch.reason.as_ref() != Some(note)
        {
            tracing::warn!(url, pattern = branch.name, "branches are not watched: {note}");
        }
    }
    if moved.len() + missing.len() > TOLD {
        let appeared = moved.iter().filter(|(branch, ..)| branch.tip.is_none()).count();
        let (moved, missing) = (moved.len() - appeared, missing.len());
        tracing::warn!(url, appeared, moved, missing, "many branches changed");
        return;
    }
    for (branch, seen, _) in moved {
        if let BranchState::At(commit) = seen {
            tracing::info!(url, branch = branch.name, commit, "branch changed");
        }
    }
    for (branch, ..) in missing {
        let message =
            if is_gone(branch, now) { "branch missing" } else { "branch missing for the first time" };
        tracing::warn!(url, branch = branch.name, "{message}");
    }
}
