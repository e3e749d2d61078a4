use std::collections::HashSet;

use super::{Answer, Cancellation, GuixBuildCoordinator, Report, Submission, Unavailable};

/// A tag that all submissions have.
pub(super) const OUR_TAG: &str = "gorget-spec";

/// What is asked of the coordinator for one build.
#[derive(Debug, Clone)]
pub(super) enum CoordinatorRequest {
    Build(Submission),
    /// The same after attempts that failed, or that there may be. The coordinator's own flags do not help: what it
    /// knows is asked for first. A store path of an output, and the names of the attempts that are known to be over.
    BuildAgain(Submission, String, HashSet<String>),
    Cancel(String),
    /// The store path of an output: the name of the attempt is not known.
    CancelUnnamed(String),
    /// With how urgent it is.
    Hurry(String, i64),
}

/// What came of that.
#[derive(Debug)]
pub(super) enum Outcome {
    Answered(Answer),
    /// There are other attempts, which go on or are over.
    Found(Vec<Report>),
    /// There were others, which were canceled before they were known. That says nothing of a build that is
    /// wanted; but late news of them must not be taken for news of the attempt that is asked for next.
    FoundCanceled(Vec<Report>),
    Canceled(String),
    NothingToCancel,
    Needed,
    Hurried,
}

impl CoordinatorRequest {
    /// Asks the coordinator.
    pub(super) async fn send_request(
        self,
        coordinator: &GuixBuildCoordinator,
    ) -> Result<Outcome, Unavailable> {
        match self {
            Self::Build(submission) => coordinator.submit(&submission).await.map(Outcome::Answered),
            Self::BuildAgain(submission, output, past) => {
                let mut others = coordinator.attempts_at(&output).await?;
                others.retain(|report| !past.contains(&report.reference));
                // A list need not say which agent it was.
                for report in others.iter_mut().filter(|_| coordinator.has_emulating_agents()) {
                    if let Some(more) = coordinator.read(&report.reference).await? {
                        *report = more;
                    }
                }
                if others.is_empty() {
                    coordinator.submit(&submission).await.map(Outcome::Answered)
                } else if others.iter().all(Report::is_canceled) {
                    Ok(Outcome::FoundCanceled(others))
                } else {
                    Ok(Outcome::Found(others))
                }
            }
            Self::Cancel(reference) => cancel(coordinator, reference).await,
            Self::CancelUnnamed(output) => {
                for attempt in coordinator.attempts_at(&output).await? {
                    // Attempts that others submitted are not ours to cancel.
                    let report = coordinator.read(&attempt.reference).await?.unwrap_or(attempt);
                    if !report.is_over() && report.tags.iter().any(|(key, _)| key == OUR_TAG) {
                        return cancel(coordinator, report.reference).await;
                    }
                }
                Ok(Outcome::NothingToCancel)
            }
            // What it does not know any more is found out when it is asked how far it is.
            Self::Hurry(reference, urgency) => {
                coordinator.reprioritise(&reference, urgency).await.map(|_known| Outcome::Hurried)
            }
        }
    }
}

async fn cancel(coordinator: &GuixBuildCoordinator, reference: String) -> Result<Outcome, Unavailable> {
    Ok(match coordinator.cancel(&reference).await? {
        // What it does not know it does not build.
        Cancellation::Canceled | Cancellation::Unknown => Outcome::Canceled(reference),
        Cancellation::Over => match coordinator.read(&reference).await? {
            Some(report) if report.is_over() => Outcome::Found(vec![report]),
            _ => return Err(Unavailable(format!("{reference} is neither canceled nor over"))),
        },
        Cancellation::Needed => Outcome::Needed,
    })
}
