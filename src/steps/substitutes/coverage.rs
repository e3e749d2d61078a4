//! Asks substitute servers what they have of the newest complete evaluation of each spec and
//! system, and counts it.
//!
//! Every output is asked for at each server, whoever builds it. What a server has is asked for again
//! once a day; what it does not have is asked for the less often the longer it has been absent, and
//! soon after it was built. The first answer may be the one that was cached when builds were wanted.
//!
//! A server that does not answer leaves things unknown; an answer counts for three days.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::Server;
use super::ask::{Again, Asker};
use crate::clock::{Clock, Seconds};
use crate::db::{BuildId, Db, DerivationId, DueOutputs, Evaluation, EvaluationId, NewCoverage, NewPresence};
use crate::domain::coverage::{ANSWER_LIFETIME, BLOCKED, Counts, Missing, MissingCause, NO_BUILD, anywhere};
use crate::farm::context::{Context, Mode};
use crate::farm::reconciler::{Reconciler, StepOutcome};

/// Sets of outputs to ask for at a time.
const PIECE: i64 = 1024;
/// The time between two rounds over an evaluation.
const ROUND: Seconds = 600;
/// While a round goes on, it is counted so often, in seconds.
const COUNT: Seconds = 60;
/// The ages of an evaluation, in hours, at which its counts are kept.
const HOURS: [i64; 5] = [1, 6, 24, 72, 168];
/// The time between two removals of answers that nothing needs.
const FORGET: Seconds = 24 * 3600;
/// The most causes that are recorded.
const CAUSES: usize = 20;

/// The reconciler that asks and counts.
#[derive(Debug)]
pub struct MeasureCoverage {
    db: Db,
    clock: Clock,
    mode: Mode,
    servers: Vec<Server>,
    asker: Asker,
    rounds: HashMap<EvaluationId, Round>,
    turn: u64,
    /// When answers were removed last.
    forgotten_at: Option<Seconds>,
}

/// What was done for an evaluation.
#[derive(Debug, Default, Clone, Copy)]
struct Round {
    /// The number of the step that asked last: evaluations take turns.
    turn: u64,
    counted_at: Option<Seconds>,
    /// When nothing was due any more.
    ended_at: Option<Seconds>,
}

impl Reconciler for MeasureCoverage {
    const NAME: &'static str = "coverage";
    const PERIOD: Duration = Duration::from_mins(1);

    async fn step(&mut self) -> anyhow::Result<StepOutcome> {
        let newest = self.newest().await?;
        self.rounds.retain(|id, _| newest.iter().any(|one| one.id == *id));
        let now = self.clock.now();
        self.forget(now).await?;
        let round = |one: &Evaluation| self.rounds.get(&one.id).copied().unwrap_or_default();
        let is_over = |round: Round| {
            round.ended_at.is_some_and(|at| self.mode.is_once() || (0..ROUND).contains(&(now - at)))
        };
        let due = newest.iter().filter(|one| !is_over(round(one)));
        let Some(evaluation) = due.min_by_key(|one| round(one).turn) else { return Ok(StepOutcome::Idle) };
        let mut round = round(evaluation);
        let is_more = self.ask_piece(evaluation, now).await?;
        if !is_more || round.counted_at.is_none_or(|at| !(0..COUNT).contains(&(now - at))) {
            self.count(evaluation, now).await?;
            round.counted_at = Some(now);
        }
        self.turn += 1;
        (round.turn, round.ended_at) = (self.turn, (!is_more).then_some(now));
        self.rounds.insert(evaluation.id, round);
        Ok(StepOutcome::Worked)
    }
}

impl MeasureCoverage {
    /// Asks `servers`.
    pub fn new(context: &Context, servers: Vec<Server>) -> Self {
        let Context { db, clock, mode, .. } = context.clone();
        Self {
            asker: Asker::tolerant(context),
            db,
            clock,
            mode,
            servers,
            rounds: HashMap::new(),
            turn: 0,
            forgotten_at: None,
        }
    }

    /// The newest complete evaluation of each active spec and system; none if there is no server.
    async fn newest(&self) -> anyhow::Result<Vec<Evaluation>> {
        let mut newest = Vec::new();
        if self.servers.is_empty() {
            return Ok(newest);
        }
        for stored in self.db.specs().await? {
            if stored.present && stored.spec.active && !stored.spec.is_template() {
                for system in &stored.spec.systems {
                    newest.extend(self.db.last_complete(stored.id, system).await?);
                }
            }
        }
        Ok(newest)
    }

    /// Removes what no newest evaluation needs, and servers that are not configured, once a day.
    async fn forget(&mut self, now: Seconds) -> anyhow::Result<()> {
        if self.forgotten_at.is_some_and(|at| (0..FORGET).contains(&(now - at))) {
            return Ok(());
        }
        let mut servers = Vec::new();
        for server in &self.servers {
            servers.push(self.db.presence_server(&server.name).await?);
        }
        self.db.forget_presence(&servers).await?;
        self.forgotten_at = Some(now);
        Ok(())
    }

    /// Asks each server for some outputs that are due; returns whether there are more.
    async fn ask_piece(&self, evaluation: &Evaluation, now: Seconds) -> anyhow::Result<bool> {
        let mut is_more = false;
        for server in &self.servers {
            let id = self.db.presence_server(&server.name).await?;
            let due = self.db.due_outputs(evaluation.id, id, now, PIECE).await?;
            if due.is_empty() {
                continue;
            }
            let answers = self.answers(server, &due, now).await?;
            let of_set = |due: &DueOutputs| {
                let of_name = |name: &String| answers.get(name).copied().flatten();
                let answers: Vec<Option<bool>> = due.names.iter().map(of_name).collect();
                Some(NewPresence { outputs: due.outputs, present: all(&answers)? })
            };
            let is_full = i64::try_from(due.len())? == PIECE;
            let known: Vec<NewPresence> = due.iter().filter_map(of_set).collect();
            is_more |= is_full && !known.is_empty();
            if !known.is_empty() {
                self.db.record_presence(id, &known, now).await?;
            }
        }
        Ok(is_more)
    }

    /// What a server says of the items of these sets. What it said when somebody wanted them counts the
    /// first time, unless they were built meanwhile.
    async fn answers(
        &self,
        server: &Server,
        due: &[DueOutputs],
        now: Seconds,
    ) -> anyhow::Result<HashMap<String, Option<bool>>> {
        let names = |cached: bool| {
            due.iter()
                .filter(move |due| due.may_be_cached == cached)
                .flat_map(|due| due.names.iter().cloned())
        };
        let mut again = Again::default();
        let new: BTreeSet<String> = names(true).collect();
        let mut answers: HashMap<String, Option<bool>> =
            self.asker.answers(server, &new, now, &mut again).await?.into_iter().collect();
        let others: BTreeSet<String> = names(false).collect();
        let said = self.asker.ask(server, others.into_iter().collect(), now, &mut again).await?;
        answers.extend(said.into_iter().map(|(name, present)| (name, Some(present))));
        Ok(answers)
    }

    /// Counts what servers have of an evaluation.
    async fn count(&self, evaluation: &Evaluation, now: Seconds) -> anyhow::Result<()> {
        let sets = self.db.newest_outputs(evaluation.id).await?;
        let mut answers: HashMap<(i64, i64), bool> = HashMap::new();
        for presence in self.db.presence(evaluation.id).await? {
            if now - presence.asked_at < ANSWER_LIFETIME {
                answers.insert((presence.outputs, presence.server), presence.present);
            }
        }
        let mut servers = Vec::new();
        for server in &self.servers {
            servers.push((self.db.presence_server(&server.name).await?, server.name.clone()));
        }
        let at = |set: &i64, server: i64| answers.get(&(*set, server)).copied();
        let answer = |set: &i64| anywhere(servers.iter().map(|(id, _)| at(set, *id)));
        let absent: Vec<i64> = sets.iter().filter(|set| answer(set) == Some(false)).copied().collect();
        let missing = self.missing(&absent).await?;
        let mut counts = vec![(String::new(), Counts::of(sets.iter().map(answer)))];
        for (id, name) in &servers {
            counts.push((name.clone(), Counts::of(sets.iter().map(|set| at(set, *id)))));
        }
        let ages = ages(now - evaluation.created_at);
        let new = |(server, counts): &(String, Counts)| -> Vec<NewCoverage> {
            let missing = server.is_empty().then(|| missing.clone());
            let last = NewCoverage { server: server.clone(), hours: 0, counts: *counts, missing };
            let kept = |hours: &i64| NewCoverage { hours: *hours, missing: None, ..last.clone() };
            ages.iter().map(kept).chain([last.clone()]).collect()
        };
        let counts: Vec<NewCoverage> = counts.iter().flat_map(new).collect();
        Ok(self.db.record_coverage((evaluation.spec_id, evaluation.id), &counts, now).await?)
    }

    /// What keeps sets of outputs back that no server has.
    async fn missing(&self, absent: &[i64]) -> anyhow::Result<Missing> {
        let builds = self.db.output_builds(absent.iter().copied()).await?;
        let waiting = builds.values().filter(|build| build.state.is_waiting());
        let waiting: Vec<(BuildId, DerivationId)> =
            waiting.map(|build| (build.id, build.derivation)).collect();
        let roots = self.db.failed_roots(&waiting, usize::MAX).await?;
        let mut states: BTreeMap<String, i64> = BTreeMap::new();
        for set in absent {
            let state = match builds.get(set) {
                None => NO_BUILD,
                Some(build) if roots.get(&build.id).is_some_and(|roots| !roots.is_empty()) => BLOCKED,
                Some(build) => build.state.word(),
            };
            *states.entry(state.to_owned()).or_default() += 1;
        }
        let mut blocked: BTreeMap<BuildId, i64> = BTreeMap::new();
        for root in roots.values().flatten() {
            *blocked.entry(*root).or_default() += 1;
        }
        let mut worst: Vec<(BuildId, i64)> = blocked.into_iter().collect();
        worst.sort_by_key(|(id, count)| (std::cmp::Reverse(*count), *id));
        worst.truncate(CAUSES);
        let named = self.db.builds_numbered(worst.iter().map(|(id, _)| *id)).await?;
        let cause = |(id, blocked): (BuildId, i64)| {
            let job = named.iter().find(|build| build.id == id)?.job.clone();
            Some(MissingCause { blocked, build: id.0, job })
        };
        Ok(Missing { states, causes: worst.into_iter().filter_map(cause).collect() })
    }
}

/// Whether a server has all outputs of a set.
fn all(answers: &[Option<bool>]) -> Option<bool> {
    if answers.contains(&Some(false)) {
        Some(false)
    } else {
        answers.iter().copied().collect::<Option<Vec<_>>>().map(|_| true)
    }
}

/// The ages at which counts are kept that an evaluation has just reached. One that is counted much
/// later, because no farm ran, has no such count.
fn ages(age: Seconds) -> Vec<i64> {
    let reached = |hours: &i64| (0..(hours * 900).max(1800)).contains(&(age - hours * 3600));
    HOURS.into_iter().filter(reached).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_comes_late_is_not_taken_for_an_early_one() {
        let hour = 3600;
        for (age, expected) in [
            (0, vec![]),
            (hour, vec![1]),
            (hour + 1799, vec![1]),
            (hour + 1800, vec![]),
            (7 * hour, vec![6]),
            (30 * hour - 1, vec![24]),
            (1000 * hour, vec![]),
        ] {
            assert_eq!(ages(age), expected, "{age}");
        }
    }

    #[test]
    fn a_set_is_present_with_all_its_outputs_only() {
        assert_eq!(all(&[Some(true), None]), None);
        assert_eq!(all(&[Some(false), None]), Some(false));
        assert_eq!(all(&[Some(true), Some(true)]), Some(true));
    }
}
