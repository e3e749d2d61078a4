//! What becomes of units: jobs and errors, checked and made to fit.

use super::super::outcome::{Failure, Outcome};
use super::super::protocol::Job;
use super::Supervisor;
use crate::store::path::StorePath;

/// More jobs than this in one evaluation, and something is wrong with it.
const MOST_JOBS: usize = 1_000_000;
/// A job cannot have a longer name than this, in bytes.
const LONGEST_NAME: usize = 1000;
/// Longest name, cause or message that is kept of an error, in bytes.
const LONGEST_MESSAGE: usize = 16 << 10;
/// Longest text that is kept of the facts of a job, in bytes: a database puts them into an index.
const LONGEST_FACT: usize = 250;

impl Supervisor<'_> {
    /// A job of a unit that has more, as `worker` says.
    pub(super) fn unfinished_job(&mut self, worker: usize, job: Job) -> Result<(), Failure> {
        let jobs = self.unfinished.entry(worker).or_default();
        if self.summary.jobs + jobs.len() >= MOST_JOBS {
            return Err(Failure::Limit { what: "limit of jobs", limit: MOST_JOBS.to_string() });
        }
        jobs.push(job);
        Ok(())
    }

    /// All jobs of a unit: those that `worker` named before, and the last one.
    pub(super) fn jobs(&mut self, worker: usize, last: Job) -> Result<(), Failure> {
        let before = self.unfinished.remove(&worker).unwrap_or_default();
        let (mut jobs, others): (Vec<_>, _) = before.into_iter().partition(|job| job.unit == last.unit);
        if !others.is_empty() {
            self.unfinished.insert(worker, others);
        }
        jobs.push(last);
        jobs.into_iter().try_for_each(|job| self.job(job))
    }

    /// A job, if what is said of it can be.
    pub(super) fn job(&mut self, job: Job) -> Result<(), Failure> {
        let Job { unit, name, derivation, mut facts, .. } = job;
        if self.summary.jobs >= MOST_JOBS {
            return Err(Failure::Limit { what: "limit of jobs", limit: MOST_JOBS.to_string() });
        }
        let known = StorePath::parse(derivation.as_bytes())
            .ok()
            .zip(self.warm.crew.store().derivation(derivation.as_bytes()));
        let Some((derivation, (outputs, substitutable))) = known else {
            self.blame(unit, "protocol", format!("it names a derivation that it did not add: {derivation}"));
            return Ok(());
        };
        if name.len() > LONGEST_NAME {
            self.blame(unit, "protocol", format!("it gives a job a name of {} bytes", name.len()));
            return Ok(());
        }
        facts.texts_mut().for_each(|text| *text = shortened(std::mem::take(text), LONGEST_FACT));
        facts.substitutable = substitutable;
        self.summary.jobs += 1;
        self.batch.outcomes.push(Outcome::Job { name, derivation, outputs, facts });
        Ok(())
    }

    /// A unit that has an error for its result.
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
        let [name, cause, message] = [name, cause, message].map(|text| shortened(text, LONGEST_MESSAGE));
        self.batch.outcomes.push(Outcome::Error { name, cause, message });
    }
}

/// The beginning of a stranger's text.
fn shortened(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest));
        text.push('…');
    }
    text
}
