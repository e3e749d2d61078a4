/// What a machine does for the farm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Role {
    /// Evaluates what was asked for
    Evaluate,
    /// Watches, plans, submits and serves
    Schedule,
    /// Both
    #[default]
    All,
}

impl Role {
    pub(super) fn evaluates(self) -> bool {
        self != Self::Schedule
    }

    pub(super) fn schedules(self) -> bool {
        self != Self::Evaluate
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Evaluate => "evaluate",
            Self::Schedule => "schedule",
            Self::All => "evaluate schedule",
        }
    }
}
