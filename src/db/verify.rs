//! The rules that the tables must always satisfy. `gorget verify` finds everything that breaks one.

use std::collections::{BTreeMap, HashSet};

use sqlx::{AssertSqlSafe, PgPool};

use super::history::interval::node;
use super::{Db, Either, EvaluationId, Result};
use crate::guix::store_path::Hash;
use crate::guix::{base32, edges};

/// A violation of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The broken rule, one word.
    pub rule: &'static str,
    /// What breaks the rule, and how.
    pub what: String,
}

/// Rows to read at a time.
const CHUNK: i64 = 20_000;
/// The name of each rule, and SQL that finds the rows which break it, with a text for each.
const RULES: [(&str, &str); 7] = [
    (
        "interval",
        "select 'job ' || j.id || ' (' || j.name || ') is from evaluation ' || j.first_evaluation || ' to '
           || coalesce(cast(j.last_evaluation as text), 'now') || ', which are not of its spec and system, not complete, or in the wrong order'
         from job j left join evaluation a on a.id = j.first_evaluation left join evaluation z on z.id = j.last_evaluation
         where a.id is null or a.spec_id <> j.spec_id or a.system <> j.system
           or a.state <> 'complete' and (a.state <> 'running' or j.last_evaluation is not null)
           or j.last_evaluation is not null and (z.id is null or z.spec_id <> j.spec_id or z.system <> j.system
             or z.state <> 'complete' or j.last_evaluation < j.first_evaluation)",
    ),
    (
        "overlap",
        "select 'jobs ' || j.id || ' and ' || k.id || ' (' || j.name || ') are the same in an evaluation' from job j
         join job k on k.derivation_id = j.derivation_id and k.id > j.id and k.name = j.name and k.spec_id = j.spec_id
           and k.system = j.system and k.metadata_id is not distinct from j.metadata_id
           and (k.last_evaluation is null or k.last_evaluation >= j.first_evaluation)
           and (j.last_evaluation is null or j.last_evaluation >= k.first_evaluation)",
    ),
    (
        "build",
        "select 'build ' || b.id || ' and its derivation make different outputs' from build b
         left join derivation d on d.id = b.derivation_id where d.id is null or d.output_set_id <> b.output_set_id",
    ),
    (
        "twice",
        "select 'derivations ' || min(id) || ' and ' || max(id) || ' are both ' || hash from derivation
         group by hash having count(*) > 1",
    ),
    (
        "twice",
        "select 'store items ' || min(id) || ' and ' || max(id) || ' are both ' || hash from store_item
         group by hash having count(*) > 1",
    ),
    (
        "twice",
        "select 'output sets ' || min(id) || ' and ' || max(id) || ' are the same' from output_set
         group by outputs having count(*) > 1",
    ),
    (
        "errors",
        "select 'evaluation ' || e.id || ' counts ' || e.errors || ' errors and has others' from evaluation e
         where e.state in ('complete', 'failed')
           and e.errors <> (select count(*) from evaluation_error x where x.evaluation_id = e.id)",
    ),
];

impl Db {
    /// Checks all rules, and returns the violations. Rows that are written meanwhile may or may not
    /// be checked.
    pub async fn verify(&self) -> Result<Vec<Finding>> {
        let mut findings = self.verify_file().await?;
        for (rule, sql) in RULES {
            let found: Vec<String> =
                each!(&self.readers, pool => sqlx::query_scalar(sql).fetch_all(pool).await?);
            findings.extend(found.into_iter().map(|what| Finding { rule, what }));
        }
        self.verify_nodes(&mut findings).await?;
        let live = self.verify_graph(&mut findings).await?;
        self.verify_items(live, &mut findings).await?;
        Ok(findings)
    }

    /// The database's own checks. PostgreSQL has no foreign keys on its large tables, so their
    /// references are checked here.
    async fn verify_file(&self) -> Result<Vec<Finding>> {
        const LOOSE: &str =
            "select \"table\" || ' row ' || coalesce(rowid, '?') || ' refers to a row of ' || parent
            || ' that does not exist' from pragma_foreign_key_check";
        let pool = match &self.readers {
            Either::Sqlite(pool) => pool,
            Either::Postgres(pool) => return verify_references(pool).await,
        };
        let said: Vec<String> = sqlx::query_scalar("pragma integrity_check").fetch_all(pool).await?;
        let damage = said.into_iter().filter(|line| line != "ok");
        let mut findings: Vec<Finding> = damage.map(|what| Finding { rule: "file", what }).collect();
        let loose: Vec<String> = sqlx::query_scalar(LOOSE).fetch_all(pool).await?;
        findings.extend(loose.into_iter().map(|what| Finding { rule: "reference", what }));
        Ok(findings)
    }

    /// Checks that closed intervals are stored at their nodes.
    async fn verify_nodes(&self, findings: &mut Vec<Finding>) -> Result<()> {
        const NEXT: &str =
            "select id, first_evaluation, last_evaluation, node from job_interval where id > $1
            order by id limit $2";
        type Row = (i64, EvaluationId, Option<EvaluationId>, Option<i64>);
        let mut after = 0;
        loop {
            let rows: Vec<Row> = each!(&self.readers, pool =>
                sqlx::query_as(NEXT).bind(after).bind(CHUNK).fetch_all(pool).await?);
            let Some((last, ..)) = rows.last() else { return Ok(()) };
            after = *last;
            for (id, first, last, stands) in rows {
                let right = last.filter(|last| first.0 > 0 && *last >= first).map(|last| node(first, last));
                if stands != right {
                    let what = format!("the interval of job {id} is indexed at the wrong node");
                    findings.push(Finding { rule: "interval", what });
                }
            }
        }
    }

    /// Checks that derivations come after their inputs, and that the inputs exist. Returns the
    /// hashes of the derivations that live builds need.
    async fn verify_graph(&self, findings: &mut Vec<Finding>) -> Result<HashSet<Hash>> {
        const NEXT: &str = "select id, hash, inputs from derivation where id < $1 order by id desc limit $2";
        let live = sql!("select derivation_id from build where state in {open}");
        let live: Vec<i64> =
            each!(&self.readers, pool, live => sqlx::query_scalar(live).fetch_all(pool).await?);
        let mut live: HashSet<i64> = live.into_iter().collect();
        let mut named: BTreeMap<i64, i64> = BTreeMap::new();
        let mut hashes = HashSet::new();
        let mut before = i64::MAX;
        loop {
            let rows: Vec<(i64, String, Vec<u8>)> = each!(&self.readers, pool =>
                sqlx::query_as(NEXT).bind(before).bind(CHUNK).fetch_all(pool).await?);
            let Some((oldest, ..)) = rows.last() else { break };
            before = *oldest;
            for (id, hash, inputs) in rows {
                let mut wrong = |what| findings.push(Finding { rule: "graph", what });
                named.remove(&id);
                let Ok(inputs) = edges::decode(&inputs) else {
                    wrong(format!("the inputs of derivation {id} cannot be read"));
                    continue;
                };
                if let Some(late) = inputs.iter().find(|input| **input >= id) {
                    wrong(format!("derivation {id} needs {late}, which was recorded later"));
                }
                if live.contains(&id) {
                    live.extend(&inputs);
                    hashes.extend(base32::decode(hash.as_bytes()).ok());
                }
                named.extend(inputs.into_iter().filter(|input| *input < id).map(|input| (input, id)));
            }
        }
        let missing = named
            .into_iter()
            .map(|(input, id)| format!("derivation {id} needs {input}, which does not exist"));
        findings.extend(missing.map(|what| Finding { rule: "graph", what }));
        Ok(hashes)
    }
}

/// Checks that the rows of `PostgreSQL`'s large tables refer to existing rows. Other rules cover
/// the evaluations of jobs and the derivations of builds.
async fn verify_references(pool: &PgPool) -> Result<Vec<Finding>> {
    const REFERENCES: [(&str, &str, &str); 11] = [
        ("job_interval", "sequence_id", "sequence"),
        ("job_interval", "name_id", "job_name"),
        ("job_interval", "derivation_id", "derivation"),
        ("job_interval", "metadata_id", "job_metadata"),
        ("derivation", "system_id", "system"),
        ("derivation", "output_set_id", "output_set"),
        ("store_item", "pack_id", "store_pack"),
        ("build", "output_set_id", "output_set"),
        ("build", "evaluation_id", "evaluation"),
        ("build", "name_id", "job_name"),
        ("build", "needed_by", "build"),
    ];
    let mut findings = Vec::new();
    for (table, column, parent) in REFERENCES {
        let sql = format!(
            "select format('{table} rows refer to %s of {parent}, which does not exist', c.{column}) from {table} c
             left join {parent} p on p.id = c.{column} where c.{column} is not null and p.id is null"
        );
        let loose: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await?;
        findings.extend(loose.into_iter().map(|what| Finding { rule: "reference", what }));
    }
    Ok(findings)
}
