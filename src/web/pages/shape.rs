//! The look of a state: a shape, a color and a word. No color is used without the other two.

use crate::db::{BuildState, EvaluationState};
use crate::domain::verdict::Word;
use crate::view::trouble::Needs;

/// The look of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// The class with its color.
    pub(super) colour: &'static str,
    /// The word, which is always shown next to it.
    pub(super) word: &'static str,
    /// An explanation, with whether waiting helps.
    pub(super) meaning: &'static str,
    /// The SVG elements, on a grid of 16 by 16.
    drawing: &'static str,
}

const CHECK: &str =
    "<circle cx='8' cy='8' r='7' class='fill'/><path d='M4.8 8.3 7.1 10.6 11.3 5.7' class='cut'/>";
const ARROW: &str =
    "<circle cx='8' cy='8' r='7' class='fill'/><path d='M8 4.4V11.4M5 8.6 8 11.4 11 8.6' class='cut'/>";
const CROSS: &str = "<path d='M5.1 1H10.9L15 5.1V10.9L10.9 15H5.1L1 10.9V5.1Z' class='fill'/>\
     <path d='M5.6 5.6 10.4 10.4M10.4 5.6 5.6 10.4' class='cut'/>";
const TRIANGLE: &str =
    "<path d='M8 1.2 15.4 14.4H.6Z' class='fill'/><path d='M8 5.8V9.8M8 11.6V12.6' class='cut'/>";
const CIRCLE: &str = "<circle cx='8' cy='8' r='6.25' class='line'/>";
const DOTTED: &str =
    "<circle cx='8' cy='8' r='6.25' class='line'/><circle cx='8' cy='8' r='2.25' class='fill'/>";
const DASHED: &str = "<circle cx='8' cy='8' r='6.25' class='line dashed'/>";
const HALF: &str = "<circle cx='8' cy='8' r='6.25' class='line pale'/><path d='M8 2.25A5.75 5.75 0 0 1 8 13.75' class='ring'/>";
const SQUARE: &str = "<rect x='1.75' y='1.75' width='12.5' height='12.5' rx='2' class='line'/><path d='M6 5V11M10 5V11' class='line'/>";
const SLASH: &str =
    "<circle cx='8' cy='8' r='6.25' class='line'/><path d='M3.6 12.4 12.4 3.6' class='line'/>";
const DOT: &str = "<circle cx='8' cy='8' r='2.25' class='fill'/>";

impl Shape {
    const fn new(
        drawing: &'static str,
        colour: &'static str,
        word: &'static str,
        meaning: &'static str,
    ) -> Self {
        Self { colour, word, meaning, drawing }
    }

    /// The SVG, for a template that does not escape it: none of it comes from outside.
    pub(super) fn svg(&self) -> String {
        let Self { colour, drawing, .. } = self;
        format!("<svg class='shape {colour}' viewBox='0 0 16 16' aria-hidden='true'>{drawing}</svg>")
    }

    /// The look of a build.
    pub(super) fn of_build(state: BuildState) -> Self {
        let (drawing, colour, meaning) = match state {
            BuildState::Pending => {
                (DASHED, "waiting", "Wanted; substitute servers are asked first. Waiting helps.")
            }
            BuildState::AwaitingApproval => {
                (SQUARE, "held", "Wanted, and over the budget of its spec: a person has to approve it.")
            }
            BuildState::Queued => (CIRCLE, "waiting", "To be submitted to a coordinator. Waiting helps."),
            BuildState::Submitted => (DOTTED, "waiting", "A coordinator has it. Waiting helps."),
            BuildState::Building => (HALF, "running", "An agent works on it."),
            BuildState::Succeeded => (CHECK, "good", "It was built."),
            BuildState::Failed => {
                (CROSS, "bad", "It cannot be built. What needs it waits until it is fixed or retried.")
            }
            BuildState::Canceling => {
                (SLASH, "waiting", "No job wants it any more; the coordinator is to be told.")
            }
            BuildState::Canceled => (SLASH, "waiting", "Canceled; it is queued when it is wanted again."),
            BuildState::Rejected => {
                (TRIANGLE, "bad", "The coordinator rejected it: a person has to find out why.")
            }
            BuildState::Substituted => (ARROW, "good", "A substitute server has it: nothing is to be built."),
            BuildState::Known => {
                (DOT, "waiting", "Recorded as known by the first evaluation of its spec; it is not queued.")
            }
        };
        Self::new(drawing, colour, state.word(), meaning)
    }

    /// The look of an evaluation.
    pub(super) fn of_evaluation(state: EvaluationState) -> Self {
        let (drawing, colour, meaning) = match state {
            EvaluationState::Pending => (CIRCLE, "waiting", "No host works on it yet. Waiting helps."),
            EvaluationState::Running => (HALF, "running", "A host evaluates it."),
            EvaluationState::Complete => (CHECK, "good", "Its jobs are known."),
            EvaluationState::Failed => {
                (CROSS, "bad", "It failed, so its jobs are not known. Its reason is given.")
            }
        };
        Self::new(drawing, colour, state.word(), meaning)
    }

    /// The look of a job that could not be evaluated.
    pub(super) const ERROR: Self = Self::new(
        TRIANGLE,
        "bad",
        "cannot be evaluated",
        "Guix raised an error for this job. Other jobs of the evaluation are not affected.",
    );

    /// The look of a build that waits for a failed one.
    pub(super) const BLOCKED: Self = Self::new(
        "<path d='M5.4 1.75H10.6L14.25 5.4V10.6L10.6 14.25H5.4L1.75 10.6V5.4Z' class='line'/>\
         <path d='M4.75 8H11.25' class='line'/>",
        "blocked",
        "blocked",
        "A build that it needs failed. Waiting does not help until that one is fixed or retried.",
    );

    /// That of outputs that nothing wants to be built.
    pub(super) const NO_BUILD: Self =
        Self::new(DASHED, "waiting", "no build", "Nothing wants it to be built.");

    /// That of a reason that decides nothing.
    pub(super) const SAID: Self =
        Self::new(DOT, "waiting", "for information", "It is for information, and stops nothing.");

    /// That of a verdict.
    pub(super) fn of_verdict(word: Word) -> Self {
        let (drawing, colour, meaning) = match word {
            Word::MustChange => {
                (CROSS, "bad", "The branch breaks something that works on its base. Waiting does not help.")
            }
            Word::NeedsAction => (SQUARE, "held", "A person has to approve, decide or resume something."),
            Word::Unknown => (TRIANGLE, "bad", "It cannot be judged, for the reason that is given."),
            Word::Waiting => (HALF, "running", "Builds or evaluations are on their way. Waiting helps."),
            Word::Ready => (CHECK, "good", "All required results are known and good."),
        };
        Self::new(drawing, colour, word.word(), meaning)
    }

    /// The look of a problem.
    pub(super) fn of_trouble(needs: Needs) -> Self {
        match needs {
            Needs::Action => Self::new(CROSS, "bad", "needs action", "A person has to act."),
            Needs::Time => Self::new(HALF, "running", "waiting", "It is retried automatically."),
        }
    }
}
