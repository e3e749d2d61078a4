//! A revision's own Guix, straight from a checkout.

use std::io;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::compile::Compiler;
use super::compiling::Compiling;
use super::plan::{self, Plan};
use super::visible::Channels;
use super::{Cache, Environment, InstalledGuix, RuntimeError, Source};

/// Guix from the channel called `guix`, with the other channels behind it.
///
/// All files of `channels` must have the `mtime` 1, because Guile uses a compiled module only if it
/// is not older than its source. Compiles the modules that are neither installed nor in the cache:
/// first those of Guix, where nothing but Guix is seen, then those of the other channels. The cache
/// stays within its size, also meanwhile.
///
/// # Errors
/// When the channels are not a Guix, or files cannot be read or written. A module that does not
/// compile is not an error: see [`Environment::failures`].
pub async fn checkout(
    host: &InstalledGuix,
    channels: &[&Source],
    cache: &Cache,
    compiling: &Compiling,
) -> Result<Environment, RuntimeError> {
    let channels = Channels::new(host, channels)?;
    let mut plan = {
        let (host, channels, cache) = (host.clone(), channels.clone(), cache.clone());
        let (scope, program) = (compiling.scope, compiling.program.clone());
        // When this future is dropped, planning stops soon.
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let plan = move || plan::plan(&host, &channels, &cache, scope, &program, &stop);
        let planned = tokio::task::spawn_blocking(plan).await;
        planned.map_err(io::Error::other)??
    };
    if !plan.groups.is_empty() {
        trim(cache, compiling.cache - compiling.budget()).await?;
        compile(host, &channels, &mut plan, compiling).await?;
    }
    trim(cache, compiling.cache).await?;
    let environment = channels.environment(host, &plan.link_tree, &channels.all());
    Ok(Environment { failures: plan.failures, counts: plan.counts, ..environment })
}

/// Compiles the missing modules. Each sandbox sees the modules that were compiled before.
async fn compile(
    host: &InstalledGuix,
    channels: &Channels,
    plan: &mut Plan,
    compiling: &Compiling,
) -> Result<(), RuntimeError> {
    let budget = Arc::new(Budget::new(compiling.budget()));
    let end = Instant::now() + compiling.limit;
    compiling.progress.begin(plan.groups.iter().map(|group| group.jobs.len()).sum());
    for group in &plan.groups {
        let compiler = Compiler {
            host: host.clone(),
            environment: channels.environment(host, &plan.link_tree, &group.seen),
            cache: group.cache.clone(),
            link_tree: Arc::clone(&plan.link_tree),
            compiling: compiling.clone(),
            budget: Arc::clone(&budget),
            end,
        };
        let failures = compiler.compile(&group.jobs).await?;
        plan.counts.compiled += group.jobs.len() - failures.len();
        plan.failures.extend(failures);
    }
    compiling.progress.begin(0);
    Ok(())
}

/// Trims the cache to a size.
async fn trim(cache: &Cache, size: u64) -> Result<(), RuntimeError> {
    let cache = cache.clone();
    let trimmed = tokio::task::spawn_blocking(move || cache.trim(size)).await;
    let removed = trimmed.map_err(io::Error::other)??;
    if removed > 0 {
        tracing::info!(modules = removed, "unused compiled modules removed");
    }
    Ok(())
}
