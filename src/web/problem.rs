//! Why a request was refused: as problem details (RFC 9457) for programs; pages turn it into a
//! page.

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Failure;
use super::query_filters::Unknown;
use crate::domain::access::Role;
use crate::farm::actions::Refusal;

/// Why a request was refused.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// The reason, and a hint.
    pub(super) detail: String,
    /// Similar names that exist.
    pub(super) near: Vec<String>,
    /// The role that the request needs.
    pub(super) needs: Option<Role>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), near: Vec::new(), needs: None }
    }

    pub(super) fn missing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn needs(self, role: Role) -> Self {
        Self { needs: Some(role), ..self }
    }

    /// The kind of problem, in a few words.
    pub(super) fn title(&self) -> &'static str {
        match self.status {
            StatusCode::NOT_FOUND => "not found",
            StatusCode::UNAUTHORIZED => "not logged in",
            StatusCode::FORBIDDEN => "not permitted",
            StatusCode::CONFLICT => "not possible now",
            StatusCode::INTERNAL_SERVER_ERROR => "failed",
            _ => "wrong request",
        }
    }
}

impl<E: Into<Failure>> From<E> for Problem {
    fn from(error: E) -> Self {
        let failure: Failure = error.into();
        tracing::error!("a request failed: {:#}", anyhow::Error::from(failure));
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the farm failed; its log says why")
    }
}

impl From<Unknown> for Problem {
    fn from(Unknown(detail): Unknown) -> Self {
        Self::missing(detail)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing(text) => Self::missing(text),
            Refusal::Conflict(text) => Self::new(StatusCode::CONFLICT, text),
            Refusal::Wrong(text) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, text),
            Refusal::Forbidden(text) => Self::new(StatusCode::FORBIDDEN, text),
            Refusal::Db(error) => error.into(),
            Refusal::Random(error) => Failure::Io(error.into()).into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "title": self.title(), "status": self.status.as_u16(), "detail": self.detail, "near": self.near,
            "needs": self.needs,
        });
        let kind = [(CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, kind, body.to_string()).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}
