//! The options `--spec` and `--system` of commands that list what several specs have.

use super::user_error;
use crate::db::Db;
use crate::domain::spec::System;
use crate::view::filter as view;

/// Of which spec and system things are shown; nothing given, of all.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Filter {
    /// Only of this spec
    #[arg(long)]
    pub spec: Option<String>,
    /// Only for this system
    #[arg(long, value_parser = system)]
    pub system: Option<System>,
}

impl Filter {
    /// Fails when there is no such spec.
    pub(super) async fn check(&self, db: &Db) -> anyhow::Result<()> {
        let Some(name) = &self.spec else { return Ok(()) };
        if db.specs().await?.iter().any(|stored| stored.spec.name == *name) {
            return Ok(());
        }
        Err(user_error(format!("there is no spec {name}\nhint: `gorget status` lists them")))
    }

    /// Whether it selects this spec and system.
    pub(super) fn admits(&self, spec: &str, system: &str) -> bool {
        self.view().admits(spec, system)
    }

    /// The same for views.
    pub(super) fn view(&self) -> view::Filter {
        let Self { spec, system } = self.clone();
        view::Filter { spec, system }
    }
}

pub(super) fn system(name: &str) -> Result<System, String> {
    System::new(name).ok_or_else(|| "Guix has no such system".to_owned())
}
