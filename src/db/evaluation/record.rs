//! Records the results of an evaluation.
//!
//! An evaluation reads the open intervals once, when it begins to record. After that it queries the
//! database only for what has changed. An interval has only numbers: its name is in `job_name`, its
//! spec and system in `sequence`. `job` is a view of all three, for queries of few rows.
//!
//! On PostgreSQL, the writer whose turn it is uses a second transaction beside the first for rows
//! that refer to nothing (store items, names, metadata), so that the server works on two
//! processors. It commits the second one before the first. Rows that nothing refers to yet do no
//! harm, and no item is removed while an evaluation runs.

use std::collections::{HashMap, HashSet};

use crate::db::bulk::{Cell, insert};
use crate::db::evaluation::batch::{Batch, Known, Numbers, store_errors, store_packs};
use crate::db::evaluation::describe::{Described, describe};
use crate::db::evaluation::task::check_lease;
use crate::db::farm::notify::{Wake, ring};
use crate::db::history::job_metadata::{MetadataIds, open_metadata, without_line};
use crate::db::{Db, DerivationId, Error, EvaluationId, JobError, NewJob, Pack, Result, Task, Tx, stored};

/// Records the results of a running evaluation.
///
/// History is kept as intervals: a job with the same derivation and metadata as in the evaluation
/// before is not written again. A batch that is recorded twice counts once.
#[derive(Debug)]
pub struct EvaluationWriter {
    pub(super) task: Task,
    numbers: Numbers,
    metadata: MetadataIds,
    /// Every job found so far.
    pub(super) seen: HashSet<JobKey>,
    /// The jobs of the complete evaluation before this one with the rows of their intervals; `None`
    /// until they are read. Most jobs are unchanged.
    pub(super) open: Option<HashMap<JobKey, i64>>,
    /// Most bytes that the store items of the spec may take.
    quota: u64,
    /// Bytes that they take; `None` until known.
    stored: Option<u64>,
    /// Bytes of error messages so far.
    message_bytes: usize,
}

/// Most bytes of error messages of one evaluation. Every error is kept, because a job with an error
/// was not removed. Beyond the limit, only the name and cause of an error are kept.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Name, derivation and metadata of a job. The metadata is `None` in records that are older than
/// metadata.
pub(super) type JobKey = (String, DerivationId, Option<i64>);

/// The recorded contents of a batch.
struct Found {
    numbers: Numbers,
    metadata: MetadataIds,
    jobs: Vec<JobKey>,
    /// Number of intervals that began with it.
    begun: u64,
}

impl EvaluationWriter {
    /// A writer for a task that was just claimed.
    pub fn new(task: Task) -> Self {
        Self {
            task,
            numbers: HashMap::new(),
            metadata: HashMap::new(),
            seen: HashSet::new(),
            open: None,
            quota: u64::MAX,
            stored: None,
            message_bytes: 0,
        }
    }

    /// Limits all store items of the spec to this many bytes, compressed.
    #[must_use]
    pub fn with_quota(self, quota: u64) -> Self {
        Self { quota, ..self }
    }

    /// Records a batch, all or nothing. Only its names, metadata and store items may remain without
    /// the rest.
    pub async fn record(&mut self, db: &Db, batch: &Batch) -> Result<()> {
        const PROGRESS: &str = "update evaluation set errors = errors + $2, unscheduled = unscheduled or $3,
            jobs_done = case when $4 > jobs_done then $4 else jobs_done end where id = $1";
        let mut tx = self.begin(db).await?;
        let stored = self.within_quota(&mut tx, &batch.packs).await?;
        let (batch_errors, message_bytes) = self.cut(&batch.errors);
        let beside = if batch.packs.is_empty() { None } else { db.begin_beside().await? };
        let found = match beside {
            None => {
                let described = self.describe(&mut tx, batch).await?;
                let numbers = self.store_derivations(&mut tx, batch).await?;
                self.begin_intervals(&mut tx, batch, numbers, described).await?
            }
            // Both futures run to their end, because a connection that is dropped in the middle of
            // an answer is unusable.
            Some(mut beside) => {
                let (numbers, described) =
                    tokio::join!(self.store_derivations(&mut tx, batch), self.describe(&mut beside, batch));
                let (numbers, described) = (numbers?, described?);
                // Names, metadata and store items that nothing refers to yet do no harm.
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
            // The batch may have been recorded anyway, so the open intervals are read again before
            // the retry.
            self.open = None;
        }
        committed?;
        self.numbers.extend(found.numbers);
        self.metadata.extend(found.metadata);
        self.seen.extend(found.jobs);
        (self.stored, self.message_bytes) = (Some(stored), message_bytes);
        Ok(())
    }

    /// Stores the derivations of a batch, and returns the numbers that were not known.
    async fn store_derivations(&self, tx: &mut Tx, batch: &Batch) -> Result<Numbers> {
        let mut known = Known { before: &self.numbers, added: HashMap::new() };
        known.look_up(tx, batch).await?;
        known.store_derivations(tx, batch).await?;
        Ok(known.added)
    }

    /// Stores the rows of a batch that refer to nothing else: store items, and names and metadata
    /// of jobs.
    async fn describe(&self, tx: &mut Tx, batch: &Batch) -> Result<Described> {
        let new = batch.jobs.iter().filter(|job| !self.knows(job));
        let described = describe(tx, new, &self.metadata).await?;
        store_packs(tx, self.task.spec_id, &batch.packs).await?;
        Ok(described)
    }

    /// The bytes that the store items of the spec will take with these packs. An error if that
    /// exceeds the quota.
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

    /// The errors with their messages cut to the limit, and the total bytes of messages.
    fn cut(&self, errors: &[JobError]) -> (Vec<JobError>, usize) {
        let mut message_bytes = self.message_bytes;
        let cut = errors.iter().cloned().map(|mut error| {
            message_bytes += error.message.len();
            if message_bytes > MAX_MESSAGE_BYTES {
                error.message = format!(
                    "(omitted: the messages of this evaluation take more than {} MiB)",
                    MAX_MESSAGE_BYTES >> 20
                );
            }
            error
        });
        (cut.collect(), message_bytes)
    }

    /// Whether the job has an open interval.
    fn knows(&self, job: &NewJob) -> bool {
        let derivation = self.numbers.get(&job.derivation);
        let metadata = self.metadata.get(&without_line(&job.metadata).0);
        let job = derivation
            .zip(metadata)
            .map(|(derivation, metadata)| (job.name.clone(), *derivation, Some(*metadata)));
        job.is_some_and(|job| self.is_open(&job))
    }

    fn is_open(&self, job: &JobKey) -> bool {
        self.seen.contains(job) || self.open.as_ref().is_some_and(|open| open.contains_key(job))
    }

    /// Begins a transaction that may record, and reads the open intervals if needed.
    pub(super) async fn begin(&mut self, db: &Db) -> Result<Tx> {
        let mut tx = db.begin().await?;
        check_lease(&mut tx, &self.task).await?;
        if self.open.is_none() {
            self.open = Some(self.read_open(&mut tx).await?);
        }
        Ok(tx)
    }

    /// Reads the jobs with open intervals, and the numbers of their derivations and metadata. They
    /// are read as one text, which is faster than as many rows.
    async fn read_open(&mut self, tx: &mut Tx) -> Result<HashMap<JobKey, i64>> {
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
        self.metadata = open_metadata(tx, sequence).await?;
        let learn = |(row, name, derivation, metadata, hash)| {
            self.numbers.insert(hash, derivation);
            ((name, derivation, metadata), row)
        };
        Ok(rows.into_iter().map(learn).collect())
    }

    /// The number of the spec and system; a new one is stored.
    async fn sequence(&self, tx: &mut Tx) -> Result<i64> {
        const ADD: &str = "insert into sequence (spec_id, system) values ($1, $2) on conflict do nothing";
        const FIND: &str = "select id from sequence where spec_id = $1 and system = $2";
        let (spec, system) = (self.task.spec_id, self.task.system.as_str());
        execute!(tx, ADD, spec, system);
        each!(tx, tx => Ok(sqlx::query_scalar(FIND).bind(spec).bind(system).fetch_one(&mut **tx).await?))
    }

    /// Begins an interval for each job without an open one.
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
            let (metadata, line) = without_line(&job.metadata);
            let metadata =
                self.metadata.get(&metadata).or_else(|| described.metadata.get(&metadata)).copied();
            let seen: JobKey = (job.name.clone(), known.number(&job.derivation, &job.name)?, metadata);
            jobs.entry(seen).or_insert(line);
        }
        let mut new: Vec<_> = jobs.iter().filter(|(job, _)| !self.is_open(job)).collect();
        // Sort inputs before the derivations that need them, so that neighbours in the index are
        // also neighbouring rows.
        new.sort_unstable_by_key(|((_, derivation, metadata), _)| (*derivation, *metadata));
        let sequence = if new.is_empty() { 0 } else { self.sequence(tx).await? };
        let lines = new.iter().map(|((name, derivation, metadata), line)| {
            let name = described.names.get(name).copied();
            let line = line.map(i64::from);
            [
                sequence.into(),
                name.into(),
                derivation.0.into(),
                (*metadata).into(),
                line.into(),
                self.task.id.0.into(),
            ]
        });
        let lines: Vec<[Cell; 6]> = lines.collect();
        let columns = ["sequence_id", "name_id", "derivation_id", "metadata_id", "line", "first_evaluation"];
        insert(tx, "job_interval", columns, &lines).await?;
        let begun = lines.len() as u64;
        Ok(Found {
            numbers: known.added,
            metadata: described.metadata,
            jobs: jobs.into_keys().collect(),
            begun,
        })
    }

    /// The number of the evaluation that is recorded.
    pub fn evaluation(&self) -> EvaluationId {
        self.task.id
    }

    /// The evaluation that is recorded, with its lease.
    pub fn task(&self) -> &Task {
        &self.task
    }
}
