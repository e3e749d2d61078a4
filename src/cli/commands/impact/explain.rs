//! `gorget impact --why PACKAGE`.

use std::collections::HashMap;

use crate::cli::commands::impact::cache::Cache;
use crate::cli::commands::impact::report;
use crate::cli::{Exit, output, user_error};
use crate::db::{Db, Evaluation};
use crate::domain::diff::Diff;
use crate::view::diff::{Comparison, Rows};
use crate::view::impact::why::{Link, Why};

/// A package that the user asks about.
struct Asked<'a> {
    /// The argument.
    text: &'a str,
    /// The name of its job.
    job: String,
    version: Option<&'a str>,
}

impl Asked<'_> {
    fn means(&self, job: &str, version: Option<&str>) -> bool {
        self.job == job && self.version.is_none_or(|asked| version == Some(asked))
    }
}

/// Explains why a package is rebuilt, for each system.
pub(super) async fn run(
    cache: &Cache,
    pairs: Vec<[Evaluation; 2]>,
    package: &str,
    json: bool,
) -> anyhow::Result<Exit> {
    let (name, version) = match package.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (package, None),
    };
    for pair in pairs {
        let change = pair[1].clone();
        let asked = Asked { text: package, job: format!("{name}.{}", change.system), version };
        let rows = Rows::load(&cache.db, pair).await?;
        let versions: HashMap<String, Option<String>> =
            rows.jobs.1.iter().map(|job| (job.derivation.clone(), job.version.clone())).collect();
        let diff = Comparison::of(rows.jobs, &rows.evaluations, &rows.errors).diff;
        let whys = whys(&cache.db, &asked, change.system.as_str(), &diff, &versions).await?;
        if whys.is_empty() {
            output::note(&why_not(&cache.db, &asked, &change, &diff).await?);
        }
        for why in whys {
            if json {
                output::json(&why)?;
            } else {
                report::explain(&why)?;
            }
        }
    }
    Ok(Exit::Done)
}

/// The explanations for the rebuilt versions of the package. `versions` has the versions of
/// derivations.
async fn whys(
    db: &Db,
    asked: &Asked<'_>,
    system: &str,
    diff: &Diff,
    versions: &HashMap<String, Option<String>>,
) -> anyhow::Result<Vec<Why>> {
    let mut whys = Vec::new();
    for changed in diff.changed.iter().filter(|changed| !changed.same_outputs) {
        let version = versions.get(&changed.after).cloned().flatten();
        if asked.means(&changed.job, version.as_deref()) {
            let link = Link { after: changed.after.clone(), before: changed.before.clone() };
            whys.push(Why::load(db, system, &asked.job, link).await?);
        }
    }
    let added = diff.added.iter().filter(|added| asked.means(&added.job, added.version.as_deref()));
    whys.extend(added.map(|_| Why::new_package(system, &asked.job)));
    Ok(whys)
}

/// Why there is nothing to explain, in words.
async fn why_not(db: &Db, asked: &Asked<'_>, change: &Evaluation, diff: &Diff) -> anyhow::Result<String> {
    let text = asked.text;
    let jobs = db.jobs(change.id).await?;
    if jobs.iter().any(|job| asked.means(&job.name, job.metadata.version.as_deref())) {
        return Ok(format!("{text} is not rebuilt for {}", change.system));
    }
    if let Some(error) = db.errors(change.id).await?.into_iter().find(|error| error.name == asked.job) {
        return Ok(format!("{text} cannot be evaluated ({}): {}", error.cause, error.message));
    }
    if diff.removed.iter().any(|gone| asked.means(&gone.job, gone.version.as_deref())) {
        return Ok(format!("{text} is removed"));
    }
    Err(user_error(format!("there is no package {text}\nhint: give the name that `guix show` knows")))
}
