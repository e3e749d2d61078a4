use schemars::JsonSchema;
use serde::Serialize;

/// The answer to a request that changed something.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Done {
    /// What was done, in a sentence.
    pub done: String,
}

/// All entries of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub struct Items<T> {
    /// The entries.
    pub items: Vec<T>,
}

/// A part of a long list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub struct Page<T, C> {
    /// The entries.
    pub items: Vec<T>,
    /// The list goes on with this as `before`; `None` at its end.
    pub next_before: Option<C>,
}
