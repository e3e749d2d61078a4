//! What substitute servers have of the newest evaluations.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::chart::{Bar, Chart, Line, Part};
use super::clean::Clean;
use super::figure::{Time, count, number};
use super::frame::{Frame, Visit};
use super::link;
use super::response::{Answer, html};
use super::shape::Shape;
use crate::clock::{Seconds, utc};
use crate::db::{self, BuildState, Db};
use crate::domain::coverage::{ANSWER_LIFETIME, BLOCKED, NO_BUILD};
use crate::view::coverage::{Coverage, Rows, Share, percentage};
use crate::web::Shared;
use crate::web::api::spec_named;
use crate::web::problem::Problem;

/// How many missing jobs a page lists.
const LISTED: usize = 50;
/// How far back the chart goes.
const CHART: Seconds = 90 * 24 * 3600;

#[derive(Template)]
#[template(path = "coverage_list.html")]
struct ListPage {
    frame: Frame,
    lede: String,
    rows: Vec<SystemRow>,
}

#[derive(Template)]
#[template(path = "coverage.html")]
struct SpecPage {
    frame: Frame,
    name: Clean,
    spec: String,
    api: String,
    lede: String,
    rows: Vec<SystemRow>,
    servers: Vec<ServerRow>,
    chart: Option<Chart>,
    tabs: Vec<(String, Clean, bool)>,
    system: Clean,
    causes: Vec<CauseRow>,
    jobs: Vec<JobRow>,
    more: Option<String>,
}

struct SystemRow {
    spec: Clean,
    href: String,
    system: Clean,
    evaluation: Option<(String, String)>,
    percent: String,
    bar: Bar,
    absent: String,
    unknown: String,
    reasons: String,
    counted: Option<Time>,
}

struct ServerRow {
    system: Clean,
    url: Clean,
    percent: String,
    absent: String,
    unknown: String,
}

struct CauseRow {
    href: String,
    job: Clean,
    blocked: String,
}

struct JobRow {
    shape: Shape,
    href: String,
    job: Clean,
    is_unknown: bool,
}

/// Which missing jobs are listed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::web) struct Listed {
    system: Option<String>,
    /// Those after this name.
    after: String,
}

/// Shows what servers have of all specs.
pub(in crate::web) async fn list(State(shared): State<Arc<Shared>>, visit: Visit) -> Answer<Response> {
    let now = shared.web.clock.now();
    let rows = Rows::load(&shared.moment().await?, None, now).await?;
    let found = Coverage::all(&rows);
    // The one of which most is missing is to be said first.
    let worst = worst(&found);
    let lede = worst.map_or_else(
        || "Nothing is known yet.".to_owned(),
        |one| Clean::line(&format!("{}, {}", one.spec, of_system(one))).to_string(),
    );
    let rows = found.iter().filter(|_| worst.is_some()).map(|one| system_row(one, now)).collect();
    Ok(html(&ListPage { frame: visit.frame("Coverage", "/coverage"), lede, rows }))
}

/// Shows what servers have of a spec, and what is missing.
pub(in crate::web) async fn page(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Path(name): Path<String>,
    Query(listed): Query<Listed>,
) -> Answer<Response> {
    let (db, now) = (&shared.moment().await?, shared.web.clock.now());
    let stored = spec_named(db, &name).await?;
    let rows = Rows::load(db, Some(&name), now).await?;
    let found = Coverage::all(&rows);
    let chosen = chosen(&found, &name, listed.system.as_deref())?;
    let (jobs, more) = match chosen {
        Some(one) => missing(db, one, &listed.after, now).await?,
        None => (Vec::new(), None),
    };
    let history = db.coverage_history(stored.id, now - CHART).await?;
    let tab = |one: &Coverage<'_>| {
        let is_current = chosen.is_some_and(|chosen| chosen.system == one.system);
        (link::coverage(&name) + &link::query(&[("system", one.system)]), Clean::line(one.system), is_current)
    };
    Ok(html(&SpecPage {
        frame: visit.frame(&format!("Coverage of {name}"), "/coverage"),
        name: Clean::line(&name),
        spec: link::spec(&name),
        api: format!("/api/v1{}/coverage", link::spec(&name)),
        lede: lede(&found),
        rows: found.iter().map(|one| system_row(one, now)).collect(),
        servers: found.iter().flat_map(server_rows).collect(),
        chart: chart(&history),
        tabs: found.iter().map(tab).collect(),
        system: Clean::line(chosen.map_or("", |one| one.system)),
        causes: chosen.map(|one| causes(&name, one)).unwrap_or_default(),
        jobs,
        more,
    }))
}

/// The one of which most is missing, or may be.
fn worst<'f, 'a>(found: &'f [Coverage<'a>]) -> Option<&'f Coverage<'a>> {
    let counted = found.iter().filter(|one| one.total.is_some());
    counted.max_by_key(|one| one.total.map(|total| (total.absent + total.unknown, total.absent)))
}

/// The system whose missing jobs are listed: the one that is asked for, or the one of which most is
/// missing.
fn chosen<'f, 'a>(
    found: &'f [Coverage<'a>],
    name: &str,
    system: Option<&str>,
) -> Result<Option<&'f Coverage<'a>>, Problem> {
    let Some(system) = system else { return Ok(worst(found)) };
    let one = found.iter().find(|one| one.system == system);
    one.map(Some).ok_or_else(|| Problem::missing(format!("nothing is known of {name} for {system}")))
}

fn many(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What is to be said first of a spec.
fn lede(found: &[Coverage<'_>]) -> String {
    let Some(worst) = worst(found) else {
        return "Nothing is known yet: servers are asked once an evaluation is complete.".to_owned();
    };
    of_system(worst)
}

/// What a system has, in a sentence.
fn of_system(one: &Coverage<'_>) -> String {
    let Some(Share { absent, unknown, percent, .. }) = one.total else {
        return format!("{} is not counted yet.", one.system);
    };
    let head = format!("{} has {}", one.system, percentage(percent));
    let causes = one.missing.map_or(0, |missing| missing.causes.len());
    let mut text = match absent {
        0 if unknown == 0 => format!("{head}: nothing is missing"),
        0 => head,
        _ if causes > 0 => format!(
            "{head}; {} missing, and others wait for {}",
            count(absent, "is", "are"),
            count(many(causes), "failed build", "failed builds")
        ),
        _ => format!("{head}; {} missing", count(absent, "is", "are")),
    };
    if unknown > 0 {
        text = format!("{text}; for {} it is not known", number(unknown));
    }
    text + "."
}

fn system_row(one: &Coverage<'_>, now: Seconds) -> SystemRow {
    let shown = |of: fn(Share) -> String| one.total.map_or_else(|| "–".to_owned(), of);
    let reasons = one.reasons().into_iter().map(|(state, count)| format!("{state} {}", number(count)));
    SystemRow {
        spec: Clean::line(one.spec),
        href: link::coverage(one.spec) + &link::query(&[("system", one.system)]),
        system: Clean::line(one.system),
        evaluation: one.evaluation.map(|id| (link::evaluation(id), id.to_string())),
        percent: shown(|total| percentage(total.percent)),
        bar: bar(one),
        absent: shown(|total| number(total.absent)),
        unknown: shown(|total| number(total.unknown)),
        reasons: reasons.collect::<Vec<_>>().join(", "),
        counted: one.counted_at.map(|at| Time::new(at, now)),
    }
}

/// The bar of a system: what is there, then what is missing by what keeps it back.
fn bar(one: &Coverage<'_>) -> Bar {
    let of = |words: &[&str]| -> i64 {
        let states = one.reasons().into_iter().filter(|(state, _)| words.contains(state));
        states.map(|(_, count)| count).sum()
    };
    let failed = of(&[BuildState::Failed.word(), BuildState::Rejected.word(), BLOCKED]);
    let building = of(&[BuildState::Building.word()]);
    let built = of(&[BuildState::Succeeded.word(), BuildState::Substituted.word()]);
    let idle = of(&[BuildState::Known.word(), BuildState::Canceled.word(), NO_BUILD]);
    let Some(total) = one.total else { return Bar::new(&[]) };
    let queued = total.absent - failed - building - built - idle;
    Bar::new(&[
        (Part::Present, total.present),
        (Part::Built, built),
        (Part::Failed, failed),
        (Part::Building, building),
        (Part::Queued, queued),
        (Part::Rest, idle + total.unknown),
    ])
}

fn server_rows(one: &Coverage<'_>) -> Vec<ServerRow> {
    let row = |server: &crate::view::coverage::ServerShare<'_>| ServerRow {
        system: Clean::line(one.system),
        url: Clean::line(server.url),
        percent: percentage(server.share.percent),
        absent: number(server.share.absent),
        unknown: number(server.share.unknown),
    };
    one.servers.iter().map(row).collect()
}

fn causes(spec: &str, one: &Coverage<'_>) -> Vec<CauseRow> {
    let row = |cause: &crate::domain::coverage::MissingCause| CauseRow {
        href: link::job(spec, one.system, &cause.job),
        job: Clean::line(&cause.job),
        blocked: number(cause.blocked),
    };
    one.missing.iter().flat_map(|missing| &missing.causes).map(row).collect()
}

/// The next missing jobs after a name, and the link to those after them.
async fn missing(
    db: &Db,
    one: &Coverage<'_>,
    after: &str,
    now: Seconds,
) -> Answer<(Vec<JobRow>, Option<String>)> {
    let Some(evaluation) = one.evaluation else { return Ok((Vec::new(), None)) };
    let mut rows = db.missing_jobs(evaluation, after, now - ANSWER_LIFETIME, many(LISTED) + 1).await?;
    let is_more = rows.len() > LISTED;
    rows.truncate(LISTED);
    let next = rows
        .last()
        .filter(|_| is_more)
        .map(|last| link::coverage(one.spec) + &link::query(&[("system", one.system), ("after", &last.job)]));
    let row = |row: &db::MissingJob| JobRow {
        shape: row.state.map_or(Shape::NO_BUILD, Shape::of_build),
        href: link::job(one.spec, one.system, &row.job),
        job: Clean::line(&row.job),
        is_unknown: row.absent_at < many(one.servers.len()),
    };
    Ok((rows.iter().map(row).collect(), next))
}

/// The shares of evaluations over time, one line for each system.
fn chart(history: &[db::Coverage]) -> Option<Chart> {
    let mut lines: Vec<Line> = Vec::new();
    for row in history {
        let Some(percent) = row.counts.percent() else { continue };
        if lines.iter().all(|line| line.label != row.system) {
            lines.push(Line { label: row.system.clone(), points: Vec::new() });
        }
        if let Some(line) = lines.iter_mut().find(|line| line.label == row.system) {
            line.points.push((row.counted_at, percent));
        }
    }
    Chart::new(&lines, utc)
}
