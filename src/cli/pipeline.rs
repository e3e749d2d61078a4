//! What `gorget run` is made of.

use std::collections::BTreeSet;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::farm;
use crate::clock::Clock;
use crate::config::{Config, Kind};
use crate::db::{Db, Error, SchedulerLease};
use crate::farm::bell::Bell;
use crate::farm::reconciler::{Bells, Once, keep};
use crate::steps::collect::Collect;
use crate::steps::coordinator::{
    CancelOrphans, FollowEvents, GuixBuildCoordinator, LocalBuilder, PollBuilds, RunningBuilds, Submit,
    Subscription,
};
use crate::steps::evaluate::Evaluate;
use crate::steps::fetch::{Fetch, Fetches};
use crate::steps::register::Register;
use crate::steps::schedule::Schedule;
use crate::steps::substitutes::QuerySubstitutes;
use crate::steps::watch::{Polls, Watch};

/// What keepers are made of.
pub(super) struct Work {
    /// What this machine is called in the farm.
    pub(super) host: String,
    pub(super) config: Config,
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) bells: Bells,
    pub(super) watch: Bell,
    pub(super) once: bool,
}

/// The keepers of the machine that schedules.
pub(super) struct Keepers {
    pub(super) register: Register,
    pub(super) watch: Watch,
    pub(super) fetch: Fetch,
    pub(super) schedule: Schedule,
    pub(super) substitute: QuerySubstitutes,
    /// For each Guix Build Coordinator.
    pub(super) remote: Vec<Remote>,
    /// If this machine builds.
    pub(super) build_here: Option<LocalBuilder>,
    pub(super) let_go: CancelOrphans,
}

/// The keepers that deal with one Guix Build Coordinator.
pub(super) struct Remote {
    pub(super) reconcile: PollBuilds,
    pub(super) follow: FollowEvents,
    pub(super) submit: Submit,
}
pub(super) fn evaluator(work: &Work) -> Evaluate {
    let config = &work.config;
    Evaluate {
        host: work.host.clone(),
        systems: config.evaluate.systems.clone(),
        db: work.db.clone(),
        mirrors: farm::mirrors(config),
        checkouts: farm::checkouts(config),
        runtimes: farm::runtimes(config),
        limits: farm::limits(config),
        stored: config.evaluate.stored_per_spec,
        daemon: farm::daemon(config),
        clock: work.clock.clone(),
        bells: work.bells.clone(),
        directories: vec![config.state.clone(), std::env::temp_dir()],
        once: work.once,
        kept: None,
        pause: None,
        faults: 0,
    }
}

pub(super) fn collector(work: &Work) -> Collect {
    Collect {
        db: work.db.clone(),
        checkouts: farm::checkouts(&work.config),
        mirrors: farm::mirrors(&work.config),
        time_machine: farm::time_machine(&work.config),
        roots: farm::roots(&work.config),
        logs: farm::logs(&work.config),
        clock: work.clock.clone(),
    }
}

pub(super) fn keepers(work: &Work, turn: SchedulerLease) -> anyhow::Result<Keepers> {
    let Work { config, clock, bells, watch, once, .. } = work;
    let (db, once) = (work.db.scheduling(turn), *once);
    let wanted = || if once { Once::each() } else { Once::when_due() };
    let servers = farm::substitute_servers(config)?;
    let look_up = !servers.is_empty();
    Ok(Keepers {
        register: Register {
            db: db.clone(),
            directory: config.specs.clone(),
            watch: watch.clone(),
            schedule: bells.schedule.clone(),
            files: Vec::new(),
            told: BTreeSet::new(),
        },
        watch: Watch {
            db: db.clone(),
            mirrors: farm::mirrors(config),
            clock: clock.clone(),
            bells: bells.clone(),
            once: wanted(),
            polls: Polls::default(),
        },
        fetch: Fetch {
            db: db.clone(),
            resolver: farm::resolver(config),
            clock: clock.clone(),
            bells: bells.clone(),
            once: wanted(),
            fetches: Fetches::default(),
        },
        schedule: Schedule { db: db.clone(), clock: clock.clone(), bells: bells.clone(), look_up },
        substitute: QuerySubstitutes {
            db: db.clone(),
            clock: clock.clone(),
            bells: bells.clone(),
            servers,
            once,
        },
        remote: remotes(work, &db)?,
        build_here: build_here(work, &db),
        let_go: CancelOrphans { db: db.clone(), told: told(config) },
    })
}

/// What deals with each Guix Build Coordinator.
fn remotes(work: &Work, db: &Db) -> anyhow::Result<Vec<Remote>> {
    let Work { config, clock, once, .. } = work;
    let once = *once;
    let mut remotes = Vec::new();
    for coordinator in &config.coordinators {
        let Kind::GuixBuildCoordinator { url, substitute_urls, retries } = &coordinator.kind else {
            continue;
        };
        let name = coordinator.serves.coordinator.clone();
        let own_url = config.web.public_url.iter().map(|url| url.as_str().to_owned());
        let substitute_urls = own_url.chain(substitute_urls.iter().cloned()).collect();
        let coordinator = GuixBuildCoordinator::new(url.as_str())?;
        let coordinator = coordinator.with_emulating_agents(retries.emulating.clone());
        remotes.push(Remote {
            reconcile: PollBuilds {
                db: db.clone(),
                clock: clock.clone(),
                name: name.clone(),
                coordinator: coordinator.clone(),
                since: once.then(|| clock.now()),
            },
            follow: FollowEvents {
                db: db.clone(),
                clock: clock.clone(),
                name: name.clone(),
                coordinator: coordinator.clone(),
                hearing: Subscription::default(),
            },
            submit: Submit {
                db: db.clone(),
                clock: clock.clone(),
                name,
                coordinator,
                routes: config.routes(),
                substitute_urls,
                retry_tags: retries.tags.clone(),
                once,
            },
        });
    }
    Ok(remotes)
}

/// The names of the coordinators that are told what nobody wants any more.
fn told(config: &Config) -> Vec<String> {
    let all = config.coordinators.iter().filter(|coordinator| coordinator.kind != Kind::None);
    all.map(|coordinator| coordinator.serves.coordinator.clone()).collect()
}

/// Who builds, if that is this machine.
fn build_here(work: &Work, db: &Db) -> Option<LocalBuilder> {
    let config = &work.config;
    let (name, at_once, log_size) = config.coordinators.iter().find_map(|coordinator| {
        let Kind::GuixDaemon { at_once, log_size } = coordinator.kind else { return None };
        Some((coordinator.serves.coordinator.clone(), at_once, log_size))
    })?;
    Some(LocalBuilder {
        db: db.clone(),
        clock: work.clock.clone(),
        name,
        routes: config.routes(),
        bell: work.bells.submit.echo(),
        socket: config.evaluate.daemon_socket.clone(),
        logs: farm::logs(config),
        roots: farm::roots(config),
        log_size,
        at_once: at_once.get(),
        once: work.once,
        site: RunningBuilds::default(),
    })
}

/// Lets the database know what the configuration says now.
pub(super) async fn configure(keepers: &Keepers, work: &Work) -> Result<(), Error> {
    let QuerySubstitutes { db, servers, .. } = &keepers.substitute;
    db.forget_other_servers(&servers.iter().map(|server| server.name.as_str()).collect::<Vec<_>>()).await?;
    let routes = work.config.routes();
    if routes.0.is_empty() { Ok(()) } else { db.route_anew(&routes).await.map(drop) }
}

pub(super) fn keep_all(keepers: Keepers, work: &Work, stop: &CancellationToken) -> TaskTracker {
    let (tasks, bells) = (TaskTracker::new(), &work.bells);
    tasks.spawn(keep(keepers.register, bells.register.clone(), stop.clone()));
    tasks.spawn(keep(keepers.watch, work.watch.clone(), stop.clone()));
    tasks.spawn(keep(keepers.fetch, bells.fetch.clone(), stop.clone()));
    tasks.spawn(keep(keepers.schedule, bells.schedule.clone(), stop.clone()));
    tasks.spawn(keep(keepers.substitute, bells.substitute.clone(), stop.clone()));
    for remote in keepers.remote {
        tasks.spawn(keep(remote.reconcile, Bell::default(), stop.clone()));
        tasks.spawn(keep(remote.follow, Bell::default(), stop.clone()));
        tasks.spawn(keep(remote.submit, bells.submit.echo(), stop.clone()));
    }
    if let Some(build_here) = keepers.build_here {
        let bell = build_here.bell.clone();
        tasks.spawn(keep(build_here, bell, stop.clone()));
    }
    tasks.spawn(keep(keepers.let_go, bells.submit.echo(), stop.clone()));
    tasks.close();
    tasks
}
