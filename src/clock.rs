//! The only place that reads the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, TimeDelta, Utc};

/// Seconds since 1970, UTC: the only time that is stored.
pub type Seconds = i64;

/// Tells the time; tests set it by hand.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// The machine's clock plus an offset in seconds, so that many machines follow one clock.
    Corrected(Arc<AtomicI64>),
    /// Stands still until `advance` moves it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `now`.
    pub fn manual(now: Seconds) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(now)))
    }

    /// The machine's clock, with an offset of 0 until `correct` sets another.
    pub fn corrected() -> Self {
        Self::Corrected(Arc::default())
    }

    /// Sets the offset of a corrected clock so that it now reads `now`.
    pub fn correct(&self, now: Seconds) {
        if let Self::Corrected(by) = self {
            by.store(now - Self::System.now(), Ordering::Relaxed);
        }
    }

    /// The current time.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Seconds {
        match self {
            Self::System => Utc::now().timestamp(),
            Self::Corrected(by) => Utc::now().timestamp() + by.load(Ordering::Relaxed),
            Self::Manual(now) => now.load(Ordering::Relaxed),
        }
    }

    /// Moves a manual clock forward; has no effect on the others.
    pub fn advance(&self, seconds: Seconds) {
        if let Self::Manual(now) = self {
            now.fetch_add(seconds, Ordering::Relaxed);
        }
    }
}

/// A point in time as people read it, in the machine's time zone.
pub fn readable(at: Seconds) -> String {
    DateTime::from_timestamp(at, 0).map_or_else(
        || "?".to_owned(),
        |time| time.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// A point in time as pages show it: in UTC, because readers are in many time zones.
pub fn utc(at: Seconds) -> String {
    DateTime::from_timestamp(at, 0)
        .map_or_else(|| at.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// A point in time as feeds state it (RFC 3339).
pub fn rfc3339(at: Seconds) -> String {
    DateTime::from_timestamp(at, 0).map_or_else(
        || "1970-01-01T00:00:00Z".to_owned(),
        |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

/// The last second of `2026-01-31`, `2026-01-31T16:00` or `2026-01-31T16:00:05` (a blank may stand
/// for the T), in the machine's time zone.
pub fn end_of(text: &str) -> Option<Seconds> {
    let text = text.replacen(' ', "T", 1);
    let day = || {
        Some((NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?, TimeDelta::days(1)))
    };
    let minute =
        || Some((NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M").ok()?, TimeDelta::minutes(1)));
    let second =
        || Some((NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S").ok()?, TimeDelta::seconds(1)));
    let (begin, length) = day().or_else(minute).or_else(second)?;
    let end = begin.checked_add_signed(length)?.and_local_timezone(Local).earliest()?;
    Some(end.timestamp() - 1)
}

/// A span as people say it: `3 s`, `2 min 5 s`, `1 h 3 min`, `4 d 2 h`.
pub fn readable_span(seconds: Seconds) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// The CPU time of this thread, which other work on the machine does not affect.
#[cfg(test)]
pub(crate) fn cpu_time() -> std::time::Duration {
    use rustix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_is_put_right() {
        let (right, clock) = (Clock::System.now() + 86_400, Clock::corrected());
        clock.correct(right);
        assert!((right..right + 5).contains(&clock.clone().now()));
    }

    #[test]
    fn a_date_lasts_until_its_end() {
        let at = |text: &str| end_of(text).map(readable);
        assert_eq!(at("2026-01-31").as_deref(), Some("2026-01-31 23:59:59"));
        assert_eq!(at("2026-01-31T16:00").as_deref(), Some("2026-01-31 16:00:59"));
        assert_eq!(at("2026-01-31 16:00:05").as_deref(), Some("2026-01-31 16:00:05"));
        for wrong in ["2026-02-30", "31.1.2026", "master", "2026", "2026-01-31T25:00"] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }
}
