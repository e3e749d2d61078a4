//! Lists of jobs that differ between two evaluations.

use super::clean::Clean;
use super::link;
use super::shape::Shape;
use crate::domain::diff::{Added, Changed, Diff, Removed};

/// How many jobs or errors a page lists.
pub(super) const ROWS: usize = 200;

/// A spec and a system.
pub(super) type Place<'a> = (&'a str, &'a str);

/// A tab that selects a list.
pub(super) struct Tab {
    pub(super) href: String,
    pub(super) word: &'static str,
    pub(super) count: String,
    pub(super) is_zero: bool,
    pub(super) is_current: bool,
}

/// A row with a job or an error.
pub(super) struct JobRow {
    pub(super) shape: Option<Shape>,
    pub(super) job: Clean,
    pub(super) href: Option<String>,
    pub(super) version: Clean,
    pub(super) text: Clean,
}

/// Rows of jobs with another derivation.
pub(super) fn changed_rows((spec, system): Place<'_>, diff: &Diff) -> Vec<JobRow> {
    let changed = |job: &Changed| JobRow {
        shape: None,
        job: Clean::line(&job.job),
        href: Some(link::job(spec, system, &job.job)),
        version: Clean::line(
            &job.versions.as_ref().map_or(String::new(), |(before, after)| format!("{before} → {after}")),
        ),
        text: Clean::line(if job.same_outputs { "same outputs: nothing to build" } else { &job.after }),
    };
    diff.changed.iter().take(ROWS).map(changed).collect()
}

/// Rows of added jobs.
pub(super) fn added_rows((spec, system): Place<'_>, added: &[Added]) -> Vec<JobRow> {
    let row = |job: &Added| JobRow {
        shape: None,
        job: Clean::line(&job.job),
        href: Some(link::job(spec, system, &job.job)),
        version: Clean::line(job.version.as_deref().unwrap_or_default()),
        text: Clean::line(&job.derivation),
    };
    added.iter().take(ROWS).map(row).collect()
}

/// Rows of removed jobs.
pub(super) fn removed_rows(removed: &[Removed]) -> Vec<JobRow> {
    let row = |job: &Removed| JobRow {
        shape: None,
        job: Clean::line(&job.job),
        href: None,
        version: Clean::line(job.version.as_deref().unwrap_or_default()),
        text: Clean::line(&job.derivation),
    };
    removed.iter().take(ROWS).map(row).collect()
}
