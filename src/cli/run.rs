//! `gorget run`: the farm itself.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use listenfd::ListenFd;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::role::Role;
use super::{Exit, farm, once, postgres_backup, user_error};
use crate::clock::Clock;
use crate::config::{self, Config, HOST_NAMES, Listen, is_host_name};
use crate::db::{Db, Error, NewHost};
use crate::domain::spec::System;
use crate::farm::bell::Bell;
use crate::farm::context::{Context, Mode};
use crate::farm::fault::MachineFault;
use crate::farm::membership::{Membership, identity, listen, raise_file_limit};
use crate::farm::pipeline::{Pipeline, collector, evaluator, parts};
use crate::farm::reconciler::{self, run_until_stopped};
use crate::farm::service_manager;
use crate::web::{self, Listener, Web};

/// How long to wait after a fault of the machine before scheduling is begun again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long reconcilers may take to stop.
const GRACE: Duration = Duration::from_secs(4);
/// How long telling others that this host stops may take.
const SIGN_OFF_LIMIT: Duration = Duration::from_secs(2);

/// Run the farm, or this machine's part of it, until it is stopped
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// Do all work that there is once, and exit
    #[arg(long)]
    pub(super) once: bool,
    /// Serve at this address or Unix socket, whatever the configuration says; a socket from the
    /// service manager comes first
    #[arg(long, value_name = "HOST:PORT|PATH", conflicts_with = "once")]
    listen: Option<String>,
    /// What this machine does for the farm: an evaluator needs the repositories and the database and
    /// nothing else; of those that schedule, one does and the others stand by
    #[arg(long, value_enum, default_value_t)]
    role: Role,
    /// The name of this machine in the farm, whatever the configuration says
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    host: Option<String>,
}

fn host_name(text: &str) -> Result<String, &'static str> {
    if is_host_name(text) { Ok(text.to_owned()) } else { Err(HOST_NAMES) }
}

/// Runs the farm. It serves at the socket among `passed`, those that the service manager opened, if there is one.
pub(super) async fn run(args: &Run, config: Config, passed: ListenFd) -> anyhow::Result<Exit> {
    // First, so that no program that is started inherits the socket; it is closed if nothing is served.
    let passed = Listener::inherited(passed)?.filter(|_| !args.once && args.role.schedules());
    raise_file_limit();
    make_directories(&config)?;
    // The lock is held until the process ends, however it ends.
    let lock = fs_err::File::create(config.state.join("lock"))?;
    if lock.file().try_lock().is_err() {
        return Err(user_error(format!("another `gorget run` uses {}", config.state.display())));
    }
    service_manager::status("opening the database");
    postgres_backup::back_up(&config).await?;
    let db = Db::open(config.database.as_str()).await?;
    let clock = Clock::corrected();
    let host = this_host(args, &config)?;
    let name = host.name.clone();
    let membership = match Membership::begin(&db, &clock, host).await {
        Err(error @ Error::HostTaken(_)) => return Err(user_error(error.to_string())),
        membership => membership?,
    };
    // Until here, and with `--once`, a signal terminates the program directly.
    let stop = CancellationToken::new();
    if !args.once {
        reconciler::stop_on_signals(stop.clone())?;
        reconciler::watch()?;
    }
    let mode = if args.once { Mode::Once } else { Mode::Continuous };
    let context = Context::new(db.clone(), clock, mode, name);
    let result = tokio::select! {
        result = run_host(args, context, config, &membership, passed, stop) => result,
        taken = membership.send_heartbeats() => Err(taken.into()),
    };
    // Steps that did not stop in time have their progress in the database.
    match timeout(SIGN_OFF_LIMIT, membership.end()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("cannot deregister this host: {error:#}"),
        Err(_) => tracing::warn!("cannot deregister this host: the database does not answer"),
    }
    // Closing the last connection merges SQLite's log into the database. A task that is still
    // running has its own connection.
    let _ = timeout(SIGN_OFF_LIMIT, db.close()).await;
    result
}

/// Makes the state directory, and what the guix-daemon, which may be another user, has to read of it: links
/// that keep from being collected what they lead to. Others can go through the directory, and not list it.
fn make_directories(config: &Config) -> std::io::Result<()> {
    for (directory, mode) in
        [(config.state.clone(), 0o711), (parts::roots(config), 0o755), (parts::time_machine(config), 0o755)]
    {
        if !directory.exists() {
            fs_err::create_dir_all(&directory)?;
            fs_err::set_permissions(&directory, Permissions::from_mode(mode))?;
        }
    }
    Ok(())
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

async fn run_host(
    args: &Run,
    context: Context,
    config: Config,
    membership: &Membership,
    passed: Option<Listener>,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    if args.once && !args.role.schedules() {
        Box::pin(once::evaluate(&context, &config)).await?;
        return once::report_problems(&context, &config).await;
    }
    if args.once {
        let Some(lease) = membership.take_scheduler_lease().await? else {
            return Err(user_error(
                "another host schedules\nhint: `gorget status` says which; `--role evaluate` only evaluates",
            ));
        };
        return tokio::select! {
            exit = Box::pin(once::all(&context, &config, lease, args.role)) => exit,
            () = membership.renew_scheduler_lease(lease) => Err(Error::NotScheduling.into()),
        };
    }
    let web = if args.role.schedules() { Some(web(args, &config, &context, passed).await?) } else { None };
    serve(context, config, args.role, membership, web, stop).await
}

/// What is served, and where.
async fn web(
    args: &Run,
    config: &Config,
    context: &Context,
    passed: Option<Listener>,
) -> anyhow::Result<(Listener, Web)> {
    let listener = if let Some(listener) = passed {
        if let Some(place) = &args.listen {
            tracing::warn!("--listen {place} is ignored: the service manager passes a socket");
        }
        listener
    } else {
        let here = std::env::current_dir()?;
        let listen =
            args.listen.as_ref().map_or(config.web.listen.clone(), |place| Listen::new(place, &here));
        Listener::bind(&listen).await?
    };
    tracing::info!("serving at {}", listener.place());
    Ok((listener, farm::web(config, &context.db, context.bells.clone())?))
}

async fn serve(
    context: Context,
    config: Config,
    role: Role,
    membership: &Membership,
    web: Option<(Listener, Web)>,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    let tasks = TaskTracker::new();
    tasks.spawn(listen(context.db.clone(), context.bells.clone(), stop.clone()));
    tasks.spawn(run_until_stopped(collector(&context, &config), Bell::default(), stop.clone()));
    if role.evaluates() {
        let evaluator = evaluator(&context, &config);
        tasks.spawn(run_until_stopped(evaluator, context.bells.evaluate.clone(), stop.clone()));
    }
    // Both tasks run until `stop`, or fail.
    let (membership, ended) = (membership.clone(), stop.clone());
    let mut scheduling = tasks.spawn(async move {
        if role.schedules() {
            schedule(context, config, membership, ended).await
        } else {
            std::future::pending().await
        }
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
    service_manager::ready();
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        ended = &mut scheduling => ended??,
        ended = &mut server => ended??,
    }
    tracing::info!("stopping");
    service_manager::stopping();
    stop.cancel();
    let _ = timeout(GRACE, tasks.wait()).await;
    Ok(Exit::Done)
}

/// Schedules whenever no other host does.
async fn schedule(
    context: Context,
    config: Config,
    membership: Membership,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    while let Some(lease) = stop.run_until_cancelled(membership.wait_for_scheduler_lease()).await {
        let pipeline = match Pipeline::begin(&context, &config, lease).await {
            Err(error) if MachineFault::of(&error).is_none() => return Err(error),
            Err(error) => {
                tracing::error!("cannot start scheduling: {error:#}");
                stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
                continue;
            }
            Ok(pipeline) => pipeline,
        };
        let over = stop.child_token();
        let tasks = pipeline.spawn(&over);
        over.run_until_cancelled(membership.renew_scheduler_lease(lease)).await;
        over.cancel();
        tasks.wait().await;
    }
    Ok(())
}
