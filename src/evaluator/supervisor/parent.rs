//! The parent of a system: forked by the loader, replaced by another when it dies or does nothing.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::super::outcome::Failure;
use super::super::process::{LOADER, PARENT, Received};
use super::super::protocol::{self, Message};
use super::super::work_queue::Blame;
use super::{MOST_BROKEN, MOST_GIVEN_UP, STILL, Supervisor};
use crate::guix::sexp::shortened;

/// How long the loader may take to say how a parent ended.
const FUNERAL: Duration = Duration::from_secs(10);

/// What a parent finds that there is to do.
pub(super) struct Units {
    pub(super) labels: Vec<String>,
    /// Indexes of those that most others need.
    pub(super) popular: Vec<usize>,
    /// Of which package each is, by number, if that is of a package.
    pub(super) packages: Vec<usize>,
}

/// Most units of one evaluation: all packages of Guix are 31,330.
pub(in super::super) const MOST_UNITS: usize = 400_000;
/// Longest label of a unit, in bytes.
const LONGEST_LABEL: usize = 1000;
/// What all labels together may take, in bytes.
const MOST_OF_LABELS: usize = 40 << 20;

impl Supervisor<'_> {
    /// Has a parent forked and its units enumerated. On the `first` time, the modules that it cannot
    /// load are errors. Whoever does nothing is replaced, and a loader that is not there any more.
    pub(super) async fn new_parent(&mut self, first: bool) -> Result<Units, Failure> {
        loop {
            self.loaded().await?;
            match self.fork_parent(first).await {
                Err(failure) if self.given_up == MOST_GIVEN_UP => return Err(failure),
                Err(Failure::Still { .. }) => {
                    if self.parent_pid.is_none() {
                        // It was the loader that did nothing.
                        self.warm.loaded = None;
                    }
                }
                Err(_) if self.warm.loaded.is_none() => {}
                result => return result,
            }
            self.given_up += 1;
            self.bury_parent().await;
        }
    }

    async fn fork_parent(&mut self, first: bool) -> Result<Units, Failure> {
        let started = Instant::now();
        let id = self.warm.crew.fork_parent().await;
        let mut units = Units { labels: Vec::new(), popular: Vec::new(), packages: Vec::new() };
        let mut label_bytes = 0;
        loop {
            match self.hear(started).await? {
                (LOADER, Message::Forked { id: forked, pid }) if forked == id => self.parent_pid = Some(pid),
                (PARENT, Message::Parent { .. }) => {
                    let line = protocol::enumerate(self.wanted.system.as_str());
                    self.warm.crew.tell(PARENT, &line).await;
                }
                (PARENT, Message::ModuleError { name, cause, message }) if first => {
                    self.broken_module(name, cause, message)?;
                }
                (PARENT, Message::ModuleWarning { name, cause, message })
                    if first && self.summary.warnings < MOST_BROKEN =>
                {
                    self.warn(name, cause, message);
                }
                (PARENT, Message::Fatal { cause, message }) => {
                    return Err(Failure::Revision { cause, message });
                }
                (PARENT, Message::Labels(labels)) => {
                    let labels = labels.into_iter().map(|label| shortened(label, LONGEST_LABEL));
                    units.labels.extend(labels.inspect(|label| label_bytes += label.len()));
                    if units.labels.len() > MOST_UNITS || label_bytes > MOST_OF_LABELS {
                        return Err(Failure::limit("limit of units", MOST_UNITS.to_string()));
                    }
                }
                (PARENT, Message::Packages(packages)) => {
                    let room = units.labels.len().saturating_sub(units.packages.len());
                    units.packages.extend(packages.into_iter().take(room));
                }
                (PARENT, Message::Enumerated { popular }) => return Ok(Units { popular, ..units }),
                _ => {}
            }
        }
    }

    /// Ends the parent, and with it everything but the loader.
    async fn bury_parent(&mut self) {
        self.warm.crew.dismiss_all().await;
        if let Some(pid) = self.parent_pid.take() {
            self.warm.crew.reap_parent(pid).await;
        }
    }

    /// Begins again with a new parent, keeping what is known already.
    pub(super) async fn begin_again(&mut self) -> Result<(), Failure> {
        self.summary.deaths += 1;
        self.unfinished.clear();
        self.bury_parent().await;
        let units = self.new_parent(false).await?;
        let Some(place) = places(&self.labels, &units.labels) else {
            let message = "two enumerations of it differ".to_owned();
            return Err(Failure::Revision { cause: "unstable".to_owned(), message });
        };
        self.book.renumber(&place);
        self.labels = units.labels;
        Ok(())
    }

    /// The parent has died or does not answer, so nobody can be forked or buried: begins again with
    /// another one, which lowers what has no result yet.
    pub(super) async fn replace_parent(&mut self, failure: Failure) -> Result<(), Failure> {
        if self.given_up == MOST_GIVEN_UP {
            return Err(failure);
        }
        self.given_up += 1;
        let alone = self.workers.len() == 1;
        // From now on it is known who was there.
        self.alone = true;
        let process = self.warm.crew.pid(PARENT);
        for (id, worker) in std::mem::take(&mut self.workers) {
            let is_fork_bomb = worker.killed == Some("processes");
            let cause = if is_fork_bomb {
                self.cause_of_death(worker.killed, 0, 0)
            } else {
                ("signal", "it was alone in a worker that was lost with its parent".to_owned())
            };
            if let Blame::Culprit(_) = self.lost(id, process, alone || is_fork_bomb, cause) {
                // That was the cause, and it is no more.
                self.given_up = 0;
            }
        }
        self.begin_again().await
    }

    /// How long loader and parent may take for what takes no time.
    pub(super) fn patience(&self) -> Duration {
        STILL.min(self.warm.request.limits.package_time)
    }

    /// The failure of those that take longer.
    pub(super) fn still(&self) -> Failure {
        Failure::Still { limit: format!("{:?}", self.patience()) }
    }

    /// How the loader or the parent ended, which has closed its connection, or was cut off for this `fault`.
    pub(super) async fn death_of(&mut self, id: usize, fault: Option<&'static str>) -> Failure {
        let how = self.end_of(id).await;
        Failure::Died(fault.map_or(how, str::to_owned))
    }

    async fn end_of(&mut self, id: usize) -> String {
        if id == PARENT
            && let Some(pid) = self.parent_pid.take()
        {
            self.warm.crew.reap_parent(pid).await;
            let end = tokio::time::Instant::now() + FUNERAL;
            while let Ok(heard) = tokio::time::timeout_at(end, self.warm.crew.heard()).await {
                match heard {
                    Received::Said(LOADER, Message::Reaped { pid: reaped, code, signal })
                        if reaped == pid =>
                    {
                        return self.cause_of_death(None, code, signal).1;
                    }
                    Received::Disconnected(LOADER, _) => break,
                    _ => {}
                }
            }
        }
        self.warm.loaded = None;
        self.warm.crew.last_words().await
    }
}

/// Where each unit is in another enumeration of the same: Guile's modules have no order that is the same
/// in two processes. Those with equal labels keep theirs among each other.
fn places(old: &[String], new: &[String]) -> Option<Vec<usize>> {
    let mut found: HashMap<&str, VecDeque<usize>> = HashMap::new();
    for (place, label) in new.iter().enumerate() {
        found.entry(label).or_default().push_back(place);
    }
    let places: Option<Vec<usize>> =
        old.iter().map(|label| found.get_mut(label.as_str())?.pop_front()).collect();
    places.filter(|places| places.len() == new.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_found_again_in_any_order_but_only_all_of_them() {
        let of = |labels: &str| labels.chars().map(String::from).collect::<Vec<_>>();
        assert_eq!(places(&of("abca"), &of("caab")), Some(vec![1, 3, 0, 2]));
        assert_eq!(places(&of("ab"), &of("abb")), None);
        assert_eq!(places(&of("ab"), &of("aa")), None);
    }
}
