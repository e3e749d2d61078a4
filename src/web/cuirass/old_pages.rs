//! The addresses of Cuirass's pages, which lead to the pages of here.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::parameters::Parameters;
use super::{Answer, missing};
use crate::web::Shared;
use crate::web::api::spec_named;
use crate::web::pages::{evaluation_page, query, spec_page};

pub(in crate::web) async fn jobset(Path(name): Path<String>) -> Redirect {
    Redirect::to(&spec_page(&name))
}

/// One evaluation, or the newest complete one of a spec, for any system.
pub(in crate::web) async fn evaluation(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    given: Parameters,
) -> Answer {
    let db = &shared.moment().await?;
    let found = match (id.as_str(), given.word("spec")) {
        ("latest", Some(name)) => {
            let stored = spec_named(db, name).await?;
            let mut newest = None;
            for system in &stored.spec.systems {
                let complete = db.last_complete(stored.id, system).await?.map(|row| row.id);
                newest = newest.max(complete);
            }
            newest
        }
        _ => id.parse().ok().map(crate::db::EvaluationId),
    };
    let found = found.ok_or_else(|| missing(format!("there is no evaluation {id}")))?;
    Ok(Redirect::to(&evaluation_page(found)).into_response())
}

/// What a search asks for; a form writes a blank as `+`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::web) struct Search {
    query: String,
}

pub(in crate::web) async fn search(Query(given): Query<Search>) -> Redirect {
    // Cuirass's queries have words such as `spec:master` beside the beginning of a name.
    let words = given.query.split_whitespace().filter(|word| !word.contains(':'));
    let name = words.collect::<Vec<_>>().join(" ");
    Redirect::to(&format!("/jobs{}", query(&[("q", &name)])))
}

pub(in crate::web) async fn workers() -> Redirect {
    Redirect::to("/farm")
}

pub(in crate::web) async fn status() -> Redirect {
    Redirect::to("/queue")
}
