use std::collections::HashSet;

use super::{Answer, Cancellation, GuixBuildCoordinator, Report, Submission, Unavailable};

/// A tag of every submission.
pub(super) const SPEC_TAG: &str = "gorget-spec";

/// A request to the coordinator for one build.
#[derive(Debug, Clone)]
pub(super) enum CoordinatorRequest {
    Build(Submission),
    /// A submission after attempts that failed, or that may exist. The coordinator's own flags do
    /// not help here, so its attempts are looked up first. Has the store path of an output, and the
    /// names of the attempts that are known to be over.
    BuildAgain(Submission, String, HashSet<String>),
    Cancel(String),
    /// Cancels an attempt of unknown name. Has the store path of an output.
    CancelUnnamed(String),
    /// Sets the urgency of an attempt.
    SetUrgency(String, i64),
}

/// The outcome of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    Answered(Answer),
    /// There are other attempts, running or over.
    Found(Vec<Report>),
    /// There were other attempts, which were canceled before they were known. A canceled attempt
    /// says nothing about a build that is wanted. They are recorded because late news of them must
    /// not be taken for news of the next attempt.
    FoundCanceled(Vec<Report>),
    Canceled(String),
    NothingToCancel,
    Needed,
    UrgencySet,
}

impl CoordinatorRequest {
    /// Sends the request.
    pub(super) async fn send_request(
        self,
        coordinator: &GuixBuildCoordinator,
    ) -> Result<Outcome, Unavailable> {
        match self {
            Self::Build(submission) => coordinator.submit(&submission).await.map(Outcome::Answered),
            Self::BuildAgain(submission, output, past) => {
                let mut others = coordinator.attempts_at(&output).await?;
                others.retain(|report| !past.contains(&report.reference));
                // A list may leave out the agent.
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
                    // We must not cancel attempts that others submitted.
                    let report = coordinator.read(&attempt.reference).await?.unwrap_or(attempt);
                    if !report.is_over() && report.tags.iter().any(|(key, _)| key == SPEC_TAG) {
                        return cancel(coordinator, report.reference).await;
                    }
                }
                Ok(Outcome::NothingToCancel)
            }
            // An attempt that the coordinator no longer knows is noticed when its state is polled.
            Self::SetUrgency(reference, urgency) => {
                coordinator.reprioritise(&reference, urgency).await.map(|_known| Outcome::UrgencySet)
            }
        }
    }
}

async fn cancel(coordinator: &GuixBuildCoordinator, reference: String) -> Result<Outcome, Unavailable> {
    Ok(match coordinator.cancel(&reference).await? {
        // An attempt that the coordinator does not know is not being built.
        Cancellation::Canceled | Cancellation::Unknown => Outcome::Canceled(reference),
        Cancellation::Over => match coordinator.read(&reference).await? {
            Some(report) if report.is_over() => Outcome::Found(vec![report]),
            _ => return Err(Unavailable(format!("the attempt {reference} is neither canceled nor over"))),
        },
        Cancellation::Needed => Outcome::Needed,
    })
}
