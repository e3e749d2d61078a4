//! The parent before it forks: it loads modules, enumerates the units and lowers some of them.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::super::book::Book;
use super::super::outcome::{Event, Failure};
use super::super::process::{Heard, PARENT};
use super::super::protocol::{self, Message};
use super::super::request::Request;
use super::{Supervisor, TICK, milliseconds};

/// With fewer units than this, nothing is lowered before forking.
const WORTH_WARMING: usize = 480;
/// More units than this that are said to be popular are not lowered before forking.
const MOST_POPULAR: usize = 200;
/// How many of the units that are likely to have changed are lowered before forking as well: most
/// commits change few, and they should not wait for the others.
const MOST_LIKELY: usize = 200;
/// Fewer units than this for each worker are not worth forking one.
const WORTH_A_WORKER: usize = 40;
/// Enumerating may take so many times the time for one unit.
const LOADING: u32 = 6;
/// More modules than this that do not load, and something is wrong with all of them.
const MOST_BROKEN: usize = 20_000;

impl Supervisor<'_> {
    pub(super) async fn enumerate(&mut self) -> Result<(), Failure> {
        let started = Instant::now();
        loop {
            let (from, message) = self.hear(started).await?;
            match message {
                Message::Parent { guix, .. } => {
                    self.summary.guix_version = guix;
                    let Request { build, system, channels, .. } = &self.request;
                    let line = protocol::evaluate(build, system.as_str(), channels);
                    self.crew.tell(from, &line).await;
                }
                Message::ModuleError { name, cause, message } => {
                    self.summary.broken_modules += 1;
                    self.fail(name, cause, message);
                    if self.summary.broken_modules > MOST_BROKEN {
                        let message = format!("more than {MOST_BROKEN} modules do not load");
                        return Err(Failure::Revision { cause: "module".to_owned(), message });
                    }
                }
                Message::Fatal { cause, message } => return Err(Failure::Revision { cause, message }),
                Message::Enumerated { labels, popular } => {
                    self.popular = popular.into_iter().filter(|unit| *unit < labels.len()).collect();
                    self.labels = labels;
                    break;
                }
                _ => {}
            }
        }
        let (units, likely) = (self.labels.len(), &self.request.likely);
        let lanes = self.request.limits.workers.min(units.div_ceil(WORTH_A_WORKER)).max(1);
        self.book = Book::new(units, lanes, |unit| likely.contains(&self.labels[unit]));
        self.request.limits.workers = lanes;
        self.summary.units = units;
        self.summary.load_ms = milliseconds(self.started);
        self.events.send(Event::Enumerated { units }).await.map_err(|_| Failure::Abandoned)
    }

    /// Lowers in the parent what is likely to have changed and what most packages need, so that no
    /// two workers do that; false when it has to be killed.
    pub(super) async fn warm(&mut self) -> Result<bool, Failure> {
        let started = Instant::now();
        let units = self.labels.len();
        if units < WORTH_WARMING {
            return Ok(true);
        }
        let likely = (0..units).filter(|unit| self.request.likely.contains(&self.labels[*unit]));
        let popular = self.popular.iter().copied().take(MOST_POPULAR);
        let list: Vec<usize> = likely.take(MOST_LIKELY).chain(popular).collect();
        self.crew.tell(PARENT, &protocol::with_indexes("warm", &list)).await;
        let mut heard = Instant::now();
        loop {
            match tokio::time::timeout(TICK, self.crew.heard()).await {
                Ok(Heard::Said(_, Message::Idle)) => break,
                Ok(Heard::Said(_, message)) => {
                    heard = Instant::now();
                    self.result_of_parent(message)?;
                    if self.flushed.elapsed() < TICK {
                        continue;
                    }
                }
                Ok(Heard::Left(PARENT)) => return Ok(false),
                Err(_) if heard.elapsed() > self.request.limits.package_time => return Ok(false),
                Ok(Heard::Left(_)) | Err(_) => {}
            }
            if self.check_memory().is_err() {
                return Ok(false);
            }
            self.flush().await?;
        }
        self.summary.warm_ms = milliseconds(started);
        Ok(true)
    }

    fn result_of_parent(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Job(job) if !job.last && !self.book.is_closed(job.unit) => {
                self.unfinished_job(PARENT, *job)?;
            }
            Message::Job(job) if job.last && self.book.close(job.unit) => {
                self.batch.done += 1;
                self.jobs(PARENT, *job)?;
            }
            Message::Nothing { unit } if self.book.close(unit) => self.batch.done += 1,
            Message::Error { unit, cause, message } if self.book.close(unit) => {
                self.unit_failed(unit, &cause, message);
            }
            _ => {}
        }
        Ok(())
    }

    /// Begins again with a new parent, keeping what is known already.
    pub(super) async fn restart(&mut self) -> Result<(), Failure> {
        self.summary.deaths += 1;
        self.unfinished.clear();
        let old = std::mem::take(&mut self.labels);
        self.crew = self.crew.restart(&self.request)?;
        let mut book = std::mem::replace(&mut self.book, Book::new(0, 1, |_| false));
        let broken = self.summary.broken_modules;
        let started = Instant::now();
        loop {
            let (from, message) = self.hear(started).await?;
            match message {
                Message::Parent { .. } => {
                    let Request { build, system, channels, .. } = &self.request;
                    let line = protocol::evaluate(build, system.as_str(), channels);
                    self.crew.tell(from, &line).await;
                }
                Message::Fatal { cause, message } => return Err(Failure::Revision { cause, message }),
                Message::Enumerated { labels, .. } => {
                    let Some(place) = places(&old, &labels) else {
                        let message = "two enumerations of it differ".to_owned();
                        return Err(Failure::Revision { cause: "unstable".to_owned(), message });
                    };
                    book.renumber(&place);
                    self.labels = labels;
                    break;
                }
                _ => {}
            }
        }
        self.summary.broken_modules = broken;
        self.book = book;
        Ok(())
    }

    /// Waits for a message while the parent loads modules, which it began to do at `started`.
    async fn hear(&mut self, started: Instant) -> Result<(usize, Message), Failure> {
        let limit = self.request.limits.package_time * LOADING;
        let mut active = (self.crew.cpu_ms(), Instant::now());
        loop {
            match tokio::time::timeout(TICK, self.crew.heard()).await {
                Ok(Heard::Said(from, message)) => return Ok((from, message)),
                Ok(Heard::Left(_)) => return Err(Failure::Died(self.crew.last_words().await)),
                Err(_) if started.elapsed() > limit => {
                    return Err(Failure::Limit {
                        what: "time limit for loading modules",
                        limit: format!("{limit:?}"),
                    });
                }
                Err(_) => {
                    self.check_processes().await?;
                    self.check_memory()?;
                    let cpu = self.crew.cpu_ms();
                    if cpu != active.0 {
                        active = (cpu, Instant::now());
                    } else if active.1.elapsed() > self.patience() {
                        return Err(Failure::Still { limit: format!("{:?}", self.patience()) });
                    }
                }
            }
        }
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
