//! Failed builds that other builds wait for, found in the graph of derivations.
//!
//! A coordinator does not report that a build waits for a failed one: it leaves the build as
//! scheduled.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::db::{Build, BuildId, Db, DerivationId, Result};

/// A failed build, and the builds that wait for it in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// The failed or rejected build.
    pub build: Build,
    /// The builds that need it, directly or not, in ascending order.
    pub blocked: Vec<BuildId>,
}

/// The targets that each derivation needs, directly or not.
type Below = HashMap<DerivationId, Arc<BTreeSet<DerivationId>>>;

impl Db {
    /// The failed builds that other builds wait for, the one that blocks most first.
    pub async fn blockers(&self) -> Result<Vec<Blocker>> {
        let sql = sql!("select id, derivation_id from build where state in {waiting} order by id");
        let waiting: Vec<(BuildId, DerivationId)> =
            each!(&self.readers, pool, sql => sqlx::query_as(sql).fetch_all(pool).await?);
        self.blockers_among(&waiting).await
    }

    /// The failed builds that this one waits for. Each lists only this build as blocked.
    pub async fn blockers_of(&self, build: &Build) -> Result<Vec<Blocker>> {
        self.blockers_among(&[(build.id, build.derivation_id)]).await
    }

    /// The failed builds that each of these builds needs, directly or not, `most` of each; nothing for
    /// a build that needs none.
    pub async fn failed_roots(
        &self,
        builds: &[(BuildId, DerivationId)],
        most: usize,
    ) -> Result<HashMap<BuildId, Vec<BuildId>>> {
        let (failed, below) = self.failed_below(builds).await?;
        let causes = |(build, derivation): &(BuildId, DerivationId)| {
            let roots: BTreeSet<BuildId> =
                below.get(derivation)?.iter().map(|target| failed[target]).collect();
            Some((*build, roots.into_iter().take(most).collect()))
        };
        Ok(builds.iter().filter_map(causes).collect())
    }

    /// The derivations that failed, with their builds, and which of them are below those of builds.
    async fn failed_below(
        &self,
        builds: &[(BuildId, DerivationId)],
    ) -> Result<(HashMap<DerivationId, BuildId>, Below)> {
        let failed = sql!(
            "select d.id, b.id from derivation d join build b on b.output_set_id = d.output_set_id
             where b.state in {failed} and exists (failures(b, d.id))"
        );
        let failed: Vec<(DerivationId, BuildId)> =
            each!(&self.readers, pool, failed => sqlx::query_as(failed).fetch_all(pool).await?);
        let failed: HashMap<DerivationId, BuildId> = failed.into_iter().collect();
        let targets: HashSet<DerivationId> = failed.keys().copied().collect();
        let below = self.below(builds.iter().map(|&(_, derivation)| derivation), &targets).await?;
        Ok((failed, below))
    }

    async fn blockers_among(&self, waiting: &[(BuildId, DerivationId)]) -> Result<Vec<Blocker>> {
        let (failed, below) = self.failed_below(waiting).await?;
        let mut blocked: BTreeMap<BuildId, Vec<BuildId>> = BTreeMap::new();
        for (build, derivation) in waiting {
            let causes = below.get(derivation).into_iter().flat_map(|targets| targets.iter());
            for cause in causes.map(|target| failed[target]).collect::<BTreeSet<_>>() {
                blocked.entry(cause).or_default().push(*build);
            }
        }
        if blocked.is_empty() {
            return Ok(Vec::new());
        }
        let builds = self.builds_numbered(blocked.keys().copied()).await?;
        let named = |build: Build| Some(Blocker { blocked: blocked.remove(&build.id)?, build });
        let mut blockers: Vec<Blocker> = builds.into_iter().filter_map(named).collect();
        blockers.sort_by_key(|blocker| (std::cmp::Reverse(blocker.blocked.len()), blocker.build.id));
        Ok(blockers)
    }

    /// For each derivation among `roots` and their inputs that needs any of `targets`, directly or
    /// not: the targets that it needs.
    async fn below(
        &self,
        roots: impl Iterator<Item = DerivationId>,
        targets: &HashSet<DerivationId>,
    ) -> Result<Below> {
        let mut below = Below::new();
        for (id, inputs) in self.graph_down_to(roots, targets).await? {
            let mut found: Option<Arc<BTreeSet<DerivationId>>> = None;
            let sets = inputs.iter().filter_map(|input| below.get(input));
            for set in sets {
                match &mut found {
                    None => found = Some(Arc::clone(set)),
                    // Most derivations of a graph wait for the same targets.
                    Some(found) if Arc::ptr_eq(found, set) || set.is_subset(found) => {}
                    Some(found) => Arc::make_mut(found).extend(set.iter().copied()),
                }
            }
            for target in inputs.iter().filter(|input| targets.contains(input)) {
                Arc::make_mut(found.get_or_insert_default()).insert(*target);
            }
            below.extend(found.map(|found| (id, found)));
        }
        Ok(below)
    }
}
