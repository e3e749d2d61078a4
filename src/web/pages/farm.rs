//! The hosts, coordinators, substitute servers and repositories of the farm.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::clean::Clean;
use super::figure::{Time, number};
use super::frame::{Frame, Visit};
use super::link;
use super::response::{Answer, html};
use crate::clock::Seconds;
use crate::db::BuildState;
use crate::view::coordinator::{Coordinator, STATES};
use crate::view::filter::Filter;
use crate::view::host::Host;
use crate::view::status::{Branch, Mirror, Rows, Status};
use crate::web::Shared;

#[derive(Template)]
#[template(path = "farm.html")]
struct FarmPage {
    frame: Frame,
    /// The actions of the reader: paths and labels.
    acts: Vec<(String, &'static str)>,
    lede: String,
    hosts: Vec<HostRow>,
    states: [&'static str; 4],
    coordinators: Vec<CoordinatorRow>,
    servers: Vec<(Clean, Clean, Time)>,
    branches: Vec<BranchRow>,
    mirrors: Vec<BranchRow>,
}

struct HostRow {
    pause: (String, &'static str),
    name: Clean,
    roles: Clean,
    systems: Clean,
    workers: i64,
    memory: String,
    heartbeat: Time,
    state: &'static str,
    evaluates: Vec<String>,
    reason: Option<Clean>,
}

struct CoordinatorRow {
    name: Clean,
    serves: Clean,
    counts: Vec<String>,
    problem: Clean,
}

struct BranchRow {
    url: Clean,
    branch: Clean,
    commit: Option<Clean>,
    seen: Option<Time>,
    problem: Clean,
}

pub(in crate::web) async fn page(State(shared): State<Arc<Shared>>, visit: Visit) -> Answer<Response> {
    let now = shared.web.clock.now();
    let rows = Rows::load(&shared.moment().await?, shared.routes(), &Filter::default(), 0, now).await?;
    let status = Status::new(&rows, now);
    let servers = status.substitute_servers.iter().map(|server| {
        (Clean::line(server.url), Clean::line(server.reason), Time::new(server.next_attempt, now))
    });
    let frame = visit.frame("Farm", "/farm");
    Ok(html(&FarmPage {
        acts: acts(&frame, &status),
        frame,
        lede: lede(&status),
        hosts: status.hosts.iter().map(|host| host_row(host, &status, now)).collect(),
        states: STATES.map(BuildState::word),
        coordinators: status.coordinators.iter().map(coordinator_row).collect(),
        servers: servers.collect(),
        branches: status.branches.iter().map(|branch| branch_row(branch, now)).collect(),
        mirrors: status.mirrors.iter().map(|mirror| mirror_row(mirror, now)).collect(),
    }))
}

fn lede(status: &Status<'_>) -> String {
    let alive: Vec<&Host<'_>> =
        status.hosts.iter().filter(|host| host.stopped_at.is_none() && !host.is_silent).collect();
    if alive.is_empty() {
        return "No host is running: nothing is evaluated, and nothing is submitted.".to_owned();
    }
    let verb = if alive.len() == 1 { "host is" } else { "hosts are" };
    let scheduler = alive.iter().find(|host| host.schedules).map_or("none", |host| host.host);
    let paused = alive.iter().filter(|host| host.paused_at.is_some()).count();
    let paused = if paused > 0 { format!(", {paused} of them paused") } else { String::new() };
    format!("{} {verb} running{paused}; {} schedules.", alive.len(), Clean::line(scheduler))
}

fn is_paused(status: &Status<'_>, kind: &str, name: &str) -> bool {
    status.pauses.iter().any(|pause| pause.kind == kind && pause.name == name)
}

/// The path that pauses or resumes, and its label.
fn toggle(kind: &str, name: &str, paused: bool, words: [&'static str; 2]) -> (String, &'static str) {
    let path = link::pause(kind, name);
    if paused { (path + "/resume", words[1]) } else { (path, words[0]) }
}

fn acts(frame: &Frame, status: &Status<'_>) -> Vec<(String, &'static str)> {
    let mut acts = Vec::new();
    if frame.may_trigger() {
        acts.push(("/poll".to_owned(), "Poll all branches now"));
    }
    if frame.may_operate() {
        let paused = is_paused(status, "submission", "");
        acts.push(toggle("submission", "all", paused, ["Pause submission", "Resume submission"]));
    }
    acts
}

fn host_row(host: &Host<'_>, status: &Status<'_>, now: Seconds) -> HostRow {
    let paused = is_paused(status, "host", host.host);
    let all = |list: &[&str]| if list.is_empty() { "all".to_owned() } else { list.join(" ") };
    HostRow {
        pause: toggle("host", host.host, paused, ["Pause", "Resume"]),
        name: Clean::line(host.host),
        roles: Clean::line(&host.roles.join(", ")),
        systems: Clean::line(&all(&host.systems)),
        workers: host.workers,
        memory: format!("{} MiB", number(host.memory >> 20)),
        heartbeat: Time::new(host.heartbeat_at, now),
        state: match host {
            host if host.stopped_at.is_some() => "stopped",
            host if host.is_silent => "silent",
            host if paused || host.paused_at.is_some() => "paused",
            host if host.schedules => "schedules",
            _ => "running",
        },
        evaluates: host.evaluates.iter().map(ToString::to_string).collect(),
        reason: host.paused_reason.map(Clean::text),
    }
}

fn coordinator_row(coordinator: &Coordinator<'_>) -> CoordinatorRow {
    let serves = match &coordinator.serves {
        None => "not in gorget.toml".to_owned(),
        Some(service) if service.specs.is_empty() && service.systems.is_empty() => "all others".to_owned(),
        Some(service) => [service.specs.join(" "), service.systems.join(" ")].join(" ").trim().to_owned(),
    };
    CoordinatorRow {
        name: Clean::line(coordinator.name),
        serves: Clean::line(&serves),
        counts: STATES.map(|state| number(coordinator.count(state))).to_vec(),
        problem: Clean::line(coordinator.problem.unwrap_or_default()),
    }
}

fn branch_row(branch: &Branch<'_>, now: Seconds) -> BranchRow {
    BranchRow {
        url: Clean::line(branch.url),
        branch: Clean::line(branch.branch),
        commit: branch.commit.map(Clean::commit),
        seen: branch.polled_at.map(|at| Time::new(at, now)),
        problem: Clean::line(branch.reason.unwrap_or_default()),
    }
}

fn mirror_row(mirror: &Mirror<'_>, now: Seconds) -> BranchRow {
    BranchRow {
        url: Clean::line(mirror.url),
        branch: Clean::line(""),
        commit: None,
        seen: mirror.fetched_at.map(|at| Time::new(at, now)),
        problem: Clean::line(mirror.reason.unwrap_or_default()),
    }
}
