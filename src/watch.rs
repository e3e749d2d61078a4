//! Looks at remote branches and records pushes. One look at a repository serves all the branches
//! of it that are due, whichever specs watch them; looks at several repositories run side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::channel::{Mirrors, RemoteError};
use crate::clock::{Clock, Seconds};
use crate::daemon::{Bells, Keeper, Once, Progress, back_off, spread};
use crate::db::{Branch, Db, Evaluation, Look, Seen, StoredSpec};
use crate::spec::{Channel, Period, is_pattern, matches};

/// How many repositories are looked at side by side.
const SIDE_BY_SIDE: usize = 16;
/// While looks are under way, how often it is asked whether others are due.
const GLANCE: Duration = Duration::from_secs(1);
/// So much lies between two looks at a branch, however often somebody asks for one.
const DISTANCE: Seconds = 10;
/// The longest time by which a look may be late, so that not all come at once; a tenth of the period
/// if that is shorter.
const MOST_LATE: Seconds = 60;

/// The keeper that looks.
#[derive(Debug)]
pub struct Watch {
    /// Where specs and branches stand.
    pub db: Db,
    /// Who looks.
    pub mirrors: Mirrors,
    /// What time it is.
    pub clock: Clock,
    /// Whom to wake.
    pub bells: Bells,
    /// Whether to look at what is not due.
    pub once: Once,
    /// The looks that are under way.
    pub looks: Looks,
}

/// Looks that are under way.
#[derive(Debug, Default)]
pub struct Looks {
    tasks: JoinSet<Looked>,
    urls: BTreeSet<String>,
}

impl Keeper for Watch {
    const NAME: &'static str = "watch";
    const PERIOD: Duration = Duration::from_secs(5);

    async fn step(&mut self) -> anyhow::Result<Progress> {
        self.begin().await?;
        let first = tokio::select! {
            first = self.looks.tasks.join_next() => first,
            () = tokio::time::sleep(GLANCE) => return Ok(Progress::Worked),
        };
        let Some(first) = first else { return Ok(Progress::Idle) };
        let mut next = Some(first);
        while let Some(looked) = next {
            match looked {
                Ok(looked) => self.settle(looked).await?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
            next = self.looks.tasks.try_join_next();
        }
        Ok(Progress::Worked)
    }
}

/// Who watches a branch, or the branches that a pattern means.
#[derive(Debug, Default)]
struct Watchers {
    periods: Vec<Period>,
    /// Channels whose pattern it is.
    patterns: Vec<Channel>,
    /// Whether a spec names its repository.
    named: bool,
}

/// A branch that is due.
#[derive(Debug)]
struct Watched {
    branch: Branch,
    patterns: Vec<Channel>,
    /// Whether a spec names its repository.
    named: bool,
    /// When it is to be looked at after a look that succeeds now.
    next: Seconds,
}

/// What came of a look at a repository.
#[derive(Debug)]
struct Looked {
    url: String,
    due: Vec<Watched>,
    tips: Result<BTreeMap<String, Option<String>>, RemoteError>,
}

impl Watch {
    /// Begins to look at the repositories that are due, the one that waits longest first.
    async fn begin(&mut self) -> anyhow::Result<()> {
        let mut due: Vec<(Seconds, String, Vec<Watched>)> = self.due().await?;
        due.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        for (_, url, due) in due {
            if self.looks.urls.len() >= SIDE_BY_SIDE {
                break;
            }
            if !self.looks.urls.insert(url.clone()) {
                continue;
            }
            for watched in &due {
                self.once.done(&name(&watched.branch));
            }
            let mirrors = self.mirrors.clone();
            self.looks.tasks.spawn(async move {
                let tips = look(&mirrors, &url, &due).await;
                Looked { url, due, tips }
            });
        }
        Ok(())
    }

    /// The repositories with branches that are due, and since when.
    async fn due(&self) -> anyhow::Result<Vec<(Seconds, String, Vec<Watched>)>> {
        let now = self.clock.now();
        let mut watchers = watchers(&self.db.specs().await?, &self.db.newest_evaluations().await?);
        self.make_known(&watchers).await?;
        let mut due: BTreeMap<String, (Seconds, Vec<Watched>)> = BTreeMap::new();
        for branch in self.db.branches().await? {
            let key = (branch.url.clone(), branch.name.clone());
            let Some(Watchers { periods, patterns, named }) = watchers.remove(&key) else { continue };
            let after = |at| periods.iter().map(|period| period.next(at)).min().unwrap_or(at);
            // Judged from the last look, so that a period that was changed counts at once.
            let at = match branch.looked_at {
                None => 0,
                Some(_) if branch.failures > 0 => branch.next_look,
                Some(looked_at) => late(&branch.url, looked_at, after(looked_at)),
            };
            let at = asked(&branch).map_or(at, |asked| at.min(asked));
            if self.once.wants(&name(&branch), at <= now) {
                let (since, watched) = due.entry(branch.url.clone()).or_insert((at, Vec::new()));
                *since = (*since).min(at);
                watched.push(Watched { branch, patterns, named, next: after(now) });
            }
        }
        Ok(due.into_iter().map(|(url, (at, watched))| (at, url, watched)).collect())
    }

    /// Gives rows to branches that have none.
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

    /// Records what came of a look.
    async fn settle(&mut self, looked: Looked) -> anyhow::Result<()> {
        let Looked { url, due, tips } = looked;
        self.looks.urls.remove(&url);
        let now = self.clock.now();
        let again = |branch: &Branch| now + back_off(branch.failures, &url);
        let looks = match &tips {
            Ok(tips) => {
                let mut looks = self.listed(&url, &due, tips, now).await?;
                looks.extend(due.iter().map(|Watched { branch, patterns, next, .. }| {
                    match tips.get(&branch.name).and_then(Option::as_ref) {
                        _ if !patterns.is_empty() => (branch.clone(), Seen::Listed, *next),
                        Some(tip) => (branch.clone(), Seen::At(tip.clone()), *next),
                        None => {
                            let reason = format!("{url} has no branch {}", branch.name);
                            (branch.clone(), Seen::Missing(reason), again(branch))
                        }
                    }
                }));
                looks
            }
            Err(error) => {
                tracing::warn!(url, "cannot look at a repository: {error}");
                let unreachable = Seen::Unreachable(error.to_string());
                due.iter().map(|w| (w.branch.clone(), unreachable.clone(), again(&w.branch))).collect()
            }
        };
        for (branch, seen, _) in &looks {
            tell(branch, seen);
        }
        let rows =
            looks.into_iter().map(|(branch, seen, next_look)| Look { branch: branch.id, seen, next_look });
        self.db.record_looks(&rows.collect::<Vec<_>>(), now).await?;
        if due.iter().any(|watched| !watched.patterns.is_empty()) {
            self.bells.register.ring();
        }
        self.bells.fetch.ring();
        Ok(())
    }

    /// What was seen of branches that patterns mean, but no spec watches yet, or any more.
    async fn listed(
        &self,
        url: &str,
        due: &[Watched],
        tips: &BTreeMap<String, Option<String>>,
        now: Seconds,
    ) -> anyhow::Result<Vec<(Branch, Seen, Seconds)>> {
        let patterns: Vec<&Channel> = due.iter().flat_map(|watched| &watched.patterns).collect();
        if patterns.is_empty() {
            return Ok(Vec::new());
        }
        let meant = |name: &str| patterns.iter().any(|channel| matches(channel, name));
        let found: Vec<&str> = tips.keys().map(String::as_str).filter(|name| meant(name)).collect();
        self.db.ensure_branches(url, &found).await?;
        let watched: BTreeSet<&str> = due.iter().map(|watched| watched.branch.name.as_str()).collect();
        let mut looks = Vec::new();
        for branch in self.db.branches().await? {
            let concerned = branch.url == url && !is_pattern(&branch.name) && meant(&branch.name);
            if !concerned || watched.contains(branch.name.as_str()) {
                continue;
            }
            match tips.get(&branch.name).and_then(Option::as_ref) {
                Some(tip) => looks.push((branch, Seen::At(tip.clone()), now)),
                None if branch.tip.is_some() => {
                    let reason = format!("{url} has no branch {}", branch.name);
                    looks.push((branch, Seen::Missing(reason), now));
                }
                None => {}
            }
        }
        Ok(looks)
    }
}

/// Asks a repository for the branches that are due; for all of its branches, if patterns are.
async fn look(
    mirrors: &Mirrors,
    url: &str,
    due: &[Watched],
) -> Result<BTreeMap<String, Option<String>>, RemoteError> {
    let mirrors = if due.iter().any(|watched| watched.named) { mirrors } else { &mirrors.of_strangers() };
    if due.iter().any(|watched| !watched.patterns.is_empty()) {
        return mirrors.list(url).await;
    }
    let names: Vec<&str> = due.iter().map(|watched| watched.branch.name.as_str()).collect();
    mirrors.look(url, &names).await
}

/// Every branch that is watched: those that specs name, and those of channels that their newest
/// evaluations needed.
fn watchers(specs: &[StoredSpec], newest: &[Evaluation]) -> BTreeMap<(String, String), Watchers> {
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

/// When a repository that was looked at is looked at again, if it is due at `next`. All of its
/// branches have the same delay, so they stay together.
fn late(url: &str, looked_at: Seconds, next: Seconds) -> Seconds {
    let most = (next.saturating_sub(looked_at) / 10).min(MOST_LATE);
    next.saturating_add(spread(&format!("{url} {looked_at}"), most))
}

/// When a branch is to be looked at because somebody asked for that since the last look.
fn asked(branch: &Branch) -> Option<Seconds> {
    let looked_at = branch.looked_at?;
    branch.asked_at.filter(|asked_at| *asked_at >= looked_at).map(|_| looked_at.saturating_add(DISTANCE))
}

fn name(branch: &Branch) -> String {
    format!("{} {}", branch.url, branch.name)
}

/// Logs what is new.
fn tell(branch: &Branch, seen: &Seen) {
    let Branch { url, name, tip, .. } = branch;
    match seen {
        Seen::At(commit) if tip.as_ref() != Some(commit) => {
            tracing::info!(url, branch = name, commit, "a branch moved");
        }
        Seen::Missing(_) if tip.is_some() || branch.looked_at.is_none() => {
            tracing::warn!(url, branch = name, "a branch is missing");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_with_one_period_are_not_looked_at_in_one_second() {
        let period = Period::every("5m").unwrap();
        let looked_at = 1_000_000;
        let times: BTreeSet<Seconds> = (0..100)
            .map(|number| late(&format!("https://{number}/"), looked_at, period.next(looked_at)))
            .collect();
        assert!(times.len() > 15, "{times:?}");
        assert!(times.iter().all(|at| (looked_at + 300..=looked_at + 330).contains(at)), "{times:?}");
        assert_eq!(late("https://x/", looked_at, Seconds::MAX), Seconds::MAX, "never stays never");
    }
}
