//! Messages between the farm and an evaluator.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::super::outcome::{Failure, Outcome, Summary};
use super::super::request::{Limits, Request};
use crate::domain::job::JobMetadata;
use crate::guix::recording_store::{Kind, RecordedItem};

/// The longest message, in bytes: an item with as many references as a store takes.
const LONGEST: u32 = 16 << 20;
/// The longest contents of an item, in bytes: the largest archive that a store takes.
const LONGEST_CONTENTS: u32 = 320 << 20;

/// A message from the farm.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Command {
    /// What to evaluate, and with what. It is sent once, before everything else.
    Begin(Box<Request>),
    /// Evaluate it for one system.
    Evaluate {
        system: String,
        /// Jobs that are likely to have changed.
        likely: Vec<String>,
        /// What the evaluation may use.
        limits: Limits,
    },
    /// The last batch was recorded.
    Recorded,
}

/// A message from the evaluator.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The units were enumerated; there are this many.
    Enumerated(usize),
    /// An item was added to the store. The items that it refers to were reported before. Its
    /// contents follow.
    Added(Item),
    /// The outcome of a unit. Each is a message of its own, so the memory that a message takes is
    /// proportional to its length.
    Found(Found),
    /// A batch is complete. The evaluator waits for an answer.
    Batch {
        /// How many units got a result in this batch.
        done: usize,
    },
    /// The evaluation is over.
    Ended {
        result: Result<(), Failure>,
        /// What was measured.
        measured: Box<Summary>,
    },
}

/// A store item.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Item {
    /// Its path, as the evaluator computed it.
    pub(super) path: String,
    /// The kind of its contents.
    pub(super) kind: Kind,
    #[serde(skip)]
    pub(super) contents: Vec<u8>,
    /// The paths that it refers to, one per line; empty for a derivation.
    pub(super) references: String,
}

impl From<RecordedItem> for Item {
    fn from(item: RecordedItem) -> Self {
        Self {
            path: item.path.to_string(),
            kind: item.kind,
            contents: item.contents,
            references: item.references.iter().map(|path| format!("{path}\n")).collect(),
        }
    }
}

/// The outcome of a unit: an [`Outcome`] without the values that follow from its derivation.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Found {
    Job { name: String, derivation: String, metadata: JobMetadata },
    Error { name: String, cause: String, message: String },
    Warning { name: String, cause: String, message: String },
}

impl From<Outcome> for Found {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Job { name, derivation, metadata, .. } => {
                Self::Job { name, derivation: derivation.to_string(), metadata }
            }
            Outcome::Error { name, cause, message } => Self::Error { name, cause, message },
            Outcome::Warning { name, cause, message } => Self::Warning { name, cause, message },
        }
    }
}

impl Item {
    /// Roughly how much memory the item takes, in bytes.
    pub(super) fn weight(&self) -> usize {
        512 + self.path.len() + self.contents.len() + 2 * self.references.len()
    }
}

/// Sends a message.
pub(super) async fn send(to: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    send_bytes(to, &postcard::to_stdvec(message).map_err(io::Error::other)?, LONGEST).await
}

/// Sends the contents of an item.
pub(super) async fn send_contents(to: &mut (impl AsyncWrite + Unpin), contents: &[u8]) -> io::Result<()> {
    send_bytes(to, contents, LONGEST_CONTENTS).await
}

/// Reads the next message; `None` when there are no more.
pub(super) async fn receive<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let Some(message) = receive_bytes(from, LONGEST).await? else { return Ok(None) };
    postcard::from_bytes(&message).map(Some).map_err(io::Error::other)
}

/// Reads the contents of an item.
pub(super) async fn receive_contents(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    receive_bytes(from, LONGEST_CONTENTS).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

async fn send_bytes(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8], longest: u32) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= longest);
    let length = length.ok_or_else(|| io::Error::other("a message is too long"))?;
    to.write_all(&length.to_le_bytes()).await?;
    to.write_all(bytes).await
}

async fn receive_bytes(from: &mut (impl AsyncRead + Unpin), longest: u32) -> io::Result<Option<Vec<u8>>> {
    let length = match from.read_u32_le().await {
        Ok(length) if length <= longest => length,
        Ok(_) => return Err(io::Error::other("a message is too long")),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    // A length that is announced without its bytes takes no memory.
    let mut bytes = Vec::with_capacity(length.min(64 << 10) as usize);
    if from.take(length.into()).read_to_end(&mut bytes).await? < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(bytes))
}
