//! Everything that evaluations added to the store, served by a substitute server. The requests are
//! those of `guix substitute`; see `guix/scripts/publish.scm` of any Guix.
//!
//! Every item is checked against the hash in its store path: contents that do not match are neither
//! signed nor sent.

use std::io;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::IntoResponse;
use futures_util::stream::try_unfold;
use tokio::task::spawn_blocking;

use super::memory::ItemResources;
use super::slots::{Connection, Loan};
use super::{Failure, Shared, Web};
use crate::db::{self, Db, ItemPlace, PackedItem, Pieces, StoredItem};
use crate::guix::base32;
use crate::guix::narinfo::Narinfo;
use crate::guix::store_path::{STORE, StorePath};

/// A store item never changes.
const FOR_EVER: &str = "max-age=31536000, immutable";

/// A store item that was read, and the resources that it holds. Both stay with the work on the
/// item: when a peer disconnects, its request ends, but reading and hashing continue.
struct Item {
    contents: Contents,
    resources: ItemResources,
}

enum Contents {
    Whole(StoredItem),
    Packed(PackedItem),
}

/// The rest of an item that is being sent.
struct Sending {
    pieces: Pieces,
    _loan: Option<Loan>,
    _resources: ItemResources,
}

/// `GET /nix-cache-info`: describes this substitute server and its store.
pub(super) async fn cache_info() -> impl IntoResponse {
    let text = format!("StoreDir: {STORE}\nWantMassQuery: 0\nPriority: 100\n");
    ([(CONTENT_TYPE, "text/plain")], text)
}

/// `GET /HASH.narinfo`: the narinfo of the store item with this hash in its path.
pub(super) async fn narinfo(
    State(shared): State<Arc<Shared>>,
    Path(file): Path<String>,
) -> Result<impl IntoResponse, Failure> {
    let hash = file.strip_suffix(".narinfo").ok_or(Failure::NotFound)?;
    base32::decode::<20>(hash.as_bytes()).map_err(|_| Failure::NotFound)?;
    let (item, path) = shared.item(hash).await?.ok_or(Failure::NotFound)?;
    // This takes some tenths of a millisecond, and longer for large items, so it must not block
    // other requests.
    let text = spawn_blocking(move || shared.web.describe(path, item)).await??;
    Ok(([(CONTENT_TYPE, "application/x-nix-narinfo"), (CACHE_CONTROL, FOR_EVER)], text))
}

/// `GET /nar/HASH-NAME`: the contents of the store item.
pub(super) async fn nar(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Arc<Connection>>,
    Path(base_name): Path<String>,
) -> Result<impl IntoResponse, Failure> {
    let wanted = StorePath::parse_base_name(base_name.as_bytes()).map_err(|_| Failure::NotFound)?;
    let found = shared.item(&wanted.hash_text()).await?;
    let (item, path) = found.filter(|(_, path)| *path == wanted).ok_or(Failure::NotFound)?;
    let (body, size) = spawn_blocking(move || item.into_body(&path, &connection)).await??;
    let headers = [
        (CONTENT_TYPE, "application/x-nix-archive".to_owned()),
        (CACHE_CONTROL, FOR_EVER.to_owned()),
        (CONTENT_LENGTH, size.to_string()),
    ];
    Ok((headers, body))
}

async fn next_piece(mut sending: Sending) -> io::Result<Option<(Vec<u8>, Sending)>> {
    let read = move || sending.pieces.next_piece().map(|piece| (piece, sending));
    let (piece, sending) = spawn_blocking(read).await.map_err(io::Error::other)??;
    Ok((!piece.is_empty()).then_some((piece, sending)))
}

impl Shared {
    /// The store item with this hash, and its path.
    async fn item(&self, hash: &str) -> Result<Option<(Item, StorePath)>, Failure> {
        // Between the two look-ups, the item may have moved to another pack.
        for _ in 0..2 {
            let Some(place) = self.web.db.find_item(hash).await? else { return Ok(None) };
            let base_name = format!("{hash}-{}", place.name);
            let path = StorePath::parse_base_name(base_name.as_bytes()).map_err(|_| Failure::NotFound)?;
            let resources = self.memory.hold(&self.web.db, &place, &self.slots).await?;
            // The database would go on reading after the peer has disconnected, so the read is a
            // task of its own.
            if let Some(item) = tokio::spawn(Item::read(self.web.db.clone(), place, resources)).await?? {
                return Ok(Some((item, path)));
            }
        }
        Ok(None)
    }
}

impl Web {
    /// The complete narinfo of an item.
    fn describe(&self, path: StorePath, mut item: Item) -> Result<String, Failure> {
        let (nar_hash, nar_size) = item.check(&path)?;
        let references = match &item.contents {
            Contents::Whole(item) => item.references(&path),
            Contents::Packed(item) => item.references(),
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

impl Item {
    /// Reads an item from its pack; `None` if it is no longer there.
    async fn read(db: Db, place: ItemPlace, mut resources: ItemResources) -> db::Result<Option<Self>> {
        let contents = if place.is_large() {
            resources.open(&db, place).await?.map(Contents::Packed)
        } else {
            db.read_item(&place).await?.map(Contents::Whole)
        };
        Ok(contents.map(|contents| Self { contents, resources }))
    }

    /// Checks the item against the hash in its path; returns the hash and the length of its NAR.
    fn check(&mut self, path: &StorePath) -> Result<([u8; 32], u64), Failure> {
        let found = match &mut self.contents {
            Contents::Whole(item) => item.is_intact(path).then(|| item.nar_hash()),
            Contents::Packed(item) => {
                item.check(path).map_err(|error| Failure::Unreadable(path.clone(), error))?
            }
        };
        found.ok_or_else(|| Failure::Corrupt(path.clone()))
    }

    /// The body with its NAR, for a connection, and the length of the NAR.
    fn into_body(mut self, path: &StorePath, to: &Arc<Connection>) -> Result<(Body, u64), Failure> {
        let (_, size) = self.check(path)?;
        let Self { contents, mut resources } = self;
        let pieces = match contents {
            Contents::Whole(item) if resources.share().is_none() => {
                return Ok((Body::from(item.into_nar()), size));
            }
            Contents::Whole(item) => {
                resources.end_turn();
                Pieces::of(item)
            }
            Contents::Packed(item) => {
                resources.end_turn();
                item.pieces().map_err(|error| Failure::Unreadable(path.clone(), error))?
            }
        };
        let loan = resources.share().map(|share| to.lend(share));
        let sending = Sending { pieces, _loan: loan, _resources: resources };
        Ok((Body::from_stream(try_unfold(sending, next_piece)), size))
    }
}
