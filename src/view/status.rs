use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Seconds;
use crate::db::{self, Db, PushId};
use crate::domain::plan::route::Routes;
use crate::domain::spec::Spec;
use crate::view::access::Pause;
use crate::view::approval::AwaitingApproval;
use crate::view::build::{Blocker, BuildCount};
use crate::view::coordinator::{Coordinator, Unserved};
use crate::view::evaluation::Evaluation;
use crate::view::filter::Filter;
use crate::view::host::Host;
use crate::view::sorted;

/// The state and the problems of the farm.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Status<'a> {
    /// Builds that await approval.
    pub awaiting_approval: Vec<AwaitingApproval<'a>>,
    /// Blocked specs.
    pub blocked_specs: Vec<BlockedSpec<'a>>,
    /// Failed builds that other builds wait for, those that block most first.
    pub blockers: Vec<Blocker<'a>>,
    /// Branches that are or were polled.
    pub branches: Vec<Branch<'a>>,
    /// The number of builds in each state.
    pub builds: Vec<BuildCount<'a>>,
    /// Coordinators and their builds.
    pub coordinators: Vec<Coordinator<'a>>,
    /// The newest evaluations.
    pub evaluations: Vec<Evaluation<'a>>,
    /// The machines of the farm.
    pub hosts: Vec<Host<'a>>,
    /// Mirrors of repositories.
    pub mirrors: Vec<Mirror<'a>>,
    /// Pauses.
    pub pauses: Vec<Pause<'a>>,
    /// The specs that have a file.
    #[serde(serialize_with = "sorted")]
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    pub specs: Vec<&'a Spec>,
    /// Substitute servers that fail.
    pub substitute_servers: Vec<SubstituteServer<'a>>,
    /// Queued builds that no coordinator serves.
    pub unserved: Vec<Unserved<'a>>,
}

/// The rows and settings that the status is computed from.
#[derive(Debug)]
#[expect(missing_docs, reason = "`Status` says what the fields become")]
pub struct Rows {
    pub awaiting_approval: Vec<db::AwaitingApproval>,
    pub blocked_specs: Vec<db::BlockedSpec>,
    pub blockers: Vec<db::Blocker>,
    pub branches: Vec<db::Branch>,
    pub builds: Vec<db::BuildCount>,
    pub coordinators: Vec<db::CoordinatorCount>,
    pub evaluations: Vec<db::Evaluation>,
    pub hosts: Vec<db::Host>,
    pub mirrors: Vec<db::Mirror>,
    pub pauses: Vec<db::Pause>,
    pub routes: Routes,
    pub specs: Vec<db::StoredSpec>,
    pub substitute_servers: Vec<db::SubstituteServer>,
    pub unserved: Vec<db::Unserved>,
}

impl Rows {
    /// Reads the rows that `filter` selects, with this number of evaluations.
    pub async fn load(
        db: &Db,
        routes: Routes,
        filter: &Filter,
        evaluations: i64,
        now: Seconds,
    ) -> db::Result<Self> {
        let mut rows = Self {
            awaiting_approval: db.awaiting_approval().await?,
            blocked_specs: db.blocked_specs().await?,
            blockers: db.blockers().await?,
            branches: db.branches().await?,
            builds: db.build_counts().await?,
            coordinators: db.coordinator_counts(now).await?,
            evaluations: db.evaluations(filter.spec.as_deref(), filter.system.as_ref(), evaluations).await?,
            hosts: db.hosts().await?,
            mirrors: db.mirrors().await?,
            pauses: db.pauses().await?,
            routes,
            specs: db.specs().await?,
            substitute_servers: db.failing_servers().await?,
            unserved: db.unserved().await?,
        };
        rows.awaiting_approval.retain(|held| filter.admits(&held.spec, &held.system));
        rows.blocked_specs.retain(|block| filter.admits_spec(&block.spec));
        rows.blockers.retain(|blocker| filter.admits(&blocker.build.spec, blocker.build.system.as_str()));
        rows.builds.retain(|count| filter.admits(&count.spec, &count.system));
        rows.specs.retain(|stored| filter.admits_spec(&stored.spec.name));
        let specs = &rows.specs;
        rows.pauses.retain(|pause| {
            let is_shown = || specs.iter().any(|stored| pause.stops_spec(&stored.spec));
            pause.kind != "spec" || filter.admits_spec(&pause.name) || is_shown()
        });
        rows.unserved.retain(|unserved| filter.admits(&unserved.spec, &unserved.system));
        Ok(rows)
    }
}

impl<'a> Status<'a> {
    /// The view of these rows.
    pub fn new(rows: &'a Rows, now: Seconds) -> Self {
        let present = rows.specs.iter().filter(|spec| spec.present);
        Self {
            awaiting_approval: rows.awaiting_approval.iter().map(AwaitingApproval::new).collect(),
            blocked_specs: rows.blocked_specs.iter().map(BlockedSpec::new).collect(),
            blockers: rows.blockers.iter().map(Blocker::new).collect(),
            branches: rows.branches.iter().map(Branch::new).collect(),
            builds: rows.builds.iter().map(BuildCount::new).collect(),
            coordinators: Coordinator::all(&rows.routes, &rows.coordinators),
            evaluations: rows.evaluations.iter().map(Evaluation::new).collect(),
            hosts: rows.hosts.iter().map(|row| Host::new(row, now)).collect(),
            mirrors: rows.mirrors.iter().map(Mirror::new).collect(),
            pauses: rows.pauses.iter().map(Pause::new).collect(),
            specs: present.map(|stored| &stored.spec).collect(),
            substitute_servers: rows.substitute_servers.iter().map(SubstituteServer::new).collect(),
            unserved: rows.unserved.iter().map(Unserved::new).collect(),
        }
    }
}

/// A blocked spec.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BlockedSpec<'a> {
    /// How many attempts failed.
    pub failures: i64,
    /// The kind of problem.
    pub kind: &'static str,
    /// When it is tried again.
    pub next_attempt: Seconds,
    /// The push that has to be acknowledged.
    pub push: Option<PushId>,
    /// The problem, in words.
    pub reason: &'a str,
    /// When it was blocked.
    pub since: Seconds,
    /// The name of the spec.
    pub spec: &'a str,
}

impl<'a> BlockedSpec<'a> {
    fn new(row: &'a db::BlockedSpec) -> Self {
        Self {
            failures: row.failures,
            kind: row.kind.word(),
            next_attempt: row.next_attempt,
            push: row.push_id,
            reason: &row.reason,
            since: row.since,
            spec: &row.spec,
        }
    }
}

/// A branch of a repository.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Branch<'a> {
    /// Its name.
    pub branch: &'a str,
    /// The last known commit.
    pub commit: Option<&'a str>,
    /// How many polls in a row failed.
    pub failures: i64,
    /// When it is polled next.
    pub next_poll: Seconds,
    /// When it was polled last.
    pub polled_at: Option<Seconds>,
    /// Why the last poll failed, or another remark on the branch.
    pub reason: Option<&'a str>,
    /// The repository.
    pub url: &'a str,
}

impl<'a> Branch<'a> {
    fn new(row: &'a db::Branch) -> Self {
        Self {
            branch: &row.name,
            commit: row.tip.as_deref(),
            failures: row.failures,
            next_poll: row.next_poll,
            polled_at: row.polled_at,
            reason: row.reason.as_deref(),
            url: &row.url,
        }
    }
}

/// A mirror of a repository.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Mirror<'a> {
    /// How many fetches in a row failed.
    pub failures: i64,
    /// When it was fetched last.
    pub fetched_at: Option<Seconds>,
    /// Whether the last fetch failed.
    #[serde(skip)]
    pub is_failing: bool,
    /// When it may be fetched next, at the earliest.
    pub next_fetch: Seconds,
    /// Why the last fetch failed.
    pub reason: Option<&'a str>,
    /// The repository.
    pub url: &'a str,
}

impl<'a> Mirror<'a> {
    fn new(row: &'a db::Mirror) -> Self {
        Self {
            failures: row.failures,
            fetched_at: row.fetched_at,
            is_failing: row.problem.is_some(),
            next_fetch: row.next_fetch,
            reason: row.reason.as_deref(),
            url: &row.url,
        }
    }
}

/// A substitute server that fails.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SubstituteServer<'a> {
    /// How many requests in a row failed.
    pub failures: i64,
    /// When it may be asked next, at the earliest.
    pub next_attempt: Seconds,
    /// Why the last request failed.
    pub reason: &'a str,
    /// Its URL.
    pub url: &'a str,
}

impl<'a> SubstituteServer<'a> {
    fn new(row: &'a db::SubstituteServer) -> Self {
        let db::SubstituteServer { url, failures, next_attempt, reason } = row;
        Self { failures: *failures, next_attempt: *next_attempt, reason, url }
    }
}
