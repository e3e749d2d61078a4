//! What an evaluation may have built.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::builds::Builds;
use super::recording::Recording;

impl Recording {
    /// The same, for an evaluation that may have builds made. Contents are kept.
    #[must_use]
    pub fn with_builds(mut self, builds: Builds) -> Self {
        self.keep_contents = true;
        self.builds = Some(builds);
        self
    }

    /// What makes builds, if the evaluation may have any.
    pub(super) fn builds(&self) -> Option<&Builds> {
        self.builds.as_ref()
    }

    /// Makes the link at `root`, which leads to something that was built, keep that from being collected as
    /// garbage.
    ///
    /// # Errors
    /// When the daemon does not, or there is none.
    pub fn root(&self, root: &Path) -> io::Result<()> {
        let builds = self.builds.as_ref().ok_or_else(|| io::Error::other("nothing is built"))?;
        builds.root(root).map_err(io::Error::other)
    }

    /// What is being built for the evaluation.
    pub fn building(&self) -> Option<String> {
        self.builds.as_ref()?.current()
    }

    /// The time that builds have taken up to now.
    pub fn build_time(&self) -> Duration {
        self.builds.as_ref().map_or(Duration::ZERO, Builds::time)
    }
}
