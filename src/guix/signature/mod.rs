//! Guix's signatures on the answers of substitute servers, made and checked as Guix does.
//!
//! libgcrypt supports all kinds of keys. Keys of the kind that Guix makes are handled in Rust, with
//! `curve25519-dalek` and `fiat-crypto`. That is ten times as fast, and is only used where one
//! signature shows that the result is the same. Signatures are written as Guix does: libgcrypt's
//! bytes are characters of Latin-1, encoded in UTF-8. Otherwise, Guix silently ignores one of some
//! 3,000.

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

/// Why signing failed, or keys could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// A file cannot be read or written; the error contains its name.
    #[error(transparent)]
    File(#[from] io::Error),
    /// libgcrypt reported an error.
    #[error("{what}: {reason}")]
    Gcrypt {
        /// The operation that failed.
        what: &'static str,
        /// The message of libgcrypt.
        reason: String,
    },
    /// A file does not have the expected half of a key pair.
    #[error("{} holds no {half}\nhint: `gorget key generate` makes a key pair, `gorget key import` takes Guix's own", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// Secret or public key.
        half: &'static str,
    },
    /// A file does not have a list of authorized keys.
    #[error("{} holds no list of authorized keys\nhint: `guix archive --authorize` writes one, `/etc/guix/acl`", .0.display())]
    NoList(PathBuf),
    /// The public key does not match the secret key next to it.
    #[error("the public key beside {} is not the one of that secret key", .0.display())]
    NotAPair(PathBuf),
}

/// The data that a signature of `text` covers: its SHA-256, in the form that libgcrypt needs for
/// keys of the kind `(ecc …)` or `(rsa …)`.
fn signed_data(text: &[u8], public: &Sexp) -> Result<Sexp, SigningError> {
    let flags = if public.find("rsa").is_some() { "pkcs1" } else { "rfc6979" };
    let hash = data_encoding::HEXUPPER.encode(&Sha256::digest(text));
    Sexp::read(format!("(data (flags {flags}) (hash sha256 #{hash}#))").as_bytes())
}

/// Whether the signed data is just this SHA-256, as it is for keys of Guix's own kind.
fn is_plain(data: &Sexp, hash: &[u8; 32]) -> bool {
    let plain = [&b"(4:data(5:flags7:rfc6979)(4:hash6:sha25632:"[..], hash, b"))"].concat();
    data.canonical() == plain
}
