//! The processes of one revision's evaluations: the sandbox with the loader, the parent of the
//! system that is evaluated, and its workers; the store that they use; and the sockets between them
//! and the supervisor.

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

use connections::ConnectionEvent;
pub(super) use memory_usage::MemoryUsage;

use super::protocol::Message;
use super::request::Request;
use super::sandboxed;
use crate::guix::recording_store::{Builds, EvalStore, Recording};
use crate::sandbox::Process;

/// The id of the current system's parent. Workers have smaller ids.
pub(super) const PARENT: usize = usize::MAX;
/// The id of the loader. Workers have smaller ids.
pub(super) const LOADER: usize = usize::MAX - 1;

/// An event from a process.
#[derive(Debug)]
pub(super) enum Received {
    /// The process sent a message.
    Message(usize, Message),
    /// The process closed its connection, or was cut off for this fault.
    Disconnected(usize, Option<&'static str>),
}

/// A process to kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KillTarget {
    Worker(usize),
    /// A process that evaluated code started, by its process id.
    Process(u32),
}

/// All processes of one revision. Dropping the group kills them.
#[derive(Debug)]
pub(super) struct ProcessGroup {
    sandbox: Process,
    server: Arc<EvalStore>,
    store: Arc<Recording>,
    listener: JoinHandle<()>,
    connection_events: mpsc::Receiver<ConnectionEvent>,
    members: BTreeMap<usize, Member>,
    /// Questions for the parent. They are sent one at a time, because a forked process must not
    /// inherit a line that was read ahead.
    questions: VecDeque<String>,
    /// When the question was sent that the parent has not answered yet.
    asked: Option<Instant>,
    next_id: usize,
    /// The one-time token of each requested process, with which it proves its identity.
    tokens: HashMap<usize, String>,
    /// The number under which the parent was requested.
    parent: usize,
    /// CPU milliseconds that each process had used when it was last seen.
    cpu: HashMap<u32, u64>,
    /// CPU milliseconds of processes that are gone.
    past_cpu: u64,
    _directory: TempDir,
}

#[derive(Debug)]
struct Member {
    /// The connection of this member. Other connections that claim its id are impostors.
    connection: u64,
    /// Process id as this machine sees it.
    pid: Option<u32>,
    writer: OwnedWriteHalf,
}

/// An empty recording for the evaluation of one system.
fn recording(request: &Request) -> io::Result<Recording> {
    let stored = usize::try_from(request.limits.stored).unwrap_or(usize::MAX);
    let recording = Recording::new(request.keep_contents, stored);
    Ok(match &request.daemon {
        Some(daemon) => recording.with_builds(Builds::new(daemon.socket.clone())?),
        None => recording,
    })
}

impl ProcessGroup {
    /// Starts the store and the loader.
    pub(super) fn start(request: &Request) -> io::Result<Self> {
        Self::with_store(request, Arc::new(EvalStore::start(recording(request)?)?))
    }

    /// Kills the sandbox and starts a new one. The store keeps its contents. The old group is
    /// cleaned up when it is dropped.
    pub(super) fn restart(&mut self, request: &Request) -> io::Result<Self> {
        self.sandbox.kill();
        let mut processes = Self::with_store(request, self.server.clone())?;
        processes.past_cpu = self.cpu_ms();
        processes.next_id = self.next_id;
        Ok(processes)
    }

    fn with_store(request: &Request, server: Arc<EvalStore>) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("gorget-").tempdir()?;
        sandboxed::write_scripts(directory.path())?;
        let socket = UnixListener::bind(directory.path().join("control"))?;
        let (sender, connection_events) = mpsc::channel(4096);
        let listener = tokio::spawn(connections::listen(socket, sender));
        let sandbox = sandboxed::confined(request, directory.path(), server.socket())?.spawn()?;
        Ok(Self {
            sandbox,
            store: server.recording(),
            server,
            listener,
            connection_events,
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

    /// Ends all processes but the loader, and empties the store, so nothing is left for the next
    /// system.
    pub(super) async fn reset(&mut self, request: &Request) -> io::Result<()> {
        self.dismiss_all().await;
        self.store = self.server.renew(recording(request)?);
        // Process ids are used again.
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

    /// What the evaluation added to the store, shared.
    pub(super) fn shared_store(&self) -> Arc<Recording> {
        self.store.clone()
    }

    /// What the evaluation added to the store.
    pub(super) fn store(&self) -> &Recording {
        &self.store
    }

    /// Waits for the next event from a process.
    pub(super) async fn next_event(&mut self) -> Received {
        loop {
            let connection_event = tokio::select! {
                biased;
                connection_event = self.connection_events.recv() => connection_event,
                _ = self.sandbox.ended() => {
                    // Its last message may still be on its way.
                    tokio::time::timeout(Duration::from_millis(300), self.connection_events.recv()).await.unwrap_or(None)
                }
            };
            match connection_event {
                None => return Received::Disconnected(LOADER, None),
                Some(ConnectionEvent::Joined { connection, id, pid, writer, message, accept }) => {
                    if self.expects(&message)
                        && let Entry::Vacant(place) = self.members.entry(id)
                    {
                        place.insert(Member { connection, pid, writer });
                        let _ = accept.send(());
                        return Received::Message(id, message);
                    }
                }
                Some(ConnectionEvent::Message { connection, id, message, permit })
                    if self.is(id, connection) =>
                {
                    drop(permit);
                    return Received::Message(id, message);
                }
                Some(ConnectionEvent::Disconnected { connection, id, why }) if self.is(id, connection) => {
                    return Received::Disconnected(id, why.fault());
                }
                Some(_) => {}
            }
        }
    }

    /// Whether the sender of this first message may join. Any process of the sandbox can connect
    /// and claim to be a worker.
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

    /// Sends a line. Errors are ignored: a process that cannot be reached is soon reported as
    /// disconnected.
    pub(super) async fn send(&mut self, id: usize, line: &str) {
        if let Some(member) = self.members.get_mut(&id) {
            let line = format!("{line}\n");
            let _ =
                tokio::time::timeout(Duration::from_secs(10), member.writer.write_all(line.as_bytes())).await;
        }
    }

    /// The process id of a worker, the parent or the loader, as this machine sees it.
    pub(super) fn pid(&self, id: usize) -> Option<u32> {
        self.members.get(&id).and_then(|member| member.pid)
    }

    /// Kills a worker, or another process of the sandbox.
    pub(super) fn kill(&self, victim: KillTarget) {
        let pid = match victim {
            KillTarget::Worker(id) => self.pid(id),
            KillTarget::Process(pid) => Some(pid),
        };
        if let Some((pid, outermost)) = pid.zip(self.sandbox.id()) {
            kill::kill_below(outermost, pid);
        }
    }

    /// Removes a worker that has ended, and kills all processes whose own parent has ended.
    pub(super) fn forget(&mut self, id: usize) {
        self.members.remove(&id);
        self.tokens.remove(&id);
        for orphan in self.process_tree().orphans {
            self.kill(KillTarget::Process(orphan));
        }
    }

    /// The CPU time that was measured, in milliseconds.
    pub(super) fn cpu_ms(&self) -> u64 {
        self.past_cpu + self.cpu.values().sum::<u64>()
    }

    /// How the loader ended, and what it printed last.
    pub(super) async fn exit_reason(&mut self) -> String {
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
