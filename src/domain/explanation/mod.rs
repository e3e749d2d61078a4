//! Explains why a job is queued, or is not: the rule that decided, and its details.
//!
//! `explain` turns facts into an `Explanation`. An `Explanation` has a word for programs
//! (`Explanation::rule`) and a sentence for people (its text). The first rule that holds decides. A
//! failed input comes before the state of the build, because the build cannot go on before the
//! input is fixed.

mod words;

use crate::domain::build::BuildState;
use crate::domain::plan::route::DEFAULT;
use crate::domain::revision::Revision;
use crate::domain::spec::RetryFailed;

/// The facts about a job.
#[derive(Debug, Clone, Copy)]
pub struct ExplanationInput<'a> {
    /// The spec that the job belongs to.
    pub spec: &'a str,
    /// When the spec queues failed builds again.
    pub retry_failed: RetryFailed,
    /// The evaluation since which the job has its derivation.
    pub evaluation: i64,
    /// Whether that evaluation failed.
    pub evaluation_failed: bool,
    /// Whether the newest evaluation has the job with this derivation.
    pub is_current: bool,
    /// The build of its outputs.
    pub build: Option<BuildInput<'a>>,
}

/// The facts about the build of a job's outputs.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct BuildInput<'a> {
    /// The state of the build.
    pub state: BuildState,
    /// The evaluation that first wanted it.
    pub origin: Origin<'a>,
    /// The coordinator that has the build, or is to get it: empty if none serves it.
    pub coordinator: Coordinator<'a>,
    /// Whether that coordinator may have the build but is no longer in the configuration.
    pub is_gone: bool,
    /// Whether that coordinator was asked and did not answer.
    pub in_doubt: bool,
    /// The pause that keeps the build from being submitted.
    pub paused: Option<Paused<'a>>,
    /// Whether the build is no longer wanted.
    pub is_unwanted: bool,
    /// Whether the build failed with the derivation of this job.
    pub has_failed: bool,
    /// The coordinator's identifier for the build.
    pub reference: Reference<'a>,
    /// The coordinator's last answer, or another text that explains the state.
    pub answer: Option<&'a str>,
    /// The failed or rejected build that this one needs.
    pub cause: Option<Cause<'a>>,
}

/// The evaluation in which outputs were new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The number of the evaluation.
    pub evaluation: i64,
    /// The spec of the evaluation.
    pub spec: &'a str,
    /// The revision that was evaluated.
    pub revision: &'a Revision,
}

/// A coordinator by name. An only coordinator has no name of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coordinator<'a>(pub Option<&'a str>);

impl<'a> Coordinator<'a> {
    fn name(self) -> Option<&'a str> {
        self.0.filter(|name| !["", DEFAULT].contains(name))
    }
}

/// A coordinator's identifier for a build, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'a>(pub Option<&'a str>);

/// A build that failed or was rejected, and that another build needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause<'a> {
    /// The job of the failed build.
    pub job: &'a str,
    /// The spec of that job.
    pub spec: &'a str,
    /// The state of the failed build.
    pub state: BuildState,
}

/// A pause that somebody made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paused<'a> {
    /// `spec`, `system` or `submission`.
    pub kind: &'a str,
    /// The name of the paused spec or system.
    pub name: &'a str,
    /// The author of the pause.
    pub author: &'a str,
}

/// What a build waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait<'a> {
    /// Substitute servers are asked first.
    Substitutes,
    /// Somebody has to approve the build, for this reason.
    Approval(&'a str),
    /// No coordinator serves the build.
    NoCoordinator,
    /// The coordinator was asked and did not answer.
    Answer(Coordinator<'a>),
    /// Somebody has to end the pause.
    Resumption(Paused<'a>),
    /// The coordinator gets other builds first.
    OtherBuilds(Coordinator<'a>),
}

/// Why a job is queued, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of fields say what they are")]
pub enum Explanation<'a> {
    /// The evaluation that first had the job's derivation failed, so nothing of it is queued.
    EvaluationFailed { evaluation: i64 },
    /// The evaluation has just found the job; its build is not scheduled yet.
    NotScheduled { evaluation: i64 },
    /// The build needs another build, which failed or was rejected.
    Blocked(Cause<'a>),
    /// The build's coordinator is no longer in the configuration.
    CoordinatorGone { coordinator: Coordinator<'a>, reference: Reference<'a> },
    /// The build is wanted, and no coordinator has it yet.
    Waiting { wait: Wait<'a>, origin: Origin<'a> },
    /// The spec records the builds of its first evaluation as known.
    Known { origin: Origin<'a> },
    /// A substitute server has the outputs.
    Substituted { server: &'a str },
    /// The coordinator has the build.
    Submitted { coordinator: Coordinator<'a>, reference: Reference<'a>, answer: &'a str },
    /// The build is running.
    Building { reference: Reference<'a> },
    /// The build succeeded.
    Succeeded { reference: Reference<'a> },
    /// The build failed.
    Failed { reference: Reference<'a>, spec: &'a str, retry_failed: RetryFailed },
    /// The coordinator rejected the build.
    Rejected { coordinator: Coordinator<'a>, answer: &'a str },
    /// The build failed with another derivation, and this job's own derivation is tried next.
    OtherFailed,
    /// The coordinator is asked to cancel the build.
    Canceling { coordinator: Coordinator<'a>, reference: Reference<'a>, answer: &'a str },
    /// The build was canceled because it was no longer wanted.
    Superseded { answer: &'a str },
    /// The build was canceled for another reason.
    Canceled,
}

/// Derives the explanation from the facts.
pub fn explain<'a>(input: &ExplanationInput<'a>) -> Explanation<'a> {
    let evaluation = input.evaluation;
    let Some(build) = input.build else {
        return if input.evaluation_failed {
            Explanation::EvaluationFailed { evaluation }
        } else {
            Explanation::NotScheduled { evaluation }
        };
    };
    let BuildInput { coordinator, reference, .. } = build;
    if let Some(cause) = build.cause {
        return Explanation::Blocked(cause);
    }
    if build.is_gone {
        return Explanation::CoordinatorGone { coordinator, reference };
    }
    of_state(input, &build)
}

/// Derives the explanation from the state of the build.
fn of_state<'a>(input: &ExplanationInput<'a>, build: &BuildInput<'a>) -> Explanation<'a> {
    let &BuildInput { state, origin, coordinator, reference, .. } = build;
    let answer = build.answer.unwrap_or("nothing");
    let waiting = |wait| Explanation::Waiting { wait, origin };
    match state {
        BuildState::Known => Explanation::Known { origin },
        BuildState::Pending => waiting(Wait::Substitutes),
        BuildState::AwaitingApproval => waiting(Wait::Approval(answer)),
        BuildState::Queued if coordinator.0 == Some("") => waiting(Wait::NoCoordinator),
        BuildState::Queued if build.in_doubt => waiting(Wait::Answer(coordinator)),
        BuildState::Queued => waiting(build.paused.map_or(Wait::OtherBuilds(coordinator), Wait::Resumption)),
        BuildState::Substituted => Explanation::Substituted { server: answer },
        BuildState::Submitted => Explanation::Submitted { coordinator, reference, answer },
        BuildState::Building => Explanation::Building { reference },
        BuildState::Succeeded => Explanation::Succeeded { reference },
        BuildState::Rejected | BuildState::Failed if input.is_current && !build.has_failed => {
            Explanation::OtherFailed
        }
        BuildState::Rejected => Explanation::Rejected { coordinator, answer },
        BuildState::Failed => {
            let (spec, retry_failed) = (input.spec, input.retry_failed);
            Explanation::Failed { reference, spec, retry_failed }
        }
        BuildState::Canceling => Explanation::Canceling { coordinator, reference, answer },
        BuildState::Canceled if build.is_unwanted => Explanation::Superseded { answer },
        BuildState::Canceled => Explanation::Canceled,
    }
}

impl Explanation<'_> {
    /// The word for the rule that decided.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::EvaluationFailed { .. } => "evaluation-failed",
            Self::NotScheduled { .. } => "not-scheduled",
            Self::Blocked(_) => "blocked",
            Self::CoordinatorGone { .. } => "coordinator-gone",
            Self::Waiting { wait, .. } => match wait {
                Wait::Substitutes => "looking-up",
                Wait::Approval(_) => "awaiting-approval",
                Wait::NoCoordinator => "unserved",
                Wait::Answer(_) => "in-doubt",
                Wait::Resumption(_) => "paused",
                Wait::OtherBuilds(_) => "new-outputs",
            },
            Self::Known { .. } => "known",
            Self::Substituted { .. } => "substituted",
            Self::Submitted { .. } => "submitted",
            Self::Building { .. } => "building",
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Rejected { .. } => "rejected",
            Self::OtherFailed => "other-failed",
            Self::Canceling { .. } => "canceling",
            Self::Superseded { .. } => "superseded",
            Self::Canceled => "canceled",
        }
    }
}

#[cfg(test)]
mod tests;
