use serde::Serialize;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What to do about it.
    pub hint: Option<String>,
    /// What was looked at.
    pub name: String,
    /// Whether it is as it should be.
    pub state: State,
    /// What was found.
    pub text: String,
}

/// Whether something is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is.
    Ok,
    /// A farm works without it, but not as well.
    Warning,
    /// Something does not work.
    Fault,
}

impl State {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

impl Check {
    /// What is as it should be.
    pub fn ok(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { hint: None, name: name.into(), state: State::Ok, text: text.into() }
    }

    /// What is wrong. A line of `text` that begins with `hint:` says what to do.
    pub fn fault(name: impl Into<String>, text: &str) -> Self {
        let (text, hint) = match text.split_once("\nhint:") {
            Some((text, hint)) => (text, Some(hint.trim().to_owned())),
            None => (text, None),
        };
        Self { hint, name: name.into(), state: State::Fault, text: text.trim().to_owned() }
    }

    /// What could be better, with a hint.
    pub fn warning(name: impl Into<String>, text: &str) -> Self {
        Self { state: State::Warning, ..Self::fault(name, text) }
    }
}
