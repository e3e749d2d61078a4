//! One job: why it is queued or not.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::clean::Clean;
use super::figure::{Time, count};
use super::frame::{Frame, Visit};
use super::link;
use super::response::{Answer, html};
use super::shape::Shape;
use crate::clock::Seconds;
use crate::domain::spec::System;
use crate::view::explanation::{Found, Job, Rows};
use crate::view::filter::Filter;
use crate::web::problem::Problem;
use crate::web::{Pages, Shared};

/// How many names a search lists.
const NAMES: i64 = 50;

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    frame: Frame,
    name: Clean,
    spec: Clean,
    spec_href: String,
    package: String,
    system: Clean,
    jobs: Vec<JobPart>,
    errors: Vec<ErrorPart>,
}

/// A job with one derivation. Several packages can have jobs of the same name.
struct JobPart {
    /// The path that retries its failed build.
    retry: Option<String>,
    shape: Option<Shape>,
    /// The pages of its build and its derivation.
    build: Option<String>,
    derivation: String,
    because: Clean,
    facts: Vec<(&'static str, Clean)>,
    blockers: Vec<(String, Clean)>,
    events: Vec<EventRow>,
}

struct EventRow {
    at: Time,
    attempt: &'static str,
    reference: Clean,
}

struct ErrorPart {
    evaluation: String,
    href: String,
    cause: Clean,
    message: Clean,
}

pub(in crate::web) async fn page(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Path((spec, system, name)): Path<(String, String, String)>,
) -> Answer<Response> {
    let (db, now) = (&shared.moment().await?, shared.web.clock.now());
    let filter = Filter { spec: Some(spec.clone()), system: System::new(&system) };
    let found = match Found::load(db, &name, &filter).await? {
        Ok(found) if !found.jobs.is_empty() || !found.errors.is_empty() => found,
        Ok(_) => return Err(Problem::missing(format!("{spec} has no job called {name} for {system}"))),
        Err(similar) => {
            let problem = Problem::missing(format!("no evaluation has a job called {name}"));
            return Err(Problem { near: similar, ..problem });
        }
    };
    let Pages { routes, logs } = shared.pages();
    let rows = Rows::load_all(db, found.jobs, &routes, &logs).await?;
    let errors = found.errors.iter().map(|error| ErrorPart {
        evaluation: error.evaluation_id.to_string(),
        href: link::evaluation(error.evaluation_id),
        cause: Clean::line(&error.cause),
        message: Clean::text(&error.message),
    });
    Ok(html(&JobPage {
        frame: visit.frame(&name, "/queue"),
        name: Clean::line(&name),
        spec: Clean::line(&spec),
        spec_href: link::spec(&spec),
        package: link::package(&name),
        system: Clean::line(&system),
        jobs: rows.iter().map(|rows| part(&Job::new(rows), now)).collect(),
        errors: errors.collect(),
    }))
}

fn part(job: &Job<'_>, now: Seconds) -> JobPart {
    let blocked = !job.blocked_by.is_empty();
    let of_build = job.build.as_ref().map(|build| Shape::of_build(build.state));
    let blockers = job
        .blocked_by
        .iter()
        .map(|blocker| (format!("/jobs{}", link::query(&[("q", blocker.job)])), Clean::line(blocker.job)));
    let events = job.events.iter().map(|event| EventRow {
        at: Time::new(event.happened_at.unwrap_or(event.received_at), now),
        attempt: event.attempt,
        reference: Clean::line(event.reference),
    });
    let failed = job.build.as_ref().filter(|build| build.state.has_failed());
    JobPart {
        retry: failed.map(|build| format!("/builds/{}/retry", build.id)),
        shape: if blocked { Some(Shape::BLOCKED) } else { of_build },
        build: job.build.as_ref().map(|build| link::build(build.id)),
        derivation: link::derivation(job.derivation),
        because: Clean::line(&job.because),
        facts: facts(job),
        blockers: blockers.collect(),
        events: events.collect(),
    }
}

fn facts(job: &Job<'_>) -> Vec<(&'static str, Clean)> {
    let many = |many: usize| count(i64::try_from(many).unwrap_or(i64::MAX), "build", "builds");
    let mut facts = vec![
        ("derivation", job.derivation.to_owned()),
        ("since evaluation", job.first_evaluation.to_string()),
    ];
    facts.extend(job.last_evaluation.map(|last| ("last evaluation that had it", last.to_string())));
    facts.extend(job.needed_by.map(|user| ("needed by", user.to_owned())));
    facts.extend(job.shared.iter().map(|text| ("shared", text.clone())));
    facts.extend(job.outputs.iter().map(|path| ("output", path.clone())));
    facts.extend((job.blocks > 0).then(|| ("wait for it", many(job.blocks))));
    if let Some(build) = &job.build {
        facts.extend(build.coordinator.map(|name| ("coordinator", name.to_owned())));
        facts.extend(build.answer.map(|answer| ("last answer", answer.to_owned())));
    }
    if let Some(ahead) = &job.ahead {
        let next =
            if ahead.next.is_empty() { String::new() } else { format!(": {}, …", ahead.next.join(", ")) };
        facts.push(("come before it", count(ahead.count, "build", "builds") + &next));
    }
    facts.into_iter().map(|(word, text)| (word, Clean::line(&text))).collect()
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct SearchPage {
    frame: Frame,
    query: Clean,
    names: Vec<(String, Clean, Clean, Clean)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::web) struct Search {
    q: String,
}

/// Searches for jobs whose names contain a text. Redirects to a job with exactly that name if there
/// is only one.
pub(in crate::web) async fn search(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Query(Search { q }): Query<Search>,
) -> Answer<Response> {
    let db = &shared.moment().await?;
    let mut jobs = if q.is_empty() { Vec::new() } else { db.jobs_called(&q).await? };
    if let [only] = jobs.as_slice() {
        return Ok(Redirect::to(&link::job(&only.spec, &only.system, &only.name)).into_response());
    }
    if jobs.is_empty() && !q.is_empty() {
        for name in db.jobs_like(&q, NAMES).await? {
            jobs.extend(db.jobs_called(&name).await?);
        }
    }
    let mut names: Vec<_> = jobs.iter().map(|job| (&job.name, &job.spec, &job.system)).collect();
    names.sort();
    names.dedup();
    let row = |(name, spec, system): (&String, &String, &String)| {
        (link::job(spec, system, name), Clean::line(name), Clean::line(spec), Clean::line(system))
    };
    Ok(html(&SearchPage {
        frame: visit.frame("Jobs", "/queue"),
        query: Clean::line(&q),
        names: names.into_iter().map(row).collect(),
    }))
}
