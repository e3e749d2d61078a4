//! What must be true of the tables, whatever happened: `gorget verify` looks for all that breaks a
//! rule.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};

use super::evaluation::batch::output_lines;
use super::history::interval::node;
use super::store::item::{ItemKind, nar_path, text_path};
use super::store::pack::{Packs, StoredRow};
use super::{Db, Either, EvaluationId, Result, rows};
use crate::guix::derivation::Derivation;
use crate::guix::store_path::{Hash, StorePath};
use crate::guix::{base32, edges};

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Which rule it breaks, one word.
    pub rule: &'static str,
    /// What breaks it, and how.
    pub what: String,
}

/// How many rows are read at a time.
const CHUNK: i64 = 20_000;
/// SQL that finds rows which break a rule: its name, and a text for each of them.
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
    /// Checks everything, and gives what is wrong. What is written meanwhile may or may not be looked at.
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

    /// What the database itself can say, or, of `PostgreSQL`, could: where rows come by the thousand, it is
    /// not told to make sure of what they refer to.
    async fn verify_file(&self) -> Result<Vec<Finding>> {
        const LOOSE: &str =
            "select \"table\" || ' row ' || coalesce(rowid, '?') || ' refers to a row of ' || parent
            || ' that is not there' from pragma_foreign_key_check";
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

    /// Intervals hang where they are looked for.
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
                    let what = format!("job {id} is not found where its interval is looked for");
                    findings.push(Finding { rule: "interval", what });
                }
            }
        }
    }

    /// Derivations come after their inputs, which are there. Gives the hashes of those that live builds need.
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
                    wrong(format!("derivation {id} needs {late}, which is not older"));
                }
                if live.contains(&id) {
                    live.extend(&inputs);
                    hashes.extend(base32::decode(hash.as_bytes()).ok());
                }
                named.extend(inputs.into_iter().filter(|input| *input < id).map(|input| (input, id)));
            }
        }
        let missing =
            named.into_iter().map(|(input, id)| format!("derivation {id} needs {input}, which is not there"));
        findings.extend(missing.map(|what| Finding { rule: "graph", what }));
        Ok(hashes)
    }

    /// Store items have the names that follow from their contents, derivations say what their rows say,
    /// and what derivations of live builds need is there.
    async fn verify_items(&self, live: HashSet<Hash>, findings: &mut Vec<Finding>) -> Result<()> {
        let mut needed: HashSet<Hash> = live.clone();
        let mut present = HashSet::new();
        let mut packs = Packs::of(self);
        while let Some(pack) = packs.next().await? {
            let mut derivations = BTreeMap::new();
            let contents = pack.unpacked(&self.packed(&pack).await?).unwrap_or_else(|error| {
                findings.push(Finding { rule: "items", what: error.to_string() });
                Vec::new()
            });
            for item in &pack.items {
                let checked = item.bytes(&contents).map_err(|error| error.to_string());
                match checked.and_then(|bytes| check_item(item, bytes)) {
                    Err(what) => findings.push(Finding { rule: "items", what }),
                    Ok((path, said)) => {
                        present.insert(*path.hash());
                        if let Some(said) = said {
                            if live.contains(path.hash()) {
                                needed.extend(&said.sources);
                            }
                            derivations.insert(item.hash.clone(), said);
                        }
                    }
                }
            }
            self.verify_derivations(&derivations, findings).await?;
        }
        let missing = needed.difference(&present).map(|hash| base32::encode(hash));
        let missing: BTreeSet<String> = missing.collect();
        findings.extend(missing.into_iter().map(|hash| {
            let what =
                format!("a build that is not finished needs the store item {hash}, which is not there");
            Finding { rule: "closure", what }
        }));
        Ok(())
    }

    /// The rows of these derivations say what the derivations say.
    async fn verify_derivations(
        &self,
        derivations: &BTreeMap<String, Said>,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        type Row = (i64, String, String, String, Vec<u8>);
        let hashes = rows(derivations.keys().map(|hash| Value::from(hash.as_str())));
        let sql = sql!(
            "select d.id, d.hash, y.name, outputs(o, d), d.inputs from each_text($1)
               join derivation d on has_hash(d, w.value)
               join system y on y.id = d.system_id join output_set o on o.id = d.output_set_id"
        );
        let found: Vec<Row> = each!(&self.readers, pool, sql
            => sqlx::query_as(sql).bind(&hashes).fetch_all(pool).await?);
        let decoded: Vec<Vec<i64>> =
            found.iter().map(|(.., inputs)| edges::decode(inputs).unwrap_or_default()).collect();
        let ids: BTreeSet<i64> = decoded.iter().flatten().copied().collect();
        let ids = rows(ids.into_iter().map(Value::from));
        let sql = sql!("select id, hash from derivation where id in ids($1)");
        let names: Vec<(i64, String)> = each!(&self.readers, pool, sql
            => sqlx::query_as(sql).bind(&ids).fetch_all(pool).await?);
        let names: BTreeMap<i64, String> = names.into_iter().collect();
        for ((id, hash, system, outputs, _), inputs) in found.into_iter().zip(decoded) {
            let inputs: BTreeSet<String> = inputs.iter().filter_map(|id| names.get(id).cloned()).collect();
            let said = &derivations[&hash];
            if (&said.system, &said.outputs, &said.inputs) != (&system, &outputs, &inputs) {
                let what = format!("derivation {id} ({hash}) is not what its store item says");
                findings.push(Finding { rule: "derivation", what });
            }
        }
        Ok(())
    }
}

/// The rows of `PostgreSQL`'s large tables refer to rows that are there. Other rules see to the evaluations of
/// jobs and to the derivations of builds.
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
            "select format('{table} rows refer to %s of {parent}, which is not there', c.{column}) from {table} c
             left join {parent} p on p.id = c.{column} where c.{column} is not null and p.id is null"
        );
        let loose: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await?;
        findings.extend(loose.into_iter().map(|what| Finding { rule: "reference", what }));
    }
    Ok(findings)
}

/// What a derivation says of itself.
struct Said {
    system: String,
    /// As `output_set` has them.
    outputs: String,
    /// Hashes of the derivations that it needs.
    inputs: BTreeSet<String>,
    /// Hashes of the other items that it needs.
    sources: Vec<Hash>,
}

/// Makes sure that a store item is called what follows from its contents.
fn check_item(item: &StoredRow, bytes: &[u8]) -> Result<(StorePath, Option<Said>), String> {
    let wrong = |reason: String| format!("the store item {}-{} is damaged: {reason}", item.hash, item.name);
    let name = format!("{}-{}", item.hash, item.name);
    let named = StorePath::parse_base_name(name.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    let mut said = None;
    let path = match item.kind {
        ItemKind::Nar => nar_path(&named, bytes),
        ItemKind::Text => text_path(&item.name, bytes, item.refs.split_ascii_whitespace()),
    };
    let path = path.map_err(wrong)?;
    if item.kind == ItemKind::Text && item.is_derivation() {
        let parsed = Derivation::parse(bytes).map_err(|error| wrong(error.to_string()))?;
        said = Some(say(&parsed).map_err(wrong)?);
    }
    if path == named {
        Ok((path, said))
    } else {
        Err(wrong(format!("its contents would be called {}", path.base_name())))
    }
}

fn say(parsed: &Derivation<'_>) -> Result<Said, String> {
    let path = |text: &[u8]| StorePath::parse(text).map_err(|error| error.to_string());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let outputs =
        parsed.outputs.iter().map(|output| Ok((text(&output.name), path(&output.path)?.base_name())));
    let outputs = output_lines(&outputs.collect::<Result<Vec<_>, String>>()?);
    let inputs = parsed.inputs.iter().map(|(input, _)| Ok(path(input)?.hash_text()));
    let sources = parsed.sources.iter().map(|source| Ok(*path(source)?.hash()));
    Ok(Said {
        system: text(&parsed.system),
        outputs,
        inputs: inputs.collect::<Result<_, String>>()?,
        sources: sources.collect::<Result<_, String>>()?,
    })
}
