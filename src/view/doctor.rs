use serde::Serialize;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// How to mend it.
    pub hint: Option<String>,
    /// What was checked.
    pub name: String,
    /// The outcome.
    pub state: State,
    /// What was found.
    pub text: String,
}

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing is wrong.
    Ok,
    /// The farm works, but not as well as it could.
    Warning,
    /// Something does not work.
    Fault,
}

impl State {
    /// The word for it, as JSON has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

impl Check {
    /// A successful check.
    pub fn ok(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { hint: None, name: name.into(), state: State::Ok, text: text.into() }
    }

    /// A fault. A line of `text` that begins with `hint:` becomes the hint.
    pub fn fault(name: impl Into<String>, text: &str) -> Self {
        let (text, hint) = match text.split_once("\nhint:") {
            Some((text, hint)) => (text, Some(hint.trim().to_owned())),
            None => (text, None),
        };
        Self { hint, name: name.into(), state: State::Fault, text: text.trim().to_owned() }
    }

    /// A warning. `text` is read as for [`Check::fault`].
    pub fn warning(name: impl Into<String>, text: &str) -> Self {
        Self { state: State::Warning, ..Self::fault(name, text) }
    }
}
