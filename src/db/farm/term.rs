//! Leases and their terms: a host that lost a lease can write nothing more.

use crate::clock::Seconds;
use crate::db::{Result, Tx};

/// A lease expires this many seconds after the last heartbeat of its host. Its term distinguishes
/// it from earlier and later ones. So a host that is taken for dead by mistake loses work, but
/// damages nothing.
pub const LEASE: Seconds = 30;

/// The next term. No term is given out twice.
pub(in crate::db) async fn next_term(tx: &mut Tx) -> Result<i64> {
    const SQL: &str = "insert into term (id, last) values (1, 1)
        on conflict (id) do update set last = term.last + 1 returning last";
    each!(tx, tx => Ok(sqlx::query_scalar(SQL).fetch_one(&mut **tx).await?))
}
