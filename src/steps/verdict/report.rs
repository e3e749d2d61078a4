use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::compare::{Comparison, compare_evaluations};
use super::{Farm, Judge};
use crate::db::{Build, BuildId, Evaluation, EvaluationState, StoredSpec};
use crate::domain::spec::{Policy, System};
use crate::domain::verdict::{
    Cause, ChangedJob, Class, Report, SystemInput, SystemReport, SystemState, VerdictInput, reasons, word,
};

/// Most causes of a system that a report has.
const CAUSES: usize = 50;
/// Most jobs of a cause.
const JOBS_OF_CAUSE: usize = 10;
/// Most jobs of a class.
const JOBS: usize = 200;
/// Most bytes of the names of all jobs that the report of a system lists.
const NAMES: usize = 64 << 10;
/// Most characters of what others say.
const SAID: usize = 1000;
/// The classes whose jobs a report lists.
const LISTED: [Class; 6] = [
    Class::NoLongerEvaluates,
    Class::Regression,
    Class::NewBroken,
    Class::Unattributed,
    Class::StillBroken,
    Class::Fixed,
];

impl Judge {
    /// Judges a branch.
    pub(super) async fn report(
        &self,
        farm: &Farm,
        stored: &StoredSpec,
        policy: &Policy,
    ) -> anyhow::Result<Report> {
        let (mut inputs, mut systems) = (Vec::new(), Vec::new());
        for system in &stored.spec.systems {
            let (state, mut report) = self.system(farm, stored, policy, system).await?;
            report.required = policy.requires(system);
            inputs.push(SystemInput {
                system: system.to_string(),
                required: report.required,
                newer: farm.is_behind(stored, system),
                paused: farm.system_pause(system),
                state,
            });
            systems.push(report);
        }
        let input = VerdictInput {
            block: farm.block(stored).map(|(block, text)| (block, cut(&text))),
            known: policy.known,
            unwatched: farm.unwatched(stored),
            paused: farm.pause(stored),
            systems: inputs,
            waivers: farm.waivers(stored),
        };
        let reasons = reasons(&input);
        let (base, spec) = (policy.base.clone(), stored.spec.name.clone());
        Ok(Report { base, word: word(&reasons), reasons, spec, systems })
    }

    async fn system(
        &self,
        farm: &Farm,
        stored: &StoredSpec,
        policy: &Policy,
        system: &System,
    ) -> anyhow::Result<(SystemState, SystemReport)> {
        let mut report = SystemReport {
            base: None,
            base_revision: None,
            causes: Vec::new(),
            classes: BTreeMap::new(),
            evaluation: None,
            jobs: BTreeMap::new(),
            required: false,
            revision: None,
            system: system.to_string(),
        };
        if let Some(newest) = farm.newest_of(stored.id, system)
            && newest.state == EvaluationState::Failed
        {
            report.evaluation = Some(newest.id.0);
            report.revision = Some(newest.revision.short());
            let reason = newest.reason.as_deref().map_or_else(|| "no reason is recorded".to_owned(), cut);
            let base = farm.newest.iter().find(|one| one.spec == policy.base && one.system == *system);
            let base_failed = base.is_some_and(|base| base.state == EvaluationState::Failed);
            return Ok((SystemState::Failed { reason, base_failed }, report));
        }
        let Some(branch) = self.db.last_complete(stored.id, system).await? else {
            return Ok((SystemState::NotEvaluated, report));
        };
        report.evaluation = Some(branch.id.0);
        report.revision = Some(branch.revision.short());
        let base = match self.base(farm, stored, &policy.base, &branch).await? {
            Ok(base) => base,
            Err(reason) => return Ok((SystemState::NoBase(reason), report)),
        };
        report.base = Some(base.id.0);
        report.base_revision = Some(base.revision.short());
        let comparison = self.compare(farm, [&base, &branch], policy, system).await?;
        self.fill(&mut report, &comparison).await?;
        Ok((SystemState::Compared(comparison.compared), report))
    }

    async fn compare(
        &self,
        farm: &Farm,
        evaluations: [&Evaluation; 2],
        policy: &Policy,
        system: &System,
    ) -> anyhow::Result<Comparison> {
        let (mut set, mut unknown) = (BTreeSet::new(), Vec::new());
        for name in &policy.sets {
            match self.members(farm, name, system).await? {
                Some(members) => set.extend(members),
                None => unknown.push(name.clone()),
            }
        }
        let mut comparison = compare_evaluations(&self.db, evaluations, &set).await?;
        comparison.compared.unknown_sets = unknown;
        Ok(comparison)
    }

    /// The names of the jobs of a set; nothing if they are not all known.
    async fn members(
        &self,
        farm: &Farm,
        set: &str,
        system: &System,
    ) -> anyhow::Result<Option<BTreeSet<String>>> {
        let Some(spec) = farm.specs.iter().find(|one| one.present && one.spec.name == set) else {
            return Ok(None);
        };
        let Some(newest) = self.db.last_complete(spec.id, system).await? else { return Ok(None) };
        let names = self.db.job_names(newest.id, system).await?;
        Ok((!newest.partial && !names.is_empty()).then_some(names))
    }

    /// Adds what a comparison says to a report.
    async fn fill(&self, report: &mut SystemReport, comparison: &Comparison) -> anyhow::Result<()> {
        let mut causes: HashMap<BuildId, Vec<(&ChangedJob, Class)>> = HashMap::new();
        let mut room = NAMES;
        let jobs = comparison.compared.jobs.iter().zip(&comparison.causes);
        let mut jobs: Vec<_> = jobs.filter_map(|(job, builds)| Some((job.class()?, job, builds))).collect();
        // There may not be room for all names, and the worst classes come first.
        jobs.sort_by_key(|(class, ..)| *class);
        for (class, job, builds) in jobs {
            *report.classes.entry(class).or_default() += 1;
            if LISTED.contains(&class) {
                let listed = report.jobs.entry(class).or_default();
                if listed.len() < JOBS && job.name.len() <= room {
                    room -= job.name.len();
                    listed.push(job.name.clone());
                }
            }
            for build in builds.iter().filter(|_| class.has_cause()) {
                causes.entry(*build).or_default().push((job, class));
            }
        }
        report.jobs.values_mut().for_each(|names| names.sort_unstable());
        let mut causes: Vec<(BuildId, Vec<(&ChangedJob, Class)>)> = causes.into_iter().collect();
        // What the branch broke comes before what was broken.
        let weight = |jobs: &[(&ChangedJob, Class)]| {
            let ours = jobs.iter().filter(|(_, class)| *class != Class::StillBroken).count();
            std::cmp::Reverse((ours, jobs.len()))
        };
        causes.sort_by_key(|(build, jobs)| (weight(jobs), *build));
        causes.truncate(CAUSES);
        let builds = self.db.builds_numbered(causes.iter().map(|(build, _)| *build)).await?;
        let found = |id| builds.iter().find(|build| build.id == id);
        report.causes = causes.iter().filter_map(|(id, jobs)| Some(cause(found(*id)?, jobs))).collect();
        Ok(())
    }
}

/// What others say, and not more than people read.
fn cut(text: &str) -> String {
    text.chars().take(SAID).collect()
}

fn cause(build: &Build, jobs: &[(&ChangedJob, Class)]) -> Cause {
    let mut classes = BTreeMap::new();
    for (_, class) in jobs {
        *classes.entry(*class).or_default() += 1;
    }
    let mut names: Vec<String> = jobs.iter().map(|(job, _)| job.name.clone()).collect();
    names.sort_unstable();
    names.truncate(JOBS_OF_CAUSE);
    Cause {
        build: build.id.0,
        answer: build.answer.as_deref().map(cut),
        classes,
        job: build.job.clone(),
        jobs: names,
        spec: build.spec.clone(),
    }
}
