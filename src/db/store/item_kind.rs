use crate::guix::nar;

/// The encoding of a store item's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type, serde::Deserialize)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// The bytes of a plain file.
    Text,
    /// A NAR, for any other item.
    Nar,
}

impl ItemKind {
    /// The word in the database.
    pub(in crate::db) const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Nar => "nar",
        }
    }

    /// The parts of the NAR before and after `length` bytes of contents.
    pub(in crate::db) fn frame(self, length: u64) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::Text => nar::frame(length),
            Self::Nar => Default::default(),
        }
    }
}
