//! What the states mean, and where programs ask.

use askama::Template;
use axum::response::Response;

use super::frame::Frame;
use super::response::html;
use super::shape::Shape;
use crate::db::{BuildState, EvaluationState};
use crate::view::trouble::Needs;
use crate::web::api;

#[derive(Template)]
#[template(path = "help.html")]
struct HelpPage {
    frame: Frame,
    sections: [(&'static str, Vec<Shape>); 3],
    resources: [(&'static str, &'static str); 7],
}

pub(super) async fn page() -> Response {
    let mut builds: Vec<Shape> = BuildState::ALL.map(Shape::of_build).to_vec();
    builds.push(Shape::BLOCKED);
    let mut evaluations: Vec<Shape> = EvaluationState::ALL.map(Shape::of_evaluation).to_vec();
    evaluations.push(Shape::ERROR);
    let trouble = [Needs::Action, Needs::Time].map(Shape::of_trouble).to_vec();
    html(&HelpPage {
        frame: Frame::new("What the states mean", ""),
        sections: [("Builds", builds), ("Evaluations", evaluations), ("Trouble", trouble)],
        resources: api::RESOURCES,
    })
}
