//! Reads tables of a file. Every fault is noted with its place, and reading goes on.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::System;
use super::diagnostic::Diagnostic;

/// A value and its place in the file.
pub(super) type Value<'a> = &'a Spanned<DeValue<'a>>;

/// One table. Values are taken by their keys; a key that was not taken is a fault.
pub(super) struct Section<'a> {
    called: &'static str,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// Begins to read `table`. `called` is the table's name for people, with its article.
    pub(super) fn new(called: &'static str, table: &'a DeTable<'a>, span: Range<usize>) -> Self {
        Self { called, table, span, known: Vec::new() }
    }

    /// The value of `key`, if there is one.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.known.push(key);
        self.table.get(key)
    }

    /// The value of `key`; a missing key is a fault.
    pub(super) fn require(
        &mut self,
        key: &'static str,
        hint: &str,
        faults: &mut Vec<Diagnostic>,
    ) -> Option<Value<'a>> {
        let value = self.take(key);
        if value.is_none() {
            let message = format!("{} needs `{key}`", self.called);
            faults.push(Diagnostic::fault(self.span.clone(), message).hint(hint));
        }
        value
    }

    /// The place of the table in the file.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Ends reading. Every key that was not taken is a fault.
    pub(super) fn finish(self, faults: &mut Vec<Diagnostic>) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let message = format!("{} has no key `{name}`", self.called);
                faults.push(Diagnostic::fault(key.span(), message).hint(suggestion(name, &self.known)));
            }
        }
    }
}

/// Reads the value as a string.
pub(super) fn string<'a>(value: Value<'a>, faults: &mut Vec<Diagnostic>) -> Option<Spanned<&'a str>> {
    let text = value.get_ref().as_str();
    if text.is_none() {
        wrong_type(value, "a string", faults);
    }
    text.map(|text| Spanned::new(value.span(), text))
}

/// Reads the value as `true` or `false`.
pub(super) fn boolean(value: Value<'_>, faults: &mut Vec<Diagnostic>) -> Option<bool> {
    let boolean = value.get_ref().as_bool();
    if boolean.is_none() {
        wrong_type(value, "`true` or `false`", faults);
    }
    boolean
}

/// Reads the value as a table.
pub(super) fn table<'a>(
    value: Value<'a>,
    called: &'static str,
    faults: &mut Vec<Diagnostic>,
) -> Option<Section<'a>> {
    let DeValue::Table(table) = value.get_ref() else {
        wrong_type(value, "a table", faults);
        return None;
    };
    Some(Section::new(called, table, value.span()))
}

/// Reads the value as a list with at least one item.
pub(super) fn list<'a>(value: Value<'a>, faults: &mut Vec<Diagnostic>) -> Option<&'a [Spanned<DeValue<'a>>]> {
    let DeValue::Array(items) = value.get_ref() else {
        wrong_type(value, "a list", faults);
        return None;
    };
    if items.is_empty() {
        faults
            .push(Diagnostic::fault(value.span(), "this list is empty").label("expected at least one item"));
        return None;
    }
    Some(items)
}

/// Reads the value as a list of strings. `read` reads each; a repeated item is a fault.
pub(super) fn strings<T: PartialEq>(
    value: Value<'_>,
    faults: &mut Vec<Diagnostic>,
    read: impl Fn(&Spanned<&str>, &mut Vec<Diagnostic>) -> Option<T>,
) -> Option<Vec<T>> {
    let mut found = Vec::new();
    for item in list(value, faults)? {
        let Some(text) = string(item, faults) else { continue };
        let Some(item) = read(&text, faults) else { continue };
        if found.contains(&item) {
            let message = format!("`{}` is listed twice", text.get_ref());
            faults.push(Diagnostic::fault(text.span(), message).hint("leave one of them out"));
        } else {
            found.push(item);
        }
    }
    Some(found)
}

/// Reads the name of a system.
pub(super) fn system(text: &Spanned<&str>, faults: &mut Vec<Diagnostic>) -> Option<System> {
    let system = System::new(text.get_ref());
    if system.is_none() {
        unknown(text, &System::KNOWN, faults);
    }
    system
}

/// Reads a whole number; `what` is its name and a hint.
pub(super) fn whole(
    value: Value<'_>,
    range: RangeInclusive<u32>,
    (what, hint): (&str, &str),
    faults: &mut Vec<Diagnostic>,
) -> Option<u32> {
    let Some(number) = value.get_ref().as_integer() else {
        wrong_type(value, "a whole number", faults);
        return None;
    };
    let number = u32::from_str_radix(number.as_str(), number.radix()).ok().filter(|n| range.contains(n));
    if number.is_none() {
        let message = format!("{what} is a number from {} to {}", range.start(), range.end());
        faults.push(Diagnostic::fault(value.span(), message).hint(hint));
    }
    number
}

/// Notes that `value` does not have the expected type.
pub(super) fn wrong_type(value: Value<'_>, expected: &str, faults: &mut Vec<Diagnostic>) {
    let found = match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let message = format!("expected {expected}, found {found}");
    faults.push(Diagnostic::fault(value.span(), message).label(format!("expected {expected}")));
}

/// Notes that the word is not among the known ones.
pub(super) fn unknown(text: &Spanned<&str>, known: &[&str], faults: &mut Vec<Diagnostic>) {
    let fault = Diagnostic::fault(text.span(), format!("`{}` is not known here", text.get_ref()));
    faults.push(fault.hint(suggestion(text.get_ref(), known)));
}

/// Suggests what `word` was meant to be.
fn suggestion(word: &str, known: &[&str]) -> String {
    if let Some(name) = known.iter().find(|name| abbreviates(word, name)) {
        return format!("did you mean `{name}`?");
    }
    let near = known.iter().map(|name| (distance(word, name), *name)).min();
    match near {
        Some((distance, name)) if distance <= 1 + name.len() / 4 => format!("did you mean `{name}`?"),
        _ => {
            let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            format!("there are {}", names.join(", "))
        }
    }
}

/// Whether `word` is `name` with a shorter first part: `x86-linux` means `x86_64-linux`.
fn abbreviates(word: &str, name: &str) -> bool {
    match (word.split_once('-'), name.split_once('-')) {
        (Some((short, rest)), Some((long, other))) => {
            rest == other && !short.is_empty() && long.starts_with(short)
        }
        _ => false,
    }
}

/// The edit distance: how many characters must be inserted, removed or replaced to turn `a` into
/// `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, x) in a.chars().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        let known = ["name", "url", "branch", "priority"];
        assert_eq!(suggestion("prority", &known), "did you mean `priority`?");
        assert_eq!(suggestion("Url", &known), "did you mean `url`?");
        assert_eq!(suggestion("owner", &known), "there are `name`, `url`, `branch`, `priority`");
    }
}
