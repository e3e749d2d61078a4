//! What forges delivered to webhooks.

use serde_json::json;

use crate::clock::Seconds;
use crate::db::log::audit::record;
use crate::db::{BranchId, Db, Result, rows};
use crate::domain::access::{Action, Author};

/// How long a delivery is remembered, so that its repetition is not taken for another one.
const KEPT: Seconds = 7 * 24 * 60 * 60;
/// Most deliveries that are remembered.
const MOST: i64 = 100_000;

impl Db {
    /// Records a delivery to a webhook, and requests polls of branches because of it. Returns the
    /// number of the delivery; `None`, and nothing is changed, if it was recorded before.
    /// A delivery without an `id` is always a new one.
    pub async fn record_delivery(
        &self,
        (hook, id): (&str, Option<&str>),
        (branches, subject): (&[BranchId], &str),
        author: &Author,
        now: Seconds,
    ) -> Result<Option<i64>> {
        const ADD: &str = "insert into hook_delivery (hook, delivery, at) values ($1, $2, $3)
            on conflict (hook, delivery) do nothing returning id";
        let mut tx = self.begin().await?;
        let number: Option<i64> = each!(&mut tx, tx => sqlx::query_scalar(ADD).bind(hook).bind(id)
            .bind(now).fetch_optional(&mut **tx).await?);
        let Some(number) = number else { return Ok(None) };
        execute!(&mut tx, "delete from hook_delivery where at < $1 or id <= $2", now - KEPT, number - MOST);
        if !branches.is_empty() {
            let ids = rows(branches.iter().map(|id| json!(id)));
            let sql = sql!("update branch set requested_at = $2 where id in ids($1)");
            execute!(&mut tx, sql, &ids, now);
            record(&mut tx, author, Action::Poll, subject, now).await?;
        }
        tx.commit().await?;
        Ok(Some(number))
    }
}
