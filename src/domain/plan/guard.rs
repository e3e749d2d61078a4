//! Which evaluations have to wait before their builds are queued.
//!
//! An evaluation waits when it has more new builds than its spec's budget, or when its spec is
//! staged and the first system is not done. Builds that the coordinator already has stay there;
//! these are no more than the budget.

/// The facts that decide whether the builds of an evaluation wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalInput {
    /// The spec's name.
    pub spec: String,
    /// Most new builds that the spec may queue with one evaluation; `None` for no limit.
    pub budget: Option<i64>,
    /// How many builds of the evaluation are to be built, or were built.
    pub builds: i64,
    /// Whether somebody has approved them.
    pub approved: bool,
    /// The system of the same revision that must be done first, and how many of its builds have not
    /// ended: `None` if its evaluation is not complete.
    pub before: Option<(String, Option<i64>)>,
}

/// Why the builds of an evaluation that are not at the coordinator must wait; `None` if they need
/// not.
pub fn awaits_approval(input: &ApprovalInput) -> Option<String> {
    if input.approved {
        return None;
    }
    if let Some(budget) = input.budget.filter(|budget| input.builds > *budget) {
        return Some(format!("more new builds than the budget of {}, which is {budget}", input.spec));
    }
    match &input.before {
        Some((system, open)) if *open != Some(0) => {
            Some(format!("{} is staged: {system} comes first", input.spec))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_awaits_approval_can_be_approved() {
        let free = ApprovalInput {
            spec: "master".to_owned(),
            budget: Some(10),
            builds: 10,
            approved: false,
            before: Some(("x86_64-linux".to_owned(), Some(0))),
        };
        assert_eq!(awaits_approval(&free), None);
        for (held, reason) in [
            (
                ApprovalInput { builds: 11, ..free.clone() },
                "more new builds than the budget of master, which is 10",
            ),
            (
                ApprovalInput { before: Some(("x86_64-linux".to_owned(), Some(3))), ..free.clone() },
                "master is staged: x86_64-linux comes first",
            ),
            (
                ApprovalInput { before: Some(("x86_64-linux".to_owned(), None)), ..free.clone() },
                "master is staged: x86_64-linux comes first",
            ),
        ] {
            assert_eq!(awaits_approval(&held).as_deref(), Some(reason));
            assert_eq!(awaits_approval(&ApprovalInput { approved: true, ..held }), None);
        }
        assert_eq!(
            awaits_approval(&ApprovalInput { budget: None, builds: 100_000, before: None, ..free }),
            None
        );
    }
}
