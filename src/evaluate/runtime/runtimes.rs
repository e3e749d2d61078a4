use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use super::{CHANNELS, Cache, Compiling, Environment, Host, RuntimeError, checkout, faster, host};

/// Makes the Guix that a spec asks for: the revision's own when one of its channels is called
/// `guix`, else the installed one.
#[derive(Debug)]
pub struct Runtimes {
    root: PathBuf,
    cache: PathBuf,
    compiling: Compiling,
    host: OnceCell<Host>,
    faster: OnceCell<PathBuf>,
}

/// A Guix that is ready to evaluate.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// How Guile finds it.
    pub environment: Environment,
    /// Where the sandbox shows the channels, in the given order.
    pub channels: Vec<String>,
}

impl Runtimes {
    /// `root` is the system root that has Guix, `cache` the directory of compiled modules, `jobs`
    /// the number of processes that compile side by side.
    pub fn new(root: &Path, cache: PathBuf, jobs: usize) -> Self {
        let compiling = Compiling { jobs, ..Compiling::default() };
        Self { root: root.to_owned(), cache, compiling, host: OnceCell::new(), faster: OnceCell::new() }
    }

    /// The system root that has Guix.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Prepares to evaluate `channels`, names and checkouts, of the spec called `spec`. What is
    /// compiled for one spec is never used for another: see [`Cache`].
    pub async fn prepare(
        &self,
        spec: &str,
        channels: &[(String, PathBuf)],
    ) -> Result<Prepared, RuntimeError> {
        let installed = self.host.get_or_try_init(|| Host::probe(&self.root)).await?;
        let named: Vec<(&str, &Path)> =
            channels.iter().map(|(name, directory)| (name.as_str(), directory.as_path())).collect();
        let environment = async {
            if named.iter().any(|(name, _)| *name == "guix") {
                let cache = Cache::new(&self.cache, spec)?;
                checkout(installed, &named, &cache, &self.compiling).await
            } else {
                host(installed, &named)
            }
        };
        let faster = self.faster.get_or_try_init(|| faster::compiled(installed, &self.cache));
        let (mut environment, faster) = tokio::try_join!(environment, faster)?;
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
        Ok(Prepared { environment, channels: named.iter().map(|(name, _)| inside(name)).collect() })
    }
}
