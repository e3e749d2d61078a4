//! The farm's side of a conversation with an evaluator about one system.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::super::outcome::{Batch, Event, Failure, Outcome, Summary};
use super::super::request::{Limits, Target};
use super::super::supervisor::{LONGEST_MESSAGE, LONGEST_NAME, MOST_UNITS};
use super::check::{Checked, InvalidReport, invalid};
use super::messages::{Command, Found, Item, Report, receive, receive_contents, send};
use crate::farm::reconciler::progress;
use crate::guix::sexp::shortened;

/// How much longer than its time limit an evaluation may take before its evaluator is ended.
const GRACE: Duration = Duration::from_mins(5);
/// No evaluation may take longer than this, whatever its limit.
const LONGEST: Duration = Duration::from_hours(24 * 365);
/// Recording that takes longer than this is not counted as the evaluator's time.
const SLOW: Duration = Duration::from_secs(1);
/// Most outcomes in one batch.
const MOST_FOUND: usize = 300_000;
/// Most enumerations of the units: one, and another for each parent that is replaced.
const MOST_ENUMERATIONS: usize = 100;
/// Most results of units, over all batches of a system: each unit has a few at most.
const MOST_DONE: usize = 100 * MOST_UNITS;
/// Items are checked together when they take more than this, in bytes.
const CHECKED_AT_ONCE: usize = 1 << 20;

/// Why a conversation ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    InvalidReport(#[from] InvalidReport),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it does not end")]
    Endless,
    #[error("the receiver of the results is gone")]
    Abandoned,
}

/// The farm's side of a conversation.
pub(super) struct Conversation<'a> {
    events: &'a mpsc::Sender<Event>,
    checked: Checked,
    /// Items that are not checked yet.
    items: Vec<Item>,
    /// Roughly how much memory these items take, in bytes.
    bytes: usize,
    /// Outcomes of this batch that are not checked yet.
    found: Vec<Found>,
    /// Whether a part of this batch was already passed on.
    is_split: bool,
    /// How often units were enumerated.
    enumerations: usize,
    /// How many units have a result so far.
    done: usize,
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
            found: Vec::new(),
            is_split: false,
            enumerations: 0,
            done: 0,
            deadline: Instant::now() + limits.evaluation_time.min(LONGEST) + GRACE,
        }
    }

    /// Evaluates for one system, and passes on the checked results. Returns how the evaluation
    /// ended, and its measurements.
    pub(super) async fn hold(
        mut self,
        socket: &mut BufReader<UnixStream>,
        wanted: Target,
        limits: Limits,
    ) -> Result<(Result<(), Failure>, Summary), Broken> {
        let (system, likely) = (wanted.system.to_string(), wanted.likely.into_iter().collect());
        self.in_time(send(socket, &Command::Evaluate { system, likely, limits })).await?;
        loop {
            let report = self.in_time(receive(socket)).await?;
            progress();
            match report.ok_or_else(|| io::Error::other("it closed its connection"))? {
                Report::Enumerated(units) => self.enumerated(units).await?,
                Report::Added(mut item) => {
                    item.contents = self.in_time(receive_contents(socket)).await?;
                    self.added(item).await?;
                }
                Report::Found(found) if self.found.len() < MOST_FOUND => self.found.push(found),
                Report::Found(_) => return Err(invalid("a batch that is too large").into()),
                Report::Batch { done } => {
                    self.batch(done).await?;
                    self.in_time(send(socket, &Command::Recorded)).await?;
                }
                Report::Ended { result, measured } => {
                    let guix_version = shortened(measured.guix_version.clone(), LONGEST_NAME);
                    let result = result.map_err(|failure| failure.shortened(LONGEST_MESSAGE));
                    return Ok((result, Summary { guix_version, ..*measured }));
                }
            }
        }
    }

    /// Waits for the evaluator, until the deadline at most.
    async fn in_time<T>(&self, work: impl Future<Output = io::Result<T>>) -> Result<T, Broken> {
        let done = tokio::time::timeout_at(self.deadline, work).await;
        Ok(done.map_err(|_| Broken::Endless)??)
    }

    /// Units are enumerated again when the parent was replaced.
    async fn enumerated(&mut self, units: usize) -> Result<(), Broken> {
        self.enumerations += 1;
        if units > MOST_UNITS || self.enumerations > MOST_ENUMERATIONS {
            return Err(invalid("too many units").into());
        }
        self.pass_on(Event::Enumerated { units }).await
    }

    async fn added(&mut self, item: Item) -> Result<(), Broken> {
        self.bytes += item.weight();
        self.items.push(item);
        if self.bytes < CHECKED_AT_ONCE {
            return Ok(());
        }
        self.check(Vec::new()).await?;
        if self.checked.is_full() {
            let items = self.checked.drain();
            self.is_split = true;
            self.pass_on(Event::Batch(Batch { items, ..Batch::default() })).await?;
        }
        Ok(())
    }

    /// Passes a batch on, and waits until it is recorded.
    async fn batch(&mut self, done: usize) -> Result<(), Broken> {
        self.done = self.done.saturating_add(done);
        let has_items = !self.items.is_empty() || self.checked.has_items() || self.is_split;
        if !has_items && self.found.is_empty() && done == 0 || self.done > MOST_DONE {
            return Err(invalid("a batch that makes no sense").into());
        }
        self.is_split = false;
        let found = std::mem::take(&mut self.found);
        let outcomes = self.check(found).await?;
        let items = self.checked.drain();
        let arrived = Instant::now();
        let (held, recorded) = oneshot::channel::<()>();
        self.pass_on(Event::Batch(Batch { items, outcomes, done, pending_guard: Some(Arc::new(held)) }))
            .await?;
        // `held` is dropped and never sent to.
        let _ = recorded.await;
        // A database that is unavailable for a while is not the evaluator's fault.
        let waited = arrived.elapsed();
        if waited > SLOW {
            self.deadline += waited;
        }
        Ok(())
    }

    /// Checks items and outcomes on a thread that may block.
    async fn check(&mut self, found: Vec<Found>) -> Result<Vec<Outcome>, Broken> {
        self.bytes = 0;
        let items = std::mem::take(&mut self.items);
        let mut checked = self.checked.clone();
        let check = move || {
            items.into_iter().try_for_each(|item| checked.add(item))?;
            let outcomes = found
                .into_iter()
                .map(|found| checked.outcome(found))
                .collect::<Result<_, InvalidReport>>()?;
            Ok((checked, outcomes))
        };
        let done: Result<_, InvalidReport> =
            tokio::task::spawn_blocking(check).await.map_err(io::Error::other)?;
        let outcomes;
        (self.checked, outcomes) = done?;
        Ok(outcomes)
    }

    async fn pass_on(&self, event: Event) -> Result<(), Broken> {
        self.events.send(event).await.map_err(|_| Broken::Abandoned)
    }
}
