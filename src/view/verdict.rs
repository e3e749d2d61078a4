use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Seconds;
use crate::db;
use crate::domain::verdict::{Reason, SystemReport, Word};

/// Whether a branch may be merged into its base.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Verdict<'a> {
    /// The spec of the base.
    pub base: &'a str,
    /// When that was found last.
    pub judged_at: Seconds,
    /// Why, the worst first.
    pub reasons: &'a [Reason],
    /// Since when it has been so.
    pub since: Seconds,
    /// The spec of the branch.
    pub spec: &'a str,
    /// What is known of each system; only of the newest verdict.
    pub systems: &'a [SystemReport],
    /// The verdict.
    pub word: Word,
}

impl<'a> Verdict<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Verdict) -> Self {
        Self {
            base: &row.base,
            judged_at: row.judged_at,
            reasons: &row.reasons,
            since: row.at,
            spec: &row.spec,
            systems: row.report.as_ref().map_or(&[], |report| &report.systems),
            word: row.word,
        }
    }

    /// The reasons that decide.
    pub fn deciding(&self) -> impl Iterator<Item = &'a Reason> {
        let word = self.word;
        self.reasons.iter().filter(move |reason| reason.word == word && word != Word::Ready)
    }

    /// The verdict in a sentence.
    pub fn sentence(&self) -> String {
        let Self { base, .. } = self;
        let head = match self.word {
            Word::MustChange => "The branch must change",
            Word::NeedsAction => "A person has to act",
            Word::Unknown => "It cannot be judged",
            Word::Waiting => "Evaluations or builds are not finished",
            Word::Ready => return format!("It can be merged into {base}."),
        };
        let mut reasons = self.deciding();
        let Some(Reason { system, text, .. }) = reasons.next() else { return format!("{head}.") };
        let place = system.as_ref().map_or(String::new(), |system| format!("on {system}, "));
        let more = match reasons.count() {
            0 => String::new(),
            1 => ", and 1 more reason".to_owned(),
            more => format!(", and {more} more reasons"),
        };
        format!("{head}: {place}{text}{more}.")
    }
}

/// Jobs that do not count against a branch, because somebody answers for them.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Waiver<'a> {
    /// Who made it.
    pub author: &'a str,
    /// Its number.
    pub id: i64,
    /// A pattern of the names of jobs.
    pub job: &'a str,
    /// When it was made.
    pub made_at: Seconds,
    /// The code of the reason.
    pub reason: &'a str,
    /// The spec of the branch.
    pub spec: &'a str,
    /// Only for this system.
    pub system: Option<&'a str>,
    /// When it ends.
    pub until: Seconds,
    /// Why its author answers for that.
    pub why: &'a str,
}

impl<'a> Waiver<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::StoredWaiver) -> Self {
        let db::StoredWaiver { id, spec, waiver, why, author, made_at, until, .. } = row;
        let system = waiver.system.as_ref().map(crate::domain::spec::System::as_str);
        let (reason, job) = (&waiver.reason, &waiver.job);
        Self { author, id: *id, job, made_at: *made_at, reason, spec, system, until: *until, why }
    }
}
