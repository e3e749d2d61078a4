//! Logs to standard error, filtered by `GORGET_LOG`, as text or, with `GORGET_LOG_FORMAT=json`, as
//! one JSON object for each event.
//!
//! Events contain text from evaluated code, repositories and servers. So each line of an event
//! after the first is indented, and characters that could control a terminal are made visible: no
//! text can look like an event of its own. JSON has no such lines.

/// What this process counts since its start.
pub mod counters;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write, stderr};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use crate::domain::spec::sanitize;

/// The environment variable that filters the log.
pub const VARIABLE: &str = "GORGET_LOG";

/// The environment variable that says in which format to log: `text` or `json`.
pub const FORMAT: &str = "GORGET_LOG_FORMAT";

/// The filter that is used when the variable is not set.
static DEFAULT: OnceLock<String> = OnceLock::new();

/// The filter of this process, to pass to a child process.
pub fn filter() -> OsString {
    std::env::var_os(VARIABLE).unwrap_or_else(|| DEFAULT.get().cloned().unwrap_or_default().into())
}

/// Starts logging, with `default` as the filter, such as `gorget=info`, unless `GORGET_LOG` is set.
pub fn begin(default: &str) {
    let _ = DEFAULT.set(default.to_owned());
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    let log = log.with_writer(|| Events(stderr()));
    if is_json() {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    } else {
        log.with_ansi(stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()).init();
        if let Some(other) = std::env::var_os(FORMAT).filter(|format| !format.is_empty() && format != "text")
        {
            tracing::warn!("{FORMAT} is neither `text` nor `json`: {}", other.display());
        }
    }
}

/// Whether the log is JSON.
pub fn is_json() -> bool {
    std::env::var_os(FORMAT).is_some_and(|format| format == "json")
}

/// Sanitizes events; the subscriber passes each one in a single `write`.
struct Events<W>(W);

impl<W: Write> Write for Events<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write_all(readable(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// An event in the form that is printed. Color codes stay: the subscriber may have added them, and
/// they are harmless.
fn readable(event: &str) -> String {
    let lines: Vec<String> = event.trim_end().split('\n').map(readable_line).collect();
    lines.join("\n  ") + "\n"
}

fn readable_line(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut text = sanitize(parts.next().unwrap_or_default());
    for part in parts {
        let parameters = part.find(|char: char| !char.is_ascii_digit() && char != ';').unwrap_or(part.len());
        let is_color = part[parameters..].starts_with('m');
        text.push_str(if is_color { "\u{1b}[" } else { "\u{fffd}[" });
        text.push_str(&sanitize(part));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_looks_like_an_event_or_controls_the_terminal() {
        let event = "\u{1b}[32m INFO\u{1b}[0m a\r\nERROR b\u{1b}[2J\u{1b}]0;c\u{7} \u{202e}d\n\n";
        let expected =
            "\u{1b}[32m INFO\u{1b}[0m a\u{fffd}\n  ERROR b\u{fffd}[2J\u{fffd}]0;c\u{fffd} \u{fffd}d\n";
        assert_eq!(readable(event), expected);
        let mut written = Vec::new();
        Events(&mut written).write_all(b"one\xff\n").unwrap();
        assert_eq!(written, "one\u{fffd}\n".as_bytes());
        let json = serde_json::json!({ "message": "\u{1b}[2J\n\u{202e}" }).to_string();
        assert_eq!(readable(&json), "{\"message\":\"\\u001b[2J\\n\u{fffd}\"}\n");
    }
}
