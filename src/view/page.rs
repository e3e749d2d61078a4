use serde::Serialize;

/// A part of a long list.
#[derive(Debug, Serialize)]
pub struct Page<T, C> {
    /// The entries.
    pub items: Vec<T>,
    /// The list goes on with this as `before`; `None` at its end.
    pub next_before: Option<C>,
}
