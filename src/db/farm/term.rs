//! Leases, and their terms: who lost a lease writes nothing more.

use crate::clock::Seconds;
use crate::db::{Result, Tx};

/// So long after the last heartbeat of its host, a lease stands, in seconds. What tells it apart from those before
/// and after is its term, so a host that was taken for dead by mistake loses work and spoils nothing.
pub const LEASE: Seconds = 30;

/// The next term: none is given twice.
pub(in crate::db) async fn next_term(tx: &mut Tx) -> Result<i64> {
    const SQL: &str = "insert into term (id, last) values (1, 1)
        on conflict (id) do update set last = term.last + 1 returning last";
    each!(tx, tx => Ok(sqlx::query_scalar(SQL).fetch_one(&mut **tx).await?))
}
