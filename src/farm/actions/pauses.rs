use super::{Actions, Refusal, Result, conflict, missing};
use crate::db::Pausable;
use crate::domain::spec::System;

/// Longest reason, in characters.
const LONGEST_REASON: usize = 500;

impl Actions<'_> {
    /// Pauses a spec, a system, a host or submission.
    pub async fn pause(&self, what: &Pausable, reason: &str) -> Result<String> {
        self.check_pausable(what).await?;
        if reason.chars().count() > LONGEST_REASON || reason.contains(char::is_control) {
            let text = format!("a reason is one line of at most {LONGEST_REASON} characters");
            return Err(Refusal::Wrong(text));
        }
        if !self.db.pause(what, reason, self.author, self.now).await? {
            return conflict(format!("{} is paused already", what.text()));
        }
        Ok(format!("{} is paused until somebody resumes it", what.text()))
    }

    /// Resumes something that was paused.
    pub async fn resume(&self, what: &Pausable) -> Result<String> {
        // Something that no longer exists can still be resumed.
        self.check(of_spec(what)).await?;
        if !self.db.resume_paused(what, self.author, self.now).await? {
            return conflict(format!("{} is not paused\nhint: `gorget status` shows what is", what.text()));
        }
        Ok(format!("{} is resumed", what.text()))
    }

    async fn check_pausable(&self, what: &Pausable) -> Result<()> {
        self.check(of_spec(what)).await?;
        match what {
            Pausable::Spec(name) => self.spec(name).await.map(drop),
            Pausable::System(name) if System::new(name).is_none() => {
                missing(format!("Guix has no system {name}"))
            }
            Pausable::Host(name) if self.db.hosts().await?.iter().all(|host| host.name != *name) => {
                missing(format!("there is no host {name}\nhint: `gorget status` lists them"))
            }
            _ => Ok(()),
        }
    }
}

/// The spec that a pause is for; `None` if it is for more than one spec.
fn of_spec(what: &Pausable) -> Option<&str> {
    match what {
        Pausable::Spec(name) => Some(name),
        _ => None,
    }
}
