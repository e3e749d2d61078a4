use crate::guix::nar;

/// How the contents of a store item are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type, serde::Deserialize)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// A plain file: its bytes.
    Text,
    /// Anything: a NAR.
    Nar,
}

impl ItemKind {
    /// As it stands in the database.
    pub(in crate::db) const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Nar => "nar",
        }
    }

    /// What its NAR has before and after `length` bytes of contents.
    pub(in crate::db) fn frame(self, length: u64) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::Text => nar::frame(length),
            Self::Nar => Default::default(),
        }
    }
}
