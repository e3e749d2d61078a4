//! Narinfos: the answer of a substitute server about a store item, one `Name: value` line for each
//! field. A signature covers everything before it. See `guix/narinfo.scm` of any Guix.

use super::base32::Base32;
use super::store_path::StorePath;

/// The signed part of a narinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narinfo {
    /// The path of the item.
    pub path: StorePath,
    /// SHA-256 of its NAR.
    pub nar_hash: [u8; 32],
    /// Length of its NAR, in bytes.
    pub nar_size: u64,
    /// Base names of the store items that it refers to.
    pub references: Vec<String>,
}

impl Narinfo {
    /// The lines that a signature covers.
    pub fn signed_part(&self) -> String {
        format!(
            "StorePath: {}\nNarHash: sha256:{}\nNarSize: {}\nReferences: {}\n",
            self.path,
            Base32(&self.nar_hash),
            self.nar_size,
            self.references.join(" ")
        )
    }
}

/// A narinfo as it was received. Nothing in it is trusted before its signature has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<'a> {
    /// The path of the item.
    pub path: StorePath,
    /// The text that the signature covers.
    pub signed: &'a str,
    /// The value of the `Signature` line.
    pub signature: Option<&'a str>,
}

/// A text that is not a narinfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a narinfo: {0}")]
pub struct NotANarinfo(&'static str);

/// Reads a narinfo. Each field that has to be signed must occur once, before the signature.
pub fn read(text: &[u8]) -> Result<Received<'_>, NotANarinfo> {
    const LINE: &str = "\nSignature:";
    let text = str::from_utf8(text).map_err(|_| NotANarinfo("it is not UTF-8"))?;
    let (signed, signature) = match text.find(LINE) {
        Some(place) => (&text[..=place], text[place + LINE.len()..].lines().next().map(str::trim)),
        None => (text, None),
    };
    let field = |name: &str| {
        let mut values = signed.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        values.next().filter(|_| values.next().is_none()).map(str::trim)
    };
    if field("NarHash").is_none() || field("References").is_none() {
        return Err(NotANarinfo("NarHash or References is missing"));
    }
    let path = field("StorePath").ok_or(NotANarinfo("StorePath is missing"))?;
    let path = StorePath::parse(path.as_bytes()).map_err(|_| NotANarinfo("its StorePath is invalid"))?;
    Ok(Received { path, signed, signature })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Narinfo {
        Narinfo {
            path: StorePath::of_text::<&[u8]>(b"hello", b"", &[]).unwrap(),
            nar_hash: [7; 32],
            nar_size: 120,
            references: vec![],
        }
    }

    #[test]
    fn what_is_signed_is_what_stands_above_the_signature() {
        let signed = hello().signed_part();
        let text = format!("{signed}Signature: 1;host;c2ln\nURL: nar/x\nCompression: none\n");
        let received = read(text.as_bytes()).unwrap();
        assert_eq!(
            received,
            Received { path: hello().path, signed: &signed, signature: Some("1;host;c2ln") }
        );
        assert_eq!(read(signed.as_bytes()).unwrap().signature, None);
    }

    #[test]
    fn what_is_missing_or_twice_above_the_signature_makes_it_none() {
        let signed = hello().signed_part();
        for name in ["StorePath", "NarHash", "References"] {
            let lines = signed.split_inclusive('\n');
            let without: String = lines.filter(|line| !line.starts_with(name)).collect();
            let line: String = signed.split_inclusive('\n').filter(|line| line.starts_with(name)).collect();
            assert!(read(format!("{without}Signature: 1;h;s\n{line}").as_bytes()).is_err(), "{name}");
            assert!(read(format!("{signed}{line}Signature: 1;h;s\n").as_bytes()).is_err(), "{name}");
        }
        for text in ["", "<html>", "StorePath: /etc/passwd\nNarHash: x\nReferences: \n"] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
