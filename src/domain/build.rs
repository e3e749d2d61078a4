//! How far a build is, and the sets of states that queries ask for.
//!
//! SQL takes its lists of states from the macros here, which a test compares with the predicates of
//! [`BuildState`].

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, sqlx::Type)]
#[serde(rename_all = "kebab-case")]
#[sqlx(type_name = "text", rename_all = "kebab-case")]
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

    /// Whether it came to nothing.
    pub fn has_failed(self) -> bool {
        matches!(self, Self::Failed | Self::Rejected)
    }
}

/// SQL for [`BuildState::is_wanted`].
macro_rules! wanted_states {
    () => {
        "('pending', 'awaiting-approval', 'queued', 'submitted', 'building')"
    };
}

/// SQL for [`BuildState::is_open`].
macro_rules! open_states {
    () => {
        "('pending', 'awaiting-approval', 'queued', 'submitted', 'building', 'canceling')"
    };
}

/// SQL for [`BuildState::is_submitted`].
macro_rules! submitted_states {
    () => {
        "('submitted', 'building')"
    };
}

/// SQL for [`BuildState::is_in_queue`].
macro_rules! in_queue_states {
    () => {
        "('queued', 'submitted', 'building')"
    };
}

/// SQL for [`BuildState::is_waiting`].
macro_rules! waiting_states {
    () => {
        "('pending', 'awaiting-approval', 'queued', 'submitted')"
    };
}

/// SQL for [`BuildState::has_failed`].
macro_rules! failed_states {
    () => {
        "('failed', 'rejected')"
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The states in a list as SQL writes it.
    fn listed(sql: &str) -> Vec<&str> {
        sql.trim_matches(['(', ')']).split(", ").map(|word| word.trim_matches('\'')).collect()
    }

    #[test]
    fn lists_of_states_are_those_of_the_predicates() {
        for (sql, is_in) in [
            (wanted_states!(), BuildState::is_wanted as fn(BuildState) -> bool),
            (open_states!(), BuildState::is_open),
            (submitted_states!(), BuildState::is_submitted),
            (in_queue_states!(), BuildState::is_in_queue),
            (waiting_states!(), BuildState::is_waiting),
            (failed_states!(), BuildState::has_failed),
        ] {
            let expected: Vec<_> =
                BuildState::ALL.into_iter().filter(|state| is_in(*state)).map(BuildState::word).collect();
            assert_eq!(listed(sql), expected);
        }
    }

    #[test]
    fn a_state_is_called_the_same_everywhere() {
        for state in BuildState::ALL {
            assert_eq!(serde_json::json!(state), state.word());
        }
    }
}
