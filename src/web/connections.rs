//! Takes connections and answers on them, within limits: no peer can keep others from being answered, and none
//! keeps the program from ending.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::Listener;
use super::listener::Stream;
use super::paced::Paced;
use super::slots::{Full, Slot, Slots};

/// How long a connection may take to send the head of a request, or be idle.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// How long answering a request may take, until the head of the answer is there.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// A peer has to take what it is sent, or at least 256 KiB of it, in this time.
const TAKE_TIME: Duration = Duration::from_secs(20);
/// How long what is under way may take once the farm stops.
const DRAIN_TIME: Duration = Duration::from_secs(3);
/// Largest head of a request, and most that is buffered of an answer, in bytes.
const BUFFER: usize = 64 << 10;
/// How often room for a connection is looked for before it is closed.
const TRIES: usize = 100;
/// Pause after a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(50);
/// How often that is logged at most.
const COMPLAINT: Duration = Duration::from_mins(1);

/// Takes connections until `stop` is cancelled, and waits a little for what is under way then.
pub(super) async fn serve(listener: Listener, router: Router, slots: Arc<Slots>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let mut complained: Option<Instant> = None;
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let fault = match accepted {
            Ok((stream, address)) => {
                // Without a slot, the connection is closed.
                if let Some(slot) = room(&slots, address).await {
                    tasks.spawn(converse(stream, slot, router.clone(), stop.clone()));
                }
                // Those that were taken get their turn before they might have to make room.
                yield_now().await;
                continue;
            }
            Err(error) if is_of_peer(&error) => continue,
            Err(error) => error,
        };
        // Descriptors are used up, most likely.
        slots.make_room();
        if complained.is_none_or(|last| last.elapsed() > COMPLAINT) {
            complained = Some(Instant::now());
            tracing::error!("a connection cannot be taken: {fault}");
        }
        stop.run_until_cancelled(sleep(PAUSE)).await;
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// Room for a connection, perhaps after a moment.
async fn room(slots: &Arc<Slots>, address: Option<IpAddr>) -> Option<Slot> {
    for _ in 0..TRIES {
        match slots.open(address) {
            Ok(slot) => return Some(slot),
            Err(Full::Address) => return None,
            Err(Full::All) => sleep(PAUSE / 10).await,
        }
    }
    None
}

/// Whether it is the fault of a peer that has gone already.
fn is_of_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers what comes over one connection.
async fn converse(stream: Stream, slot: Slot, router: Router, stop: CancellationToken) {
    let connection = &slot.connection;
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(connection));
        let work = connection.work();
        let router = router.clone();
        async move {
            let answer = answer(router, request).await;
            drop(work);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(BUFFER);
    let io = TokioIo::new(Paced::new(stream, Arc::clone(connection), TAKE_TIME));
    let mut serving = pin!(builder.serve_connection(io, service));
    let end = tokio::select! {
        end = &mut serving => end,
        () = connection.closed.cancelled() => return,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            timeout(DRAIN_TIME, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = end {
        tracing::debug!("a connection ended: {error}");
    }
}

async fn answer(router: Router, request: Request<Incoming>) -> Response {
    let request = request.map(Body::new);
    match timeout(REQUEST_TIME, router.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the farm is too slow\n").into_response(),
    }
}
