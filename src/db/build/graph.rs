use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use crate::db::complete::Complete;
use crate::db::history::interval::path;
use crate::db::{Db, DerivationId, Error, EvaluationId, Result, rows};
use crate::domain::dependents::Graph;
use crate::guix::edges;

impl Db {
    /// The inputs of these derivations.
    pub async fn derivation_inputs(
        &self,
        ids: &[DerivationId],
    ) -> Result<Vec<(DerivationId, Vec<DerivationId>)>> {
        let wanted = rows(ids.iter().map(|id| Value::from(id.0)));
        let sql = sql!("select id, inputs from derivation where id in ids($1)");
        let found: Vec<(DerivationId, Vec<u8>)> =
            each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(&wanted).fetch_all(pool).await?);
        let read = |(id, bytes): (DerivationId, Vec<u8>)| match edges::decode(&bytes) {
            Ok(inputs) => Ok((id, inputs.into_iter().map(DerivationId).collect())),
            Err(error) => Err(Error::Damaged { what: format!("derivation {id}"), reason: error.to_string() }),
        };
        found.into_iter().map(read).collect()
    }

    /// The numbers of the known derivations with these hashes in their store paths.
    pub async fn derivation_ids<S: AsRef<str>>(&self, hashes: &[S]) -> Result<HashMap<String, DerivationId>> {
        let wanted = rows(hashes.iter().map(|hash| Value::from(hash.as_ref())));
        let sql = sql!("of_hashes(derivation: t.hash, t.id)");
        let found: Vec<(String, DerivationId)> =
            each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(&wanted).fetch_all(pool).await?);
        Ok(found.into_iter().collect())
    }

    /// The derivations from `roots` down to `targets`, each with its inputs in that range.
    pub async fn graph_between(
        &self,
        roots: impl Iterator<Item = DerivationId>,
        targets: &HashSet<DerivationId>,
    ) -> Result<Graph> {
        let graph = self.graph_down_to(roots, targets).await?;
        let numbers = |(id, inputs): (DerivationId, Vec<DerivationId>)| {
            (id.0, inputs.into_iter().map(|input| input.0).collect())
        };
        Ok(graph.into_iter().map(numbers).collect())
    }

    /// The derivations of the jobs of a complete evaluation.
    pub async fn derivations_of_jobs(&self, evaluation: EvaluationId) -> Result<HashSet<DerivationId>> {
        Ok(self.job_derivations(evaluation).await?.into_iter().map(|(_, id)| id).collect())
    }

    /// The jobs of a complete evaluation that need one of the jobs called `changed`, directly or
    /// not, sorted. A changed job is among them only if it needs another one.
    pub async fn dependents_among_jobs<S: AsRef<str>>(
        &self,
        evaluation: EvaluationId,
        changed: &[S],
    ) -> Result<Vec<String>> {
        let jobs = self.job_derivations(evaluation).await?;
        let changed: HashSet<&str> = changed.iter().map(AsRef::as_ref).collect();
        let targets: HashSet<DerivationId> =
            jobs.iter().filter(|(name, _)| changed.contains(name.as_str())).map(|&(_, id)| id).collect();
        let reaching = self.reaching(jobs.iter().map(|&(_, id)| id), &targets).await?;
        let mut names: Vec<String> =
            jobs.into_iter().filter(|(_, id)| reaching.contains(id)).map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The derivations among `roots` and their inputs that need one of `targets`, directly or not.
    pub(in crate::db) async fn reaching(
        &self,
        roots: impl Iterator<Item = DerivationId>,
        targets: &HashSet<DerivationId>,
    ) -> Result<HashSet<DerivationId>> {
        let mut reaching = HashSet::new();
        for (id, inputs) in self.graph_down_to(roots, targets).await? {
            if inputs.iter().any(|input| targets.contains(input) || reaching.contains(input)) {
                reaching.insert(id);
            }
        }
        Ok(reaching)
    }

    /// The derivations from `roots` down to `targets`, with their inputs.
    ///
    /// A derivation has a larger id than its inputs. So derivations older than the oldest target
    /// need not be read, and iterating over the rest by ascending id meets inputs before the
    /// derivations that need them.
    pub(in crate::db) async fn graph_down_to(
        &self,
        roots: impl Iterator<Item = DerivationId>,
        targets: &HashSet<DerivationId>,
    ) -> Result<BTreeMap<DerivationId, Vec<DerivationId>>> {
        let mut graph = BTreeMap::new();
        let Some(&oldest) = targets.iter().min() else { return Ok(graph) };
        let mut seen: HashSet<DerivationId> = roots.filter(|&id| id > oldest).collect();
        let mut level: Vec<DerivationId> = seen.iter().copied().collect();
        while !level.is_empty() {
            let found = self.derivation_inputs(&level).await?;
            level.clear();
            for (id, inputs) in found {
                let inputs: Vec<_> = inputs.into_iter().filter(|&input| input >= oldest).collect();
                level.extend(inputs.iter().filter(|&&input| input > oldest && seen.insert(input)));
                graph.insert(id, inputs);
            }
        }
        Ok(graph)
    }

    async fn job_derivations(&self, evaluation: EvaluationId) -> Result<Vec<(String, DerivationId)>> {
        let sql = sql!(
            "select n.name, s.derivation_id from job_interval s join job_name n on n.id = s.name_id
             where s.sequence_id = $1 and s.last_evaluation is null and s.first_evaluation <= $2
             union all
             select n.name, s.derivation_id from job_interval s join job_name n on n.id = s.name_id
             where s.sequence_id = $1 and on_path($3) and s.last_evaluation >= $2 and s.first_evaluation <= $2"
        );
        let at = Complete::find(self, evaluation).await?;
        each!(&self.readers, pool, sql =>
            Ok(sqlx::query_as(sql).bind(at.sequence).bind(at.id).bind(path(at.id)).fetch_all(pool).await?))
    }
}
