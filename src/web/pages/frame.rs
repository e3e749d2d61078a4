//! What surrounds every page: head, navigation, foot, style sheet, and the user.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};

use super::clean::Clean;
use super::link;
use crate::domain::access::Role;
use crate::web::caller::Caller;

const STYLE: &str = include_str!("../assets/style.css");
const ICON: &str = include_str!("../assets/icon.svg");
const LIVE: &str = include_str!("../assets/live.js");
/// Morphs one tree of elements into another with few changes: idiomorph 0.8.0, from npm,
/// Zero-Clause BSD.
const MORPH: &str = include_str!("../assets/idiomorph.min.js");

/// A request for a page.
#[derive(Debug, Clone, Default)]
pub(in crate::web) struct Visit {
    caller: Option<Caller>,
    /// The path and query of the page.
    address: String,
}

impl<S: Sync> FromRequestParts<S> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let address = parts.uri.path_and_query().map_or("/", |address| address.as_str()).to_owned();
        Ok(Self { caller: parts.extensions.get::<Caller>().cloned(), address })
    }
}

impl Visit {
    /// Sets the authenticated caller. Only a page may be returned to later.
    pub(super) fn of(self, caller: Option<&Caller>, is_page: bool) -> Self {
        let address = if is_page { self.address } else { "/".to_owned() };
        Self { caller: caller.cloned().or(self.caller), address }
    }

    /// The frame of a page with this title. The title is escaped and cut like all untrusted text.
    pub(super) fn frame(&self, title: &str, current: &'static str) -> Frame {
        let known = self.caller.as_ref().filter(|caller| caller.token.is_some());
        let role = known.map(|caller| caller.author.role);
        Frame {
            title: Clean::line(title).to_string(),
            current,
            user: known.map(|caller| Clean::line(&caller.author.name)),
            has_session: known.is_some_and(|caller| caller.token.as_ref().is_some_and(|one| one.is_session)),
            role,
            login: format!("/login{}", link::query(&[("back", &self.address)])),
            back: self.address.clone(),
        }
    }
}

/// The frame of one page.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) title: String,
    /// The path of the current entry of the navigation.
    current: &'static str,
    /// The name of the logged-in user.
    pub(super) user: Option<Clean>,
    /// Whether the user can log out.
    pub(super) has_session: bool,
    role: Option<Role>,
    /// The link to log in.
    pub(super) login: String,
    /// The path and query of the page, to which its buttons return.
    pub(super) back: String,
}

/// The version of Gorget.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The navigation: paths and labels.
const ENTRIES: [(&str, &str); 8] = [
    ("/", "Overview"),
    ("/specs", "Specs"),
    ("/branches", "Branches"),
    ("/queue", "Queue"),
    ("/builds", "Builds"),
    ("/coverage", "Coverage"),
    ("/compare", "Compare"),
    ("/farm", "Farm"),
];
/// Further entries for admins.
const ADMIN_ENTRIES: [(&str, &str); 2] = [("/admin/tokens", "Tokens"), ("/admin/audit", "Audit log")];

impl Frame {
    /// The navigation: path, label, and whether it is the current entry.
    pub(super) fn entries(&self) -> Vec<(&'static str, &'static str, bool)> {
        let admin = self.may_administrate().then_some(ADMIN_ENTRIES).into_iter().flatten();
        ENTRIES.into_iter().chain(admin).map(|(path, word)| (path, word, path == self.current)).collect()
    }

    pub(super) fn may(&self, needed: Role) -> bool {
        self.role.is_some_and(|role| role >= needed)
    }

    pub(super) fn may_trigger(&self) -> bool {
        self.may(Role::Trigger)
    }

    pub(super) fn may_operate(&self) -> bool {
        self.may(Role::Operate)
    }

    pub(super) fn may_administrate(&self) -> bool {
        self.may(Role::Admin)
    }
}

/// Serves the files that pages load. They change only with the program.
pub(in crate::web) async fn asset(Path(file): Path<String>) -> Response {
    let (kind, text) = match file.as_str() {
        "style.css" => ("text/css; charset=utf-8", STYLE),
        "icon.svg" => ("image/svg+xml", ICON),
        "idiomorph.js" => ("text/javascript; charset=utf-8", MORPH),
        "live.js" => ("text/javascript; charset=utf-8", LIVE),
        _ => return (StatusCode::NOT_FOUND, "not found\n").into_response(),
    };
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "max-age=3600")], text).into_response()
}
