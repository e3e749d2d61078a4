//! Messages between the supervisor and the processes that evaluate, one S-expression a line.
//!
//! | from | message | meaning |
//! |---|---|---|
//! | parent | `(parent GUILE GUIX)` | connected; the versions |
//! | supervisor | `(evaluate BUILD SYSTEM (DIRECTORY ...))` | what to enumerate; the channels |
//! | parent | `(module-error NAME CAUSE MESSAGE)` | a module or manifest does not load |
//! | parent | `(enumerated (LABEL ...) (INDEX ...))` | the units of work; those that most others need |
//! | parent | `(fatal CAUSE MESSAGE)` | it cannot go on |
//! | supervisor | `(warm INDEX ...)` | lower these before forking |
//! | supervisor | `(fork ID TOKEN)` → `(forked ID PID)` | make a worker |
//! | supervisor | `(reap PID)` → `(reaped PID CODE SIGNAL)` | how did it end? |
//! | worker | `(worker ID TOKEN)` | connected; the token proves that it is the worker |
//! | supervisor | `(units INDEX ...)` | lower these |
//! | both | `(begin INDEX)` | in flight from now on; results may come later, some at a time |
//! | both | `(job INDEX NAME DERIVATION)`, `(none INDEX)`, `(error INDEX CAUSE MESSAGE)` | its result |
//! | both | `(idle)` | all done, more please |
//! | supervisor | `(quit)` | |
//!
//! Whoever sends them runs strangers' code, so nothing that they say is believed further than it
//! can be checked.

use std::fmt::Write as _;

use crate::sexp::{ReadError, Sexp};
use crate::spec::Build;

/// What a process says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Parent { guile: String, guix: String },
    ModuleError { name: String, cause: String, message: String },
    Enumerated { labels: Vec<String>, popular: Vec<usize> },
    Fatal { cause: String, message: String },
    Forked { id: usize, pid: usize },
    Reaped { pid: usize, code: i64, signal: i64 },
    Worker { id: usize, token: String },
    Begin { unit: usize },
    Job { unit: usize, name: String, derivation: String },
    Nothing { unit: usize },
    Error { unit: usize, cause: String, message: String },
    Idle,
}

/// A line that is no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadMessage {
    #[error("not an S-expression: {0}")]
    Unreadable(#[from] ReadError),
    #[error("no message that is known")]
    Unknown,
}

impl Message {
    /// Reads a line.
    pub(super) fn parse(line: &str) -> Result<Self, BadMessage> {
        let datum = Sexp::read(line)?;
        let [Sexp::Symbol(kind), rest @ ..] = datum.list().unwrap_or_default() else {
            return Err(BadMessage::Unknown);
        };
        Self::from_parts(kind, rest).ok_or(BadMessage::Unknown)
    }

    fn from_parts(kind: &str, rest: &[Sexp]) -> Option<Self> {
        let text = |datum: &Sexp| datum.string().map(str::to_owned);
        let name = |datum: &Sexp| datum.symbol().map(str::to_owned);
        Some(match (kind, rest) {
            ("parent", [guile, guix]) => Self::Parent { guile: text(guile)?, guix: text(guix)? },
            ("module-error", [module, cause, message]) => {
                Self::ModuleError { name: text(module)?, cause: name(cause)?, message: text(message)? }
            }
            ("enumerated", [labels, popular]) => Self::Enumerated {
                labels: labels.list()?.iter().map(text).collect::<Option<_>>()?,
                popular: popular.list()?.iter().map(Sexp::index).collect::<Option<_>>()?,
            },
            ("fatal", [cause, message]) => Self::Fatal { cause: name(cause)?, message: text(message)? },
            ("forked", [id, pid]) => Self::Forked { id: id.index()?, pid: pid.index()? },
            ("reaped", [pid, Sexp::Integer(code), Sexp::Integer(signal)]) => {
                Self::Reaped { pid: pid.index()?, code: *code, signal: *signal }
            }
            ("worker", [id, token]) => Self::Worker { id: id.index()?, token: text(token)? },
            ("begin", [unit]) => Self::Begin { unit: unit.index()? },
            ("job", [unit, job, derivation]) => {
                Self::Job { unit: unit.index()?, name: text(job)?, derivation: text(derivation)? }
            }
            ("none", [unit]) => Self::Nothing { unit: unit.index()? },
            ("error", [unit, cause, message]) => {
                Self::Error { unit: unit.index()?, cause: name(cause)?, message: text(message)? }
            }
            ("idle", []) => Self::Idle,
            _ => return None,
        })
    }
}

/// `(evaluate BUILD SYSTEM (DIRECTORY ...))`.
pub(super) fn evaluate(build: &Build, system: &str, channels: &[String]) -> String {
    let build = match build {
        Build::All => "all".to_owned(),
        Build::Hello => "hello".to_owned(),
        Build::Packages(names) => format!("(packages {})", strings(names)),
        Build::Manifests(files) => format!("(manifests {})", strings(files)),
    };
    format!("(evaluate {build} {} ({}))", string(system), strings(channels))
}

/// `(KIND INDEX ...)`.
pub(super) fn with_indexes(kind: &str, indexes: &[usize]) -> String {
    let words: Vec<String> = indexes.iter().map(usize::to_string).collect();
    format!("({kind} {})", words.join(" "))
}

fn strings(texts: &[String]) -> String {
    texts.iter().map(|text| string(text)).collect::<Vec<_>>().join(" ")
}

/// A string as Scheme reads it.
fn string(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\x{:x};", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_names_reach_scheme_as_they_are() {
        let build = Build::Packages(vec!["a\"b\\c".into(), "d\ne".into()]);
        let line = evaluate(&build, "x86_64-linux", &["/c".into()]);
        assert_eq!(line, r#"(evaluate (packages "a\"b\\c" "d\xa;e") "x86_64-linux" ("/c"))"#);
        assert!(Sexp::read(&line).is_ok());
    }

    #[test]
    fn what_is_not_a_message_is_refused() {
        for line in ["", "()", "(job)", "(job 1 2 3)", "(begin -1)", "(begin 1) (idle)", "(wat)", "idle"] {
            assert!(Message::parse(line).is_err(), "{line}");
        }
        assert_eq!(Message::parse("(begin 7)").unwrap(), Message::Begin { unit: 7 });
    }
}
