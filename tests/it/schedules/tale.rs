use super::world::World;

impl World<'_> {
    /// Tells what happened, and how things stand then, if this schedule is the only one that was asked for.
    pub async fn tell(&self, what: &str) {
        if !self.aloud {
            return;
        }
        eprintln!("\n{}: {what}", self.clock.now());
        let attempts = self.attempts();
        for (number, build) in self.builds().await {
            let name = |reference: &String| reference[reference.len() - 3..].to_owned();
            eprintln!(
                "  {number} {:?} {:?} at {:?}{}{}: {}",
                build.state,
                build.reference.as_ref().map(name),
                build.coordinator,
                if build.sent { ", sent" } else { "" },
                if build.in_doubt { ", in_doubt" } else { "" },
                build.answer.as_deref().unwrap_or("nothing was said"),
            );
            for held in attempts.get(&number).into_iter().flatten() {
                eprintln!(
                    "      {} started {} canceled {} result {:?}",
                    name(&held.uuid),
                    held.started,
                    held.canceled,
                    held.result
                );
            }
        }
        for event in &self.news {
            eprintln!("    on its way: {:?} {:?}", event.attempt, event.reference.get(33..));
        }
    }
}
