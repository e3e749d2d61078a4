//! Fetches the targets of specs, authenticates them, finds the channels that they need, and
//! requests their evaluation when everything has been fetched. Repositories do not wait for each
//! other, and channels that specs name do not wait for what their channels bring.

mod block_reason;
mod fetch_spec;
mod target;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::db::{BlockedSpec, Db, Evaluation, Mirror, SpecId, StoredSpec};
use crate::domain::revision::ChannelCommit;
use crate::farm::bell::Bells;
use crate::farm::context::{Context, DueTracker};
use crate::farm::reconciler::{Reconciler, StepOutcome};
use crate::git::{Resolver, SearchPosition, Tips};
use crate::telemetry::counters;

use fetch_spec::FetchJob;

/// How many specs are fetched concurrently, as far as repositories that they name are concerned.
/// What is fetched is large, and authenticating keeps a processor busy.
const MAX_CONCURRENT: usize = 4;
/// How many of those may have a repository that was never fetched or failed the last time: slow
/// ones must not keep all others waiting.
const UNPROVEN: usize = MAX_CONCURRENT - 1;
/// How often new targets are looked for while fetches are running.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The reconciler that fetches.
#[derive(Debug)]
pub struct Fetch {
    db: Db,
    clock: Clock,
    bells: Bells,
    resolver: Resolver,
    due_tracker: DueTracker,
    fetches: Fetches,
}

/// The running fetches.
#[derive(Debug, Default)]
struct Fetches {
    tasks: JoinSet<Fetched>,
    /// Their specs, with the progress of each, and whether its repositories are proven.
    specs: BTreeMap<SpecId, (SearchPosition, bool)>,
}

/// What a spec wants evaluated and does not have yet.
#[derive(Debug)]
struct Target {
    stored: StoredSpec,
    named: Vec<ChannelCommit>,
    /// The spec's newest evaluation.
    before: Option<Evaluation>,
    /// A text that changes with the target.
    identity: String,
    block: Option<BlockedSpec>,
    tips: Arc<Tips>,
    /// Whether all repositories that the spec names have been fetched, and none failed the last
    /// time.
    is_proven: bool,
}

/// The outcome of a fetch.
#[derive(Debug)]
struct Fetched {
    stored: StoredSpec,
    identity: String,
    block: Option<BlockedSpec>,
    result: anyhow::Result<Result<(), block_reason::BlockReason>>,
}

impl Reconciler for Fetch {
    const NAME: &'static str = "fetch";
    const PERIOD: Duration = Duration::from_secs(15);
    // A first fetch of Guix may take half an hour, and authenticating it as long.
    const LONGEST: Duration = Duration::from_hours(2);

    async fn step(&mut self) -> anyhow::Result<StepOutcome> {
        let mut wanted = self.wanted().await?;
        let mut progress = StepOutcome::Idle;
        let interval = tokio::time::sleep(POLL_INTERVAL);
        tokio::pin!(interval);
        loop {
            wanted = self.begin(wanted);
            tokio::select! {
                fetched = self.fetches.tasks.join_next() => match fetched {
                    None => return Ok(progress),
                    Some(Ok(fetched)) => self.handle_outcome(fetched).await?,
                    Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                },
                () = &mut interval => return Ok(StepOutcome::Worked),
            }
            progress = StepOutcome::Worked;
        }
    }
}

impl Fetch {
    /// Fetches and authenticates revisions with `resolver`.
    pub fn new(context: &Context, resolver: Resolver) -> Self {
        Self {
            db: context.db.clone(),
            clock: context.clock.clone(),
            bells: context.bells.clone(),
            resolver,
            due_tracker: DueTracker::new(context.mode),
            fetches: Fetches::default(),
        }
    }

    /// The known tip of every branch.
    async fn tips(&self) -> anyhow::Result<Tips> {
        let branches = self.db.branches().await?.into_iter();
        Ok(branches.filter_map(|branch| Some(((branch.url, branch.name), branch.tip?))).collect())
    }

    /// The newest evaluations of each spec.
    async fn newest_evaluations(&self) -> anyhow::Result<HashMap<SpecId, Vec<Evaluation>>> {
        let mut newest: HashMap<SpecId, Vec<Evaluation>> = HashMap::new();
        for evaluation in self.db.newest_evaluations().await? {
            newest.entry(evaluation.spec_id).or_default().push(evaluation);
        }
        Ok(newest)
    }

    /// The targets to fetch now, those with the fewest failures first.
    async fn wanted(&mut self) -> anyhow::Result<Vec<Target>> {
        let mut newest = self.newest_evaluations().await?;
        let mut blocked: HashMap<SpecId, BlockedSpec> =
            self.db.blocked_specs().await?.into_iter().map(|block| (block.spec_id, block)).collect();
        let tips = Arc::new(self.tips().await?);
        let (mirrors, now) = (self.db.mirrors().await?, self.clock.now());
        let of = |is: &dyn Fn(&Mirror) -> bool| -> BTreeSet<&str> {
            mirrors.iter().filter(|mirror| is(mirror)).map(|mirror| mirror.url.as_str()).collect()
        };
        let resting = of(&|mirror| mirror.next_fetch > now);
        let proven = of(&|mirror| mirror.fetched_at.is_some() && mirror.failures == 0);
        let mut all = Vec::new();
        for stored in self.db.specs().await? {
            if !stored.present || !stored.spec.is_evaluated() || self.fetches.specs.contains_key(&stored.id) {
                continue;
            }
            let Some(named) = target::named(&stored.spec, &tips) else { continue };
            let block = blocked.remove(&stored.id);
            let newest = newest.remove(&stored.id).unwrap_or_default();
            if target::is_asked_for(&stored, &named, &tips, &newest) {
                if block.is_some() {
                    self.db.unblock_spec(stored.id).await?;
                }
                continue;
            }
            let identity = target::identity(&stored.spec, &named);
            let waits = |block: &BlockedSpec| block.target == identity && block.next_attempt > now;
            let rests = block.as_ref().is_some_and(waits)
                || named.iter().any(|channel| resting.contains(channel.url.as_str()));
            if self.due_tracker.is_due(&attempt(&stored, &identity), !rests) {
                let (before, tips) = (newest.into_iter().next(), Arc::clone(&tips));
                let is_proven = named.iter().all(|channel| proven.contains(channel.url.as_str()));
                all.push(Target { stored, named, before, identity, block, tips, is_proven });
            }
        }
        all.sort_by_key(|target| target.block.as_ref().map_or(0, |block| block.failures));
        Ok(all)
    }

    /// Starts as many fetches as may run concurrently; returns the targets that have to wait. A
    /// spec waits while another fetch uses a repository that it names: if that fetch fails, the
    /// repository is not contacted for a while.
    fn begin(&mut self, wanted: Vec<Target>) -> Vec<Target> {
        let mut waiting = Vec::new();
        for one in wanted {
            let running = self.fetches.specs.values();
            let busy: Vec<(String, bool)> =
                running.filter_map(|(position, proven)| Some((position.url()?, *proven))).collect();
            let waits = one.named.iter().any(|channel| busy.iter().any(|(url, _)| *url == channel.url));
            let unproven = busy.iter().filter(|(_, is_proven)| !is_proven).count();
            if waits || busy.len() >= MAX_CONCURRENT || !one.is_proven && unproven >= UNPROVEN {
                waiting.push(one);
                continue;
            }
            let Target { stored, named, before, identity, block, tips, is_proven } = one;
            self.due_tracker.done(&attempt(&stored, &identity));
            let mut search = self.resolver.search(&named);
            self.fetches.specs.insert(stored.id, (search.position(), is_proven));
            let (db, resolver, clock) = (self.db.clone(), self.resolver.clone(), self.clock.clone());
            self.fetches.tasks.spawn(async move {
                let job = FetchJob { db, resolver, clock };
                let result = job.fetch(&stored, named, before.as_ref(), &tips, &mut search).await;
                let noted = job.note(&search).await;
                Fetched { stored, identity, block, result: noted.and(result) }
            });
        }
        waiting
    }

    /// Handles the outcome of a fetch.
    async fn handle_outcome(&mut self, fetched: Fetched) -> anyhow::Result<()> {
        let Fetched { stored, identity, block, result } = fetched;
        self.fetches.specs.remove(&stored.id);
        let result = result?;
        counters::fetch(result.is_ok());
        match result {
            Ok(()) => self.bells.evaluate.ring(),
            Err(obstacle) => self.block(&stored, &identity, block.as_ref(), &obstacle).await?,
        }
        Ok(())
    }
}

/// The name of this attempt, which is made once.
fn attempt(stored: &StoredSpec, identity: &str) -> String {
    format!("{} {identity}", stored.spec.name)
}
