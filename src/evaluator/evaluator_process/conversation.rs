//! What the farm and an evaluator say to each other about one system.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::super::outcome::{Batch, Event, Failure, Outcome, Summary};
use super::super::request::{Limits, Target};
use super::check::{Checked, Lie};
use super::messages::{Command, Found, Item, Report, receive, send};
use crate::farm::reconciler::progress;

/// An evaluator that takes so much longer than an evaluation may is ended.
const GRACE: Duration = Duration::from_mins(5);
/// Items are checked together when they take more than this, in bytes.
const CHECKED_AT_ONCE: usize = 1 << 20;

/// Why nothing more is heard of an evaluator.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Lie(#[from] Lie),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it does not come to an end")]
    Endless,
    #[error("nobody takes the results any more")]
    Abandoned,
}

/// The farm's side.
pub(super) struct Conversation<'a> {
    events: &'a mpsc::Sender<Event>,
    checked: Checked,
    /// What was said to be added and is not yet checked.
    items: Vec<Item>,
    /// The bytes of that.
    bytes: usize,
    deadline: Instant,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(keep_contents: bool, limits: &Limits, events: &'a mpsc::Sender<Event>) -> Self {
        let most = usize::try_from(limits.stored).unwrap_or(usize::MAX);
        Self {
            events,
            checked: Checked::new(keep_contents, most),
            items: Vec::new(),
            bytes: 0,
            deadline: Instant::now() + limits.evaluation_time + GRACE,
        }
    }

    /// Has a system evaluated, and passes on what is believed. Gives what the evaluator says of the end.
    pub(super) async fn hold(
        mut self,
        socket: &mut BufReader<UnixStream>,
        wanted: Target,
        limits: Limits,
    ) -> Result<(Result<(), Failure>, Summary), Broken> {
        let (system, likely) = (wanted.system.to_string(), wanted.likely.into_iter().collect());
        send(socket, &Command::Evaluate { system, likely, limits }).await?;
        loop {
            let report = tokio::time::timeout_at(self.deadline, receive(socket)).await;
            let report = report.map_err(|_| Broken::Endless)?;
            progress();
            match report?.ok_or_else(|| io::Error::other("it closed its connection"))? {
                Report::Enumerated(units) => self.pass_on(Event::Enumerated { units }).await?,
                Report::Added(item) => self.added(item).await?,
                Report::Batch { found, done } => {
                    self.batch(found, done).await?;
                    send(socket, &Command::Recorded).await?;
                }
                Report::Ended { result, measured } => return Ok((result, *measured)),
            }
        }
    }

    async fn added(&mut self, item: Item) -> Result<(), Broken> {
        self.bytes += item.contents.len();
        self.items.push(item);
        if self.bytes < CHECKED_AT_ONCE {
            return Ok(());
        }
        self.check(Vec::new()).await?;
        if self.checked.is_full() {
            let items = self.checked.drain();
            self.pass_on(Event::Batch(Batch { items, ..Batch::default() })).await?;
        }
        Ok(())
    }

    /// Passes a batch on, and waits until it is recorded.
    async fn batch(&mut self, found: Vec<Found>, done: usize) -> Result<(), Broken> {
        let outcomes = self.check(found).await?;
        let items = self.checked.drain();
        let arrived = Instant::now();
        let (held, recorded) = oneshot::channel::<()>();
        self.pass_on(Event::Batch(Batch { items, outcomes, done, held: Some(Arc::new(held)) })).await?;
        // It is dropped, never used.
        let _ = recorded.await;
        // The evaluator's time does not pass while it waits for us.
        self.deadline += arrived.elapsed();
        Ok(())
    }

    /// Checks what was added, and what was found with it, where that keeps nobody waiting.
    async fn check(&mut self, found: Vec<Found>) -> Result<Vec<Outcome>, Broken> {
        self.bytes = 0;
        let items = std::mem::take(&mut self.items);
        let mut checked = self.checked.clone();
        let check = move || {
            items.into_iter().try_for_each(|item| checked.add(item))?;
            let outcomes =
                found.into_iter().map(|found| checked.outcome(found)).collect::<Result<_, Lie>>()?;
            Ok((checked, outcomes))
        };
        let done: Result<_, Lie> = tokio::task::spawn_blocking(check).await.map_err(io::Error::other)?;
        let outcomes;
        (self.checked, outcomes) = done?;
        Ok(outcomes)
    }

    async fn pass_on(&self, event: Event) -> Result<(), Broken> {
        self.events.send(event).await.map_err(|_| Broken::Abandoned)
    }
}
