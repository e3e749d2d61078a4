use std::collections::BTreeSet;

use super::{Class, Outcome, Reason, Waiver, Word, classify};

/// All that a verdict is made from.
#[derive(Debug, Clone, Default)]
pub struct VerdictInput {
    /// Why the spec is not evaluated.
    pub block: Option<(Block, String)>,
    /// The share of changed jobs, in percent, of which it has to be known whether they build.
    pub known: u32,
    /// Why nobody looks for newer commits of the branch.
    pub unwatched: Option<String>,
    /// Why a pause keeps the branch from being evaluated or built for any system.
    pub paused: Option<String>,
    /// Each system of the spec.
    pub systems: Vec<SystemInput>,
    /// What somebody answers for.
    pub waivers: Vec<Waiver>,
}

/// What keeps a spec from being evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// A commit is not authentic, or a channel describes itself wrongly.
    Branch,
    /// Somebody has to decide.
    Person,
    /// Something failed, and is tried again.
    Machine,
}

/// What is known for one system.
#[derive(Debug, Clone)]
pub struct SystemInput {
    /// Its name.
    pub system: String,
    /// Whether the branch has to do well on it.
    pub required: bool,
    /// Whether a newer revision of the branch is on its way.
    pub newer: bool,
    /// Why a pause keeps the system from being evaluated or built.
    pub paused: Option<String>,
    /// How far its evaluation is.
    pub state: SystemState,
}

/// How far the evaluations of a branch and its base are for a system.
#[derive(Debug, Clone)]
pub enum SystemState {
    /// The branch was not evaluated yet.
    NotEvaluated,
    /// Its newest evaluation failed.
    Failed {
        /// Why.
        reason: String,
        /// Whether the newest evaluation of the base failed as well.
        base_failed: bool,
    },
    /// There is nothing to compare it with, and why.
    NoBase(String),
    /// Both are complete.
    Compared(Compared),
}

/// A complete evaluation of a branch beside one of its base.
#[derive(Debug, Clone, Default)]
pub struct Compared {
    /// Whether modules of the branch did not load.
    pub partial: bool,
    /// Whether modules of the base did not load.
    pub base_partial: bool,
    /// Errors that the base does not have.
    pub new_errors: Vec<String>,
    /// Sets of which nobody knows what belongs to them.
    pub unknown_sets: Vec<String>,
    /// The jobs whose outputs differ.
    pub jobs: Vec<ChangedJob>,
}

/// A job whose outputs differ between base and branch.
#[derive(Debug, Clone)]
pub struct ChangedJob {
    /// Its name.
    pub name: String,
    /// What is known of it on the base.
    pub base: Outcome,
    /// What is known of it on the branch.
    pub branch: Outcome,
    /// Whether it belongs to a set, of which everything has to be known.
    pub in_set: bool,
}

impl ChangedJob {
    fn name(&self) -> &str {
        &self.name
    }

    /// How the branch compares with the base.
    pub fn class(&self) -> Option<Class> {
        classify(self.base, self.branch)
    }
}

/// The reasons for a verdict, the worst first.
pub fn reasons(input: &VerdictInput) -> Vec<Reason> {
    let mut all = Vec::new();
    if let Some((block, text)) = &input.block {
        let (code, word) = match block {
            Block::Branch => ("not-authentic", Word::MustChange),
            Block::Person => ("blocked", Word::NeedsAction),
            Block::Machine => ("not-fetched", Word::Unknown),
        };
        all.push(Reason { code: code.to_owned(), count: 0, system: None, text: text.clone(), word });
    }
    if let Some(text) = &input.paused {
        let (code, text) = ("paused".to_owned(), text.clone());
        all.push(Reason { code, count: 0, system: None, text, word: Word::NeedsAction });
    }
    if let Some(text) = &input.unwatched {
        let (code, text) = ("not-watched".to_owned(), text.clone());
        all.push(Reason { code, count: 0, system: None, text, word: Word::Unknown });
    }
    if input.systems.iter().all(|system| !system.required) {
        let text = "no system is required, so nothing is judged".to_owned();
        let code = "nothing-required".to_owned();
        all.push(Reason { code, count: 0, system: None, text, word: Word::Unknown });
    }
    for system in &input.systems {
        let mut found = SystemReasons { system, waivers: &input.waivers, waived: 0, reasons: Vec::new() };
        found.look(input.known);
        all.append(&mut found.reasons);
    }
    all.sort_by_key(|reason| reason.word);
    all
}

/// Collects the reasons of one system.
struct SystemReasons<'a> {
    system: &'a SystemInput,
    waivers: &'a [Waiver],
    /// How many jobs do not count because of waivers.
    waived: usize,
    reasons: Vec<Reason>,
}

impl SystemReasons<'_> {
    /// Adds a reason. On a system that is not required, it is only said.
    fn add(&mut self, code: &str, word: Word, count: usize, text: String) {
        let word = if self.system.required { word } else { Word::Ready };
        let (code, system) = (code.to_owned(), Some(self.system.system.clone()));
        self.reasons.push(Reason { code, count, system, text, word });
    }

    fn look(&mut self, known: u32) {
        let system = self.system;
        if let Some(text) = &system.paused {
            self.add("paused", Word::NeedsAction, 0, text.clone());
        }
        if system.newer && !matches!(system.state, SystemState::NotEvaluated) {
            let text = "a newer revision of the branch is not evaluated yet".to_owned();
            self.add("newer-revision", Word::Waiting, 0, text);
        }
        match &system.state {
            SystemState::NotEvaluated => {
                let text = "the branch is not evaluated yet".to_owned();
                self.add("not-evaluated", Word::Waiting, 0, text);
            }
            SystemState::Failed { reason, base_failed } => {
                let (word, tail) = if *base_failed {
                    (Word::Unknown, ", as that of the base did")
                } else {
                    (Word::MustChange, "")
                };
                let text = format!("the evaluation of the branch failed{tail}: {reason}");
                self.add("evaluation-failed", word, 0, text);
            }
            SystemState::NoBase(reason) => self.add("base-unknown", Word::Unknown, 0, reason.clone()),
            SystemState::Compared(compared) => {
                self.evaluations(compared);
                self.broken(compared);
                self.unbuilt(compared, known);
            }
        }
        if self.waived > 0 {
            let text = format!("{} not count because of waivers", verb(self.waived, "job does", "jobs do"));
            self.add("waived", Word::Ready, self.waived, text);
        }
    }

    /// Those of the jobs that count for a reason; the others are waived.
    fn counted<'b, T>(
        &mut self,
        reason: &str,
        jobs: impl Iterator<Item = &'b T>,
        name: fn(&T) -> &str,
    ) -> Vec<&'b T> {
        let is_waived = |job: &&T| {
            self.waivers.iter().any(|waiver| waiver.covers(reason, &self.system.system, name(job)))
        };
        let (waived, counted): (Vec<&T>, Vec<&T>) = jobs.partition(is_waived);
        self.waived += waived.len();
        counted
    }

    /// What the evaluations themselves say.
    fn evaluations(&mut self, compared: &Compared) {
        if compared.partial {
            let (word, tail) = if compared.base_partial {
                (Word::Unknown, ", nor do modules of the base")
            } else {
                (Word::MustChange, "")
            };
            let text = format!("modules of the branch do not load{tail}: its jobs are not all known");
            self.add("partial", word, 0, text);
        }
        // Of several versions with one name, one may have been an error before.
        let lost = compared.jobs.iter().filter(|job| job.class() == Some(Class::NoLongerEvaluates));
        let names: BTreeSet<&str> =
            compared.new_errors.iter().map(String::as_str).chain(lost.map(ChangedJob::name)).collect();
        let errors = self.counted("evaluation-errors", names.iter(), |name| name).len();
        if errors > 0 {
            let text = format!(
                "{} that the base does not have",
                verb(errors, "evaluation error", "evaluation errors")
            );
            self.add("evaluation-errors", Word::MustChange, errors, text);
        }
        if !compared.unknown_sets.is_empty() {
            let names = compared.unknown_sets.join(", ");
            let text = format!("these sets have no complete evaluation: {names}");
            self.add("set-unknown", Word::Unknown, 0, text);
        }
    }

    /// What cannot be built.
    fn broken(&mut self, compared: &Compared) {
        let of = |class| compared.jobs.iter().filter(move |job| job.class() == Some(class));
        let regressions = self.counted("regressions", of(Class::Regression), ChangedJob::name).len();
        if regressions > 0 {
            let text = format!(
                "{} on the base, and not on the branch",
                verb(regressions, "job builds", "jobs build")
            );
            self.add("regressions", Word::MustChange, regressions, text);
        }
        let new = self.counted("new-broken", of(Class::NewBroken), ChangedJob::name).len();
        if new > 0 {
            let text = format!("{} not build", verb(new, "new job does", "new jobs do"));
            self.add("new-broken", Word::NeedsAction, new, text);
        }
        let unattributed = self.counted("unattributed", of(Class::Unattributed), ChangedJob::name);
        if !unattributed.is_empty() {
            // Only a build that is on its way can end the wait.
            let waits = unattributed.iter().all(|job| job.base == Outcome::Open);
            let unattributed = unattributed.len();
            let word = if waits { Word::Waiting } else { Word::Unknown };
            let text = format!(
                "{} not build on the branch; whether the base builds them is not known yet",
                verb(unattributed, "job does", "jobs do")
            );
            self.add("unattributed", word, unattributed, text);
        }
    }

    /// What is not known to build.
    fn unbuilt(&mut self, compared: &Compared, known: u32) {
        let unbuilt: Vec<&ChangedJob> =
            compared.jobs.iter().filter(|job| job.class() == Some(Class::Unbuilt)).collect();
        let held = unbuilt.iter().filter(|job| job.branch == Outcome::AwaitingApproval).count();
        if held > 0 {
            let text = format!("{} approval", verb(held, "build awaits", "builds await"));
            self.add("awaiting-approval", Word::NeedsAction, held, text);
        }
        let judged =
            compared.jobs.iter().filter(|job| job.class().is_some_and(|class| class != Class::Removed));
        let allowed = judged.count() * (100 - known.min(100) as usize) / 100;
        let is_within = unbuilt.len() <= allowed && unbuilt.iter().all(|job| !job.in_set);
        let said = |word| if is_within { Word::Ready } else { word };
        let never = unbuilt.iter().filter(|job| job.branch == Outcome::Unwanted).count();
        if never > 0 {
            let text = format!("{} queued", verb(never, "job is not", "jobs are not"));
            self.add("not-queued", said(Word::Unknown), never, text);
        }
        let open = unbuilt.iter().filter(|job| job.branch == Outcome::Open).count();
        if open > 0 {
            let text = format!("{} built yet", verb(open, "job is not", "jobs are not"));
            self.add("unbuilt", said(Word::Waiting), open, text);
        }
    }
}

fn verb(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::word;
    use super::*;

    fn job(base: Outcome, branch: Outcome, in_set: bool) -> ChangedJob {
        ChangedJob { name: "a.x86_64-linux".to_owned(), base, branch, in_set }
    }

    fn input(jobs: Vec<ChangedJob>) -> VerdictInput {
        let state = SystemState::Compared(Compared { jobs, ..Compared::default() });
        let (system, paused) = ("x86_64-linux".into(), None);
        let system = SystemInput { system, required: true, newer: false, paused, state };
        VerdictInput { known: 98, systems: vec![system], ..VerdictInput::default() }
    }

    fn judged(jobs: Vec<ChangedJob>) -> (Word, Vec<String>) {
        let reasons = reasons(&input(jobs));
        (word(&reasons), reasons.into_iter().map(|reason| reason.code).collect())
    }

    #[test]
    fn each_reason_has_its_word_and_the_worst_one_counts() {
        use Outcome::{Absent, AwaitingApproval, Blocked, Failed, Good, Open, Unwanted};
        for (base, branch, expected, code) in [
            (Good, Failed, Word::MustChange, "regressions"),
            (Good, Blocked, Word::MustChange, "regressions"),
            (Absent, Failed, Word::NeedsAction, "new-broken"),
            (Open, Failed, Word::Waiting, "unattributed"),
            (Unwanted, Failed, Word::Unknown, "unattributed"),
            (Good, Open, Word::Waiting, "unbuilt"),
            (Good, AwaitingApproval, Word::NeedsAction, "awaiting-approval"),
            (Good, Unwanted, Word::Unknown, "not-queued"),
        ] {
            let (word, codes) = judged(vec![job(base, branch, false), job(Good, Good, false)]);
            assert_eq!((word, codes[0].as_str()), (expected, code), "{base:?} {branch:?}");
        }
        for good in [(Good, Good), (Failed, Failed), (Failed, Good), (Absent, Good), (Good, Absent)] {
            assert_eq!(judged(vec![job(good.0, good.1, true)]), (Word::Ready, vec![]), "{good:?}");
        }
        let both = vec![job(Good, Open, false), job(Good, Failed, false)];
        assert_eq!(judged(both).0, Word::MustChange);
    }

    #[test]
    fn a_few_unbuilt_jobs_hold_nothing_up_unless_they_are_in_a_set() {
        let mut jobs = vec![job(Outcome::Good, Outcome::Good, false); 98];
        jobs.push(job(Outcome::Good, Outcome::Open, false));
        jobs.push(job(Outcome::Good, Outcome::Unwanted, false));
        assert_eq!(judged(jobs.clone()), (Word::Ready, vec!["not-queued".into(), "unbuilt".into()]));
        jobs[99].in_set = true;
        assert_eq!(judged(jobs.clone()).0, Word::Unknown);
        jobs[99].in_set = false;
        jobs.push(job(Outcome::Good, Outcome::Open, false));
        assert_eq!(judged(jobs).0, Word::Unknown, "3 of 101 are more than 2 in a hundred");
    }

    #[test]
    fn what_somebody_answers_for_does_not_count_and_is_said() {
        let waiver = |reason: &str| Waiver { reason: reason.into(), job: "a.*".into(), system: None };
        let mut input = input(vec![job(Outcome::Good, Outcome::Failed, true)]);
        input.waivers = vec![waiver("new-broken")];
        assert_eq!(word(&reasons(&input)), Word::MustChange);
        input.waivers.push(waiver("regressions"));
        let found = reasons(&input);
        assert_eq!((word(&found), found[0].code.as_str(), found[0].count), (Word::Ready, "waived", 1));
    }

    #[test]
    fn what_is_not_required_is_said_only() {
        let mut input = input(vec![job(Outcome::Good, Outcome::Failed, true)]);
        let mut other = input.systems[0].clone();
        other.state = SystemState::Compared(Compared::default());
        input.systems[0].required = false;
        input.systems.push(other);
        let found = reasons(&input);
        assert_eq!((word(&found), found[0].code.as_str()), (Word::Ready, "regressions"));
        input.systems[1].required = false;
        assert_eq!(word(&reasons(&input)), Word::Unknown, "nothing is judged");
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop::sample::select(Outcome::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn a_branch_is_never_ready_with_anything_unknown_in_a_set(
            jobs in prop::collection::vec((outcome(), outcome(), any::<bool>()), 0..200),
            known in 0_u32..=100,
        ) {
            let jobs: Vec<ChangedJob> = jobs.into_iter().map(|(a, b, in_set)| job(a, b, in_set)).collect();
            let unknown = jobs.iter().any(|job| job.in_set && job.branch.is_unknown());
            let is_lost = |job: &ChangedJob| {
                job.branch == Outcome::Error && !matches!(job.base, Outcome::Error | Outcome::Absent)
            };
            let regressed =
                jobs.iter().any(|job| job.base == Outcome::Good && job.branch.is_bad() || is_lost(job));
            let found = reasons(&VerdictInput { known, ..input(jobs) });
            if unknown || regressed {
                prop_assert_ne!(word(&found), Word::Ready);
            }
        }

        #[test]
        fn a_branch_of_which_a_system_is_not_known_is_never_ready(
            which in 0..3, required in any::<bool>(), newer in any::<bool>(),
        ) {
            let state = match which {
                0 => SystemState::NotEvaluated,
                1 => SystemState::Failed { reason: "no".into(), base_failed: newer },
                _ => SystemState::NoBase("none".into()),
            };
            let mut input = input(vec![job(Outcome::Good, Outcome::Good, true)]);
            let paused = None;
            input.systems.push(SystemInput { system: "i686-linux".into(), required, newer, paused, state });
            prop_assert_eq!(word(&reasons(&input)) == Word::Ready, !required);
        }
    }
}
