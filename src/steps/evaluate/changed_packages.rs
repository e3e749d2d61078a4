//! Finds the packages that probably differ between two revisions: those whose definitions changed,
//! and the jobs whose recorded derivation graph reaches theirs. They are evaluated first, so new
//! builds are queued long before the evaluation is complete. This affects the order only;
//! everything is evaluated.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::Evaluate;
use crate::db::Task;
use crate::git::{Change, fold_changes};

/// Above this number of changed packages, no order is better than another.
const MOST: usize = 2000;
/// Above this number of top-level forms, the rest of a file is not compared; the largest file of
/// Guix has 2,500.
const MOST_FORMS: usize = 50_000;
/// The longest name of a package, in bytes, which is that of a store item.
const LONGEST_NAME: usize = 211;

/// The changed packages found so far.
#[derive(Debug, Default)]
struct ChangedPackages {
    names: Vec<String>,
}

impl ChangedPackages {
    /// Their names; empty when there are too many.
    fn packages(&self) -> &[String] {
        if self.names.len() > MOST { &[] } else { &self.names }
    }

    /// Adds the packages whose top-level definitions differ. A file that is not UTF-8 text has no
    /// definitions.
    fn compare(&mut self, change: Change<'_>) -> ControlFlow<()> {
        let text = |bytes| str::from_utf8(bytes).unwrap_or_default();
        let known: HashSet<&str> = forms(text(change.before)).collect();
        let changed = forms(text(change.after)).filter(|form| !known.contains(form));
        let names = changed.filter_map(package_name).filter(|name| name.len() <= LONGEST_NAME);
        let room = MOST + 1 - self.names.len();
        self.names.extend(names.take(room).map(str::to_owned));
        if self.names.len() > MOST { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// The top-level forms of a file: each starts with a parenthesis in the first column. Guix is
/// written that way, and it is good enough for a guess.
fn forms(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = if text.starts_with('(') { text } else { next_form(text).unwrap_or_default() };
    std::iter::from_fn(move || {
        let next = next_form(rest).unwrap_or_default();
        let form = &rest[..rest.len() - next.len()];
        rest = next;
        (!form.is_empty()).then(|| form.trim_end())
    })
    .take(MOST_FORMS)
}

/// The text from the next parenthesis at the start of a line on.
fn next_form(text: &str) -> Option<&str> {
    text.find("\n(").map(|at| &text[at + 1..])
}

/// The name that a form defines: that of its `(name "…")` field, or else that of the variable.
fn package_name(form: &str) -> Option<&str> {
    if let Some((_, rest)) = form.split_once("(name \"") {
        return rest.split('"').next();
    }
    let rest = form.strip_prefix("(define-public ").or_else(|| form.strip_prefix("(define "))?;
    rest.split_whitespace().next()
}

impl Evaluate {
    /// Jobs that have probably changed since the last complete evaluation. This guess only affects
    /// the order: a wrong one costs time, so an error here is not an error of the evaluation.
    pub(super) async fn likely(&self, task: &Task) -> HashSet<String> {
        self.guess(task).await.unwrap_or_else(|error| {
            tracing::debug!("cannot find out what changed: {error:#}");
            HashSet::new()
        })
    }

    async fn guess(&self, task: &Task) -> anyhow::Result<HashSet<String>> {
        let Some(previous) = task.previous else { return Ok(HashSet::new()) };
        let Some(previous) = self.db.evaluation(previous).await? else { return Ok(HashSet::new()) };
        let mut likely = ChangedPackages::default();
        for channel in task.revision.channels() {
            let before = previous.revision.channels().iter().find(|other| other.name == channel.name);
            let Some(before) = before.filter(|before| before.commit != channel.commit) else { continue };
            let mirror = self.settings.mirrors.of(task.revision.channels(), channel).path(&channel.url);
            let commits = [before.commit.as_str(), &channel.commit];
            likely = fold_changes(&mirror, commits, "scm", likely, ChangedPackages::compare).await?;
        }
        let jobs: Vec<String> =
            likely.packages().iter().map(|name| format!("{name}.{}", task.system)).collect();
        let dependents = self.db.dependents_among_jobs(previous.id, &jobs).await?;
        Ok(jobs.into_iter().chain(dependents).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_definition_is_found_by_its_package_name() {
        let old = "(define-module (x))\n\n(define-public a\n  (package (name \"a-pkg\") (version \"1\")))\n\n(define-public b 1)\n";
        let new = old.replace("\"1\"", "\"2\"") + "\n(define-public c\n  (package (inherit a)))\n";
        let mut likely = ChangedPackages::default();
        assert!(likely.compare(Change { before: old.as_bytes(), after: new.as_bytes() }).is_continue());
        assert_eq!(likely.packages(), ["a-pkg", "c"]);
        // The first form need not be on the first line.
        let before = Change { before: b"", after: b"; comment\n(define d 1)" };
        assert!(likely.compare(before).is_continue());
        assert_eq!(likely.packages(), ["a-pkg", "c", "d"]);
    }

    #[test]
    fn too_many_changed_packages_are_as_good_as_none_and_too_many_forms_are_cut_off() {
        let text = |count: usize| (0..count).map(|n| format!("(define p{n} 1)\n")).collect::<String>();
        let mut likely = ChangedPackages::default();
        assert!(likely.compare(Change { before: b"", after: text(MOST).as_bytes() }).is_continue());
        assert_eq!(likely.packages().len(), MOST);
        assert!(likely.compare(Change { before: b"", after: text(MOST).as_bytes() }).is_break());
        assert!(likely.packages().is_empty());
        assert_eq!(forms(&"(\n".repeat(MOST_FORMS * 2)).count(), MOST_FORMS);
    }
}
