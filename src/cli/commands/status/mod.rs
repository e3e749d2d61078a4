//! `gorget status`: what the farm knows, and what is wrong.

mod coordinators;
mod evaluation;
mod hosts;

use std::collections::BTreeSet;

use serde_json::json;

use super::queue;
use crate::cli::filter::Filter;
use crate::cli::{Exit, open_db, output};
use crate::clock::{Clock, Seconds, readable_span};
use crate::config::Config;
use crate::db::{
    AwaitingApproval, BlockedSpec, Branch, Db, Evaluation, EvaluationId, Mirror, StoredSpec, SubstituteServer,
};
use crate::domain::spec::Channel;

/// How many evaluations are listed.
const EVALUATIONS: i64 = 12;
/// How many errors of an evaluation are listed.
const ERRORS: usize = 10;

/// Show the state and problems of the farm, or of one evaluation
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Status {
    /// Number of an evaluation: shows all of its errors, and what it took
    evaluation: Option<i64>,
    #[command(flatten)]
    filter: Filter,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: &Status, config: Config) -> anyhow::Result<Exit> {
    let db = open_db::open(&config).await?;
    if let Some(number) = args.evaluation {
        return evaluation::show(&db, EvaluationId(number), args.json).await;
    }
    args.filter.check(&db).await?;
    let admits = |spec: &str, system: &str| args.filter.admits(spec, system);
    let is_of = |spec: &String| args.filter.spec.as_ref().is_none_or(|name| name == spec);
    let mut specs = db.specs().await?;
    specs.retain(|stored| is_of(&stored.spec.name));
    let branches = db.branches().await?;
    let mirrors = db.mirrors().await?;
    let mut blocked = db.blocked_specs().await?;
    blocked.retain(|block| is_of(&block.spec));
    let evaluations =
        db.evaluations(args.filter.spec.as_deref(), args.filter.system.as_ref(), EVALUATIONS).await?;
    let failing = db.failing_servers().await?;
    let mut held = db.awaiting_approval().await?;
    held.retain(|held| admits(&held.spec, &held.system));
    let mut blockers = db.blockers().await?;
    blockers.retain(|blocker| admits(&blocker.build.spec, blocker.build.system.as_str()));
    let hosts = db.hosts().await?;
    let mut unserved = db.unserved().await?;
    unserved.retain(|unserved| admits(&unserved.spec, &unserved.system));
    let mut counts = db.build_counts().await?;
    counts.retain(|count| admits(&count.spec, &count.system));
    let coordinators = coordinators::all(&db, &config).await?;
    if args.json {
        let builds: Vec<_> = counts.iter().map(|count| {
            json!({ "spec": count.spec, "system": count.system, "state": count.state.word(), "count": count.count })
        }).collect();
        output::json(&json!({
            "hosts": hosts.iter().map(hosts::object).collect::<Vec<_>>(),
            "specs": specs.iter().filter(|spec| spec.present).map(|stored| &stored.spec).collect::<Vec<_>>(),
            "branches": branches.iter().map(branch_object).collect::<Vec<_>>(),
            "blocked_specs": blocked.iter().map(blocked_object).collect::<Vec<_>>(),
            "mirrors": mirrors.iter().map(mirror_object).collect::<Vec<_>>(),
            "evaluations": evaluations.iter().map(evaluation_object).collect::<Vec<_>>(),
            "builds": builds,
            "awaiting_approval": held.iter().map(held_object).collect::<Vec<_>>(),
            "blockers": blockers.iter().map(|blocker| {
                let build = &blocker.build;
                json!({
                    "job": build.job, "spec": build.spec, "derivation": build.derivation,
                    "state": build.state.word(), "blocks": blocker.blocked.len(),
                })
            }).collect::<Vec<_>>(),
            "coordinators": coordinators.iter().map(coordinators::object).collect::<Vec<_>>(),
            "unserved": unserved.iter().map(|unserved| {
                json!({ "spec": unserved.spec, "system": unserved.system, "count": unserved.count })
            }).collect::<Vec<_>>(),
            "substitute_servers": failing.iter().map(server_object).collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Done);
    }
    let now = Clock::System.now();
    hosts::show(&hosts, now)?;
    let mut newest = db.newest_evaluations().await?;
    newest.retain(|evaluation| admits(&evaluation.spec, evaluation.system.as_str()));
    show_branches(&specs, &branches, &newest, now)?;
    show_warnings(&newest)?;
    for mirror in mirrors.iter().filter(|mirror| mirror.problem.is_some()) {
        let reason = mirror.reason.as_deref().unwrap_or_default();
        let again = in_future(mirror.next_fetch - now);
        output::paragraph(&format!(
            "cannot fetch {} ({} in a row, next {again}): {reason}",
            mirror.url, mirror.failures
        ))?;
    }
    for block in &blocked {
        let (kind, since) = (block.kind.word(), readable_span(now - block.since));
        let again = in_future(block.next_attempt - now);
        let what = format!("{} is not evaluated, for {since} ({kind}, next attempt {again}):", block.spec);
        output::paragraph(&format!("{what}\n{}", block.reason))?;
    }
    for server in &failing {
        let again = in_future(server.next_attempt - now);
        output::paragraph(&format!(
            "substitute server {} fails ({} in a row, next {again}): {}",
            server.url, server.failures, server.reason
        ))?;
    }
    output::line("")?;
    show_evaluations(&db, &evaluations, now).await?;
    for AwaitingApproval { evaluation, spec, system, count, reason } in &held {
        let builds = output::count(usize::try_from(*count)?, "build is", "builds are");
        output::paragraph(&format!(
            "{builds} awaiting approval, of evaluation {evaluation} of {spec} for {system}: {reason}\n`gorget approve {evaluation}` has them built"
        ))?;
    }
    output::line("")?;
    let rows = counts
        .into_iter()
        .map(|count| vec![count.spec, count.system, count.state.word().to_owned(), count.count.to_string()]);
    output::table(&["SPEC", "SYSTEM", "BUILDS", "COUNT"], rows.collect())?;
    coordinators::show(&coordinators, &unserved)?;
    queue::show_blockers(&blockers)?;
    Ok(Exit::Done)
}

/// Warnings about channels, of the newest evaluations.
fn show_warnings(newest: &[Evaluation]) -> std::io::Result<()> {
    let mut shown = BTreeSet::new();
    for evaluation in newest {
        for warning in evaluation.revision.warnings() {
            if shown.insert((&evaluation.spec, warning)) {
                output::paragraph(&format!("warning for {}: {warning}", evaluation.spec))?;
            }
        }
    }
    Ok(())
}

fn show_branches(
    specs: &[StoredSpec],
    branches: &[Branch],
    newest: &[Evaluation],
    now: Seconds,
) -> std::io::Result<()> {
    let mut rows = Vec::new();
    for stored in specs.iter().filter(|stored| stored.present) {
        let spec = &stored.spec;
        for channel in &spec.channels {
            let branch = branches.iter().find(|b| b.url == channel.url && b.name == channel.branch);
            let polled = branch.and_then(|branch| branch.polled_at);
            let tip = channel.commit.clone().or_else(|| branch?.tip.clone());
            let evaluated = newest.iter().find(|evaluation| evaluation.spec_id == stored.id);
            let signer = signer(channel, evaluated, tip.as_deref());
            rows.push(vec![
                spec.name.clone(),
                if spec.active { "active" } else { "inactive" }.to_owned(),
                channel.name.clone(),
                if channel.commit.is_some() { "(pinned)".to_owned() } else { channel.branch.clone() },
                tip.map_or("-".to_owned(), |tip| tip.chars().take(10).collect()),
                signer,
                polled.map_or("never".to_owned(), |at| format!("{} ago", readable_span(now - at))),
                branch.map_or(String::new(), |branch| problem(branch, now)),
            ]);
        }
    }
    if rows.is_empty() {
        return output::line("no specs");
    }
    output::table(&["SPEC", "", "CHANNEL", "BRANCH", "COMMIT", "SIGNED BY", "POLLED", "PROBLEM"], rows)
}

/// Who signed the commit that a channel is at, as far as that matters and is known.
fn signer(channel: &Channel, evaluated: Option<&Evaluation>, tip: Option<&str>) -> String {
    if channel.introduction.is_none() {
        return "(not asked)".to_owned();
    }
    let found = evaluated.and_then(|evaluation| {
        let mut channels = evaluation.revision.channels().iter();
        channels.find(|other| other.name == channel.name && Some(other.commit.as_str()) == tip)
    });
    let signer = found.and_then(|found| found.origin.signer.as_ref());
    signer.map_or("?".to_owned(), |signer| signer[signer.len().saturating_sub(16)..].to_owned())
}

fn problem(branch: &Branch, now: Seconds) -> String {
    let Some(reason) = &branch.reason else { return String::new() };
    if branch.problem.is_none() {
        return reason.clone();
    }
    format!("{reason} ({} in a row, next poll {})", branch.failures, in_future(branch.next_poll - now))
}

fn in_future(seconds: Seconds) -> String {
    if seconds > 0 { format!("in {}", readable_span(seconds)) } else { "now".to_owned() }
}

async fn show_evaluations(db: &Db, evaluations: &[Evaluation], now: Seconds) -> anyhow::Result<()> {
    let rows = evaluations.iter().map(|evaluation| {
        let begun = evaluation.started_at.unwrap_or(now);
        vec![
            evaluation.id.0.to_string(),
            evaluation.spec.clone(),
            evaluation.system.to_string(),
            evaluation.revision.short(),
            state(evaluation),
            format!("{}/{}", evaluation.jobs_done, evaluation.jobs_total.unwrap_or(0)),
            evaluation.errors.to_string(),
            readable_span(evaluation.finished_at.unwrap_or(now) - begun),
        ]
    });
    output::table(&["NO.", "SPEC", "SYSTEM", "REVISION", "STATE", "DONE", "ERRORS", "TIME"], rows.collect())?;
    for evaluation in evaluations {
        if let Some(reason) = &evaluation.reason {
            output::paragraph(&format!("evaluation {} failed:\n{reason}", evaluation.id.0))?;
        }
        let errors = if evaluation.errors > 0 { db.errors(evaluation.id).await? } else { Vec::new() };
        if !errors.is_empty() {
            output::paragraph(&format!("errors of evaluation {}:", evaluation.id.0))?;
        }
        for error in errors.iter().take(ERRORS) {
            output::entry(&format!("  {} ({}): {}", error.name, error.cause, error.message))?;
        }
        if errors.len() > ERRORS {
            let (more, id) = (errors.len() - ERRORS, evaluation.id);
            output::line(&format!("  … and {more} more (`gorget status {id}` shows all)"))?;
        }
    }
    Ok(())
}

/// How far it is.
pub(super) fn state(evaluation: &Evaluation) -> String {
    let partial = if evaluation.partial { ", modules missing" } else { "" };
    format!("{}{partial}", evaluation.state.word())
}

fn branch_object(branch: &Branch) -> serde_json::Value {
    json!({
        "url": branch.url, "branch": branch.name, "commit": branch.tip, "polled_at": branch.polled_at,
        "failures": branch.failures, "next_poll": branch.next_poll, "reason": branch.reason,
    })
}

fn blocked_object(block: &BlockedSpec) -> serde_json::Value {
    json!({
        "spec": block.spec, "kind": block.kind.word(), "reason": block.reason, "since": block.since,
        "push": block.push_id, "failures": block.failures, "next_attempt": block.next_attempt,
    })
}

fn held_object(held: &AwaitingApproval) -> serde_json::Value {
    json!({
        "evaluation": held.evaluation, "spec": held.spec, "system": held.system, "count": held.count,
        "reason": held.reason,
    })
}

fn mirror_object(mirror: &Mirror) -> serde_json::Value {
    json!({
        "url": mirror.url, "fetched_at": mirror.fetched_at, "failures": mirror.failures,
        "next_fetch": mirror.next_fetch, "reason": mirror.reason,
    })
}

fn server_object(server: &SubstituteServer) -> serde_json::Value {
    json!({
        "url": server.url, "failures": server.failures, "next_attempt": server.next_attempt,
        "reason": server.reason,
    })
}

/// All that is known of an evaluation.
pub(super) fn evaluation_object(evaluation: &Evaluation) -> serde_json::Value {
    json!({
        "id": evaluation.id.0, "spec": evaluation.spec, "system": evaluation.system,
        "revision": evaluation.revision, "state": evaluation.state.word(), "reason": evaluation.reason,
        "partial": evaluation.partial, "attempts": evaluation.attempts, "host": evaluation.host,
        "jobs_total": evaluation.jobs_total, "jobs_done": evaluation.jobs_done,
        "errors": evaluation.errors, "created_at": evaluation.created_at, "started_at": evaluation.started_at,
        "finished_at": evaluation.finished_at, "metrics": evaluation.metrics,
    })
}
