use std::io;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::super::outcome::{Event, Failure, Summary};
use super::super::request::{Limits, Request, Target};
use super::COMMAND;
use super::conversation::{Broken, Conversation};
use super::messages::{Command, send};
use crate::sandbox::{self, Process, Subprocess, THIS_PROGRAM};
use crate::telemetry;

/// The memory of an evaluator beside that of its sandbox, in bytes.
const OWN_MEMORY: u64 = 1 << 30;
/// Messages are read together up to this size, in bytes.
const BUFFER: usize = 256 << 10;
/// Its own processes and what measures them.
const OWN_PROCESSES: usize = 16;
/// How long an evaluator may take to end after it has closed its connection, or to listen after it
/// was started.
const END: Duration = Duration::from_secs(10);
/// The time limits of an evaluator, practically infinite: it lives as long as its warm start. Each
/// evaluation has a limit of its own.
const LIFE: Duration = Duration::from_hours(24 * 365);

/// A warm start in a process of its own: evaluates a revision for one system after the other.
///
/// An evaluator that died is replaced when the next system is evaluated.
#[derive(Debug)]
pub struct EvaluatorProcess {
    /// What to evaluate. Its limits are those of the sandbox, which outlasts single evaluations.
    request: Request,
    /// What the next evaluation may use.
    limits: Limits,
    running: Option<Running>,
    measured: Summary,
}

#[derive(Debug)]
struct Running {
    process: Process,
    socket: BufReader<UnixStream>,
    /// The directory of the sockets of the evaluator and its sandbox. It is removed after they end.
    _directory: TempDir,
}

impl EvaluatorProcess {
    /// Starts no process before the first evaluation.
    pub fn new(request: Request) -> Self {
        let (limits, measured) = (request.limits.clone(), Summary::default());
        Self { request, limits, running: None, measured }
    }

    /// Sets what the next evaluation may use.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The measurements of the last evaluation, whether it succeeded or not.
    pub fn measured(&self) -> &Summary {
        &self.measured
    }

    /// Evaluates for one system, and sends events to `events` until it returns. Even a failed
    /// evaluation leaves nothing that could disturb the next one.
    pub async fn evaluate(
        &mut self,
        wanted: Target,
        events: &mpsc::Sender<Event>,
    ) -> Result<Summary, Failure> {
        self.measured = Summary::default();
        // Dropping `running` also ends the evaluator.
        let mut running = match self.running.take() {
            Some(running) => running,
            None => self.start().await?,
        };
        let conversation = Conversation::new(self.request.keep_contents, &self.limits, events);
        match conversation.hold(&mut running.socket, wanted, self.limits.clone()).await {
            Ok((result, measured)) => {
                self.running = Some(running);
                self.measured = measured;
                result.map(|()| self.measured.clone())
            }
            Err(Broken::Abandoned) => Err(Failure::Abandoned),
            Err(Broken::InvalidReport(invalid)) => Err(Failure::ProcessEnded(invalid.to_string())),
            Err(broken) => Err(ended_early(running.process, &broken).await),
        }
    }

    async fn start(&self) -> io::Result<Running> {
        let directory = tempfile::Builder::new().prefix("gorget-").tempdir()?;
        let Limits { workers, memory, stored, .. } = self.request.limits;
        let sandbox = self.request.limits.sandbox();
        let limits = sandbox::Limits {
            memory: memory / 4 * 5 + OWN_MEMORY,
            processes: sandbox.processes + workers + OWN_PROCESSES,
            cpu: LIFE,
            wall: LIFE,
            descriptors: 1024,
            // With builds while evaluating, all added items are kept for them in one file.
            file_size: stored.saturating_add(sandbox.file_size),
            ..sandbox
        };
        let ours = ["PATH", "NO_COLOR", telemetry::FORMAT]
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        let evaluator = Subprocess::new(THIS_PROGRAM, COMMAND, limits);
        let evaluator = ours.fold(evaluator, |evaluator, (name, value)| evaluator.env(name, value));
        let evaluator = evaluator
            .env(telemetry::VARIABLE, telemetry::filter())
            .env("TMPDIR", directory.path())
            .with_sandboxes();
        let (process, mut socket) = evaluator.spawn()?;
        // The checks need the contents, even if they are not passed on.
        let request = Request { keep_contents: true, ..self.request.clone() };
        let begun = tokio::time::timeout(END, send(&mut socket, &Command::Begin(Box::new(request)))).await;
        begun.map_err(|_| io::Error::other("the evaluator does not listen"))??;
        let socket = BufReader::with_capacity(BUFFER, socket);
        Ok(Running { process, socket, _directory: directory })
    }
}

/// Why an evaluator ended. One that exceeded its own limits would do so again; any other end has
/// nothing to do with the revision.
async fn ended_early(mut process: Process, broken: &Broken) -> Failure {
    let finished = match process.finish(END).await {
        Ok(finished) => finished,
        Err(error) => return error.into(),
    };
    match finished.exceeded {
        Some(sandbox::Exceeded::Memory(limit)) => {
            Failure::limit("memory limit", format!("{} MiB", limit >> 20))
        }
        Some(exceeded) if exceeded != sandbox::Exceeded::Wall(END) => {
            Failure::ProcessEnded(exceeded.to_string())
        }
        _ => Failure::Evaluator(format!("{} ({broken})", finished.reason())),
    }
}
