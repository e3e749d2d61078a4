//! The connections of the processes that evaluate: who says what.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::super::protocol::Message;
use super::{LOADER, PARENT};

/// Longest message that is read from the parent, which names all units in one.
const LONGEST_LINE: u64 = 64 << 20;
/// Longest message that is read from any other process, and from who has not said yet who it is.
const LONGEST_OF_WORKER: u64 = 256 << 10;
/// More connections than this at a time are not served.
const MOST_CONNECTIONS: usize = 256;

/// Something that came over a connection.
#[derive(Debug)]
pub(super) enum Arrival {
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

/// Serves whoever connects.
pub(super) async fn listen(socket: UnixListener, sender: mpsc::Sender<Arrival>) {
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
        Message::Loader { .. } => (LOADER, LONGEST_LINE),
        Message::Parent { .. } => (PARENT, LONGEST_LINE),
        Message::Worker { id, .. } if *id < LOADER => (*id, LONGEST_OF_WORKER),
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
