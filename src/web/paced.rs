use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::slots::Connection;

/// How many bytes, or all pending ones if there are fewer, a peer has to read within its time.
const WINDOW: usize = 256 << 10;

/// A stream of a connection that fails when the peer reads too slowly.
pub(super) struct Paced<S> {
    stream: S,
    connection: Arc<Connection>,
    time: Duration,
    /// Runs while data waits for the peer to read it.
    deadline: Option<Pin<Box<Sleep>>>,
    /// How many bytes the peer has read since the deadline was set.
    taken: usize,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, connection: Arc<Connection>, time: Duration) -> Self {
        Self { stream, connection, time, deadline: None, taken: 0 }
    }

    fn judge(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(count)) => {
                self.connection.took(count);
                self.taken += count;
                if count == length || self.taken >= WINDOW {
                    self.deadline = None;
                }
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => {
                if self.deadline.is_none() {
                    self.deadline = Some(Box::pin(sleep(self.time)));
                    self.taken = 0;
                }
                let over =
                    self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
                if over { Poll::Ready(Err(io::ErrorKind::TimedOut.into())) } else { Poll::Pending }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.judge(cx, written, pieces.iter().map(|piece| piece.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::web::slots::{Limits, Slots};

    #[tokio::test]
    async fn a_peer_that_takes_too_little_is_cut_and_a_slow_one_is_not() {
        let slots = Slots::new(Limits { connections: 9, per_address: 9 });
        let time = Duration::from_millis(400);
        // 64 pieces of 16 KiB; a window has 16 of them.
        for (every, is_cut) in [(Duration::from_millis(300), true), (Duration::from_millis(5), false)] {
            let (ours, mut theirs) = duplex(16 << 10);
            let mut paced = Paced::new(ours, slots.open(None).unwrap().connection.clone(), time);
            let peer = tokio::spawn(async move {
                let mut buffer = [0; 16 << 10];
                while theirs.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                    tokio::time::sleep(every).await;
                }
            });
            let written = paced.write_all(&vec![0; 1 << 20]).await;
            assert_eq!(written.is_err(), is_cut, "{every:?}");
            drop(paced);
            peer.await.unwrap();
        }
    }
}
