//! Everything that evaluations added to the store, as a substitute server serves it. The requests
//! are those of `guix substitute`; see `guix/scripts/publish.scm` of any Guix.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use sha2::{Digest, Sha256};

use super::{Failure, Web};
use crate::db::{ItemKind, StoredItem};
use crate::store::narinfo::Narinfo;
use crate::store::path::{STORE, StorePath};
use crate::store::{base32, nar};

/// What a store item is never changes.
const FOR_EVER: &str = "max-age=31536000, immutable";

/// `GET /nix-cache-info`: that this is a substitute server, and for which store.
pub(super) async fn cache_info() -> impl IntoResponse {
    let text = format!("StoreDir: {STORE}\nWantMassQuery: 0\nPriority: 100\n");
    ([(CONTENT_TYPE, "text/plain")], text)
}

/// `GET /HASH.narinfo`: what there is to know about the store item with this hash in its path.
pub(super) async fn narinfo(
    State(web): State<Arc<Web>>,
    Path(file): Path<String>,
) -> Result<impl IntoResponse, Failure> {
    let hash = file.strip_suffix(".narinfo").ok_or(Failure::NotFound)?;
    base32::decode::<20>(hash.as_bytes()).map_err(|_| Failure::NotFound)?;
    let item = web.db.item(hash).await?.ok_or(Failure::NotFound)?;
    let base_name = format!("{hash}-{}", item.name);
    // It takes some tenths of a millisecond, which others should not have to wait.
    let text = tokio::task::spawn_blocking(move || web.describe(&base_name, item)).await??;
    Ok(([(CONTENT_TYPE, "application/x-nix-narinfo"), (CACHE_CONTROL, FOR_EVER)], text))
}

/// `GET /nar/HASH-NAME`: the store item itself.
pub(super) async fn nar(
    State(web): State<Arc<Web>>,
    Path(base_name): Path<String>,
) -> Result<impl IntoResponse, Failure> {
    let path = StorePath::parse_base_name(base_name.as_bytes()).map_err(|_| Failure::NotFound)?;
    let item = web.db.item(&path.hash_text()).await?;
    let item = item.filter(|item| item.name == path.name()).ok_or(Failure::NotFound)?;
    Ok(([(CONTENT_TYPE, "application/x-nix-archive"), (CACHE_CONTROL, FOR_EVER)], packed(item)))
}

impl Web {
    /// The whole narinfo of an item.
    fn describe(&self, base_name: &str, item: StoredItem) -> Result<String, Failure> {
        let path = StorePath::parse_base_name(base_name.as_bytes()).map_err(|_| Failure::NotFound)?;
        let references = item.references(&path);
        let nar = packed(item);
        let (nar_hash, nar_size) = (Sha256::digest(&nar).into(), nar.len() as u64);
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

/// The NAR of an item.
fn packed(item: StoredItem) -> Vec<u8> {
    match item.kind {
        ItemKind::Text => nar::of_file(&item.contents),
        ItemKind::Nar => item.contents,
    }
}
