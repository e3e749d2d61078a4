use std::ops::Range;

use thiserror::Error;

/// Why a text is not a period.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PeriodError {
    /// It is not a whole number with a unit.
    #[error("`{0}` is not an interval")]
    Interval(String),
    /// It is shorter or longer than allowed.
    #[error("an interval is at least 10 s and at most 30 d long")]
    Length,
    /// It does not have five fields.
    #[error("a crontab has five fields, and this has {0}")]
    Fields(usize),
    /// It is an `@word` that is no schedule.
    #[error("`{0}` is not a schedule")]
    Nickname(String),
    /// One field is invalid.
    #[error("`{word}` is not {field}")]
    Field {
        /// What the field is, with its article: `a minute`.
        field: &'static str,
        /// What the field may contain.
        expected: &'static str,
        /// The invalid part.
        word: String,
        /// Its position in the text, in bytes.
        at: Range<usize>,
    },
    /// Day of month and weekday are both restricted. Programs differ in whether both or either must
    /// match.
    #[error("both the day of the month and the weekday are restricted")]
    BothDays {
        /// The position of the weekday in the text, in bytes.
        at: Range<usize>,
    },
    /// It begins with a time zone.
    #[error("a time zone cannot be given")]
    TimeZone,
    /// No date matches, such as 31 February.
    #[error("this schedule never comes due")]
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

    /// The invalid part of the text, in bytes; `None` for all of it.
    pub fn at(&self) -> Option<Range<usize>> {
        match self {
            Self::Field { at, .. } | Self::BothDays { at } => Some(at.clone()),
            _ => None,
        }
    }
}
