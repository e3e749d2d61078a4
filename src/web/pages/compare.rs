//! Comparisons of two evaluations, branches, revisions or dates, for each system that both have.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::clean::Clean;
use super::difference::{JobRow, ROWS, Tab, added_rows, changed_rows, removed_rows};
use super::figure::{count, number};
use super::frame::{Frame, Visit};
use super::link;
use super::response::{Answer, html};
use super::shape::Shape;
use crate::view::diff::{Comparison, Rows};
use crate::view::evaluation::JobError;
use crate::web::Shared;
use crate::web::api::pairs_of;
use crate::web::problem::Problem;
use crate::web::query_filters::QueryFilters;

/// The most systems of one comparison.
const MOST_SYSTEMS: usize = 12;

#[derive(Template)]
#[template(path = "compare.html")]
struct ComparePage {
    frame: Frame,
    names: (Clean, Clean),
    lede: String,
    systems: Vec<SystemRow>,
    alone: Vec<Clean>,
    /// The system whose lists are shown.
    system: Clean,
    tabs: Vec<Tab>,
    rows: Vec<JobRow>,
    more: Option<String>,
}

struct SystemRow {
    system: Clean,
    href: String,
    is_current: bool,
    evaluations: [(String, String); 2],
    rebuilds: String,
    range: &'static str,
    counts: [(usize, String); 6],
}

#[derive(Template)]
#[template(path = "compare_form.html")]
struct FormPage {
    frame: Frame,
    specs: Vec<Clean>,
}

/// The fields of the form.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::web) struct Sides {
    base: String,
    target: String,
}

/// The selected list and system.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::web) struct Shown {
    list: String,
    system: String,
}

/// The lists: the key in the query, and the title on the page.
const LISTS: [(&str, &str); 6] = [
    ("broken", "No longer evaluable"),
    ("errors", "New errors"),
    ("changed", "Changed"),
    ("new", "New"),
    ("removed", "Removed"),
    ("fixed", "Evaluable again"),
];

/// A form for two evaluations; redirects to the comparison.
pub(in crate::web) async fn form(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Query(Sides { base, target }): Query<Sides>,
) -> Answer<Response> {
    if !base.is_empty() && !target.is_empty() {
        return Ok(Redirect::to(&link::compare(base.trim(), target.trim())).into_response());
    }
    let specs = shared.web.db.specs().await?;
    let present = specs.iter().filter(|stored| stored.present);
    let specs = present.map(|stored| Clean::line(&stored.spec.name)).collect();
    Ok(html(&FormPage { frame: visit.frame("Compare", "/compare"), specs }))
}

pub(in crate::web) async fn page(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Path(range): Path<String>,
    Query(shown): Query<Shown>,
    Query(filters): Query<QueryFilters>,
) -> Answer<Response> {
    let db = &shared.moment().await?;
    let (mut pairs, alone) = pairs_of(db, &range, &filters).await?;
    pairs.truncate(MOST_SYSTEMS);
    let mut all = Vec::new();
    for pair in pairs {
        all.push(Rows::load(db, pair).await?);
    }
    let comparisons: Vec<Comparison<'_>> = all
        .iter_mut()
        .map(|rows| Comparison::of(std::mem::take(&mut rows.jobs), &rows.evaluations, &rows.errors))
        .collect();
    let named = comparisons.iter().find(|one| one.b.system == shown.system);
    let Some(current) = named.or_else(|| comparisons.first()) else {
        return Err(Problem::missing("nothing is compared"));
    };
    let list = LISTS.iter().find(|(key, _)| *key == shown.list).map_or("", |(key, _)| key);
    let list = if list.is_empty() { first_list(current) } else { list };
    let place = link::compare_range(&range);
    let (a, b) = range.split_once("..").unwrap_or((&range, ""));
    let size = sizes(current)[LISTS.iter().position(|(key, _)| *key == list).unwrap_or(0)];
    Ok(html(&ComparePage {
        frame: visit.frame(&format!("{a} against {b}"), "/compare"),
        names: (Clean::line(a), Clean::line(b)),
        lede: lede(&comparisons),
        systems: comparisons.iter().map(|one| system_row(one, current, &place, list)).collect(),
        alone: alone.iter().map(|system| Clean::line(system)).collect(),
        system: Clean::line(current.b.system),
        tabs: tabs(current, &place, list),
        rows: rows(current, list),
        more: (size > ROWS).then(|| number(many(size - ROWS))),
    }))
}

fn many(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The summary at the top: about the system with the most to build.
fn lede(all: &[Comparison<'_>]) -> String {
    let Some(most) = all.iter().max_by_key(|one| one.rebuilds.count) else { return String::new() };
    let broken: usize = all.iter().map(|one| one.diff.broken.len()).sum();
    let errors: usize = all.iter().map(|one| one.new_errors.len()).sum();
    format!(
        "{} for {}, {} that can no longer be evaluated, {}.",
        count(many(most.rebuilds.count), "output to build", "outputs to build"),
        most.b.system,
        count(many(broken), "job", "jobs"),
        count(many(errors), "new error", "new errors"),
    )
}

/// The length of each list.
fn sizes(one: &Comparison<'_>) -> [usize; 6] {
    let diff = &one.diff;
    let errors = one.new_errors.len();
    [diff.broken.len(), errors, diff.changed.len(), diff.added.len(), diff.removed.len(), diff.fixed.len()]
}

/// The first list that is not empty.
fn first_list(one: &Comparison<'_>) -> &'static str {
    let mut filled = LISTS.iter().zip(sizes(one)).filter(|(_, size)| *size > 0);
    filled.next().map_or("changed", |((key, _), _)| key)
}

fn system_row(one: &Comparison<'_>, current: &Comparison<'_>, place: &str, list: &str) -> SystemRow {
    let evaluation = |side: &crate::view::diff::Side<'_>| {
        (link::evaluation(side.evaluation), format!("{} {}", side.spec, side.revision.short()))
    };
    SystemRow {
        system: Clean::line(one.b.system),
        href: place.to_owned() + &link::query(&[("system", one.b.system), ("list", list)]),
        is_current: std::ptr::eq(one, current),
        evaluations: [evaluation(&one.a), evaluation(&one.b)],
        rebuilds: number(many(one.rebuilds.count)),
        range: one.rebuilds.range,
        counts: sizes(one).map(|size| (size, number(many(size)))),
    }
}

fn tabs(one: &Comparison<'_>, place: &str, list: &str) -> Vec<Tab> {
    let tab = |((key, word), size): ((&'static str, &'static str), usize)| Tab {
        href: place.to_owned() + &link::query(&[("system", one.b.system), ("list", key)]),
        word,
        count: number(many(size)),
        is_zero: size == 0,
        is_current: list == key,
    };
    LISTS.into_iter().zip(sizes(one)).map(tab).collect()
}

fn rows(one: &Comparison<'_>, list: &str) -> Vec<JobRow> {
    let place = (one.b.spec, one.b.system);
    match list {
        "broken" => removed_rows(&one.diff.broken),
        "errors" => one.new_errors.iter().take(ROWS).map(error_row).collect(),
        "new" => added_rows(place, &one.diff.added),
        "removed" => removed_rows(&one.diff.removed),
        "fixed" => added_rows(place, &one.diff.fixed),
        _ => changed_rows(place, &one.diff),
    }
}

fn error_row(error: &JobError<'_>) -> JobRow {
    JobRow {
        shape: Some(Shape::ERROR),
        job: Clean::line(error.name),
        href: None,
        version: Clean::line(error.cause),
        text: Clean::text(error.message),
    }
}
