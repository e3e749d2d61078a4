//! Looks at remote branches and records pushes. One look at a repository serves all the branches
//! of it that are due.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::channel::Mirrors;
use crate::clock::{Clock, Seconds};
use crate::daemon::{Bells, Keeper, Once, Progress, back_off};
use crate::db::{Branch, Db};
use crate::spec::Spec;

/// The keeper that looks.
#[derive(Debug)]
pub struct Watch {
    /// Where specs and branches stand.
    pub db: Db,
    /// Who looks.
    pub mirrors: Mirrors,
    /// What time it is.
    pub clock: Clock,
    /// Whom to wake.
    pub bells: Bells,
    /// Whether to look at what is not due.
    pub once: Once,
}

impl Keeper for Watch {
    const NAME: &'static str = "watch";
    const PERIOD: Duration = Duration::from_secs(5);

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let due = self.due().await?;
        let Some(url) = due.first().map(|watched| watched.branch.url.clone()) else {
            return Ok(Progress::Idle);
        };
        let due: Vec<Watched> = due.into_iter().filter(|watched| watched.branch.url == url).collect();
        self.look(&url, &due).await?;
        self.bells.fetch.ring();
        Ok(Progress::Worked)
    }
}

/// A branch that some spec watches.
struct Watched {
    branch: Branch,
    /// When it is to be looked at after a look that succeeds now.
    next: Seconds,
}

impl Watch {
    /// The branches that are due, the one that waits longest first.
    async fn due(&self) -> anyhow::Result<Vec<Watched>> {
        let now = self.clock.now();
        let mut periods: BTreeMap<(String, String), Vec<Spec>> = BTreeMap::new();
        for stored in self.db.specs().await? {
            if !stored.present || !stored.spec.active {
                continue;
            }
            for channel in stored.spec.channels.iter().filter(|channel| channel.commit.is_none()) {
                let key = (channel.url.clone(), channel.branch.clone());
                periods.entry(key).or_default().push(stored.spec.clone());
            }
        }
        for (url, name) in periods.keys() {
            self.db.ensure_branch(url, name).await?;
        }
        let mut due = Vec::new();
        for branch in self.db.branches().await? {
            let Some(specs) = periods.get(&(branch.url.clone(), branch.name.clone())) else { continue };
            let after = |at| specs.iter().map(|spec| spec.period.next(at)).min().unwrap_or(at);
            // Judged from the last look, so that a period that was changed counts at once.
            let at = match branch.looked_at {
                None => 0,
                Some(_) if branch.failures > 0 => branch.next_look,
                Some(looked_at) => after(looked_at),
            };
            if self.once.wants(&name(&branch), at <= now) {
                due.push((at, Watched { branch, next: after(now) }));
            }
        }
        due.sort_by_key(|(at, _)| *at);
        Ok(due.into_iter().map(|(_, watched)| watched).collect())
    }

    async fn look(&mut self, url: &str, due: &[Watched]) -> anyhow::Result<()> {
        let names: Vec<&str> = due.iter().map(|watched| watched.branch.name.as_str()).collect();
        let tips = self.mirrors.look(url, &names).await;
        let now = self.clock.now();
        for Watched { branch, next } in due {
            self.once.done(&name(branch));
            let again = now + back_off(branch.failures);
            match &tips {
                Ok(tips) => {
                    if let Some(tip) = tips.get(&branch.name).and_then(Option::as_ref) {
                        if self.db.record_look(branch.id, tip, now, *next).await? {
                            tracing::info!(url, branch = branch.name, commit = tip, "a branch moved");
                        }
                    } else {
                        let reason = format!("{url} has no branch {}", branch.name);
                        tracing::warn!(url, branch = branch.name, "a branch is missing");
                        self.db.record_vanished(branch.id, &reason, now, again).await?;
                    }
                }
                Err(error) => {
                    tracing::warn!(url, branch = branch.name, "cannot look at a branch: {error}");
                    self.db.record_look_failure(branch.id, &error.to_string(), now, again).await?;
                }
            }
        }
        Ok(())
    }
}

fn name(branch: &Branch) -> String {
    format!("{} {}", branch.url, branch.name)
}
