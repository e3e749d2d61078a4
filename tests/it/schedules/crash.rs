use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use gorget::db::Db;

use super::world::Lot;

/// The coordinator takes what is on its way, though whoever sent it is gone: nobody starts again faster than that.
pub async fn what_was_sent_arrives() {
    tokio::time::sleep(Duration::from_millis(1)).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// Does a step, which may end before it is done: before one of its writes, or while it waits for an answer.
pub async fn until_crash<T>(
    db: &Db,
    lot: &mut Lot,
    most_writes: usize,
    step: impl Future<Output = anyhow::Result<T>>,
) {
    let mut waits = if lot.once_in(2) { usize::MAX } else { lot.below(60) };
    if waits == usize::MAX {
        db.permit_writes(i64::try_from(lot.below(most_writes)).unwrap());
    }
    let mut step = pin!(step);
    std::future::poll_fn(|context| match step.as_mut().poll(context) {
        Poll::Ready(result) => {
            assert!(result.is_ok(), "{:#}", result.err().unwrap());
            Poll::Ready(())
        }
        Poll::Pending if waits == 0 || db.is_cut_off() => Poll::Ready(()),
        Poll::Pending => {
            waits -= 1;
            Poll::Pending
        }
    })
    .await;
    db.permit_writes(i64::MAX);
}
