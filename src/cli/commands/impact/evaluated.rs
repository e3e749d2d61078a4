//! Evaluates the base and the change, unless the cache has the results.

use std::convert::Infallible;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::cli::commands::impact::cache::Cache;
use crate::cli::commands::impact::subject::Subject;
use crate::cli::{author, once, output, user_error};
use crate::db::{Db, Evaluation, EvaluationState, StoredSpec};
use crate::domain::revision::Revision;
use crate::domain::spec::System;
use crate::farm::pipeline::evaluator;

/// How often progress is printed.
const NARRATE_INTERVAL: Duration = Duration::from_secs(30);
/// How often the rebuilds found so far are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// The evaluations of the base and the change, for each system.
pub(super) async fn pairs(
    cache: &Cache,
    subject: &Subject,
    [base, change]: [&Revision; 2],
    systems: &[System],
) -> anyhow::Result<Vec<[Evaluation; 2]>> {
    let stored = subject.store(cache, systems).await?;
    // The base is evaluated first, so the first results of the change can already be compared with
    // it.
    let bases = Box::pin(all(cache, &stored, base, systems, &[])).await?;
    let changes = Box::pin(all(cache, &stored, change, systems, &bases)).await?;
    Ok(bases.into_iter().zip(changes).map(|(base, change)| [base, change]).collect())
}

/// The evaluations of a revision, one for each system: of the change if there are `bases`, else of
/// the base.
async fn all(
    cache: &Cache,
    stored: &StoredSpec,
    revision: &Revision,
    systems: &[System],
    bases: &[Evaluation],
) -> anyhow::Result<Vec<Evaluation>> {
    let what = if bases.is_empty() { "the base" } else { "the change" };
    let done = complete(cache, stored, revision).await?;
    let missing: Vec<System> =
        systems.iter().filter(|system| done.iter().all(|e| e.system != **system)).cloned().collect();
    if !missing.is_empty() {
        request(cache, stored, revision, &missing).await?;
        let mut evaluator = evaluator(&cache.context, &cache.config);
        let found = AtomicI64::new(0);
        let label = |running: &Evaluation| {
            let found = match found.load(Ordering::Relaxed) {
                0 => String::new(),
                found => format!(", {found} rebuilds so far"),
            };
            format!("evaluating {what} for {}{found}", running.system)
        };
        tokio::select! {
            evaluated = once::exhaust_showing(&mut evaluator, &cache.db, &label) => evaluated?,
            taken = cache.membership.send_heartbeats() => return Err(taken.into()),
            never = count(&cache.db, bases, &found) => match never? {},
            never = print_progress(&cache.db, &label) => match never? {},
        }
    }
    let done = complete(cache, stored, revision).await?;
    let mut evaluations = Vec::new();
    for system in systems {
        match done.iter().find(|evaluation| evaluation.system == *system) {
            Some(evaluation) => evaluations.push(evaluation.clone()),
            None => return Err(failed(cache, stored, revision, system, what).await?),
        }
    }
    Ok(evaluations)
}

/// Prints the progress from time to time where no progress bar is shown, until it is dropped.
async fn print_progress(
    db: &Db,
    label: &(dyn Fn(&Evaluation) -> String + Sync),
) -> anyhow::Result<Infallible> {
    if std::io::stderr().is_terminal() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(NARRATE_INTERVAL).await;
        let newest = db.newest_evaluations().await?;
        if let Some(running) = newest.iter().find(|evaluation| evaluation.state == EvaluationState::Running) {
            let jobs = match running.jobs_total {
                Some(total) => format!(": {} of {total}", running.jobs_done),
                None => String::new(),
            };
            output::note(&format!("{}{jobs}", once::activity(running, label)));
        }
    }
}

/// Counts the rebuilds found so far while a change is evaluated, until it is dropped.
async fn count(db: &Db, bases: &[Evaluation], found: &AtomicI64) -> anyhow::Result<Infallible> {
    loop {
        tokio::time::sleep(COUNT_INTERVAL).await;
        let newest = db.newest_evaluations().await?;
        let running = newest.iter().find(|evaluation| evaluation.state == EvaluationState::Running);
        let of_same = |base: &&Evaluation| {
            running.is_some_and(|running| (running.spec_id, &running.system) == (base.spec_id, &base.system))
        };
        let count = match (running, bases.iter().find(of_same)) {
            (Some(running), Some(base)) => db.new_outputs(running.id, base.id).await?,
            _ => 0,
        };
        found.store(count, Ordering::Relaxed);
    }
}

/// The complete evaluations of a revision, the newest first.
async fn complete(
    cache: &Cache,
    stored: &StoredSpec,
    revision: &Revision,
) -> anyhow::Result<Vec<Evaluation>> {
    let mut evaluations = cache.evaluations(&stored.spec.name).await?;
    evaluations.retain(|evaluation| {
        evaluation.state == EvaluationState::Complete
            && evaluation.revision == *revision
            && evaluation.build == stored.spec.build
    });
    Ok(evaluations)
}

/// Requests evaluations. A failed one is retried: the reason of the failure may be gone.
async fn request(
    cache: &Cache,
    stored: &StoredSpec,
    revision: &Revision,
    systems: &[System],
) -> anyhow::Result<()> {
    let now = cache.context.clock.now();
    let asked = cache.db.request_evaluations(stored.id, revision, &stored.spec.build, systems, now).await?;
    for evaluation in cache.evaluations(&stored.spec.name).await? {
        let is_newest_failed =
            evaluation.state == EvaluationState::Failed && evaluation.revision == *revision;
        if is_newest_failed && systems.contains(&evaluation.system) && !asked.contains(&evaluation.id) {
            cache.db.retry_evaluation(evaluation.id, &author::author(&cache.config), now).await?;
        }
    }
    Ok(())
}

/// The error that a revision could not be evaluated, with the reason.
async fn failed(
    cache: &Cache,
    stored: &StoredSpec,
    revision: &Revision,
    system: &System,
    what: &str,
) -> anyhow::Result<anyhow::Error> {
    let evaluations = cache.evaluations(&stored.spec.name).await?;
    let newest = evaluations.into_iter().find(|e| e.revision == *revision && e.system == *system);
    let reason = newest.and_then(|evaluation| evaluation.reason);
    let reason = reason.unwrap_or_else(|| "it did not finish".to_owned());
    Ok(user_error(format!("{what} cannot be evaluated for {system}: {reason}")))
}
