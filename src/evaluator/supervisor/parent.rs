//! The parent of a system: forked by the loader, replaced by another when it dies or does nothing.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::super::outcome::Failure;
use super::super::process::{LOADER, PARENT, Received};
use super::super::protocol::{self, Message};
use super::super::work_queue::Death;
use super::{IDLE_TIMEOUT, MOST_BROKEN, MOST_GIVEN_UP, Supervisor};
use crate::guix::sexp::shortened;

/// How long the loader may take to say how a parent ended.
const REAP_TIMEOUT: Duration = Duration::from_secs(10);

/// The units that a parent enumerates.
pub(super) struct Units {
    pub(super) labels: Vec<String>,
    /// Indexes of those that most others need.
    pub(super) popular: Vec<usize>,
    /// The number of each unit's package; an unused number where it has none.
    pub(super) packages: Vec<usize>,
}

/// Most units of one evaluation. All packages of Guix make 31,330 units.
pub(in super::super) const MOST_UNITS: usize = 400_000;
/// Longest label of a unit, in bytes.
const LONGEST_LABEL: usize = 1000;
/// Most bytes of all labels together.
const MOST_OF_LABELS: usize = 40 << 20;

impl Supervisor<'_> {
    /// Forks a parent and has it enumerate the units. The modules that the parent cannot load
    /// become errors on the `first` call only. Replaces a parent or loader that does nothing, and a
    /// loader that has ended.
    pub(super) async fn new_parent(&mut self, first: bool) -> Result<Units, Failure> {
        loop {
            self.loaded().await?;
            match self.fork_parent(first).await {
                Err(failure) if self.given_up == MOST_GIVEN_UP => return Err(failure),
                Err(Failure::Idle { .. }) => {
                    if self.parent_pid.is_none() {
                        // The loader did nothing.
                        self.warm.loaded = None;
                    }
                }
                Err(_) if self.warm.loaded.is_none() => {}
                result => return result,
            }
            self.given_up += 1;
            self.end_parent().await;
        }
    }

    async fn fork_parent(&mut self, first: bool) -> Result<Units, Failure> {
        let started = Instant::now();
        let id = self.warm.processes.fork_parent().await;
        let mut units = Units { labels: Vec::new(), popular: Vec::new(), packages: Vec::new() };
        let mut label_bytes = 0;
        loop {
            match self.hear(started).await? {
                (LOADER, Message::Forked { id: forked, pid }) if forked == id => self.parent_pid = Some(pid),
                (PARENT, Message::Parent { .. }) => {
                    let line = protocol::enumerate(self.wanted.system.as_str());
                    self.warm.processes.send(PARENT, &line).await;
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

    /// Ends the parent, and with it all processes but the loader.
    async fn end_parent(&mut self) {
        self.warm.processes.dismiss_all().await;
        if let Some(pid) = self.parent_pid.take() {
            self.warm.processes.reap_parent(pid).await;
        }
    }

    /// Begins again with a new parent, and keeps the results so far.
    pub(super) async fn begin_again(&mut self) -> Result<(), Failure> {
        self.summary.deaths += 1;
        self.unfinished.clear();
        self.end_parent().await;
        let units = self.new_parent(false).await?;
        let Some(place) = places(&self.labels, &units.labels) else {
            let message = "two enumerations of it differ".to_owned();
            return Err(Failure::Revision { cause: "unstable".to_owned(), message });
        };
        self.queue.renumber(&place);
        self.labels = units.labels;
        Ok(())
    }

    /// Replaces a parent that has died or does not answer: without it, no worker can be forked or
    /// reaped. The new parent's workers lower the units that have no result yet.
    pub(super) async fn replace_parent(&mut self, failure: Failure) -> Result<(), Failure> {
        if self.given_up == MOST_GIVEN_UP {
            return Err(failure);
        }
        self.given_up += 1;
        let alone = self.workers.len() == 1;
        // From now on one worker runs at a time, so the cause of a death is known.
        self.alone = true;
        let process = self.warm.processes.pid(PARENT);
        for (id, worker) in std::mem::take(&mut self.workers) {
            let is_fork_bomb = worker.killed == Some("processes");
            let cause = if is_fork_bomb {
                self.cause_of_death(worker.killed, 0, 0)
            } else {
                ("signal", "it was alone in a worker that was lost with its parent".to_owned())
            };
            if let Death::GiveUp(_) = self.blame_lost_unit(id, process, alone || is_fork_bomb, cause) {
                // The cause was found, and is not evaluated again.
                self.given_up = 0;
            }
        }
        self.begin_again().await
    }

    /// How long the loader and the parent may take for requests that need no time.
    pub(super) fn idle_timeout(&self) -> Duration {
        IDLE_TIMEOUT.min(self.warm.request.limits.package_time)
    }

    /// The failure of a loader or parent that takes longer.
    pub(super) fn idle_failure(&self) -> Failure {
        Failure::Idle { limit: format!("{:?}", self.idle_timeout()) }
    }

    /// The failure for the end of the loader or the parent, which has closed its connection, or was
    /// cut off for this `fault`.
    pub(super) async fn death_of(&mut self, id: usize, fault: Option<&'static str>) -> Failure {
        let how = self.end_of(id).await;
        Failure::ProcessEnded(fault.map_or(how, str::to_owned))
    }

    async fn end_of(&mut self, id: usize) -> String {
        if id == PARENT
            && let Some(pid) = self.parent_pid.take()
        {
            self.warm.processes.reap_parent(pid).await;
            let end = tokio::time::Instant::now() + REAP_TIMEOUT;
            while let Ok(event) = tokio::time::timeout_at(end, self.warm.processes.next_event()).await {
                match event {
                    Received::Message(LOADER, Message::Reaped { pid: reaped, code, signal })
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
        self.warm.processes.exit_reason().await
    }
}

/// Where each unit is in another enumeration of the same units; `None` if they differ. The order of
/// Guile's modules differs from process to process. Units with equal labels keep their order among
/// each other.
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
