//! What all pages have around them: head, navigation, foot, style sheet.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};

const STYLE: &str = include_str!("../assets/style.css");
const ICON: &str = include_str!("../assets/icon.svg");

/// The frame of one page.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) title: String,
    /// The entry of the navigation that is current, by its path.
    current: &'static str,
}

/// Which Gorget makes the pages.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The navigation: path and word.
const ENTRIES: [(&str, &str); 3] = [("/", "Overview"), ("/queue", "Queue"), ("/farm", "Farm")];

impl Frame {
    /// The frame of a page called so. The title is escaped and cut like all untrusted text.
    pub(super) fn new(title: &str, current: &'static str) -> Self {
        Self { title: super::clean::Clean::line(title).to_string(), current }
    }

    pub(super) fn entries(&self) -> Vec<(&'static str, &'static str, bool)> {
        ENTRIES.iter().map(|(path, word)| (*path, *word, *path == self.current)).collect()
    }
}

/// The files that pages load. They change with the program only.
pub(super) async fn asset(Path(file): Path<String>) -> Response {
    let (kind, text) = match file.as_str() {
        "style.css" => ("text/css; charset=utf-8", STYLE),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return (StatusCode::NOT_FOUND, "there is nothing here\n").into_response(),
    };
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "max-age=3600")], text).into_response()
}
