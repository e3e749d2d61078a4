//! The connections of the evaluating processes.
//!
//! Messages wait in a queue until the supervisor takes them. The queue is bounded in bytes, for all
//! processes together: a message is parsed only when there is room for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::super::protocol::Message;
use super::{LOADER, PARENT};

/// Longest message that is read.
const LONGEST_LINE: u32 = 256 << 10;
/// Longest first message, with which a process identifies itself.
const LONGEST_INTRODUCTION: u32 = 4 << 10;
/// Most bytes of messages that wait, by the length of their lines. Parsed, they take up to about
/// sixteen times as much memory.
const MOST_WAITING: usize = 4 << 20;
/// Most connections at a time. Further ones are closed at once.
const MOST_CONNECTIONS: usize = 256;

/// An event on a connection.
#[derive(Debug)]
pub(super) enum ConnectionEvent {
    Joined {
        connection: u64,
        id: usize,
        pid: Option<u32>,
        writer: OwnedWriteHalf,
        message: Message,
        /// Sent to if the process may stay; dropped if not.
        accept: oneshot::Sender<()>,
    },
    Message {
        connection: u64,
        id: usize,
        message: Message,
        /// The part of the queue that the message takes.
        permit: OwnedSemaphorePermit,
    },
    Disconnected {
        connection: u64,
        id: usize,
        why: Disconnected,
    },
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disconnected {
    /// It was closed.
    Closed,
    /// A line was longer than a message may be.
    TooLong,
    /// A line was not a message.
    Unreadable,
}

impl Disconnected {
    /// The fault for which the process was cut off; `None` if it closed the connection itself.
    pub(super) fn fault(self) -> Option<&'static str> {
        match self {
            Self::Closed => None,
            Self::TooLong => Some("it sent a message of more than 256 KiB"),
            Self::Unreadable => Some("it sent an invalid message"),
        }
    }
}

/// Serves every process that connects.
pub(super) async fn listen(socket: UnixListener, sender: mpsc::Sender<ConnectionEvent>) {
    let permits = Arc::new(Semaphore::new(MOST_WAITING));
    let mut clients = JoinSet::new();
    for connection in 0.. {
        while clients.try_join_next().is_some() {}
        match socket.accept().await {
            Ok(_) if clients.len() >= MOST_CONNECTIONS => {}
            Ok((stream, _)) => {
                clients.spawn(serve(connection, stream, sender.clone(), permits.clone()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Reads the messages of one process. The first message identifies it.
async fn serve(
    connection: u64,
    stream: UnixStream,
    sender: mpsc::Sender<ConnectionEvent>,
    permits: Arc<Semaphore>,
) {
    let pid = stream.peer_cred().ok().and_then(|peer| u32::try_from(peer.pid()?).ok());
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(64 * 1024, reader);
    let introduction = next_message(&mut reader, LONGEST_INTRODUCTION, &permits).await;
    let Ok((message, in_queue)) = introduction else { return };
    let id = match &message {
        Message::Loader { .. } => LOADER,
        Message::Parent { .. } => PARENT,
        Message::Worker { id, .. } if *id < LOADER => *id,
        _ => return,
    };
    let (accept, accepted) = oneshot::channel();
    let joined = ConnectionEvent::Joined { connection, id, pid, writer, message, accept };
    if sender.send(joined).await.is_err() || accepted.await.is_err() {
        return;
    }
    drop(in_queue);
    loop {
        let connection_event = match next_message(&mut reader, LONGEST_LINE, &permits).await {
            Ok((message, permit)) => ConnectionEvent::Message { connection, id, message, permit },
            Err(why) => ConnectionEvent::Disconnected { connection, id, why },
        };
        let is_last = matches!(connection_event, ConnectionEvent::Disconnected { .. });
        if sender.send(connection_event).await.is_err() || is_last {
            return;
        }
    }
}

/// The next message, and the part of the queue that it takes.
async fn next_message(
    reader: &mut BufReader<OwnedReadHalf>,
    longest: u32,
    permits: &Arc<Semaphore>,
) -> Result<(Message, OwnedSemaphorePermit), Disconnected> {
    let mut line = Vec::new();
    let count =
        reader.take(longest.into()).read_until(b'\n', &mut line).await.map_err(|_| Disconnected::Closed)?;
    if line.last() != Some(&b'\n') {
        return Err(if count == longest as usize { Disconnected::TooLong } else { Disconnected::Closed });
    }
    let length = u32::try_from(count).map_err(|_| Disconnected::TooLong)?;
    let permit = permits.clone().acquire_many_owned(length).await.map_err(|_| Disconnected::Closed)?;
    let text = std::str::from_utf8(&line).map_err(|_| Disconnected::Unreadable)?;
    Ok((Message::parse(text).map_err(|_| Disconnected::Unreadable)?, permit))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream as Client;

    use super::*;

    /// Sends these lines over a new connection, from a thread.
    fn say(path: std::path::PathBuf, said: impl Iterator<Item = String> + Send + 'static) {
        std::thread::spawn(move || {
            let mut stream = Client::connect(path).unwrap();
            said.take_while(|line| stream.write_all(line.as_bytes()).is_ok()).count()
        });
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_bytes_whoever_sends_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let (sender, mut connection_events) = mpsc::channel(4096);
        let listener = tokio::spawn(listen(UnixListener::bind(&path).unwrap(), sender));
        let large = format!("(error 0 exception \"{}\")\n", "x".repeat(200 << 10));
        for worker in 0..30 {
            let large = large.clone();
            let first = std::iter::once(format!("(worker {worker} \"token\")\n"));
            say(path.clone(), first.chain((0..50).map(move |_| large.clone())));
        }
        let (mut most, mut left) = (0, 0);
        while left < 30 {
            tokio::time::sleep(Duration::from_micros(100)).await;
            most = most.max(connection_events.len());
            match connection_events.recv().await.unwrap() {
                ConnectionEvent::Joined { accept, .. } => accept.send(()).unwrap(),
                ConnectionEvent::Message { message: Message::Error { message, .. }, .. } => {
                    assert!(message.len() < 17 << 10, "{}", message.len());
                }
                ConnectionEvent::Disconnected { why, .. } => {
                    assert_eq!(why, Disconnected::Closed);
                    left += 1;
                }
                other @ ConnectionEvent::Message { .. } => panic!("{other:?}"),
            }
        }
        assert!(most <= 30 + MOST_WAITING / large.len(), "{most}");
        listener.abort();
    }

    #[tokio::test]
    async fn who_sends_what_is_no_message_is_cut_off_for_a_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        let (sender, mut connection_events) = mpsc::channel(4096);
        let listener = tokio::spawn(listen(UnixListener::bind(&path).unwrap(), sender));
        let cases = [
            ("x".repeat(LONGEST_LINE as usize + 1), Disconnected::TooLong),
            ("(".repeat(LONGEST_LINE as usize) + "\n", Disconnected::TooLong),
            ("(".repeat(LONGEST_LINE as usize - 1) + "\n", Disconnected::Unreadable),
            (format!("({})\n", "a ".repeat(100_000)), Disconnected::Unreadable),
            ("(idle".to_owned(), Disconnected::Closed),
        ];
        for (said, expected) in cases {
            say(path.clone(), ["(loader \"3.0\" \"1.5\")\n".to_owned(), said].into_iter());
            let Some(ConnectionEvent::Joined { accept, .. }) = connection_events.recv().await else {
                panic!()
            };
            accept.send(()).unwrap();
            let Some(ConnectionEvent::Disconnected { why, .. }) = connection_events.recv().await else {
                panic!()
            };
            assert_eq!(why, expected);
        }
        // The first message must be short.
        say(path, [format!("(loader \"{}\" \"1.5\")\n", "3".repeat(5000))].into_iter());
        assert!(tokio::time::timeout(Duration::from_millis(300), connection_events.recv()).await.is_err());
        listener.abort();
    }
}
