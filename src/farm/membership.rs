//! This machine among the hosts of the farm: heartbeats, the scheduler lease, and wake-ups.
//!
//! # Guarantees
//!
//! * At most one host schedules. Every transaction of a scheduling step first compares the term of
//!   its lease; the steps themselves need no check.
//! * A host keeps its name as long as it sends heartbeats. An identity in the state directory tells
//!   two hosts of the same name apart, so a killed host can return at once.
//!
//! # Design
//!
//! A host sends a heartbeat every ten seconds. It renews all leases of the host for thirty seconds.
//! The statement waits for no other writer, so a long transaction makes no host look dead. The
//! whole farm has one scheduler lease. A host that loses it stops its scheduling steps and stands
//! by. `gorget run` without `--role` does the same in one process, on SQLite as well.
//!
//! # Races
//!
//! * When a host loses the lease while it sends builds to a coordinator, the next host sends them
//!   again. The outbox tolerates that anyway.
//! * When the database was unreachable and no other host took the lease, the lease stays valid.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::db::{Db, Error, LEASE, NewHost, SchedulerLease, Wake};
use crate::farm::bell::Bells;

/// Interval of heartbeats. A lease lasts three times as long.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(LEASE.unsigned_abs() / 3);
/// Pause before the process listens again after it lost the database.
const LISTEN_RETRY: Duration = Duration::from_secs(5);

/// This machine as a host of the farm. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Membership {
    db: Db,
    clock: Clock,
    host: NewHost,
}

impl Membership {
    /// Registers the host. From now on `clock` follows the database's clock, if that is PostgreSQL.
    pub async fn begin(db: &Db, clock: &Clock, host: NewHost) -> Result<Self, Error> {
        let membership = Self { db: db.clone(), clock: clock.clone(), host };
        membership.set_clock().await?;
        membership.db.register(&membership.host, clock.now()).await?;
        Ok(membership)
    }

    /// Sends heartbeats until another host takes the name.
    pub async fn send_heartbeats(&self) -> Error {
        loop {
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
            match self.send_heartbeat().await {
                Ok(()) => {}
                Err(error @ Error::HostTaken(_)) => return error,
                Err(error) => tracing::warn!("cannot send a heartbeat: {error:#}"),
            }
        }
    }

    /// Deregisters this host, so that the others need not wait until its leases expire.
    pub async fn end(self) -> Result<(), Error> {
        self.db.deregister(&self.host, self.clock.now()).await
    }

    /// Takes the scheduler lease if no host holds it.
    pub async fn take_scheduler_lease(&self) -> Result<Option<SchedulerLease>, Error> {
        self.db.take_scheduler_lease(&self.host.name, self.clock.now()).await
    }

    /// Waits until this host holds the scheduler lease.
    pub async fn wait_for_scheduler_lease(&self) -> SchedulerLease {
        let mut reported = false;
        loop {
            match self.take_scheduler_lease().await {
                Ok(Some(lease)) => {
                    tracing::info!(host = self.host.name, "scheduler lease acquired");
                    return lease;
                }
                Ok(None) if reported => {}
                Ok(None) => {
                    tracing::info!(host = self.host.name, "another host schedules; this one stands by");
                    reported = true;
                }
                Err(error) => tracing::warn!("cannot read the scheduler lease: {error:#}"),
            }
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
        }
    }

    /// Renews the scheduler lease. Returns when this host has lost it, or could not renew it for as
    /// long as a lease lasts.
    pub async fn renew_scheduler_lease(&self, lease: SchedulerLease) {
        let mut kept = Instant::now();
        loop {
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
            match self.db.renew_scheduler_lease(lease, self.clock.now()).await {
                Ok(true) => kept = Instant::now(),
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!("cannot renew the scheduler lease: {error:#}");
                    if kept.elapsed().as_secs() >= LEASE.unsigned_abs() {
                        break;
                    }
                }
            }
        }
        tracing::warn!(host = self.host.name, "scheduler lease lost");
    }

    async fn send_heartbeat(&self) -> Result<(), Error> {
        self.set_clock().await?;
        self.db.heartbeat(&self.host, self.clock.now()).await
    }

    async fn set_clock(&self) -> Result<(), Error> {
        if let Some(now) = self.db.time().await? {
            self.clock.correct(now);
        }
        Ok(())
    }
}

/// Rings the bells of this process when another process has written something for one of its
/// reconcilers. The reconciler would find it later anyway.
pub async fn listen(db: Db, bells: Bells, stop: CancellationToken) {
    let listening = async {
        loop {
            if let Err(error) = ring_on_notifications(&db, &bells).await {
                tracing::debug!("cannot listen for notifications: {error:#}");
            } else {
                return;
            }
            tokio::time::sleep(LISTEN_RETRY).await;
        }
    };
    stop.run_until_cancelled(listening).await;
}

async fn ring_on_notifications(db: &Db, bells: &Bells) -> Result<(), Error> {
    let Some(mut listener) = db.listen().await? else { return Ok(()) };
    loop {
        for wake in listener.heard().await? {
            match wake {
                Wake::Fetch => bells.fetch.ring(),
                Wake::Evaluate => bells.evaluate.ring(),
                Wake::Schedule => bells.schedule.ring(),
            }
        }
    }
}

/// Highest limit of open files, even if the system allows more. Child processes inherit the limit,
/// and some of them close every descriptor that might be open.
const FILES: u64 = 8192;

/// Raises this program's limit of open files as far as permitted, up to `FILES`.
pub fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(FILES).min(FILES);
    if current.is_some_and(|current| current < most)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum })
    {
        tracing::warn!("cannot raise the limit of open files: {error}");
    }
}

/// The identity of the host with this state directory, which tells it from others of its name: a
/// random number in `file`, made on the first call.
pub fn identity(file: &Path) -> io::Result<String> {
    match fs_err::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        identity => return Ok(identity?.trim().to_owned()),
    }
    let mut bytes = [0; 16];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    let identity = data_encoding::HEXLOWER.encode(&bytes);
    // After an interruption, `file` is never incomplete.
    let mut new = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new(".")))?;
    writeln!(new, "{identity}")?;
    new.persist(file).map_err(|error| error.error)?;
    Ok(identity)
}
