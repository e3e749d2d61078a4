//! The states of a build, and the events that lead from one to another.
//!
//! SQL takes its lists of states from the predicates of `BuildState`. The stories of
//! `tests/it/schedules.rs` compare each change that either database makes with `transition`, and
//! `docs/builds.md` has the `diagram`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The state of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BuildState {
    /// The build is recorded and not queued.
    Known,
    /// The build is wanted. Substitute servers are asked for its outputs first.
    Pending,
    /// The build is to be queued once somebody has approved it.
    AwaitingApproval,
    /// A substitute server has the outputs.
    Substituted,
    /// The build waits to be submitted.
    Queued,
    /// The coordinator has the build.
    Submitted,
    /// The coordinator rejected the build.
    Rejected,
    /// An agent works on the build.
    Building,
    /// The build succeeded.
    Succeeded,
    /// The build failed.
    Failed,
    /// The build is no longer wanted, and the coordinator is to be told.
    Canceling,
    /// The build was canceled. It is queued again when it is wanted again.
    Canceled,
}

impl BuildState {
    /// All states, in the order in which people see them.
    pub const ALL: [Self; 12] = [
        Self::Pending,
        Self::AwaitingApproval,
        Self::Queued,
        Self::Submitted,
        Self::Building,
        Self::Succeeded,
        Self::Failed,
        Self::Canceling,
        Self::Canceled,
        Self::Rejected,
        Self::Substituted,
        Self::Known,
    ];

    /// The state's word, the same in the database, in JSON and for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Pending => "pending",
            Self::AwaitingApproval => "awaiting-approval",
            Self::Substituted => "substituted",
            Self::Queued => "queued",
            Self::Submitted => "submitted",
            Self::Rejected => "rejected",
            Self::Building => "building",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceling => "canceling",
            Self::Canceled => "canceled",
        }
    }

    /// Whether the build is wanted and has not ended.
    pub fn is_wanted(self) -> bool {
        use BuildState::{AwaitingApproval, Building, Pending, Queued, Submitted};
        matches!(self, Pending | AwaitingApproval | Queued | Submitted | Building)
    }

    /// Whether the build has not ended. In any other state, nothing more happens by itself.
    pub fn is_open(self) -> bool {
        self.is_wanted() || self == Self::Canceling
    }

    /// Whether the coordinator has taken the build and not given it up.
    pub fn is_submitted(self) -> bool {
        matches!(self, Self::Submitted | Self::Building)
    }

    /// Whether the build is to be built: it is queued, submitted or building.
    pub fn is_in_queue(self) -> bool {
        self == Self::Queued || self.is_submitted()
    }

    /// Whether the build is wanted and not being built yet.
    pub fn is_waiting(self) -> bool {
        self.is_wanted() && self != Self::Building
    }

    /// Whether the coordinator is to be told to build or to cancel it.
    pub fn is_in_outbox(self) -> bool {
        matches!(self, Self::Queued | Self::Canceling)
    }

    /// Whether a coordinator has the build, or is to be told something about it.
    pub fn is_routed(self) -> bool {
        self.is_submitted() || self.is_in_outbox()
    }

    /// Whether the outputs are wanted and do not exist yet.
    pub fn is_missing(self) -> bool {
        self.is_wanted() || self.has_failed()
    }

    /// Whether the build counts towards the budget that a spec may set for an evaluation.
    pub fn is_counted(self) -> bool {
        matches!(self, Self::AwaitingApproval | Self::Succeeded) || self.is_in_queue() || self.has_failed()
    }

    /// Whether the build failed or was rejected.
    pub fn has_failed(self) -> bool {
        matches!(self, Self::Failed | Self::Rejected)
    }
}

/// An event in the life of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A job wants the build, and substitute servers are asked first.
    Wanted,
    /// A job wants the build, and no substitute server is asked.
    WantedAtOnce,
    /// A substitute server has the outputs.
    Found,
    /// No substitute server has the outputs.
    NotFound,
    /// The build needs approval first.
    NeedsApproval,
    /// Somebody approved the build, or it is within the budget of another evaluation.
    Approved,
    /// No job wants the build any more, and no coordinator has been told of it.
    Unwanted,
    /// No job wants the build any more, and a coordinator may have it.
    CancelRequested,
    /// The coordinator rejected the build.
    Rejected,
    /// The coordinator has the build.
    Scheduled,
    /// An agent works on the build.
    Started,
    /// The build succeeded.
    Succeeded,
    /// The build failed.
    Failed,
    /// The coordinator canceled the build, or has nothing to cancel.
    Canceled,
    /// The coordinator lost the build, or its agent is to blame for the failure.
    Lost,
}

impl Event {
    /// All events.
    pub const ALL: [Self; 15] = [
        Self::Wanted,
        Self::WantedAtOnce,
        Self::Found,
        Self::NotFound,
        Self::NeedsApproval,
        Self::Approved,
        Self::Unwanted,
        Self::CancelRequested,
        Self::Rejected,
        Self::Scheduled,
        Self::Started,
        Self::Succeeded,
        Self::Failed,
        Self::Canceled,
        Self::Lost,
    ];

    /// The event's label in the diagram.
    fn word(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::WantedAtOnce => "wanted at once",
            Self::Found => "found",
            Self::NotFound => "not found",
            Self::NeedsApproval => "over budget",
            Self::Approved => "approved",
            Self::Unwanted | Self::CancelRequested => "unwanted",
            Self::Rejected => "rejected",
            Self::Scheduled => "scheduled",
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Lost => "lost",
        }
    }
}

/// The state of a build after an event; `None` if the event changes nothing. What a coordinator
/// reports counts in any state, because somebody else may have the same outputs built there. But no
/// event undoes a success.
#[expect(clippy::match_same_arms, reason = "the order of the rules is that in which they are understood")]
pub fn transition(state: BuildState, event: Event) -> Option<BuildState> {
    use BuildState as S;
    use Event as E;
    let after = match (state, event) {
        (S::Canceling, E::Wanted | E::WantedAtOnce) => S::Queued,
        (S::Submitted | S::Building | S::Succeeded | S::Queued, E::Wanted | E::WantedAtOnce) => return None,
        (_, E::Wanted) => S::Pending,
        (S::Pending, E::NotFound) | (S::AwaitingApproval, E::Approved) | (_, E::WantedAtOnce) => S::Queued,
        (S::Pending, E::Found) => S::Substituted,
        (S::Queued, E::NeedsApproval) => S::AwaitingApproval,
        (S::Pending | S::AwaitingApproval | S::Queued, E::Unwanted) => S::Canceled,
        (S::Queued | S::Submitted | S::Building, E::CancelRequested) => S::Canceling,
        (S::Queued, E::Rejected) => S::Rejected,
        (_, E::Succeeded) => S::Succeeded,
        (S::Succeeded, _) | (S::Canceling, E::Scheduled | E::Started) => return None,
        (_, E::Scheduled) => S::Submitted,
        (_, E::Started) => S::Building,
        (_, E::Failed) => S::Failed,
        (S::Canceling, E::Canceled | E::Lost) => S::Canceled,
        (S::Queued | S::Submitted | S::Building | S::Failed, E::Canceled) => S::Canceled,
        (S::Submitted | S::Building | S::Failed | S::Pending | S::AwaitingApproval, E::Lost) => S::Queued,
        _ => return None,
    };
    (after != state).then_some(after)
}

/// The transitions as a Mermaid diagram. It leaves out what a coordinator reports of builds that it
/// was not given.
pub fn diagram() -> String {
    let mut edges: BTreeMap<(usize, usize), Vec<&str>> = BTreeMap::new();
    let place = |state| BuildState::ALL.iter().position(|other| *other == state).unwrap_or_default();
    for state in BuildState::ALL {
        let is_given = state.is_in_queue() || state == BuildState::Canceling;
        let is_report =
            |event| matches!(event, Event::Scheduled | Event::Started | Event::Succeeded | Event::Failed);
        for event in Event::ALL {
            if let Some(after) = transition(state, event).filter(|_| is_given || !is_report(event)) {
                let words = edges.entry((place(state), place(after))).or_default();
                if !words.contains(&event.word()) {
                    words.push(event.word());
                }
            }
        }
    }
    // Mermaid allows no hyphen in the name of a state.
    let name = |state: BuildState| state.word().replace('-', "_");
    let mut text = "stateDiagram-v2\n".to_owned();
    let _ = writeln!(text, "    awaiting_approval: {}", BuildState::AwaitingApproval.word());
    for first in [BuildState::Known, BuildState::Pending, BuildState::Queued] {
        let _ = writeln!(text, "    [*] --> {}", name(first));
    }
    for ((before, after), words) in edges {
        let (before, after) = (name(BuildState::ALL[before]), name(BuildState::ALL[after]));
        let _ = writeln!(text, "    {before} --> {after}: {}", words.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    proptest! {
        #[test]
        fn nothing_undoes_a_success_and_whatever_is_wanted_again_is_made(
            events in prop::collection::vec(select(&Event::ALL[..]), 0..30)
        ) {
            let mut state = BuildState::Pending;
            for event in events {
                let after = transition(state, event).unwrap_or(state);
                prop_assert!(state != BuildState::Succeeded || after == state, "{state:?} {event:?}");
                state = after;
            }
            let wanted = transition(state, Event::Wanted).unwrap_or(state);
            prop_assert!(wanted.is_wanted() || wanted == BuildState::Succeeded, "{state:?}");
        }
    }

    #[test]
    fn a_state_is_called_the_same_everywhere() {
        for state in BuildState::ALL {
            assert_eq!(serde_json::json!(state), state.word());
        }
    }
}
