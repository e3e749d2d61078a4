//! The answer with a page: HTML, or an error.

use askama::Template;
use axum::extract::{FromRequestParts as _, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::clean::Clean;
use super::frame::{Frame, Visit};
use super::link;
use crate::web::action::Done;
use crate::web::caller::Caller;
use crate::web::problem::Problem;

/// A page, or why it cannot be shown.
pub(super) type Answer<T> = Result<T, Problem>;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    title: &'static str,
    what: Clean,
    similar: Vec<(String, Clean)>,
}

/// Renders a template.
pub(super) fn html(template: &impl Template) -> Response {
    match template.render() {
        Ok(page) => Html(page).into_response(),
        Err(error) => {
            tracing::error!("a page cannot be rendered: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Turns a problem into a page, and redirects to a page after an action. A client that may not read
/// is redirected to the login.
pub(in crate::web) async fn as_page(request: Request, next: Next) -> Response {
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let (mut parts, body) = request.into_parts();
    let Ok(visit) = Visit::from_request_parts(&mut parts, &()).await;
    let response = next.run(Request::from_parts(parts, body)).await;
    let visit = visit.of(response.extensions().get::<Caller>(), is_read);
    if let Some(done) = response.extensions().get::<Done>() {
        return Redirect::to(link::local(&done.back)).into_response();
    }
    let Some(problem) = response.extensions().get::<Problem>() else { return response };
    if problem.status == StatusCode::UNAUTHORIZED && is_read {
        return Redirect::to(&visit.frame("", "").login).into_response();
    }
    let search = |name: &String| (format!("/jobs{}", link::query(&[("q", name)])), Clean::line(name));
    let page = ErrorPage {
        frame: visit.frame(problem.title(), ""),
        title: problem.title(),
        what: Clean::text(&problem.detail),
        similar: problem.near.iter().map(search).collect(),
    };
    (problem.status, html(&page)).into_response()
}
