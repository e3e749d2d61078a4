use std::fmt;
use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::clock::Seconds;
use crate::db::{self, Db, EvaluationState};
use crate::view::status::{Rows, Status};

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<i64, AtomicI64>>;

/// Rows of the database that only metrics show.
#[derive(Debug)]
pub struct MetricRows {
    /// The newest evaluations of each spec and system.
    pub newest: Vec<db::Evaluation>,
    /// The systems with queued builds, each with the time when its oldest one was queued.
    pub oldest_queued: Vec<(String, Seconds)>,
}

impl MetricRows {
    /// Reads the rows.
    pub async fn load(db: &Db) -> db::Result<Self> {
        Ok(Self { newest: db.newest_evaluations().await?, oldest_queued: db.oldest_queued().await? })
    }
}

/// A registry for all metrics.
pub fn registry() -> Registry {
    Registry::with_prefix("gorget")
}

/// The state of the farm, and what `registry` has already, in the format of Prometheus.
///
/// # Errors
/// No error is known to occur, because the text is written to memory.
pub fn text(
    mut registry: Registry,
    rows: &Rows,
    metric_rows: &MetricRows,
    now: Seconds,
) -> Result<String, fmt::Error> {
    let mut add = |name: &str, help: &str, samples: Vec<(Labels, i64)>| {
        let gauges = Gauges::default();
        for (labels, value) in samples {
            gauges.get_or_create(&labels).inc_by(value);
        }
        registry.register(name, help, gauges);
    };
    add(
        "build_info",
        "the version of Gorget",
        vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1)],
    );
    building(rows, &mut add);
    let waiting =
        |(system, since): &(String, Seconds)| (vec![("system", system.clone())], now.saturating_sub(*since));
    let oldest = metric_rows.oldest_queued.iter().map(waiting);
    add("queue_oldest_seconds", "how long the oldest queued build has waited", oldest.collect());
    evaluating(&metric_rows.newest, &mut add);
    watching(rows, now, &mut add);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn building(rows: &Rows, add: &mut impl FnMut(&str, &str, Vec<(Labels, i64)>)) {
    let builds = rows
        .builds
        .iter()
        .map(|one| (vec![("state", one.state.word().to_owned()), ("system", one.system.clone())], one.count));
    add("builds", "builds by state", builds.collect());
    let held = rows.awaiting_approval.iter();
    let held = held.map(|one| (of(&one.spec, &one.system), one.count));
    add("builds_awaiting_approval", "builds that await approval", held.collect());
    let unserved = rows.unserved.iter().map(|one| (of(&one.spec, &one.system), one.count));
    add("builds_unserved", "queued builds that no coordinator serves", unserved.collect());
    let blocked = rows.blockers.iter().map(|one| {
        let count = i64::try_from(one.blocked.len()).unwrap_or(i64::MAX);
        (vec![("system", one.build.system.as_str().to_owned())], count)
    });
    add("builds_blocked", "builds that wait for a failed one, once for each", blocked.collect());
    let pauses = rows.pauses.iter().map(|one| (vec![("kind", one.kind.clone())], 1));
    add("pauses", "the pauses", pauses.collect());
}

fn evaluating(newest: &[db::Evaluation], add: &mut impl FnMut(&str, &str, Vec<(Labels, i64)>)) {
    let states = newest
        .iter()
        .map(|one| (vec![("state", one.state.word().to_owned()), ("system", one.system.to_string())], 1));
    add("evaluations", "newest evaluations of each spec and system, by state", states.collect());
    let complete = || newest.iter().filter(|one| one.state == EvaluationState::Complete);
    let errors = complete().map(|one| (of(&one.spec, one.system.as_str()), one.errors));
    add("evaluation_errors", "errors of the newest evaluation, if it is complete", errors.collect());
    let seconds = complete().filter_map(|one| {
        Some((of(&one.spec, one.system.as_str()), one.finished_at?.saturating_sub(one.started_at?)))
    });
    add("evaluation_seconds", "how long the newest evaluation took, if it is complete", seconds.collect());
}

fn watching(rows: &Rows, now: Seconds, add: &mut impl FnMut(&str, &str, Vec<(Labels, i64)>)) {
    let one_of = |kind: &'static str, word: String| (vec![(kind, word)], 1);
    let hosts = rows.hosts.iter().map(|host| {
        let state = match host {
            host if host.stopped_at.is_some() => "stopped",
            host if host.is_silent(now) => "silent",
            host if host.paused_at.is_some() => "paused",
            _ => "running",
        };
        one_of("state", state.to_owned())
    });
    add("hosts", "hosts of the farm, by state", hosts.collect());
    let blocked = rows.blocked_specs.iter().map(|one| one_of("kind", one.kind.word().to_owned()));
    add("blocked_specs", "specs that are not evaluated, by reason", blocked.collect());
    let coordinators = Status::new(rows, now).coordinators;
    let failing = [
        ("branch", rows.branches.iter().filter(|one| one.problem.is_some()).count()),
        ("mirror", rows.mirrors.iter().filter(|one| one.problem.is_some()).count()),
        ("coordinator", coordinators.iter().filter(|one| one.problem.is_some()).count()),
        ("substitute-server", rows.substitute_servers.len()),
    ];
    let failing = failing
        .map(|(kind, count)| (vec![("kind", kind.to_owned())], i64::try_from(count).unwrap_or(i64::MAX)));
    add("failing", "unreachable repositories, servers and coordinators, by kind", failing.into());
    let oldest = rows.branches.iter().filter_map(|branch| branch.polled_at).min();
    let age = oldest.map(|at| (Vec::new(), now.saturating_sub(at)));
    add("oldest_poll_seconds", "time since the least recent poll of a branch", age.into_iter().collect());
}

fn of(spec: &str, system: &str) -> Labels {
    vec![("spec", spec.to_owned()), ("system", system.to_owned())]
}
