/// What a client without a token may see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anonymous {
    /// Pages and the API.
    #[default]
    Read,
    /// Only derivations as substitutes.
    None,
}

impl Anonymous {
    /// Whether a client without a token may read pages and the API.
    pub fn may_read(self) -> bool {
        self == Self::Read
    }
}
