use std::fmt;

use serde::{Deserialize, Serialize};

use super::interval;
use crate::clock::Seconds;

/// When a failed build is queued again, for a spec whose newer evaluation still has it.
///
/// Its text is what a spec file says: `never`, `next`, or an interval such as `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RetryFailed {
    /// Never: it would fail again.
    #[default]
    Never,
    /// With the next evaluation.
    Next,
    /// With the first evaluation that is complete this many seconds after the failure.
    After(Seconds),
}

impl RetryFailed {
    /// Parses the text of a spec file.
    pub fn new(text: &str) -> Option<Self> {
        match text {
            "never" => Some(Self::Never),
            "next" => Some(Self::Next),
            _ => interval(text).filter(|seconds| *seconds > 0).map(Self::After),
        }
    }

    /// Failures up to this time may be queued again `now`. It is before all times if none may.
    pub fn up_to(self, now: Seconds) -> Seconds {
        match self {
            Self::Never => -1,
            Self::Next => now,
            Self::After(seconds) => now - seconds,
        }
    }
}

impl fmt::Display for RetryFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => write!(f, "never"),
            Self::Next => write!(f, "next"),
            Self::After(seconds) => write!(f, "{seconds}s"),
        }
    }
}

impl From<RetryFailed> for String {
    fn from(again: RetryFailed) -> Self {
        again.to_string()
    }
}

impl TryFrom<String> for RetryFailed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text).ok_or_else(|| format!("`{text}` is neither `never`, `next` nor an interval"))
    }
}
