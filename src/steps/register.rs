//! Reads the directory of spec files into the database.
//!
//! A faulty spec file keeps its previous meaning; a spec is retired only when its file is gone.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::db::{Branch, Db};
use crate::domain::spec::{Spec, SpecFile, is_pattern, load_directory_again, specs_from_template};
use crate::farm::bell::Bells;
use crate::farm::context::Context;
use crate::farm::reconciler::{Reconciler, StepOutcome};

/// The reconciler that reads spec files.
#[derive(Debug)]
pub struct Register {
    db: Db,
    bells: Bells,
    directory: PathBuf,
    /// The files as they were last read.
    files: Vec<SpecFile>,
    /// The faulty files that have been logged.
    logged: BTreeSet<String>,
}

impl Reconciler for Register {
    const NAME: &'static str = "register";
    const PERIOD: Duration = Duration::from_secs(10);

    async fn step(&mut self) -> anyhow::Result<StepOutcome> {
        let written = self.read().await?;
        let mut specs = written.good;
        let stored = self.db.specs().await?;
        let present: Vec<Spec> =
            stored.into_iter().filter(|stored| stored.present).map(|stored| stored.spec).collect();
        if written.faulty {
            // A spec that seems to be gone may be in a faulty file, so none is retired.
            let gone = present.iter().filter(|old| specs.iter().all(|new| new.name != old.name));
            specs.extend(gone.filter(|old| old.template.is_none()).cloned().collect::<Vec<_>>());
        }
        specs.extend(self.make_specs(&specs).await?);
        // Among equal names, the spec with a file of its own wins.
        specs.sort_by(|a, b| (&a.name, &a.template).cmp(&(&b.name, &b.template)));
        specs.dedup_by(|later, first| later.name == first.name);
        let mut before = present;
        before.sort_by(|a, b| a.name.cmp(&b.name));
        if before == specs {
            return Ok(StepOutcome::Idle);
        }
        self.db.sync_specs(&specs).await?;
        self.bells.watch.ring();
        self.bells.schedule.ring();
        Ok(StepOutcome::Worked)
    }
}

struct Written {
    good: Vec<Spec>,
    faulty: bool,
}

impl Register {
    /// Reads the spec files in `directory`.
    pub fn new(context: &Context, directory: PathBuf) -> Self {
        Self {
            db: context.db.clone(),
            bells: context.bells.clone(),
            directory,
            files: Vec::new(),
            logged: BTreeSet::new(),
        }
    }

    /// The specs that templates make for existing branches.
    async fn make_specs(&self, specs: &[Spec]) -> anyhow::Result<Vec<Spec>> {
        let templates: Vec<&Spec> = specs.iter().filter(|spec| spec.is_template()).collect();
        if templates.is_empty() {
            return Ok(Vec::new());
        }
        let branches = self.db.branches().await?;
        let mut all = Vec::new();
        for template in templates {
            let pattern = template.channels.iter().find(|channel| is_pattern(&channel.branch));
            let is_there = |branch: &&Branch| {
                branch.tip.is_some() && pattern.is_some_and(|channel| channel.url == branch.url)
            };
            let names = branches.iter().filter(is_there).map(|branch| branch.name.as_str());
            let (made, left_out) = specs_from_template(template, names);
            if left_out > 0 {
                tracing::warn!(spec.name = template.name, left_out, "the pattern matches too many branches");
            }
            all.extend(made);
        }
        Ok(all)
    }

    async fn read(&mut self) -> anyhow::Result<Written> {
        let (directory, mut before) = (self.directory.clone(), std::mem::take(&mut self.files));
        let read = move || load_directory_again(&directory, &mut before).map(|files| (files, before));
        let (files, before) = tokio::task::spawn_blocking(read).await?.map_err(|error| {
            let hint = "hint: put spec files there, or set `specs` in gorget.toml";
            std::io::Error::new(error.kind(), format!("{error}\n{hint}"))
        })?;
        self.files = before;
        let mut faulty = BTreeSet::new();
        let mut written = Written { good: Vec::new(), faulty: false };
        for file in files {
            if let Ok(checked) = file.outcome {
                written.good.push(checked.spec);
            } else {
                written.faulty = true;
                faulty.insert(file.path.display().to_string());
            }
        }
        for path in faulty.difference(&self.logged) {
            tracing::error!(
                path,
                "a spec file has faults; its last valid version stays in effect (see `gorget check`)"
            );
        }
        self.logged = faulty;
        Ok(written)
    }
}
