//! Finds the jobs of a spec that newly fail, still fail, or fail no more: pure functions.

/// The result of the build of a job's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The build succeeded.
    Good,
    /// The build failed.
    Bad,
    /// The result is not known yet.
    Unknown,
}

/// A range of evaluations in which a job had the same outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Number of the first evaluation.
    pub first: i64,
    /// Number of the last evaluation; `None` while that is the newest.
    pub last: Option<i64>,
    /// The result of the build.
    pub verdict: Verdict,
}

impl Run {
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

/// How a job changed from one evaluation to a later one. `runs` are in ascending order. `None` if
/// the job does not fail at either, or if nothing is known of it at the later one.
///
/// Runs with an unknown result are skipped: a job that failed before and after one failed
/// throughout.
pub fn change(runs: &[Run], from: i64, to: i64) -> Option<Change> {
    let now = runs.iter().rposition(|run| run.covers(to))?;
    let known = |runs: &[Run]| runs.iter().rfind(|run| run.verdict != Verdict::Unknown).copied();
    match runs[now].verdict {
        Verdict::Unknown => None,
        Verdict::Good => {
            let then = runs.iter().take_while(|run| run.first <= from).count();
            let failed = known(&runs[..then]).is_some_and(|run| run.verdict == Verdict::Bad);
            failed.then_some(Change::Fixed { since: runs[now].first })
        }
        Verdict::Bad => {
            let before = runs[..=now].iter().rev().take_while(|run| run.verdict != Verdict::Good);
            let since = before.filter(|run| run.verdict == Verdict::Bad).map(|run| run.first).min()?;
            Some(if since <= from { Change::Still { since } } else { Change::New { since } })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Bad, Good, Unknown};

    fn runs(of: &[(i64, Verdict)]) -> Vec<Run> {
        let ends = of.iter().skip(1).map(|(first, _)| Some(first - 1)).chain([None]);
        of.iter().zip(ends).map(|(&(first, verdict), last)| Run { first, last, verdict }).collect()
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
            assert_eq!(change(&runs(of), 8, 9), expected, "{of:?}");
        }
        let gone = Run { first: 1, last: Some(4), verdict: Bad };
        assert_eq!(change(&[gone], 8, 9), None);
    }
}
