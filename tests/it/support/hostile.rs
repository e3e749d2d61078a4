//! Evaluations of small channels that mean harm.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use gorget::domain::spec::{Build, Runtime, Subset, System};
use gorget::evaluator::runtime::{Compiling, Runtimes, Source, TimeMachine};
use gorget::evaluator::{self, Event, Failure, Limits, Outcome, Request, Summary, Target, WarmStart};
use tempfile::TempDir;
use tokio::sync::{OnceCell, mpsc};

use super::guix::guix_root;

/// What every channel of these stories begins with.
pub const PRELUDE: &str = include_str!("hostile.scm");

/// A channel with the module `(evil packages)`, which has the packages `good` and `fine` beside its own.
pub struct Channel(TempDir);

impl Channel {
    pub fn new(code: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("evil")).unwrap();
        let module = directory.path().join("evil/packages.scm");
        std::fs::write(module, format!("{PRELUDE}\n{code}")).unwrap();
        Self(directory)
    }

    /// Adds a file.
    pub fn with(self, file: &str, text: &str) -> Self {
        std::fs::write(self.0.path().join(file), text).unwrap();
        self
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The line of the module that contains `text`, as messages name it.
    pub fn line_of(&self, text: &str) -> String {
        let module = std::fs::read_to_string(self.path().join("evil/packages.scm")).unwrap();
        let line = module.lines().position(|line| line.contains(text)).unwrap() + 1;
        format!("evil/packages.scm:{line}: ")
    }
}

/// What an evaluation came to.
#[derive(Debug)]
pub struct Evaluated {
    /// Derivation of each job.
    pub jobs: BTreeMap<String, String>,
    /// Cause and message of each error.
    pub errors: BTreeMap<String, (String, String)>,
    pub end: Result<Summary, Failure>,
}

impl Evaluated {
    /// The error of this package or manifest.
    pub fn error(&self, name: &str) -> (&str, &str) {
        let job = format!("{name}.x86_64-linux");
        let error = self.errors.get(&job).or_else(|| self.errors.get(name));
        let (cause, message) = error.unwrap_or_else(|| panic!("no error of {name}: {self:#?}"));
        (cause, message)
    }
}

/// Room enough for what is not hostile.
pub fn limits() -> Limits {
    Limits {
        workers: 2,
        memory: 3 << 30,
        stored: 2 << 30,
        package_time: Duration::from_mins(2),
        evaluation_time: Duration::from_mins(8),
    }
}

/// The given packages.
pub fn packages(names: &[&str]) -> Build {
    Subset::Packages(names.iter().map(|name| (*name).to_owned()).collect()).into()
}

/// Evaluates as the daemon does, with the installed Guix.
pub async fn evaluate(channel: &Channel, build: Build, limits: Limits) -> Evaluated {
    evaluate_with(&mut warm(channel, build, limits).await, "x86_64-linux").await
}

/// A warm start for a channel.
pub async fn warm(channel: &Channel, build: Build, limits: Limits) -> WarmStart {
    static RUNTIMES: OnceCell<(TempDir, Runtimes)> = OnceCell::const_new();
    let (_, runtimes) = RUNTIMES
        .get_or_init(|| async {
            let cache = tempfile::tempdir().unwrap();
            let nobody = cache.path().join("nobody");
            let time_machine = TimeMachine {
                directory: nobody.clone(),
                daemon: evaluator::Daemon { socket: nobody.clone(), store: nobody },
                limit: Duration::ZERO,
            };
            let directory = cache.path().join("cache");
            let runtimes =
                Runtimes::new(&guix_root(), directory, 1 << 30, Compiling::default(), time_machine);
            (cache, runtimes)
        })
        .await;
    let evil = Source {
        name: "evil".to_owned(),
        url: String::new(),
        commit: "0".repeat(40),
        introduction: None,
        checkout: channel.path().to_owned(),
        directory: None,
    };
    let prepared = runtimes.prepare("hostile", Runtime::default(), &build, &[evil]).await.unwrap();
    let request = Request {
        root: guix_root(),
        environment: prepared.environment,
        build,
        channels: prepared
            .channels
            .into_iter()
            .map(|(name, directory)| evaluator::Channel { name, directory, commit: "0".repeat(40) })
            .collect(),
        keep_contents: true,
        limits,
        daemon: None,
    };
    WarmStart::start(request).unwrap()
}

/// Evaluates for one system.
pub async fn evaluate_with(warm: &mut WarmStart, system: &str) -> Evaluated {
    let wanted = Target { system: System::new(system).unwrap(), likely: HashSet::new() };
    let (events, received) = mpsc::channel(4);
    let (end, (jobs, errors)) = tokio::join!(
        async {
            let end = warm.evaluate(wanted, &events).await;
            drop(events);
            end
        },
        collect(received)
    );
    Evaluated { jobs, errors, end }
}

type Results = (BTreeMap<String, String>, BTreeMap<String, (String, String)>);

async fn collect(mut events: mpsc::Receiver<Event>) -> Results {
    let (mut jobs, mut errors) = Results::default();
    while let Some(event) = events.recv().await {
        let Event::Batch(batch) = event else { continue };
        for outcome in batch.outcomes {
            match outcome {
                Outcome::Job { name, derivation, .. } => {
                    assert_eq!(jobs.insert(name, derivation.to_string()), None);
                }
                Outcome::Error { name, cause, message } => {
                    assert_eq!(errors.insert(name, (cause, message)), None);
                }
                Outcome::Warning { .. } => {}
            }
        }
    }
    (jobs, errors)
}
