//! `gorget run --once`.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;

use super::progress::Progress;
use super::role::Role;
use super::{Exit, output};
use crate::config::Config;
use crate::db::{Db, Evaluation, EvaluationId, EvaluationState, SchedulerLease};
use crate::domain::spec::sanitize;
use crate::farm::context::Context;
use crate::farm::pipeline::{Pipeline, collector, evaluator};
use crate::farm::reconciler::run_until_idle;
use crate::steps::evaluate::Evaluate;
use crate::view::evaluation as view;
use crate::view::filter::Filter;
use crate::view::status::{Rows, Status};
use crate::view::trouble::{self, Kind};

/// Runs everything once. What evaluations find is queued while they run.
pub(super) async fn all(
    context: &Context,
    config: &Config,
    lease: SchedulerLease,
    role: Role,
) -> anyhow::Result<Exit> {
    let pipeline = Pipeline::begin(context, config, lease).await?;
    let evaluations = role.evaluates().then(|| Box::pin(evaluate(context, config)));
    pipeline.run_once(evaluations).await?;
    run_until_idle(&mut collector(context, config)).await.context("cleaning up")?;
    report_problems(context, config).await
}

/// Runs all pending evaluations.
pub(super) async fn evaluate(context: &Context, config: &Config) -> anyhow::Result<()> {
    let label =
        |running: &Evaluation| format!("evaluating {} for {}", sanitize(&running.spec), running.system);
    exhaust_showing(&mut evaluator(context, config), &context.db, &label).await
}

/// Runs all pending evaluations, and shows progress; `label` describes the running one.
pub(super) async fn exhaust_showing(
    evaluator: &mut Evaluate,
    db: &Db,
    label: &(dyn Fn(&Evaluation) -> String + Sync),
) -> anyhow::Result<()> {
    tokio::select! {
        evaluated = run_until_idle(evaluator) => evaluated.context("evaluating").map(drop),
        never = show_progress(db, label) => match never? {},
    }
}

/// Shows the progress of the running evaluation, as the database has it, until it is dropped.
async fn show_progress(
    db: &Db,
    label: &(dyn Fn(&Evaluation) -> String + Sync),
) -> anyhow::Result<Infallible> {
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
            shown = Some((running.id, Progress::begin(String::new()), 0));
        }
        let Some((_, progress, done)) = &mut shown else { continue };
        progress.now(activity(&running, label));
        if let Some(total) = running.jobs_total {
            progress.of(usize::try_from(total)?);
            // The number goes down when another host starts the evaluation again.
            progress.advance(usize::try_from(running.jobs_done - *done).unwrap_or(0));
            *done = running.jobs_done;
        }
    }
}

/// The text next to the progress bar.
pub(super) fn activity(running: &Evaluation, label: &(dyn Fn(&Evaluation) -> String + Sync)) -> String {
    let view = view::Evaluation::new(running);
    if view.is_preparing() {
        format!("preparing Guix: {} of {} modules compiled", view.modules_done, view.modules_total)
    } else {
        label(running)
    }
}

/// Prints the problems that are left after everything was done once, and what awaits a decision.
pub(super) async fn report_problems(context: &Context, config: &Config) -> anyhow::Result<Exit> {
    let (db, now) = (&context.db, context.clock.now());
    let rows = Rows::load(db, config.routes(), &Filter::default(), 0, now).await?;
    let newest = db.newest_evaluations().await?;
    let mut exit = Exit::Done;
    for trouble in trouble::list(&rows, &Status::new(&rows, now), &newest, now) {
        match trouble.kind {
            Kind::BlockedSpec
            | Kind::Branch
            | Kind::FailedEvaluation
            | Kind::SubstituteServer
            | Kind::Unserved => exit = Exit::InputError,
            Kind::AwaitingApproval | Kind::Paused => {}
            Kind::Coordinator | Kind::FailedBuild | Kind::Mirror | Kind::PausedHost | Kind::SilentHost => {
                continue;
            }
        }
        output::note(&trouble.paragraph(now));
    }
    Ok(exit)
}
