//! The body of a request that changes something: a form or JSON.

use std::sync::Arc;

use axum::Json;
use axum::body::HttpBody as _;
use axum::extract::{Form, FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Shared;
use super::problem::Problem;

/// The body of a request that changes something. Fields that an action does not need are left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct ActionBody {
    /// Restricts the action to this spec.
    pub(super) spec: String,
    /// Restricts the action to this system.
    pub(super) system: String,
    /// The reason for the action.
    pub(super) reason: String,
    /// The page to redirect to.
    #[schemars(skip)]
    pub(super) back: String,
}

impl ActionBody {
    /// A field, if it is not empty.
    pub(super) fn word(word: &str) -> Option<&str> {
        Some(word).filter(|word| !word.is_empty())
    }
}

/// A body of the type that the route accepts: JSON for the API, a form for a page. It may be empty.
pub(super) struct Body<T>(pub(super) T);

impl<T: Default + for<'de> Deserialize<'de> + Send> FromRequest<Arc<Shared>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Arc<Shared>) -> Result<Self, Problem> {
        if request.uri().query().is_some() {
            let text = "what a request that changes something says stands in its body, not in the query";
            return Err(Problem::new(StatusCode::BAD_REQUEST, text));
        }
        let is_api = request.uri().path().starts_with("/api/");
        let kind = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
        let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let wrong = |status, text: String| Problem::new(status, text);
        match (kind.as_deref(), is_api) {
            (None, _) if request.body().size_hint().exact() == Some(0) => Ok(Self(T::default())),
            (Some("application/json"), true) => match Json::from_request(request, state).await {
                Ok(Json(given)) => Ok(Self(given)),
                Err(error) => Err(wrong(error.status(), error.body_text())),
            },
            (Some("application/x-www-form-urlencoded"), false) => {
                match Form::from_request(request, state).await {
                    Ok(Form(given)) => Ok(Self(given)),
                    Err(error) => Err(wrong(error.status(), error.body_text())),
                }
            }
            (_, is_api) => {
                let takes = if is_api { "application/json" } else { "application/x-www-form-urlencoded" };
                Err(wrong(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the body has to be {takes}")))
            }
        }
    }
}
