use crate::clock::Seconds;
use crate::db::log::audit::record;
use crate::db::stored_system::stored_system;
use crate::db::{Db, Error, Result, SpecId};
use crate::domain::access::{Action, Author};
use crate::domain::verdict::Waiver;

/// A waiver that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWaiver {
    /// Its number.
    pub id: i64,
    /// The spec of the branch.
    pub spec_id: SpecId,
    /// The name of that.
    pub spec: String,
    /// What it covers.
    pub waiver: Waiver,
    /// Why its author answers for that.
    pub why: String,
    /// Who made it.
    pub author: String,
    /// When it was made.
    pub made_at: Seconds,
    /// When it ends.
    pub until: Seconds,
}

/// A [`StoredWaiver`] to be.
#[derive(Debug, Clone)]
pub struct NewWaiver {
    /// What it covers.
    pub waiver: Waiver,
    /// Why its author answers for that.
    pub why: String,
    /// When it ends.
    pub until: Seconds,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    spec_id: SpecId,
    spec: String,
    reason: String,
    job: String,
    system: Option<String>,
    why: String,
    author: String,
    made_at: Seconds,
    until: Seconds,
}

impl TryFrom<Row> for StoredWaiver {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let Row { id, spec_id, spec, reason, job, system, why, author, made_at, until } = row;
        let place = || format!("the system of waiver {id}");
        let system = system.map(|system| stored_system(&system, place)).transpose()?;
        let waiver = Waiver { reason, job, system };
        Ok(Self { id, spec_id, spec, waiver, why, author, made_at, until })
    }
}

impl Db {
    /// The waivers that are in force, by spec, the newest first.
    pub async fn waivers(&self, now: Seconds) -> Result<Vec<StoredWaiver>> {
        const SQL: &str =
            "select w.id, w.spec_id, s.name as spec, w.reason, w.job, w.system, w.why, w.author,
              w.made_at, w.until
            from waiver w join spec s on s.id = w.spec_id
            where s.present and w.ended_at is null and w.until > $1 order by s.name, w.id desc";
        let rows: Vec<Row> =
            each!(&self.readers, pool => sqlx::query_as(SQL).bind(now).fetch_all(pool).await?);
        rows.into_iter().map(StoredWaiver::try_from).collect()
    }

    /// Makes a waiver; gives its number.
    pub async fn create_waiver(
        &self,
        spec: SpecId,
        new: &NewWaiver,
        author: &Author,
        now: Seconds,
    ) -> Result<i64> {
        const SQL: &str = "insert into waiver (spec_id, reason, job, system, why, author, made_at, until)
            values ($1, $2, $3, $4, $5, $6, $7, $8) returning id";
        let NewWaiver { waiver: Waiver { reason, job, system }, why, until } = new;
        let system = system.as_ref().map(crate::domain::spec::System::as_str);
        let mut tx = self.begin().await?;
        let id: i64 = each!(&mut tx, tx => sqlx::query_scalar(SQL).bind(spec).bind(reason).bind(job)
            .bind(system).bind(why).bind(&author.name).bind(now).bind(until).fetch_one(&mut **tx).await?);
        record(&mut tx, author, Action::Waive, &format!("waiver {id}: {reason} of {job}: {why}"), now)
            .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Ends a waiver early. Gives `false` if it is not in force.
    pub async fn end_waiver(&self, id: i64, author: &Author, now: Seconds) -> Result<bool> {
        const SQL: &str = "update waiver set ended_at = $2 where id = $1 and ended_at is null and until > $2";
        let mut tx = self.begin().await?;
        let ended = execute!(&mut tx, SQL, id, now) > 0;
        if ended {
            record(&mut tx, author, Action::EndWaiver, &format!("waiver {id}"), now).await?;
        }
        tx.commit().await?;
        Ok(ended)
    }
}
