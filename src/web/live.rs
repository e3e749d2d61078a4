//! Server-sent events: the event log, as it grows.
//!
//! # Guarantees
//!
//! * A stream that starts after an event (`Last-Event-ID` or `after`) misses no later event, on
//!   whichever host it starts. If the missed events are no longer kept, or are too many, it gets a
//!   `reset` instead.
//! * A stream ends when the farm stops, and after five minutes, so that it outlives an expired
//!   token by no more than that.
//!
//! # Design
//!
//! One task reads the event log each second while there are streams, and sends what it finds to all
//! of them. So the load on the database does not depend on the number of streams, and hosts need
//! not know each other. The progress of evaluations is also sent. It is not an event and has no
//! number.
//!
//! # Races
//!
//! A stream first subscribes, then reads the events that it missed, so it may get an event twice;
//! it skips events that it has already sent.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, StreamExt as _, unfold};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use super::{Failure, Shared};
use crate::db::{self, Db, LoggedEvent, Progress};

/// How often the event log is read.
const INTERVAL: Duration = Duration::from_secs(1);
/// A comment is sent after this time without an event, so that proxies keep the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A stream ends after this time. Its client then opens another one, for which it needs a token
/// that is still valid.
const LONGEST: Duration = Duration::from_mins(5);
/// After how long a browser reconnects.
const RETRY: Duration = Duration::from_secs(3);
/// How many messages a stream may lag behind before it has to read the event log itself.
const BEHIND: usize = 256;
/// How long a stream waits to be started.
const TURN: Duration = Duration::from_secs(10);
/// How many events one query reads.
const PAGE: i64 = 500;
/// A stream that missed more events than this gets a reset.
const MOST_MISSED: usize = 2000;

/// A message to all streams.
#[derive(Debug, Clone)]
enum Message {
    /// Each stream has to read the events that it missed.
    Missed,
    Event(LoggedEvent),
    Progress(Progress),
}

/// Sends events to all streams.
#[derive(Debug)]
pub(super) struct Live {
    sender: Sender<Message>,
    /// Canceled when the farm stops.
    stop: CancellationToken,
}

impl Live {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { sender: channel(BEHIND).0, stop }
    }

    /// Reads the event log for all streams until the farm stops.
    pub(super) async fn follow(&self, db: &Db) {
        let mut last = None;
        let mut sent_progress: Vec<Progress> = Vec::new();
        while self.stop.run_until_cancelled(sleep(INTERVAL)).await.is_some() {
            if self.sender.receiver_count() == 0 {
                last = None;
                continue;
            }
            if let Err(error) = self.tell(db, &mut last, &mut sent_progress).await {
                tracing::warn!("the event log cannot be read: {error}");
            }
        }
    }

    async fn tell(
        &self,
        db: &Db,
        last: &mut Option<i64>,
        sent_progress: &mut Vec<Progress>,
    ) -> db::Result<()> {
        match *last {
            // There was no stream until now. Events since the first one started have not been read
            // here.
            None => {
                *last = Some(db.event_bounds().await?.map_or(0, |(_, newest)| newest));
                let _ = self.sender.send(Message::Missed);
            }
            Some(from) => {
                for event in db.events_after(from, PAGE).await? {
                    *last = Some(event.id);
                    let _ = self.sender.send(Message::Event(event));
                }
            }
        }
        let progress = db.progress().await?;
        for one in progress.iter().filter(|one| !sent_progress.contains(one)) {
            let _ = self.sender.send(Message::Progress(one.clone()));
        }
        *sent_progress = progress;
        Ok(())
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct After {
    /// The events after this number.
    after: Option<i64>,
}

/// The state of one stream.
struct EventStream {
    shared: Arc<Shared>,
    heard: Receiver<Message>,
    /// The number of the last event that was sent.
    last: i64,
    waiting: VecDeque<Event>,
}

/// `GET /api/v1/events`.
pub(super) async fn stream(
    State(shared): State<Arc<Shared>>,
    Query(After { after }): Query<After>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    // A stream starts with some queries, like a page.
    let gate = Arc::clone(&shared);
    let turn = timeout(TURN, gate.page_turns.acquire()).await;
    let Ok(Ok(turn)) = turn else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many pages are being made"));
    };
    let heard = shared.live.sender.subscribe();
    let (oldest, newest) = shared.web.db.event_bounds().await?.unwrap_or((1, 0));
    let mut waiting = VecDeque::from([Event::default()
        .retry(RETRY)
        .event("hello")
        .data(json!({ "newest": newest }).to_string())]);
    let last = match header.or(after) {
        // All later events are in the log, or still to come.
        Some(after) if (oldest - 1..=newest).contains(&after) => after,
        Some(_) => {
            waiting.push_back(reset(newest));
            newest
        }
        None => newest,
    };
    let stop = shared.live.stop.clone();
    let mut stream = EventStream { shared, heard, last, waiting };
    stream.catch_up().await?;
    drop(turn);
    // A client that is no longer permitted to read gets nothing after that; others reconnect and
    // continue.
    let over = async move { stop.run_until_cancelled(sleep(LONGEST)).await };
    let events = events(stream).take_until(over);
    let headers =
        [("cache-control", "no-store"), ("x-accel-buffering", "no"), ("x-content-type-options", "nosniff")];
    let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok((headers, stream).into_response())
}

fn events(stream: EventStream) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold(stream, |mut stream| async move {
        loop {
            if let Some(event) = stream.waiting.pop_front() {
                return Some((Ok(event), stream));
            }
            match stream.heard.recv().await {
                Ok(Message::Event(event)) => stream.add(&event),
                Ok(Message::Progress(progress)) => stream.waiting.push_back(of_progress(&progress)),
                // If catching up fails, the stream ends, and the browser opens another one from its
                // last event on.
                Ok(Message::Missed) | Err(RecvError::Lagged(_)) => stream.catch_up().await.ok()?,
                Err(RecvError::Closed) => return None,
            }
        }
    })
}

impl EventStream {
    fn add(&mut self, event: &LoggedEvent) {
        if event.id > self.last {
            self.last = event.id;
            let LoggedEvent { id, at, kind, spec, evaluation } = event;
            let data = json!({ "at": at, "evaluation": evaluation, "spec": spec });
            self.waiting.push_back(Event::default().id(id.to_string()).event(kind).data(data.to_string()));
        }
    }

    /// Reads the events that the stream missed.
    async fn catch_up(&mut self) -> Result<(), Failure> {
        loop {
            let missed = self.shared.web.db.events_after(self.last, PAGE).await?;
            let is_all = missed.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            if self.waiting.len() > MOST_MISSED {
                self.last = self.shared.web.db.event_bounds().await?.map_or(self.last, |(_, newest)| newest);
                self.waiting = VecDeque::from([reset(self.last)]);
                return Ok(());
            }
            for event in &missed {
                self.add(event);
            }
            if is_all {
                return Ok(());
            }
        }
    }
}

/// The message that missed events are not available.
fn reset(newest: i64) -> Event {
    Event::default().event("reset").id(newest.to_string()).data("{}")
}

fn of_progress(progress: &Progress) -> Event {
    let Progress { evaluation, done, errors } = progress;
    let data = json!({ "done": done, "errors": errors, "evaluation": evaluation });
    Event::default().event("progress").data(data.to_string())
}

#[cfg(test)]
mod tests {
    use crate::db::EventKind;

    #[test]
    fn pages_listen_to_every_kind_of_event() {
        let script = include_str!("assets/live.js");
        for kind in EventKind::ALL {
            assert!(script.contains(&format!("\"{}\"", kind.word())), "{kind:?}");
        }
    }
}
