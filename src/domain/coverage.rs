//! How many of the outputs of an evaluation substitute servers have.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Numbers of sets of outputs by what is known of them. A set counts as present if all its outputs
/// are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// The server has them.
    pub present: i64,
    /// The server does not have them.
    pub absent: i64,
    /// The server was not asked yet, or has not answered for a while.
    pub unknown: i64,
}

/// Whether a share of outputs is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enough {
    /// It is.
    Yes,
    /// It is not, whatever the unknown ones turn out to be.
    No,
    /// The unknown ones decide.
    Unknown,
}

/// What keeps outputs back that no server has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Missing {
    /// The failed builds that most of them wait for, the worst first.
    pub causes: Vec<MissingCause>,
    /// Numbers of sets of outputs, by the state of their build, or [`BLOCKED`] or [`NO_BUILD`].
    pub states: BTreeMap<String, i64>,
}

/// A failed build that others wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissingCause {
    /// Number of missing sets of outputs that wait for it, its own not counted.
    pub blocked: i64,
    /// The number of the build.
    pub build: i64,
    /// The job that wanted it.
    pub job: String,
}

/// An answer of a server counts for so many seconds.
pub const ANSWER_LIFETIME: i64 = 3 * 24 * 3600;
/// The build waits for a build that failed.
pub const BLOCKED: &str = "blocked";
/// Nothing wants the build.
pub const NO_BUILD: &str = "no-build";

impl Counts {
    /// Counts answers; `None` is unknown.
    pub fn of(answers: impl IntoIterator<Item = Option<bool>>) -> Self {
        let mut counts = Self::default();
        for answer in answers {
            match answer {
                Some(true) => counts.present += 1,
                Some(false) => counts.absent += 1,
                None => counts.unknown += 1,
            }
        }
        counts
    }

    /// All of them.
    pub fn total(self) -> i64 {
        self.present + self.absent + self.unknown
    }

    /// The share that is present, in per cent, rounded down to tenths: 100 only if all are present.
    /// `None` if there are none.
    pub fn percent(self) -> Option<f64> {
        let tenths = self.present.saturating_mul(1000).checked_div(self.total())?;
        Some(f64::from(i32::try_from(tenths).ok()?) / 10.0)
    }

    /// Whether so many per cent are present. Nothing is enough if nothing is known of any output.
    pub fn has(self, percent: f64) -> Enough {
        let number = |count: i64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let share = |count| 100.0 * number(count) >= percent * number(self.total());
        match () {
            () if self.total() == 0 => Enough::Unknown,
            () if share(self.present) => Enough::Yes,
            () if share(self.present + self.unknown) => Enough::Unknown,
            () => Enough::No,
        }
    }
}

/// Whether any of several servers has something: no only if each says so.
pub fn anywhere(answers: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = None;
    let mut is_unknown = false;
    for answer in answers {
        match answer {
            Some(true) => return Some(true),
            Some(false) => result = Some(false),
            None => is_unknown = true,
        }
    }
    if is_unknown { None } else { result }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer() -> impl Strategy<Value = Option<bool>> {
        prop_oneof![Just(None), Just(Some(true)), Just(Some(false))]
    }

    /// The answers that may follow once all servers have answered.
    fn known(answers: &[Option<bool>], unknown: bool) -> Vec<Option<bool>> {
        answers.iter().map(|answer| answer.or(Some(unknown))).collect()
    }

    proptest! {
        #[test]
        fn what_is_said_to_be_enough_stays_so_whatever_is_unknown(
            answers in prop::collection::vec(answer(), 0..20), percent in 0.0..=100.0_f64,
        ) {
            let at = |unknown| Counts::of(known(&answers, unknown)).has(percent);
            match Counts::of(answers.iter().copied()).has(percent) {
                Enough::Unknown => prop_assert!(answers.is_empty() || at(true) != at(false)),
                decided => prop_assert_eq!((at(true), at(false)), (decided, decided)),
            }
        }

        #[test]
        fn a_server_that_does_not_answer_never_makes_an_output_absent(
            answers in prop::collection::vec(answer(), 1..5),
        ) {
            let (best, worst) = (anywhere(known(&answers, true)), anywhere(known(&answers, false)));
            let expected = if best == worst { best } else { None };
            prop_assert_eq!(anywhere(answers.iter().copied()), expected);
        }

        #[test]
        fn a_hundred_per_cent_means_all(present in 0..100_000_i64, absent in 1..100_i64) {
            let counts = Counts { present, absent, unknown: 0 };
            prop_assert!(counts.percent().is_some_and(|percent| percent < 100.0));
            let all = Counts { present: present + 1, absent: 0, unknown: 0 };
            prop_assert_eq!(all.percent(), Some(100.0));
        }
    }

    #[test]
    fn nothing_is_known_of_nothing() {
        assert_eq!(Counts::default().percent(), None);
        assert_eq!(Counts::default().has(0.0), Enough::Unknown);
        assert_eq!(anywhere([]), None);
    }
}
