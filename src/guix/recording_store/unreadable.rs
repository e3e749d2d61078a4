//! Guile objects that were printed into a text and cannot be read back.
//!
//! A gexp or a package that is quoted where it should be inserted is printed as `#<gexp …
//! 7f8a1b2c3d40>`. The number is the object's address, so the text differs in every process: each
//! evaluation would find a new derivation, and none of them can be built. A job is an error if its
//! derivation, or anything that it needs, contains such a text.

use std::sync::{Arc, LazyLock};

use memchr::memmem;

/// How far after the beginning of an object its address is searched for, in bytes.
const LONGEST_OBJECT: usize = 1000;
/// The number of digits of an address. Shorter numbers are something else.
const ADDRESS: std::ops::RangeInclusive<usize> = 8..=16;
/// How many possible beginnings of an object in a text are checked.
const MOST_PLACES: usize = 1000;
/// How much of an object is shown, in bytes.
const LONGEST_SHOWN: usize = 200;

/// Made once, because making it takes as long as searching a text.
static BEGINNING: LazyLock<memmem::Finder<'_>> = LazyLock::new(|| memmem::Finder::new(b"#<"));

/// An object in a text.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreadable {
    /// The name of the store item.
    pub name: String,
    /// The beginning of the object, without its address. It is the same in every evaluation.
    pub object: String,
}

impl Unreadable {
    /// The first object in the text of the store item `name`.
    pub(super) fn find(name: &str, text: &[u8]) -> Option<Arc<Self>> {
        let mut places = BEGINNING.find_iter(text).take(MOST_PLACES);
        let object = places.find_map(|start| object(&text[start..]))?;
        Some(Arc::new(Self { name: name.to_owned(), object }))
    }
}

/// The object at the beginning of a text, if it has an address.
fn object(text: &[u8]) -> Option<String> {
    let inside = text.strip_prefix(b"#<")?;
    let word = inside.strip_prefix(b"<").unwrap_or(inside);
    if !word.first()?.is_ascii_alphabetic() {
        return None;
    }
    let window = &text[..text.len().min(LONGEST_OBJECT)];
    let mut start = 0;
    for word in window.split(|byte| matches!(byte, b' ' | b'>')) {
        let end = start + word.len();
        let is_hexadecimal = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        // A word at the end of the window may be incomplete.
        let is_whole = end < window.len();
        if is_whole
            && window[start - usize::from(start > 0)] == b' '
            && ADDRESS.contains(&word.len())
            && word.iter().all(is_hexadecimal)
        {
            let shown = String::from_utf8_lossy(&text[..start.min(LONGEST_SHOWN)]).into_owned();
            return Some(format!("{}…>", shown.trim_end_matches(char::REPLACEMENT_CHARACTER)));
        }
        start = end + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_with_an_address_are_found() {
        let found =
            |text: &str| Unreadable::find("x-builder", text.as_bytes()).map(|found| found.object.clone());
        for (text, object) in [
            (
                r#"(cons "--x" #<gexp (list "--y") a.scm:3:4 7f8a1b2c3d40>)"#,
                r#"#<gexp (list "--y") a.scm:3:4 …>"#,
            ),
            ("#<procedure 7f8a1b2c3d40 at a.scm:1:2 (x)>", "#<procedure …>"),
            (
                r#"("\#<file-append #<package guile@3 g.scm:9 7f8a1b2c3d40> \"/bin\">")"#,
                "#<file-append #<package guile@3 g.scm:9 …>",
            ),
            ("#<<local-file> file: #<promise 7f8a1b2c> name: 1>", "#<<local-file> file: #<promise …>"),
        ] {
            assert_eq!(found(text).as_deref(), Some(object), "{text}");
        }
        for text in [
            "",
            "#<",
            "#<a",
            "#<gexp 7f8a1b2c3d40",
            "#<gexp 7f8a1b>",
            "#< gexp 7f8a1b2c3d40>",
            "#<gexp 7F8A1B2C3D40>",
            "#<unspecified>",
            "#<<git-reference> url: \"x\">",
            "${x#<y} deadbeefs >",
            "<gexp 7f8a1b2c3d40>",
            "#<x-7f8a1b2c3d40>",
            "#<procedure f (a b)>",
            "#<gexp 7f8a1b2c3d407f8a1b>",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        let far = format!("#<gexp {} 7f8a1b2c3d40>", "x".repeat(LONGEST_OBJECT));
        assert_eq!(found(&far), None);
        let long = found(&format!("#<gexp {}é 7f8a1b2c3d40>", "x".repeat(LONGEST_SHOWN - 8))).unwrap();
        assert!(long.ends_with("x…>"), "{long}");
    }
}
