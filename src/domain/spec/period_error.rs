use std::ops::Range;

use thiserror::Error;

/// Why a text is not a period.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PeriodError {
    /// It is not a whole number with a unit.
    #[error("`{0}` is not an interval")]
    Interval(String),
    /// It is shorter or longer than is sensible.
    #[error("an interval is at least 10 s and at most 30 d long")]
    Length,
    /// It is not made of five fields.
    #[error("a crontab has five fields, and this has {0}")]
    Fields(usize),
    /// It is an `@word` that is no schedule.
    #[error("`{0}` is not a schedule")]
    Nickname(String),
    /// One field is wrong.
    #[error("`{word}` is not {field}")]
    Field {
        /// What the field says, with its article: `a minute`.
        field: &'static str,
        /// What would be right there.
        expected: &'static str,
        /// The part that is wrong.
        word: String,
        /// Where it stands in the text, in bytes.
        at: Range<usize>,
    },
    /// Day of month and weekday are both restricted: programs differ in whether that means
    /// "and" or "or".
    #[error("both the day of the month and the weekday are restricted")]
    BothDays {
        /// Where the weekday stands in the text, in bytes.
        at: Range<usize>,
    },
    /// It begins with a time zone.
    #[error("a time zone cannot be given")]
    TimeZone,
    /// No day fits, such as 31 February.
    #[error("this never comes due")]
    Never,
}

impl PeriodError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Interval(_) => "write a whole number and a unit: `30s`, `5m`, `2h` or `1d`".to_owned(),
            Self::Length => "for anything rarer, give a crontab as `period`".to_owned(),
            Self::Fields(6 | 7) => {
                "seconds and years are not supported: minute, hour, day of month, month, weekday".to_owned()
            }
            Self::Fields(_) => {
                "minute, hour, day of month, month, weekday: `0 3 * * *` is 03:00 UTC every day; an interval is \
                 written `every = \"5m\"`"
                    .to_owned()
            }
            Self::Nickname(_) => {
                "there are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually".to_owned()
            }
            Self::Field { expected, .. } => format!("write `*`, `*/N`, or a list of {expected}"),
            Self::BothDays { .. } => "make one of the two `*`".to_owned(),
            Self::TimeZone => "leave it out: all times are UTC".to_owned(),
            Self::Never => "check the day against the month".to_owned(),
        }
    }

    /// The part of the text that is at fault, in bytes; `None` for all of it.
    pub fn at(&self) -> Option<Range<usize>> {
        match self {
            Self::Field { at, .. } | Self::BothDays { at } => Some(at.clone()),
            _ => None,
        }
    }
}
