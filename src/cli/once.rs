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
use crate::db::{Db, EvaluationId, EvaluationState};
use crate::domain::spec::sanitize;
use crate::farm::reconciler::{exhaust, keep};
use crate::farm::{Severity, problems};
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
    report_problems(&work.db).await
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

/// Prints what is wrong after everything was done once.
pub(super) async fn report_problems(db: &Db) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    for problem in problems(db).await? {
        output::note(&problem.text);
        if problem.severity == Severity::Error {
            exit = Exit::Input;
        }
    }
    Ok(exit)
}
