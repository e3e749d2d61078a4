//! Branches: which of them may be merged, and what keeps each of the others from that.

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
use crate::db::EvaluationId;
use crate::domain::verdict::{Cause, Class, Reason, SystemReport, WAIVABLE, Word};
use crate::view::verdict::{Verdict, Waiver};
use crate::web::Shared;
use crate::web::api::spec_named;
use crate::web::problem::Problem;

/// How many verdicts on a branch its page lists.
const HISTORY: i64 = 30;

#[derive(Template)]
#[template(path = "branches.html")]
struct ListPage {
    frame: Frame,
    lede: String,
    branches: Vec<BranchRow>,
}

struct BranchRow {
    shape: Shape,
    name: Clean,
    href: String,
    base: Clean,
    sentence: Clean,
    since: Time,
}

#[derive(Template)]
#[template(path = "branch.html")]
struct BranchPage {
    frame: Frame,
    name: Clean,
    base: Clean,
    compare: String,
    spec: String,
    feed: String,
    shape: Shape,
    lede: Clean,
    judged: Time,
    reasons: Vec<ReasonRow>,
    heads: Vec<&'static str>,
    systems: Vec<SystemRow>,
    causes: Vec<CauseRow>,
    lists: Vec<JobList>,
    waivers: Vec<WaiverRow>,
    /// Where a new waiver is posted, and for which reasons there can be one.
    waive: Option<String>,
    waivable: [&'static str; 4],
    history: Vec<PastRow>,
}

struct ReasonRow {
    shape: Shape,
    code: Clean,
    system: Clean,
    text: Clean,
}

struct SystemRow {
    name: Clean,
    required: bool,
    branch: Option<(String, Clean)>,
    base: Option<(String, Clean)>,
    counts: Vec<(usize, String)>,
}

struct CauseRow {
    job: Clean,
    href: String,
    system: Clean,
    classes: String,
    answer: Clean,
}

struct JobList {
    title: Clean,
    count: String,
    jobs: Vec<(Clean, String)>,
    more: Option<String>,
}

struct WaiverRow {
    job: Clean,
    reason: Clean,
    system: Clean,
    why: Clean,
    author: Clean,
    until: Time,
    end: String,
}

struct PastRow {
    shape: Shape,
    reasons: Clean,
    since: Time,
}

/// Says which branches may be merged.
pub(in crate::web) async fn list(State(shared): State<Arc<Shared>>, visit: Visit) -> Answer<Response> {
    let (mut rows, now) = (shared.web.db.current_verdicts().await?, shared.web.clock.now());
    // Those first that can go, then those that somebody has to look at.
    rows.sort_by_key(|row| (row.word != Word::Ready, row.word, row.at));
    let branch = |row| {
        let verdict = Verdict::new(row);
        BranchRow {
            shape: Shape::of_verdict(verdict.word),
            name: Clean::line(verdict.spec),
            href: link::branch(verdict.spec),
            base: Clean::line(verdict.base),
            sentence: Clean::line(&verdict.sentence()),
            since: Time::new(verdict.since, now),
        }
    };
    let branches: Vec<BranchRow> = rows.iter().map(branch).collect();
    Ok(html(&ListPage { frame: visit.frame("Branches", "/branches"), lede: lede(&rows), branches }))
}

/// What is to be said first of all branches.
fn lede(rows: &[crate::db::Verdict]) -> String {
    let words = [
        (Word::Ready, "can be merged", "can be merged"),
        (Word::Waiting, "is waiting", "are waiting"),
        (Word::NeedsAction, "needs action", "need action"),
        (Word::MustChange, "must change", "must change"),
        (Word::Unknown, "cannot be judged", "cannot be judged"),
    ];
    let part = |(word, one, several)| {
        let found = rows.iter().filter(|row| row.word == word).count();
        // Whether any can be merged is what is asked for.
        (found > 0 || word == Word::Ready).then(|| count(many(found), one, several))
    };
    let parts: Vec<String> = words.into_iter().filter_map(part).collect();
    format!("{}: {}.", count(many(rows.len()), "branch", "branches"), parts.join(", "))
}

fn many(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Says whether a branch may be merged.
pub(in crate::web) async fn page(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Path(name): Path<String>,
) -> Answer<Response> {
    let (db, now) = (&shared.moment().await?, shared.web.clock.now());
    let stored = spec_named(db, &name).await?;
    let rows = db.verdicts_of(stored.id, HISTORY).await?;
    let Some(newest) = rows.first() else {
        return Err(Problem::missing(format!("there is no verdict on {name}")));
    };
    let verdict = Verdict::new(newest);
    let shown = |class: &Class| verdict.systems.iter().any(|system| system.classes.contains_key(class));
    let classes: Vec<Class> = Class::ALL.into_iter().filter(shown).collect();
    let waivers = db.waivers(now).await?;
    let waivers = waivers.iter().map(Waiver::new).filter(|waiver| waiver.spec == name);
    let frame = visit.frame(&name, "/branches");
    Ok(html(&BranchPage {
        waivers: waivers.map(|waiver| waiver_row(&waiver, now)).collect(),
        waive: frame.may_operate().then(|| link::spec(&name) + "/waivers"),
        waivable: WAIVABLE,
        frame,
        name: Clean::line(&name),
        base: Clean::line(verdict.base),
        compare: link::compare(verdict.base, &name),
        spec: link::spec(&name),
        feed: link::branch(&name) + "/verdicts.atom",
        shape: Shape::of_verdict(verdict.word),
        lede: Clean::line(&verdict.sentence()),
        judged: Time::new(verdict.judged_at, now),
        reasons: verdict.reasons.iter().map(reason).collect(),
        heads: classes.iter().map(|class| class.word()).collect(),
        systems: verdict.systems.iter().map(|system| system_row(system, &classes)).collect(),
        causes: verdict.systems.iter().flat_map(causes).collect(),
        lists: verdict.systems.iter().flat_map(|system| lists(&name, system)).collect(),
        history: rows.iter().map(|row| past(&Verdict::new(row), now)).collect(),
    }))
}

fn reason(reason: &Reason) -> ReasonRow {
    ReasonRow {
        shape: if reason.word == Word::Ready { Shape::SAID } else { Shape::of_verdict(reason.word) },
        code: Clean::line(&reason.code),
        system: Clean::line(reason.system.as_deref().unwrap_or_default()),
        text: Clean::text(&reason.text),
    }
}

fn system_row(report: &SystemReport, classes: &[Class]) -> SystemRow {
    let side = |id: Option<i64>, revision: &Option<String>| {
        Some((link::evaluation(EvaluationId(id?)), Clean::line(revision.as_deref()?)))
    };
    let of = |class: &Class| report.classes.get(class).copied().unwrap_or(0);
    SystemRow {
        name: Clean::line(&report.system),
        required: report.required,
        branch: side(report.evaluation, &report.revision),
        base: side(report.base, &report.base_revision),
        counts: classes.iter().map(|class| (of(class), number(many(of(class))))).collect(),
    }
}

fn causes(report: &SystemReport) -> impl Iterator<Item = CauseRow> {
    report.causes.iter().map(|cause| {
        let Cause { classes, job, spec, answer, .. } = cause;
        let classes: Vec<String> = classes
            .iter()
            .map(|(class, count)| format!("{} {}", class.word(), number(many(*count))))
            .collect();
        CauseRow {
            job: Clean::line(job),
            href: link::job(spec, &report.system, job),
            system: Clean::line(&report.system),
            classes: classes.join(", "),
            answer: Clean::text(answer.as_deref().unwrap_or_default()),
        }
    })
}

fn lists(spec: &str, report: &SystemReport) -> impl Iterator<Item = JobList> {
    report.jobs.iter().map(move |(class, jobs)| {
        let all = report.classes.get(class).copied().unwrap_or(0);
        let more = all.saturating_sub(jobs.len());
        let row = |job: &String| (Clean::line(job), link::job(spec, &report.system, job));
        JobList {
            title: Clean::line(&format!("{} on {}", class.word(), report.system)),
            count: count(many(all), "job", "jobs"),
            jobs: jobs.iter().map(row).collect(),
            more: (more > 0).then(|| number(many(more))),
        }
    })
}

fn waiver_row(waiver: &Waiver<'_>, now: Seconds) -> WaiverRow {
    WaiverRow {
        job: Clean::line(waiver.job),
        reason: Clean::line(waiver.reason),
        system: Clean::line(waiver.system.unwrap_or("any")),
        why: Clean::line(waiver.why),
        author: Clean::line(waiver.author),
        until: Time::new(waiver.until, now),
        end: format!("/waivers/{}/end", waiver.id),
    }
}

fn past(verdict: &Verdict<'_>, now: Seconds) -> PastRow {
    let reasons = verdict.reasons.iter().map(|reason| {
        let system = reason.system.as_ref().map_or(String::new(), |system| format!(" on {system}"));
        let number =
            if reason.count > 0 { format!("{} ", number(many(reason.count))) } else { String::new() };
        format!("{number}{}{system}", reason.code)
    });
    PastRow {
        shape: Shape::of_verdict(verdict.word),
        reasons: Clean::line(&reasons.collect::<Vec<_>>().join(", ")),
        since: Time::new(verdict.since, now),
    }
}
