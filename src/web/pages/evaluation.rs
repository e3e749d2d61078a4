//! One evaluation: its results, compared with the last complete one before it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::clean::Clean;
use super::difference::{JobRow, ROWS, Tab, added_rows, changed_rows, removed_rows};
use super::figure::{Time, count, number};
use super::frame::{Frame, Visit};
use super::link;
use super::overview::evaluation_shape;
use super::response::{Answer, html};
use super::shape::Shape;
use crate::db::{self, Db, EvaluationId, EvaluationState};
use crate::domain::diff::Diff;
use crate::view::diff::Comparison;
use crate::view::evaluation::Evaluation;
use crate::web::Shared;
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "evaluation.html")]
struct EvaluationPage {
    frame: Frame,
    acts: Vec<(String, &'static str)>,
    spec: Clean,
    spec_href: String,
    builds: String,
    id: String,
    revision: Clean,
    system: Clean,
    shape: Shape,
    state: String,
    lede: String,
    reason: Option<Clean>,
    channels: Vec<(Clean, Clean)>,
    facts: Vec<Clean>,
    progress: Option<(i64, i64, String)>,
    against: Option<(String, String)>,
    tabs: Vec<Tab>,
    rows: Vec<JobRow>,
    more: Option<String>,
    list: List,
}

/// The selected list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Errors,
    Changed,
    New,
    Removed,
}

/// The lists: the key in the query, and the title on the page.
const LISTS: [(List, &str, &str); 4] = [
    (List::Errors, "errors", "Errors"),
    (List::Changed, "changed", "Changed"),
    (List::New, "new", "New"),
    (List::Removed, "removed", "Removed"),
];

impl List {
    /// The list with this key, or the first one.
    fn named(word: &str) -> Self {
        LISTS.iter().find(|(_, key, _)| *key == word).map_or(Self::Errors, |(list, ..)| *list)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::web) struct Shown {
    list: String,
}

/// The comparison with the evaluation before.
struct Lists {
    before: Option<EvaluationId>,
    diff: Diff,
    rebuilds: usize,
    new_errors: usize,
}

pub(in crate::web) async fn page(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Path(id): Path<String>,
    Query(Shown { list }): Query<Shown>,
) -> Answer<Response> {
    let (db, now) = (&shared.moment().await?, shared.web.clock.now());
    let list = List::named(&list);
    // No evaluation has the number 0.
    let Some(row) = db.evaluation(EvaluationId(id.parse().unwrap_or(0))).await? else {
        return Err(Problem::missing(format!("there is no evaluation {id}")));
    };
    let (view, errors) = (Evaluation::new(&row), db.errors(row.id).await?);
    let lists = compare(db, &row, &errors).await?;
    let sizes = [errors.len(), lists.diff.changed.len(), lists.diff.added.len(), lists.diff.removed.len()];
    let place = (row.spec.as_str(), row.system.as_str());
    let (rows, all) = match list {
        List::Errors => (error_rows(&row, &errors), sizes[0]),
        List::Changed => (changed_rows(place, &lists.diff), sizes[1]),
        List::New => (added_rows(place, &lists.diff.added), sizes[2]),
        List::Removed => (removed_rows(&lists.diff.removed), sizes[3]),
    };
    let awaiting = db.awaiting_approval().await?.iter().any(|held| held.evaluation == row.id);
    Ok(html(&EvaluationPage {
        acts: acts(&row, awaiting),
        frame: visit.frame(&format!("{} {} {}", row.spec, row.revision.short(), row.system), "/specs"),
        spec: Clean::line(&row.spec),
        spec_href: link::spec(&row.spec),
        builds: link::builds(&row.spec, row.system.as_str()),
        id: row.id.to_string(),
        revision: Clean::line(&row.revision.short()),
        system: Clean::line(row.system.as_str()),
        shape: evaluation_shape(&view),
        state: view.progress(),
        lede: lede(&row, &lists),
        reason: row.reason.as_deref().map(Clean::text),
        channels: channels(&row),
        facts: facts(&view, now),
        progress: progress(&view),
        against: lists.before.map(|before| (link::evaluation(before), before.to_string())),
        tabs: tabs(row.id, list, sizes),
        rows,
        more: (all > ROWS).then(|| number(i64::try_from(all - ROWS).unwrap_or(0))),
        list,
    }))
}

/// The actions of an operator: paths and labels.
fn acts(row: &db::Evaluation, awaits_approval: bool) -> Vec<(String, &'static str)> {
    let path = |word: &str| format!("{}/{word}", link::evaluation(row.id));
    let mut acts = Vec::new();
    if awaits_approval {
        acts.push((path("approve"), "Approve"));
    }
    if matches!(row.state, EvaluationState::Complete | EvaluationState::Failed) {
        acts.push((path("retry"), "Evaluate again"));
    }
    acts.push(if row.pinned { (path("unpin"), "Unpin") } else { (path("pin"), "Pin") });
    acts
}

/// Compares with the last complete evaluation before. If this one is not complete, its jobs are not
/// known.
async fn compare(db: &Db, row: &db::Evaluation, errors: &[db::JobError]) -> Answer<Lists> {
    let nothing = Lists { before: None, diff: Diff::default(), rebuilds: 0, new_errors: 0 };
    if row.state != EvaluationState::Complete {
        return Ok(nothing);
    }
    let last = Some(EvaluationId(row.id.0 - 1));
    let before = db.complete_evaluations(row.spec_id, &row.system, last, 1).await?;
    let Some(before) = before.first() else { return Ok(nothing) };
    let Some(first) = db.evaluation(*before).await? else { return Ok(nothing) };
    let jobs = db.changed_jobs(first.id, row.id).await?;
    let former = db.errors(first.id).await?;
    let comparison = Comparison::new([&first, row], jobs, [&former, errors]);
    let (rebuilds, new_errors) = (comparison.rebuilds.count, comparison.new_errors.len());
    Ok(Lists { before: Some(first.id), rebuilds, new_errors, diff: comparison.diff })
}

/// The summary at the top.
fn lede(row: &db::Evaluation, lists: &Lists) -> String {
    let many = |many: usize| i64::try_from(many).unwrap_or(i64::MAX);
    match row.state {
        EvaluationState::Pending => "It is pending: no host has started it yet.".to_owned(),
        EvaluationState::Running => "It is running; builds that it found so far are queued.".to_owned(),
        EvaluationState::Failed => "It failed, so its jobs are not known.".to_owned(),
        EvaluationState::Complete if lists.before.is_none() => {
            "It is the first complete one of its spec and system: there is nothing to compare it with."
                .to_owned()
        }
        EvaluationState::Complete => {
            let rebuilds = count(many(lists.rebuilds), "output to build", "outputs to build");
            let errors = count(many(lists.new_errors), "new error", "new errors");
            format!("{rebuilds} that the evaluation before does not have, and {errors}.")
        }
    }
}

fn channels(row: &db::Evaluation) -> Vec<(Clean, Clean)> {
    let channels = row.revision.channels().iter();
    channels.map(|channel| (Clean::line(&channel.name), Clean::line(&channel.commit))).collect()
}

fn facts(view: &Evaluation<'_>, now: i64) -> Vec<Clean> {
    let time = |at| Time::new(at, now);
    let mut facts = vec![format!("requested {} ago", time(view.created_at).span)];
    facts.extend(view.started_at.map(|at| format!("started {}", time(at).exact)));
    facts.extend(
        view.finished_at.map(|_| format!("took {}", crate::clock::readable_span(view.duration(now)))),
    );
    facts.extend(view.host.map(|host| format!("on {host}")));
    if view.attempts > 1 {
        facts.push(format!("attempt {}", view.attempts));
    }
    facts.iter().map(|fact| Clean::line(fact)).collect()
}

/// The progress of an evaluation that has not ended.
fn progress(view: &Evaluation<'_>) -> Option<(i64, i64, String)> {
    if view.finished_at.is_some() {
        return None;
    }
    let (done, total, what) = if view.is_preparing() {
        (view.modules_done, view.modules_total, "modules compiled")
    } else {
        (view.jobs_done, view.jobs_total?, "done")
    };
    Some((done, total, format!("{} of {} {what}", number(done), number(total))))
}

fn tabs(id: EvaluationId, current: List, sizes: [usize; 4]) -> Vec<Tab> {
    let tab = |((list, key, word), size): ((List, &'static str, &'static str), usize)| Tab {
        href: link::evaluation(id) + &link::query(&[("list", key)]),
        word,
        count: number(i64::try_from(size).unwrap_or(0)),
        is_zero: size == 0,
        is_current: list == current,
    };
    LISTS.into_iter().zip(sizes).map(tab).collect()
}

fn error_rows(row: &db::Evaluation, errors: &[db::JobError]) -> Vec<JobRow> {
    let error = |error: &db::JobError| JobRow {
        shape: Some(Shape::ERROR),
        job: Clean::line(&error.name),
        href: Some(link::job(&row.spec, row.system.as_str(), &error.name)),
        version: Clean::line(&error.cause),
        text: Clean::text(&error.message),
    };
    errors.iter().take(ROWS).map(error).collect()
}
