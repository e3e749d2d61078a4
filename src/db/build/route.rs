//! Which coordinator a build belongs to, and which one may have heard of it.
//!
//! # Guarantees
//!
//! * Before a coordinator can hear of a build, that is written down (`sent`). From then on no
//!   other one gets the build until it ends, is canceled there, or is lost. Whether a request
//!   without an answer arrived is never known.
//! * What a coordinator reports counts for its own builds only.
//!
//! # Design
//!
//! `gorget run` routes anew what was not sent, since its configuration may be another. Each
//! coordinator has steps of its own, which see its builds only.
//!
//! # Races
//!
//! While an answer is outstanding or lost (`in_doubt`), the coordinator may have one attempt
//! that Gorget does not know. That attempt is looked for before the build is submitted again,
//! canceled, or counted as failed because of an older attempt. So is one that was to be canceled
//! and is not known to be over. An event about an attempt that was not known is about that one.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::clock::Seconds;
use crate::db::{BuildId, BuildState, Db, Result, rows};
use crate::domain::plan::route::Routes;

/// What is written where a coordinator's name would be when none serves a build.
const NOBODY: &str = "";

/// How many builds of one kind a coordinator has, or is to get.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct CoordinatorCount {
    /// Its name.
    pub coordinator: String,
    /// In which state.
    pub state: BuildState,
    /// How many.
    pub count: i64,
    /// Why those cannot be handed over, as it was found last.
    pub problem: Option<String>,
}

/// Queued builds that no coordinator serves.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Unserved {
    /// Name of the spec that wanted them first.
    pub spec: String,
    /// For which system their derivations are.
    pub system: String,
    /// How many.
    pub count: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: BuildId,
    spec: String,
    system: String,
    coordinator: Option<String>,
}

/// A [`Row`] for each build; a condition follows.
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
    /// Says of each queued build about which that is not said yet which coordinator is to make it. Gives
    /// the number of builds.
    pub async fn route(&self, routes: &Routes) -> Result<u64> {
        const NEW: &str = routed!("b.coordinator is null");
        let found: Vec<Row> = each!(&self.readers, pool => sqlx::query_as(NEW).fetch_all(pool).await?);
        self.give_out(&found, routes).await
    }

    /// The same for all builds of which no coordinator can have heard: it may serve others than it did.
    pub async fn route_anew(&self, routes: &Routes) -> Result<u64> {
        const ALL: &str = routed!("not b.sent");
        // They get theirs when they are queued.
        let later = sql!(
            "update build set coordinator = null where coordinator is not null and not sent
               and state in {wanted} and state not in {in_queue}"
        );
        let mut tx = self.begin().await?;
        execute!(&mut tx, later);
        tx.commit().await?;
        let found: Vec<Row> = each!(&self.readers, pool => sqlx::query_as(ALL).fetch_all(pool).await?);
        self.give_out(&found, routes).await
    }

    async fn give_out(&self, found: &[Row], routes: &Routes) -> Result<u64> {
        let mut serving: HashMap<BuildId, String> = HashMap::new();
        let mut unserved = Vec::new();
        for row in found {
            match routes.serving(&row.spec, &row.system) {
                Some(name) => drop(serving.insert(row.id, name.to_owned())),
                None => unserved.push(row),
            }
        }
        if routes.0.iter().any(|route| !route.specs.is_empty()) {
            for (id, spec, system) in self.others_who_want(&unserved).await? {
                if let Some(name) = routes.serving(&spec, &system) {
                    serving.entry(id).or_insert_with(|| name.to_owned());
                }
            }
        }
        let changed = found.iter().filter_map(|row| {
            let name = serving.get(&row.id).map_or(NOBODY, String::as_str);
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

    /// The specs that want these builds now, those with the best priority first, and the systems of the
    /// builds' derivations.
    async fn others_who_want(&self, builds: &[&Row]) -> Result<Vec<(BuildId, String, String)>> {
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

    /// From now on, the coordinators of these builds may have heard of them, and may have an attempt at each that is
    /// not known. To be said before they do.
    pub async fn offer(&self, ids: &[BuildId]) -> Result<()> {
        let ids = rows(ids.iter().map(|id| Value::from(id.0)));
        let mut tx = self.begin().await?;
        let sql =
            sql!("update build set sent = true, in_doubt = true, sent_urgency = null where id in ids($1)");
        execute!(&mut tx, sql, ids);
        tx.commit().await
    }

    /// The coordinators of these builds did not hear of them after all.
    pub async fn withdraw(&self, ids: &[BuildId]) -> Result<()> {
        let ids = rows(ids.iter().map(|id| Value::from(id.0)));
        let mut tx = self.begin().await?;
        let sql = sql!(
            "update build set sent = false, in_doubt = false where unindexed(state) = 'queued' and id in ids($1)"
        );
        execute!(&mut tx, sql, ids);
        tx.commit().await
    }

    /// How many builds each coordinator has or is to get, by its name and their states.
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

    /// The builds that a coordinator has, or may have. Of none, there is nothing to fear when it has gone.
    pub async fn builds_at(&self, coordinator: &str) -> Result<Vec<crate::db::Build>> {
        let sql =
            sql!(builds!(), "where b.coordinator = $1 and b.sent and b.state in {routed} order by b.id");
        let rows: Vec<crate::db::build::builds::Row> =
            each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(coordinator).fetch_all(pool).await?);
        rows.into_iter().map(crate::db::Build::try_from).collect()
    }
}
