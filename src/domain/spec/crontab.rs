//! Reads ordinary crontabs on top of the `cron` crate. Quartz's syntax, which that crate reads,
//! counts seconds, begins the week at 1, and requires both day of month *and* weekday to match. So
//! every field is parsed here, and `cron` gets plain lists of numbers and names of weekdays.

use std::collections::BTreeSet;
use std::ops::Range;

use chrono::DateTime;
use cron::Schedule;

use super::period_error::PeriodError;
use crate::clock::Seconds;

/// A crontab of five fields, and its schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crontab {
    text: String,
    schedule: Schedule,
}

const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// The values that a field may have.
struct Field {
    called: &'static str,
    expected: &'static str,
    least: u8,
    most: u8,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const DAY_OF_MONTH: usize = 2;
const WEEKDAY: usize = 4;

const FIELDS: [Field; 5] = [
    Field { called: "a minute", expected: "numbers from 0 to 59", least: 0, most: 59, names: &[] },
    Field { called: "an hour", expected: "numbers from 0 to 23", least: 0, most: 23, names: &[] },
    Field { called: "a day of the month", expected: "numbers from 1 to 31", least: 1, most: 31, names: &[] },
    Field {
        called: "a month",
        expected: "numbers from 1 to 12 or names (jan to dec)",
        least: 1,
        most: 12,
        names: &MONTHS,
    },
    Field {
        called: "a weekday",
        expected: "numbers from 0 to 7 (Sunday is 0 and 7) or names (sun to sat)",
        least: 0,
        most: 7,
        names: &WEEKDAYS,
    },
];

impl Crontab {
    pub(super) fn new(text: &str) -> Result<Self, PeriodError> {
        let text = text.trim();
        let fields = match NICKNAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)) {
            Some((_, fields)) => fields,
            None if text.split_whitespace().next().is_some_and(|word| word.contains('=')) => {
                return Err(PeriodError::TimeZone);
            }
            None if text.starts_with('@') => return Err(PeriodError::Nickname(text.to_owned())),
            None => text,
        };
        let schedule = Schedule::try_from(quartz(fields)?).map_err(|_| PeriodError::Never)?;
        if schedule.after(&DateTime::UNIX_EPOCH).next().is_none() {
            return Err(PeriodError::Never);
        }
        Ok(Self { text: text.split_whitespace().collect::<Vec<_>>().join(" "), schedule })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn next(&self, after: Seconds) -> Option<Seconds> {
        let after = DateTime::from_timestamp(after, 0)?;
        self.schedule.after(&after).next().map(|time| time.timestamp())
    }
}

/// Translates a crontab to the syntax of the `cron` crate.
fn quartz(text: &str) -> Result<String, PeriodError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let Ok(words) = <[&str; 5]>::try_from(words.as_slice()) else {
        return Err(PeriodError::Fields(words.len()));
    };
    if words[DAY_OF_MONTH] != "*" && words[WEEKDAY] != "*" {
        return Err(PeriodError::BothDays { at: place(text, words[WEEKDAY]) });
    }
    let mut quartz = vec!["0".to_owned()];
    for (index, (field, word)) in FIELDS.iter().zip(words).enumerate() {
        quartz.push(match field.read(text, word)? {
            None => "*".to_owned(),
            Some(days) if index == WEEKDAY => list(days.iter().map(|day| WEEKDAYS[usize::from(day % 7)])),
            Some(numbers) => list(numbers),
        });
    }
    Ok(quartz.join(" "))
}

fn list(items: impl IntoIterator<Item = impl ToString>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

/// The position of `part` in `text`; `part` is a slice of `text`.
fn place(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    start..start + part.len()
}

impl Field {
    /// The values that `word` lists, or `None` for all of them.
    fn read(&self, text: &str, word: &str) -> Result<Option<BTreeSet<u8>>, PeriodError> {
        if word == "*" {
            return Ok(None);
        }
        let mut values = BTreeSet::new();
        for part in word.split(',') {
            values.extend(self.part(part).ok_or_else(|| PeriodError::Field {
                field: self.called,
                expected: self.expected,
                word: part.to_owned(),
                at: place(text, part),
            })?);
        }
        Ok(Some(values))
    }

    /// Reads `*`, `3` or `3-5`. `*` and ranges may have a step: `*/10`, `3-50/10`.
    fn part(&self, part: &str) -> Option<impl Iterator<Item = u8>> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, number(step).filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.least, self.most.min(self.least + self.count() - 1)),
            Some((first, last)) => {
                let (first, last) = (self.value(first)?, self.value(last)?);
                // `fri-sun`: at the end of a range, Sunday is the seventh day.
                (first, if last == 0 && self.most == 7 && first > 0 { 7 } else { last })
            }
            None if part.contains('/') => return None,
            None => (self.value(range)?, self.value(range)?),
        };
        // `*/75` would come due once an hour, which nobody means.
        let is_reached = range != "*" || step == 1 || step <= last - first;
        (first <= last && is_reached).then(|| (first..=last).step_by(usize::from(step)))
    }

    /// How many different values there are.
    fn count(&self) -> u8 {
        if self.most == 7 { 7 } else { self.most - self.least + 1 }
    }

    fn value(&self, word: &str) -> Option<u8> {
        if let Some(index) = self.names.iter().position(|name| name.eq_ignore_ascii_case(word)) {
            return Some(u8::try_from(index).ok()? + self.least);
        }
        number(word).filter(|value| (self.least..=self.most).contains(value))
    }
}

fn number(word: &str) -> Option<u8> {
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, Timelike};
    use proptest::prelude::*;

    use super::*;

    /// The next two times after a Friday evening, 20 November 2026, 18:30:00.
    fn firings(text: &str) -> String {
        let crontab = Crontab::new(text).unwrap();
        let friday = DateTime::parse_from_rfc3339("2026-11-20T18:30:00Z").unwrap().timestamp();
        let next = crontab.next(friday).unwrap();
        let times = [next, crontab.next(next).unwrap()];
        times
            .map(|time| DateTime::from_timestamp(time, 0).unwrap().format("%a %m-%d %H:%M").to_string())
            .join(", ")
    }

    #[test]
    fn a_step_that_is_never_reached_is_a_fault() {
        for text in ["*/75 * * * *", "*/60 * * * *", "0 */24 * * *", "0 0 * */12 *", "0 0 * * */7"] {
            assert!(matches!(Crontab::new(text), Err(PeriodError::Field { .. })), "{text}");
        }
        for text in ["*/59 * * * *", "0 */23 * * *", "0-5/30 * * * *", "*/1 * * * *"] {
            assert!(Crontab::new(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_crontab_means_what_it_means_to_vixie_cron() {
        let table = [
            ("*/15 * * * *", "Fri 11-20 18:45, Fri 11-20 19:00"),
            ("30 18 * * *", "Sat 11-21 18:30, Sun 11-22 18:30"),
            ("0 3 * * 0", "Sun 11-22 03:00, Sun 11-29 03:00"),
            ("0 3 * * 7", "Sun 11-22 03:00, Sun 11-29 03:00"),
            ("0 3 * * 1", "Mon 11-23 03:00, Mon 11-30 03:00"),
            ("0 3 * * 5-7", "Sat 11-21 03:00, Sun 11-22 03:00"),
            ("0 3 * * Fri-SUN", "Sat 11-21 03:00, Sun 11-22 03:00"),
            ("0 3 * * */2", "Sat 11-21 03:00, Sun 11-22 03:00"),
            ("0 3 * * sun-tue", "Sun 11-22 03:00, Mon 11-23 03:00"),
            ("5 4 1 jan,FEB *", "Fri 01-01 04:05, Mon 02-01 04:05"),
            ("0 0 29 2 *", "Tue 02-29 00:00, Sun 02-29 00:00"),
            ("10-50/20 23 * * *", "Fri 11-20 23:10, Fri 11-20 23:30"),
            ("@weekly", "Sun 11-22 00:00, Sun 11-29 00:00"),
            ("@Daily", "Sat 11-21 00:00, Sun 11-22 00:00"),
            ("@yearly", "Fri 01-01 00:00, Sat 01-01 00:00"),
        ];
        for (text, expected) in table {
            assert_eq!(firings(text), expected, "{text}");
        }
    }

    #[test]
    fn what_would_fire_at_another_time_than_meant_is_refused() {
        use PeriodError::{BothDays, Fields, Never, Nickname, TimeZone};
        for count in [0, 1, 4, 6, 7] {
            assert_eq!(Crontab::new(&"* ".repeat(count)), Err(Fields(count)));
        }
        assert_eq!(Crontab::new("0 3 1 * mon"), Err(BothDays { at: 8..11 }));
        assert_eq!(Crontab::new("0 3 1-31 * 1"), Err(BothDays { at: 11..12 }));
        assert_eq!(Crontab::new("0 0 31 2,4 *"), Err(Never));
        assert_eq!(Crontab::new("CRON_TZ=Europe/Paris 0 3 * * *"), Err(TimeZone));
        assert_eq!(Crontab::new("@reboot"), Err(Nickname("@reboot".to_owned())));
        let wrong = [
            ("60 * * * *", "60"),
            ("* 24 * * *", "24"),
            ("* * 0 * *", "0"),
            ("* * ? * *", "?"),
            ("* * L * *", "L"),
            ("* * * 13 *", "13"),
            ("* * * * 8", "8"),
            ("* * * * 1#2", "1#2"),
            ("* * * * monday", "monday"),
            ("1,,2 * * * *", ""),
            ("*/0 * * * *", "*/0"),
            ("5/15 * * * *", "5/15"),
            ("50-10 * * * *", "50-10"),
            ("+5 * * * *", "+5"),
            ("1,2,99 * * * *", "99"),
            ("*-5 * * * *", "*-5"),
        ];
        for (text, part) in wrong {
            let Err(PeriodError::Field { word, at, .. }) = Crontab::new(text) else { panic!("{text}") };
            assert_eq!((word.as_str(), &text[at]), (part, part), "{text}");
        }
    }

    /// A field as text, and the values that it stands for.
    fn field(least: u8, most: u8) -> impl Strategy<Value = (String, Vec<u8>)> {
        let values = prop::collection::vec(least..=most, 1..4);
        prop_oneof![
            2 => Just(("*".to_owned(), (least..=most).collect())),
            2 => values.prop_map(|values| (list(&values), values)),
            1 => (least..=most, least..=most).prop_map(|(a, b)| {
                let (a, b) = (a.min(b), a.max(b));
                (format!("{a}-{b}"), (a..=b).collect())
            }),
            1 => (least..=most, least..=most, 1u8..20).prop_map(|(a, b, step)| {
                let (a, b) = (a.min(b), a.max(b));
                (format!("{a}-{b}/{step}"), (a..=b).filter(|n| (n - a) % step == 0).collect())
            }),
        ]
    }

    proptest! {
        #[test]
        fn it_is_due_at_the_first_minute_that_all_fields_allow(
            minute in field(0, 59), hour in field(0, 23), weekday in field(0, 7),
            after in 0i64..4_000_000_000,
        ) {
            let crontab = Crontab::new(&format!("{} {} * * {}", minute.0, hour.0, weekday.0)).unwrap();
            let due = |time: &Seconds| {
                let time = DateTime::from_timestamp(*time, 0).unwrap();
                let day = u8::try_from(time.weekday().num_days_from_sunday()).unwrap();
                minute.1.iter().any(|n| u32::from(*n) == time.minute())
                    && hour.1.iter().any(|n| u32::from(*n) == time.hour())
                    && weekday.1.iter().any(|n| n % 7 == day)
            };
            let first = (after / 60 + 1) * 60;
            let expected = (0..=8 * 1440).map(|minutes| first + 60 * minutes).find(due);
            prop_assert_eq!(crontab.next(after), expected);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-z*/,@\\- é]{0,30}") {
            let _ = Crontab::new(&text);
        }
    }
}
