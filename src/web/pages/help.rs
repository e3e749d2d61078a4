//! Explains the states, and lists the API.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::frame::{Frame, Visit};
use super::response::html;
use super::shape::Shape;
use crate::db::{BuildState, EvaluationState};
use crate::domain::verdict::Word;
use crate::view::trouble::Needs;
use crate::web::{Route, Shared};

#[derive(Template)]
#[template(path = "help.html")]
struct HelpPage {
    frame: Frame,
    sections: [(&'static str, Vec<Shape>); 4],
    resources: Vec<Route>,
}

pub(in crate::web) async fn page(State(shared): State<Arc<Shared>>, visit: Visit) -> Response {
    let mut builds: Vec<Shape> = BuildState::ALL.map(Shape::of_build).to_vec();
    builds.push(Shape::BLOCKED);
    let mut evaluations: Vec<Shape> = EvaluationState::ALL.map(Shape::of_evaluation).to_vec();
    evaluations.push(Shape::ERROR);
    let trouble = [Needs::Action, Needs::Time].map(Shape::of_trouble).to_vec();
    let mut verdicts = Word::ALL.map(Shape::of_verdict).to_vec();
    verdicts.push(Shape::SAID);
    html(&HelpPage {
        frame: visit.frame("What the states mean", ""),
        sections: [
            ("Builds", builds),
            ("Evaluations", evaluations),
            ("Trouble", trouble),
            ("Verdicts on branches", verdicts),
        ],
        resources: shared.api.clone(),
    })
}
