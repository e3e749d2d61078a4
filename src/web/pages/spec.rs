//! One spec: the state of its channels, why it is blocked, and its newest evaluations.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::clean::Clean;
use super::figure::{StateCount, Time, count, number, state_counts};
use super::frame::{Frame, Visit};
use super::link;
use super::overview::evaluation_shape;
use super::response::{Answer, html};
use super::shape::Shape;
use crate::clock::Seconds;
use crate::db;
use crate::view::evaluation::Evaluation;
use crate::view::filter::Filter;
use crate::view::status::{Rows, Status};
use crate::web::Shared;
use crate::web::problem::Problem;

/// How many evaluations are listed.
const EVALUATIONS: i64 = 50;

#[derive(Template)]
#[template(path = "spec.html")]
struct SpecPage {
    frame: Frame,
    /// The actions of the reader: paths and labels.
    acts: Vec<(String, &'static str)>,
    paused: Option<(Clean, Clean, Time)>,
    name: Clean,
    queue: String,
    all_builds: String,
    /// Where the verdict on its branch is.
    verdict: Option<String>,
    /// Where it is what substitute servers have of it.
    coverage: String,
    lede: String,
    facts: Vec<Clean>,
    blocked: Vec<(Clean, Clean, Time)>,
    channels: Vec<ChannelRow>,
    evaluations: Vec<EvaluationRow>,
    builds: Vec<StateCount>,
}

struct ChannelRow {
    name: Clean,
    url: Clean,
    branch: Clean,
    commit: Option<Clean>,
    polled: Option<Time>,
    next: Option<Time>,
    problem: Clean,
}

struct EvaluationRow {
    href: String,
    id: String,
    shape: Shape,
    state: String,
    revision: Clean,
    system: Clean,
    jobs: String,
    errors: i64,
    took: Option<String>,
    created: Time,
}

pub(in crate::web) async fn page(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Path(name): Path<String>,
) -> Answer<Response> {
    let (db, now) = (&shared.moment().await?, shared.web.clock.now());
    let filter = Filter { spec: Some(name.clone()), system: None };
    let rows = Rows::load(db, shared.routes(), &filter, EVALUATIONS, now).await?;
    let Some(stored) = rows.specs.first() else {
        return Err(Problem::missing(format!("there is no spec {name}")));
    };
    let status = Status::new(&rows, now);
    let blocked = status
        .blocked_specs
        .iter()
        .map(|block| (Clean::line(block.kind), Clean::text(block.reason), Time::new(block.since, now)));
    let pause = rows.pauses.iter().find(|pause| pause.stops_spec(&stored.spec));
    let frame = visit.frame(&name, "/specs");
    Ok(html(&SpecPage {
        acts: acts(&frame, &name, pause.map(|pause| pause.name.as_str())),
        paused: pause
            .map(|one| (Clean::line(&one.author), Clean::text(&one.reason), Time::new(one.since, now))),
        frame,
        name: Clean::line(&name),
        coverage: link::coverage(&name),
        verdict: stored.spec.verdict.as_ref().map(|_| link::branch(&name)),
        queue: format!("/queue{}", link::query(&[("spec", &name)])),
        all_builds: link::builds(&name, ""),
        lede: lede(stored, &status),
        facts: facts(stored),
        blocked: blocked.collect(),
        channels: channels(stored, &rows.branches, now),
        evaluations: status.evaluations.iter().map(|one| row(one, now)).collect(),
        builds: state_counts(status.builds.iter()),
    }))
}

/// The actions of a spec that is paused under a name: its own, or that of its template.
fn acts(frame: &Frame, name: &str, paused: Option<&str>) -> Vec<(String, &'static str)> {
    let mut acts = Vec::new();
    if frame.may_trigger() {
        acts.push((link::spec(name) + "/poll", "Poll now"));
    }
    if frame.may_operate() {
        acts.push(match paused {
            Some(name) => (link::pause("spec", name) + "/resume", "Resume"),
            None => (link::pause("spec", name), "Pause"),
        });
    }
    acts
}

/// The summary at the top.
fn lede(stored: &db::StoredSpec, status: &Status<'_>) -> String {
    if !stored.present {
        return "Its file was removed: nothing of it is evaluated or built.".to_owned();
    }
    if !stored.spec.active {
        return "It is not active: nothing of it is evaluated or built.".to_owned();
    }
    if !status.blocked_specs.is_empty() {
        return "It is not evaluated; the reason is below.".to_owned();
    }
    match status.evaluations.first() {
        None => "It has not been evaluated yet.".to_owned(),
        Some(newest) => format!("Its newest evaluation is {}: {}.", newest.id, newest.progress()),
    }
}

fn facts(stored: &db::StoredSpec) -> Vec<Clean> {
    let spec = &stored.spec;
    let systems: Vec<&str> = spec.systems.iter().map(crate::domain::spec::System::as_str).collect();
    let mut facts = vec![
        format!("for {}", systems.join(", ")),
        format!("polled {}", spec.period),
        format!("priority {}", spec.priority),
    ];
    let budget = |budget| format!("budget of {}", count(i64::from(budget), "new build", "new builds"));
    facts.extend(spec.budget.map(budget));
    facts.extend(spec.template.iter().map(|template| format!("made from {template}")));
    facts.iter().map(|fact| Clean::line(fact)).collect()
}

fn channels(stored: &db::StoredSpec, branches: &[db::Branch], now: Seconds) -> Vec<ChannelRow> {
    let row = |channel: &crate::domain::spec::Channel| {
        let branch = branches.iter().find(|one| one.url == channel.url && one.name == channel.branch);
        let commit = channel.commit.as_deref().or_else(|| branch?.tip.as_deref());
        ChannelRow {
            name: Clean::line(&channel.name),
            url: Clean::line(&channel.url),
            branch: Clean::line(if channel.commit.is_some() { "(pinned)" } else { &channel.branch }),
            commit: commit.map(Clean::commit),
            polled: branch.and_then(|one| one.polled_at).map(|at| Time::new(at, now)),
            next: branch.map(|one| one.next_poll).filter(|at| *at > now).map(|at| Time::new(at, now)),
            problem: Clean::line(branch.and_then(|one| one.reason.as_deref()).unwrap_or_default()),
        }
    };
    stored.spec.channels.iter().map(row).collect()
}

fn row(evaluation: &Evaluation<'_>, now: Seconds) -> EvaluationRow {
    EvaluationRow {
        href: link::evaluation(evaluation.id),
        id: evaluation.id.to_string(),
        shape: evaluation_shape(evaluation),
        state: evaluation.progress(),
        revision: Clean::line(&evaluation.revision.short()),
        system: Clean::line(evaluation.system),
        jobs: evaluation.jobs().map_or("not known".to_owned(), number),
        errors: evaluation.errors,
        took: evaluation.started_at.map(|_| crate::clock::readable_span(evaluation.duration(now))),
        created: Time::new(evaluation.created_at, now),
    }
}
