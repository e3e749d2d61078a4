//! All specs, and how each stands.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;

use super::clean::Clean;
use super::figure::number;
use super::frame::{Frame, Visit};
use super::link;
use super::response::{Answer, html};
use super::shape::Shape;
use crate::db::EvaluationState;
use crate::view::spec::{NewestEvaluation, Rows, SpecSummary, Specs};
use crate::web::Shared;
use crate::web::lists::SpecQuery;

/// How many specs a page lists.
const ROWS: usize = 50;

#[derive(Template)]
#[template(path = "specs.html")]
struct SpecsPage {
    frame: Frame,
    query: Clean,
    specs: Vec<SpecRow>,
    json: String,
    next: Option<String>,
}

struct SpecRow {
    name: Clean,
    href: String,
    state: &'static str,
    reason: Clean,
    priority: u8,
    template: Clean,
    /// The state of the newest evaluation of each system, and the link to it.
    systems: Vec<(Shape, Clean, String)>,
    revision: Clean,
    errors: String,
    builds: String,
}

pub(in crate::web) async fn page(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Query(query): Query<SpecQuery>,
) -> Answer<Response> {
    let rows = Rows::load(&shared.moment().await?, &query.q, &query.after, ROWS).await?;
    let specs = Specs::new(&rows);
    Ok(html(&SpecsPage {
        frame: visit.frame("Specs", "/specs"),
        query: Clean::line(&query.q),
        specs: specs.items.iter().map(row).collect(),
        json: format!("/api/v1/specs{}", link::query(&[("q", &query.q)])),
        next: specs
            .next_after
            .map(|after| format!("/specs{}", link::query(&[("q", &query.q), ("after", after)]))),
    }))
}

fn row(spec: &SpecSummary<'_>) -> SpecRow {
    let errors: i64 = spec.evaluations.iter().map(|one| one.errors).sum();
    SpecRow {
        name: Clean::line(spec.name),
        href: link::spec(spec.name),
        state: match spec {
            SpecSummary { present: false, .. } => "file is gone",
            SpecSummary { active: false, .. } => "inactive",
            SpecSummary { paused: true, .. } => "paused",
            SpecSummary { blocked: Some(_), .. } => "blocked",
            _ => "evaluated",
        },
        reason: Clean::first_line(spec.blocked.unwrap_or_default()),
        priority: spec.priority,
        template: Clean::line(spec.template.unwrap_or_default()),
        systems: spec.evaluations.iter().map(system).collect(),
        revision: spec.evaluations.first().map_or(Clean::line(""), |one| Clean::line(&one.revision.short())),
        errors: if spec.evaluations.is_empty() { "–".to_owned() } else { number(errors) },
        builds: link::builds(spec.name, ""),
    }
}

fn system(evaluation: &NewestEvaluation<'_>) -> (Shape, Clean, String) {
    let state = EvaluationState::ALL.into_iter().find(|state| state.word() == evaluation.state);
    let shape = Shape::of_evaluation(state.unwrap_or(EvaluationState::Pending));
    (shape, Clean::line(evaluation.system), link::evaluation(evaluation.id))
}
