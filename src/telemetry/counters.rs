//! What this process counts since its start, for Prometheus. Labels have few values.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Histograms = Family<Labels, Histogram, Buckets>;

/// The upper bounds of a histogram's buckets, in seconds.
#[derive(Debug, Clone, Copy)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// For answers of the server.
const SHORT: Buckets = Buckets(&[0.01, 0.1, 1.0, 10.0, 30.0]);
/// For evaluations and queues: a minute to a week.
const LONG: Buckets = Buckets(&[60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 604_800.0]);

static ALL: LazyLock<All> = LazyLock::new(All::new);

struct All {
    evaluations: Histograms,
    fetches: Counters,
    polls: Counters,
    queue: Histograms,
    requests: Counters,
    request_seconds: Histograms,
    steps: Counters,
    submissions: Counters,
}

impl All {
    fn new() -> Self {
        Self {
            evaluations: Family::new_with_constructor(LONG),
            fetches: Family::default(),
            polls: Family::default(),
            queue: Family::new_with_constructor(LONG),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(SHORT),
            steps: Family::default(),
            submissions: Family::default(),
        }
    }
}

/// Adds the counters to a registry, which adds `_total` to the names of those that are no histograms.
pub fn register(registry: &mut Registry) {
    let All { evaluations, fetches, polls, queue, requests, request_seconds, steps, submissions } = &*ALL;
    let duration = "how long evaluations took, with their preparation";
    registry.register("evaluation_duration_seconds", duration, evaluations.clone());
    registry.register("fetches", "fetches of what a spec wants", fetches.clone());
    registry.register("polls", "polls of repositories", polls.clone());
    let waited = "how long builds waited in the queue until the coordinator took them";
    registry.register("build_queue_seconds", waited, queue.clone());
    registry.register("http_requests", "answered requests", requests.clone());
    registry.register("http_seconds", "how long an answer took, up to its body", request_seconds.clone());
    registry.register("steps", "steps of reconcilers", steps.clone());
    registry.register("submissions", "requests to coordinators to build", submissions.clone());
}

/// An attempt at an evaluation ended: `complete` or `failed`.
pub fn evaluation(system: &str, outcome: &'static str, time: Duration) {
    let labels = vec![("system", system.to_owned()), ("outcome", outcome.to_owned())];
    ALL.evaluations.get_or_create(&labels).observe(time.as_secs_f64());
}

/// A repository was polled.
pub fn poll(succeeded: bool) {
    ALL.polls.get_or_create(&vec![outcome(succeeded)]).inc();
}

/// What a spec wants was fetched, or cannot be: the spec is blocked.
pub fn fetch(succeeded: bool) {
    ALL.fetches.get_or_create(&vec![outcome(succeeded)]).inc();
}

/// A build was submitted: `accepted`, `known` there already, `rejected`, or `unavailable`.
pub fn submission(coordinator: &str, outcome: &'static str) {
    let labels = vec![("coordinator", coordinator.to_owned()), ("outcome", outcome.to_owned())];
    ALL.submissions.get_or_create(&labels).inc();
}

/// A build left the queue after so many seconds.
pub fn queued(system: &str, seconds: i64) {
    let time = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    ALL.queue.get_or_create(&vec![("system", system.to_owned())]).observe(time.as_secs_f64());
}

/// A step of a reconciler ended: `worked`, `idle` or `failed`.
pub fn step(name: &'static str, outcome: &'static str) {
    ALL.steps.get_or_create(&vec![("step", name.to_owned()), ("outcome", outcome.to_owned())]).inc();
}

/// A request was answered.
pub fn request(method: &'static str, route: &str, status: u16, time: Duration) {
    let route = ("route", route.to_owned());
    let class = ("class", format!("{}xx", status / 100));
    ALL.requests.get_or_create(&vec![("method", method.to_owned()), route.clone(), class]).inc();
    ALL.request_seconds.get_or_create(&vec![route]).observe(time.as_secs_f64());
}

fn outcome(succeeded: bool) -> (&'static str, String) {
    ("outcome", if succeeded { "succeeded" } else { "failed" }.to_owned())
}
