//! What store items may take while they are served: memory, and turns at being read and hashed.
//! Whatever works on an item has these with it, so they last until the work ends, even if the peer
//! has hung up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{self, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Failure;
use super::slots::{Share, Slots};
use crate::db::{self, Db, ItemPlace, Packed, PackedItem};

/// Items up to this size take memory without asking, in bytes: there are as many as
/// connections at most.
const SMALL: u64 = 64 << 10;
/// What all items together may take that are neither small nor large, in KiB.
const MIDDLING: u32 = 32 << 10;
/// What all large items may take, in KiB.
const LARGE: u32 = 96 << 10;
/// What a large item takes in bytes, beside what it is compressed: zstd's window, and some pieces.
const WINDOW: u64 = 3 << 20;
/// A derivation is whole in memory while it is hashed, and so may be what is escaped in it.
const COPIES: u64 = 2;

/// How long a request waits for memory.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often a peer is cut meanwhile that takes what it is sent too slowly.
const GLANCE: Duration = Duration::from_millis(250);
/// How many requests may wait for each share: their connections cannot be closed to make room
/// meanwhile.
const QUEUE: usize = 32;

/// How many large items are read and hashed at a time: others need the processors
/// and the database, too.
const LARGE_AT_ONCE: usize = 2;
/// How many others.
const OTHERS_AT_ONCE: usize = 16;

/// What there is for all items.
#[derive(Debug)]
pub(super) struct Memory {
    middling: Pool,
    large: Pool,
    turns_of_large: Arc<Semaphore>,
    turns_of_others: Arc<Semaphore>,
    packs: Arc<Packs>,
}

/// The packs of large items that somebody reads from, by their numbers: however many do, each is in
/// memory once.
#[derive(Debug, Default)]
struct Packs(Mutex<HashMap<i64, Weak<Pack>>>);

/// One of them.
#[derive(Debug)]
struct Pack {
    packed: Packed,
    _memory: OwnedSemaphorePermit,
}

/// The memory of one share.
#[derive(Debug)]
struct Pool {
    share: Share,
    size: u32,
    free: Arc<Semaphore>,
    queue: Semaphore,
    /// Who waits longest has this.
    front: sync::Mutex<()>,
}

/// What one item has of it.
#[derive(Debug)]
pub(super) struct Hold {
    memory: Option<(Share, OwnedSemaphorePermit)>,
    turn: Option<OwnedSemaphorePermit>,
    packs: Arc<Packs>,
    pack: Option<Arc<Pack>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            middling: Pool::new(Share::Middling, MIDDLING),
            large: Pool::new(Share::Large, LARGE),
            turns_of_large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            turns_of_others: Arc::new(Semaphore::new(OTHERS_AT_ONCE)),
            packs: Arc::default(),
        }
    }
}

impl Memory {
    /// Waits for what it takes to read and hash an item. Slow peers lose theirs.
    pub(super) async fn hold(&self, db: &Db, place: &ItemPlace, slots: &Slots) -> Result<Hold, Failure> {
        let mut pack = None;
        let (memory, turns) = if place.is_large() {
            pack = self.packs.find(place.pack);
            let packed = if pack.is_none() { db.packed_length(place).await? } else { None };
            let packed = packed.unwrap_or_default();
            let whole = if place.is_derivation() { COPIES * place.length } else { 0 };
            (Some(self.large.take(packed + WINDOW + whole, slots).await?), &self.turns_of_large)
        } else if place.length > SMALL {
            (Some(self.middling.take(place.length, slots).await?), &self.turns_of_others)
        } else {
            (None, &self.turns_of_others)
        };
        let turn = Arc::clone(turns).acquire_owned().await.ok();
        let packs = Arc::clone(&self.packs);
        Ok(Hold { memory, turn, packs, pack })
    }
}

impl Pool {
    fn new(share: Share, size: u32) -> Self {
        let free = Arc::new(Semaphore::new(size as usize));
        Self { share, size, free, queue: Semaphore::new(QUEUE), front: sync::Mutex::default() }
    }

    /// Waits for memory for so many bytes: for all there is, if that is not enough.
    async fn take(&self, bytes: u64, slots: &Slots) -> Result<(Share, OwnedSemaphorePermit), Failure> {
        let _place = self.queue.try_acquire().map_err(|_| Failure::Busy)?;
        let wanted = u32::try_from(kib(bytes)).unwrap_or(self.size).min(self.size);
        let wait = async {
            let _front = self.front.lock().await;
            let mut permit = Box::pin(Arc::clone(&self.free).acquire_many_owned(wanted));
            loop {
                match timeout(GLANCE, &mut permit).await {
                    Ok(permit) => return permit,
                    Err(_) => slots.close_slowest(self.share),
                }
            }
        };
        let permit = timeout(PATIENCE, wait).await.ok().and_then(Result::ok);
        Ok((self.share, permit.ok_or(Failure::Busy)?))
    }
}

impl Hold {
    /// Of which share it has memory, if it needs any.
    pub(super) fn share(&self) -> Option<Share> {
        self.memory.as_ref().map(|(share, _)| *share)
    }

    /// Opens a large item, if it is still there. Its pack is read unless somebody else has done so.
    pub(super) async fn open(&mut self, db: &Db, place: ItemPlace) -> db::Result<Option<PackedItem>> {
        let number = place.pack;
        if let Some(pack) = self.pack.take().or_else(|| self.packs.find(number)) {
            let packed = pack.packed.clone();
            self.pack = Some(pack);
            return Ok(Some(Db::open_at_hand(place, packed)));
        }
        let Some(item) = db.open_item(place).await? else { return Ok(None) };
        let length = item.packed.as_ref().len() as u64;
        let memory = self.memory.as_mut().and_then(|(_, memory)| {
            // Of a pack that is larger than the share, there may be less.
            memory.split(kib(length).min(memory.num_permits().saturating_sub(kib(WINDOW))))
        });
        self.pack = memory.map(|memory| self.packs.add(number, item.packed.clone(), memory));
        Ok(Some(item))
    }

    /// The item has been hashed and is sent now.
    pub(super) fn end_turn(&mut self) {
        self.turn = None;
        if let Some((Share::Large, memory)) = &mut self.memory {
            drop(memory.split(memory.num_permits().saturating_sub(kib(WINDOW))));
        }
    }
}

impl Packs {
    fn find(&self, number: i64) -> Option<Arc<Pack>> {
        self.lock().get(&number)?.upgrade()
    }

    fn add(&self, number: i64, packed: Packed, memory: OwnedSemaphorePermit) -> Arc<Pack> {
        let pack = Arc::new(Pack { packed, _memory: memory });
        let mut packs = self.lock();
        packs.retain(|_, pack| pack.strong_count() > 0);
        packs.insert(number, Arc::downgrade(&pack));
        pack
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Weak<Pack>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many KiB as hold so many bytes.
fn kib(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(1 << 10)).unwrap_or(usize::MAX)
}
