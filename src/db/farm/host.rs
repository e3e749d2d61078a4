//! The hosts of the farm: heartbeats, pauses, and what each evaluates.
//!
//! A heartbeat and a pause use a connection of their own and wait for no writer, so a long
//! transaction makes no host look dead. A host name is free when its host was stopped or is silent.

use crate::clock::Seconds;
use crate::db::farm::term::{LEASE, next_term};
use crate::db::log::event_log::{EventKind, log};
use crate::db::{Db, Either, Error, EvaluationId, Result, Tx};

/// A host that stopped or fell silent is deleted after this time.
const REMEMBERED: Seconds = 30 * 24 * 60 * 60;

/// A machine that works for the farm.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Host {
    /// Its name, unique in the farm.
    pub name: String,
    /// Its roles: `evaluate`, `schedule`, or both, separated by a blank.
    pub roles: String,
    /// The systems that it evaluates, separated by blanks; empty for all.
    pub systems: String,
    /// Number of processes that evaluate there at once.
    pub workers: i64,
    /// Memory of its evaluations, in bytes.
    pub memory: i64,
    /// When it started.
    pub started_at: Seconds,
    /// The time of its last heartbeat.
    pub heartbeat_at: Seconds,
    /// When it was stopped, if it was.
    pub stopped_at: Option<Seconds>,
    /// Since when a fault keeps it from evaluating.
    pub paused_at: Option<Seconds>,
    /// The fault, with a hint.
    pub paused_reason: Option<String>,
    /// Whether it holds the scheduler lease.
    pub schedules: bool,
    /// The evaluations that it works on.
    #[sqlx(skip)]
    pub evaluates: Vec<EvaluationId>,
}

impl Host {
    /// Whether it should be running but sends no heartbeat.
    pub fn is_silent(&self, now: Seconds) -> bool {
        self.stopped_at.is_none() && self.heartbeat_at + LEASE <= now
    }
}

/// A [`Host`] to register.
#[derive(Debug, Clone)]
pub struct NewHost {
    /// The name of the host.
    pub name: String,
    /// Distinguishes it from another host of the same name.
    pub identity: String,
    /// See [`Host::roles`].
    pub roles: String,
    /// See [`Host::systems`].
    pub systems: String,
    /// See [`Host::workers`].
    pub workers: i64,
    /// See [`Host::memory`].
    pub memory: i64,
}

/// The right to schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerLease {
    /// The term of the lease, which distinguishes it from earlier and later ones.
    pub term: i64,
}

impl Db {
    /// Registers a host. Its name must be free: that of a silent host, of a stopped host, or its
    /// own from before.
    pub async fn register(&self, host: &NewHost, now: Seconds) -> Result<()> {
        const ARRIVE: &str =
            "insert into host (name, identity, roles, systems, workers, memory, started_at, heartbeat_at)
            values ($1, $2, $3, $4, $5, $6, $7, $7)
            on conflict (name) do update set identity = excluded.identity, roles = excluded.roles,
              systems = excluded.systems, workers = excluded.workers, memory = excluded.memory,
              started_at = excluded.started_at, heartbeat_at = excluded.heartbeat_at, stopped_at = null,
              paused_at = null, paused_reason = null
            where host.identity = excluded.identity or host.stopped_at is not null or host.heartbeat_at <= $8";
        const FORGET: &str = "delete from host where heartbeat_at < $1";
        let NewHost { name, identity, roles, systems, workers, memory } = host;
        let mut tx = self.begin().await?;
        let arrived =
            execute!(&mut tx, ARRIVE, name, identity, roles, systems, workers, memory, now, now - LEASE);
        if arrived == 0 {
            return Err(Error::HostTaken(name.clone()));
        }
        execute!(&mut tx, FORGET, now - REMEMBERED);
        log(&mut tx, EventKind::Host, None, None, now).await?;
        tx.commit().await
    }

    /// Records a heartbeat, and renews the leases of the host. Waits for no writer.
    pub async fn heartbeat(&self, host: &NewHost, now: Seconds) -> Result<()> {
        const SIGN: &str = "update host set heartbeat_at = $3 where name = $1 and identity = $2";
        let known = each!(&self.side_pool, pool => sqlx::query(SIGN).bind(&host.name).bind(&host.identity).bind(now)
            .execute(pool).await?.rows_affected());
        if known == 0 {
            return Err(Error::HostTaken(host.name.clone()));
        }
        self.renew_leases(&host.name, now).await
    }

    /// Deregisters a host that was stopped, so that nobody has to wait until its leases expire.
    pub async fn deregister(&self, host: &NewHost, now: Seconds) -> Result<()> {
        const STOP: &str =
            "update host set heartbeat_at = $3, stopped_at = $3 where name = $1 and identity = $2";
        let mut tx = self.begin().await?;
        if execute!(&mut tx, STOP, &host.name, &host.identity, now) > 0 {
            execute!(
                &mut tx,
                "update evaluation set lease_expires_at = 0 where state = 'running' and host = $1",
                &host.name
            );
            execute!(&mut tx, "update scheduler_lease set expires_at = 0 where host = $1", &host.name);
            log(&mut tx, EventKind::Host, None, None, now).await?;
        }
        tx.commit().await
    }

    /// Pauses a host until a fault is gone: it evaluates nothing. Waits for no writer.
    pub async fn pause_host(&self, host: &str, reason: &str, now: Seconds) -> Result<()> {
        const PAUSE: &str =
            "update host set paused_at = coalesce(paused_at, $2), paused_reason = $3 where name = $1";
        each!(&self.side_pool, pool =>
            sqlx::query(PAUSE).bind(host).bind(now).bind(reason).execute(pool).await.map(drop)?);
        Ok(())
    }

    /// Resumes a paused host. Waits for no writer.
    pub async fn resume_host(&self, host: &str) -> Result<()> {
        const RESUME: &str = "update host set paused_at = null, paused_reason = null where name = $1";
        each!(&self.side_pool, pool => sqlx::query(RESUME).bind(host).execute(pool).await.map(drop)?);
        Ok(())
    }

    /// All registered hosts, by name.
    pub async fn hosts(&self) -> Result<Vec<Host>> {
        const HOSTS: &str = "select h.name, h.roles, h.systems, h.workers, h.memory, h.started_at, h.heartbeat_at,
              h.stopped_at, h.paused_at, h.paused_reason, exists (select 1 from scheduler_lease s where s.host = h.name and s.expires_at > h.heartbeat_at) as schedules
            from host h order by h.name";
        const RUNNING: &str =
            "select host, id from evaluation where state = 'running' and host is not null order by id";
        let mut hosts: Vec<Host> = each!(&self.readers, pool => sqlx::query_as(HOSTS).fetch_all(pool).await?);
        let running: Vec<(String, EvaluationId)> =
            each!(&self.readers, pool => sqlx::query_as(RUNNING).fetch_all(pool).await?);
        for (name, evaluation) in running {
            if let Some(host) = hosts.iter_mut().find(|host| host.name == name) {
                host.evaluates.push(evaluation);
            }
        }
        Ok(hosts)
    }

    /// Takes the scheduler lease for the host; `None` when another host holds it.
    pub async fn take_scheduler_lease(&self, host: &str, now: Seconds) -> Result<Option<SchedulerLease>> {
        const FREE: &str =
            "select not exists (select 1 from scheduler_lease where expires_at > $2 and host <> $1)";
        const TAKE: &str = "insert into scheduler_lease (id, host, term, expires_at) values (1, $1, $2, $3)
            on conflict (id) do update set host = excluded.host, term = excluded.term, expires_at = excluded.expires_at";
        let is_free: bool = each!(&self.readers, pool =>
            sqlx::query_scalar(FREE).bind(host).bind(now).fetch_one(pool).await?);
        if !is_free {
            return Ok(None);
        }
        let mut tx = self.begin_unfenced().await?;
        let is_free: bool =
            each!(&mut tx, tx => sqlx::query_scalar(FREE).bind(host).bind(now).fetch_one(&mut **tx).await?);
        if !is_free {
            return Ok(None);
        }
        let term = next_term(&mut tx).await?;
        execute!(&mut tx, TAKE, host, term, now + LEASE);
        tx.commit().await?;
        Ok(Some(SchedulerLease { term }))
    }

    /// Renews the scheduler lease; `false` when another host has taken over. Waits for no writer.
    pub async fn renew_scheduler_lease(&self, turn: SchedulerLease, now: Seconds) -> Result<bool> {
        const KEEP: &str = "update scheduler_lease set expires_at = $2 where term = $1";
        Ok(each!(&self.side_pool, pool =>
            sqlx::query(KEEP).bind(turn.term).bind(now + LEASE).execute(pool).await?.rows_affected())
            > 0)
    }

    /// The same database for the scheduling steps: every write with it fails once another host has
    /// taken over.
    #[must_use]
    pub fn scheduling(&self, turn: SchedulerLease) -> Self {
        Self { term: Some(turn.term), ..self.clone() }
    }

    /// The time of the database server, which all hosts follow; `None` for `SQLite`, which runs on
    /// this machine.
    pub async fn time(&self) -> Result<Option<Seconds>> {
        const NOW: &str = "select extract(epoch from clock_timestamp())::bigint";
        let Either::Postgres(pool) = &self.side_pool else { return Ok(None) };
        Ok(Some(sqlx::query_scalar(NOW).fetch_one(pool).await?))
    }
}

/// Checks that no other host has taken the scheduler lease since. That holds until the transaction
/// ends.
pub(in crate::db) async fn still_schedules(tx: &mut Tx, term: i64) -> Result<()> {
    const SQL: &str = "select term from scheduler_lease where term = $1";
    let found: Option<i64> =
        each!(tx, tx => sqlx::query_scalar(SQL).bind(term).fetch_optional(&mut **tx).await?);
    found.map(drop).ok_or(Error::NotScheduling)
}
