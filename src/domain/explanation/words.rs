//! The sentences of explanations.

use std::fmt::{Display, Formatter, Result};

use super::{Cause, Coordinator, Explanation, Origin, Paused, Reference, Wait};
use crate::domain::spec::RetryFailed;

impl Display for Origin<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "evaluation {} ({}, {})", self.evaluation, self.spec, self.revision.short())
    }
}

impl Display for Coordinator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.name() {
            Some(name) => write!(f, "the coordinator {name}"),
            None => write!(f, "the coordinator"),
        }
    }
}

impl Display for Reference<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.0.map_or(Ok(()), |name| write!(f, " as {name}"))
    }
}

impl Display for Explanation<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::EvaluationFailed { evaluation } => write!(f, "not queued: evaluation {evaluation} failed"),
            Self::NotScheduled { evaluation } => {
                write!(f, "not queued yet: evaluation {evaluation} found it just now")
            }
            Self::Blocked(Cause { job, spec, state }) => {
                write!(f, "blocked: it needs {job} of {spec}, which {}", state.word())
            }
            Self::CoordinatorGone { coordinator, reference } => gone(*coordinator, *reference, f),
            Self::Waiting { wait, origin } => waiting(*wait, origin, f),
            Self::Known { origin } => write!(
                f,
                "not queued: {origin} was the first evaluation of a spec that only records the builds of its first"
            ),
            Self::Substituted { server } => write!(f, "not queued: {server} has its outputs"),
            Self::Submitted { coordinator, reference, answer } => {
                write!(f, "{coordinator} has it{reference}: {answer}")
            }
            Self::Building { reference } => write!(f, "it is being built{reference}"),
            Self::Succeeded { reference } => write!(f, "not queued: it was built{reference}"),
            Self::Failed { reference, spec, retry_failed } => {
                write!(f, "not queued: its build{reference} failed; ")?;
                retried(spec, *retry_failed, f)
            }
            Self::Rejected { coordinator, answer } => write!(f, "{coordinator} rejected it: {answer}"),
            Self::OtherFailed => f.write_str(OTHER_FAILED),
            Self::Canceling { coordinator, reference, answer } => {
                write!(f, "unwanted: {answer}; {coordinator} is asked to cancel it{reference}")
            }
            Self::Superseded { answer } => {
                write!(f, "unwanted: {answer}; it is queued when a job wants it again")
            }
            Self::Canceled => f.write_str(CANCELED),
        }
    }
}

const OTHER_FAILED: &str = "not queued yet: its outputs could not be built with another derivation; its own is tried with the next plan";
const CANCELED: &str = "its build was canceled; it is queued when a new evaluation has it";

fn gone(coordinator: Coordinator<'_>, reference: Reference<'_>, f: &mut Formatter<'_>) -> Result {
    let name = coordinator.0.unwrap_or_default();
    write!(
        f,
        "{coordinator} may have it{reference}, but is no longer in gorget.toml (`gorget reassign {name}` gives its builds to others)"
    )
}

/// Writes what a build waits for, and why it is wanted.
fn waiting(wait: Wait<'_>, origin: &Origin<'_>, f: &mut Formatter<'_>) -> Result {
    match wait {
        Wait::Substitutes => {
            return write!(
                f,
                "not queued yet: its outputs were new in {origin}, and substitute servers are asked first"
            );
        }
        Wait::Approval(reason) => {
            let evaluation = origin.evaluation;
            write!(f, "awaits approval: {reason} (`gorget approve {evaluation}` has it built)")?;
        }
        Wait::NoCoordinator => f.write_str(
            "queued, but no coordinator serves it: [coordinators] in gorget.toml says which builds each gets",
        )?,
        Wait::Answer(coordinator) => write!(
            f,
            "queued: {coordinator} was asked for it and has not answered; Gorget looks for it there before asking again"
        )?,
        Wait::Resumption(Paused { kind, name, author }) => {
            let (what, option) = (format!("{kind} {name}"), format!("--{kind} {name}"));
            let (what, option) = (what.trim_end(), option.trim_end());
            write!(f, "queued, but {author} paused {what} (`gorget resume {option}` resumes it)")?;
        }
        // Written without a semicolon, because the origin is the whole reason.
        Wait::OtherBuilds(coordinator) => {
            let to = coordinator.name().map(|name| format!(" for {name}")).unwrap_or_default();
            return write!(f, "queued{to}: its outputs were new in {origin}");
        }
    }
    write!(f, "; its outputs were new in {origin}")
}

/// Writes when a failed build is queued again.
fn retried(spec: &str, retry_failed: RetryFailed, f: &mut Formatter<'_>) -> Result {
    match retry_failed {
        RetryFailed::Never => write!(f, "{spec} does not retry failed builds"),
        RetryFailed::Next => write!(f, "the next evaluation of {spec} queues it again"),
        RetryFailed::After(seconds) => {
            let span = crate::clock::readable_span(seconds);
            write!(f, "the first evaluation of {spec} that is complete {span} after that queues it again")
        }
    }
}
