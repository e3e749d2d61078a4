//! The processes of one revision's evaluations: the sandbox with the loader, the parent of the system
//! that is evaluated and its workers, the store that they talk to, and the sockets over which they and
//! the supervisor talk.

mod connections;
mod kill;
mod memory_usage;
mod questions;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use connections::Arrival;
pub(super) use memory_usage::MemoryUsage;

use super::protocol::Message;
use super::request::Request;
use super::sandboxed;
use crate::guix::recording_store::{Builds, EvalStore, Recording};
use crate::sandbox::Process;

/// The parent of the system that is evaluated, among the ids of workers.
pub(super) const PARENT: usize = usize::MAX;
/// The loader. Workers have smaller ids.
pub(super) const LOADER: usize = usize::MAX - 1;

/// Something that a process did.
#[derive(Debug)]
pub(super) enum Received {
    /// It said this.
    Said(usize, Message),
    /// It closed its connection, or was cut off for this fault.
    Disconnected(usize, Option<&'static str>),
}

/// A process that holds too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KillTarget {
    /// This worker.
    Worker(usize),
    /// Something that evaluated code started, by its process id.
    Stray(u32),
}

/// Everything that runs for one revision. Dropping it kills it all.
#[derive(Debug)]
pub(super) struct ProcessGroup {
    sandbox: Process,
    server: Arc<EvalStore>,
    store: Arc<Recording>,
    listener: JoinHandle<()>,
    arrivals: mpsc::Receiver<Arrival>,
    members: BTreeMap<usize, Member>,
    /// Questions for the parent, one at a time: a fork must not inherit a line that was read ahead.
    questions: VecDeque<String>,
    /// Since when the parent owes an answer.
    asked: Option<Instant>,
    next_id: usize,
    /// What each process that was asked for will prove itself with, once.
    tokens: HashMap<usize, String>,
    /// The number by which the parent was asked for.
    parent: usize,
    /// CPU milliseconds that each process had used when it was last seen.
    cpu: HashMap<u32, u64>,
    /// Those of processes that were cleared away.
    past_cpu: u64,
    _directory: TempDir,
}

#[derive(Debug)]
struct Member {
    /// Which connection is this member's; others that claim its place are impostors.
    connection: u64,
    /// Process id as this machine sees it.
    pid: Option<u32>,
    writer: OwnedWriteHalf,
}

/// What the evaluation for one system adds to.
fn memory(request: &Request) -> io::Result<Recording> {
    let stored = usize::try_from(request.limits.stored).unwrap_or(usize::MAX);
    let memory = Recording::new(request.keep_contents, stored);
    Ok(match &request.daemon {
        Some(daemon) => memory.with_builds(Builds::new(daemon.socket.clone())?),
        None => memory,
    })
}

impl ProcessGroup {
    /// Starts the store and the loader.
    pub(super) fn start(request: &Request) -> io::Result<Self> {
        Self::with_store(request, Arc::new(EvalStore::start(memory(request)?)?))
    }

    /// Starts again; the store keeps what it has. The old crew dies when it is dropped.
    pub(super) fn restart(&mut self, request: &Request) -> io::Result<Self> {
        self.sandbox.kill();
        let mut crew = Self::with_store(request, self.server.clone())?;
        crew.past_cpu = self.cpu_ms();
        crew.next_id = self.next_id;
        Ok(crew)
    }

    fn with_store(request: &Request, server: Arc<EvalStore>) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("gorget-").tempdir()?;
        sandboxed::write_scripts(directory.path())?;
        let socket = UnixListener::bind(directory.path().join("control"))?;
        let (sender, arrivals) = mpsc::channel(4096);
        let listener = tokio::spawn(connections::listen(socket, sender));
        let sandbox = sandboxed::confined(request, directory.path(), server.socket())?.spawn()?;
        Ok(Self {
            sandbox,
            store: server.memory(),
            server,
            listener,
            arrivals,
            members: BTreeMap::new(),
            questions: VecDeque::new(),
            asked: None,
            next_id: 0,
            tokens: HashMap::new(),
            parent: 0,
            cpu: HashMap::new(),
            past_cpu: 0,
            _directory: directory,
        })
    }

    /// Ends everything but the loader, and forgets what was added to the store: one system leaves
    /// nothing to the next.
    pub(super) async fn clear(&mut self, request: &Request) -> io::Result<()> {
        self.dismiss_all().await;
        self.store = self.server.renew(memory(request)?);
        // Numbers of processes are used again.
        let loader = self.members.get(&LOADER).and_then(|member| member.pid);
        self.past_cpu += self.cpu.extract_if(|pid, _| Some(*pid) != loader).map(|(_, cpu)| cpu).sum::<u64>();
        Ok(())
    }

    /// Ends the parent and everything that it started.
    pub(super) async fn dismiss_all(&mut self) {
        self.tokens.clear();
        self.questions.clear();
        self.asked = None;
        self.kill_all_but_the_loader().await;
        self.members.retain(|id, _| *id == LOADER);
    }

    /// What the evaluation added, for who keeps it.
    pub(super) fn shared_store(&self) -> Arc<Recording> {
        self.store.clone()
    }

    /// What the evaluation added.
    pub(super) fn store(&self) -> &Recording {
        &self.store
    }

    /// Waits for the next thing that a process does.
    pub(super) async fn heard(&mut self) -> Received {
        loop {
            let arrival = tokio::select! {
                biased;
                arrival = self.arrivals.recv() => arrival,
                _ = self.sandbox.ended() => {
                    // Its last message may still be on its way.
                    tokio::time::timeout(Duration::from_millis(300), self.arrivals.recv()).await.unwrap_or(None)
                }
            };
            match arrival {
                None => return Received::Disconnected(LOADER, None),
                Some(Arrival::Joined { connection, id, pid, writer, message, welcome }) => {
                    if self.expects(&message)
                        && let Entry::Vacant(place) = self.members.entry(id)
                    {
                        place.insert(Member { connection, pid, writer });
                        let _ = welcome.send(());
                        return Received::Said(id, message);
                    }
                }
                Some(Arrival::Said { connection, id, message, room }) if self.is(id, connection) => {
                    drop(room);
                    return Received::Said(id, message);
                }
                Some(Arrival::Disconnected { connection, id, why }) if self.is(id, connection) => {
                    return Received::Disconnected(id, why.fault());
                }
                Some(_) => {}
            }
        }
    }

    /// Whether it may join: any process of the sandbox can connect and claim to be a worker.
    fn expects(&mut self, message: &Message) -> bool {
        match message {
            Message::Parent { id, .. } if *id != self.parent => false,
            Message::Worker { id, token } | Message::Parent { id, token }
                if self.tokens.get(id) == Some(token) =>
            {
                self.tokens.remove(id).is_some()
            }
            Message::Loader { .. } => true,
            _ => false,
        }
    }

    fn is(&self, id: usize, connection: u64) -> bool {
        self.members.get(&id).is_some_and(|member| member.connection == connection)
    }

    /// Sends a line. Who cannot be reached is about to be heard leaving.
    pub(super) async fn tell(&mut self, id: usize, line: &str) {
        if let Some(member) = self.members.get_mut(&id) {
            let line = format!("{line}\n");
            let _ =
                tokio::time::timeout(Duration::from_secs(10), member.writer.write_all(line.as_bytes())).await;
        }
    }

    /// The process of a worker, the parent or the loader, as this machine sees it.
    pub(super) fn pid(&self, id: usize) -> Option<u32> {
        self.members.get(&id).and_then(|member| member.pid)
    }

    /// Kills a worker, or another process of the sandbox.
    pub(super) fn kill(&self, victim: KillTarget) {
        let pid = match victim {
            KillTarget::Worker(id) => self.pid(id),
            KillTarget::Stray(pid) => Some(pid),
        };
        if let Some((pid, outermost)) = pid.zip(self.sandbox.id()) {
            kill::kill_below(outermost, pid);
        }
    }

    /// A worker has gone for good, and with it everything that lost its own parent.
    pub(super) fn forget(&mut self, id: usize) {
        self.members.remove(&id);
        self.tokens.remove(&id);
        for stray in self.crowd().strays {
            self.kill(KillTarget::Stray(stray));
        }
    }

    /// CPU that was seen to be used, in milliseconds.
    pub(super) fn cpu_ms(&self) -> u64 {
        self.past_cpu + self.cpu.values().sum::<u64>()
    }

    /// How the loader ended and what was printed last.
    pub(super) async fn last_words(&mut self) -> String {
        match self.sandbox.finish(Duration::from_secs(2)).await {
            Ok(finished) => finished.reason(),
            Err(error) => error.to_string(),
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
