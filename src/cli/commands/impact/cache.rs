//! The cache that `gorget impact` keeps between runs.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::{output, user_error};
use crate::clock::Clock;
use crate::config::{Config, Location};
use crate::db::{Db, Evaluation, NewHost, Sweeper};
use crate::farm::context::{Context, Mode};
use crate::farm::membership::{Membership, identity, raise_file_limit};
use crate::farm::pipeline::collector;
use crate::farm::reconciler::run_until_idle;

/// The host name of this machine in the cache's own farm.
const HOST: &str = "impact";
/// The size limit of compiled modules, in bytes: enough for three versions of Guix.
const COMPILED: u64 = 4 << 30;
/// The time limit of one evaluation, compiling included. A user's evaluation takes no longer.
const EVALUATION: Duration = Duration::from_hours(2);
/// How often the lock is tried while another command holds it.
const LOCK_INTERVAL: Duration = Duration::from_millis(200);

/// A small farm in the user's cache directory.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) config: Config,
    pub(super) db: Db,
    pub(super) context: Context,
    pub(super) membership: Membership,
    /// Keeps other commands waiting as long as this lives.
    _lock: fs_err::File,
}

impl Cache {
    /// Opens the cache, and creates it if there is none. Waits until no other command uses it.
    pub(super) async fn open(config: Config) -> anyhow::Result<Self> {
        raise_file_limit();
        let config = own(config)?;
        fs_err::create_dir_all(&config.state).map_err(|error| {
            user_error(format!(
                "no cache directory: {error}\nhint: set XDG_CACHE_HOME to a directory of yours"
            ))
        })?;
        let lock = lock(&config.state.join("lock")).await?;
        let db = Db::open(config.database.as_str()).await.context("opening the cache")?;
        let clock = Clock::System;
        let host = NewHost {
            name: HOST.to_owned(),
            identity: identity(&config.state.join("identity"))?,
            roles: String::new(),
            systems: String::new(),
            workers: i64::try_from(config.evaluate.workers.get())?,
            memory: i64::try_from(config.evaluate.memory)?,
        };
        // An evaluation of an interrupted command becomes pending again, and the next request
        // replaces it.
        db.reclaim_expired(HOST, clock.now()).await?;
        let membership = Membership::begin(&db, &clock, host).await?;
        let context = Context::new(db.clone(), clock, Mode::Once, HOST);
        Ok(Self { config, db, context, membership, _lock: lock })
    }

    /// Removes old evaluations and closes the database.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.tidy().await.context("cleaning up the cache")?;
        self.membership.end().await?;
        self.db.close().await;
        Ok(())
    }

    async fn tidy(&self) -> anyhow::Result<()> {
        run_until_idle(&mut collector(&self.context, &self.config)).await?;
        let retained = self.db.retained().await?;
        let old: Vec<_> = retained.iter().filter(|evaluation| evaluation.reason.is_none()).collect();
        if old.is_empty() {
            return Ok(());
        }
        for evaluation in old {
            self.db.forget_evaluation(evaluation.id).await?;
        }
        if let Some(mut sweeper) = Sweeper::begin(&self.db, Clock::System, HOST.to_owned()).await? {
            if !sweeper.must_wait().await? {
                sweeper.sweep().await?;
            }
            sweeper.end().await?;
        }
        Ok(())
    }

    /// The evaluations of one spec, the newest first.
    pub(super) async fn evaluations(&self, spec: &str) -> anyhow::Result<Vec<Evaluation>> {
        Ok(self.db.evaluations(Some(spec), None, i64::MAX).await?)
    }
}

/// Replaces everything in the configuration that a farm shares with others, so that a farm on this
/// machine is not affected.
fn own(config: Config) -> anyhow::Result<Config> {
    let state = directory()?;
    let database = state.join("impact.db").into_os_string().into_string().map_err(|path| {
        user_error(format!("the cache directory {} is not UTF-8", Path::new(&path).display()))
    })?;
    let mut config = Config { database: Location::new(database), state, coordinators: Vec::new(), ..config };
    config.evaluate.systems.clear();
    config.evaluate.evaluation_time = config.evaluate.evaluation_time.min(EVALUATION);
    config.evaluate.compiled = config.evaluate.compiled.min(COMPILED);
    Ok(config)
}

/// `$XDG_CACHE_HOME/gorget/impact`, or below `~/.cache`.
fn directory() -> anyhow::Result<PathBuf> {
    // The XDG specification says to ignore relative paths.
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    let cache = cache.ok_or_else(|| {
        user_error("there is no cache directory\nhint: set XDG_CACHE_HOME or HOME to an absolute path")
    })?;
    Ok(cache.join("gorget/impact"))
}

/// Waits for the lock. The file contains the id of the process that holds it.
async fn lock(path: &Path) -> io::Result<fs_err::File> {
    let mut file =
        fs_err::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let mut reported = false;
    while file.file().try_lock().is_err() {
        if !reported {
            let holder = fs_err::read_to_string(path).unwrap_or_default();
            output::note(&format!("waiting for another `gorget impact` (process {})", holder.trim()));
            reported = true;
        }
        tokio::time::sleep(LOCK_INTERVAL).await;
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}
