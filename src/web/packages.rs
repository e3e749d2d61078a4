//! One package, and one derivation.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};

use super::Shared;
use super::problem::Problem;
use super::query_filters::QueryFilters;
use crate::db::Db;
use crate::guix::store_path::StorePath;
use crate::view::derivation::{self, Derivation};
use crate::view::package::{self, Package};

/// The entries of the history of a package in one answer.
const HISTORY: i64 = 500;

pub(super) async fn package(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(filters): Query<QueryFilters>,
) -> Result<Response, Problem> {
    let rows = package_rows(&shared.moment().await?, &name, &filters, HISTORY).await?;
    Ok(Json(&Package::new(&rows)).into_response())
}

/// The rows about a package, with this number of entries of its history.
pub(super) async fn package_rows(
    db: &Db,
    name: &str,
    filters: &QueryFilters,
    history: i64,
) -> Result<package::Rows, Problem> {
    let filter = filters.filter(db).await??;
    if let Some(rows) = package::Rows::load(db, name, filter.spec.as_deref(), history).await? {
        return Ok(rows);
    }
    let near = db.jobs_like(name, 5).await?;
    let problem = Problem::missing(format!("no evaluation has a package or job {name}"));
    Err(Problem { near, ..problem })
}

pub(super) async fn derivation(
    State(shared): State<Arc<Shared>>,
    Path(file): Path<String>,
) -> Result<Response, Problem> {
    let rows = derivation_rows(&shared.moment().await?, &file).await?;
    Ok(Json(&Derivation::new(&rows)).into_response())
}

/// The rows about the derivation with this file name.
pub(super) async fn derivation_rows(db: &Db, file: &str) -> Result<derivation::Rows, Problem> {
    let missing = || {
        Problem::missing(format!(
            "there is no derivation {file}\nhint: its name is HASH-NAME.drv, and that of a forgotten evaluation is gone"
        ))
    };
    let path = StorePath::parse_base_name(file.as_bytes()).map_err(|_| missing())?;
    let rows = derivation::Rows::load(db, &path.hash_text()).await?;
    rows.filter(|rows| rows.path() == path.to_string()).ok_or_else(missing)
}
