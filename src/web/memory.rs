//! Limits the resources for serving store items: memory, and the number of items that are read and
//! hashed at the same time. Work on an item owns its resources, so they are held until the work
//! ends, even if the peer has disconnected.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{self, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Failure;
use super::slots::{Share, Slots};
use crate::db::{self, Db, ItemPlace, Packed, PackedItem};

/// Items up to this size, in bytes, need no memory permit: there are at most as many as
/// connections.
const SMALL: u64 = 64 << 10;
/// The memory for all items that are neither small nor large, in KiB.
const MEDIUM: u32 = 32 << 10;
/// The memory for all large items, in KiB.
const LARGE: u32 = 96 << 10;
/// The memory for a large item besides its compressed size, in bytes: zstd's window, and some
/// pieces.
const WINDOW: u64 = 3 << 20;
/// While a derivation is hashed, it is completely in memory, possibly together with an unescaped
/// copy.
const COPIES: u64 = 2;

/// How long a request waits for memory.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often the slowest peer is disconnected while a request waits.
const SLOW_PEER_CHECK: Duration = Duration::from_millis(250);
/// How many requests may wait for each share: their connections cannot be closed meanwhile to make
/// room.
const QUEUE: usize = 32;

/// How many large items are read and hashed at the same time: other work needs the processors and
/// the database, too.
const LARGE_AT_ONCE: usize = 2;
/// How many other items are read and hashed at the same time.
const OTHERS_AT_ONCE: usize = 16;

/// The resources for all items.
#[derive(Debug)]
pub(super) struct Memory {
    medium: Pool,
    large: Pool,
    turns_of_large: Arc<Semaphore>,
    turns_of_others: Arc<Semaphore>,
    packs: Arc<Packs>,
}

/// The packs of large items that are being read, by number. Each is in memory only once, however
/// many requests read from it.
#[derive(Debug, Default)]
struct Packs(Mutex<HashMap<i64, Weak<Pack>>>);

/// A pack in memory, with its permit.
#[derive(Debug)]
struct Pack {
    packed: Packed,
    _memory: OwnedSemaphorePermit,
}

/// The memory permits of one share.
#[derive(Debug)]
struct Pool {
    share: Share,
    size: u32,
    free: Arc<Semaphore>,
    queue: Semaphore,
    /// Held by the request that has waited longest.
    front: sync::Mutex<()>,
}

/// The resources that one item holds.
#[derive(Debug)]
pub(super) struct ItemResources {
    memory: Option<(Share, OwnedSemaphorePermit)>,
    turn: Option<OwnedSemaphorePermit>,
    packs: Arc<Packs>,
    pack: Option<Arc<Pack>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            medium: Pool::new(Share::Medium, MEDIUM),
            large: Pool::new(Share::Large, LARGE),
            turns_of_large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            turns_of_others: Arc::new(Semaphore::new(OTHERS_AT_ONCE)),
            packs: Arc::default(),
        }
    }
}

impl Memory {
    /// Waits for the resources to read and hash an item. Disconnects slow peers to free memory.
    pub(super) async fn hold(
        &self,
        db: &Db,
        place: &ItemPlace,
        slots: &Slots,
    ) -> Result<ItemResources, Failure> {
        let mut pack = None;
        let (memory, turns) = if place.is_large() {
            pack = self.packs.find(place.pack);
            let packed = if pack.is_none() { db.packed_length(place).await? } else { None };
            let packed = packed.unwrap_or_default();
            let whole = if place.is_derivation() { COPIES * place.length } else { 0 };
            (Some(self.large.take(packed + WINDOW + whole, slots).await?), &self.turns_of_large)
        } else if place.length > SMALL {
            (Some(self.medium.take(place.length, slots).await?), &self.turns_of_others)
        } else {
            (None, &self.turns_of_others)
        };
        let turn = Arc::clone(turns).acquire_owned().await.ok();
        let packs = Arc::clone(&self.packs);
        Ok(ItemResources { memory, turn, packs, pack })
    }
}

impl Pool {
    fn new(share: Share, size: u32) -> Self {
        let free = Arc::new(Semaphore::new(size as usize));
        Self { share, size, free, queue: Semaphore::new(QUEUE), front: sync::Mutex::default() }
    }

    /// Waits for memory of this many bytes, or for the whole pool if the pool is smaller.
    async fn take(&self, bytes: u64, slots: &Slots) -> Result<(Share, OwnedSemaphorePermit), Failure> {
        let _place = self.queue.try_acquire().map_err(|_| Failure::Busy)?;
        let wanted = u32::try_from(kib(bytes)).unwrap_or(self.size).min(self.size);
        let wait = async {
            let _front = self.front.lock().await;
            let mut permit = Box::pin(Arc::clone(&self.free).acquire_many_owned(wanted));
            loop {
                match timeout(SLOW_PEER_CHECK, &mut permit).await {
                    Ok(permit) => return permit,
                    Err(_) => slots.close_slowest(self.share),
                }
            }
        };
        let permit = timeout(PATIENCE, wait).await.ok().and_then(Result::ok);
        Ok((self.share, permit.ok_or(Failure::Busy)?))
    }
}

impl ItemResources {
    /// The share that its memory belongs to, if it needs any.
    pub(super) fn share(&self) -> Option<Share> {
        self.memory.as_ref().map(|(share, _)| *share)
    }

    /// Opens a large item; `None` if it is no longer there. Reads its pack unless another request
    /// has already done so.
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
            // If a pack is larger than the share, there may be less.
            memory.split(kib(length).min(memory.num_permits().saturating_sub(kib(WINDOW))))
        });
        self.pack = memory.map(|memory| self.packs.add(number, item.packed.clone(), memory));
        Ok(Some(item))
    }

    /// Releases what is no longer needed after hashing, when the item is sent.
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

/// The number of KiB that hold this many bytes.
fn kib(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(1 << 10)).unwrap_or(usize::MAX)
}
