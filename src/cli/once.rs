//! `gorget run --once`.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pipeline::{Keepers, Work, collector, configure, evaluator};
use super::progress::Progress;
use super::run::Role;
use super::{Exit, output};
use crate::db::{Branch, Db, EvaluationId, EvaluationState, StoredSpec, Unserved};
use crate::domain::spec::sanitize;
use crate::farm::reconciler::{exhaust, keep};
use crate::steps::schedule::Schedule;

/// Everything one time. What is found while evaluating is queued and submitted meanwhile.
pub(super) async fn all(mut keepers: Keepers, work: &Work, role: Role) -> anyhow::Result<Exit> {
    configure(&keepers, work).await?;
    exhaust(&mut keepers.register).await.context("reading specs")?;
    exhaust(&mut keepers.watch).await.context("looking at branches")?;
    // Specs are made for branches that were seen just now.
    exhaust(&mut keepers.register).await.context("making specs from patterns")?;
    exhaust(&mut keepers.fetch).await.context("fetching")?;
    let Schedule { db, clock, bells, look_up } = &keepers.schedule;
    let mut schedule =
        Schedule { db: db.clone(), clock: clock.clone(), bells: bells.clone(), look_up: *look_up };
    if role.evaluates() {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(keep(keepers.schedule, work.bells.schedule.clone(), stop.clone()));
        let evaluated = Box::pin(evaluate(work)).await;
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        evaluated?;
    }
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
    exhaust(&mut collector(work)).await.context("tidying up")?;
    troubles(&work.db).await
}

/// Evaluates what there is.
pub(super) async fn evaluate(work: &Work) -> anyhow::Result<()> {
    tokio::select! {
        evaluated = async { exhaust(&mut evaluator(work)).await.context("evaluating") } => evaluated.map(drop),
        never = show_progress(&work.db) => match never? {},
    }
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
            let what = format!("evaluating {} for {}", sanitize(&running.spec), running.system);
            shown = Some((running.id, Progress::begin(what), 0));
        }
        if let (Some((_, progress, done)), Some(total)) = (&mut shown, running.jobs_total) {
            progress.of(usize::try_from(total)?);
            // It goes back when another host begins anew.
            progress.advance(usize::try_from(running.jobs_done - *done).unwrap_or(0));
            *done = running.jobs_done;
        }
    }
}

/// Says what is wrong after everything was done once.
pub(super) async fn troubles(db: &Db) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    let mut say = |text: String| {
        exit = Exit::Input;
        output::note(&text);
    };
    let specs = db.specs().await?;
    for branch in db.branches().await? {
        if let Some(reason) = branch.reason.as_ref().filter(|_| is_watched(&branch, &specs)) {
            say(format!("branch {} of {}: {reason}", branch.name, branch.url));
        }
    }
    for block in db.blocked_specs().await? {
        say(format!("{} is not evaluated: {}", block.spec, block.reason));
    }
    for server in db.failing_servers().await? {
        say(format!("substitute server {}: {}", server.url, server.reason));
    }
    for held in db.awaiting_approval().await? {
        output::note(&format!(
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
/// what is wrong with them is told as what blocks the spec.
fn is_watched(branch: &Branch, specs: &[StoredSpec]) -> bool {
    let names = |stored: &StoredSpec| {
        let channels = &stored.spec.channels;
        channels.iter().any(|channel| (&channel.url, &channel.branch) == (&branch.url, &branch.name))
    };
    specs.iter().any(|stored| stored.present && stored.spec.active && names(stored))
}
