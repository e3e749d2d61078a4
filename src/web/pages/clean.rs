//! Text that comes from evaluated code, repositories and servers, made harmless for a page.

use std::fmt;

use crate::domain::spec::sanitize;

/// The longest name or reason on one line, in characters.
const LINE: usize = 200;
/// The longest text of several lines, in bytes.
const TEXT: usize = 8 << 10;

/// Text without control characters and without characters that change the direction of writing, cut
/// to a length. Templates show no other text from outside, and escape it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clean(String);

impl Clean {
    /// Makes one line.
    pub(super) fn line(text: &str) -> Self {
        let mut line: String = sanitize(text).chars().take(LINE).collect();
        if line.len() < text.len() && text.chars().nth(LINE).is_some() {
            line.push('…');
        }
        Self(line)
    }

    /// Keeps the lines.
    pub(super) fn text(text: &str) -> Self {
        let end = text.floor_char_boundary(TEXT);
        let lines: Vec<String> = text[..end].lines().map(sanitize).collect();
        let more = if end < text.len() { "\n…" } else { "" };
        Self(lines.join("\n") + more)
    }

    /// The first line.
    pub(super) fn first_line(text: &str) -> Self {
        Self::line(text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default())
    }

    /// Whether there is no text.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The beginning of a commit.
    pub(super) fn commit(commit: &str) -> Self {
        Self::line(commit.get(..10).unwrap_or(commit))
    }
}

impl fmt::Display for Clean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_cut_and_turns_nothing() {
        let line = |text: &str| Clean::line(text).to_string();
        assert_eq!(line("a\u{202e}b\u{1b}[2Jc\nd"), "a\u{fffd}b\u{fffd}[2Jc\u{fffd}d");
        assert_eq!(line(&"é".repeat(201)), "é".repeat(200) + "…");
        assert_eq!(line(&"é".repeat(200)), "é".repeat(200));
        let text = Clean::text(&"é\n".repeat(5000)).to_string();
        assert!(text.len() < TEXT + 10 && text.ends_with("\n…"));
        assert_eq!(Clean::first_line("\n \nno\u{0}w\nlater").to_string(), "no\u{fffd}w");
    }
}
