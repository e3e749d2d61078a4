use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::batch::{Batch, Known, Numbers, store_errors, store_pack};
use super::facts::{FactNumbers, store_facts, without_line};
use super::interval::{Ended, end_intervals};
use super::task::still_ours;
use super::wake::{Wake, ring};
use super::{Db, DerivationId, Error, EvaluationId, JobError, Result, Task, Tx, rows};
use crate::clock::Seconds;

/// Writes down what a running evaluation finds.
///
/// History is kept as intervals: a job that has the derivation and the facts that it had in the
/// evaluation before is not written again. A batch that is recorded twice counts once.
#[derive(Debug)]
pub struct Recorder {
    task: Task,
    numbers: Numbers,
    facts: FactNumbers,
    /// Every job so far.
    seen: HashSet<Seen>,
    /// The jobs of the complete evaluation before this one, once they are read: most are the same again.
    open: Option<HashSet<Seen>>,
}

/// Name, derivation and facts of a job. Facts are missing in what was recorded before there were any.
type Seen = (String, DerivationId, Option<i64>);

impl Recorder {
    /// A recorder for the task that was just claimed.
    pub fn new(task: Task) -> Self {
        Self { task, numbers: HashMap::new(), facts: HashMap::new(), seen: HashSet::new(), open: None }
    }

    /// Records a batch, wholly or not at all.
    pub async fn record(&mut self, db: &Db, batch: &Batch) -> Result<()> {
        const PROGRESS: &str = "update evaluation set errors = errors + $2, unscheduled = unscheduled or $3,
            jobs_done = case when $4 > jobs_done then $4 else jobs_done end where id = $1";
        let mut tx = db.begin().await?;
        still_ours(&mut tx, &self.task).await?;
        if self.open.is_none() {
            self.open = Some(self.read_open(&mut tx).await?);
        }
        let mut known = Known { before: &self.numbers, added: HashMap::new() };
        known.look_up(&mut tx, batch).await?;
        known.store_derivations(&mut tx, batch).await?;
        let new_facts = store_facts(&mut tx, &batch.jobs, &self.facts).await?;
        let mut jobs = HashMap::new();
        for job in &batch.jobs {
            let (facts, line) = without_line(&job.facts);
            let facts = self.facts.get(&facts).or_else(|| new_facts.get(&facts)).copied();
            let seen: Seen = (job.name.clone(), known.number(&job.derivation, &job.name)?, facts);
            jobs.entry(seen).or_insert(line);
        }
        for pack in &batch.packs {
            store_pack(&mut tx, pack).await?;
        }
        let begun = self.begin_intervals(&mut tx, &jobs).await?;
        let errors = store_errors(&mut tx, self.task.id, &batch.errors).await?;
        execute!(&mut tx, PROGRESS, self.task.id, errors.cast_signed(), begun > 0, batch.done);
        if begun > 0 {
            ring(&mut tx, Wake::Schedule).await?;
        }
        tx.commit().await?;
        let added = known.added;
        self.numbers.extend(added);
        self.facts.extend(new_facts);
        self.seen.extend(jobs.into_keys());
        Ok(())
    }

    /// The jobs whose intervals are open. Learns the numbers of their derivations.
    async fn read_open(&mut self, tx: &mut Tx) -> Result<HashSet<Seen>> {
        const OPEN: &str = "select j.name, j.derivation_id, j.facts_id, d.hash
            from job j join derivation d on d.id = j.derivation_id
            where j.spec_id = $1 and j.system = $2 and j.last_evaluation is null";
        let open: Vec<(String, DerivationId, Option<i64>, String)> = each!(tx, tx => sqlx::query_as(OPEN)
            .bind(self.task.spec_id).bind(self.task.system.as_str()).fetch_all(&mut **tx).await?);
        let learn = |(name, derivation, facts, hash)| {
            self.numbers.insert(hash, derivation);
            (name, derivation, facts)
        };
        Ok(open.into_iter().map(learn).collect())
    }

    /// Begins an interval for each job, defined at a line, that has none open.
    async fn begin_intervals(&self, tx: &mut Tx, jobs: &HashMap<Seen, Option<u32>>) -> Result<u64> {
        let is_open = |job: &Seen| self.open.as_ref().is_some_and(|open| open.contains(job));
        let new = jobs.iter().filter(|(job, _)| !is_open(job) && !self.seen.contains(job));
        let lines: Vec<Value> = new
            .map(|((name, derivation, facts), line)| {
                json!({ "name": name, "derivation": derivation, "facts": facts, "line": line })
            })
            .collect();
        if lines.is_empty() {
            return Ok(0);
        }
        let lines = rows(lines);
        Ok(execute!(
            tx,
            [
                "insert into job (spec_id, system, name, derivation_id, facts_id, line, first_evaluation)
                 select $2, $3, value->>'name', value->>'derivation', value->>'facts', value->>'line', $4
                 from json_each($1)
                 where not exists (select 1 from job where spec_id = $2 and system = $3 and last_evaluation is null
                   and name = value->>'name' and derivation_id = value->>'derivation'
                   and facts_id = value->>'facts')",
                "insert into job (spec_id, system, name, derivation_id, facts_id, line, first_evaluation)
                 select $2, $3, new.name, new.derivation, new.facts, new.line, $4
                 from json_to_recordset($1::json) as new (name text, derivation bigint, facts bigint, line bigint)
                 where not exists (select 1 from job where spec_id = $2 and system = $3 and last_evaluation is null
                   and job.name = new.name and job.derivation_id = new.derivation and job.facts_id = new.facts)"
            ],
            &lines,
            self.task.spec_id,
            self.task.system.as_str(),
            self.task.id
        ))
    }

    /// Everything is recorded: the evaluation is complete. Jobs that it did not see ended with the
    /// complete evaluation before it. When it is `partial`, modules did not load, so what is absent
    /// was not removed: it gets an error with the cause `module`.
    pub async fn finish(&self, db: &Db, partial: bool, figures: &Value, now: Seconds) -> Result<()> {
        const COMPLETE: &str = "update evaluation set state = 'complete', partial = $2, figures = $3,
            finished_at = $4, errors = errors + $5 where id = $1";
        let mut tx = db.begin().await?;
        still_ours(&mut tx, &self.task).await?;
        let gone = self.end_unseen(&mut tx).await?;
        let absent = if partial { self.absent(&mut tx, gone).await? } else { Vec::new() };
        let errors = store_errors(&mut tx, self.task.id, &absent).await?;
        execute!(&mut tx, COMPLETE, self.task.id, partial, figures.to_string(), now, errors.cast_signed());
        ring(&mut tx, Wake::Schedule).await?;
        tx.commit().await
    }

    /// Ends the open intervals of jobs that were not seen, and gives the names of those jobs.
    async fn end_unseen(&self, tx: &mut Tx) -> Result<HashSet<String>> {
        const OPEN: &str = "select id, name, derivation_id, facts_id, first_evaluation from job
            where spec_id = $1 and system = $2 and last_evaluation is null";
        let open: Vec<(i64, String, DerivationId, Option<i64>, EvaluationId)> = each!(tx, tx => sqlx::query_as(OPEN)
                .bind(self.task.spec_id).bind(self.task.system.as_str()).fetch_all(&mut **tx).await?);
        let mut gone = Vec::new();
        let mut names = HashSet::new();
        for (id, name, derivation, facts, first) in open {
            let job = (name, derivation, facts);
            if !self.seen.contains(&job) {
                // What is open and not of this evaluation is of one before it.
                let last = self.task.previous.ok_or(Error::LeaseLost(self.task.id))?;
                gone.push(Ended { id, first, last });
                names.insert(job.0);
            }
        }
        end_intervals(tx, &gone).await?;
        Ok(names)
    }

    /// Errors for those of `names` that were neither seen nor have an error.
    async fn absent(&self, tx: &mut Tx, mut names: HashSet<String>) -> Result<Vec<JobError>> {
        const EXPLAINED: &str = "select name from evaluation_error where evaluation_id = $1";
        let explained: Vec<String> =
            each!(tx, tx => sqlx::query_scalar(EXPLAINED).bind(self.task.id).fetch_all(&mut **tx).await?);
        for name in self.seen.iter().map(|(name, ..)| name).chain(&explained) {
            names.remove(name);
        }
        let error = |name| JobError {
            name,
            cause: "module".to_owned(),
            message: "modules failed to load, and the job was in one of them or needs one".to_owned(),
        };
        Ok(names.into_iter().map(error).collect())
    }

    /// The evaluation that is recorded.
    pub fn evaluation(&self) -> EvaluationId {
        self.task.id
    }

    /// The same, with its lease.
    pub fn task(&self) -> &Task {
        &self.task
    }
}
