use std::cmp::Reverse;

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::{Seconds, readable_span};
use crate::db::{self, BlockKind, EvaluationId, EvaluationState};
use crate::domain::access::Role;
use crate::view::status::{Rows, Status};

/// The most failed builds that are listed because others wait for them.
const MOST_BLOCKERS: usize = 5;

/// A problem, or a decision that a person has to make.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Trouble<'a> {
    /// The request that would help, if there is one.
    pub action: Option<Action>,
    /// How many builds it prevents.
    pub affected: Option<i64>,
    /// The evaluation that it is about.
    pub evaluation: Option<EvaluationId>,
    /// The job that it is about.
    pub job: Option<&'a str>,
    /// The kind of problem.
    pub kind: Kind,
    /// Whether a person has to act.
    pub needs: Needs,
    /// When it started.
    pub since: Option<Seconds>,
    /// The spec that it is about.
    pub spec: Option<&'a str>,
    /// The problem, in a short sentence.
    pub subject: String,
    /// The system that it is about.
    pub system: Option<&'a str>,
    /// The reason, and how to fix it.
    pub text: String,
}

impl Trouble<'_> {
    /// The text for people, of several lines.
    pub fn paragraph(&self, now: Seconds) -> String {
        let affected = self.affected.map(|count| format!(" ({count} {})", builds(count))).unwrap_or_default();
        let since = self.since.map(|at| format!(", for {}", readable_span(now - at))).unwrap_or_default();
        format!("{}{affected}{since}:\n{}", self.subject, self.text)
    }
}

fn builds(count: i64) -> &'static str {
    if count == 1 { "build" } else { "builds" }
}

/// A kind of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Builds await approval.
    AwaitingApproval,
    /// A spec is blocked.
    BlockedSpec,
    /// A branch cannot be polled, or a repository has more branches than are watched.
    Branch,
    /// A coordinator cannot be reached.
    Coordinator,
    /// A failed build that others wait for.
    FailedBuild,
    /// The newest evaluation of a spec and system failed.
    FailedEvaluation,
    /// A mirror cannot be fetched.
    Mirror,
    /// A pause that a person made.
    Paused,
    /// A host paused itself because of a fault.
    PausedHost,
    /// A host sends no heartbeat.
    SilentHost,
    /// A substitute server fails.
    SubstituteServer,
    /// No coordinator serves builds.
    Unserved,
}

/// A request that helps with a problem, in the API and on pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Action {
    /// The path of the request, `POST`, after `/api/v1`.
    pub path: String,
    /// The role that is needed.
    pub role: Role,
    /// Its effect, in a word.
    pub word: &'static str,
}

impl Action {
    fn new(role: Role, word: &'static str, path: String) -> Self {
        Self { path, role, word }
    }
}

/// Whether a problem needs a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Needs {
    /// A person has to act.
    Action,
    /// It probably ends by itself.
    Time,
}

/// All problems: those that need action first, then by number of builds, then by age.
pub fn list<'a>(
    rows: &'a Rows,
    status: &Status<'a>,
    newest: &'a [db::Evaluation],
    now: Seconds,
) -> Vec<Trouble<'a>> {
    let mut all: Vec<Trouble<'a>> = rows.blocked_specs.iter().map(|block| blocked(block, now)).collect();
    all.extend(newest.iter().filter(|one| one.state == EvaluationState::Failed).map(failed));
    all.extend(rows.pauses.iter().map(paused));
    all.extend(rows.unserved.iter().map(unserved));
    all.extend(rows.awaiting_approval.iter().map(awaiting_approval));
    all.extend(rows.blockers.iter().filter(|one| !one.blocked.is_empty()).take(MOST_BLOCKERS).map(blocker));
    all.extend(
        rows.hosts.iter().filter(|host| host.stopped_at.is_none()).filter_map(|host| machine(host, now)),
    );
    all.extend(status.coordinators.iter().filter_map(|one| Some(coordinator(one.name, one.problem?))));
    let watched = rows.branches.iter().filter(|branch| is_watched(branch, &rows.specs));
    all.extend(watched.filter_map(|branch| polling(branch, now)));
    all.extend(
        rows.mirrors.iter().filter(|mirror| mirror.problem.is_some()).map(|mirror| mirrored(mirror, now)),
    );
    all.extend(rows.substitute_servers.iter().map(|server| substitutes(server, now)));
    all.sort_by_key(|one| (one.needs, Reverse(one.affected.unwrap_or(0)), one.since.unwrap_or(Seconds::MAX)));
    all
}

fn new<'a>(kind: Kind, needs: Needs, subject: String, text: String) -> Trouble<'a> {
    let (action, affected, evaluation, job, since, spec, system) = (None, None, None, None, None, None, None);
    Trouble { action, affected, evaluation, job, kind, needs, since, spec, subject, system, text }
}

/// When the next attempt is due, in words.
fn next(at: Seconds, now: Seconds) -> String {
    if at > now {
        format!("next attempt in {}", readable_span(at - now))
    } else {
        "next attempt now".to_owned()
    }
}

fn blocked(row: &db::BlockedSpec, now: Seconds) -> Trouble<'_> {
    let needs = if row.kind == BlockKind::Failed { Needs::Time } else { Needs::Action };
    let command = row.push_id.map(|push| format!("\nhint: `gorget acknowledge {push}` allows it"));
    let (reason, hint) = row.reason.split_once("\nhint:").unwrap_or((&row.reason, ""));
    let hint = if hint.is_empty() { String::new() } else { format!("\nhint:{hint}") };
    let text = format!("{reason} ({}){hint}{}", next(row.next_attempt, now), command.unwrap_or_default());
    let subject = format!("{} is not evaluated: {}", row.spec, row.kind.word());
    let acknowledge = |push| Action::new(Role::Admin, "Acknowledge", format!("/pushes/{push}/acknowledge"));
    Trouble {
        action: row.push_id.map(acknowledge),
        since: Some(row.since),
        spec: Some(&row.spec),
        ..new(Kind::BlockedSpec, needs, subject, text)
    }
}

fn failed(row: &db::Evaluation) -> Trouble<'_> {
    let subject = format!("evaluation {} of {} for {} failed", row.id, row.spec, row.system);
    let text = row.reason.clone().unwrap_or_else(|| "no reason is recorded".to_owned());
    Trouble {
        action: Some(Action::new(Role::Operate, "Retry", format!("/evaluations/{}/retry", row.id))),
        evaluation: Some(row.id),
        since: row.finished_at,
        spec: Some(&row.spec),
        system: Some(row.system.as_str()),
        ..new(Kind::FailedEvaluation, Needs::Action, subject, text)
    }
}

fn unserved(row: &db::Unserved) -> Trouble<'_> {
    let subject = format!("no coordinator serves {} for {}", row.spec, row.system);
    let text =
        "Nothing is lost, and nothing is submitted.\nhint: say in gorget.toml which one does".to_owned();
    Trouble {
        affected: Some(row.count),
        spec: Some(&row.spec),
        system: Some(&row.system),
        ..new(Kind::Unserved, Needs::Action, subject, text)
    }
}

fn awaiting_approval(row: &db::AwaitingApproval) -> Trouble<'_> {
    let subject = format!("builds of {} for {} await approval", row.spec, row.system);
    let text = format!("{}\nhint: `gorget approve {}` has them built", row.reason, row.evaluation);
    Trouble {
        action: Some(Action::new(
            Role::Operate,
            "Approve",
            format!("/evaluations/{}/approve", row.evaluation),
        )),
        affected: Some(row.count),
        evaluation: Some(row.evaluation),
        spec: Some(&row.spec),
        system: Some(&row.system),
        ..new(Kind::AwaitingApproval, Needs::Action, subject, text)
    }
}

fn blocker(row: &db::Blocker) -> Trouble<'_> {
    let build = &row.build;
    let subject = format!("{} of {} {}", build.job, build.spec, build.state.word());
    let text = build.answer.clone().unwrap_or_else(|| "Other builds need it.".to_owned());
    Trouble {
        action: Some(Action::new(Role::Operate, "Retry", format!("/builds/{}/retry", build.id))),
        affected: i64::try_from(row.blocked.len()).ok(),
        evaluation: Some(build.evaluation),
        job: Some(&build.job),
        spec: Some(&build.spec),
        system: Some(build.system.as_str()),
        ..new(Kind::FailedBuild, Needs::Action, subject, text)
    }
}

fn paused(row: &db::Pause) -> Trouble<'_> {
    let db::Pause { kind, name, since, author, reason } = row;
    let subject = format!("{kind} {name} is paused").replace("  ", " ");
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let words = if name.is_empty() { format!("--{kind}") } else { format!("--{kind} {name}") };
    let text = format!("{author} paused it{why}\nhint: `gorget resume {words}` resumes it");
    let name = if name.is_empty() { "all" } else { name };
    Trouble {
        action: Some(Action::new(
            Role::Operate,
            "Resume",
            format!("/pauses/{kind}/{}/resume", segment(name)),
        )),
        since: Some(*since),
        spec: Some(name).filter(|_| kind == "spec"),
        ..new(Kind::Paused, Needs::Action, subject, text)
    }
}

/// Encodes a name as a segment of a path.
fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn machine(row: &db::Host, now: Seconds) -> Option<Trouble<'_>> {
    if row.is_silent(now) {
        let subject = format!("host {} sends no heartbeat", row.name);
        let text = "Others take over what it evaluated.\nhint: look at that machine".to_owned();
        let silent = new(Kind::SilentHost, Needs::Action, subject, text);
        return Some(Trouble { since: Some(row.heartbeat_at), ..silent });
    }
    let (since, reason) = row.paused_at.zip(row.paused_reason.clone())?;
    let subject = format!("host {} is paused", row.name);
    Some(Trouble { since: Some(since), ..new(Kind::PausedHost, Needs::Action, subject, reason) })
}

fn coordinator<'a>(name: &str, problem: &str) -> Trouble<'a> {
    new(Kind::Coordinator, Needs::Time, format!("coordinator {name} cannot be asked"), problem.to_owned())
}

/// Whether an active spec names the branch. Other branches were watched before, or belong to a
/// channel that a spec needs; a problem of such a channel blocks the spec.
fn is_watched(branch: &db::Branch, specs: &[db::StoredSpec]) -> bool {
    let names = |stored: &db::StoredSpec| {
        let channels = &stored.spec.channels;
        channels.iter().any(|channel| (&channel.url, &channel.branch) == (&branch.url, &branch.name))
    };
    specs.iter().any(|stored| stored.present && stored.spec.active && names(stored))
}

fn polling<'a>(row: &db::Branch, now: Seconds) -> Option<Trouble<'a>> {
    let reason = row.reason.as_deref()?;
    if row.problem.is_none() {
        let subject = format!("not all branches {} of {} are watched", row.name, row.url);
        return Some(new(Kind::Branch, Needs::Action, subject, reason.to_owned()));
    }
    let subject = format!("branch {} of {} cannot be polled", row.name, row.url);
    let text = format!("{reason} ({} in a row, {})", row.failures, next(row.next_poll, now));
    Some(new(Kind::Branch, Needs::Time, subject, text))
}

fn mirrored<'a>(row: &db::Mirror, now: Seconds) -> Trouble<'a> {
    let subject = format!("{} cannot be fetched", row.url);
    let reason = row.reason.as_deref().unwrap_or_default();
    let text = format!("{reason} ({} in a row, {})", row.failures, next(row.next_fetch, now));
    new(Kind::Mirror, Needs::Time, subject, text)
}

fn substitutes<'a>(row: &db::SubstituteServer, now: Seconds) -> Trouble<'a> {
    let subject = format!("substitute server {} fails", row.url);
    let text = format!("{} ({} in a row, {})", row.reason, row.failures, next(row.next_attempt, now));
    new(Kind::SubstituteServer, Needs::Time, subject, text)
}
