use super::{Actions, Refusal, Result, conflict, count, missing};
use crate::db::{BuildFilter, BuildId, BuildState};
use crate::domain::plan::route::Routes;

/// Most builds of each state that one request retries.
const MOST_BUILDS: i64 = 100_000;

impl Actions<'_> {
    /// Queues the failed builds that the filter selects again.
    pub async fn retry_builds(&self, filter: &BuildFilter) -> Result<String> {
        self.check(filter.spec.as_deref()).await?;
        if let Some(name) = &filter.spec {
            self.spec(name).await?;
        }
        let mut ids: Vec<BuildId> = Vec::new();
        for state in BuildState::ALL.into_iter().filter(|state| state.has_failed()) {
            if filter.state.is_none_or(|wanted| wanted == state) {
                let filter = BuildFilter { state: Some(state), ..filter.clone() };
                ids.extend(self.db.builds(&filter, None, MOST_BUILDS).await?.iter().map(|build| build.id));
            }
        }
        let done = self.db.retry_builds(&ids, &subject(filter), self.author, self.now).await?;
        let count = count(usize::try_from(done).unwrap_or(usize::MAX), "build is", "builds are");
        Ok(format!("{count} queued again"))
    }

    /// Queues one failed build once more.
    pub async fn retry_build(&self, id: BuildId) -> Result<String> {
        let missing =
            || Refusal::Missing(format!("there is no build {id}\nhint: `gorget builds` lists them"));
        let build = self.db.build(id).await?.ok_or_else(missing)?;
        self.check(Some(&build.spec)).await?;
        let subject = format!("build {id} ({})", build.job);
        if self.db.retry_builds(&[id], &subject, self.author, self.now).await? == 0 {
            return conflict(format!("build {id} is {}: it did not fail", build.state.word()));
        }
        Ok(format!("build {id} of {} is queued again", build.job))
    }

    /// Takes all builds from a coordinator that is no longer configured.
    pub async fn reassign(&self, name: &str, routes: &Routes) -> Result<String> {
        self.check(None).await?;
        if routes.0.iter().any(|route| route.coordinator == *name) {
            return conflict(format!(
                "{name} is still in gorget.toml, and may continue its builds\nhint: remove it there first, and restart `gorget run`"
            ));
        }
        let builds = self.db.builds_at(name).await?;
        if builds.is_empty() {
            return missing(format!(
                "{name} has no builds\nhint: `gorget status` shows which coordinator has which"
            ));
        }
        self.db.reassign(name, &builds, self.author, self.now).await?;
        Ok(format!("{} reassigned from {name}", count(builds.len(), "build is", "builds are")))
    }
}

/// The failed builds that a filter selects, in words.
fn subject(filter: &BuildFilter) -> String {
    let BuildFilter { spec, system, state, name, is_disturbed } = filter;
    let mut words = format!("{} builds", state.map_or("failed", BuildState::word));
    words += &spec.as_ref().map(|spec| format!(" of {spec}")).unwrap_or_default();
    words += &system.as_ref().map(|system| format!(" for {system}")).unwrap_or_default();
    words += &name.as_ref().map(|name| format!(" with names that begin with {name}")).unwrap_or_default();
    words + if *is_disturbed { " whose machine was disturbed" } else { "" }
}
