use std::collections::{BTreeSet, HashMap};

use super::{Failure, Server};
use crate::clock::Seconds;
use crate::db::{Answered, Db};
use crate::farm::context::{Context, Mode};
use crate::farm::reconciler::retry_delay;

/// Asks servers, and caches their answers in the database. A server that fails is left alone for a
/// while.
#[derive(Debug)]
pub(super) struct Asker {
    db: Db,
    mode: Mode,
    /// Whether a server that answers some questions is not given up.
    is_tolerant: bool,
}

/// When to ask failing servers again, and why.
#[derive(Debug, Default)]
pub(super) struct Again(Option<(Seconds, String)>);

impl Asker {
    pub(super) fn new(context: &Context) -> Self {
        Self { db: context.db.clone(), mode: context.mode, is_tolerant: false }
    }

    /// Gives a server up only if it answers nothing: many questions that nobody waits for must not
    /// keep builds from being asked for.
    pub(super) fn tolerant(context: &Context) -> Self {
        Self { is_tolerant: true, ..Self::new(context) }
    }

    /// The answers of a server, new or cached; `None` for an item without an answer.
    pub(super) async fn answers(
        &self,
        server: &Server,
        open: &BTreeSet<String>,
        now: Seconds,
        again: &mut Again,
    ) -> anyhow::Result<Vec<(String, Option<bool>)>> {
        let hashes: Vec<&str> = open.iter().map(|base_name| hash(base_name)).collect();
        let cached = self.db.lookups(&server.name, &hashes, now).await?;
        let missing = open.iter().filter(|base_name| !cached.contains_key(hash(base_name)));
        let missing: Vec<String> = missing.cloned().collect();
        let asked = self.ask(server, missing, now, again).await?;
        let answer = |base_name: &String| {
            let known = cached.get(hash(base_name)).or_else(|| asked.get(base_name)).copied();
            (base_name.clone(), known)
        };
        Ok(open.iter().map(answer).collect())
    }

    /// Asks a server, unless it is to be left alone, and caches its answers.
    pub(super) async fn ask(
        &self,
        server: &Server,
        base_names: Vec<String>,
        now: Seconds,
        again: &mut Again,
    ) -> anyhow::Result<HashMap<String, bool>> {
        if base_names.is_empty() {
            return Ok(HashMap::new());
        }
        let failing = self.db.failing_servers().await?;
        let failing = failing.into_iter().find(|failing| failing.url == server.name);
        if let Some(failing) =
            failing.as_ref().filter(|failing| failing.next_attempt > now && !self.mode.is_once())
        {
            again.wait(failing.next_attempt, &server.name, &failing.reason);
            return Ok(HashMap::new());
        }
        let answers = server.ask(base_names).await;
        let kept: Vec<Answered> = answers
            .known
            .iter()
            .map(|(name, (present, time))| Answered {
                hash: hash(name).to_owned(),
                present: *present,
                expires_at: now + time,
            })
            .collect();
        self.db.store_lookups(&server.name, &kept).await?;
        let failures = failing.as_ref().map_or(0, |failing| failing.failures);
        let mut failure = answers.failure;
        if let Some(failure) = failure.as_mut().filter(|_| self.is_tolerant) {
            failure.is_down = answers.known.is_empty();
        }
        self.note_failure(server, failure, failures, now, again).await?;
        Ok(answers.known.into_iter().map(|(name, (present, _))| (name, present)).collect())
    }

    /// Records a failure. A server that is down is left alone for a while; one that fails for some
    /// items is asked for those again.
    async fn note_failure(
        &self,
        server: &Server,
        failure: Option<Failure>,
        failures: i64,
        now: Seconds,
        again: &mut Again,
    ) -> anyhow::Result<()> {
        if let Some(Failure { reason, pause, is_down }) = failure {
            tracing::warn!(server = server.name, "a substitute server fails: {reason}");
            let at = now + retry_delay(failures, &server.name).max(pause);
            again.wait(at, &server.name, &reason);
            if is_down {
                return Ok(self.db.record_server_failure(&server.name, &reason, at).await?);
            }
        }
        if failures > 0 {
            self.db.forget_server_failures(&server.name).await?;
        }
        Ok(())
    }
}

impl Again {
    /// The earliest time at which a failing server may be asked.
    pub(super) fn at(&self) -> Option<Seconds> {
        self.0.as_ref().map(|(at, _)| *at)
    }

    /// Which server fails, and how.
    pub(super) fn reason(&self) -> String {
        self.0.as_ref().map_or_else(String::new, |(_, reason)| reason.clone())
    }

    fn wait(&mut self, at: Seconds, server: &str, reason: &str) {
        if self.at().is_none_or(|before| at < before) {
            self.0 = Some((at, format!("{server}: {reason}")));
        }
    }
}

/// The hash part of a base name.
fn hash(base_name: &str) -> &str {
    base_name.split_once('-').map_or(base_name, |(hash, _)| hash)
}
