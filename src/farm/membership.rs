//! This machine among the hosts of the farm: heartbeats, the lease of scheduling, and wake-ups.
//!
//! # Guarantees
//!
//! * At most one host schedules. Every transaction of a scheduling step first compares the term of
//!   its lease, so no step has to think of it.
//! * A name belongs to a host as long as it sends heartbeats. A number in the state directory
//!   tells two hosts of the same name apart, so a host that was killed comes back at once.
//!
//! # Design
//!
//! A host sends a heartbeat every ten seconds, which renews all its leases for thirty. The
//! statement waits for no writer, so a long transaction makes no host look dead. Scheduling is one
//! lease for the whole farm. A host that loses it stops its scheduling steps and stands by.
//! `gorget run` without `--role` does the same in one process, on SQLite as well.
//!
//! # Races
//!
//! * What a host was sending to a coordinator when it lost the lease is sent by the next host as
//!   well. The outbox has to bear that anyway.
//! * When the database was unreachable and no host took the lease, it is as good as before.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::db::{Db, Error, LEASE, NewHost, SchedulerLease, Wake};
use crate::farm::bell::Bells;

/// How often a host sends a heartbeat: a lease stands three times as long.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(LEASE.unsigned_abs() / 3);
/// How long it waits before it listens again after the database went away.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// This machine, which the farm knows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Membership {
    db: Db,
    clock: Clock,
    host: NewHost,
}

impl Membership {
    /// Makes it known. From now on `clock` goes by the database's, if that is elsewhere.
    pub async fn begin(db: &Db, clock: &Clock, host: NewHost) -> Result<Self, Error> {
        let presence = Self { db: db.clone(), clock: clock.clone(), host };
        presence.set_clock().await?;
        presence.db.register(&presence.host, clock.now()).await?;
        Ok(presence)
    }

    /// Sends heartbeats until another host takes the name.
    pub async fn live(&self) -> Error {
        loop {
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
            match self.beat().await {
                Ok(()) => {}
                Err(error @ Error::HostTaken(_)) => return error,
                Err(error) => tracing::warn!("no heartbeat could be sent: {error:#}"),
            }
        }
    }

    /// Deregisters this host, so that others need not wait until its leases expire.
    pub async fn end(self) -> Result<(), Error> {
        self.db.deregister(&self.host, self.clock.now()).await
    }

    /// Takes the lease of scheduling if no host has it.
    pub async fn take_scheduler_lease(&self) -> Result<Option<SchedulerLease>, Error> {
        self.db.take_scheduler_lease(&self.host.name, self.clock.now()).await
    }

    /// Waits until this host has the lease of scheduling.
    pub async fn wait_for_scheduler_lease(&self) -> SchedulerLease {
        let mut told = false;
        loop {
            match self.take_scheduler_lease().await {
                Ok(Some(lease)) => {
                    tracing::info!(host = self.host.name, "this host schedules");
                    return lease;
                }
                Ok(None) if told => {}
                Ok(None) => {
                    tracing::info!(host = self.host.name, "another host schedules; this one stands by");
                    told = true;
                }
                Err(error) => tracing::warn!("it is not known who schedules: {error:#}"),
            }
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
        }
    }

    /// Renews the lease of scheduling. Returns when this host has lost it, or cannot know.
    pub async fn renew_scheduler_lease(&self, lease: SchedulerLease) {
        let mut kept = Instant::now();
        loop {
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
            match self.db.renew_scheduler_lease(lease, self.clock.now()).await {
                Ok(true) => kept = Instant::now(),
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!("this host may not schedule much longer: {error:#}");
                    if kept.elapsed().as_secs() >= LEASE.unsigned_abs() {
                        break;
                    }
                }
            }
        }
        tracing::warn!(host = self.host.name, "this host does not schedule any more");
    }

    async fn beat(&self) -> Result<(), Error> {
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

/// Rings the bells of this process when another process has written something for one of its reconcilers, which
/// would find it later anyway.
pub async fn listen(db: Db, bells: Bells, stop: CancellationToken) {
    let ears = async {
        loop {
            if let Err(error) = ring_what_is_heard(&db, &bells).await {
                tracing::debug!("nothing is heard of other hosts: {error:#}");
            } else {
                return;
            }
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    };
    stop.run_until_cancelled(ears).await;
}

async fn ring_what_is_heard(db: &Db, bells: &Bells) -> Result<(), Error> {
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

/// Most files that are allowed to be open, whatever the system would allow: programs that are started inherit it,
/// and some of them close all that might be open.
const FILES: u64 = 8192;

/// Lets this program have as many files open as it may.
pub fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(FILES).min(FILES);
    if current.is_some_and(|current| current < most)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum })
    {
        tracing::warn!("the limit of open files cannot be raised: {error}");
    }
}

/// What tells the host with this state directory from others of its name: a number in `file`, drawn by lot
/// the first time.
pub fn identity(file: &Path) -> io::Result<String> {
    match fs_err::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        identity => return Ok(identity?.trim().to_owned()),
    }
    let mut bytes = [0; 16];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    let identity = data_encoding::HEXLOWER.encode(&bytes);
    // An interruption leaves no file that could be read.
    let mut new = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new(".")))?;
    writeln!(new, "{identity}")?;
    new.persist(file).map_err(|error| error.error)?;
    Ok(identity)
}
