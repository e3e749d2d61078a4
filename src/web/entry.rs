//! An entry of the table of routes: a route with its handler, and what it takes and gives.

use std::sync::Arc;

use axum::handler::Handler;
use axum::routing::{MethodRouter, post};
use schemars::JsonSchema;

use super::Shared;
use super::action_body::ActionBody;
use super::openapi::Exchange;
use super::route::{Kind, Route};
use crate::domain::access::Role;
use crate::view::page::Done;

/// A route with its handler, and what it takes and gives.
pub(super) struct Entry {
    pub(super) route: Route,
    pub(super) handler: MethodRouter<Arc<Shared>>,
    pub(super) exchange: Exchange,
}

impl Entry {
    /// Adds parameters of the query: fields of `T`, separated by blanks.
    pub(super) fn takes<T: JsonSchema>(mut self, names: &'static str) -> Self {
        self.exchange.takes::<T>(names);
        self
    }

    /// Sets the body of the request.
    pub(super) fn takes_body<T: JsonSchema>(mut self) -> Self {
        self.exchange.takes_body::<T>();
        self
    }

    /// Sets the answer.
    pub(super) fn gives<T: JsonSchema>(mut self) -> Self {
        self.exchange.gives::<T>("200");
        self
    }

    /// Sets the answer about something that was created.
    pub(super) fn creates<T: JsonSchema>(mut self) -> Self {
        self.exchange.gives::<T>("201");
        self
    }

    /// Sets the type of an answer that is not JSON.
    pub(super) fn gives_text(mut self, kind: &'static str) -> Self {
        self.exchange.gives_text(kind);
        self
    }
}

/// An entry of a kind and method, for who has a role.
pub(super) fn entry(
    (kind, method, role): (Kind, &'static str, Option<Role>),
    path: impl Into<String>,
    text: &'static str,
    handler: MethodRouter<Arc<Shared>>,
) -> Entry {
    let route = Route { kind, method, path: path.into(), role, text };
    Entry { route, handler, exchange: Exchange::default() }
}

/// The routes of an action, for the API and for a form.
pub(super) fn both<H, T>(role: Role, path: &str, text: &'static str, action: H) -> [Entry; 2]
where
    H: Handler<T, Arc<Shared>> + Clone,
    T: 'static,
{
    let api = post(action.clone());
    [
        entry((Kind::Api, "POST", Some(role)), format!("/api/v1{path}"), text, api)
            .takes_body::<ActionBody>()
            .gives::<Done>(),
        entry((Kind::Page, "POST", Some(role)), path, text, post(action)),
    ]
}

/// The same action with another body.
pub(super) fn with_body<T: JsonSchema>([api, form]: [Entry; 2]) -> [Entry; 2] {
    [api.takes_body::<T>(), form]
}
