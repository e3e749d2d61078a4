//! Store paths: `/gnu/store/` + 32 characters of hash + `-` + name.
//!
//! The hash identifies how the item came to be: its contents and references for texts and sources,
//! the derivation that makes it for outputs.

use std::fmt;

use sha2::{Digest, Sha256};

use super::base32;

/// The directory of all store items.
pub const STORE: &str = "/gnu/store";

/// The longest name that the store daemon accepts.
const LONGEST_NAME: usize = 211;

/// The longest part of a text that an error shows, in bytes.
const LONGEST_SHOWN: usize = 300;

/// The hash part of a store path, as bytes.
pub type Hash = [u8; 20];

/// Why a text is not a store path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is not directly below the store.
    #[error("{0:?} is not in {STORE}")]
    Elsewhere(String),
    /// Its hash part is not 32 characters of base-32.
    #[error("{0:?} has no hash part")]
    NoHash(String),
    /// Its name is empty, too long, or contains a character that the store refuses.
    #[error("{0:?} is not a name that the store takes")]
    BadName(String),
}

/// The path of a store item.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StorePath {
    hash: Hash,
    name: Box<str>,
}

impl StorePath {
    /// Reads `/gnu/store/HASH-NAME`.
    pub fn parse(text: &[u8]) -> Result<Self, PathError> {
        let (hash, name) = Self::parts(text)?;
        Ok(Self { hash, name: name.into() })
    }

    /// The hash part and the name of `/gnu/store/HASH-NAME`.
    pub fn parts(text: &[u8]) -> Result<(Hash, &str), PathError> {
        let show = || shown(text);
        let rest = text.strip_prefix(b"/gnu/store/").ok_or_else(|| PathError::Elsewhere(show()))?;
        base_parts(rest)
    }

    /// Reads `HASH-NAME`.
    pub fn parse_base_name(text: &[u8]) -> Result<Self, PathError> {
        let (hash, name) = base_parts(text)?;
        Ok(Self { hash, name: name.into() })
    }

    /// The path of a text with these references: store paths, sorted, without duplicates.
    pub fn of_text<R: AsRef<[u8]>>(
        name: &[u8],
        contents: &[u8],
        references: &[R],
    ) -> Result<Self, PathError> {
        Self::of_text_hash(name, &Sha256::digest(contents).into(), references)
    }

    /// The same, from the SHA-256 of the text.
    pub fn of_text_hash<R: AsRef<[u8]>>(
        name: &[u8],
        hash: &[u8; 32],
        references: &[R],
    ) -> Result<Self, PathError> {
        let mut kind = b"text".to_vec();
        for reference in references {
            kind.push(b':');
            kind.extend_from_slice(reference.as_ref());
        }
        Ok(Self::fingerprinted(&kind, hash, check_name(name)?))
    }

    /// The path of a file tree whose NAR has the SHA-256 `nar`.
    pub fn of_source(name: &[u8], nar: &[u8; 32]) -> Result<Self, PathError> {
        Ok(Self::fingerprinted(b"source", nar, check_name(name)?))
    }

    /// The path of an item whose contents have the hash `hash`, which is fixed in advance.
    ///
    /// `algorithm` is the name of the hash. `recursive`: a NAR was hashed, not a file.
    pub fn of_fixed(name: &[u8], algorithm: &str, hash: &[u8], recursive: bool) -> Result<Self, PathError> {
        if recursive && algorithm == "sha256" {
            let hash = hash.try_into().map_err(|_| PathError::BadName("hash of a wrong length".into()))?;
            return Self::of_source(name, hash);
        }
        let inner = fixed_output_text(algorithm, hash, recursive, "");
        Ok(Self::fingerprinted(b"output:out", &Sha256::digest(inner).into(), check_name(name)?))
    }

    /// The path of `output` of a derivation called `name`, whose masked contents have the SHA-256
    /// `modulo_hash`.
    pub fn of_output(name: &str, output: &str, modulo_hash: &[u8; 32]) -> Result<Self, PathError> {
        let full = if output == "out" { name.to_owned() } else { format!("{name}-{output}") };
        Ok(Self::fingerprinted(
            format!("output:{output}").as_bytes(),
            modulo_hash,
            check_name(full.as_bytes())?,
        ))
    }

    fn fingerprinted(kind: &[u8], hash: &[u8; 32], name: &str) -> Self {
        let hexadecimal = data_encoding::HEXLOWER.encode(hash);
        let rest = format!(":sha256:{hexadecimal}:{STORE}:{name}");
        let digest = Sha256::new_with_prefix(kind).chain_update(rest).finalize();
        let mut folded = [0; 20];
        for (index, byte) in digest.iter().enumerate() {
            folded[index % 20] ^= byte;
        }
        Self { hash: folded, name: name.into() }
    }

    /// The hash part.
    pub fn hash(&self) -> &Hash {
        &self.hash
    }

    /// The hash part in base-32: 32 characters.
    pub fn hash_text(&self) -> String {
        base32::encode(&self.hash)
    }

    /// The part after the hash.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name without `.drv`, if it is that of a derivation.
    pub fn derivation_name(&self) -> Option<&str> {
        self.name.strip_suffix(".drv")
    }

    /// `HASH-NAME`.
    pub fn base_name(&self) -> String {
        format!("{}-{}", base32::Base32(&self.hash), self.name)
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}/{}-{}", base32::Base32(&self.hash), self.name)
    }
}

fn base_parts(text: &[u8]) -> Result<(Hash, &str), PathError> {
    let show = || shown(text);
    let (hash, name) = text.split_at_checked(32).ok_or_else(|| PathError::NoHash(show()))?;
    let hash = base32::decode(hash).map_err(|_| PathError::NoHash(show()))?;
    let name = name.strip_prefix(b"-").ok_or_else(|| PathError::NoHash(show()))?;
    Ok((hash, check_name(name)?))
}

/// The text that is hashed for a fixed item: `fixed:out:[r:]ALGO:HASH:PATH`.
pub fn fixed_output_text(algorithm: &str, hash: &[u8], recursive: bool, path: &str) -> String {
    let hash = data_encoding::HEXLOWER.encode(hash);
    format!("fixed:out:{}{algorithm}:{hash}:{path}", if recursive { "r:" } else { "" })
}

fn check_name(name: &[u8]) -> Result<&str, PathError> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._?=".contains(byte);
    let good = !name.is_empty() && name.len() <= LONGEST_NAME && name[0] != b'.' && name.iter().all(allowed);
    match std::str::from_utf8(name) {
        Ok(name) if good => Ok(name),
        _ => Err(PathError::BadName(shown(name))),
    }
}

/// The beginning of a text, to show in an error.
fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(LONGEST_SHOWN)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_store_are_refused() {
        for name in ["", "..", ".hidden", "a/b", "a b", "a\0b", "é", &"x".repeat(212)] {
            assert!(StorePath::of_text::<&[u8]>(name.as_bytes(), b"", &[]).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_path_reads_back() {
        let path = StorePath::of_text::<&[u8]>(b"hello-2.12.drv", b"contents", &[]).unwrap();
        assert_eq!(StorePath::parse(path.to_string().as_bytes()), Ok(path.clone()));
        assert_eq!(path.derivation_name(), Some("hello-2.12"));
        for bad in ["/gnu/store/x", "/nix/store/", "/gnu/store/eeee-x", "", "/gnu/store/../../etc/passwd"] {
            assert!(StorePath::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
