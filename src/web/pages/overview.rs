//! The first page: problems, running work, and the state of the specs.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::clean::Clean;
use super::figure::{Time, count, number};
use super::frame::{Frame, Visit};
use super::link;
use super::response::{Answer, html};
use super::shape::Shape;
use crate::clock::Seconds;
use crate::db::{BuildState, EvaluationState, StoredSpec};
use crate::view::evaluation::Evaluation;
use crate::view::filter::Filter;
use crate::view::status::{Rows, Status};
use crate::view::trouble::{self, Needs, Trouble};
use crate::web::Shared;

/// The groups of states for which builds of a spec are counted, in this order.
const COUNTED: [(&[BuildState], BuildState); 5] = [
    (&[BuildState::Succeeded, BuildState::Substituted], BuildState::Succeeded),
    (&[BuildState::Failed, BuildState::Rejected], BuildState::Failed),
    (&[BuildState::Building], BuildState::Building),
    (&[BuildState::Pending, BuildState::Queued, BuildState::Submitted], BuildState::Queued),
    (&[BuildState::AwaitingApproval], BuildState::AwaitingApproval),
];

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    action: i64,
    waiting: i64,
    under_way: String,
    trouble: Vec<TroubleRow>,
    running: Vec<RunningRow>,
    pending: i64,
    heads: Vec<Shape>,
    specs: Vec<SpecRow>,
}

struct TroubleRow {
    /// The path and the label of the action that the reader can take.
    action: Option<(String, &'static str)>,
    shape: Shape,
    subject: Clean,
    href: Option<String>,
    text: Clean,
    affected: Option<String>,
    since: Option<Time>,
}

struct RunningRow {
    href: String,
    what: Clean,
    done: i64,
    total: i64,
    progress: String,
    host: Clean,
}

struct SpecRow {
    href: String,
    name: Clean,
    is_active: bool,
    revision: Option<Clean>,
    systems: Vec<(Shape, Clean, String)>,
    jobs: Option<String>,
    errors: i64,
    counts: Vec<(i64, String)>,
}

pub(in crate::web) async fn page(State(shared): State<Arc<Shared>>, visit: Visit) -> Answer<Response> {
    let (db, now) = (&shared.moment().await?, shared.web.clock.now());
    let rows = Rows::load(db, shared.routes(), &Filter::default(), 0, now).await?;
    let newest = db.newest_evaluations().await?;
    let status = Status::new(&rows, now);
    let trouble = trouble::list(&rows, &status, &newest, now);
    let needing = |needs| i64::try_from(trouble.iter().filter(|one| one.needs == needs).count()).unwrap_or(0);
    let newest: Vec<Evaluation<'_>> = newest.iter().map(Evaluation::new).collect();
    let of_state = |state: EvaluationState| newest.iter().filter(move |one| one.state == state.word());
    let pending = i64::try_from(of_state(EvaluationState::Pending).count()).unwrap_or(0);
    let specs = rows.specs.iter().filter(|stored| stored.present);
    let frame = visit.frame("Overview", "/");
    Ok(html(&Overview {
        action: needing(Needs::Action),
        waiting: needing(Needs::Time),
        under_way: under_way(&status),
        trouble: trouble.iter().map(|one| trouble_row(one, &frame, now)).collect(),
        frame,
        running: of_state(EvaluationState::Running).map(running_row).collect(),
        pending,
        heads: COUNTED.iter().map(|(_, state)| Shape::of_build(*state)).collect(),
        specs: specs.map(|stored| spec_row(stored, &newest, &status)).collect(),
    }))
}

/// A sentence with the numbers of running and waiting builds.
fn under_way(status: &Status<'_>) -> String {
    let of = |is: fn(BuildState) -> bool| -> i64 {
        status.builds.iter().filter(|one| is(one.state)).map(|one| one.count).sum()
    };
    let building = of(|state| state == BuildState::Building);
    let waiting = of(BuildState::is_waiting);
    let verb = if building == 1 { "is" } else { "are" };
    let waits = if waiting == 1 { "waits" } else { "wait" };
    format!("{} {verb} under way, {} {waits}.", count(building, "build", "builds"), number(waiting))
}

fn trouble_row(trouble: &Trouble<'_>, frame: &Frame, now: Seconds) -> TroubleRow {
    let job = trouble.job.zip(trouble.spec).zip(trouble.system);
    let href = match (job, trouble.evaluation, trouble.spec) {
        (Some(((job, spec), system)), ..) => Some(link::job(spec, system, job)),
        (_, Some(evaluation), _) => Some(link::evaluation(evaluation)),
        (_, _, Some(spec)) => Some(link::spec(spec)),
        _ => None,
    };
    let action = trouble.action.as_ref().filter(|action| frame.may(action.role));
    TroubleRow {
        action: action.map(|action| (action.path.clone(), action.word)),
        shape: Shape::of_trouble(trouble.needs),
        subject: Clean::line(&trouble.subject),
        href,
        text: Clean::text(&trouble.text),
        affected: trouble.affected.map(|many| count(many, "build waits", "builds wait")),
        since: trouble.since.map(|at| Time::new(at, now)),
    }
}

fn running_row(evaluation: &Evaluation<'_>) -> RunningRow {
    let preparing = evaluation.is_preparing();
    let (done, total, what) = if preparing {
        (evaluation.modules_done, evaluation.modules_total, "modules compiled")
    } else {
        (evaluation.jobs_done, evaluation.jobs_total.unwrap_or(0), "done")
    };
    let progress = if total > 0 {
        format!("{} of {} {what}", number(done), number(total))
    } else {
        "preparing".to_owned()
    };
    RunningRow {
        href: link::evaluation(evaluation.id),
        what: Clean::line(&format!(
            "{} {} {}",
            evaluation.spec,
            evaluation.revision.short(),
            evaluation.system
        )),
        done,
        total,
        progress,
        host: Clean::line(evaluation.host.unwrap_or_default()),
    }
}

fn spec_row(stored: &StoredSpec, newest: &[Evaluation<'_>], status: &Status<'_>) -> SpecRow {
    let name = &stored.spec.name;
    let own: Vec<&Evaluation<'_>> = newest.iter().filter(|one| one.spec == name).collect();
    let counts = COUNTED.iter().map(|(states, _)| {
        let of_spec = status.builds.iter().filter(|one| one.spec == name && states.contains(&one.state));
        let count = of_spec.map(|one| one.count).sum();
        (count, number(count))
    });
    SpecRow {
        href: link::spec(name),
        name: Clean::line(name),
        is_active: stored.spec.active,
        revision: own.first().map(|one| Clean::line(&one.revision.short())),
        systems: own.iter().map(|one| system(one)).collect(),
        jobs: own.iter().filter_map(|one| one.jobs()).reduce(|sum, jobs| sum + jobs).map(number),
        errors: own.iter().map(|one| one.errors).sum(),
        counts: counts.collect(),
    }
}

/// The state of an evaluation, its system, and the link to it.
fn system(evaluation: &Evaluation<'_>) -> (Shape, Clean, String) {
    let shape = evaluation_shape(evaluation);
    (shape, Clean::line(evaluation.system), link::evaluation(evaluation.id))
}

/// The look of the state of an evaluation.
pub(super) fn evaluation_shape(evaluation: &Evaluation<'_>) -> Shape {
    let named = EvaluationState::ALL.into_iter().find(|state| state.word() == evaluation.state);
    Shape::of_evaluation(named.unwrap_or(EvaluationState::Pending))
}
