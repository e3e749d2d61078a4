//! Accepts connections and answers requests on them, within limits: no peer can block others, or
//! keep the program from ending.

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

/// The time limit for the head of a request, which also limits how long a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// The time limit for answering a request, up to the head of the answer.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// The time in which a peer has to read what is pending, or at least 256 KiB of it.
const TAKE_TIME: Duration = Duration::from_secs(20);
/// How long connections are drained when the farm stops.
const DRAIN_TIME: Duration = Duration::from_secs(3);
/// The limit on the head of a request, and on the buffered part of an answer, in bytes.
const BUFFER: usize = 64 << 10;
/// How many times a slot for a connection is requested before the connection is closed.
const TRIES: usize = 100;
/// The pause after `accept` has failed.
const PAUSE: Duration = Duration::from_millis(50);
/// The shortest time between two log messages about that.
const COMPLAINT: Duration = Duration::from_mins(1);

/// Accepts connections until `stop` is canceled, and then drains the open ones for a short time.
pub(super) async fn serve(listener: Listener, router: Router, slots: Arc<Slots>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let mut complained: Option<Instant> = None;
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let fault = match accepted {
            Ok((stream, address)) => {
                // Without a slot, the connection is closed.
                if let Some(slot) = room(&slots, address).await {
                    tasks.spawn(serve_connection(stream, slot, router.clone(), stop.clone()));
                }
                // Lets tasks of accepted connections run before they might be closed to make room.
                yield_now().await;
                continue;
            }
            Err(error) if is_of_peer(&error) => continue,
            Err(error) => error,
        };
        // Most likely, there are no descriptors left.
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

/// A slot for a connection, after a short wait if necessary.
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

/// Whether the error concerns a peer that has already disconnected.
fn is_of_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves one connection.
async fn serve_connection(stream: Stream, slot: Slot, router: Router, stop: CancellationToken) {
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
