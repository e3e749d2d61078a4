//! A package, or a job: what it is now over specs and systems, and what it was.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;

use super::clean::Clean;
use super::figure::{Time, count, number};
use super::frame::{Frame, Visit};
use super::link;
use super::response::{Answer, html};
use super::shape::Shape;
use crate::clock::Seconds;
use crate::db::BuildState;
use crate::view::history::Span;
use crate::view::package::{CurrentJob, Package};
use crate::web::Shared;
use crate::web::packages::package_rows;
use crate::web::query_filters::QueryFilters;

/// The most jobs that a page lists.
const JOBS: usize = 100;
/// The most entries of the history that a page lists.
const HISTORY: i64 = 50;

#[derive(Template)]
#[template(path = "package.html")]
struct PackagePage {
    frame: Frame,
    name: Clean,
    lede: String,
    json: String,
    /// The link to the same over all specs, if it is of one.
    all: Option<String>,
    now: Vec<NowRow>,
    more: Option<String>,
    history: Vec<SpanRow>,
    is_cut: bool,
}

struct NowRow {
    build: Option<(Shape, String)>,
    href: String,
    job: Clean,
    spec: (String, Clean),
    system: Clean,
    version: Clean,
    first: (String, String),
    derivation: String,
}

struct SpanRow {
    job: Clean,
    version: Clean,
    spec: (String, Clean),
    system: Clean,
    first: (String, String),
    revision: Clean,
    since: Option<Time>,
    last: Option<(String, String)>,
    derivation: String,
}

pub(in crate::web) async fn page(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Path(name): Path<String>,
    Query(filters): Query<QueryFilters>,
) -> Answer<Response> {
    let (db, now) = (&shared.moment().await?, shared.web.clock.now());
    let rows = package_rows(db, &name, &filters, HISTORY).await?;
    let package = Package::new(&rows);
    let more = package.now.len().saturating_sub(JOBS);
    let place = link::package(&name);
    let query = link::query(&[("spec", &filters.spec)]);
    Ok(html(&PackagePage {
        frame: visit.frame(&name, "/builds"),
        name: Clean::line(&name),
        lede: lede(&package),
        json: format!("/api/v1{place}{query}"),
        all: (!filters.spec.is_empty()).then_some(place),
        now: package.now.iter().take(JOBS).map(|job| now_row(job, &name)).collect(),
        more: (more > 0).then(|| number(i64::try_from(more).unwrap_or(i64::MAX))),
        history: package.history.iter().map(|span| span_row(span, now)).collect(),
        is_cut: i64::try_from(package.history.len()) == Ok(HISTORY),
    }))
}

fn lede(package: &Package<'_>) -> String {
    let of = |is: fn(BuildState) -> bool| {
        let these = package.now.iter().filter(|job| job.state.is_some_and(is)).count();
        i64::try_from(these).unwrap_or(i64::MAX)
    };
    let all = i64::try_from(package.now.len()).unwrap_or(i64::MAX);
    if all == 0 {
        return "No newest evaluation has it any more.".to_owned();
    }
    let good = of(|state| matches!(state, BuildState::Succeeded | BuildState::Substituted));
    let (failed, wanted) = (of(BuildState::has_failed), of(BuildState::is_wanted));
    let parts = [
        (good, "built or substituted"),
        (failed, "failed"),
        (wanted, "wanted and not built yet"),
        (all - good - failed - wanted, "without a build under way"),
    ];
    let parts = parts.into_iter().filter(|(many, _)| *many > 0);
    let parts: Vec<String> = parts.map(|(many, word)| format!("{} {word}", number(many))).collect();
    format!("{} now: {}.", count(all, "job", "jobs"), parts.join(", "))
}

fn now_row(job: &CurrentJob<'_>, package: &str) -> NowRow {
    let build = job.state.zip(job.build);
    NowRow {
        build: build.map(|(state, id)| (Shape::of_build(state), link::build(id))),
        href: link::job(job.spec, job.system, job.job),
        job: Clean::line(job.job),
        spec: spec(job.spec, package),
        system: Clean::line(job.system),
        version: Clean::line(job.version.unwrap_or_default()),
        first: (link::evaluation(job.first), job.first.to_string()),
        derivation: link::derivation(job.derivation),
    }
}

/// A spec, and the link to the package in this spec only.
fn spec(name: &str, package: &str) -> (String, Clean) {
    (link::package(package) + &link::query(&[("spec", name)]), Clean::line(name))
}

fn span_row(span: &Span<'_>, now: Seconds) -> SpanRow {
    let evaluation = |id| (link::evaluation(id), id.to_string());
    SpanRow {
        job: Clean::line(span.job),
        version: Clean::line(span.version.unwrap_or_default()),
        spec: (link::spec(span.spec), Clean::line(span.spec)),
        system: Clean::line(span.system),
        first: evaluation(span.first),
        revision: Clean::line(&span.revision.short()),
        since: span.since.map(|at| Time::new(at, now)),
        last: span.last.map(evaluation),
        derivation: link::derivation(span.derivation),
    }
}
