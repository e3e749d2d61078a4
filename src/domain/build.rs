//! How far a build is: its states, and which event leads from one to another.
//!
//! SQL takes its lists of states from the predicates of `BuildState`. The stories of
//! `tests/it/schedules.rs` compare each change that either database makes with `transition`, and
//! `docs/builds.md` has the `diagram`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuildState {
    /// It is recorded, and nobody asks for it.
    Known,
    /// It is to be queued, unless substitute servers have it: they are to be asked.
    Pending,
    /// It is to be queued, once somebody has approved that.
    AwaitingApproval,
    /// A substitute server has it.
    Substituted,
    /// It is to be submitted.
    Queued,
    /// The coordinator has it.
    Submitted,
    /// The coordinator rejected it.
    Rejected,
    /// An agent works on it.
    Building,
    /// It was built.
    Succeeded,
    /// It cannot be built.
    Failed,
    /// Nobody wants it any more, and the coordinator is to be told.
    Canceling,
    /// It was canceled, and is queued when it is wanted again.
    Canceled,
}

impl BuildState {
    /// All of them, in the order in which people are shown them.
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

    /// The word for it, the same in the database, in JSON and for people.
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

    /// Whether it is wanted and not at its end.
    pub fn is_wanted(self) -> bool {
        use BuildState::{AwaitingApproval, Building, Pending, Queued, Submitted};
        matches!(self, Pending | AwaitingApproval | Queued | Submitted | Building)
    }

    /// Whether it is not at its end: in any other state, nothing more happens by itself.
    pub fn is_open(self) -> bool {
        self.is_wanted() || self == Self::Canceling
    }

    /// Whether its coordinator has taken it, and has not given it up.
    pub fn is_submitted(self) -> bool {
        matches!(self, Self::Submitted | Self::Building)
    }

    /// Whether it is wanted and to be made, without having been found at a substitute server.
    pub fn is_in_queue(self) -> bool {
        self == Self::Queued || self.is_submitted()
    }

    /// Whether it is wanted, and nobody works on it yet.
    pub fn is_waiting(self) -> bool {
        self.is_wanted() && self != Self::Building
    }

    /// Whether its coordinator is to be told to build or to cancel it.
    pub fn is_in_outbox(self) -> bool {
        matches!(self, Self::Queued | Self::Canceling)
    }

    /// Whether a coordinator has it, or is to be told something about it.
    pub fn is_routed(self) -> bool {
        self.is_submitted() || self.is_in_outbox()
    }

    /// Whether somebody wants its outputs, and nobody has them.
    pub fn is_missing(self) -> bool {
        self.is_wanted() || self.has_failed()
    }

    /// Whether it counts as one of the builds of its evaluation, for which a spec may have a budget.
    pub fn is_counted(self) -> bool {
        matches!(self, Self::AwaitingApproval | Self::Succeeded) || self.is_in_queue() || self.has_failed()
    }

    /// Whether it came to nothing.
    pub fn has_failed(self) -> bool {
        matches!(self, Self::Failed | Self::Rejected)
    }
}

/// What happens to a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A job wants it, and substitute servers are asked first.
    Wanted,
    /// A job wants it, and no substitute server is asked.
    WantedAtOnce,
    /// A substitute server has it.
    Found,
    /// No substitute server has it.
    NotFound,
    /// Somebody has to approve it first.
    Held,
    /// Somebody approved it, or it is within the budget of another evaluation.
    Approved,
    /// No job wants it any more, and no coordinator has heard of it.
    Dropped,
    /// No job wants it any more, and a coordinator may have it.
    CancelRequested,
    /// The coordinator rejected it.
    Rejected,
    /// The coordinator has it.
    Scheduled,
    /// An agent works on it.
    Started,
    /// It was built.
    Succeeded,
    /// It failed.
    Failed,
    /// The coordinator canceled it, or has nothing to cancel.
    Canceled,
    /// The coordinator lost it, or its agent is to blame for its failure.
    Lost,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Wanted,
        Self::WantedAtOnce,
        Self::Found,
        Self::NotFound,
        Self::Held,
        Self::Approved,
        Self::Dropped,
        Self::CancelRequested,
        Self::Rejected,
        Self::Scheduled,
        Self::Started,
        Self::Succeeded,
        Self::Failed,
        Self::Canceled,
        Self::Lost,
    ];

    /// What it is called in the diagram.
    fn word(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::WantedAtOnce => "wanted at once",
            Self::Found => "found",
            Self::NotFound => "not found",
            Self::Held => "over budget",
            Self::Approved => "approved",
            Self::Dropped | Self::CancelRequested => "unwanted",
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

/// The state of a build after an event, if that changes it. What a coordinator reports counts in any state,
/// since somebody else may have the same outputs built there; but nothing undoes a success.
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
        (S::Queued, E::Held) => S::AwaitingApproval,
        (S::Pending | S::AwaitingApproval | S::Queued, E::Dropped) => S::Canceled,
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

/// The transitions as a diagram that Mermaid draws. What a coordinator reports of builds that it was not given
/// is left out.
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
    // Mermaid takes no hyphen in the name of a state.
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
