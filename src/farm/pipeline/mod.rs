//! The reconcilers, made from the configuration.
//!
//! `Pipeline` has the reconcilers of the host that schedules, in the order of the flow.
//! `gorget run` spawns each of them. `gorget run --once` runs one after the other until each is
//! idle. Every host collects garbage, and a host may evaluate without scheduling, so `evaluator`
//! and `collector` are separate.
//!
//! Steps import the rest of `farm`, such as `Context` and the reconciler's trait. This module imports
//! the steps, so neither they nor the rest of `farm` import it: only `cli` does.

mod coordinators;
/// The parts that reconcilers are made of, from the configuration.
pub mod parts;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::db::SchedulerLease;
use crate::farm::bell::{Bell, Bells};
use crate::farm::context::Context;
use crate::farm::reconciler::{run_until_idle, run_until_stopped};
use crate::steps::collect::{Collect, Places};
use crate::steps::coordinator::{CancelOrphans, LocalBuilder};
use crate::steps::evaluate::{Evaluate, EvaluateSettings};
use crate::steps::fetch::Fetch;
use crate::steps::register::Register;
use crate::steps::schedule::Schedule;
use crate::steps::substitutes::{MeasureCoverage, QuerySubstitutes};
use crate::steps::verdict::Judge;
use crate::steps::watch::Watch;

use coordinators::Remote;

/// The reconcilers of the host that schedules.
#[derive(Debug)]
pub struct Pipeline {
    bells: Bells,
    register: Register,
    watch: Watch,
    fetch: Fetch,
    schedule: Schedule,
    substitutes: QuerySubstitutes,
    cancel_orphans: CancelOrphans,
    /// One for each Guix Build Coordinator.
    remotes: Vec<Remote>,
    /// Present if this machine builds.
    local_builder: Option<LocalBuilder>,
    judge: Judge,
    coverage: MeasureCoverage,
}

impl Pipeline {
    /// Makes the reconcilers, and updates the database to the configured servers and routes.
    pub async fn begin(context: &Context, config: &Config, lease: SchedulerLease) -> anyhow::Result<Self> {
        let context = &Context { db: context.db.scheduling(lease), ..context.clone() };
        let servers = parts::substitute_servers(config)?;
        let remotes = coordinators::remotes(context, config)?;
        let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        context.db.forget_other_servers(&names).await?;
        let routes = config.routes();
        if !routes.0.is_empty() {
            context.db.route_anew(&routes).await?;
        }
        Ok(Self {
            bells: context.bells.clone(),
            register: Register::new(context, config.specs.clone()),
            watch: Watch::new(context, parts::mirrors(config)),
            fetch: Fetch::new(context, parts::resolver(config)),
            schedule: Schedule::new(context, !servers.is_empty()),
            coverage: MeasureCoverage::new(context, servers.clone()),
            substitutes: QuerySubstitutes::new(context, servers),
            cancel_orphans: CancelOrphans::new(context, coordinators::names(config)),
            remotes,
            local_builder: coordinators::local_builder(context, config),
            judge: Judge::new(context, parts::mirrors(config)),
        })
    }

    /// Runs each reconciler in a task of its own until `stop` is cancelled.
    pub fn spawn(self, stop: &CancellationToken) -> TaskTracker {
        let (tasks, bells) = (TaskTracker::new(), &self.bells);
        tasks.spawn(run_until_stopped(self.register, bells.register.clone(), stop.clone()));
        tasks.spawn(run_until_stopped(self.watch, bells.watch.clone(), stop.clone()));
        tasks.spawn(run_until_stopped(self.fetch, bells.fetch.clone(), stop.clone()));
        tasks.spawn(run_until_stopped(self.schedule, bells.schedule.clone(), stop.clone()));
        tasks.spawn(run_until_stopped(self.substitutes, bells.substitute.clone(), stop.clone()));
        tasks.spawn(run_until_stopped(self.cancel_orphans, bells.submit.echo(), stop.clone()));
        for Remote { poll, follow, submit } in self.remotes {
            tasks.spawn(run_until_stopped(poll, Bell::default(), stop.clone()));
            tasks.spawn(run_until_stopped(follow, Bell::default(), stop.clone()));
            tasks.spawn(run_until_stopped(submit, bells.submit.echo(), stop.clone()));
        }
        if let Some(local_builder) = self.local_builder {
            let bell = local_builder.bell();
            tasks.spawn(run_until_stopped(local_builder, bell, stop.clone()));
        }
        tasks.spawn(run_until_stopped(self.judge, Bell::default(), stop.clone()));
        tasks.spawn(run_until_stopped(self.coverage, Bell::default(), stop.clone()));
        tasks.close();
        tasks
    }

    /// Runs one reconciler after the other until it has nothing left to do. `evaluations` runs the
    /// evaluations, if this host evaluates.
    pub async fn run_once<E>(mut self, evaluations: Option<E>) -> anyhow::Result<()>
    where
        E: Future<Output = anyhow::Result<()>>,
    {
        run_until_idle(&mut self.register).await.context("reading specs")?;
        run_until_idle(&mut self.watch).await.context("polling branches")?;
        // Templates make specs for the branches that were just seen.
        run_until_idle(&mut self.register).await.context("making specs from templates")?;
        run_until_idle(&mut self.fetch).await.context("fetching")?;
        if let Some(evaluations) = evaluations {
            self.schedule_during(evaluations).await?;
        }
        run_until_idle(&mut self.schedule).await.context("scheduling")?;
        run_until_idle(&mut self.substitutes).await.context("asking substitute servers")?;
        // A build without a substitute may need builds that no job wanted so far.
        while run_until_idle(&mut self.schedule).await.context("scheduling")? {
            run_until_idle(&mut self.substitutes).await.context("asking substitute servers")?;
        }
        // Branches are judged by what is known, also if a coordinator is away.
        let coordinated = self.coordinate().await;
        run_until_idle(&mut self.judge).await.context("judging branches")?;
        run_until_idle(&mut self.coverage).await.context("asking substitute servers what they have")?;
        coordinated
    }

    /// Sends to coordinators, and asks them, until there is nothing left to do.
    async fn coordinate(&mut self) -> anyhow::Result<()> {
        run_until_idle(&mut self.cancel_orphans).await.context("canceling builds")?;
        for Remote { poll, submit, .. } in &mut self.remotes {
            run_until_idle(poll).await.context("polling builds")?;
            run_until_idle(submit).await.context("submitting")?;
        }
        if let Some(local_builder) = &mut self.local_builder {
            run_until_idle(local_builder).await.context("building")?;
        }
        Ok(())
    }

    /// Schedules while evaluations run, so that their builds are queued early.
    async fn schedule_during<E>(&self, evaluations: E) -> E::Output
    where
        E: Future,
    {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(run_until_stopped(self.schedule.clone(), self.bells.schedule.clone(), stop.clone()));
        let evaluated = evaluations.await;
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        evaluated
    }
}

/// The reconciler that evaluates.
pub fn evaluator(context: &Context, config: &Config) -> Evaluate {
    let settings = EvaluateSettings {
        systems: config.evaluate.systems.clone(),
        mirrors: parts::mirrors(config),
        checkouts: parts::checkouts(config),
        runtimes: parts::runtimes(config),
        limits: parts::limits(config),
        stored: config.evaluate.stored_per_spec,
        daemon: parts::daemon(config),
        directories: vec![config.state.clone(), std::env::temp_dir()],
    };
    Evaluate::new(context, settings)
}

/// The reconciler that removes what is no longer needed.
pub fn collector(context: &Context, config: &Config) -> Collect {
    let places = Places {
        checkouts: parts::checkouts(config),
        mirrors: parts::mirrors(config),
        time_machine: parts::time_machine(config),
        roots: parts::roots(config),
        logs: parts::logs(config),
    };
    Collect::new(context, places)
}
