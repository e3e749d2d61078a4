//! Faults and warnings about a file, shown with line, caret and hint.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

/// A fault or a warning about a place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the file can be used despite it.
    pub severity: Severity,
    /// The problem: one sentence without a full stop.
    pub message: String,
    /// The place, in bytes from the start of the file.
    pub span: Range<usize>,
    /// A few words shown at the place; may be empty.
    pub label: String,
    /// What to do about it, if that is known.
    pub hint: Option<String>,
}

/// The severity of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Fault,
    /// The file can be used despite it.
    Warning,
}

impl Diagnostic {
    /// A fault at `span`.
    pub fn fault(span: Range<usize>, message: impl Into<String>) -> Self {
        let severity = Severity::Fault;
        Self { severity, message: message.into(), span, label: String::new(), hint: None }
    }

    /// A warning about `span`.
    pub fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::fault(span, message) }
    }

    /// Adds a few words to show at the place.
    #[must_use]
    pub fn label(self, label: impl Into<String>) -> Self {
        Self { label: label.into(), ..self }
    }

    /// Adds a hint what to do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Line and column of the start of the span in `source`, counted from 1, the column in
    /// characters.
    pub fn position(&self, source: &str) -> (usize, usize) {
        position(source, self.span.start)
    }
}

/// Line and column of the byte at `offset`, counted from 1, the column in characters.
pub fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = &source[..source.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The diagnostics of one file as text for people: each with its line, a caret and the hint.
///
/// `file` is the name to show; the spans point into `source`. Nothing in any of them can control
/// the terminal. With `color`, the text has ANSI styles.
pub fn render(diagnostics: &[Diagnostic], file: &str, source: &str, color: bool) -> String {
    let file = sanitize(file);
    let source = sanitize_in_place(source);
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let texts = diagnostics.iter().map(|diagnostic| {
        let level = match diagnostic.severity {
            Severity::Fault => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(sanitize(&diagnostic.message));
        let group = if source.is_empty() {
            title.element(Origin::path(&*file))
        } else {
            title.element(snippet(diagnostic, &file, &source))
        };
        let hint = diagnostic.hint.as_deref().map(sanitize);
        let groups = [group]
            .into_iter()
            .chain(hint.map(|hint| Group::with_title(Level::HELP.with_name("hint").secondary_title(hint))));
        renderer.render(&groups.collect::<Vec<_>>()) + "\n"
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// The line that the diagnostic points at. A span of several lines is cut after the first.
fn snippet<'a>(
    diagnostic: &Diagnostic,
    file: &'a str,
    source: &'a str,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let start = source.floor_char_boundary(diagnostic.span.start);
    let end = source.ceil_char_boundary(diagnostic.span.end.max(start));
    let end = source[start..end].find('\n').map_or(end, |newline| start + newline);
    let annotation = AnnotationKind::Primary.span(start..end);
    let annotation = match diagnostic.label.as_str() {
        "" => annotation,
        label => annotation.label(sanitize(label)),
    };
    Snippet::source(source).path(file).annotation(annotation)
}

/// `text` on one line, with everything that could control a terminal replaced.
pub fn sanitize(text: &str) -> String {
    text.chars().map(|char| if char == '\n' || controls(char) { '\u{fffd}' } else { char }).collect()
}

/// Replaces the same in a text of many lines. Every byte keeps its position.
fn sanitize_in_place(text: &str) -> String {
    let text = text.replace("\r\n", " \n");
    let chars = text.chars().map(|char| match (controls(char), char.len_utf8()) {
        (false, _) => char,
        (true, 1) => '?',
        (true, 2) => '\u{b7}',
        (true, _) => '\u{fffd}',
    });
    chars.collect()
}

/// Whether it moves the cursor, begins an escape sequence or changes the writing direction.
fn controls(char: char) -> bool {
    let turns = matches!(char, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    turns || (char.is_control() && char != '\n' && char != '\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_person_sees_the_line_a_caret_and_the_hint() {
        let source = "name = \"x\"\nprority = 3 # schön\n";
        let diagnostics = [
            Diagnostic::fault(11..18, "unknown key `prority`")
                .label("no such key")
                .hint("did you mean `priority`?"),
            Diagnostic::warning(27..500, "this reaches beyond the end"),
        ];
        insta::assert_snapshot!(render(&diagnostics, "specs/x.toml", source, false), @r#"
        error: unknown key `prority`
         --> specs/x.toml:2:1
          |
        2 | prority = 3 # schön
          | ^^^^^^^ no such key
          |
        hint: did you mean `priority`?

        warning: this reaches beyond the end
         --> specs/x.toml:2:17
          |
        2 | prority = 3 # schön
          |                 ^^^
        "#);
        assert_eq!(diagnostics[0].position(source), (2, 1));
        assert_eq!(position(source, source.len() - 2), (2, 19));
    }

    #[test]
    fn a_fault_of_a_file_without_text_names_the_file() {
        let text =
            render(&[Diagnostic::fault(0..0, "cannot be read").hint("try again")], "a.toml", "", false);
        insta::assert_snapshot!(text, @r#"
        error: cannot be read
        --> a.toml
         |
        hint: try again
        "#);
    }

    proptest! {
        /// A file or its name cannot control the reader's terminal: only the renderer's own styles
        /// reach it, and spans that do not fit do no harm.
        #[test]
        fn nothing_in_a_file_controls_the_terminal(
            text in "([a-z\n\té€🦀]|\\PC|[\u{0}-\u{9f}\u{200e}\u{202e}\u{2066}]){0,40}",
            span in (0usize..60, 0usize..60),
        ) {
            let diagnostic = Diagnostic::fault(span.0..span.1, text.clone()).label(text.clone()).hint(text.clone());
            let shown = render(&[diagnostic], &text, &text, false);
            let bad = shown.chars().find(|char| controls(*char));
            prop_assert_eq!(bad, None, "{:?}", shown);
        }
    }
}
