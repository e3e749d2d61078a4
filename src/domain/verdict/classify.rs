use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known of a job in one evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its outputs exist.
    Good,
    /// Its build failed.
    Failed,
    /// Something that its build needs failed.
    Blocked,
    /// Its build is on its way.
    Open,
    /// Its build awaits approval.
    AwaitingApproval,
    /// Nobody has it built, so nobody will know.
    Unwanted,
    /// It cannot be evaluated.
    Error,
    /// There is no such job.
    Absent,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Good,
        Self::Failed,
        Self::Blocked,
        Self::Open,
        Self::AwaitingApproval,
        Self::Unwanted,
        Self::Error,
        Self::Absent,
    ];

    /// Whether it cannot be built.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::Blocked)
    }

    /// Whether it is not known what comes of its build.
    pub fn is_unknown(self) -> bool {
        matches!(self, Self::Open | Self::AwaitingApproval | Self::Unwanted)
    }
}

/// How a job of a branch compares with the same job of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The base has it; the branch cannot evaluate it.
    NoLongerEvaluates,
    /// It builds on the base, and not on the branch.
    Regression,
    /// The base does not have it, and it does not build.
    NewBroken,
    /// It does not build on the branch, and nobody knows whether it builds on the base.
    Unattributed,
    /// It builds on neither.
    StillBroken,
    /// Nobody knows yet whether it builds on the branch.
    Unbuilt,
    /// It builds on the branch, and does not build on the base or cannot be evaluated there.
    Fixed,
    /// The base does not have it, and it builds.
    New,
    /// It builds on the branch, and nothing says that it does not build on the base.
    Rebuilt,
    /// The branch does not have it.
    Removed,
}

impl Class {
    /// All of them, those first that people look at first.
    pub const ALL: [Self; 10] = [
        Self::NoLongerEvaluates,
        Self::Regression,
        Self::NewBroken,
        Self::Unattributed,
        Self::StillBroken,
        Self::Unbuilt,
        Self::Fixed,
        Self::New,
        Self::Rebuilt,
        Self::Removed,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoLongerEvaluates => "no-longer-evaluates",
            Self::Regression => "regression",
            Self::NewBroken => "new-broken",
            Self::Unattributed => "unattributed",
            Self::StillBroken => "still-broken",
            Self::Unbuilt => "unbuilt",
            Self::Fixed => "fixed",
            Self::New => "new",
            Self::Rebuilt => "rebuilt",
            Self::Removed => "removed",
        }
    }

    /// Whether such a job cannot be built, so that a failed build is its cause.
    pub fn has_cause(self) -> bool {
        matches!(self, Self::Regression | Self::NewBroken | Self::Unattributed | Self::StillBroken)
    }
}

/// The class of a job whose outputs differ between base and branch. Nothing if neither has it.
pub fn classify(base: Outcome, branch: Outcome) -> Option<Class> {
    use Outcome::{Absent, Error, Good};
    Some(match (base, branch) {
        (Absent, Absent | Error) | (Error, Error) => return None,
        (_, Absent) => Class::Removed,
        (_, Error) => Class::NoLongerEvaluates,
        (Absent, Good) => Class::New,
        (_, branch) if branch.is_unknown() => Class::Unbuilt,
        (base, Good) if base.is_bad() || base == Error => Class::Fixed,
        (_, Good) => Class::Rebuilt,
        (Absent, _) => Class::NewBroken,
        (Good, _) => Class::Regression,
        (base, _) if base.is_unknown() => Class::Unattributed,
        _ => Class::StillBroken,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_builds_on_the_base_is_a_regression() {
        for base in Outcome::ALL {
            for branch in Outcome::ALL {
                let class = classify(base, branch);
                let is_regression = base == Outcome::Good && branch.is_bad();
                assert_eq!(class == Some(Class::Regression), is_regression, "{base:?} {branch:?}");
                // What is not known is never good, and never bad.
                if branch.is_unknown() {
                    assert_eq!(class, Some(Class::Unbuilt), "{base:?}");
                }
                if base.is_unknown() && branch.is_bad() {
                    assert_eq!(class, Some(Class::Unattributed));
                }
            }
        }
    }

    #[test]
    fn words_are_those_of_json() {
        for class in Class::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.word());
        }
    }
}
