use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest, Sha256};

/// A secret word that a client has to know. Only its hash is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The token with this word.
    pub fn new(word: &str) -> Self {
        Self(Sha256::digest(word).into())
    }

    /// Reads the token in `file`. If the file does not exist, creates it with a new word.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        let word = match fs_err::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(file)?,
            word => word?,
        };
        ensure!(
            !word.trim().is_empty(),
            "{} is empty\nhint: remove it, and a new one is made",
            file.display()
        );
        Ok(Self::new(word.trim()))
    }

    /// Whether `word` is the token. The time that this takes reveals nothing about the token.
    pub fn is(&self, word: &str) -> bool {
        *self == Self::new(word)
    }
}

fn make(file: &Path) -> anyhow::Result<String> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    let mut bytes = [0; 24];
    getrandom(&mut bytes, GetRandomFlags::empty()).context("making a token")?;
    let word = data_encoding::HEXLOWER.encode(&bytes);
    let mut options = fs_err::OpenOptions::new();
    writeln!(options.write(true).create_new(true).mode(0o600).open(file)?, "{word}")?;
    Ok(word)
}
