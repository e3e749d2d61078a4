use std::collections::{BTreeMap, BTreeSet};

use crate::clock::{Seconds, end_of};
use crate::db::{self, Db, Evaluation, EvaluationId, EvaluationState};
use crate::domain::spec::sanitize;

/// Why two words do not name pairs of evaluations.
#[derive(Debug, thiserror::Error)]
pub enum NoPair {
    /// The words cannot be resolved. Has the reason and a hint.
    #[error("{0}")]
    Wrong(String),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] db::Error),
}

type Result<T> = std::result::Result<T, NoPair>;

fn no_pair(text: String) -> NoPair {
    NoPair::Wrong(text)
}

/// The evaluations that a word names, by spec and system.
type Points = BTreeMap<String, BTreeMap<String, Evaluation>>;

/// The pairs of evaluations that two words name, both of the same spec: one pair for every system
/// that both have. Also returns the systems that only one of them has.
pub async fn pairs(
    db: &Db,
    words: [&str; 2],
    spec: Option<&str>,
) -> Result<(Vec<[Evaluation; 2]>, Vec<String>)> {
    // Two numbers are compared directly, whatever spec and system they belong to.
    if let (Some(a), Some(b)) = (numbered(db, words[0]).await?, numbered(db, words[1]).await?) {
        return Ok((vec![[a, b]], Vec::new()));
    }
    let [mut first, mut second] = [points(db, words[0], spec).await?, points(db, words[1], spec).await?];
    let common: BTreeSet<String> = first.keys().filter(|name| second.contains_key(*name)).cloned().collect();
    if common.len() == 1 {
        first.retain(|name, _| common.contains(name));
        second.retain(|name, _| common.contains(name));
    }
    let [mut first, mut second] = [only(words[0], first)?, only(words[1], second)?];
    let systems: BTreeSet<String> = first.keys().chain(second.keys()).cloned().collect();
    let (mut pairs, mut alone) = (Vec::new(), Vec::new());
    for system in systems {
        match (first.remove(&system), second.remove(&system)) {
            (Some(a), Some(b)) => pairs.push([a, b]),
            _ => alone.push(system),
        }
    }
    if pairs.is_empty() {
        return Err(no_pair(format!(
            "{} and {} have no system in common\nhint: `gorget status` shows what was evaluated",
            sanitize(words[0]),
            sanitize(words[1])
        )));
    }
    Ok((pairs, alone))
}

/// The evaluations of the only spec in `points`.
fn only(word: &str, points: Points) -> Result<BTreeMap<String, Evaluation>> {
    let names: Vec<&str> = points.keys().map(String::as_str).collect();
    if names.len() > 1 {
        let word = sanitize(word);
        let names = names.join(", ");
        return Err(no_pair(format!(
            "{word} means evaluations of several specs: {names}\nhint: add --spec NAME"
        )));
    }
    Ok(points.into_values().next().unwrap_or_default())
}

/// The complete evaluation with this number, if the word is a number of an evaluation.
async fn numbered(db: &Db, word: &str) -> Result<Option<Evaluation>> {
    let Ok(number) = word.parse() else { return Ok(None) };
    let Some(evaluation) = db.evaluation(EvaluationId(number)).await? else { return Ok(None) };
    if evaluation.state == EvaluationState::Complete {
        return Ok(Some(evaluation));
    }
    let state = evaluation.state.word();
    Err(no_pair(format!(
        "evaluation {number} is {state}, not complete\nhint: `gorget status` shows the numbers of evaluations"
    )))
}

/// Resolves a word. The order of the checks is that of precedence.
async fn points(db: &Db, word: &str, spec: Option<&str>) -> Result<Points> {
    if let Some(evaluation) = numbered(db, word).await? {
        return Ok(grouped(vec![evaluation]));
    }
    if let Some(time) = end_of(word) {
        return at(db, word, spec, time).await;
    }
    let named = specs_called(db, word).await?;
    let named: Vec<String> = named.into_iter().filter(|name| spec.is_none_or(|spec| spec == name)).collect();
    if !named.is_empty() {
        return complete(db, &named, Seconds::MAX, || {
            format!("{} has no complete evaluation\nhint: `gorget status` says how far it is", sanitize(word))
        })
        .await;
    }
    of_commit(db, word, spec).await
}

/// The evaluations at a date: the newest complete ones of each spec by then.
async fn at(db: &Db, word: &str, spec: Option<&str>, time: Seconds) -> Result<Points> {
    let specs = db.specs().await?.into_iter().map(|stored| stored.spec.name);
    let names: Vec<String> = specs.filter(|name| spec.is_none_or(|spec| spec == name)).collect();
    complete(db, &names, time, || {
        format!(
            "nothing was evaluated by {}\nhint: `gorget status` shows the latest evaluations",
            sanitize(word)
        )
    })
    .await
}

async fn complete(
    db: &Db,
    specs: &[String],
    time: Seconds,
    nothing: impl FnOnce() -> String,
) -> Result<Points> {
    let mut found = Vec::new();
    for spec in specs {
        for id in db.complete_at(spec, time).await? {
            found.extend(db.evaluation(id).await?);
        }
    }
    if found.is_empty() { Err(no_pair(nothing())) } else { Ok(grouped(found)) }
}

/// The spec of this name or, if there is none, the specs that follow the branch of this name.
async fn specs_called(db: &Db, word: &str) -> Result<Vec<String>> {
    let specs = db.specs().await?;
    if specs.iter().any(|stored| stored.spec.name == word) {
        return Ok(vec![word.to_owned()]);
    }
    let follows = specs.into_iter().filter(|stored| stored.spec.channels.iter().any(|c| c.branch == word));
    Ok(follows.filter(|stored| stored.spec.is_evaluated()).map(|stored| stored.spec.name).collect())
}

async fn of_commit(db: &Db, word: &str, spec: Option<&str>) -> Result<Points> {
    let unknown = || {
        no_pair(format!(
            "{} is not an evaluation, date, spec, branch or evaluated commit\n\
             hint: `gorget status` shows evaluations and specs; a date is written 2026-01-31 or 2026-01-31T16:00",
            sanitize(word)
        ))
    };
    if word.len() < 4 || !word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(unknown());
    }
    let prefix = word.to_ascii_lowercase();
    let mut found = Vec::new();
    for id in db.evaluations_of_commit(&prefix).await? {
        found.extend(db.evaluation(id).await?);
    }
    found.retain(|evaluation| spec.is_none_or(|spec| spec == evaluation.spec));
    let commits: BTreeSet<&str> = found
        .iter()
        .flat_map(|evaluation| evaluation.revision.channels())
        .map(|channel| channel.commit.as_str())
        .filter(|commit| commit.starts_with(&prefix))
        .collect();
    if commits.len() > 1 {
        let commits: Vec<String> = commits.into_iter().map(sanitize).collect();
        let list = commits.join("\n  ");
        return Err(no_pair(format!(
            "{prefix} is the beginning of several commits:\n  {list}\nhint: give more digits"
        )));
    }
    if found.is_empty() { Err(unknown()) } else { Ok(grouped(found)) }
}

/// Groups evaluations by spec and system. Only the newest of each group stays.
fn grouped(evaluations: Vec<Evaluation>) -> Points {
    let mut points = Points::new();
    for evaluation in evaluations {
        let systems = points.entry(evaluation.spec.clone()).or_default();
        let system = evaluation.system.as_str().to_owned();
        if systems.get(&system).is_none_or(|other| other.id < evaluation.id) {
            systems.insert(system, evaluation);
        }
    }
    points
}
