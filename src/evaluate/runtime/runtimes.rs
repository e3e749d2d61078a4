use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use crate::spec::Runtime;

use super::{
    Cache, Compiling, Environment, Host, RuntimeError, Source, TimeMachine, checkout, faster, host,
    search_path,
};

/// What tells the worker where channels have their packages. Not Guix's own variable: that puts them
/// before its own modules and patches, while it has channels behind them.
const PACKAGE_PATH: &str = "GORGET_PACKAGE_PATH";

/// Makes the Guix that a spec asks for: the revision's own when one of its channels is called
/// `guix`, else the installed one.
#[derive(Debug)]
pub struct Runtimes {
    root: PathBuf,
    cache: PathBuf,
    compiling: Compiling,
    cache_limit: u64,
    time_machine: TimeMachine,
    host: OnceCell<Host>,
}

/// A Guix that is ready to evaluate.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// How Guile finds it.
    pub environment: Environment,
    /// The channels' names, and where the sandbox shows their tops, in the given order.
    pub channels: Vec<(String, String)>,
}

impl Runtimes {
    /// `root` is the system root that has Guix, `cache` the directory of compiled modules, `cache_limit`
    /// the size in bytes that it may have, `jobs` the number of processes that compile side by side, `time_machine`
    /// who builds Guix where a spec wants that.
    pub fn new(
        root: &Path,
        cache: PathBuf,
        cache_limit: u64,
        compiling: Compiling,
        time_machine: TimeMachine,
    ) -> Self {
        Self { root: root.to_owned(), cache, compiling, cache_limit, time_machine, host: OnceCell::new() }
    }

    /// The system root that has Guix.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Asks the installed Guix anew the next time: it may be another one by then.
    pub fn forget_host(&mut self) {
        self.host = OnceCell::new();
    }

    /// Prepares to evaluate `channels` of the spec called `spec`. What is compiled for one spec is never
    /// used for another: see [`Cache`].
    pub async fn prepare(
        &self,
        spec: &str,
        runtime: Runtime,
        channels: &[Source],
    ) -> Result<Prepared, RuntimeError> {
        let installed = self.host.get_or_try_init(|| Host::probe(&self.root)).await?;
        let named: Vec<&Source> = channels.iter().collect();
        let (guix, others): (Vec<&Source>, Vec<_>) = named.iter().partition(|channel| channel.name == "guix");
        let (mut environment, faster) = match (runtime, guix.first()) {
            (_, None) => (host(installed, &named)?, faster::compiled(installed, &self.cache).await?),
            (Runtime::Checkout, Some(_)) => {
                let faster = faster::compiled(installed, &self.cache);
                tokio::try_join!(self.checkout(installed, spec, &named), faster)?
            }
            (Runtime::TimeMachine, Some(guix)) => {
                let built = self.time_machine.guix(installed, guix).await?;
                let mut environment = host(&built, &others)?;
                // Its files, for manifests, but not its modules.
                environment.binds.push(guix.place()?.bind());
                (environment, faster::compiled(&built, &self.cache).await?)
            }
        };
        environment.binds.push((fs_err::canonicalize(faster)?, faster::INSIDE.into()));
        for failure in &environment.failures {
            tracing::warn!(
                spec.name = spec,
                module = failure.module,
                "does not compile: {}",
                failure.message
            );
        }
        let counts = &environment.counts;
        tracing::debug!(
            spec.name = spec,
            installed = counts.installed,
            cached = counts.cached,
            compiled = counts.compiled,
            source = counts.source,
            "modules are ready"
        );
        // Where Guix looks for packages behind its own.
        let places = others.iter().map(|channel| Ok(channel.place()?.load));
        let places = places.collect::<Result<Vec<PathBuf>, RuntimeError>>()?;
        environment.env.push((PACKAGE_PATH.to_owned(), search_path(&places)));
        let top =
            |channel: &Source| Ok((channel.name.clone(), channel.place()?.inside.display().to_string()));
        let tops = channels.iter().map(top).collect::<Result<_, RuntimeError>>()?;
        Ok(Prepared { environment, channels: tops })
    }

    /// The channels' own Guix. The cache of what is compiled for it keeps its size.
    async fn checkout(
        &self,
        installed: &Host,
        spec: &str,
        channels: &[&Source],
    ) -> Result<Environment, RuntimeError> {
        let cache = Cache::new(&self.cache, spec)?;
        let environment = checkout(installed, channels, &cache, &self.compiling).await?;
        let limit = self.cache_limit;
        let trimmed = tokio::task::spawn_blocking(move || cache.trim(limit)).await;
        let removed = trimmed.map_err(std::io::Error::other)??;
        if removed > 0 {
            tracing::info!(modules = removed, "compiled modules that were not used for long are removed");
        }
        Ok(environment)
    }
}
