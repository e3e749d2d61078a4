//! What is known of a route beside its handler.

use crate::domain::access::Role;

/// What answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A page, or a form of one.
    Page,
    /// The API.
    Api,
    /// A stream of events, without an end.
    Stream,
    /// A file that pages load.
    Asset,
    /// A store item; a coordinator's event, which has a token of its own.
    Open,
}

/// A path and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What answers.
    pub kind: Kind,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path, with names in braces.
    pub path: String,
    /// The role that it takes; nothing where anybody may.
    pub role: Option<Role>,
    /// What it is for, in a line.
    pub text: &'static str,
}
