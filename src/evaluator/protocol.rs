//! Messages between the supervisor and the processes that evaluate, one S-expression a line.
//!
//! | from | message | meaning |
//! |---|---|---|
//! | loader | `(loader GUILE GUIX)` | connected; the versions |
//! | supervisor | `(load SUBSET OPTIONS ((NAME DIRECTORY COMMIT) ...))` | what will be evaluated; the channels |
//! | loader | `(derivations faster)`, `(derivations own)` | how they are made |
//! | loader, parent | `(module-error NAME CAUSE MESSAGE)` | a module or manifest does not load: jobs may be missing |
//! | loader, parent | `(module-warning NAME CAUSE MESSAGE)` | a module or script does not load that has none of the jobs |
//! | loader | `(uses (FILE USED ...) ...)` | some packages, by number: the file of each, and what it uses |
//! | loader | `(loaded)` | ready to fork a parent for each system |
//! | loader, parent | `(fatal CAUSE MESSAGE)` | the evaluation cannot continue |
//! | supervisor | `(fork ID TOKEN)` → `(forked ID PID)` | to the loader: make a parent; to a parent: make a worker |
//! | supervisor | `(reap PID)` → `(reaped PID CODE SIGNAL)` | wait for this child, and say how it ended |
//! | parent | `(parent ID TOKEN)` | connected; the token proves that it is the parent |
//! | supervisor | `(enumerate SYSTEM)` | list the units |
//! | parent | `(labels LABEL ...)`, `(packages PACKAGE ...)` | some of the units; the number of each one's package, or an unused number if it has none |
//! | parent | `(enumerated INDEX ...)` | the list is complete; the units that most others need |
//! | supervisor | `(warm INDEX ...)` | lower these before forking |
//! | worker | `(worker ID TOKEN)` | connected; the token proves that it is the worker |
//! | supervisor | `(units INDEX ...)` | lower these |
//! | both | `(begin INDEX)` | the unit is in flight; results may follow later, several at a time |
//! | both | `(also INDEX NAME DERIVATION FACTS)` | a job of the unit; more follow |
//! | both | `(job INDEX NAME DERIVATION FACTS)`, `(none INDEX)`, `(error INDEX CAUSE MESSAGE)` | the unit's result; an error may be about other jobs than those before it |
//! | both | `(idle)` | all units are done; asks for more |
//! | supervisor | `(quit)` | |
//!
//! FACTS are `(PACKAGE VERSION FILE LINE TARGET CHANNEL MAX-SILENT-TIME TIMEOUT FLAG ...)`; `#f`
//! stands for a missing value.
//!
//! The senders run untrusted code, so the supervisor trusts a message only as far as it can check
//! it. A line has at most 256 KiB; long lists come in several messages. Long texts are cut off.

use std::fmt::Write as _;

use super::request::Channel;
use crate::domain::job::{JobMetadata, Location};
use crate::domain::spec::{Build, Subset};
use crate::guix::sexp::{ReadError, Sexp};

/// Longest text that is kept of a message, in bytes.
pub(super) const LONGEST_TEXT: usize = 16 << 10;

/// A message from a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Loader { guile: String, guix: String },
    Loaded,
    Parent { id: usize, token: String },
    ModuleError { name: String, cause: String, message: String },
    ModuleWarning { name: String, cause: String, message: String },
    Derivations { faster: bool },
    Uses(Vec<Uses>),
    Labels(Vec<String>),
    Packages(Vec<usize>),
    Enumerated { popular: Vec<usize> },
    Fatal { cause: String, message: String },
    Forked { id: usize, pid: usize },
    Reaped { pid: usize, code: i64, signal: i64 },
    Worker { id: usize, token: String },
    Begin { unit: usize },
    Job(Box<Job>),
    Nothing { unit: usize },
    Error { unit: usize, cause: String, message: String },
    Idle,
}

/// The file that defines a package, or something else that packages use, and what it uses: all by
/// number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) file: usize,
    pub(super) used: Vec<usize>,
}

/// A job of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) unit: usize,
    pub(super) name: String,
    pub(super) derivation: String,
    pub(super) metadata: JobMetadata,
    /// Whether this is the last job of the unit.
    pub(super) last: bool,
}

/// A line that is no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadMessage {
    #[error("not an S-expression: {0}")]
    Unreadable(#[from] ReadError),
    #[error("unknown message")]
    Unknown,
}

impl Message {
    /// Reads a line.
    pub(super) fn parse(line: &str) -> Result<Self, BadMessage> {
        let datum = Sexp::read_shortened(line, LONGEST_TEXT)?;
        let [Sexp::Symbol(kind), rest @ ..] = datum.list().unwrap_or_default() else {
            return Err(BadMessage::Unknown);
        };
        Self::from_parts(kind, rest).ok_or(BadMessage::Unknown)
    }

    fn from_parts(kind: &str, rest: &[Sexp]) -> Option<Self> {
        let text = |datum: &Sexp| datum.string().map(str::to_owned);
        let name = |datum: &Sexp| datum.symbol().map(str::to_owned);
        let indexes = |list: &[Sexp]| list.iter().map(Sexp::index).collect::<Option<Vec<_>>>();
        Some(match (kind, rest) {
            ("loader", [guile, guix]) => Self::Loader { guile: text(guile)?, guix: text(guix)? },
            ("loaded", []) => Self::Loaded,
            ("parent", [id, token]) => Self::Parent { id: id.index()?, token: text(token)? },
            ("module-error", [module, cause, message]) => {
                Self::ModuleError { name: text(module)?, cause: name(cause)?, message: text(message)? }
            }
            ("module-warning", [module, cause, message]) => {
                Self::ModuleWarning { name: text(module)?, cause: name(cause)?, message: text(message)? }
            }
            ("derivations", [how]) => Self::Derivations { faster: how.symbol()? == "faster" },
            ("uses", packages) => Self::Uses(packages.iter().map(read_uses).collect::<Option<_>>()?),
            ("labels", labels) => Self::Labels(labels.iter().map(text).collect::<Option<_>>()?),
            ("packages", packages) => Self::Packages(indexes(packages)?),
            ("enumerated", popular) => Self::Enumerated { popular: indexes(popular)? },
            ("fatal", [cause, message]) => Self::Fatal { cause: name(cause)?, message: text(message)? },
            ("forked", [id, pid]) => Self::Forked { id: id.index()?, pid: pid.index()? },
            ("reaped", [pid, Sexp::Integer(code), Sexp::Integer(signal)]) => {
                Self::Reaped { pid: pid.index()?, code: *code, signal: *signal }
            }
            ("worker", [id, token]) => Self::Worker { id: id.index()?, token: text(token)? },
            ("begin", [unit]) => Self::Begin { unit: unit.index()? },
            ("job" | "also", [unit, job, derivation, metadata]) => Self::Job(Box::new(Job {
                unit: unit.index()?,
                name: text(job)?,
                derivation: text(derivation)?,
                metadata: read_metadata(metadata.list()?)?,
                last: kind == "job",
            })),
            ("none", [unit]) => Self::Nothing { unit: unit.index()? },
            ("error", [unit, cause, message]) => {
                Self::Error { unit: unit.index()?, cause: name(cause)?, message: text(message)? }
            }
            ("idle", []) => Self::Idle,
            _ => return None,
        })
    }
}

fn read_uses(package: &Sexp) -> Option<Uses> {
    let numbers: Vec<usize> = package.list()?.iter().map(Sexp::index).collect::<Option<_>>()?;
    let (file, used) = numbers.split_first()?;
    Some(Uses { file: *file, used: used.to_vec() })
}

/// Whether a job is substitutable is read from its derivation, not from the facts.
fn read_metadata(metadata: &[Sexp]) -> Option<JobMetadata> {
    let [package, version, file, line, target, channel, max_silent_time, timeout, flags @ ..] = metadata
    else {
        return None;
    };
    let text = |datum: &Sexp| match datum {
        Sexp::Boolean(false) => Some(None),
        datum => datum.string().map(|text| Some(text.to_owned())),
    };
    let number = |datum: &Sexp| u32::try_from(datum.index()?).ok();
    let has = |name: &str| flags.iter().any(|flag| flag.symbol() == Some(name));
    let location = text(file)?.zip(number(line));
    Some(JobMetadata {
        package: text(package)?,
        version: text(version)?,
        location: location.map(|(file, line)| Location { file, line }),
        target: text(target)?,
        channel: text(channel)?,
        max_silent_time: number(max_silent_time)?.into(),
        timeout: number(timeout)?.into(),
        hidden: has("hidden"),
        replacement: has("replacement"),
        substitutable: false,
    })
}

/// `(load SUBSET OPTIONS ((NAME DIRECTORY COMMIT) ...))`.
pub(super) fn load(build: &Build, channels: &[Channel]) -> String {
    let subset = match &build.subset {
        Subset::All => "all".to_owned(),
        Subset::Core => "core".to_owned(),
        Subset::Guix => "guix".to_owned(),
        Subset::Hello => "hello".to_owned(),
        Subset::Images => "images".to_owned(),
        Subset::SystemTests => "system-tests".to_owned(),
        Subset::Tarball => "tarball".to_owned(),
        Subset::Custom(modules) => format!("(custom {})", strings(modules)),
        Subset::Channels(names) => format!("(channels {})", strings(names)),
        Subset::Packages(names) => format!("(packages {})", strings(names)),
        Subset::Manifests(files) => format!("(manifests {})", strings(files)),
    };
    let boolean = |value| if value { "#t" } else { "#f" };
    let options = format!(
        "((tuned . {}) (cross . {}) (cross-targets {}) (exclude {}))",
        boolean(build.tuned),
        boolean(build.cross),
        strings(&build.cross_targets),
        strings(&build.exclude)
    );
    let channel = |channel: &Channel| {
        format!("({} {} {})", string(&channel.name), string(&channel.directory), string(&channel.commit))
    };
    let channels: Vec<String> = channels.iter().map(channel).collect();
    format!("(load {subset} {options} ({}))", channels.join(" "))
}

/// `(enumerate SYSTEM)`.
pub(super) fn enumerate(system: &str) -> String {
    format!("(enumerate {})", string(system))
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
pub(super) fn string(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            c if c.is_control() => {
                // Control characters fit into one byte, and Guile reads two digits.
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
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
        let packages = Subset::Packages(vec!["a\"b\\c".into(), "d\ne".into()]);
        let build = Build { cross: false, exclude: vec!["f*".into()], ..packages.into() };
        let channel = Channel { name: "g".into(), directory: "/h".into(), commit: "12".into() };
        let line = load(&build, &[channel]);
        assert_eq!(
            line,
            r#"(load (packages "a\"b\\c" "d\x0ae") ((tuned . #t) (cross . #f) (cross-targets ) (exclude "f*")) (("g" "/h" "12")))"#
        );
        assert!(Sexp::read(&line).is_ok());
    }

    #[test]
    fn facts_of_a_job_are_heard() {
        let line = r#"(job 3 "hello.x" "/gnu/store/x.drv" ("hello" "1.0" "gnu/x.scm" 7 #f "guix" 60 3600 hidden new))"#;
        let Message::Job(job) = Message::parse(line).unwrap() else { panic!() };
        assert_eq!((job.metadata.version.as_deref(), job.metadata.target), (Some("1.0"), None));
        assert_eq!(job.metadata.location.unwrap().to_string(), "gnu/x.scm:7");
        assert_eq!(
            (job.metadata.timeout, job.metadata.hidden, job.metadata.replacement),
            (3600, true, false)
        );
    }

    #[test]
    fn what_is_not_a_message_is_refused() {
        for line in [
            "",
            "()",
            "(job)",
            "(job 1 2 3)",
            "(job 1 \"a\" \"b\" ())",
            "(begin -1)",
            "(begin 1) (idle)",
            "(wat)",
            "idle",
        ] {
            assert!(Message::parse(line).is_err(), "{line}");
        }
        assert_eq!(Message::parse("(begin 7)").unwrap(), Message::Begin { unit: 7 });
    }
}
