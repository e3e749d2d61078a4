use std::fmt;

use serde::{Deserialize, Serialize};

use super::crontab::Crontab;
use super::period_error::PeriodError;
use crate::clock::Seconds;

const SHORTEST: Seconds = 10;
const LONGEST: Seconds = 30 * 86_400;

/// The units of intervals, largest first, in seconds.
const UNITS: [(char, Seconds); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// How often the branches of a spec are polled.
///
/// Its text is `every 5m` for an interval, and otherwise the crontab itself. It is shown, stored
/// and read back in this form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Every(Seconds),
    Crontab(Box<Crontab>),
}

impl Period {
    /// Reads an interval such as `5m`: a whole number of `s`, `m`, `h` or `d`, from 10 s to 30 d.
    pub fn every(text: &str) -> Result<Self, PeriodError> {
        let seconds = interval(text).ok_or_else(|| PeriodError::Interval(text.to_owned()))?;
        if !(SHORTEST..=LONGEST).contains(&seconds) {
            return Err(PeriodError::Length);
        }
        Ok(Self(Kind::Every(seconds)))
    }

    /// Reads an ordinary crontab of five fields, in UTC, or one of its nicknames such as `@daily`.
    ///
    /// Weekdays go from 0 to 7; both 0 and 7 are Sunday. A crontab is refused if programs differ
    /// about its meaning: if it restricts both day of month and weekday, has seconds, or never
    /// comes due.
    pub fn crontab(text: &str) -> Result<Self, PeriodError> {
        Ok(Self(Kind::Crontab(Box::new(Crontab::new(text)?))))
    }

    /// The first time after `after` at which the period is due.
    ///
    /// An interval counts from `after`; a crontab names minutes in UTC. For a crontab that is not
    /// due again before the end of the year 2100, the result is [`Seconds::MAX`].
    pub fn next(&self, after: Seconds) -> Seconds {
        match &self.0 {
            Kind::Every(seconds) => after.saturating_add(*seconds),
            Kind::Crontab(crontab) => crontab.next(after).unwrap_or(Seconds::MAX),
        }
    }
}

impl Default for Period {
    /// Every five minutes.
    fn default() -> Self {
        Self(Kind::Every(300))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Every(seconds) => {
                let (unit, size) =
                    UNITS.into_iter().find(|(_, size)| seconds % size == 0).unwrap_or(('s', 1));
                write!(f, "every {}{unit}", seconds / size)
            }
            Kind::Crontab(crontab) => f.write_str(crontab.as_str()),
        }
    }
}

impl TryFrom<String> for Period {
    type Error = PeriodError;

    fn try_from(text: String) -> Result<Self, PeriodError> {
        text.strip_prefix("every ").map_or_else(|| Self::crontab(&text), Self::every)
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

/// The seconds that a text such as `5m` means; `None` when it is not a whole number and a unit.
pub fn interval(text: &str) -> Option<Seconds> {
    let unit = text.chars().next_back()?;
    let (_, size) = UNITS.into_iter().find(|(letter, _)| *letter == unit)?;
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<Seconds>().ok()?.checked_mul(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_whole_number_and_a_unit_within_bounds() {
        for (text, seconds) in [("10s", 10), ("5m", 300), ("2h", 7200), ("30d", 2_592_000), ("120s", 120)] {
            assert_eq!(Period::every(text).unwrap().next(1_000), 1_000 + seconds, "{text}");
        }
        for text in ["", "5", "m", "5 m", "+5m", "-5m", "1.5h", "1h30m", "5M", "5é", "99999999999999999999d"]
        {
            assert_eq!(Period::every(text), Err(PeriodError::Interval(text.to_owned())));
        }
        for text in ["0s", "9s", "31d", "9223372036854775807s"] {
            assert_eq!(Period::every(text), Err(PeriodError::Length), "{text}");
        }
    }

    #[test]
    fn a_period_survives_being_stored_as_its_text() {
        for text in ["every 90s", "every 5m", "0 3 * * *", "@daily", "*/15 0-6,22 * jan-mar,12 mon-fri"] {
            let period = Period::try_from(text.to_owned()).unwrap();
            assert_eq!(period.to_string(), text);
            let stored = serde_json::to_string(&period).unwrap();
            assert_eq!(serde_json::from_str::<Period>(&stored).unwrap(), period);
        }
        assert_eq!(Period::every("300s").unwrap(), Period::default());
        assert_eq!(Period::default().to_string(), "every 5m");
    }
}
