//! Verdicts on branches, and the builds that they are made from.
//!
//! Tables: `verdict`, `waiver`.

pub(in crate::db) mod outcomes;
pub(in crate::db) mod waiver;

use crate::clock::Seconds;
use crate::db::log::event_log::{EventKind, log};
use crate::db::{Db, Result, SpecId, stored};
use crate::domain::verdict::{Reason, Report, Word};

/// Most verdicts that are kept of one spec.
const KEPT: i64 = 500;
/// That nothing changed is written down so often, in seconds: reports are large.
const CONFIRMED: Seconds = 5 * 60;

/// The verdict on a branch from some time on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Its number; later ones are larger.
    pub id: i64,
    /// The name of the branch's spec.
    pub spec: String,
    /// The name of the base's spec.
    pub base: String,
    /// When it became so.
    pub at: Seconds,
    /// When it was found to be so last.
    pub judged_at: Seconds,
    /// The verdict.
    pub word: Word,
    /// Why, the worst reason first.
    pub reasons: Vec<Reason>,
    /// What led to it; only the newest verdict of a spec has that.
    pub report: Option<Report>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    spec: String,
    base: String,
    at: Seconds,
    judged_at: Seconds,
    word: String,
    reasons: String,
    report: Option<String>,
}

impl TryFrom<Row> for Verdict {
    type Error = crate::db::Error;

    fn try_from(row: Row) -> Result<Self> {
        let Row { id, spec, base, at, judged_at, word, reasons, report } = row;
        let what = || format!("a verdict on {spec}");
        let word = Word::ALL.into_iter().find(|known| known.word() == word);
        let unknown = || crate::db::Error::Damaged { what: what(), reason: "its word is unknown".to_owned() };
        let (word, reasons) = (word.ok_or_else(unknown)?, stored(&reasons, what)?);
        let report = report.map(|report| stored(&report, what)).transpose()?;
        Ok(Self { id, spec, base, at, judged_at, word, reasons, report })
    }
}

/// All columns of a [`Row`]; a condition may follow.
macro_rules! verdicts {
    () => {
        "select v.id, s.name as spec, v.base, v.at, v.judged_at, v.word, v.reasons, v.report
         from verdict v join spec s on s.id = v.spec_id "
    };
}

/// The same without reports, which are large.
macro_rules! verdicts_without_report {
    () => {
        "select v.id, s.name as spec, v.base, v.at, v.judged_at, v.word, v.reasons, null as report
         from verdict v join spec s on s.id = v.spec_id "
    };
}

/// What of reasons makes a verdict another one. While thousands of builds are made, the number that
/// is left changes all the time: that is no news.
fn significant(reasons: &[Reason]) -> Vec<(Word, &str, Option<&str>, usize)> {
    let counts = |word| matches!(word, Word::MustChange | Word::NeedsAction);
    let of = |reason: &Reason| if counts(reason.word) { reason.count } else { 0 };
    reasons.iter().map(|reason| (reason.word, &*reason.code, reason.system.as_deref(), of(reason))).collect()
}

impl Db {
    /// The newest verdict on each branch whose spec is present, by name, without its report.
    pub async fn current_verdicts(&self) -> Result<Vec<Verdict>> {
        const SQL: &str = concat!(
            verdicts_without_report!(),
            "where s.present and v.id = (select max(id) from verdict n where n.spec_id = s.id) order by s.name"
        );
        let rows: Vec<Row> = each!(&self.readers, pool => sqlx::query_as(SQL).fetch_all(pool).await?);
        rows.into_iter().map(Verdict::try_from).collect()
    }

    /// The verdicts on a branch, the newest first.
    pub async fn verdicts_of(&self, spec: SpecId, limit: i64) -> Result<Vec<Verdict>> {
        const SQL: &str = concat!(verdicts!(), "where v.spec_id = $1 order by v.id desc limit $2");
        let rows: Vec<Row> =
            each!(&self.readers, pool => sqlx::query_as(SQL).bind(spec).bind(limit).fetch_all(pool).await?);
        rows.into_iter().map(Verdict::try_from).collect()
    }

    /// The newest verdicts on all branches whose specs are present, the newest first, without reports.
    pub async fn recent_verdicts(&self, limit: i64) -> Result<Vec<Verdict>> {
        const SQL: &str = concat!(verdicts_without_report!(), "where s.present order by v.id desc limit $1");
        let rows: Vec<Row> =
            each!(&self.readers, pool => sqlx::query_as(SQL).bind(limit).fetch_all(pool).await?);
        rows.into_iter().map(Verdict::try_from).collect()
    }

    /// Records a verdict. Adds a row only if more changed than the number of builds that are left;
    /// returns whether it did.
    pub async fn record_verdict(&self, spec: SpecId, report: &Report, now: Seconds) -> Result<bool> {
        const NEWEST: &str =
            "select v.id, s.name as spec, v.base, v.at, v.judged_at, v.word, v.reasons, v.report
             from verdict v join spec s on s.id = v.spec_id where v.spec_id = $1 order by v.id desc limit 1";
        const CONFIRM: &str = "update verdict set judged_at = $2, report = $3, reasons = $4 where id = $1";
        const ADD: &str = "insert into verdict (spec_id, at, judged_at, base, word, reasons, report)
            values ($1, $2, $2, $3, $4, $5, $6)";
        const STRIP: &str = "update verdict set report = null where spec_id = $1 and report is not null";
        const FORGET: &str = "delete from verdict where spec_id = $1 and id not in
            (select id from verdict where spec_id = $1 order by id desc limit $2)";
        let reasons = serde_json::json!(report.reasons).to_string();
        let whole = serde_json::json!(report).to_string();
        let mut tx = self.begin().await?;
        let newest: Option<Row> =
            each!(&mut tx, tx => sqlx::query_as(NEWEST).bind(spec).fetch_optional(&mut **tx).await?);
        let same = newest.filter(|newest| {
            let before: Option<Vec<Reason>> = serde_json::from_str(&newest.reasons).ok();
            newest.base == report.base
                && newest.word == report.word.word()
                && before.is_some_and(|before| significant(&before) == significant(&report.reasons))
        });
        let is_new = same.is_none();
        if let Some(newest) = same {
            let is_known = newest.report.as_ref() == Some(&whole);
            if !is_known || now < newest.judged_at || now - newest.judged_at >= CONFIRMED {
                execute!(&mut tx, CONFIRM, newest.id, now, whole, reasons);
            }
        } else {
            execute!(&mut tx, STRIP, spec);
            execute!(&mut tx, ADD, spec, now, &report.base, report.word.word(), reasons, whole);
            execute!(&mut tx, FORGET, spec, KEPT);
            log(&mut tx, EventKind::Verdict, Some(spec), None, now).await?;
        }
        tx.commit().await?;
        Ok(is_new)
    }

    /// Removes the verdicts on branches whose specs are present and have no policy any more. `kept` are
    /// those that have one.
    pub async fn forget_verdicts(&self, kept: &[SpecId]) -> Result<u64> {
        const SPECS: &str =
            "select distinct v.spec_id from verdict v join spec s on s.id = v.spec_id where s.present";
        let judged: Vec<SpecId> =
            each!(&self.readers, pool => sqlx::query_scalar(SPECS).fetch_all(pool).await?);
        if judged.iter().all(|spec| kept.contains(spec)) {
            return Ok(0);
        }
        let kept = crate::db::rows(kept.iter().map(|spec| spec.0.into()));
        let mut tx = self.begin().await?;
        let count = execute!(
            &mut tx,
            sql!(
                "delete from verdict where spec_id not in ids($1)
                 and spec_id in (select id from spec where present)"
            ),
            kept
        );
        tx.commit().await?;
        Ok(count)
    }
}
