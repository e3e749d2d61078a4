//! How a page leaves: as HTML, or as an error.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use super::clean::Clean;
use super::frame::Frame;
use crate::web::Failure;
use crate::web::asked::Unknown;

/// Why there is no page.
#[derive(Debug)]
pub(super) enum PageError {
    /// Nothing is called so; these are similar, each with where it is.
    NotFound {
        what: String,
        similar: Vec<(String, String)>,
    },
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Unknown> for PageError {
    fn from(Unknown(what): Unknown) -> Self {
        Self::unknown(what)
    }
}

impl PageError {
    /// There is no such thing.
    pub(super) fn unknown(what: String) -> Self {
        Self::NotFound { what, similar: Vec::new() }
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    what: Clean,
    similar: Vec<(String, Clean)>,
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        match self {
            Self::NotFound { what, similar } => {
                let similar = similar.into_iter().map(|(href, text)| (href, Clean::line(&text))).collect();
                let page =
                    ErrorPage { frame: Frame::new("Not found", ""), what: Clean::line(&what), similar };
                (StatusCode::NOT_FOUND, html(&page)).into_response()
            }
            Self::Failed(failure) => failure.into_response(),
        }
    }
}

/// The page that a template makes.
pub(super) fn html(template: &impl Template) -> Response {
    match template.render() {
        Ok(page) => Html(page).into_response(),
        Err(error) => {
            tracing::error!("a page cannot be rendered: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A page, or why there is none.
pub(super) type Answer<T> = std::result::Result<T, PageError>;
