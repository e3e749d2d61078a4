use super::{Actions, Refusal, Result, conflict, missing};
use crate::clock::Seconds;
use crate::db::NewWaiver;
use crate::domain::spec::{System, sanitize};
use crate::domain::verdict::{WAIVABLE, Waiver};

/// Longest reason, and longest pattern, in characters.
const LONGEST: usize = 500;
/// Most days for which somebody can answer.
const MOST_DAYS: i64 = 90;
const DAY: Seconds = 24 * 60 * 60;

/// A waiver as somebody asks for it.
#[derive(Debug, Clone)]
pub struct WantedWaiver<'a> {
    /// The code of the reason.
    pub reason: &'a str,
    /// A pattern of the names of jobs.
    pub job: &'a str,
    /// Only for this system.
    pub system: Option<&'a str>,
    /// Why.
    pub why: &'a str,
    /// For how many days.
    pub days: i64,
}

impl Actions<'_> {
    /// Lets jobs not count for a reason against a branch.
    pub async fn waive(&self, spec: &str, wanted: &WantedWaiver<'_>) -> Result<String> {
        self.check(Some(spec)).await?;
        let stored = self.spec(spec).await?;
        if stored.spec.verdict.is_none() {
            let hint = "hint: a spec with `[verdict]` has one";
            return conflict(format!("{spec} has no base to be merged into\n{hint}"));
        }
        if stored.spec.is_template() {
            let hint = "hint: each spec that is made from it has waivers of its own";
            return conflict(format!("{spec} is a template\n{hint}"));
        }
        let new = wanted.read(&stored.spec.systems, self.now)?;
        let id = self.db.create_waiver(stored.id, &new, self.author, self.now).await?;
        let WantedWaiver { reason, job, days, .. } = wanted;
        Ok(format!("waiver {id}: {job} does not count for {reason} of {spec} for {days} days"))
    }

    /// Ends a waiver early.
    pub async fn end_waiver(&self, id: i64) -> Result<String> {
        let found = self.db.waivers(self.now).await?.into_iter().find(|waiver| waiver.id == id);
        let none =
            || missing(format!("there is no waiver {id} in force\nhint: `gorget waiver list` lists them"));
        let Some(found) = found else { return none() };
        self.check(Some(&found.spec)).await?;
        if !self.db.end_waiver(id, self.author, self.now).await? {
            return none();
        }
        Ok(format!("waiver {id} is ended"))
    }
}

impl WantedWaiver<'_> {
    fn read(&self, systems: &[System], now: Seconds) -> Result<NewWaiver> {
        let wrong = |text: String| Err(Refusal::Wrong(text));
        if !WAIVABLE.contains(&self.reason) {
            let known = WAIVABLE.join(", ");
            return wrong(format!("{:?} cannot be waived\nhint: {known} can", self.reason));
        }
        let is_line =
            |text: &str| !text.trim().is_empty() && sanitize(text) == text && text.chars().count() <= LONGEST;
        if !is_line(self.job) || !is_line(self.why) {
            return wrong(format!(
                "a waiver needs a pattern of jobs and a reason, each one line of at most {LONGEST} characters"
            ));
        }
        if !(1..=MOST_DAYS).contains(&self.days) {
            return wrong(format!("the days are a number from 1 to {MOST_DAYS}"));
        }
        let of_spec = |name: &str| systems.iter().find(|system| system.as_str() == name).cloned();
        let system = match self.system {
            None => None,
            Some(name) => match of_spec(name) {
                Some(system) => Some(system),
                None => return wrong(format!("the spec is not evaluated for {name:?}")),
            },
        };
        let waiver = Waiver { reason: self.reason.to_owned(), job: self.job.to_owned(), system };
        Ok(NewWaiver { waiver, why: self.why.to_owned(), until: now + self.days * DAY })
    }
}
