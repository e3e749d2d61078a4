//! The wanted builds, in the order in which they are submitted.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;

use super::clean::Clean;
use super::figure::{StateCount, Time, count, number, state_counts};
use super::frame::{Frame, Visit};
use super::link;
use super::response::{Answer, html};
use super::shape::Shape;
use crate::clock::Seconds;
use crate::db::BuildState;
use crate::view::build::{Blocker, Build, BuildCount};
use crate::web::Shared;
use crate::web::query_filters::{QueryFilters, of_state};

/// How many builds a page lists.
const ROWS: usize = 100;
/// How many failed builds are listed because others wait for them.
const BLOCKERS: usize = 20;

#[derive(Template)]
#[template(path = "queue.html")]
struct QueuePage {
    frame: Frame,
    lede: String,
    specs: Vec<(Clean, bool)>,
    systems: Vec<(Clean, bool)>,
    states: Vec<(&'static str, bool)>,
    counts: Vec<StateCount>,
    builds: Vec<BuildRow>,
    is_cut: bool,
    blockers: Vec<BlockerRow>,
}

struct BuildRow {
    shape: Shape,
    job: Clean,
    href: String,
    spec: Clean,
    system: Clean,
    priority: i64,
    reason: Clean,
    since: Time,
}

struct BlockerRow {
    shape: Shape,
    job: Clean,
    spec: Clean,
    href: String,
    blocks: String,
}

pub(in crate::web) async fn page(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Query(filters): Query<QueryFilters>,
) -> Answer<Response> {
    let (db, now) = (&shared.moment().await?, shared.web.clock.now());
    let filter = filters.filter(db).await??;
    let mut builds = Vec::new();
    for state in filters.states()? {
        let room = i64::try_from(ROWS + 1 - builds.len().min(ROWS)).unwrap_or(1);
        builds.extend(db.queue(&of_state(&filter, state), room).await?);
    }
    let mut counts = db.build_counts().await?;
    let systems = choices(counts.iter().map(|count| count.system.as_str()), &filters.system);
    let specs = choices(counts.iter().map(|count| count.spec.as_str()), &filters.spec);
    counts.retain(|count| filter.admits(&count.spec, &count.system));
    let mut blockers = db.blockers().await?;
    blockers.retain(|blocker| filter.admits(&blocker.build.spec, blocker.build.system.as_str()));
    let counts: Vec<BuildCount<'_>> = counts.iter().map(BuildCount::new).collect();
    let system_of = |index: usize| blockers[index].build.system.as_str();
    let blocking = blockers.iter().take(BLOCKERS).map(Blocker::new).enumerate();
    Ok(html(&QueuePage {
        frame: visit.frame("Queue", "/queue"),
        lede: lede(&counts),
        specs,
        systems,
        states: BuildState::ALL.map(|state| (state.word(), state.word() == filters.state)).to_vec(),
        counts: state_counts(counts.iter()),
        builds: builds
            .iter()
            .take(ROWS)
            .map(|build| row(&Build::new(build).blocked(&blockers), now))
            .collect(),
        is_cut: builds.len() > ROWS,
        blockers: blocking.map(|(index, one)| blocker_row(&one, system_of(index))).collect(),
    }))
}

fn lede(counts: &[BuildCount<'_>]) -> String {
    let of = |is: fn(BuildState) -> bool| -> i64 {
        counts.iter().filter(|one| is(one.state)).map(|one| one.count).sum()
    };
    let (waiting, building) = (of(BuildState::is_waiting), of(|state| state == BuildState::Building));
    if waiting + building == 0 {
        return "The queue is empty: every wanted build has ended.".to_owned();
    }
    let waits = if waiting == 1 { "waits" } else { "wait" };
    format!("{} {waits}, {} being built.", count(waiting, "build", "builds"), number(building))
}

/// The values that can be selected, without duplicates, and whether each is selected.
pub(super) fn choices<'a>(all: impl Iterator<Item = &'a str>, chosen: &str) -> Vec<(Clean, bool)> {
    let all: std::collections::BTreeSet<&str> = all.collect();
    all.into_iter().map(|one| (Clean::line(one), one == chosen)).collect()
}

/// The row of a build. A build that waits for a failed one is shown as blocked, whatever its state.
fn row(build: &Build<'_>, now: Seconds) -> BuildRow {
    let causes = build.blocked_by.iter().flatten().copied().collect::<Vec<_>>().join(", ");
    let is_blocked = !causes.is_empty();
    let reason =
        if is_blocked { format!("it needs {causes}, which failed") } else { build.reason().to_owned() };
    BuildRow {
        shape: if is_blocked { Shape::BLOCKED } else { Shape::of_build(build.state) },
        job: Clean::line(build.job),
        href: link::job(build.spec, build.system, build.job),
        spec: Clean::line(build.spec),
        system: Clean::line(build.system),
        priority: build.priority,
        reason: Clean::first_line(&reason),
        since: Time::new(build.created_at, now),
    }
}

fn blocker_row(blocker: &Blocker<'_>, system: &str) -> BlockerRow {
    BlockerRow {
        shape: Shape::of_build(blocker.state),
        job: Clean::line(blocker.job),
        spec: Clean::line(blocker.spec),
        href: link::job(blocker.spec, system, blocker.job),
        blocks: number(i64::try_from(blocker.blocks).unwrap_or(0)),
    }
}
