//! Why a request was refused: as problem details (RFC 9457) for programs; pages turn it into a
//! page.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

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

/// Problem details, as RFC 9457 has them.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Details<'a> {
    /// The reason, and a hint.
    detail: &'a str,
    /// Similar names that exist.
    near: &'a [String],
    /// The role that the request needs.
    needs: Option<Role>,
    /// The status of the answer.
    status: u16,
    /// The kind of problem, in a few words.
    title: &'a str,
}

impl Problem {
    fn details(&self) -> Details<'_> {
        Details {
            detail: &self.detail,
            near: &self.near,
            needs: self.needs,
            status: self.status.as_u16(),
            title: self.title(),
        }
    }

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
            StatusCode::SERVICE_UNAVAILABLE => "busy",
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
        let mut response = (self.status, Json(self.details())).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}
