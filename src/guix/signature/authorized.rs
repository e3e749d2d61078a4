use std::collections::HashMap;
use std::path::Path;

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use super::ecdsa::{Public, Signature};
use super::gcrypt::Sexp;
use super::{SigningError, is_plain};

/// The authorized public keys, by their canonical forms. A key of the kind that Guix makes is also
/// kept as a point.
#[derive(Debug, Clone, Default)]
pub struct AuthorizedKeys(HashMap<Vec<u8>, Option<Public>>);

impl Sexp {
    /// The point of a public key, if it is of the kind that Guix makes.
    fn point(&self) -> Option<Public> {
        let key = self.find("ecc").filter(|key| key.find("flags").is_none())?;
        let curve = key.find("curve").is_some_and(|curve| curve.data(1) == Some(b"Ed25519"));
        Public::read(key.find("q").filter(|_| curve)?.data(1)?)
    }

    /// The numbers of a signature by such a key.
    fn numbers(&self) -> Option<Signature> {
        let numbers = self.find("ecdsa")?;
        Signature::read(numbers.find("r")?.data(1)?, numbers.find("s")?.data(1)?)
    }
}

/// Why a signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It cannot be read.
    #[error("the signature cannot be read")]
    Corrupt,
    /// The key is not authorized. The signature was not checked.
    #[error("it is signed with a key that is not authorized")]
    Unauthorized,
    /// It is the signature of another text.
    #[error("its signature is for another text")]
    OtherText,
    /// It was not made with the key that it names.
    #[error("the signature is wrong")]
    Wrong,
}

impl AuthorizedKeys {
    /// Reads a list of keys as `guix archive --authorize` keeps it in `/etc/guix/acl`:
    /// `(acl (entry KEY (tag (guix import))) …)`.
    pub fn load(file: &Path) -> Result<Self, SigningError> {
        let nothing = || SigningError::NoList(file.to_owned());
        let acl = Sexp::read_text(&fs_err::read(file)?).map_err(|_| nothing())?;
        if acl.data(0) != Some(b"acl") {
            return Err(nothing());
        }
        let is_import = |entry: &Sexp| {
            let tag = entry.find("tag").and_then(|tag| tag.find("guix"));
            tag.is_some_and(|tag| tag.data(1) == Some(b"import"))
        };
        let entries = acl.lists().filter(|entry| entry.data(0) == Some(b"entry") && is_import(entry));
        let keys = entries.filter_map(|entry| entry.find("public-key"));
        Ok(Self(keys.map(|key| (key.canonical(), key.point())).collect()))
    }

    /// Checks the value of a narinfo's `Signature` line against the text that it covers.
    pub fn check(&self, signature: &str, text: &str) -> Result<(), Distrust> {
        let encoded = match signature.split(';').collect::<Vec<_>>()[..] {
            ["1", _, encoded] => encoded.trim(),
            _ => return Err(Distrust::Corrupt),
        };
        let decoded = BASE64.decode(encoded.as_bytes()).map_err(|_| Distrust::Corrupt)?;
        let signature = Sexp::read_text(&decoded).map_err(|_| Distrust::Corrupt)?;
        let part = |token| signature.find(token).ok_or(Distrust::Corrupt);
        let (data, value, key) = (part("data")?, part("sig-val")?, part("public-key")?);
        let known = self.0.get(&key.canonical()).ok_or(Distrust::Unauthorized)?;
        let hash = data.find("hash").ok_or(Distrust::Corrupt)?;
        let digest: [u8; 32] = Sha256::digest(text).into();
        if hash.data(1) != Some(b"sha256") || hash.data(2) != Some(&digest) {
            return Err(Distrust::OtherText);
        }
        let right = match (known, value.numbers()) {
            (Some(point), Some(numbers)) if is_plain(&data, &digest) => point.verify(&numbers, digest),
            // libgcrypt supports every other kind.
            _ => matches!(key.verify(&value, &data), Ok(true)),
        };
        if right { Ok(()) } else { Err(Distrust::Wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SigningKey;
    use super::*;

    fn authorizing(key: &SigningKey) -> AuthorizedKeys {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("acl");
        fs_err::write(&file, format!("(acl (entry {} (tag (guix import))))", key.public_text())).unwrap();
        AuthorizedKeys::load(&file).unwrap()
    }

    #[test]
    fn a_signature_counts_for_its_text_and_from_its_key_only() {
        let (ours, theirs) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let keys = authorizing(&ours);
        let signature = ours.sign("farm", "StorePath: x\n").unwrap();
        assert_eq!(keys.check(&signature, "StorePath: x\n"), Ok(()));
        assert_eq!(keys.check(&signature, "StorePath: y\n"), Err(Distrust::OtherText));
        let foreign = theirs.sign("farm", "StorePath: x\n").unwrap();
        assert_eq!(keys.check(&foreign, "StorePath: x\n"), Err(Distrust::Unauthorized));
        assert_eq!(AuthorizedKeys::default().check(&signature, ""), Err(Distrust::Unauthorized));
    }

    #[test]
    fn a_signature_that_its_key_did_not_make_is_wrong() {
        let key = SigningKey::generate().unwrap();
        let inside = |signature: &str| {
            String::from_utf8(BASE64.decode(signature.rsplit(';').next().unwrap().as_bytes()).unwrap())
                .unwrap()
        };
        let [one, other] = ["one", "other"].map(|text| inside(&key.sign("farm", text).unwrap()));
        let (before, value) = one.split_once("(sig-val").unwrap();
        let after = value.split_once("(public-key").unwrap().1;
        let foreign = other.split_once("(sig-val").unwrap().1.split_once("(public-key").unwrap().0;
        let forged = format!("{before}(sig-val{foreign}(public-key{after}");
        let forged = format!("1;farm;{}", BASE64.encode(forged.as_bytes()));
        assert_eq!(authorizing(&key).check(&forged, "one"), Err(Distrust::Wrong));
    }

    #[test]
    fn libgcrypt_finds_the_same_right_and_wrong() {
        let key = SigningKey::generate().unwrap();
        let keys = authorizing(&key);
        let public = Sexp::read(key.public_text().as_bytes()).unwrap();
        assert!(keys.0.values().all(Option::is_some), "it is of Guix's own kind");
        let mut right = 0;
        for number in 0..300 {
            let text = format!("text {number}");
            let signature = key.sign("farm", &text).unwrap();
            let mut inside = BASE64.decode(signature.rsplit(';').next().unwrap().as_bytes()).unwrap();
            // Replaces one digit, mostly by another one.
            let digits = inside.windows(3).position(|part| part == b"(r ").unwrap() + 4;
            inside[digits + number % 150] = b"0123456789ABCDEF"[number % 16];
            let Ok(sexp) = Sexp::read(&inside) else { continue };
            let Some((data, value)) = sexp.find("data").zip(sexp.find("sig-val")) else { continue };
            let sound = matches!(public.verify(&value, &data), Ok(true));
            let ours = keys.check(&format!("1;farm;{}", BASE64.encode(&inside)), &text);
            assert_eq!(ours.is_ok(), sound, "{number}: {ours:?} {}", String::from_utf8_lossy(&inside));
            right += usize::from(sound);
        }
        assert!((1..300).contains(&right), "{right}");
    }

    #[test]
    fn numbers_that_are_written_down_as_strings_are_the_same_numbers() {
        let key = SigningKey::generate().unwrap();
        let keys = authorizing(&key);
        let texts = (0..100_000).map(|number| format!("text {number}"));
        let is_plain = |signature: &str| {
            BASE64.decode(signature.rsplit(';').next().unwrap().as_bytes()).unwrap().is_ascii()
        };
        let signed = texts.map(|text| (key.sign("farm", &text).unwrap(), text));
        let odd: Vec<_> = signed.filter(|(signature, _)| !is_plain(signature)).take(3).collect();
        assert_eq!(odd.len(), 3);
        for (signature, text) in odd {
            assert_eq!(keys.check(&signature, &text), Ok(()), "{text}");
        }
        let point = b"(10:public-key(3:ecc(5:curve7:Ed25519)(1:q4:Zo\xe9!)))";
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("acl");
        let list = "(acl (entry (public-key (ecc (curve Ed25519) (q \"Zoé!\"))) (tag (guix import))))";
        fs_err::write(&file, list).unwrap();
        assert!(AuthorizedKeys::load(&file).unwrap().0.contains_key(&point[..]));
    }

    #[test]
    fn nonsense_is_no_signature() {
        let keys = AuthorizedKeys::default();
        for text in ["", "1;x", "2;x;KGEp", "1;x;KGEp", "1;x;((((", "1;x;KChk;"] {
            assert_eq!(keys.check(text, ""), Err(Distrust::Corrupt), "{text}");
        }
    }

    #[test]
    fn a_key_survives_its_files_and_shows_itself_to_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys/signing-key.sec");
        let key = SigningKey::generate().unwrap();
        key.store(&file).unwrap();
        let again = SigningKey::load(&file).unwrap();
        assert_eq!(again.public_text(), key.public_text());
        assert!(key.store(&file).is_err(), "it is never overwritten");
        assert_eq!(format!("{key:?}"), "SigningKey(…)");

        let other = SigningKey::generate().unwrap();
        let public = file.with_extension("pub");
        fs_err::remove_file(&public).unwrap();
        fs_err::write(&public, other.public_text()).unwrap();
        assert!(matches!(SigningKey::load(&file), Err(SigningError::NotAPair(_))));
        fs_err::write(&public, "(nothing)").unwrap();
        assert!(matches!(SigningKey::load(&file), Err(SigningError::NoKey { .. })));
    }
}
