//! The errors of an evaluation, a part at a time, and by cause.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;

use super::clean::Clean;
use super::figure::{count, number};
use super::frame::{Frame, Visit};
use super::link;
use super::response::{Answer, html};
use crate::db::{self, EvaluationState};
use crate::view::errors::Errors;
use crate::view::evaluation::JobError;
use crate::web::Shared;
use crate::web::lists::ErrorQuery;

/// The most causes that a page lists.
const CAUSES: usize = 40;

#[derive(Template)]
#[template(path = "errors.html")]
struct ErrorsPage {
    frame: Frame,
    evaluation: String,
    id: String,
    spec: Clean,
    spec_href: String,
    revision: Clean,
    system: Clean,
    lede: String,
    causes: Vec<CauseTab>,
    errors: Vec<ErrorRow>,
    json: String,
    next: Option<String>,
}

/// A link to the errors of one cause, or of all.
struct CauseTab {
    href: String,
    word: Clean,
    count: String,
    is_current: bool,
}

struct ErrorRow {
    href: String,
    job: Clean,
    cause: Clean,
    message: Clean,
}

pub(in crate::web) async fn page(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Path(id): Path<String>,
    Query(query): Query<ErrorQuery>,
) -> Answer<Response> {
    let (evaluation, rows) = query.load(&shared.moment().await?, &id).await?;
    let errors = Errors::new(&rows);
    let place = link::evaluation(evaluation.id) + "/errors";
    let all: i64 = errors.causes.iter().map(|cause| cause.count).sum();
    let tab = |word: &str, cause: &str, count: i64| CauseTab {
        href: place.clone() + &link::query(&[("cause", cause)]),
        word: Clean::line(word),
        count: number(count),
        is_current: cause == query.cause,
    };
    let causes = errors.causes.iter().take(CAUSES).map(|one| tab(one.cause, one.cause, one.count));
    let after = errors.next_after.map(|after| after.to_string());
    Ok(html(&ErrorsPage {
        frame: visit.frame(&format!("Errors of evaluation {}", evaluation.id), "/specs"),
        evaluation: link::evaluation(evaluation.id),
        id: evaluation.id.to_string(),
        spec: Clean::line(&evaluation.spec),
        spec_href: link::spec(&evaluation.spec),
        revision: Clean::line(&evaluation.revision.short()),
        system: Clean::line(evaluation.system.as_str()),
        lede: lede(&evaluation, all),
        causes: std::iter::once(tab("all", "", all)).chain(causes).collect(),
        errors: errors.items.iter().map(|error| row(error, &evaluation)).collect(),
        json: format!("/api/v1{place}{}", link::query(&[("cause", &query.cause)])),
        next: after.map(|after| place.clone() + &link::query(&[("cause", &query.cause), ("after", &after)])),
    }))
}

fn lede(evaluation: &db::Evaluation, all: i64) -> String {
    let so_far = match evaluation.state {
        EvaluationState::Complete => "",
        EvaluationState::Failed => ", as far as it came before it failed",
        EvaluationState::Pending | EvaluationState::Running => ", so far",
    };
    match all {
        0 => format!("No job failed to evaluate{so_far}."),
        1 => format!("One job or module failed to evaluate{so_far}."),
        _ => format!("{} failed to evaluate{so_far}.", count(all, "job or module", "jobs and modules")),
    }
}

fn row(error: &JobError<'_>, evaluation: &db::Evaluation) -> ErrorRow {
    ErrorRow {
        href: link::job(&evaluation.spec, evaluation.system.as_str(), error.name),
        job: Clean::line(error.name),
        cause: Clean::line(error.cause),
        message: Clean::text(error.message),
    }
}
