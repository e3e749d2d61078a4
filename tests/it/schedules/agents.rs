use gorget::db::{BuildRef, NewEvent};
use gorget::domain::attempt::Attempt;
use serde_json::Value;

use super::crash::until_crash;
use super::world::{NAME, World};
use crate::support::coordinator::{Held, Mood};

impl World<'_> {
    pub fn assert_nothing_is_built_twice(&self) {
        for (number, attempts) in self.attempts() {
            let going_on = attempts.iter().filter(|held| is_going_on(held)).count();
            assert!(going_on <= 1, "{number} is built twice at once: {attempts:?}");
            let built = attempts.iter().position(|held| held.result == Some(true));
            let again =
                built.map_or(0, |built| attempts[built + 1..].iter().filter(|held| !held.canceled).count());
            assert_eq!(again, 0, "{number} was built, and is built again: {attempts:?}");
        }
    }

    pub async fn coordinator_changes(&mut self) {
        match self.lot.below(6) {
            0 => self.coordinator.stop().await,
            1 | 2 => {
                // What it told and nobody heard is lost.
                self.hear();
                self.news.retain(|_| self.lot.once_in(2));
                self.coordinator.restart().await;
                self.heard = 0;
                self.coordinator.feel(Mood::Sound);
            }
            3 => self.coordinator.feel(Mood::Sound),
            _ => {
                let seed = u64::try_from(self.lot.below(1 << 30)).unwrap();
                self.coordinator.feel(Mood::Fickle(seed));
            }
        }
    }

    /// Agents go on, somebody gives something up, and some of what is told arrives.
    pub async fn something_is_built(&mut self) {
        for _ in 0..4 {
            let waiting: Vec<Held> = self.coordinator.builds().into_iter().filter(is_going_on).collect();
            if waiting.is_empty() {
                break;
            }
            let held = &waiting[self.lot.below(waiting.len())];
            let name = held.derivation["/gnu/store/".len() + 33..].trim_end_matches(".drv").to_owned();
            match self.lot.below(12) {
                0 => self.coordinator.cancel(&name),
                1 => self.coordinator.fail_setup(&name),
                _ if !held.started => self.coordinator.begin(&name),
                _ => self.coordinator.finish(&name, self.lot.once_in(2)),
            }
        }
        self.hear();
        for _ in 0..self.lot.below(4) {
            if self.news.is_empty() {
                break;
            }
            let place = self.lot.below(self.news.len());
            let event = self.news[place].clone();
            if !self.lot.once_in(3) {
                self.news.remove(place);
            }
            let (db, now) = (self.db, self.clock.now());
            let telling = async { Ok(db.record_events(NAME, &[event], now).await?) };
            until_crash(db, &mut self.lot, 2, telling).await;
        }
    }

    fn hear(&mut self) {
        let told = self.coordinator.told();
        for (name, data) in &told[self.heard..] {
            self.news.extend(event(name, data, self.lot.once_in(3)));
        }
        self.heard = told.len();
    }
}

/// What an event of the coordinator means. That something failed can be told as a disturbance.
fn event(name: &str, data: &Value, disturbed: bool) -> Option<NewEvent> {
    let reference = data.get("id").or_else(|| data.get("build_id")).unwrap().as_str().unwrap().to_owned();
    let build = data.get("derivation").map_or(BuildRef::Attempt, |derivation| {
        let path = derivation.as_str().unwrap();
        BuildRef::Derivation(path["/gnu/store/".len()..][..32].to_owned())
    });
    let attempt = match name {
        "build-submitted" => Attempt::Scheduled,
        "build-started" => Attempt::Started,
        "build-canceled" => Attempt::Canceled,
        "build-success" => Attempt::Succeeded,
        "build-failure" if disturbed => Attempt::FailedOther,
        "build-failure" => Attempt::Failed,
        _ => return None,
    };
    Some(NewEvent { build, reference, attempt, happened_at: None })
}

pub fn is_going_on(held: &Held) -> bool {
    !held.canceled && held.result.is_none()
}
