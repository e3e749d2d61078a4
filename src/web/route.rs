//! The description of a route, without its handler.

use crate::domain::access::Role;

/// The kind of answer that a route gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A page, or a form of one.
    Page,
    /// The API.
    Api,
    /// The API of another program, for its clients.
    Compatible,
    /// An event stream, which has no end.
    Stream,
    /// A file that pages load.
    Asset,
    /// Without a token of ours: store items, events of coordinators, which have their own token,
    /// and webhooks, which are signed.
    Open,
}

/// A path and its purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The kind of answer.
    pub kind: Kind,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path, with names in braces.
    pub path: String,
    /// The role that it needs; `None` if anybody may use it.
    pub role: Option<Role>,
    /// Its purpose, in a line.
    pub text: &'static str,
}
