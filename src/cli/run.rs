//! `gorget run`: the farm itself.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Exit, at_fault, farm, once};
use crate::bell::Bell;
use crate::clock::Clock;
use crate::collect::Collect;
use crate::config::{self, Config, HOST_NAMES, Kind, Listen, is_host_name};
use crate::coordinator::{BuildHere, Follow, GuixBuildCoordinator, Hearing, LetGo, Reconcile, Site, Submit};
use crate::daemon::{Bells, Once, keep};
use crate::db::{Db, Error, NewHost, Turn};
use crate::evaluate::Evaluate;
use crate::fetch::{Fetch, Fetches};
use crate::host::{Presence, identity, listen};
use crate::register::Register;
use crate::schedule::Schedule;
use crate::spec::System;
use crate::substitute::LookUp;
use crate::watch::{Looks, Watch};
use crate::web::{self, Listener, Web};

/// How long keepers may take to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Watches, evaluates and queues until it is stopped
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// Look at everything once, do what there is to do, and stop
    #[arg(long)]
    pub(super) once: bool,
    /// Serve at this address or Unix socket, whatever the configuration says
    #[arg(long, value_name = "HOST:PORT|PATH", conflicts_with = "once")]
    listen: Option<String>,
    /// What this machine does for the farm: an evaluator needs the repositories and the database and
    /// nothing else; of those that schedule, one does and the others stand by
    #[arg(long, value_enum, default_value_t)]
    role: Role,
    /// What this machine is called in the farm, whatever the configuration says
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    host: Option<String>,
}

/// What a machine does for the farm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Role {
    /// Evaluates what was asked for
    Evaluate,
    /// Watches, plans, submits and serves
    Schedule,
    /// Both
    #[default]
    All,
}

impl Role {
    pub(super) fn evaluates(self) -> bool {
        self != Self::Schedule
    }

    fn schedules(self) -> bool {
        self != Self::Evaluate
    }

    fn words(self) -> &'static str {
        match self {
            Self::Evaluate => "evaluate",
            Self::Schedule => "schedule",
            Self::All => "evaluate schedule",
        }
    }
}

fn host_name(text: &str) -> Result<String, &'static str> {
    if is_host_name(text) { Ok(text.to_owned()) } else { Err(HOST_NAMES) }
}

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
    pub(super) substitute: LookUp,
    /// For each Guix Build Coordinator.
    pub(super) remote: Vec<Remote>,
    /// If this machine builds.
    pub(super) build_here: Option<BuildHere>,
    pub(super) let_go: LetGo,
}

/// The keepers that deal with one Guix Build Coordinator.
pub(super) struct Remote {
    pub(super) reconcile: Reconcile,
    pub(super) follow: Follow,
    pub(super) submit: Submit,
}

pub(super) async fn run(args: &Run, config: Config) -> anyhow::Result<Exit> {
    fs_err::create_dir_all(&config.state)?;
    // Held until the process ends, however it ends.
    let lock = fs_err::File::create(config.state.join("lock"))?;
    if lock.file().try_lock().is_err() {
        return Err(at_fault(format!("another `gorget run` works in {}", config.state.display())));
    }
    let db = Db::open(config.database.as_str()).await?;
    let (clock, bells, watch) = (Clock::corrected(), Bells::default(), Bell::default());
    let host = this_host(args, &config)?;
    let name = host.name.clone();
    let presence = match Presence::begin(&db, &clock, host).await {
        Err(error @ Error::HostTaken(_)) => return Err(at_fault(error.to_string())),
        presence => presence?,
    };
    let work = Work { host: name, config, db, clock, bells, watch, once: args.once };
    let result = tokio::select! {
        result = at_work(args, work, &presence) => result,
        taken = presence.live() => Err(taken.into()),
    };
    // What did not stop in time is in the database as far as it went.
    if let Err(error) = presence.end().await {
        tracing::warn!("others do not hear that this host stops: {error:#}");
    }
    result
}

fn this_host(args: &Run, config: &Config) -> anyhow::Result<NewHost> {
    let config::Evaluate { systems, workers, memory, .. } = &config.evaluate;
    Ok(NewHost {
        name: args.host.clone().unwrap_or_else(|| config.host.clone()),
        identity: identity(&config.state.join("identity"))?,
        roles: args.role.words().to_owned(),
        systems: systems.iter().map(System::as_str).collect::<Vec<_>>().join(" "),
        workers: i64::try_from(workers.get())?,
        memory: i64::try_from(*memory)?,
    })
}

async fn at_work(args: &Run, work: Work, presence: &Presence) -> anyhow::Result<Exit> {
    if args.once && !args.role.schedules() {
        Box::pin(once::evaluate(&work)).await?;
        return once::troubles(&work.db).await;
    }
    if args.once {
        let Some(turn) = presence.take_turn().await? else {
            return Err(at_fault(
                "another host schedules\nhint: `gorget status` says which; `--role evaluate` only evaluates",
            ));
        };
        let keepers = keepers(&work, turn)?;
        return tokio::select! {
            exit = Box::pin(once::all(keepers, &work, args.role)) => exit,
            () = presence.keep_turn(turn) => Err(Error::NotScheduling.into()),
        };
    }
    let web = if args.role.schedules() { Some(web(args, &work).await?) } else { None };
    serve(work, args.role, presence, web).await
}

/// What is served, and where.
async fn web(args: &Run, work: &Work) -> anyhow::Result<(Listener, Web)> {
    let (config, here) = (&work.config, std::env::current_dir()?);
    let listen = args.listen.as_ref().map_or(config.web.listen.clone(), |place| Listen::new(place, &here));
    let listener = Listener::bind(&listen).await?;
    tracing::info!("serving at {}", listener.place());
    Ok((listener, farm::web(config, &work.db)?))
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
        daemon: farm::daemon(config),
        clock: work.clock.clone(),
        bells: work.bells.clone(),
        kept: None,
    }
}

pub(super) fn collector(work: &Work) -> Collect {
    Collect {
        db: work.db.clone(),
        checkouts: farm::checkouts(&work.config),
        mirrors: farm::mirrors(&work.config),
        time_machine: farm::time_machine(&work.config),
        roots: farm::roots(&work.config),
        clock: work.clock.clone(),
    }
}

fn keepers(work: &Work, turn: Turn) -> anyhow::Result<Keepers> {
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
            told: BTreeSet::new(),
        },
        watch: Watch {
            db: db.clone(),
            mirrors: farm::mirrors(config),
            clock: clock.clone(),
            bells: bells.clone(),
            once: wanted(),
            looks: Looks::default(),
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
        substitute: LookUp { db: db.clone(), clock: clock.clone(), bells: bells.clone(), servers, once },
        remote: remotes(work, &db)?,
        build_here: build_here(work, &db),
        let_go: LetGo { db: db.clone(), told: told(config) },
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
            reconcile: Reconcile {
                db: db.clone(),
                clock: clock.clone(),
                name: name.clone(),
                coordinator: coordinator.clone(),
                since: once.then(|| clock.now()),
            },
            follow: Follow {
                db: db.clone(),
                clock: clock.clone(),
                name: name.clone(),
                coordinator: coordinator.clone(),
                hearing: Hearing::default(),
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
fn build_here(work: &Work, db: &Db) -> Option<BuildHere> {
    let config = &work.config;
    let (name, at_once, log_size) = config.coordinators.iter().find_map(|coordinator| {
        let Kind::GuixDaemon { at_once, log_size } = coordinator.kind else { return None };
        Some((coordinator.serves.coordinator.clone(), at_once, log_size))
    })?;
    Some(BuildHere {
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
        site: Site::default(),
    })
}

async fn serve(
    work: Work,
    role: Role,
    presence: &Presence,
    web: Option<(Listener, Web)>,
) -> anyhow::Result<Exit> {
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn(listen(work.db.clone(), work.bells.clone(), stop.clone()));
    tasks.spawn(keep(collector(&work), Bell::default(), stop.clone()));
    if role.evaluates() {
        tasks.spawn(keep(evaluator(&work), work.bells.evaluate.clone(), stop.clone()));
    }
    // These two go on for ever, or fail.
    let (presence, ended) = (presence.clone(), stop.clone());
    let mut scheduling = tasks.spawn(async move {
        if role.schedules() { schedule(work, presence, ended).await } else { std::future::pending().await }
    });
    let ended = stop.clone();
    let mut server = tasks.spawn(async move {
        match web {
            Some((listener, web)) => web::serve(listener, web, ended).await,
            None => std::future::pending().await,
        }
    });
    tasks.close();
    tracing::info!("the farm is running");
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = terminate.recv() => {}
        ended = &mut scheduling => ended??,
        ended = &mut server => ended??,
    }
    tracing::info!("stopping");
    stop.cancel();
    let _ = tokio::time::timeout(GRACE, tasks.wait()).await;
    Ok(Exit::Done)
}

/// Schedules whenever nobody else does.
async fn schedule(work: Work, presence: Presence, stop: CancellationToken) -> anyhow::Result<()> {
    while let Some(turn) = stop.run_until_cancelled(presence.wait_for_turn()).await {
        let keepers = keepers(&work, turn)?;
        if let Err(error) = configure(&keepers, &work).await {
            tracing::error!("cannot begin to schedule: {error:#}");
            continue;
        }
        let over = stop.child_token();
        let tasks = keep_all(keepers, &work, &over);
        over.run_until_cancelled(presence.keep_turn(turn)).await;
        over.cancel();
        tasks.wait().await;
    }
    Ok(())
}

/// Lets the database know what the configuration says now.
pub(super) async fn configure(keepers: &Keepers, work: &Work) -> Result<(), Error> {
    let LookUp { db, servers, .. } = &keepers.substitute;
    db.forget_other_servers(&servers.iter().map(|server| server.name.as_str()).collect::<Vec<_>>()).await?;
    let routes = work.config.routes();
    if routes.0.is_empty() { Ok(()) } else { db.route_anew(&routes).await.map(drop) }
}

fn keep_all(keepers: Keepers, work: &Work, stop: &CancellationToken) -> TaskTracker {
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
