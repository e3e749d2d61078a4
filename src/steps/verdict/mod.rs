//! Judges branches: compares the newest evaluation of each spec that has a `[verdict]` with an
//! evaluation of its base, and records what follows.
//!
//! The base's evaluation is the newest complete one whose commit the branch contains, so what the
//! base's own branch did since then is neither the merit nor the fault of this one.
//!
//! A branch is judged when its evaluations, its spec or what keeps it back changed. While builds go
//! on, it is judged again once a minute at most, and less often where that takes long: judging
//! takes a small part of the time.

mod base;
mod compare;
mod report;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::clock::{Clock, Seconds};
use crate::db::{
    BlockKind, BlockedSpec, Branch, Db, Evaluation, EvaluationState, Pause, SpecId, StoredSpec, StoredWaiver,
};
use crate::domain::spec::{Channel, Policy, System};
use crate::domain::verdict::{Block, Waiver};
use crate::farm::context::Context;
use crate::farm::reconciler::{Reconciler, StepOutcome, progress};
use crate::git::Mirrors;

/// How often, in seconds, a branch is judged while builds go on.
const AGAIN: Seconds = 60;
/// After so many polls in a row that failed, nobody knows where a branch is. One may fail by chance.
const FAILURES: i64 = 2;
/// A branch is not judged again for so many times the time that it took.
const REST: u32 = 100;

/// The reconciler that judges.
#[derive(Debug)]
pub struct Judge {
    db: Db,
    clock: Clock,
    mirrors: Mirrors,
    judged: HashMap<SpecId, Judged>,
}

/// What a branch was judged by last.
#[derive(Debug)]
struct Judged {
    /// The evaluations, the policy and what kept the branch back.
    fingerprint: String,
    /// When.
    at: Seconds,
    /// How long not to judge again while only builds go on, in seconds.
    rest: Seconds,
    /// The newest event then.
    event: i64,
}

/// What is read once for all branches.
struct Farm {
    specs: Vec<StoredSpec>,
    newest: Vec<Evaluation>,
    branches: Vec<Branch>,
    blocked: Vec<BlockedSpec>,
    pauses: Vec<Pause>,
    waivers: Vec<StoredWaiver>,
    event: i64,
}

impl Reconciler for Judge {
    const NAME: &'static str = "verdict";
    const PERIOD: Duration = Duration::from_secs(15);

    async fn step(&mut self) -> anyhow::Result<StepOutcome> {
        let specs = self.db.specs().await?;
        let judged = specs.iter().filter(|stored| stored.present && stored.spec.verdict.is_some());
        let judged: Vec<SpecId> = judged.filter(|stored| !stored.spec.is_template()).map(|s| s.id).collect();
        self.judged.retain(|spec, _| judged.contains(spec));
        self.db.forget_verdicts(&judged).await?;
        if judged.is_empty() {
            return Ok(StepOutcome::Idle);
        }
        let farm = self.farm(specs).await?;
        let mut result = Ok(StepOutcome::Idle);
        for stored in farm.specs.iter().filter(|stored| judged.contains(&stored.id)) {
            let Some(policy) = &stored.spec.verdict else { continue };
            // A branch that cannot be judged keeps no other from it.
            if let Err(error) = self.judge(&farm, stored, policy).await {
                let name = &stored.spec.name;
                result = Err(error.context(format!("judging {name}")));
            }
        }
        result
    }
}

impl Judge {
    /// Finds in `mirrors` which evaluations of a base a branch contains.
    pub fn new(context: &Context, mirrors: Mirrors) -> Self {
        Self { db: context.db.clone(), clock: context.clock.clone(), mirrors, judged: HashMap::new() }
    }

    async fn farm(&self, specs: Vec<StoredSpec>) -> anyhow::Result<Farm> {
        Ok(Farm {
            specs,
            newest: self.db.newest_evaluations().await?,
            branches: self.db.branches().await?,
            blocked: self.db.blocked_specs().await?,
            pauses: self.db.pauses().await?,
            waivers: self.db.waivers(self.clock.now()).await?,
            event: self.db.event_bounds().await?.map_or(0, |(_, newest)| newest),
        })
    }

    async fn judge(&mut self, farm: &Farm, stored: &StoredSpec, policy: &Policy) -> anyhow::Result<()> {
        let now = self.clock.now();
        let fingerprint = farm.fingerprint(stored, policy);
        let is_due = self.judged.get(&stored.id).is_none_or(|last| {
            last.fingerprint != fingerprint
                || last.event != farm.event && (now - last.at >= last.rest || now < last.at)
        });
        if !is_due {
            return Ok(());
        }
        progress();
        let begun = Instant::now();
        let report = self.report(farm, stored, policy).await?;
        let (spec, word) = (&stored.spec.name, report.word.word());
        if self.db.record_verdict(stored.id, &report, now).await? {
            tracing::info!(spec.name = spec, base = policy.base, verdict = word, "verdict changed");
        }
        let rest = i64::try_from((begun.elapsed() * REST).as_secs())?.max(AGAIN);
        self.judged.insert(stored.id, Judged { fingerprint, at: now, rest, event: farm.event });
        Ok(())
    }
}

impl Farm {
    /// A text that changes with whatever but builds decides about a branch.
    fn fingerprint(&self, stored: &StoredSpec, policy: &Policy) -> String {
        let evaluations: Vec<_> = self
            .newest
            .iter()
            .filter(|one| {
                one.spec_id == stored.id || one.spec == policy.base || policy.sets.contains(&one.spec)
            })
            .map(|one| (one.id, one.state, one.spec_id))
            .collect();
        let block = self.block(stored);
        let behind: Vec<bool> =
            stored.spec.systems.iter().map(|system| self.is_behind(stored, system)).collect();
        let waivers = self.waivers(stored);
        let paused: Vec<_> = stored.spec.systems.iter().map(|system| self.system_pause(system)).collect();
        let unwatched = self.unwatched(stored);
        format!(
            "{evaluations:?} {policy:?} {block:?} {:?} {behind:?} {waivers:?} {paused:?} {unwatched:?}",
            self.pause(stored)
        )
    }

    /// What somebody answers for.
    fn waivers(&self, stored: &StoredSpec) -> Vec<Waiver> {
        let own = self.waivers.iter().filter(|waiver| waiver.spec_id == stored.id);
        own.map(|waiver| waiver.waiver.clone()).collect()
    }

    /// What keeps a spec from being evaluated.
    fn block(&self, stored: &StoredSpec) -> Option<(Block, String)> {
        let found = self.blocked.iter().find(|block| block.spec_id == stored.id)?;
        let block = match found.kind {
            BlockKind::Bad | BlockKind::Metadata => Block::Branch,
            BlockKind::Unknown | BlockKind::Rollback => Block::Person,
            BlockKind::Failed => Block::Machine,
        };
        Some((block, format!("{}: {}", found.kind.word(), found.reason)))
    }

    /// Which pause keeps a spec from being evaluated or built.
    fn pause(&self, stored: &StoredSpec) -> Option<String> {
        let stops = |pause: &&Pause| pause.stops_submission() || pause.stops_spec(&stored.spec);
        let Pause { kind, name, author, .. } = self.pauses.iter().find(stops)?;
        Some(format!("{} paused by {author}", format!("{kind} {name}").trim_end()))
    }

    /// The pause of a system.
    fn system_pause(&self, system: &System) -> Option<String> {
        let pause = self.pauses.iter().find(|pause| pause.stops_system(system))?;
        Some(format!("{system} is paused by {}", pause.author))
    }

    /// The branch that a channel follows.
    fn branch(&self, channel: &Channel) -> Option<&Branch> {
        self.branches.iter().find(|branch| branch.url == channel.url && branch.name == channel.branch)
    }

    /// Why newer commits of a branch would not be seen.
    fn unwatched(&self, stored: &StoredSpec) -> Option<String> {
        if !stored.spec.active {
            return Some("the spec is not active: its branches are not polled".to_owned());
        }
        let followed = stored.spec.channels.iter().filter(|channel| channel.commit.is_none());
        followed.into_iter().find_map(|channel| {
            let branch = self.branch(channel)?;
            let name = &channel.branch;
            match (&branch.problem, &branch.tip) {
                (Some(_), _) if branch.failures >= FAILURES => {
                    Some(format!("branch {name} of channel {} cannot be polled", channel.name))
                }
                (None, None) if branch.polled_at.is_some() => {
                    Some(format!("branch {name} of channel {} is gone", channel.name))
                }
                _ => None,
            }
        })
    }

    /// The newest evaluation of a spec for a system.
    fn newest_of(&self, spec: SpecId, system: &System) -> Option<&Evaluation> {
        self.newest.iter().find(|one| one.spec_id == spec && one.system == *system)
    }

    /// Whether a newer revision of a branch is on its way than the newest that was evaluated for a system.
    fn is_behind(&self, stored: &StoredSpec, system: &System) -> bool {
        let Some(newest) = self.newest_of(stored.id, system) else { return false };
        if matches!(newest.state, EvaluationState::Pending | EvaluationState::Running) {
            return true;
        }
        if newest.build != stored.spec.build {
            return true;
        }
        stored.spec.channels.iter().any(|channel| {
            let tip = || self.branch(channel).and_then(|branch| branch.tip.as_deref());
            let tip = channel.commit.as_deref().or_else(tip);
            let at = newest.revision.channels().iter().find(|one| one.name == channel.name);
            tip.zip(at).is_some_and(|(tip, at)| at.commit != tip)
        })
    }
}
