//! Polls remote branches and records pushes.
//!
//! # Guarantees
//!
//! * Missing is not deleted. An answer without any reference, where branches were known, is a
//!   failed poll. A missing branch keeps its commit until it is still missing five minutes later.
//!   Only then is there a push `deleted`, and only then are specs retired and builds canceled.
//!
//! # Design
//!
//! One poll of a repository serves all its branches that are due, whichever specs watch them.
//! Several repositories are polled concurrently.
//!
//! The latest 1,000 pushes of each branch are kept. Branches that nothing watches are deleted after
//! 30 days; those with an authentic commit that later commits must descend from, after a year.

mod seen;
mod watchers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::{Clock, Seconds};
use crate::db::{Branch, BranchState, Db, PollResult};
use crate::domain::spec::Channel;
use crate::farm::bell::Bells;
use crate::farm::context::{Context, DueTracker};
use crate::farm::reconciler::{Reconciler, StepOutcome, jitter};
use crate::git::{Listing, Mirrors, RemoteError};
use crate::telemetry::counters;

use seen::{BranchObservation, log_changes};
use watchers::{Watchers, watchers};

/// How many repositories are polled concurrently.
const SIDE_BY_SIDE: usize = 16;
/// How often other due repositories are looked for while polls are running.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two polls of a branch, however often polls are requested.
const MIN_POLL_INTERVAL: Seconds = 10;
/// The most seconds by which a poll is delayed, so that not all happen at once; a tenth of the
/// period if that is shorter.
const MOST_LATE: Seconds = 60;

/// The reconciler that polls.
#[derive(Debug)]
pub struct Watch {
    db: Db,
    clock: Clock,
    bells: Bells,
    mirrors: Mirrors,
    due_tracker: DueTracker,
    polls: Polls,
}

/// The running polls.
#[derive(Debug, Default)]
struct Polls {
    tasks: JoinSet<PollOutcome>,
    urls: BTreeSet<String>,
}

impl Reconciler for Watch {
    const NAME: &'static str = "watch";
    const PERIOD: Duration = Duration::from_secs(5);

    async fn step(&mut self) -> anyhow::Result<StepOutcome> {
        self.begin().await?;
        let first = tokio::select! {
            first = self.polls.tasks.join_next() => first,
            () = tokio::time::sleep(POLL_INTERVAL) => return Ok(StepOutcome::Worked),
        };
        let Some(first) = first else { return Ok(StepOutcome::Idle) };
        let mut next = Some(first);
        while let Some(outcome) = next {
            match outcome {
                Ok(outcome) => self.settle(outcome).await?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
            next = self.polls.tasks.try_join_next();
        }
        Ok(StepOutcome::Worked)
    }
}

/// A branch that is due.
#[derive(Debug)]
struct Watched {
    branch: Branch,
    patterns: Vec<Channel>,
    /// Whether a spec names the branch's repository.
    named: bool,
    /// When the next poll is due if this one succeeds.
    next: Seconds,
}

/// A repository with branches that are due.
#[derive(Debug)]
struct Due {
    url: String,
    /// When the first of its branches became due.
    since: Seconds,
    watched: Vec<Watched>,
    /// All other known branches of the repository.
    others: Vec<Branch>,
}

/// The outcome of a poll of a repository.
#[derive(Debug)]
struct PollOutcome {
    due: Due,
    listing: Result<Listing, RemoteError>,
}

impl Watch {
    /// Polls through `mirrors`.
    pub fn new(context: &Context, mirrors: Mirrors) -> Self {
        Self {
            db: context.db.clone(),
            clock: context.clock.clone(),
            bells: context.bells.clone(),
            mirrors,
            due_tracker: DueTracker::new(context.mode),
            polls: Polls::default(),
        }
    }

    /// Starts polls of the repositories that are due, the one that has waited longest first.
    async fn begin(&mut self) -> anyhow::Result<()> {
        let mut all = self.due().await?;
        all.sort_by(|one, other| (one.since, &one.url).cmp(&(other.since, &other.url)));
        for due in all {
            if self.polls.urls.len() >= SIDE_BY_SIDE {
                break;
            }
            if !self.polls.urls.insert(due.url.clone()) {
                continue;
            }
            for watched in &due.watched {
                self.due_tracker.done(&name(&watched.branch));
            }
            let mirrors = self.mirrors.clone();
            self.polls.tasks.spawn(async move {
                let listing = due.list(&mirrors).await;
                PollOutcome { due, listing }
            });
        }
        Ok(())
    }

    /// The repositories with branches that are due.
    async fn due(&self) -> anyhow::Result<Vec<Due>> {
        let now = self.clock.now();
        let mut watchers = watchers(&self.db.specs().await?, &self.db.newest_evaluations().await?);
        self.make_known(&watchers).await?;
        let mut all: BTreeMap<String, Due> = BTreeMap::new();
        for branch in self.db.branches().await? {
            let due = all.entry(branch.url.clone()).or_insert_with(|| Due::new(&branch.url));
            let key = (branch.url.clone(), branch.name.clone());
            let Some(Watchers { periods, patterns, named }) = watchers.remove(&key) else {
                due.others.push(branch);
                continue;
            };
            let after = |at| periods.iter().map(|period| period.next(at)).min().unwrap_or(at);
            // Counts from the last poll, so that a changed period takes effect at once.
            let at = match branch.polled_at {
                None => 0,
                Some(_) if branch.failures > 0 => branch.next_poll,
                Some(polled_at) => with_jitter(&branch.url, polled_at, after(polled_at)),
            };
            let at = asked(&branch).map_or(at, |asked| at.min(asked));
            if self.due_tracker.is_due(&name(&branch), at <= now) {
                due.since = due.since.min(at);
                due.watched.push(Watched { branch, patterns, named, next: after(now) });
            } else {
                due.others.push(branch);
            }
        }
        Ok(all.into_values().filter(|due| !due.watched.is_empty()).collect())
    }

    /// Inserts rows for branches that have none.
    async fn make_known(&self, watchers: &BTreeMap<(String, String), Watchers>) -> anyhow::Result<()> {
        let known: BTreeSet<(String, String)> =
            self.db.branches().await?.into_iter().map(|branch| (branch.url, branch.name)).collect();
        let mut new: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for key @ (url, name) in watchers.keys() {
            if !known.contains(key) {
                new.entry(url).or_default().push(name);
            }
        }
        for (url, names) in new {
            self.db.ensure_branches(url, &names).await?;
        }
        Ok(())
    }

    /// Records the outcome of a poll.
    async fn settle(&mut self, outcome: PollOutcome) -> anyhow::Result<()> {
        let PollOutcome { due, listing } = outcome;
        self.polls.urls.remove(&due.url);
        let now = self.clock.now();
        let listing = match listing {
            Ok(listing) if listing.is_empty && due.has_branches() => Err(format!(
                "{} answered without any branch, which a login page or a server in maintenance does, too",
                due.url
            )),
            Ok(listing) => Ok(listing),
            Err(error) => Err(error.to_string()),
        };
        counters::poll(listing.is_ok());
        let polls = match &listing {
            Ok(listing) => {
                let mut polls = due.seen(listing, self.mirrors.limits().branches, now);
                polls.extend(self.appeared(&due, listing, now).await?);
                polls
            }
            Err(reason) => {
                tracing::warn!(url = due.url, "cannot poll a repository: {reason}");
                due.unreachable(reason, now)
            }
        };
        log_changes(&due.url, &polls, now);
        let rows = polls.into_iter().map(|(branch, seen, next_poll)| PollResult {
            branch: branch.id,
            seen,
            next_poll,
        });
        self.db.record_polls(&rows.collect::<Vec<_>>(), now).await?;
        if due.watched.iter().any(|watched| !watched.patterns.is_empty()) {
            self.bells.register.ring();
        }
        self.bells.fetch.ring();
        Ok(())
    }

    /// Branches that match patterns and were never seen before.
    async fn appeared(
        &self,
        due: &Due,
        listing: &Listing,
        now: Seconds,
    ) -> anyhow::Result<Vec<BranchObservation>> {
        let known: BTreeSet<&str> = due.names();
        let new = listing.tips.iter().filter(|(name, _)| !known.contains(name.as_str()));
        let new: BTreeMap<&str, &String> =
            new.filter_map(|(name, tip)| Some((name.as_str(), tip.as_ref()?))).collect();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        self.db.ensure_branches(&due.url, &new.keys().copied().collect::<Vec<_>>()).await?;
        let branches = self.db.branches().await?.into_iter().filter(|branch| branch.url == due.url);
        let seen = |branch: Branch| {
            let tip = (*new.get(branch.name.as_str())?).clone();
            Some((branch, BranchState::At(tip), now))
        };
        Ok(branches.filter_map(seen).collect())
    }
}

/// When a repository that was polled is polled again, if it is due at `next`. All of its branches
/// get the same delay, so they stay together.
fn with_jitter(url: &str, polled_at: Seconds, next: Seconds) -> Seconds {
    let most = (next.saturating_sub(polled_at) / 10).min(MOST_LATE);
    next.saturating_add(jitter(&format!("{url} {polled_at}"), most))
}

/// When a branch is to be polled because of a request since the last poll.
fn asked(branch: &Branch) -> Option<Seconds> {
    let polled_at = branch.polled_at?;
    branch
        .requested_at
        .filter(|requested_at| *requested_at >= polled_at)
        .map(|_| polled_at.saturating_add(MIN_POLL_INTERVAL))
}

fn name(branch: &Branch) -> String {
    format!("{} {}", branch.url, branch.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::Period;

    #[test]
    fn repositories_with_one_period_are_not_looked_at_in_one_second() {
        let period = Period::every("5m").unwrap();
        let polled_at = 1_000_000;
        let times: BTreeSet<Seconds> = (0..100)
            .map(|number| with_jitter(&format!("https://{number}/"), polled_at, period.next(polled_at)))
            .collect();
        assert!(times.len() > 15, "{times:?}");
        assert!(times.iter().all(|at| (polled_at + 300..=polled_at + 330).contains(at)), "{times:?}");
        assert_eq!(with_jitter("https://x/", polled_at, Seconds::MAX), Seconds::MAX, "never stays never");
    }
}
