//! The results of units: jobs and errors are checked, cut to size and passed on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::outcome::{Event, Failure, Outcome};
use super::super::protocol::Job;
use super::{Supervisor, TICK};
use crate::domain::job::JobMetadata;
use crate::guix::recording_store::Unreadable;
use crate::guix::sexp::shortened;
use crate::guix::store_path::StorePath;

/// Most jobs of one evaluation. With more, something is wrong with it.
pub(in super::super) const MOST_JOBS: usize = 1_000_000;
/// How much of a job's name is read, in bytes: one more than it may have, so that a longer name is
/// refused.
pub(in super::super) const LONGEST_NAME: usize = 1001;
/// Longest name of a derivation that is read, in bytes: no store path is longer.
const LONGEST_DERIVATION: usize = 300;
/// Longest name, cause or message that is kept of an error, in bytes.
pub(in super::super) const LONGEST_MESSAGE: usize = 16 << 10;
/// Most bytes of errors of one evaluation. Little is kept of further errors.
const MOST_OF_ERRORS: usize = 32 << 20;
/// Longest name, cause or message of an error after that, in bytes.
const SHORT_MESSAGE: usize = 200;
/// Longest text that is kept of a job's facts, in bytes, because a database has an index of them.
pub(in super::super) const LONGEST_METADATA: usize = 250;
/// Most bytes of jobs of unfinished units, for all workers together.
const MOST_UNFINISHED: usize = 64 << 20;
/// Approximate size of a job beside its texts, in bytes.
const BESIDE_TEXTS: usize = 400;

/// Results are passed on when more than this has accumulated: outcomes, and bytes of outcomes or
/// store items.
const BATCH_LIMIT: (usize, usize) = (2000, 8 << 20);

/// Jobs of units that a worker has not finished. If it dies, they will be reported again.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    jobs: Vec<Job>,
    bytes: usize,
}

impl Supervisor<'_> {
    /// Keeps a job that `worker` reported, of a unit that has more; false when its unfinished jobs
    /// take too much memory.
    pub(super) fn unfinished_job(&mut self, worker: usize, mut job: Job) -> Result<bool, Failure> {
        trim(&mut job);
        let most = MOST_UNFINISHED / self.lanes.max(1);
        let unfinished = self.unfinished.entry(worker).or_default();
        unfinished.bytes += size(&job);
        unfinished.jobs.push(job);
        let (jobs, matches_pattern) = (unfinished.jobs.len(), unfinished.bytes <= most);
        if self.summary.jobs + jobs > MOST_JOBS {
            return Err(Failure::limit("limit of jobs", MOST_JOBS.to_string()));
        }
        Ok(matches_pattern)
    }

    /// Takes all jobs of a unit: those that `worker` named before, and the last one.
    pub(super) fn jobs(&mut self, worker: usize, last: Job) -> Result<(), Failure> {
        let unit = last.unit;
        let mut jobs = self.jobs_named_by(worker, unit);
        jobs.push(last);
        self.take_jobs(unit, jobs)
    }

    /// Takes the jobs of `unit` that `worker` named before its result, which is an error about
    /// other jobs.
    pub(super) fn jobs_before_error(&mut self, worker: usize, unit: usize) -> Result<(), Failure> {
        let jobs = self.jobs_named_by(worker, unit);
        self.take_jobs(unit, jobs)
    }

    /// Removes the jobs of `unit` from the unfinished ones of `worker`, and returns them.
    fn jobs_named_by(&mut self, worker: usize, unit: usize) -> Vec<Job> {
        let before = self.unfinished.remove(&worker).unwrap_or_default().jobs;
        let (jobs, others): (Vec<_>, Vec<_>) = before.into_iter().partition(|job| job.unit == unit);
        if !others.is_empty() {
            let bytes = others.iter().map(size).sum();
            self.unfinished.insert(worker, Unfinished { jobs: others, bytes });
        }
        jobs
    }

    /// Takes the jobs of a unit. All that is wrong with them becomes one error.
    fn take_jobs(&mut self, unit: usize, jobs: Vec<Job>) -> Result<(), Failure> {
        if jobs.len() > self.names.most_jobs() {
            self.blame(unit, "protocol", format!("it has {} jobs, and should have one", jobs.len()));
            return Ok(());
        }
        let mut refused = jobs.into_iter().map(|job| self.job(job)).filter_map(Result::transpose);
        let Some(first) = refused.next() else { return Ok(()) };
        let (cause, mut message) = first?;
        let others = refused.collect::<Result<Vec<_>, _>>()?.len();
        if others > 0 {
            message = format!("{message} (and {others} more of its jobs are rejected)");
        }
        self.blame(unit, cause, message);
        Ok(())
    }

    /// Takes a job if what the worker says of it is valid; otherwise returns cause and message of
    /// an error.
    fn job(&mut self, mut job: Job) -> Result<Option<(&'static str, String)>, Failure> {
        trim(&mut job);
        let Job { unit, name, derivation, mut metadata, .. } = job;
        if self.summary.jobs >= MOST_JOBS {
            return Err(Failure::limit("limit of jobs", MOST_JOBS.to_string()));
        }
        let known = StorePath::parse(derivation.as_bytes())
            .ok()
            .zip(self.warm.processes.store().derivation(derivation.as_bytes()));
        let Some((derivation, (outputs, substitutable))) = known else {
            return Ok(Some((
                "protocol",
                format!("it names a derivation that it did not add: {derivation}"),
            )));
        };
        if let Some(unreadable) = self.warm.processes.store().unreadable(&derivation) {
            return Ok(Some(("unreproducible", unreproducible(&unreadable))));
        }
        let label = self.labels.get(unit).map_or("", String::as_str);
        if let Err(fault) = self.names.give(label, &name) {
            return Ok(Some(("protocol", fault)));
        }
        metadata.substitutable = substitutable;
        self.summary.jobs += 1;
        self.batch_bytes += BESIDE_TEXTS + name.len() + texts_len(&metadata);
        self.batch.outcomes.push(Outcome::Job { name, derivation, outputs, metadata });
        Ok(None)
    }

    /// Whether enough has accumulated to pass the results on.
    pub(super) fn is_full(&self) -> bool {
        self.batch.outcomes.len() > BATCH_LIMIT.0
            || self.batch_bytes > BATCH_LIMIT.1
            || self.warm.processes.store().pending_bytes() > BATCH_LIMIT.1
    }

    /// How long results wait for more of them, so that writing them costs little. It is short at
    /// first, because most evaluations are short or find most of what is new early.
    pub(super) fn pause(&self) -> Duration {
        (self.started.elapsed() / 16).clamp(TICK, 8 * TICK)
    }

    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        self.flushed = Instant::now();
        self.batch_bytes = 0;
        let mut batch = std::mem::take(&mut self.batch);
        // Items are taken after the outcomes, so everything that the outcomes name has been added.
        let (items, guard) = self.warm.processes.shared_store().drain_guarded();
        batch.items = items;
        batch.pending_guard = Some(Arc::new(guard));
        if batch.items.is_empty() && batch.outcomes.is_empty() && batch.done == 0 {
            return Ok(());
        }
        self.events.send(Event::Batch(batch)).await.map_err(|_| Failure::Abandoned)
    }

    /// Records an error as the result of a unit.
    pub(super) fn unit_failed(&mut self, unit: usize, cause: &str, message: String) {
        self.batch.done += 1;
        self.blame(unit, cause, message);
    }

    fn blame(&mut self, unit: usize, cause: &str, message: String) {
        let name = self.labels.get(unit).cloned().unwrap_or_default();
        self.fail(name, cause.to_owned(), message);
    }

    pub(super) fn fail(&mut self, name: String, cause: String, message: String) {
        self.summary.errors += 1;
        let [name, cause, message] = self.cut([name, cause, message]);
        self.batch.outcomes.push(Outcome::Error { name, cause, message });
    }

    pub(super) fn warn(&mut self, name: String, cause: String, message: String) {
        self.summary.warnings += 1;
        let [name, cause, message] = self.cut([name, cause, message]);
        self.batch.outcomes.push(Outcome::Warning { name, cause, message });
    }

    /// Cuts the texts of an error or a warning to the allowed length, and counts their bytes.
    fn cut(&mut self, texts: [String; 3]) -> [String; 3] {
        let longest = if self.error_bytes > MOST_OF_ERRORS { SHORT_MESSAGE } else { LONGEST_MESSAGE };
        let texts = texts.map(|text| shortened(text, longest));
        let size: usize = texts.iter().map(String::len).sum();
        self.error_bytes += size;
        self.batch_bytes += BESIDE_TEXTS + size;
        texts
    }
}

fn unreproducible(Unreadable { name, object }: &Unreadable) -> String {
    format!(
        "its derivation is another one each time, and cannot be built: {name} contains {object}\n\
         hint: an object was quoted where its value should be inserted, such as a gexp in a list that is quoted with `"
    )
}

/// Cuts the texts of a job to what is kept of them. A name that is too long remains too long.
fn trim(job: &mut Job) {
    let cut = |text: &mut String, longest| *text = shortened(std::mem::take(text), longest);
    cut(&mut job.name, LONGEST_NAME);
    cut(&mut job.derivation, LONGEST_DERIVATION);
    job.metadata.texts_mut().for_each(|text| cut(text, LONGEST_METADATA));
}

/// Approximate size of a job, in bytes.
fn size(job: &Job) -> usize {
    BESIDE_TEXTS + job.name.len() + job.derivation.len() + texts_len(&job.metadata)
}

fn texts_len(metadata: &JobMetadata) -> usize {
    let texts = [&metadata.package, &metadata.version, &metadata.target, &metadata.channel];
    let file = metadata.location.as_ref().map_or(0, |location| location.file.len());
    file + texts.into_iter().flatten().map(String::len).sum::<usize>()
}
