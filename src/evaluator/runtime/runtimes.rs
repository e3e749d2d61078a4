use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use crate::domain::spec::{Build, Runtime};

use super::{
    Cache, CompileProgress, Compiling, Environment, InstalledGuix, RuntimeError, Scope, Source, TimeMachine,
    checkout, compiled_worker, installed_environment, search_path,
};

/// The variable that tells the worker where channels have their packages. It is not Guix's own
/// variable, because that puts them before Guix's own modules and patches, while Guix puts channels
/// behind them.
const PACKAGE_PATH: &str = "GORGET_PACKAGE_PATH";

/// Makes the Guix that a spec asks for: the revision's own when one of its channels is called
/// `guix`, else the installed one.
#[derive(Debug)]
pub struct Runtimes {
    root: PathBuf,
    cache: PathBuf,
    compiling: Compiling,
    time_machine: TimeMachine,
    host: OnceCell<InstalledGuix>,
}

/// A Guix that is ready to evaluate.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// How Guile finds it.
    pub environment: Environment,
    /// The channels' names, and where the sandbox shows their checkouts, in the given order.
    pub channels: Vec<(String, String)>,
}

impl Runtimes {
    /// `root` is the system root that has Guix, `cache` the directory of compiled modules,
    /// `cache_limit` its size limit in bytes, and `compiling` says how missing modules are
    /// compiled. `time_machine` builds Guix for specs that want that.
    pub fn new(
        root: &Path,
        cache: PathBuf,
        cache_limit: u64,
        mut compiling: Compiling,
        time_machine: TimeMachine,
    ) -> Self {
        compiling.cache = cache_limit;
        Self { root: root.to_owned(), cache, compiling, time_machine, host: OnceCell::new() }
    }

    /// The progress of compiling.
    pub fn progress(&self) -> &CompileProgress {
        &self.compiling.progress
    }

    /// The system root that has Guix.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Forgets the installed Guix, so that it is asked again: it may have been replaced.
    pub fn forget_host(&mut self) {
        self.host = OnceCell::new();
    }

    /// Prepares to evaluate these jobs of `channels`, for the spec called `spec`. What is compiled for one spec is never
    /// used for another: see [`Cache`].
    pub async fn prepare(
        &self,
        spec: &str,
        runtime: Runtime,
        jobs: &Build,
        channels: &[Source],
    ) -> Result<Prepared, RuntimeError> {
        let installed = self.host.get_or_try_init(|| InstalledGuix::probe(&self.root)).await?;
        let named: Vec<&Source> = channels.iter().collect();
        let (guix, others): (Vec<&Source>, Vec<_>) = named.iter().partition(|channel| channel.name == "guix");
        let (mut environment, faster) = match (runtime, guix.first()) {
            (_, None) => (
                installed_environment(installed, &named)?,
                compiled_worker::compiled(installed, &self.cache).await?,
            ),
            (Runtime::Checkout, Some(_)) => {
                let faster = compiled_worker::compiled(installed, &self.cache);
                let scope = Scope::of(jobs, named.len());
                tokio::try_join!(self.checkout(installed, spec, &named, scope), faster)?
            }
            (Runtime::TimeMachine, Some(guix)) => {
                let built = self.time_machine.guix(installed, guix).await?;
                let mut environment = installed_environment(&built, &others)?;
                // Show its files, which manifests may need, but not its modules.
                environment.binds.push(guix.place()?.bind());
                (environment, compiled_worker::compiled(&built, &self.cache).await?)
            }
        };
        environment.binds.push((fs_err::canonicalize(faster)?, compiled_worker::INSIDE.into()));
        log(spec, &environment);
        // Guix looks for packages in these directories after its own.
        let places = others.iter().map(|channel| Ok(channel.place()?.load));
        let places = places.collect::<Result<Vec<PathBuf>, RuntimeError>>()?;
        environment.env.push((PACKAGE_PATH.to_owned(), search_path(&places)));
        let top =
            |channel: &Source| Ok((channel.name.clone(), channel.place()?.inside.display().to_string()));
        let tops = channels.iter().map(top).collect::<Result<_, RuntimeError>>()?;
        Ok(Prepared { environment, channels: tops })
    }

    /// The environment of the channels' own Guix.
    async fn checkout(
        &self,
        installed: &InstalledGuix,
        spec: &str,
        channels: &[&Source],
        scope: Scope,
    ) -> Result<Environment, RuntimeError> {
        let cache = Cache::new(&self.cache, spec)?;
        let compiling = Compiling { scope, ..self.compiling.clone() };
        checkout(installed, channels, &cache, &compiling).await
    }
}

/// Logs which modules are ready, and which do not compile.
fn log(spec: &str, environment: &Environment) {
    for failure in &environment.failures {
        tracing::warn!(spec.name = spec, module = failure.module, "does not compile: {}", failure.message);
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
}
