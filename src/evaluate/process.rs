//! The processes of one evaluation: the sandbox with the parent and its workers, the store that
//! they talk to, and the sockets over which they and the supervisor talk.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use super::confine;
use super::protocol::Message;
use super::request::Request;
use crate::eval_store::{EvalStore, Memory};
use crate::sandbox::{Process, measure_tree};

/// The parent, among the ids of workers.
pub(super) const PARENT: usize = usize::MAX;

/// Longest message that is read from the parent, which names all units in one.
const LONGEST_LINE: u64 = 64 << 20;
/// Longest message that is read from a worker, and from who has not said yet who it is.
const LONGEST_OF_WORKER: u64 = 256 << 10;
/// More connections than this at a time are not served.
const MOST_CONNECTIONS: usize = 256;
/// What one evaluation may add to the store, in bytes.
const MOST_STORED: usize = 8 << 30;

/// Something that a process did.
#[derive(Debug)]
pub(super) enum Heard {
    /// It said this.
    Said(usize, Message),
    /// It closed its connection, or said something that is no message.
    Left(usize),
}

/// A process that holds too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Victim {
    /// This worker.
    Worker(usize),
    /// Something that evaluated code started, by its process id.
    Stray(u32),
}

/// Processes that evaluated code started.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Below each worker.
    pub(super) of_workers: BTreeMap<usize, Vec<u32>>,
    /// Children of the parent that are no workers, or not yet.
    pub(super) of_parent: Vec<u32>,
    /// Whether one of them lives: the dead hold no memory, and the parent has yet to hear of them.
    pub(super) one_of_parent_lives: bool,
    /// Those whose parent has ended.
    pub(super) strays: Vec<u32>,
}

/// Everything that runs for one evaluation. Dropping it kills it all.
#[derive(Debug)]
pub(super) struct Crew {
    parent: Process,
    store: Arc<EvalStore>,
    listener: JoinHandle<()>,
    arrivals: mpsc::Receiver<Arrival>,
    members: BTreeMap<usize, Member>,
    /// Questions for the parent, one at a time: a fork must not inherit a line that was read ahead.
    questions: VecDeque<String>,
    /// Since when the parent owes an answer.
    asked: Option<Instant>,
    /// What each worker that was asked for will prove itself with, once.
    tokens: HashMap<usize, String>,
    /// CPU milliseconds that each process had used when it was last seen.
    cpu: HashMap<u32, u64>,
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

/// Something that came over a connection.
#[derive(Debug)]
enum Arrival {
    Joined {
        connection: u64,
        id: usize,
        pid: Option<u32>,
        writer: OwnedWriteHalf,
        message: Message,
        /// Told when it may stay; dropped when not.
        welcome: oneshot::Sender<()>,
    },
    Said {
        connection: u64,
        id: usize,
        message: Message,
    },
    Left {
        connection: u64,
        id: usize,
    },
}

impl Crew {
    /// Starts the store and the parent.
    pub(super) fn start(request: &Request) -> io::Result<Self> {
        let store = EvalStore::start(Memory::new(request.keep_contents, MOST_STORED))?;
        Self::with_store(request, Arc::new(store))
    }

    /// Starts again; the store keeps what it has. The old crew dies when it is dropped.
    pub(super) fn restart(&mut self, request: &Request) -> io::Result<Self> {
        self.parent.kill();
        let mut crew = Self::with_store(request, self.store.clone())?;
        crew.cpu = std::mem::take(&mut self.cpu);
        Ok(crew)
    }

    fn with_store(request: &Request, store: Arc<EvalStore>) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("gorget-").tempdir()?;
        confine::write_scripts(directory.path())?;
        let socket = UnixListener::bind(directory.path().join("control"))?;
        let (sender, arrivals) = mpsc::channel(4096);
        let listener = tokio::spawn(listen(socket, sender));
        let parent = confine::confined(request, directory.path(), store.socket()).spawn()?;
        Ok(Self {
            parent,
            store,
            listener,
            arrivals,
            members: BTreeMap::new(),
            questions: VecDeque::new(),
            asked: None,
            tokens: HashMap::new(),
            cpu: HashMap::new(),
            _directory: directory,
        })
    }

    /// What the evaluation added.
    pub(super) fn store(&self) -> &Memory {
        self.store.memory()
    }

    /// Waits for the next thing that a process does.
    pub(super) async fn heard(&mut self) -> Heard {
        loop {
            let arrival = tokio::select! {
                biased;
                arrival = self.arrivals.recv() => arrival,
                _ = self.parent.ended() => {
                    // Its last message may still be on its way.
                    tokio::time::timeout(Duration::from_millis(300), self.arrivals.recv()).await.unwrap_or(None)
                }
            };
            match arrival {
                None => return Heard::Left(PARENT),
                Some(Arrival::Joined { connection, id, pid, writer, message, welcome }) => {
                    if self.expects(&message)
                        && let Entry::Vacant(place) = self.members.entry(id)
                    {
                        place.insert(Member { connection, pid, writer });
                        let _ = welcome.send(());
                        return Heard::Said(id, message);
                    }
                }
                Some(Arrival::Said { connection, id, message }) if self.is(id, connection) => {
                    return Heard::Said(id, message);
                }
                Some(Arrival::Left { connection, id }) if self.is(id, connection) => return Heard::Left(id),
                Some(_) => {}
            }
        }
    }

    /// Whether it may join: any process of the sandbox can connect and claim to be a worker.
    fn expects(&mut self, message: &Message) -> bool {
        match message {
            Message::Worker { id, token } if self.tokens.get(id) == Some(token) => {
                self.tokens.remove(id).is_some()
            }
            Message::Parent { .. } => true,
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

    /// Has the parent fork a worker.
    pub(super) async fn fork(&mut self, id: usize) {
        // The keys of a new hasher are random.
        let token = format!("{:016x}", RandomState::new().build_hasher().finish());
        let question = format!("(fork {id} \"{token}\")");
        self.tokens.insert(id, token);
        self.ask_parent(question).await;
    }

    /// Asks the parent as soon as it has answered everything else.
    pub(super) async fn ask_parent(&mut self, question: String) {
        self.questions.push_back(question);
        self.next_question().await;
    }

    /// The parent's answer to the last question is there.
    pub(super) async fn parent_answered(&mut self) {
        self.asked = None;
        self.next_question().await;
    }

    /// For how long the parent has owed an answer.
    pub(super) fn unanswered(&self) -> Duration {
        self.asked.map_or(Duration::ZERO, |asked| asked.elapsed())
    }

    async fn next_question(&mut self) {
        if self.asked.is_none()
            && let Some(question) = self.questions.pop_front()
        {
            self.asked = Some(Instant::now());
            self.tell(PARENT, &question).await;
        }
    }

    /// The process of a worker or the parent, as this machine sees it.
    pub(super) fn pid(&self, id: usize) -> Option<u32> {
        self.members.get(&id).and_then(|member| member.pid)
    }

    /// Kills a worker, or another process of the sandbox.
    pub(super) fn kill(&self, victim: Victim) {
        let pid = match victim {
            Victim::Worker(id) => self.pid(id),
            Victim::Stray(pid) => Some(pid),
        };
        if let Some(pid) = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// A worker has gone for good, and with it everything that lost its own parent.
    pub(super) fn forget(&mut self, id: usize) {
        self.members.remove(&id);
        self.tokens.remove(&id);
        for stray in self.crowd().strays {
            self.kill(Victim::Stray(stray));
        }
    }

    /// Counts what evaluated code has started.
    pub(super) fn crowd(&self) -> Crowd {
        let Some(outermost) = self.parent.id() else { return Crowd::default() };
        let parent = self.members.get(&PARENT).and_then(|member| member.pid);
        let pids = self.members.iter().filter(|(id, _)| **id != PARENT);
        let workers: HashMap<u32, usize> = pids.filter_map(|(id, member)| Some((member.pid?, *id))).collect();
        let mut crowd = Crowd::default();
        let mut owners: HashMap<u32, Option<usize>> = HashMap::new();
        // The two processes of the sandbox come first; what they have beside the parent is lost.
        for process in measure_tree(outermost).into_iter().skip(2) {
            if Some(process.pid) == parent || (parent.is_none() && owners.is_empty()) {
                owners.insert(process.pid, None);
            } else if let Some(worker) = workers.get(&process.pid) {
                owners.insert(process.pid, Some(*worker));
            } else if Some(process.parent) == parent {
                crowd.of_parent.push(process.pid);
                crowd.one_of_parent_lives |= process.resident > 0;
            } else if let Some(Some(worker)) = owners.get(&process.parent).copied() {
                owners.insert(process.pid, Some(worker));
                crowd.of_workers.entry(worker).or_default().push(process.pid);
            } else {
                crowd.strays.push(process.pid);
            }
        }
        crowd
    }

    /// Looks at all processes: their memory together and who but the parent holds most of it;
    /// notes their CPU as well. `exact` splits what they share, which takes long; otherwise the sum
    /// is too high.
    pub(super) fn measure(&mut self, exact: bool) -> (u64, Option<Victim>) {
        let Some(outermost) = self.parent.id() else { return (0, None) };
        let tree = measure_tree(outermost);
        self.cpu.extend(tree.iter().map(|process| (process.pid, process.cpu_ms)));
        let parent = self.members.get(&PARENT).and_then(|member| member.pid);
        // The sandbox itself, two processes, and the parent come first in the tree.
        let others = tree.iter().skip(2).filter(|process| Some(process.pid) != parent);
        let largest = others.max_by_key(|process| process.resident).map(|process| {
            let worker = self.members.iter().find(|(_, member)| member.pid == Some(process.pid));
            worker.map_or(Victim::Stray(process.pid), |(id, _)| Victim::Worker(*id))
        });
        let sum = tree.iter().map(|process| if exact { process.share() } else { process.resident }).sum();
        (sum, largest)
    }

    /// CPU that was seen to be used, in milliseconds.
    pub(super) fn cpu_ms(&self) -> u64 {
        self.cpu.values().sum()
    }

    /// How the parent ended and what it printed last.
    pub(super) async fn last_words(&mut self) -> String {
        match self.parent.finish(Duration::from_secs(2)).await {
            Ok(finished) => finished.reason(),
            Err(error) => error.to_string(),
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(socket: UnixListener, sender: mpsc::Sender<Arrival>) {
    let mut clients = JoinSet::new();
    for connection in 0.. {
        while clients.try_join_next().is_some() {}
        match socket.accept().await {
            Ok(_) if clients.len() >= MOST_CONNECTIONS => {}
            Ok((stream, _)) => {
                clients.spawn(serve(connection, stream, sender.clone()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Reads the messages of one process, whose first one says who it is.
async fn serve(connection: u64, stream: UnixStream, sender: mpsc::Sender<Arrival>) {
    let pid = stream.peer_cred().ok().and_then(|peer| u32::try_from(peer.pid()?).ok());
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(64 * 1024, reader);
    let Some(message) = next_message(&mut reader, LONGEST_OF_WORKER).await else { return };
    let (id, longest) = match &message {
        Message::Parent { .. } => (PARENT, LONGEST_LINE),
        Message::Worker { id, .. } if *id != PARENT => (*id, LONGEST_OF_WORKER),
        _ => return,
    };
    let (welcome, welcomed) = oneshot::channel();
    let joined = Arrival::Joined { connection, id, pid, writer, message, welcome };
    if sender.send(joined).await.is_err() || welcomed.await.is_err() {
        return;
    }
    loop {
        let Some(message) = next_message(&mut reader, longest).await else {
            let _ = sender.send(Arrival::Left { connection, id }).await;
            return;
        };
        if sender.send(Arrival::Said { connection, id, message }).await.is_err() {
            return;
        }
    }
}

async fn next_message(reader: &mut BufReader<OwnedReadHalf>, longest: u64) -> Option<Message> {
    let mut line = Vec::new();
    let count = reader.take(longest).read_until(b'\n', &mut line).await.ok()?;
    if count == 0 || line.last() != Some(&b'\n') {
        return None;
    }
    Message::parse(std::str::from_utf8(&line).ok()?).ok()
}
