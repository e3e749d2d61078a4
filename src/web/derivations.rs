//! Everything that evaluations added to the store, as a substitute server serves it. The requests
//! are those of `guix substitute`; see `guix/scripts/publish.scm` of any Guix.
//!
//! What is served has the hash that its store path says: contents that do not are neither signed nor sent.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::IntoResponse;
use futures_util::stream::try_unfold;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::{Failure, Shared, Web};
use crate::db::{ItemKind, ItemPlace, PackedItem, Pieces, StoredItem};
use crate::store::narinfo::Narinfo;
use crate::store::path::{STORE, StorePath};
use crate::store::{base32, nar};

/// What a store item is never changes.
const FOR_EVER: &str = "max-age=31536000, immutable";

/// Items up to this size take memory without asking, in bytes: there are as many as connections at most.
const SMALL: u64 = 64 << 10;
/// Archives from this size on are unpacked piece by piece while they are sent, in bytes.
const LARGE: u64 = 1 << 20;
/// What all items together may take that are not small, in KiB.
const MEMORY: u32 = 128 << 10;
/// How long a request waits for memory.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often it is looked meanwhile whether a peer can be cut that takes nothing.
const GLANCE: Duration = Duration::from_millis(250);

/// How many requests may wait: their connections cannot be closed to make room meanwhile.
const QUEUE: usize = 32;

/// How many large archives are read and hashed at a time: small items need the processors and the database, too.
const HASHING: usize = 2;

/// Memory for store items that are being served.
#[derive(Debug)]
pub(super) struct Memory {
    free: Arc<Semaphore>,
    queue: Semaphore,
    hashing: Arc<Semaphore>,
}

impl Default for Memory {
    fn default() -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let (free, hashing) = (semaphore(MEMORY as usize), semaphore(HASHING));
        Self { free, queue: Semaphore::new(QUEUE), hashing }
    }
}

/// A store item, as it was read; a large one with the permission to hash it.
enum Item {
    Whole(StoredItem),
    Packed(PackedItem, Permit),
}

/// One that is as its path says.
struct Intact {
    item: Item,
    nar_hash: [u8; 32],
    nar_size: u64,
}

/// `GET /nix-cache-info`: that this is a substitute server, and for which store.
pub(super) async fn cache_info() -> impl IntoResponse {
    let text = format!("StoreDir: {STORE}\nWantMassQuery: 0\nPriority: 100\n");
    ([(CONTENT_TYPE, "text/plain")], text)
}

/// `GET /HASH.narinfo`: what there is to know about the store item with this hash in its path.
pub(super) async fn narinfo(
    State(shared): State<Arc<Shared>>,
    Path(file): Path<String>,
) -> Result<impl IntoResponse, Failure> {
    let hash = file.strip_suffix(".narinfo").ok_or(Failure::NotFound)?;
    base32::decode::<20>(hash.as_bytes()).map_err(|_| Failure::NotFound)?;
    let (item, path, _memory) = shared.item(hash).await?.ok_or(Failure::NotFound)?;
    // It takes some tenths of a millisecond, and more for large ones, which others should not have to wait.
    let text = spawn_blocking(move || shared.web.describe(path, item)).await??;
    Ok(([(CONTENT_TYPE, "application/x-nix-narinfo"), (CACHE_CONTROL, FOR_EVER)], text))
}

/// `GET /nar/HASH-NAME`: the store item itself.
pub(super) async fn nar(
    State(shared): State<Arc<Shared>>,
    Path(base_name): Path<String>,
) -> Result<impl IntoResponse, Failure> {
    let wanted = StorePath::parse_base_name(base_name.as_bytes()).map_err(|_| Failure::NotFound)?;
    let found = shared.item(&wanted.hash_text()).await?;
    let (item, path, memory) = found.filter(|(_, path, _)| *path == wanted).ok_or(Failure::NotFound)?;
    let (body, size) = spawn_blocking(move || {
        let Intact { item, nar_size, .. } = intact(&path, item)?;
        let pieces = match item {
            Item::Whole(item) if memory.is_none() => return Ok((Body::from(packed(item)), nar_size)),
            Item::Whole(item) => Pieces::of(packed(item)),
            Item::Packed(item, hashed) => {
                drop(hashed);
                item.pieces().map_err(|error| Failure::Unreadable(path, error))?
            }
        };
        Ok::<_, Failure>((Body::from_stream(try_unfold((pieces, memory), next_piece)), nar_size))
    })
    .await??;
    let headers = [
        (CONTENT_TYPE, "application/x-nix-archive".to_owned()),
        (CACHE_CONTROL, FOR_EVER.to_owned()),
        (CONTENT_LENGTH, size.to_string()),
    ];
    Ok((headers, body))
}

/// Permission to use memory, if any is needed.
type Permit = Option<OwnedSemaphorePermit>;

async fn next_piece(
    (mut pieces, memory): (Pieces, Permit),
) -> io::Result<Option<(Vec<u8>, (Pieces, Permit))>> {
    let read = spawn_blocking(move || pieces.next_piece().map(|piece| (piece, pieces))).await;
    let (piece, pieces) = read.map_err(io::Error::other)??;
    Ok((!piece.is_empty()).then_some((piece, (pieces, memory))))
}

impl Shared {
    /// The store item with this hash, its path, and the memory that it takes.
    async fn item(&self, hash: &str) -> Result<Option<(Item, StorePath, Permit)>, Failure> {
        // Between the two look-ups, it may have moved to another pack.
        for _ in 0..2 {
            let Some(place) = self.web.db.find_item(hash).await? else { return Ok(None) };
            let base_name = format!("{hash}-{}", place.name);
            let path = StorePath::parse_base_name(base_name.as_bytes()).map_err(|_| Failure::NotFound)?;
            let memory = self.memory_for(&place).await?;
            let item = if place.kind == ItemKind::Nar && place.length > LARGE {
                let turn = Arc::clone(&self.memory.hashing).acquire_owned().await.ok();
                self.web.db.open_item(place).await?.map(|item| Item::Packed(item, turn))
            } else {
                self.web.db.read_item(&place).await?.map(Item::Whole)
            };
            if let Some(item) = item {
                return Ok(Some((item, path, memory)));
            }
        }
        Ok(None)
    }

    /// Waits for memory. Peers that do not take what they are sent lose theirs.
    async fn memory_for(&self, place: &ItemPlace) -> Result<Permit, Failure> {
        if place.length <= SMALL {
            return Ok(None);
        }
        let size = u32::try_from(place.length >> 10).unwrap_or(MEMORY).min(MEMORY);
        let Memory { free, queue, .. } = &self.memory;
        let _place = queue.try_acquire().map_err(|_| Failure::Busy)?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let permit = Arc::clone(free).acquire_many_owned(size);
            match timeout(GLANCE, permit).await {
                Ok(permit) => return Ok(permit.ok()),
                Err(_) => self.slots.close_stalled(),
            }
        }
        Err(Failure::Busy)
    }
}

impl Web {
    /// The whole narinfo of an item.
    fn describe(&self, path: StorePath, item: Item) -> Result<String, Failure> {
        let Intact { item, nar_hash, nar_size } = intact(&path, item)?;
        let references = match item {
            Item::Whole(item) => item.references(&path),
            Item::Packed(item, _) => item.references(),
        };
        let base_name = path.base_name();
        let signed = Narinfo { path, nar_hash, nar_size, references }.signed_part();
        let signature = match &self.key {
            Some(key) => {
                let host = rustix::system::uname();
                format!("Signature: {}\n", key.sign(&host.nodename().to_string_lossy(), &signed)?)
            }
            None => String::new(),
        };
        Ok(format!("{signed}{signature}URL: nar/{base_name}\nCompression: none\nFileSize: {nar_size}\n"))
    }
}

/// Makes sure that an item is what its path says.
fn intact(path: &StorePath, item: Item) -> Result<Intact, Failure> {
    match item {
        Item::Whole(item) if item.is_intact(path) => {
            let (nar_hash, nar_size) = match item.kind {
                ItemKind::Text => {
                    let nar = nar::of_file(&item.contents);
                    (Sha256::digest(&nar).into(), nar.len())
                }
                ItemKind::Nar => (Sha256::digest(&item.contents).into(), item.contents.len()),
            };
            Ok(Intact { item: Item::Whole(item), nar_hash, nar_size: nar_size as u64 })
        }
        Item::Whole(_) => Err(Failure::Corrupt(path.clone())),
        Item::Packed(item, turn) => {
            let hash = item.hash(path).map_err(|error| Failure::Unreadable(path.clone(), error))?;
            let nar_hash = hash.ok_or_else(|| Failure::Corrupt(path.clone()))?;
            Ok(Intact { nar_size: item.length, item: Item::Packed(item, turn), nar_hash })
        }
    }
}

/// The NAR of an item.
fn packed(item: StoredItem) -> Vec<u8> {
    match item.kind {
        ItemKind::Text => nar::of_file(&item.contents),
        ItemKind::Nar => item.contents,
    }
}
