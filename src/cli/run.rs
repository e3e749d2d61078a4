//! `gorget run`: the farm itself.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::progress::Progress;
use super::{Exit, at_fault, farm, tell};
use crate::bell::Bell;
use crate::clock::Clock;
use crate::collect::Collect;
use crate::config::{Config, Kind, Listen};
use crate::coordinator::{BuildHere, Follow, GuixBuildCoordinator, Hearing, LetGo, Reconcile, Site, Submit};
use crate::daemon::{Bells, Once, exhaust, keep};
use crate::db::{Branch, Db, EvaluationId, EvaluationState, StoredSpec, Unserved};
use crate::evaluate::Evaluate;
use crate::fetch::{Fetch, Fetches};
use crate::register::Register;
use crate::schedule::Schedule;
use crate::spec::harmless;
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
}

/// The keepers of one farm.
struct Keepers {
    register: Register,
    watch: Watch,
    fetch: Fetch,
    evaluate: Evaluate,
    schedule: Schedule,
    substitute: LookUp,
    /// For each Guix Build Coordinator.
    remote: Vec<Remote>,
    /// If this machine builds.
    build_here: Option<BuildHere>,
    let_go: LetGo,
    collect: Collect,
}

/// The keepers that deal with one Guix Build Coordinator.
struct Remote {
    reconcile: Reconcile,
    follow: Follow,
    submit: Submit,
}

pub(super) async fn run(args: &Run, config: Config) -> anyhow::Result<Exit> {
    fs_err::create_dir_all(&config.state)?;
    // Held until the process ends, however it ends.
    let lock = fs_err::File::create(config.state.join("lock"))?;
    if lock.file().try_lock().is_err() {
        return Err(at_fault(format!("another `gorget run` works in {}", config.state.display())));
    }
    let db = Db::open(config.database.as_str()).await?;
    let interrupted = db.reset_interrupted().await?;
    if interrupted > 0 {
        tracing::info!(evaluations = interrupted, "evaluations were interrupted and begin again");
    }
    let bells = Bells::default();
    let watch = Bell::default();
    let keepers = keepers(&config, &db, &bells, &watch, args.once)?;
    let servers: Vec<&str> = keepers.substitute.servers.iter().map(|server| server.name.as_str()).collect();
    db.forget_other_servers(&servers).await?;
    let routes = config.routes();
    if !routes.0.is_empty() {
        db.route_anew(&routes).await?;
    }
    if args.once {
        return Box::pin(once(keepers, &db)).await;
    }
    let here = std::env::current_dir()?;
    let listen = args.listen.as_ref().map_or(config.web.listen.clone(), |place| Listen::new(place, &here));
    let listener = Listener::bind(&listen).await?;
    tracing::info!("serving at {}", listener.place());
    let web = farm::web(&config, &db)?;
    serve(keepers, &bells, &watch, (listener, web)).await
}

fn keepers(config: &Config, db: &Db, bells: &Bells, watch: &Bell, once: bool) -> anyhow::Result<Keepers> {
    let (clock, mirrors) = (Clock::System, farm::mirrors(config));
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
            mirrors: mirrors.clone(),
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
        evaluate: Evaluate {
            db: db.clone(),
            mirrors,
            checkouts: farm::checkouts(config),
            runtimes: farm::runtimes(config),
            limits: farm::limits(config),
            daemon: farm::daemon(config),
            clock: clock.clone(),
            bells: bells.clone(),
            kept: None,
        },
        schedule: Schedule { db: db.clone(), clock: clock.clone(), bells: bells.clone(), look_up },
        substitute: LookUp { db: db.clone(), clock: clock.clone(), bells: bells.clone(), servers, once },
        remote: remotes(config, db, once)?,
        build_here: build_here(config, db, &bells.submit, once),
        let_go: LetGo { db: db.clone(), told: told(config) },
        collect: Collect {
            db: db.clone(),
            checkouts: farm::checkouts(config),
            mirrors: farm::mirrors(config),
            time_machine: farm::time_machine(config),
            roots: farm::roots(config),
            clock: Clock::System,
        },
    })
}

/// What deals with each Guix Build Coordinator.
fn remotes(config: &Config, db: &Db, once: bool) -> anyhow::Result<Vec<Remote>> {
    let clock = Clock::System;
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
fn build_here(config: &Config, db: &Db, bell: &Bell, once: bool) -> Option<BuildHere> {
    let (name, at_once, log_size) = config.coordinators.iter().find_map(|coordinator| {
        let Kind::GuixDaemon { at_once, log_size } = coordinator.kind else { return None };
        Some((coordinator.serves.coordinator.clone(), at_once, log_size))
    })?;
    Some(BuildHere {
        db: db.clone(),
        clock: Clock::System,
        name,
        routes: config.routes(),
        bell: bell.echo(),
        socket: config.evaluate.daemon_socket.clone(),
        logs: farm::logs(config),
        roots: farm::roots(config),
        log_size,
        at_once: at_once.get(),
        once,
        site: Site::default(),
    })
}

/// Everything one time. What is found while evaluating is queued and submitted meanwhile.
async fn once(mut keepers: Keepers, db: &Db) -> anyhow::Result<Exit> {
    exhaust(&mut keepers.register).await.context("reading specs")?;
    exhaust(&mut keepers.watch).await.context("looking at branches")?;
    // Specs are made for branches that were seen just now.
    exhaust(&mut keepers.register).await.context("making specs from patterns")?;
    exhaust(&mut keepers.fetch).await.context("fetching")?;
    let (bells, look_up) = (keepers.schedule.bells.clone(), keepers.schedule.look_up);
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn(keep(keepers.schedule, bells.schedule.clone(), stop.clone()));
    let evaluated = tokio::select! {
        evaluated = exhaust(&mut keepers.evaluate) => evaluated.context("evaluating"),
        never = show_progress(db) => match never? {},
    };
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    evaluated?;
    let mut schedule = Schedule { db: db.clone(), clock: Clock::System, bells, look_up };
    exhaust(&mut schedule).await.context("scheduling")?;
    exhaust(&mut keepers.substitute).await.context("asking substitute servers")?;
    // What substitute servers have not may need what nobody has wanted so far.
    while exhaust(&mut schedule).await.context("scheduling")? {
        exhaust(&mut keepers.substitute).await.context("asking substitute servers")?;
    }
    exhaust(&mut keepers.let_go).await.context("giving up builds")?;
    for remote in &mut keepers.remote {
        exhaust(&mut remote.reconcile).await.context("asking how far builds are")?;
        exhaust(&mut remote.submit).await.context("submitting")?;
    }
    if let Some(build_here) = &mut keepers.build_here {
        exhaust(build_here).await.context("building")?;
    }
    exhaust(&mut keepers.collect).await.context("tidying up")?;
    troubles(db).await
}

/// Shows how far the running evaluation is, as the database says, until it is dropped.
async fn show_progress(db: &Db) -> anyhow::Result<Infallible> {
    let mut shown: Option<(EvaluationId, Progress, i64)> = None;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let newest = db.newest_evaluations().await?;
        let Some(running) = newest.into_iter().find(|e| e.state == EvaluationState::Running) else {
            shown = None;
            continue;
        };
        let fresh = shown.as_ref().is_none_or(|(id, ..)| *id != running.id);
        if fresh {
            let what = format!("evaluating {} for {}", harmless(&running.spec), running.system);
            shown = Some((running.id, Progress::begin(what), 0));
        }
        if let (Some((_, progress, done)), Some(total)) = (&mut shown, running.jobs_total) {
            progress.of(usize::try_from(total)?);
            progress.advance(usize::try_from(running.jobs_done - *done)?);
            *done = running.jobs_done;
        }
    }
}

/// Says what is wrong after everything was done once.
async fn troubles(db: &Db) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    let mut say = |text: String| {
        exit = Exit::Input;
        tell::note(&text);
    };
    let specs = db.specs().await?;
    for branch in db.branches().await? {
        if let Some(reason) = branch.reason.as_ref().filter(|_| is_watched(&branch, &specs)) {
            say(format!("branch {} of {}: {reason}", branch.name, branch.url));
        }
    }
    for hold in db.holds().await? {
        say(format!("{} is not evaluated: {}", hold.spec, hold.reason));
    }
    for server in db.failing_servers().await? {
        say(format!("substitute server {}: {}", server.url, server.reason));
    }
    for held in db.held().await? {
        tell::note(&format!(
            "{} builds of {} for {} are held: {}\nhint: `gorget approve {}` has them built",
            held.count, held.spec, held.system, held.reason, held.evaluation
        ));
    }
    for Unserved { spec, system, count } in db.unserved().await? {
        say(format!(
            "no coordinator serves {count} builds of {spec} for {system}\nhint: say in gorget.toml which one does"
        ));
    }
    for evaluation in db.newest_evaluations().await? {
        if evaluation.state == EvaluationState::Failed {
            let reason = evaluation.reason.unwrap_or_default();
            say(format!("{} for {}: {reason}", evaluation.spec, evaluation.system));
        }
    }
    Ok(exit)
}

/// Whether some spec of the farm names the branch; others are past, or needed by a channel, and then
/// what is wrong with them is told as what holds the spec.
fn is_watched(branch: &Branch, specs: &[StoredSpec]) -> bool {
    let names = |stored: &StoredSpec| {
        let channels = &stored.spec.channels;
        channels.iter().any(|channel| (&channel.url, &channel.branch) == (&branch.url, &branch.name))
    };
    specs.iter().any(|stored| stored.present && stored.spec.active && names(stored))
}

async fn serve(
    keepers: Keepers,
    bells: &Bells,
    watch: &Bell,
    (listener, web): (Listener, Web),
) -> anyhow::Result<Exit> {
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn(keep(keepers.register, bells.register.clone(), stop.clone()));
    tasks.spawn(keep(keepers.watch, watch.clone(), stop.clone()));
    tasks.spawn(keep(keepers.fetch, bells.fetch.clone(), stop.clone()));
    tasks.spawn(keep(keepers.evaluate, bells.evaluate.clone(), stop.clone()));
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
    tasks.spawn(keep(keepers.collect, Bell::default(), stop.clone()));
    let mut server = tasks.spawn(web::serve(listener, web, stop.clone()));
    tasks.close();
    tracing::info!("the farm is running");
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = terminate.recv() => {}
        ended = &mut server => ended??,
    }
    tracing::info!("stopping");
    stop.cancel();
    // What does not stop in time is in the database as far as it went.
    let _ = tokio::time::timeout(GRACE, tasks.wait()).await;
    Ok(Exit::Done)
}
