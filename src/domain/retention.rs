//! Which evaluations of a spec are kept, and why: a pure function.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike as _};

use crate::domain::spec::Keep;

/// An evaluation that is complete or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Whether its jobs are known.
    pub complete: bool,
    /// When it ended, in seconds since 1970.
    pub at: i64,
    /// Why it must be kept, even if the spec says otherwise.
    pub needed_for: Option<NeededFor>,
}

/// What an evaluation is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeededFor {
    /// It is the newest, or the newest complete one: the next is compared with it.
    Tip,
    /// Somebody pinned it.
    Pinned,
    /// It wanted builds that have not ended.
    Builds,
    /// An evaluation of the same spec and system is not scheduled yet.
    Unscheduled,
}

/// Why an evaluation is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its spec has no retention rules.
    Everything,
    /// It is needed, as [`NeededFor`] says.
    Needed(NeededFor),
    /// It is among the newest.
    Newest,
    /// It is the last one of a day.
    Day,
    /// It is the last one of a week.
    Week,
    /// It is the last one of a month.
    Month,
}

impl Reason {
    /// The text for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Everything => "its spec keeps everything",
            Self::Needed(NeededFor::Tip) => "the newest",
            Self::Needed(NeededFor::Pinned) => "pinned",
            Self::Needed(NeededFor::Builds) => "its builds are not finished",
            Self::Needed(NeededFor::Unscheduled) => "not all of it is scheduled",
            Self::Newest => "among the newest",
            Self::Day => "last of its day",
            Self::Week => "last of its week",
            Self::Month => "last of its month",
        }
    }
}

/// Why each of the evaluations of one spec and system is kept, or `None` for those that can be
/// removed. The evaluations come newest first.
///
/// Failed evaluations count among the newest. Only complete ones are kept for a day, week or month.
pub fn retention_reasons(keep: Option<Keep>, evaluations: &[Finished]) -> Vec<Option<Reason>> {
    let mut reasons: Vec<Option<Reason>> =
        evaluations.iter().map(|e| e.needed_for.map(Reason::Needed)).collect();
    let Some(keep) = keep else {
        return reasons.into_iter().map(|reason| reason.or(Some(Reason::Everything))).collect();
    };
    for reason in reasons.iter_mut().take(keep.newest) {
        reason.get_or_insert(Reason::Newest);
    }
    let spans: [(Reason, usize, Span); 3] = [
        (Reason::Day, keep.days, day),
        (Reason::Week, keep.weeks, week),
        (Reason::Month, keep.months, month),
    ];
    for (because, most, span) in spans {
        let mut seen = BTreeSet::new();
        for (evaluation, reason) in evaluations.iter().zip(&mut reasons).filter(|(e, _)| e.complete) {
            if seen.len() < most && seen.insert(span(evaluation.at)) {
                reason.get_or_insert(because);
            }
        }
    }
    reasons
}

/// Numbers the days, weeks or months. Times in the same one get the same number.
type Span = fn(i64) -> i64;

fn day(at: i64) -> i64 {
    at.div_euclid(86_400)
}

/// Weeks begin on Monday. The first day of 1970 was a Thursday.
fn week(at: i64) -> i64 {
    (day(at) + 3).div_euclid(7)
}

fn month(at: i64) -> i64 {
    DateTime::from_timestamp(at, 0).map_or(0, |time| i64::from(time.year()) * 12 + i64::from(time.month0()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;
    /// Noon of a Monday, the first of a month.
    const NOON: i64 = 1_769_947_200 + 28 * DAY - DAY;

    fn at(at: i64) -> Finished {
        Finished { complete: true, at, needed_for: None }
    }

    #[test]
    fn the_last_of_each_day_week_and_month_is_kept() {
        // Two a day for seventy days, the newest first.
        let evaluations: Vec<Finished> = (0..140).map(|number| at(NOON - number * DAY / 2)).collect();
        let reasons = |keep| retention_reasons(Some(keep), &evaluations);
        let places = |keep| -> Vec<usize> {
            let reasons = reasons(keep);
            (0..140).filter(|place| reasons[*place].is_some()).collect()
        };
        let keep = Keep { newest: 1, ..Keep::default() };
        assert_eq!(places(keep), [0]);
        assert_eq!(places(Keep { days: 3, ..keep }), [0, 1 + 1, 3 + 1], "noon, then each midday before");
        assert_eq!(places(Keep { newest: 3, days: 2, ..keep }), [0, 1, 2]);
        let weeks = places(Keep { weeks: 3, ..keep });
        assert_eq!(weeks.len(), 3);
        assert_eq!(weeks[2] - weeks[1], 14, "a week apart");
        assert_eq!(places(Keep { months: 9, ..keep }).len(), 3, "there are no more");
    }

    #[test]
    fn what_is_bound_stays_and_what_failed_is_no_milestone() {
        let mut evaluations = [at(5 * DAY), at(4 * DAY), at(3 * DAY), at(2 * DAY)];
        evaluations[0].complete = false;
        evaluations[2].needed_for = Some(NeededFor::Pinned);
        let keep = Keep { newest: 1, days: 1, ..Keep::default() };
        let expected =
            [Some(Reason::Newest), Some(Reason::Day), Some(Reason::Needed(NeededFor::Pinned)), None];
        assert_eq!(retention_reasons(Some(keep), &evaluations), expected);
        assert!(retention_reasons(None, &evaluations).iter().all(Option::is_some));
    }
}
