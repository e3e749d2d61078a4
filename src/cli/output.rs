//! The output of Gorget: data to standard output, everything else to standard error.

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::domain::spec::sanitize;

const RED: Style = AnsiColor::Red.on_default().bold();

/// Prints why a command failed.
pub(super) fn error(error: &anyhow::Error) {
    let text = sanitize_lines(&format!("{error:#}"));
    let _ = writeln!(anstream::stderr(), "{RED}error:{RED:#} {text}");
}

/// Prints a message that is not data.
pub(super) fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", sanitize_lines(text));
}

/// Prints one line of data.
pub(super) fn line(text: &str) -> io::Result<()> {
    writeln!(anstream::stdout(), "{}", sanitize(text))
}

/// Prints a blank line and a paragraph of data. Its lines after the first are indented.
pub(super) fn paragraph(text: &str) -> io::Result<()> {
    writeln!(anstream::stdout(), "\n{}", indented(text, "\n  "))
}

/// Prints an entry of a list. Its lines after the first are indented, so that none of them looks
/// like another entry.
pub(super) fn entry(text: &str) -> io::Result<()> {
    writeln!(anstream::stdout(), "{}", indented(text, "\n      "))
}

/// Prints an entry that is not data.
pub(super) fn note_entry(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", indented(text, "\n      "));
}

/// Prints one or more lines of data in one write.
pub(super) fn lines(lines: &[String]) -> io::Result<()> {
    let lines: Vec<_> = lines.iter().map(|line| sanitize(line)).collect();
    writeln!(anstream::stdout(), "{}", lines.join("\n"))
}

/// Prints data of several lines.
pub(super) fn text(text: &str) -> io::Result<()> {
    writeln!(anstream::stdout(), "{}", sanitize_lines(text))
}

/// Prints a JSON document on one line.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    Ok(io::stdout().write_all(&text)?)
}

/// Prints a table, or nothing if it has no rows.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().map(ToString::to_string));
    for row in rows {
        table.add_row(row.iter().map(|cell| sanitize(cell)).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    writeln!(anstream::stdout(), "{}", text.join("\n"))
}

/// `1 job`, `2 jobs`.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn indented(text: &str, line_break: &str) -> String {
    text.lines().map(sanitize).collect::<Vec<_>>().join(line_break)
}

fn sanitize_lines(text: &str) -> String {
    indented(text, "\n")
}
