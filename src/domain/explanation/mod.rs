//! Why a job is queued, or is not: the rule that decided, with what a person has to know of it.
//!
//! `explain` looks at the facts and gives an `Explanation`. That has a word for programs
//! (`Explanation::rule`) and a sentence for people (its text). The first rule that holds decides: a
//! failed input comes before the state of the build, since nothing else can happen before.

mod words;

use crate::domain::build::BuildState;
use crate::domain::plan::route::DEFAULT;
use crate::domain::revision::Revision;
use crate::domain::spec::RetryFailed;

/// What is known of a job.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The spec that has it.
    pub spec: &'a str,
    /// When that has failed builds queued again.
    pub retry_failed: RetryFailed,
    /// The evaluation since which the job has its derivation.
    pub evaluation: i64,
    /// Whether that evaluation failed.
    pub evaluation_failed: bool,
    /// Whether the newest evaluation has the job with this derivation.
    pub is_current: bool,
    /// The build of its outputs.
    pub build: Option<BuildFacts<'a>>,
}

/// What is known of the build of a job's outputs.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct BuildFacts<'a> {
    /// Its state.
    pub state: BuildState,
    /// What wanted it first.
    pub origin: Origin<'a>,
    /// The coordinator that has it, or is to get it: empty if none serves it.
    pub coordinator: Coordinator<'a>,
    /// Whether that coordinator may have the build and is not in the configuration any more.
    pub is_gone: bool,
    /// Whether that coordinator was asked and did not answer.
    pub in_doubt: bool,
    /// What keeps it from being submitted: somebody paused that.
    pub paused: Option<Paused<'a>>,
    /// Whether nobody wants it any more.
    pub is_unwanted: bool,
    /// Whether it failed with the derivation of this job.
    pub has_failed: bool,
    /// The coordinator's name for it.
    pub reference: Reference<'a>,
    /// What the coordinator said last, or what else explains the state.
    pub answer: Option<&'a str>,
    /// What failed and is needed for it.
    pub cause: Option<Cause<'a>>,
}

/// The evaluation in which outputs were new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Its number.
    pub evaluation: i64,
    /// Its spec.
    pub spec: &'a str,
    /// Its revision.
    pub revision: &'a Revision,
}

/// A coordinator by its name. Where there is only one, that has no name of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coordinator<'a>(pub Option<&'a str>);

impl<'a> Coordinator<'a> {
    fn name(self) -> Option<&'a str> {
        self.0.filter(|name| !["", DEFAULT].contains(name))
    }
}

/// A coordinator's name for a build, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'a>(pub Option<&'a str>);

/// A build that failed, or was rejected, and that another one needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause<'a> {
    /// Its job.
    pub job: &'a str,
    /// The spec of that.
    pub spec: &'a str,
    /// Its state.
    pub state: BuildState,
}

/// Something that somebody stopped for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paused<'a> {
    /// `spec`, `system` or `submission`.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Who did that.
    pub author: &'a str,
}

/// What a build waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait<'a> {
    /// Substitute servers are asked first.
    Substitutes,
    /// Somebody has to approve it, for this reason.
    Approval(&'a str),
    /// No coordinator serves it.
    Service,
    /// The coordinator was asked and did not answer.
    Answer(Coordinator<'a>),
    /// Somebody has to resume what keeps it from being submitted.
    Resumption(Paused<'a>),
    /// The coordinator gets others first.
    Turn(Coordinator<'a>),
}

/// Why a job is queued, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of fields say what they are")]
pub enum Explanation<'a> {
    /// The evaluation that found it failed, so nothing of it is queued.
    EvaluationFailed { evaluation: i64 },
    /// The evaluation found it just now.
    NotScheduled { evaluation: i64 },
    /// The build needs what failed.
    Blocked(Cause<'a>),
    /// The build's coordinator is not in the configuration any more.
    CoordinatorGone { coordinator: Coordinator<'a>, reference: Reference<'a> },
    /// The build is wanted, and no coordinator has it yet.
    Waiting { wait: Wait<'a>, origin: Origin<'a> },
    /// The spec takes the builds of its first evaluation for known.
    Known { origin: Origin<'a> },
    /// A substitute server has the outputs.
    Substituted { server: &'a str },
    /// The coordinator has the build.
    Submitted { coordinator: Coordinator<'a>, reference: Reference<'a>, answer: &'a str },
    /// The build is being made.
    Building { reference: Reference<'a> },
    /// The build was made.
    Succeeded { reference: Reference<'a> },
    /// The build failed.
    Failed { reference: Reference<'a>, spec: &'a str, retry_failed: RetryFailed },
    /// The coordinator rejected the build.
    Rejected { coordinator: Coordinator<'a>, answer: &'a str },
    /// The build failed with another derivation, and this job's own is tried next.
    OtherFailed,
    /// The coordinator is asked to cancel the build.
    Canceling { coordinator: Coordinator<'a>, reference: Reference<'a>, answer: &'a str },
    /// The build was canceled because nobody wanted it any more.
    Superseded { answer: &'a str },
    /// The build was canceled for another reason.
    Canceled,
}

/// The explanation that follows from the facts.
pub fn explain<'a>(facts: &Facts<'a>) -> Explanation<'a> {
    let evaluation = facts.evaluation;
    let Some(build) = facts.build else {
        return if facts.evaluation_failed {
            Explanation::EvaluationFailed { evaluation }
        } else {
            Explanation::NotScheduled { evaluation }
        };
    };
    let BuildFacts { coordinator, reference, .. } = build;
    if let Some(cause) = build.cause {
        return Explanation::Blocked(cause);
    }
    if build.is_gone {
        return Explanation::CoordinatorGone { coordinator, reference };
    }
    of_state(facts, &build)
}

/// The explanation that follows from the state of the build.
fn of_state<'a>(facts: &Facts<'a>, build: &BuildFacts<'a>) -> Explanation<'a> {
    let &BuildFacts { state, origin, coordinator, reference, .. } = build;
    let answer = build.answer.unwrap_or("nothing");
    let waiting = |wait| Explanation::Waiting { wait, origin };
    match state {
        BuildState::Known => Explanation::Known { origin },
        BuildState::Pending => waiting(Wait::Substitutes),
        BuildState::AwaitingApproval => waiting(Wait::Approval(answer)),
        BuildState::Queued if coordinator.0 == Some("") => waiting(Wait::Service),
        BuildState::Queued if build.in_doubt => waiting(Wait::Answer(coordinator)),
        BuildState::Queued => waiting(build.paused.map_or(Wait::Turn(coordinator), Wait::Resumption)),
        BuildState::Substituted => Explanation::Substituted { server: answer },
        BuildState::Submitted => Explanation::Submitted { coordinator, reference, answer },
        BuildState::Building => Explanation::Building { reference },
        BuildState::Succeeded => Explanation::Succeeded { reference },
        BuildState::Rejected | BuildState::Failed if facts.is_current && !build.has_failed => {
            Explanation::OtherFailed
        }
        BuildState::Rejected => Explanation::Rejected { coordinator, answer },
        BuildState::Failed => {
            let (spec, retry_failed) = (facts.spec, facts.retry_failed);
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
                Wait::Service => "unserved",
                Wait::Answer(_) => "in-doubt",
                Wait::Resumption(_) => "paused",
                Wait::Turn(_) => "new-outputs",
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
