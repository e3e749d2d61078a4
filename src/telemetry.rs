//! Logs: to standard error, as much as `GORGET_LOG` says.
//!
//! Events contain what evaluated code, repositories and servers say. So the lines of an event but the
//! first are indented, and what could control a terminal is made visible: no text can look like an event
//! of its own.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write, stderr};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use crate::domain::spec::sanitize;

/// Says what is logged.
pub const VARIABLE: &str = "GORGET_LOG";

/// What is logged where the variable does not say so.
static DEFAULT: OnceLock<String> = OnceLock::new();

/// What this process logs, for one that it starts.
pub fn filter() -> OsString {
    std::env::var_os(VARIABLE).unwrap_or_else(|| DEFAULT.get().cloned().unwrap_or_default().into())
}

/// Begins to log what `default` says, such as `gorget=info`, unless `GORGET_LOG` is set.
pub fn begin(default: &str) {
    let _ = DEFAULT.set(default.to_owned());
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_writer(|| Events(stderr()))
        .init();
}

/// Writes events, of which each comes whole.
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

/// An event as it is written. Colors stay: they are ours where there are any, and harmless.
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
    }
}
