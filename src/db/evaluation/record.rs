//! Records the results of an evaluation.
//!
//! An evaluation reads the open intervals once, when it begins to record, and asks the database
//! about nothing else that is the same again. An interval is numbers only: its name is in
//! `job_name`, its spec and system in `sequence`; `job` is a view of all three, for readers of few
//! rows.
//!
//! On PostgreSQL, the writer whose turn it is stores what refers to nothing (store items, names,
//! metadata) in a second transaction beside the first, so that the server works on two processors,
//! and commits it before the other. Rows that nothing refers to yet do no harm, and no item is
//! removed while an evaluation runs.

use std::collections::{HashMap, HashSet};

use crate::db::bulk::{Cell, insert};
use crate::db::evaluation::batch::{Batch, Known, Numbers, store_errors, store_packs};
use crate::db::evaluation::describe::{Described, describe};
use crate::db::evaluation::task::still_ours;
use crate::db::farm::notify::{Wake, ring};
use crate::db::history::job_metadata::{MetadataIds, open_facts, without_line};
use crate::db::{Db, DerivationId, Error, EvaluationId, JobError, NewJob, Pack, Result, Task, Tx, stored};

/// Writes down what a running evaluation finds.
///
/// History is kept as intervals: a job that has the derivation and the facts that it had in the
/// evaluation before is not written again. A batch that is recorded twice counts once.
#[derive(Debug)]
pub struct EvaluationWriter {
    pub(super) task: Task,
    numbers: Numbers,
    facts: MetadataIds,
    /// Every job so far.
    pub(super) seen: HashSet<Seen>,
    /// The jobs of the complete evaluation before this one with the rows of their intervals, once they are
    /// read: most are the same again.
    pub(super) open: Option<HashMap<Seen, i64>>,
    /// What the store items of the spec may take, in bytes.
    quota: u64,
    /// What they take, once that is known.
    stored: Option<u64>,
    /// Bytes of messages so far.
    told: usize,
}

/// Most bytes of the messages of one evaluation's errors. Every error is kept, because a job that has one was not
/// removed; but only its name and cause when there is no room for what it says.
const MOST_TOLD: usize = 16 << 20;

/// Name, derivation and facts of a job. Job metadata is missing in what was recorded before there were any.
pub(super) type Seen = (String, DerivationId, Option<i64>);

/// What a batch had in it.
struct Found {
    numbers: Numbers,
    facts: MetadataIds,
    jobs: Vec<Seen>,
    /// How many intervals began with it.
    begun: u64,
}

impl EvaluationWriter {
    /// A recorder for the task that was just claimed.
    pub fn new(task: Task) -> Self {
        Self {
            task,
            numbers: HashMap::new(),
            facts: HashMap::new(),
            seen: HashSet::new(),
            open: None,
            quota: u64::MAX,
            stored: None,
            told: 0,
        }
    }

    /// The same; all store items of the spec may take so many bytes, compressed.
    #[must_use]
    pub fn with_quota(self, quota: u64) -> Self {
        Self { quota, ..self }
    }

    /// Records a batch, wholly or not at all; but its names, facts and store items may be there without the rest.
    pub async fn record(&mut self, db: &Db, batch: &Batch) -> Result<()> {
        const PROGRESS: &str = "update evaluation set errors = errors + $2, unscheduled = unscheduled or $3,
            jobs_done = case when $4 > jobs_done then $4 else jobs_done end where id = $1";
        let mut tx = self.begin(db).await?;
        let stored = self.within_quota(&mut tx, &batch.packs).await?;
        let (batch_errors, told) = self.cut(&batch.errors);
        let beside = if batch.packs.is_empty() { None } else { db.begin_beside().await? };
        let found = match beside {
            None => {
                let described = self.describe(&mut tx, batch).await?;
                let numbers = self.store_derivations(&mut tx, batch).await?;
                self.begin_intervals(&mut tx, batch, numbers, described).await?
            }
            // Each goes to its end: a connection that is let go in the middle of an answer is of no use any more.
            Some(mut beside) => {
                let (numbers, described) =
                    tokio::join!(self.store_derivations(&mut tx, batch), self.describe(&mut beside, batch));
                let (numbers, described) = (numbers?, described?);
                // Names, facts and store items that nothing refers to yet do no harm.
                let (found, committed) =
                    tokio::join!(self.begin_intervals(&mut tx, batch, numbers, described), beside.commit());
                committed.and(found)?
            }
        };
        let errors = store_errors(&mut tx, self.task.id, &batch_errors).await?;
        execute!(&mut tx, PROGRESS, self.task.id, errors.cast_signed(), found.begun > 0, batch.done);
        if found.begun > 0 {
            ring(&mut tx, Wake::Schedule).await?;
        }
        let committed = tx.commit().await;
        if committed.is_err() {
            // It may have been recorded all the same, and is read again before it is tried again.
            self.open = None;
        }
        committed?;
        self.numbers.extend(found.numbers);
        self.facts.extend(found.facts);
        self.seen.extend(found.jobs);
        (self.stored, self.told) = (Some(stored), told);
        Ok(())
    }

    /// Stores the derivations of a batch, and learns their numbers.
    async fn store_derivations(&self, tx: &mut Tx, batch: &Batch) -> Result<Numbers> {
        let mut known = Known { before: &self.numbers, added: HashMap::new() };
        known.look_up(tx, batch).await?;
        known.store_derivations(tx, batch).await?;
        Ok(known.added)
    }

    /// Stores all of a batch that refers to nothing else: its store items, and names and facts of its jobs.
    async fn describe(&self, tx: &mut Tx, batch: &Batch) -> Result<Described> {
        let new = batch.jobs.iter().filter(|job| !self.knows(job));
        let described = describe(tx, new, &self.facts).await?;
        store_packs(tx, self.task.spec_id, &batch.packs).await?;
        Ok(described)
    }

    /// What the store items of the spec will take with these.
    async fn within_quota(&self, tx: &mut Tx, packs: &[Pack]) -> Result<u64> {
        const STORED: &str =
            "select cast(coalesce(sum(bytes), 0) as bigint) from pack_owner where spec_id = $1";
        let before = if let Some(stored) = self.stored {
            stored
        } else {
            let stored: i64 = each!(tx, tx =>
                sqlx::query_scalar(STORED).bind(self.task.spec_id).fetch_one(&mut **tx).await?);
            stored.cast_unsigned()
        };
        let after = before + packs.iter().map(|pack| pack.contents.len() as u64).sum::<u64>();
        if packs.is_empty() || after <= self.quota {
            return Ok(after);
        }
        let (spec, used, limit) = (self.task.spec.name.clone(), before >> 20, self.quota >> 20);
        Err(Error::OverQuota { spec, used, limit })
    }

    /// Errors with as much of what they say as there is room for, and how much that is in all.
    fn cut(&self, errors: &[JobError]) -> (Vec<JobError>, usize) {
        let mut told = self.told;
        let cut = errors.iter().cloned().map(|mut error| {
            told += error.message.len();
            if told > MOST_TOLD {
                error.message = format!(
                    "(left out: the messages of this evaluation take more than {} MiB)",
                    MOST_TOLD >> 20
                );
            }
            error
        });
        (cut.collect(), told)
    }

    /// Whether a job has an interval that is open.
    fn knows(&self, job: &NewJob) -> bool {
        let derivation = self.numbers.get(&job.derivation);
        let facts = self.facts.get(&without_line(&job.facts).0);
        let job =
            derivation.zip(facts).map(|(derivation, facts)| (job.name.clone(), *derivation, Some(*facts)));
        job.is_some_and(|job| self.is_open(&job))
    }

    fn is_open(&self, job: &Seen) -> bool {
        self.seen.contains(job) || self.open.as_ref().is_some_and(|open| open.contains_key(job))
    }

    /// Begins a transaction that may record, knowing what was there before.
    pub(super) async fn begin(&mut self, db: &Db) -> Result<Tx> {
        let mut tx = db.begin().await?;
        still_ours(&mut tx, &self.task).await?;
        if self.open.is_none() {
            self.open = Some(self.read_open(&mut tx).await?);
        }
        Ok(tx)
    }

    /// Reads the jobs whose intervals are open, with the numbers of their derivations and facts. They come
    /// as one text, which takes less time than as many rows.
    async fn read_open(&mut self, tx: &mut Tx) -> Result<HashMap<Seen, i64>> {
        type Row = (i64, String, DerivationId, Option<i64>, String);
        let sequence = self.sequence(tx).await?;
        let sql = [
            "select json_group_array(json_array(s.id, n.name, s.derivation_id, s.metadata_id, d.hash))
             from job_interval s join job_name n on n.id = s.name_id join derivation d on d.id = s.derivation_id
             where s.sequence_id = $1 and s.last_evaluation is null",
            "select coalesce(json_agg(json_build_array(s.id, n.name, s.derivation_id, s.metadata_id, d.hash)), '[]')::text
             from job_interval s join job_name n on n.id = s.name_id join derivation d on d.id = s.derivation_id
             where s.sequence_id = $1 and s.last_evaluation is null",
        ];
        let text: String =
            each!(tx, tx, sql => sqlx::query_scalar(sql).bind(sequence).fetch_one(&mut **tx).await?);
        let rows: Vec<Row> = stored(&text, || format!("open jobs of spec {}", self.task.spec_id))?;
        self.facts = open_facts(tx, sequence).await?;
        let learn = |(row, name, derivation, facts, hash)| {
            self.numbers.insert(hash, derivation);
            ((name, derivation, facts), row)
        };
        Ok(rows.into_iter().map(learn).collect())
    }

    /// The number of the spec and system, which is written down if it is new.
    async fn sequence(&self, tx: &mut Tx) -> Result<i64> {
        const ADD: &str = "insert into sequence (spec_id, system) values ($1, $2) on conflict do nothing";
        const FIND: &str = "select id from sequence where spec_id = $1 and system = $2";
        let (spec, system) = (self.task.spec_id, self.task.system.as_str());
        execute!(tx, ADD, spec, system);
        each!(tx, tx => Ok(sqlx::query_scalar(FIND).bind(spec).bind(system).fetch_one(&mut **tx).await?))
    }

    /// Begins an interval for each job that has none open.
    async fn begin_intervals(
        &self,
        tx: &mut Tx,
        batch: &Batch,
        numbers: Numbers,
        described: Described,
    ) -> Result<Found> {
        let known = Known { before: &self.numbers, added: numbers };
        let mut jobs = HashMap::new();
        for job in &batch.jobs {
            let (facts, line) = without_line(&job.facts);
            let facts = self.facts.get(&facts).or_else(|| described.facts.get(&facts)).copied();
            let seen: Seen = (job.name.clone(), known.number(&job.derivation, &job.name)?, facts);
            jobs.entry(seen).or_insert(line);
        }
        let mut new: Vec<_> = jobs.iter().filter(|(job, _)| !self.is_open(job)).collect();
        // Inputs before what needs them, so that rows of neighbours in the index are neighbours.
        new.sort_unstable_by_key(|((_, derivation, facts), _)| (*derivation, *facts));
        let sequence = if new.is_empty() { 0 } else { self.sequence(tx).await? };
        let lines = new.iter().map(|((name, derivation, facts), line)| {
            let name = described.names.get(name).copied();
            let line = line.map(i64::from);
            [
                sequence.into(),
                name.into(),
                derivation.0.into(),
                (*facts).into(),
                line.into(),
                self.task.id.0.into(),
            ]
        });
        let lines: Vec<[Cell; 6]> = lines.collect();
        let columns = ["sequence_id", "name_id", "derivation_id", "metadata_id", "line", "first_evaluation"];
        insert(tx, "job_interval", columns, &lines).await?;
        let begun = lines.len() as u64;
        Ok(Found { numbers: known.added, facts: described.facts, jobs: jobs.into_keys().collect(), begun })
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
