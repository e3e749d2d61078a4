//! One build: why it is in its state, its life, and what it has to do with other builds.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::clean::Clean;
use super::figure::{Time, count, number};
use super::frame::{Frame, Visit};
use super::link;
use super::response::{Answer, html};
use super::shape::Shape;
use crate::clock::Seconds;
use crate::view::build_report::{BuildReport, JobRef, OtherBuild};
use crate::view::explanation::Event;
use crate::web::Shared;
use crate::web::builds::rows;

#[derive(Template)]
#[template(path = "build.html")]
struct BuildPage {
    frame: Frame,
    id: String,
    job: Clean,
    job_href: String,
    shape: Shape,
    because: Clean,
    /// The path that retries it, if it failed.
    retry: Option<String>,
    facts: Vec<Fact>,
    blocked_by: Vec<OtherRow>,
    waits_for: Vec<OtherRow>,
    waiting: String,
    waiting_builds: Vec<OtherRow>,
    more_waiting: Option<String>,
    events: Vec<EventRow>,
    failed: Vec<(Time, Clean, String)>,
    jobs: Vec<JobRow>,
}

/// A fact, and where it leads.
struct Fact {
    word: &'static str,
    text: Clean,
    href: Option<String>,
}

/// Another build.
struct OtherRow {
    shape: Shape,
    href: String,
    job: Clean,
    spec: Clean,
    system: Clean,
}

struct EventRow {
    at: Time,
    attempt: &'static str,
    reference: Clean,
    derivation: Option<Clean>,
}

/// A job with a build or a derivation.
pub(super) struct JobRow {
    pub(super) href: String,
    pub(super) job: Clean,
    pub(super) spec: (String, Clean),
    pub(super) system: Clean,
    pub(super) first: (String, String),
    pub(super) last: Option<(String, String)>,
}

pub(in crate::web) async fn page(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Path(id): Path<String>,
) -> Answer<Response> {
    let (rows, now) = (rows(&shared, &id).await?, shared.web.clock.now());
    let report = BuildReport::new(&rows);
    let build = &report.build;
    let is_blocked = !report.blocked_by.is_empty();
    let more = report.waiting.saturating_sub(report.waiting_builds.len());
    // A cause stands in one place.
    let is_cause = |one: &OtherBuild<'_>| report.blocked_by.iter().any(|cause| cause.id == one.id);
    let waits_for = report.waits_for.iter().filter(|one| !is_cause(one));
    let failed = report.failed.iter().map(|one| {
        (Time::new(one.failed_at, now), Clean::line(&one.derivation), link::derivation(&one.derivation))
    });
    Ok(html(&BuildPage {
        frame: visit.frame(build.job, "/builds"),
        id: build.id.to_string(),
        job: Clean::line(build.job),
        job_href: link::job(build.spec, build.system, build.job),
        shape: if is_blocked { Shape::BLOCKED } else { Shape::of_build(build.state) },
        because: Clean::line(&report.because),
        retry: build.state.has_failed().then(|| link::build(build.id) + "/retry"),
        facts: facts(&report, now),
        blocked_by: report.blocked_by.iter().map(other).collect(),
        waits_for: waits_for.map(other).collect(),
        waiting: count(i64::try_from(report.waiting).unwrap_or(i64::MAX), "build", "builds"),
        waiting_builds: report.waiting_builds.iter().map(other).collect(),
        more_waiting: (more > 0).then(|| number(i64::try_from(more).unwrap_or(i64::MAX))),
        events: report.events.iter().map(|one| event(one, build.derivation, now)).collect(),
        failed: failed.collect(),
        jobs: report.jobs.iter().map(job_row).collect(),
    }))
}

fn other(build: &OtherBuild<'_>) -> OtherRow {
    OtherRow {
        shape: Shape::of_build(build.state),
        href: link::build(build.id),
        job: Clean::line(build.job),
        spec: Clean::line(build.spec),
        system: Clean::line(build.system),
    }
}

fn event(event: &Event<'_>, derivation: &str, now: Seconds) -> EventRow {
    EventRow {
        at: Time::new(event.happened_at.unwrap_or(event.received_at), now),
        attempt: event.attempt,
        reference: Clean::line(event.reference),
        derivation: event.derivation.filter(|hash| !derivation.contains(*hash)).map(Clean::line),
    }
}

/// The row of a job.
pub(super) fn job_row(job: &JobRef<'_>) -> JobRow {
    let evaluation = |id| (link::evaluation(id), id.to_string());
    JobRow {
        href: link::job(job.spec, job.system, job.job),
        job: Clean::line(job.job),
        spec: (link::spec(job.spec), Clean::line(job.spec)),
        system: Clean::line(job.system),
        first: evaluation(job.first_evaluation),
        last: job.last_evaluation.map(evaluation),
    }
}

fn facts(report: &BuildReport<'_>, now: Seconds) -> Vec<Fact> {
    let build = &report.build;
    let fact = |word, text: &str, href| Fact { word, text: Clean::line(text), href };
    let plain = |word, text: &str| fact(word, text, None);
    let evaluation = format!("{}, {}", build.evaluation, build.revision.short());
    let created = Time::new(build.created_at, now);
    let mut facts = vec![
        fact("wanted by spec", build.spec, Some(link::spec(build.spec))),
        plain("system", build.system),
        fact("evaluation", &evaluation, Some(link::evaluation(build.evaluation))),
        fact("derivation", build.derivation, Some(link::derivation(build.derivation))),
    ];
    facts.extend(report.outputs.iter().map(|path| plain("output", path)));
    let needed_by = report.needed_by.as_ref();
    facts.extend(needed_by.map(|user| fact("needed by", user.job, Some(link::build(user.id)))));
    facts.push(plain("since", &format!("{}, {} ago", created.exact, created.span)));
    facts.extend(build.coordinator.map(|name| fact("coordinator", name, Some("/farm".to_owned()))));
    facts.extend(build.reference.map(|name| plain("its id there", name)));
    if build.attempts > 0 {
        facts.push(plain("requests to the coordinator", &build.attempts.to_string()));
    }
    facts.extend(Some(build.reason()).filter(|text| !text.is_empty()).map(|text| plain("last answer", text)));
    facts.extend(report.log.map(|log| plain("log on the host", &log.display().to_string())));
    facts
}
