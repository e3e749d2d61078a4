//! Formats numbers and times.

use crate::clock::{Seconds, readable_span, utc};
use crate::view::build::BuildCount;

use super::shape::Shape;

/// A number with thousands separated by narrow non-breaking blanks.
pub(super) fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "−".to_owned() } else { String::new() };
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun, in the singular or plural.
pub(super) fn count(many: i64, one: &str, several: &str) -> String {
    format!("{}\u{a0}{}", number(many), if many == 1 { one } else { several })
}

/// A point in time in the two forms that a page shows.
#[derive(Debug)]
pub(super) struct Time {
    /// The distance to the present.
    pub(super) span: String,
    /// Date and time.
    pub(super) exact: String,
}

impl Time {
    pub(super) fn new(at: Seconds, now: Seconds) -> Self {
        Self { span: readable_span((now - at).abs()), exact: utc(at) }
    }
}

/// The number of builds in one state.
#[derive(Debug)]
pub(super) struct StateCount {
    pub(super) shape: Shape,
    pub(super) count: String,
}

/// The number of builds in each state that has any, in the order in which states are shown.
pub(super) fn state_counts<'a>(counts: impl Iterator<Item = &'a BuildCount<'a>>) -> Vec<StateCount> {
    let counts: Vec<&BuildCount<'_>> = counts.collect();
    let of_state =
        |state| -> i64 { counts.iter().filter(|count| count.state == state).map(|count| count.count).sum() };
    crate::db::BuildState::ALL
        .into_iter()
        .map(|state| (state, of_state(state)))
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| StateCount { shape: Shape::of_build(state), count: number(count) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(
            [0, 999, 31_330, -1_234_567].map(number).join(" "),
            "0 999 31\u{202f}330 −1\u{202f}234\u{202f}567"
        );
        assert_eq!(
            [count(1, "build", "builds"), count(0, "build", "builds")].join(", "),
            "1\u{a0}build, 0\u{a0}builds"
        );
    }
}
