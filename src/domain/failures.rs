//! Finds the jobs of a spec that newly fail, still fail, or fail no more: pure functions.

/// The result of the build of a job's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildResult {
    /// The build succeeded.
    Good,
    /// The build failed.
    Bad,
    /// The result is not known yet.
    Unknown,
}

/// A range of evaluations in which a job had the same outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputRange {
    /// Number of the first evaluation.
    pub first: i64,
    /// Number of the last evaluation; `None` while that is the newest.
    pub last: Option<i64>,
    /// The result of the build.
    pub result: BuildResult,
}

impl OutputRange {
    /// Whether the job had these outputs at an evaluation.
    fn covers(&self, evaluation: i64) -> bool {
        self.first <= evaluation && self.last.is_none_or(|last| evaluation <= last)
    }
}

/// How a job differs from an earlier evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The job fails, and did not fail at the earlier evaluation.
    New {
        /// The evaluation since which it fails.
        since: i64,
    },
    /// The job fails, as it did at the earlier evaluation.
    Still {
        /// The evaluation since which it fails.
        since: i64,
    },
    /// The job failed at the earlier evaluation, and does not fail any more.
    Fixed {
        /// The evaluation since which it does not fail.
        since: i64,
    },
}

/// How a job changed from one evaluation to a later one. `ranges` are in ascending order. `None` if
/// the job does not fail at either, or if nothing is known of it at the later one.
///
/// Runs with an unknown result are skipped: a job that failed before and after one failed
/// throughout.
pub fn compare_results(ranges: &[OutputRange], from: i64, to: i64) -> Option<Change> {
    let now = ranges.iter().rposition(|range| range.covers(to))?;
    let known =
        |ranges: &[OutputRange]| ranges.iter().rfind(|range| range.result != BuildResult::Unknown).copied();
    match ranges[now].result {
        BuildResult::Unknown => None,
        BuildResult::Good => {
            let then = ranges.iter().take_while(|range| range.first <= from).count();
            let failed = known(&ranges[..then]).is_some_and(|range| range.result == BuildResult::Bad);
            failed.then_some(Change::Fixed { since: ranges[now].first })
        }
        BuildResult::Bad => {
            let before = ranges[..=now].iter().rev().take_while(|range| range.result != BuildResult::Good);
            let since =
                before.filter(|range| range.result == BuildResult::Bad).map(|range| range.first).min()?;
            Some(if since <= from { Change::Still { since } } else { Change::New { since } })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BuildResult::{Bad, Good, Unknown};

    fn ranges(of: &[(i64, BuildResult)]) -> Vec<OutputRange> {
        let ends = of.iter().skip(1).map(|(first, _)| Some(first - 1)).chain([None]);
        of.iter().zip(ends).map(|(&(first, result), last)| OutputRange { first, last, result }).collect()
    }

    #[test]
    fn a_job_fails_since_it_was_last_seen_to_be_good() {
        for (of, expected) in [
            (&[(1, Good), (9, Bad)][..], Some(Change::New { since: 9 })),
            (&[(1, Good), (3, Bad), (9, Bad)], Some(Change::Still { since: 3 })),
            (&[(1, Bad), (3, Unknown), (9, Bad)], Some(Change::Still { since: 1 })),
            (&[(1, Good), (3, Unknown), (9, Bad)], Some(Change::New { since: 9 })),
            (&[(1, Bad), (9, Good)], Some(Change::Fixed { since: 9 })),
            (&[(1, Bad), (5, Unknown), (9, Good)], Some(Change::Fixed { since: 9 })),
            (&[(1, Bad), (5, Good), (9, Good)], None),
            (&[(1, Bad), (9, Unknown)], None),
            (&[(9, Bad)], Some(Change::New { since: 9 })),
            (&[(1, Good)], None),
        ] {
            assert_eq!(compare_results(&ranges(of), 8, 9), expected, "{of:?}");
        }
        let gone = OutputRange { first: 1, last: Some(4), result: Bad };
        assert_eq!(compare_results(&[gone], 8, 9), None);
    }
}
