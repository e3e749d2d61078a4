//! Guix's signatures on what substitute servers say: made and checked as Guix does.
//!
//! libgcrypt knows all kinds of keys. Keys of the kind that Guix makes are handled in Rust, over
//! `curve25519-dalek` and `fiat-crypto`, ten times as fast, and only where one signature shows
//! that the result is the same. They are written as Guix does it: libgcrypt's bytes are characters
//! of Latin-1, encoded in UTF-8. Without that, Guix silently takes one of some 3,000 for none.

mod authorized;
mod ecdsa;
mod field;
mod gcrypt;
mod key;

use std::io;
use std::path::PathBuf;

pub use authorized::{AuthorizedKeys, Distrust};
pub use key::SigningKey;
use sha2::{Digest, Sha256};

use gcrypt::Sexp;

/// Why something could not be signed, or keys could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// A file cannot be read or written; the error names it.
    #[error(transparent)]
    File(#[from] io::Error),
    /// libgcrypt did not do it.
    #[error("{what}: {reason}")]
    Gcrypt {
        /// What it was to do.
        what: &'static str,
        /// Its own words.
        reason: String,
    },
    /// A file does not hold the half of a key pair that it should.
    #[error("{} holds no {half}\nhint: `gorget key generate` makes a key pair, `gorget key import` takes Guix's own", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// Secret or public key.
        half: &'static str,
    },
    /// A file does not hold a list of authorized keys.
    #[error("{} holds no list of authorized keys\nhint: `guix archive --authorize` writes one, `/etc/guix/acl`", .0.display())]
    NoList(PathBuf),
    /// A public key is not the one of the secret key beside it.
    #[error("the public key beside {} is not the one of that secret key", .0.display())]
    NotAPair(PathBuf),
}

/// What a signature of `text` is about: its SHA-256, as libgcrypt wants to be told for keys of the
/// kind `(ecc …)` or `(rsa …)`.
fn signed_data(text: &[u8], public: &Sexp) -> Result<Sexp, SigningError> {
    let flags = if public.find("rsa").is_some() { "pkcs1" } else { "rfc6979" };
    let hash = data_encoding::HEXUPPER.encode(&Sha256::digest(text));
    Sexp::read(format!("(data (flags {flags}) (hash sha256 #{hash}#))").as_bytes())
}

/// Whether what is signed is just this SHA-256, as Guix has it signed with a key of its own kind.
fn is_plain(data: &Sexp, hash: &[u8; 32]) -> bool {
    let plain = [&b"(4:data(5:flags7:rfc6979)(4:hash6:sha25632:"[..], hash, b"))"].concat();
    data.canonical() == plain
}
