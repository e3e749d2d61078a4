//! What farm and evaluator say to each other.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::super::outcome::{Failure, Outcome, Summary};
use super::super::request::{Limits, Request};
use crate::domain::job::JobMetadata;
use crate::guix::recording_store::{Kind, RecordedItem};

/// The longest message, in bytes: the largest archive that a store takes, and what is said of it.
const LONGEST: u32 = 320 << 20;

/// What the farm says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Command {
    /// What to evaluate, with what: first, and once.
    Begin(Box<Request>),
    /// Evaluates it for a system.
    Evaluate {
        /// Which.
        system: String,
        /// Jobs that are likely to have changed.
        likely: Vec<String>,
        /// What the evaluation may use.
        limits: Limits,
    },
    /// The last batch is recorded.
    Recorded,
}

/// What the evaluator says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// There are so many units.
    Enumerated(usize),
    /// Something was added to the store; what it needs was said before.
    Added(Item),
    /// A batch is complete: its items were said before. An answer is waited for.
    Batch {
        /// What became of units.
        found: Vec<Found>,
        /// How many have a result now.
        done: usize,
    },
    /// The evaluation is over.
    Ended {
        /// How.
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
    /// What its contents are.
    pub(super) kind: Kind,
    #[serde(with = "serde_bytes")]
    pub(super) contents: Vec<u8>,
    /// What it refers to; empty for a derivation.
    pub(super) references: Vec<String>,
}

impl From<RecordedItem> for Item {
    fn from(item: RecordedItem) -> Self {
        Self {
            path: item.path.to_string(),
            kind: item.kind,
            contents: item.contents,
            references: item.references.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What became of a unit: an [`Outcome`] without what follows from the derivation.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Found {
    Job { name: String, derivation: String, facts: JobMetadata },
    Error { name: String, cause: String, message: String },
    Warning { name: String, cause: String, message: String },
}

impl From<Outcome> for Found {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Job { name, derivation, facts, .. } => {
                Self::Job { name, derivation: derivation.to_string(), facts }
            }
            Outcome::Error { name, cause, message } => Self::Error { name, cause, message },
            Outcome::Warning { name, cause, message } => Self::Warning { name, cause, message },
        }
    }
}

/// Sends a message.
pub(super) async fn send(to: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let message = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let length = u32::try_from(message.len()).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| io::Error::other("a message is too long"))?;
    to.write_all(&length.to_le_bytes()).await?;
    to.write_all(&message).await
}

/// Reads the next message; `None` when there are no more.
pub(super) async fn receive<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let length = match from.read_u32_le().await {
        Ok(length) if length <= LONGEST => length,
        Ok(_) => return Err(io::Error::other("a message is too long")),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut message = Vec::with_capacity(length.min(64 << 10) as usize);
    // What is announced and not sent takes no memory.
    if from.take(length.into()).read_to_end(&mut message).await? < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    postcard::from_bytes(&message).map(Some).map_err(io::Error::other)
}
