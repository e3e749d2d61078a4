//! All builds, with filters, those of the newest evaluation first.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;

use super::clean::Clean;
use super::figure::Time;
use super::frame::{Frame, Visit};
use super::link;
use super::queue::choices;
use super::response::{Answer, html};
use super::shape::Shape;
use crate::clock::Seconds;
use crate::db::{BuildFilter, BuildPlace, BuildState};
use crate::domain::spec::System;
use crate::view::build::Build;
use crate::web::Shared;
use crate::web::builds::BuildQuery;
use crate::web::query_filters::QueryFilters;

/// How many builds a page lists.
const ROWS: u8 = 50;

#[derive(Template)]
#[template(path = "builds.html")]
struct BuildsPage {
    frame: Frame,
    lede: Clean,
    specs: Vec<(Clean, bool)>,
    systems: Vec<(Clean, bool)>,
    states: Vec<(&'static str, bool)>,
    name: Clean,
    is_disturbed: bool,
    /// The fields and the label of the button that retries what is listed, if it failed.
    retry: Option<(Vec<(&'static str, Clean)>, String)>,
    builds: Vec<BuildRow>,
    /// The same as JSON, the first part, and the next part of the list.
    json: String,
    first: Option<String>,
    older: Option<String>,
}

/// A row of a list of builds.
pub(super) struct BuildRow {
    shape: Shape,
    href: String,
    job: Clean,
    spec: Clean,
    system: Clean,
    evaluation: (String, String),
    created: Time,
    reason: Clean,
}

pub(in crate::web) async fn page(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Query(common): Query<QueryFilters>,
    Query(query): Query<BuildQuery>,
) -> Answer<Response> {
    let (db, now) = (&shared.moment().await?, shared.web.clock.now());
    let filter = query.filter(&common, db).await??;
    let place = query.place()?;
    let mut builds = db.builds(&filter, place, i64::from(ROWS) + 1).await?;
    let is_cut = builds.len() > usize::from(ROWS);
    builds.truncate(ROWS.into());
    let specs = db.specs().await?;
    let systems = specs.iter().flat_map(|stored| &stored.spec.systems).map(System::as_str);
    let frame = visit.frame("Builds", "/builds");
    let fields = fields(&common, &query);
    let at = |path: &str, place: Option<String>| {
        let place = place.unwrap_or_default();
        let pairs = fields.iter().map(|(key, value)| (*key, value.as_str())).chain([("before", &*place)]);
        format!("{path}{}", link::query(&pairs.collect::<Vec<_>>()))
    };
    let next = builds.last().filter(|_| is_cut).map(|last| BuildPlace::of(last).to_string());
    Ok(html(&BuildsPage {
        lede: Clean::line(&lede(&filter)),
        specs: choices(specs.iter().map(|stored| stored.spec.name.as_str()), &common.spec),
        systems: choices(systems, &common.system),
        states: BuildState::ALL.map(|state| (state.word(), filter.state == Some(state))).to_vec(),
        name: Clean::line(&query.name),
        is_disturbed: filter.is_disturbed,
        retry: (frame.may_operate() && filter.state.is_some_and(BuildState::has_failed))
            .then(|| label(builds.len(), is_cut || place.is_some()))
            .flatten()
            .map(|label| (fields.iter().map(|(key, value)| (*key, Clean::line(value))).collect(), label)),
        frame,
        json: at("/api/v1/builds", None),
        first: place.map(|_| at("/builds", None)),
        older: next.map(|next| at("/builds", Some(next))),
        builds: builds.iter().map(|build| row(&Build::new(build), now)).collect(),
    }))
}

/// The filters that are set, as fields of a query or form.
fn fields(common: &QueryFilters, query: &BuildQuery) -> Vec<(&'static str, String)> {
    let all = [
        ("spec", &common.spec),
        ("system", &common.system),
        ("state", &common.state),
        ("name", &query.name),
        ("disturbed", &query.disturbed),
    ];
    let set = all.into_iter().filter(|(_, value)| !value.is_empty());
    set.map(|(key, value)| (key, value.clone())).collect()
}

/// The label of the button that retries the builds; `None` if there is none to retry.
fn label(listed: usize, are_more: bool) -> Option<String> {
    match listed {
        0 => None,
        _ if are_more => Some("Build all of these again, on all pages".to_owned()),
        1 => Some("Build it again".to_owned()),
        many => Some(format!("Build all {many} again")),
    }
}

/// What is listed, in a sentence.
fn lede(filter: &BuildFilter) -> String {
    let BuildFilter { spec, system, state, name, is_disturbed } = filter;
    let mut words = if filter.is_empty() { "All builds" } else { "Builds" }.to_owned();
    words += &spec.as_ref().map(|spec| format!(" of {spec}")).unwrap_or_default();
    words += &system.as_ref().map(|system| format!(" for {system}")).unwrap_or_default();
    words += &state.map(|state| format!(" in the state {}", state.word())).unwrap_or_default();
    words += if *is_disturbed { ", perhaps because of the machine" } else { "" };
    words += &name.as_ref().map(|name| format!(", with names that begin with {name}")).unwrap_or_default();
    words + ": those of the newest evaluation come first."
}

fn row(build: &Build<'_>, now: Seconds) -> BuildRow {
    BuildRow {
        shape: Shape::of_build(build.state),
        href: link::build(build.id),
        job: Clean::line(build.job),
        spec: Clean::line(build.spec),
        system: Clean::line(build.system),
        evaluation: (link::evaluation(build.evaluation), build.evaluation.to_string()),
        created: Time::new(build.created_at, now),
        reason: Clean::first_line(build.reason()),
    }
}
