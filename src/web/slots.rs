//! The open connections. If there are too many, the one that has waited longest for its peer is
//! closed. So peers that send or read nothing cannot keep others out.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::rate::Rate;

/// The `waiting_since` of a connection that waits for our answer.
const AT_WORK: u64 = u64::MAX;
/// How long, in milliseconds, a new connection is not closed: its peer is about to send a request.
const YOUNG: u64 = 50;
/// A peer that reads at least this many bytes per second keeps its connection when others need
/// memory.
const FAST: u64 = 4 << 20;

/// The most open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) connections: usize,
    /// The limit for one address of another machine.
    pub(super) per_address: usize,
}

impl Limits {
    /// Leaves enough of `files` descriptors for Git, evaluations and the database.
    pub(super) fn of_files(files: u64) -> Self {
        let connections = usize::try_from(files / 4).unwrap_or(usize::MAX).clamp(8, 1024);
        Self { connections, per_address: (connections / 4).max(4) }
    }
}

/// The open connections.
#[derive(Debug)]
pub(super) struct Slots {
    most: Limits,
    started: Instant,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    connections: BTreeMap<u64, Arc<Connection>>,
    per_address: HashMap<IpAddr, usize>,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    started: Instant,
    /// The peer's address, if it is on another machine.
    address: Option<IpAddr>,
    /// When the peer last completed a request or read anything, in milliseconds.
    waiting_since: AtomicU64,
    /// The share of the memory that is held for data that the peer has not read yet, and the rate
    /// at which it reads.
    lent: Mutex<Option<(Share, Rate)>>,
    /// Closes the connection.
    pub(super) closed: CancellationToken,
}

/// The memory for store items: those below 1 MiB have a share of their own, so that larger ones
/// cannot take all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Medium,
    Large,
}

/// Why there is no slot for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// There are too many from its address, and all are being answered.
    Address,
    /// There are too many, and all are being answered or are new.
    All,
}

/// An open connection. Dropping this frees its slot.
pub(super) struct Slot {
    slots: Arc<Slots>,
    number: u64,
    pub(super) connection: Arc<Connection>,
}

impl Slots {
    pub(super) fn new(most: Limits) -> Arc<Self> {
        Arc::new(Self { most, started: Instant::now(), open: Mutex::default() })
    }

    /// Adds a connection from `address`.
    pub(super) fn open(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Slot, Full> {
        let address = address.and_then(counted);
        let mut open = self.lock();
        let of_address = address.and_then(|address| open.per_address.get(&address).copied());
        if of_address.is_some_and(|count| count >= self.most.per_address) {
            let close = open.close_one(self.now(), 0, |connection| connection.address == address);
            close.ok_or(Full::Address)?;
        } else if open.connections.len() >= self.most.connections {
            open.close_one(self.now(), YOUNG, |_| true).ok_or(Full::All)?;
        }
        let connection = Arc::new(Connection {
            started: self.started,
            address,
            waiting_since: AtomicU64::default(),
            lent: Mutex::default(),
            closed: CancellationToken::new(),
        });
        connection.progress();
        open.last += 1;
        let number = open.last;
        open.connections.insert(number, Arc::clone(&connection));
        if let Some(address) = address {
            *open.per_address.entry(address).or_default() += 1;
        }
        Ok(Slot { slots: Arc::clone(self), number, connection })
    }

    /// Closes the connection that has waited longest for its peer.
    pub(super) fn make_room(&self) {
        self.lock().close_one(self.now(), 0, |_| true);
    }

    /// Closes the connection with the slowest peer among those that hold memory of this share,
    /// unless all are fast.
    pub(super) fn close_slowest(&self, share: Share) {
        let now = self.now();
        let mut open = self.lock();
        let rates =
            open.connections.iter().filter_map(|(number, found)| Some((found.rate(share, now)?, *number)));
        let slowest = rates.filter(|(rate, _)| *rate < FAST).min();
        if let Some(connection) = slowest.and_then(|(_, number)| open.remove(number)) {
            connection.closed.cancel();
        }
    }

    fn now(&self) -> u64 {
        milliseconds(self.started)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Closes the `eligible` connection that has waited longest, if it has waited for at least
    /// `age`.
    fn close_one(&mut self, now: u64, age: u64, eligible: impl Fn(&Connection) -> bool) -> Option<()> {
        let waiting = self.connections.iter().filter(|(_, connection)| eligible(connection));
        let waiting = waiting.map(|(number, found)| (found.waiting_since.load(Ordering::Relaxed), *number));
        let (_, number) =
            waiting.filter(|(since, _)| now.checked_sub(*since).is_some_and(|waited| waited >= age)).min()?;
        self.remove(number)?.closed.cancel();
        Some(())
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Connection>> {
        let connection = self.connections.remove(&number)?;
        if let Some(address) = connection.address
            && let Some(count) = self.per_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
        Some(connection)
    }
}

impl Connection {
    /// The peer's address, if it is on another machine.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Records that the peer has read this many bytes.
    pub(super) fn took(&self, bytes: usize) {
        self.progress();
        if let Some((_, rate)) = &mut *self.lent() {
            rate.add(milliseconds(self.started), bytes);
        }
    }

    /// Records that memory of this share is held for the peer, until the result is dropped.
    pub(super) fn lend(self: &Arc<Self>, share: Share) -> Loan {
        *self.lent() = Some((share, Rate::new(milliseconds(self.started))));
        Loan(Arc::clone(self))
    }

    /// How many bytes per second the peer reads, if it has held memory of this share for a while.
    fn rate(&self, share: Share, now: u64) -> Option<u64> {
        let lent = self.lent();
        let (_, rate) = lent.as_ref().filter(|(of, _)| *of == share)?;
        rate.per_second(now)
    }

    fn lent(&self) -> MutexGuard<'_, Option<(Share, Rate)>> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the peer has read something, or has sent a request.
    pub(super) fn progress(&self) {
        self.waiting_since.store(milliseconds(self.started), Ordering::Relaxed);
    }

    /// Records that a request is being answered, until the result is dropped.
    pub(super) fn work(self: &Arc<Self>) -> Work {
        self.waiting_since.store(AT_WORK, Ordering::Relaxed);
        Work(Arc::clone(self))
    }
}

/// A request that is being answered.
pub(super) struct Work(Arc<Connection>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.progress();
    }
}

/// Memory that is held for the peer of a connection.
pub(super) struct Loan(Arc<Connection>);

impl Drop for Loan {
    fn drop(&mut self) {
        *self.0.lent() = None;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().remove(self.number);
    }
}

/// The address that connections are counted by; for IPv6, the whole network. A reverse proxy on
/// this machine serves many clients, so it is not counted.
fn counted(address: IpAddr) -> Option<IpAddr> {
    let address = address.to_canonical();
    if address.is_loopback() {
        return None;
    }
    Some(match address {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
        IpAddr::V4(_) => address,
    })
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(AT_WORK - 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn slots(connections: usize, per_address: usize) -> Arc<Slots> {
        Slots::new(Limits { connections, per_address })
    }

    fn is_closed(slot: &Slot) -> bool {
        slot.connection.closed.is_cancelled()
    }

    #[test]
    fn who_waited_longest_makes_room_and_who_is_answered_stays() {
        let slots = slots(3, 3);
        let [first, second, third] = [0, 1, 2].map(|_| slots.open(None).unwrap());
        let answered = first.connection.work();
        assert_eq!(slots.open(None).err(), Some(Full::All), "all have just begun");
        std::thread::sleep(Duration::from_millis(YOUNG + 10));
        second.connection.progress();
        let fourth = slots.open(None).unwrap();
        assert!(is_closed(&third) && !is_closed(&first) && !is_closed(&second));
        let _answered = [&second, &fourth].map(|slot| slot.connection.work());
        assert_eq!(slots.open(None).err(), Some(Full::All), "all are at work");
        drop(answered);
        std::thread::sleep(Duration::from_millis(YOUNG + 10));
        assert!(slots.open(None).is_ok() && is_closed(&first));
    }

    #[test]
    fn one_address_cannot_take_everything_unless_it_is_of_this_machine() {
        let slots = slots(100, 2);
        let open = |address: &str| slots.open(Some(address.parse().unwrap())).unwrap();
        let flood: Vec<Slot> = (0..10).map(|number| open(&format!("2001:db8::{number}"))).collect();
        assert_eq!(flood.iter().filter(|slot| !is_closed(slot)).count(), 2, "it is one network");
        let others = [open("192.0.2.1"), open("192.0.2.2"), open("2001:db8:1::1")];
        let local: Vec<Slot> = (0..50).map(|_| open("127.0.0.1")).chain([open("::ffff:127.0.0.1")]).collect();
        assert!(others.iter().chain(&local).all(|slot| !is_closed(slot)));
        drop((flood, others, local));
        let open = slots.lock();
        assert!(open.connections.is_empty() && open.per_address.is_empty());
    }

    #[test]
    fn most_descriptors_are_left_to_others() {
        let most = |files| Limits::of_files(files).connections;
        assert_eq!([most(0), most(300), most(1024), most(1 << 20)], [8, 75, 256, 1024]);
    }
}
