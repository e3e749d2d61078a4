//! Which jobs of a spec began to fail, which still do, and which do no more: pure functions.

/// What is known of the build of a job's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was made.
    Good,
    /// It cannot be made.
    Bad,
    /// Nobody knows yet.
    Unknown,
}

/// The evaluations, from first to last, in which a job had the same outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Number of the first.
    pub first: i64,
    /// Number of the last; nothing while that is the newest.
    pub last: Option<i64>,
    /// What became of the build.
    pub verdict: Verdict,
}

impl Run {
    /// Whether the job had these outputs at an evaluation.
    fn covers(&self, evaluation: i64) -> bool {
        self.first <= evaluation && self.last.is_none_or(|last| evaluation <= last)
    }
}

/// How a job compares with how it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It fails, and did not at the evaluation that is compared with.
    New {
        /// The evaluation from which on it fails.
        since: i64,
    },
    /// It fails as it did then.
    Still {
        /// The evaluation from which on it fails.
        since: i64,
    },
    /// It failed then, and does not fail any more.
    Fixed {
        /// The evaluation from which on it does not.
        since: i64,
    },
}

/// How a job with these runs, in ascending order, changed from one evaluation to a later one; nothing
/// if it does not fail at either, as far as is known.
///
/// Runs of which nobody knows say nothing: a job that failed before and after one failed on.
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
