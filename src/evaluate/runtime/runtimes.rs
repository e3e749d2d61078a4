use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use crate::revision::ChannelCommit;
use crate::spec::Runtime;

use super::{
    CHANNELS, Cache, Compiling, Environment, Host, RuntimeError, TimeMachine, checkout, faster, host,
};

/// Where the sandbox shows all of a channel whose modules are in a directory of it.
const REPOSITORIES: &str = "/gorget/repositories";

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

/// The files of a channel.
#[derive(Debug, Clone)]
pub struct Source {
    /// The channel's name.
    pub name: String,
    /// Where it comes from.
    pub url: String,
    /// Its commit.
    pub commit: String,
    /// Its checkout.
    pub checkout: PathBuf,
    /// The directory of its modules, relative to the checkout.
    pub directory: Option<String>,
}

impl Source {
    /// The files of `channel` in `checkout`.
    pub fn new(channel: &ChannelCommit, checkout: &Path) -> Self {
        let ChannelCommit { name, url, commit, origin } = channel.clone();
        Self { name, url, commit, checkout: checkout.to_owned(), directory: origin.directory }
    }

    fn modules(&self) -> PathBuf {
        self.directory.as_ref().map_or_else(|| self.checkout.clone(), |name| self.checkout.join(name))
    }
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

    /// Prepares to evaluate `channels` of the spec called `spec`. What is compiled for one spec is never
    /// used for another: see [`Cache`].
    pub async fn prepare(
        &self,
        spec: &str,
        runtime: Runtime,
        channels: &[Source],
    ) -> Result<Prepared, RuntimeError> {
        let installed = self.host.get_or_try_init(|| Host::probe(&self.root)).await?;
        let modules: Vec<PathBuf> = channels.iter().map(Source::modules).collect();
        let named: Vec<(&str, &Path)> = channels
            .iter()
            .zip(&modules)
            .map(|(channel, modules)| (channel.name.as_str(), modules.as_path()))
            .collect();
        let is_guix = |channel: &&Source| channel.name == "guix";
        let (mut environment, faster) = match (runtime, channels.iter().find(is_guix)) {
            (_, None) => (host(installed, &named)?, faster::compiled(installed, &self.cache).await?),
            (Runtime::Checkout, Some(_)) => {
                let faster = faster::compiled(installed, &self.cache);
                tokio::try_join!(self.checkout(installed, spec, &named), faster)?
            }
            (Runtime::TimeMachine, Some(guix)) => {
                let built = self.time_machine.guix(installed, guix).await?;
                let others: Vec<_> = named.iter().copied().filter(|(name, _)| *name != "guix").collect();
                let mut environment = host(&built, &others)?;
                // Its files, for manifests, but not its modules.
                let place = Path::new(CHANNELS).join("guix");
                environment.binds.push((fs_err::canonicalize(guix.modules())?, place));
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
        let inside = |name: &str| Path::new(CHANNELS).join(name).display().to_string();
        // Where Guix looks for packages beside its own.
        let others: Vec<String> =
            named.iter().filter(|(name, _)| *name != "guix").map(|(name, _)| inside(name)).collect();
        if !others.is_empty() {
            environment.env.push(("GUIX_PACKAGE_PATH".to_owned(), others.join(":")));
        }
        let mut tops = Vec::new();
        for channel in channels {
            // Paths in specs begin at the top, whichever directory has the modules.
            let top = if channel.directory.is_some() {
                let top = Path::new(REPOSITORIES).join(&channel.name);
                environment.binds.push((fs_err::canonicalize(&channel.checkout)?, top.clone()));
                top.display().to_string()
            } else {
                inside(&channel.name)
            };
            tops.push((channel.name.clone(), top));
        }
        Ok(Prepared { environment, channels: tops })
    }

    /// The channels' own Guix. The cache of what is compiled for it keeps its size.
    async fn checkout(
        &self,
        installed: &Host,
        spec: &str,
        named: &[(&str, &Path)],
    ) -> Result<Environment, RuntimeError> {
        let cache = Cache::new(&self.cache, spec)?;
        let environment = checkout(installed, named, &cache, &self.compiling).await?;
        let limit = self.cache_limit;
        let trimmed = tokio::task::spawn_blocking(move || cache.trim(limit)).await;
        let removed = trimmed.map_err(std::io::Error::other)??;
        if removed > 0 {
            tracing::info!(modules = removed, "compiled modules that were not used for long are removed");
        }
        Ok(environment)
    }
}
