use std::fmt;
use std::io::Write as _;
use std::path::Path;

use data_encoding::{BASE64, HEXUPPER};
use sha2::{Digest as _, Sha256};

use super::ecdsa::Secret;
use super::gcrypt::Sexp;
use super::{SigningError, signed_data};

/// The parameters of the keys that `guix archive --generate-key` makes.
const PARAMETERS: &[u8] = b"(genkey (ecdsa (curve Ed25519) (flags rfc6979)))";

/// A key pair that signs as Guix does: a secret key in one file, with its public key in another
/// next to it.
pub struct SigningKey {
    secret: Sexp,
    public: Sexp,
    /// The secret key in a form that signs faster, if it is of the kind that Guix makes.
    number: Option<Secret>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    /// Makes a new key pair.
    pub fn generate() -> Result<Self, SigningError> {
        let pair = Sexp::generate(&Sexp::read(PARAMETERS)?)?;
        match (pair.find("private-key"), pair.find("public-key")) {
            (Some(secret), Some(public)) => Self::new(secret, public),
            _ => Err(SigningError::Gcrypt { what: "making a key pair", reason: "a key is missing".into() }),
        }
    }

    /// Reads the secret key in `file` and the public key next to it, whose name ends in `.pub`.
    pub fn load(file: &Path) -> Result<Self, SigningError> {
        let part = |path: &Path, token, half| {
            let found = Sexp::read_text(&fs_err::read(path)?).ok().and_then(|sexp| sexp.find(token));
            found.ok_or_else(|| SigningError::NoKey { path: path.to_owned(), half })
        };
        let secret = part(file, "private-key", "secret key")?;
        let public = part(&file.with_extension("pub"), "public-key", "public key")?;
        let key = Self::new(secret, public)?;
        let data = signed_data(b"", &key.public)?;
        let signature = key.secret.sign(&data)?;
        if matches!(key.public.verify(&signature, &data), Ok(true)) {
            return Ok(key);
        }
        Err(SigningError::NotAPair(file.to_owned()))
    }

    /// Signs one text with and without libgcrypt. Only if both results are equal is `number` used.
    fn new(secret: Sexp, public: Sexp) -> Result<Self, SigningError> {
        const TEXT: &[u8] = b"Gorget";
        let theirs = secret.sign(&signed_data(TEXT, &public)?)?.canonical();
        let numbers = secret.find("ecc").filter(|key| key.find("flags").is_none());
        let number = numbers.and_then(|key| Secret::read(key.find("d")?.data(1)?));
        let same = |number: &Secret| Ok::<_, SigningError>(sign(number, TEXT)?.canonical() == theirs);
        let number = match number {
            Some(number) if same(&number)? => Some(number),
            _ => None,
        };
        Ok(Self { secret, public, number })
    }

    /// Writes both files, which must not exist. Only their owner may read the secret one.
    pub fn store(&self, file: &Path) -> Result<(), SigningError> {
        use fs_err::os::unix::fs::OpenOptionsExt as _;
        if let Some(directory) = file.parent() {
            fs_err::create_dir_all(directory)?;
        }
        let write = |path: &Path, mode, key: &Sexp| {
            let mut options = fs_err::OpenOptions::new();
            options.write(true).create_new(true).mode(mode).open(path)?.write_all(key.print().as_bytes())
        };
        write(file, 0o400, &self.secret)?;
        write(&file.with_extension("pub"), 0o444, &self.public)?;
        Ok(())
    }

    /// The public key, in the form that `guix archive --authorize` reads.
    pub fn public_text(&self) -> String {
        self.public.print()
    }

    /// Signs `text`; returns the value of a narinfo's `Signature` line. `host` tells people who
    /// signed.
    pub fn sign(&self, host: &str, text: &str) -> Result<String, SigningError> {
        let data = signed_data(text.as_bytes(), &self.public)?;
        let value = match &self.number {
            Some(number) => sign(number, text.as_bytes())?,
            None => self.secret.sign(&data)?,
        };
        let mut signature = b"(signature ".to_vec();
        for part in [&data, &value, &self.public] {
            signature.extend(part.canonical());
        }
        signature.push(b')');
        let signature = Sexp::read(&signature)?.print();
        Ok(format!("1;{host};{}", BASE64.encode(signature.as_bytes())))
    }
}

/// Signs in the same way as libgcrypt.
fn sign(number: &Secret, text: &[u8]) -> Result<Sexp, SigningError> {
    let [r, s] = number.sign(Sha256::digest(text).into()).numbers().map(|number| HEXUPPER.encode(&number));
    Sexp::read(format!("(sig-val (ecdsa (r #{r}#) (s #{s}#)))").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_libgcrypt() {
        for number in 0..20 {
            let mut key = SigningKey::generate().unwrap();
            assert!(key.number.is_some(), "it is of Guix's own kind");
            let texts: Vec<String> = (0..20).map(|text| format!("{number} {text}")).collect();
            let ours: Vec<String> = texts.iter().map(|text| key.sign("farm", text).unwrap()).collect();
            key.number = None;
            let theirs: Vec<String> = texts.iter().map(|text| key.sign("farm", text).unwrap()).collect();
            assert_eq!(ours, theirs);
        }
    }
}
