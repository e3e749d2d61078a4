//! The coordinator of each build, and whether it may have heard of the build.
//!
//! # Guarantees
//!
//! * Before a coordinator can hear of a build, that is recorded (`sent`). From then on no other
//!   coordinator gets the build until it ends, is canceled there, or is lost. A request without an
//!   answer may always have arrived.
//! * What a coordinator reports counts for its own builds only.
//!
//! # Design
//!
//! When `gorget run` starts, it decides again which coordinator gets each build that was not sent,
//! because the configuration may have changed. Each coordinator has its own steps, which see only
//! its builds.
//!
//! # Races
//!
//! While an answer is outstanding or lost (`in_doubt`), the coordinator may have one attempt that
//! Gorget does not know. Gorget looks that attempt up before the build is submitted again,
//! canceled, or counted as failed because of an older attempt. It also looks up an attempt that was
//! to be canceled and is not known to have ended. An event about an unknown attempt is taken to be
//! about that one.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::clock::Seconds;
use crate::db::{BuildId, BuildState, Db, Result, rows};
use crate::domain::plan::route::Routes;

/// Stored instead of a coordinator's name when none serves a build.
const UNSERVED: &str = "";

/// The number of builds in one state that a coordinator has, or is to get.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct CoordinatorCount {
    /// The name of the coordinator.
    pub coordinator: String,
    /// The state of the builds.
    pub state: BuildState,
    /// The number of builds.
    pub count: i64,
    /// Why they could not be handed over at the last attempt.
    pub problem: Option<String>,
}

/// Queued builds that no coordinator serves.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Unserved {
    /// Name of the spec that wanted them first.
    pub spec: String,
    /// The system of their derivations.
    pub system: String,
    /// The number of builds.
    pub count: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: BuildId,
    spec: String,
    system: String,
    coordinator: Option<String>,
}

/// Selects a [`Row`] for each queued build; a condition follows.
macro_rules! routed {
    ($condition:literal) => {
        concat!(
            "select b.id, s.name as spec, y.name as system, b.coordinator
             from build b join evaluation e on e.id = b.evaluation_id join spec s on s.id = e.spec_id
               join derivation d on d.id = b.derivation_id join system y on y.id = d.system_id
             where b.state = 'queued' and ",
            $condition
        )
    };
}

impl Db {
    /// Decides for each queued build without a coordinator which one is to make it. Returns the
    /// number of builds that changed.
    pub async fn route(&self, routes: &Routes) -> Result<u64> {
        const NEW: &str = routed!("b.coordinator is null");
        let found: Vec<Row> = each!(&self.readers, pool => sqlx::query_as(NEW).fetch_all(pool).await?);
        self.assign_routes(&found, routes).await
    }

    /// Decides again for all builds that no coordinator can have heard of, because the routes may
    /// have changed.
    pub async fn route_anew(&self, routes: &Routes) -> Result<u64> {
        const ALL: &str = routed!("not b.sent");
        // These get a coordinator when they are queued.
        let later = sql!(
            "update build set coordinator = null where coordinator is not null and not sent
               and state in {wanted} and state not in {in_queue}"
        );
        let mut tx = self.begin().await?;
        execute!(&mut tx, later);
        tx.commit().await?;
        let found: Vec<Row> = each!(&self.readers, pool => sqlx::query_as(ALL).fetch_all(pool).await?);
        self.assign_routes(&found, routes).await
    }

    async fn assign_routes(&self, found: &[Row], routes: &Routes) -> Result<u64> {
        let mut serving: HashMap<BuildId, String> = HashMap::new();
        let mut unserved = Vec::new();
        for row in found {
            match routes.serving(&row.spec, &row.system) {
                Some(name) => drop(serving.insert(row.id, name.to_owned())),
                None => unserved.push(row),
            }
        }
        if routes.0.iter().any(|route| !route.specs.is_empty()) {
            for (id, spec, system) in self.other_wanting_specs(&unserved).await? {
                if let Some(name) = routes.serving(&spec, &system) {
                    serving.entry(id).or_insert_with(|| name.to_owned());
                }
            }
        }
        let changed = found.iter().filter_map(|row| {
            let name = serving.get(&row.id).map_or(UNSERVED, String::as_str);
            (row.coordinator.as_deref() != Some(name)).then(|| json!({ "id": row.id, "name": name }))
        });
        let lines: Vec<Value> = changed.collect();
        if lines.is_empty() {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        let sql = sql!(
            "update build set coordinator = new.name
             from records($1: id bigint, name text) as new where build.id = new.id and not sent"
        );
        let count = execute!(&mut tx, sql, rows(lines));
        tx.commit().await?;
        Ok(count)
    }

    /// The specs that want these builds now, those of the best priority first, and the systems of
    /// the builds' derivations.
    async fn other_wanting_specs(&self, builds: &[&Row]) -> Result<Vec<(BuildId, String, String)>> {
        let sql = sql!(
            "select distinct b.id, s.name, y.name, s.priority
             from build b join derivation d on d.id = b.derivation_id join system y on y.id = d.system_id
               join derivation o on o.output_set_id = b.output_set_id
               join job j on j.derivation_id = o.id and j.last_evaluation is null
               join spec s on s.id = j.spec_id
             where s.active and s.present and b.id in ids($1) order by s.priority, s.name, b.id"
        );
        if builds.is_empty() {
            return Ok(Vec::new());
        }
        let ids = rows(builds.iter().map(|row| Value::from(row.id.0)));
        let found: Vec<(BuildId, String, String, i64)> =
            each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(&ids).fetch_all(pool).await?);
        Ok(found.into_iter().map(|(id, spec, system, _)| (id, spec, system)).collect())
    }

    /// Records, before the coordinators are asked, that they may have heard of these builds and may
    /// have an unknown attempt at each.
    pub async fn mark_sent(&self, ids: &[BuildId]) -> Result<()> {
        let ids = rows(ids.iter().map(|id| Value::from(id.0)));
        let mut tx = self.begin().await?;
        let sql =
            sql!("update build set sent = true, in_doubt = true, sent_urgency = null where id in ids($1)");
        execute!(&mut tx, sql, ids);
        tx.commit().await
    }

    /// Records that the coordinators did not hear of these builds after all.
    pub async fn unmark_sent(&self, ids: &[BuildId]) -> Result<()> {
        let ids = rows(ids.iter().map(|id| Value::from(id.0)));
        let mut tx = self.begin().await?;
        let sql = sql!(
            "update build set sent = false, in_doubt = false where unindexed(state) = 'queued' and id in ids($1)"
        );
        execute!(&mut tx, sql, ids);
        tx.commit().await
    }

    /// The numbers of builds that each coordinator has or is to get, by name and state.
    pub async fn coordinator_counts(&self, now: Seconds) -> Result<Vec<CoordinatorCount>> {
        let sql = sql!(
            "select coordinator, state, count(*) as count,
              max(case when state in {in_outbox} and next_attempt > $1 then answer end) as problem
            from build where state in {routed} and coordinator <> ''
            group by coordinator, state order by coordinator, state"
        );
        each!(&self.readers, pool, sql => Ok(sqlx::query_as(sql).bind(now).fetch_all(pool).await?))
    }

    /// The queued builds that no coordinator serves.
    pub async fn unserved(&self) -> Result<Vec<Unserved>> {
        const SQL: &str = "select s.name as spec, y.name as system, count(*) as count
            from build b join evaluation e on e.id = b.evaluation_id join spec s on s.id = e.spec_id
              join derivation d on d.id = b.derivation_id join system y on y.id = d.system_id
            where b.state = 'queued' and b.coordinator = '' group by s.name, y.name order by s.name, y.name";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }

    /// The builds that a coordinator has, or may have. If there are none, the coordinator can be
    /// removed without harm.
    pub async fn builds_at(&self, coordinator: &str) -> Result<Vec<crate::db::Build>> {
        let sql =
            sql!(builds!(), "where b.coordinator = $1 and b.sent and b.state in {routed} order by b.id");
        let rows: Vec<crate::db::build::builds::Row> =
            each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(coordinator).fetch_all(pool).await?);
        rows.into_iter().map(crate::db::Build::try_from).collect()
    }
}
