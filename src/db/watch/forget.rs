//! Removes old pushes, branches that nothing watches, and specs that were made for branches.

use serde_json::json;

use crate::db::{BranchId, Db, Result, SpecId, rows};

/// Most pushes that are kept for each branch.
pub const PUSHES: i64 = 1000;

impl Db {
    /// Deletes all but the latest pushes to each branch. Returns how many. A push is kept if
    /// somebody acknowledged it, if a spec is blocked because of it, or if it brought a commit that
    /// others must descend from.
    pub async fn forget_old_pushes(&self) -> Result<u64> {
        const SQL: &str = "delete from push where id in (
              select id from (
                select p.id, row_number() over (partition by p.branch_id order by p.id desc) as place
                from (select branch_id from push group by branch_id having count(*) > $1) crowded
                join push p on p.branch_id = crowded.branch_id) numbered
              where place > $1)
            and acknowledged_at is null and id not in (select push_id from blocked_spec where push_id is not null)
            and id not in (select trusted_push from branch where trusted_push is not null)";
        let mut tx = self.begin().await?;
        let count = execute!(&mut tx, SQL, PUSHES);
        tx.commit().await?;
        Ok(count)
    }

    /// Deletes branches and the pushes to them, except where a spec is blocked because of a push.
    pub async fn forget_branches(&self, branches: &[BranchId]) -> Result<u64> {
        let given = rows(branches.iter().map(|id| json!(id)));
        let mut tx = self.begin().await?;
        execute!(
            &mut tx,
            sql!(
                "delete from push where branch_id in ids($1)
                 and id not in (select push_id from blocked_spec where push_id is not null)"
            ),
            &given
        );
        let sql = sql!(
            "delete from branch where id in ids($1)
             and not exists (select 1 from push p where p.branch_id = branch.id)"
        );
        let count = execute!(&mut tx, sql, &given);
        tx.commit().await?;
        Ok(count)
    }

    /// Deletes specs that were made for branches, are no longer present, and were never evaluated.
    pub async fn forget_made_specs(&self) -> Result<u64> {
        let gone = sql!(
            "select id from spec where not present and member(definition, template) is not null
             and not exists (select 1 from evaluation e where e.spec_id = spec.id)
             and not exists (select 1 from sequence q where q.spec_id = spec.id)
             and not exists (select 1 from blocked_spec h where h.spec_id = spec.id)"
        );
        let mut tx = self.begin().await?;
        let hold = "delete from blocked_spec where spec_id in (select id from spec where not present)";
        execute!(&mut tx, hold);
        let gone: Vec<SpecId> =
            each!(&mut tx, tx, gone => sqlx::query_scalar(gone).fetch_all(&mut **tx).await?);
        if gone.is_empty() {
            tx.commit().await?;
            return Ok(0);
        }
        let gone = rows(gone.iter().map(|spec| spec.0.into()));
        execute!(&mut tx, sql!("delete from verdict where spec_id in ids($1)"), &gone);
        execute!(&mut tx, sql!("delete from waiver where spec_id in ids($1)"), &gone);
        let count = execute!(&mut tx, sql!("delete from spec where id in ids($1)"), &gone);
        tx.commit().await?;
        Ok(count)
    }
}
