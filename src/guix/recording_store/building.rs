//! Builds for an evaluation.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::builds::Builds;
use super::recording::Recording;

impl Recording {
    /// Lets the evaluation ask for builds. Keeps contents.
    #[must_use]
    pub fn with_builds(mut self, builds: Builds) -> Self {
        self.keep_contents = true;
        self.builds = Some(builds);
        self
    }

    /// The builds of the evaluation, if it may ask for any.
    pub(super) fn builds(&self) -> Option<&Builds> {
        self.builds.as_ref()
    }

    /// Registers the link at `root`, which leads to something that was built, to keep its target
    /// from being garbage-collected.
    ///
    /// # Errors
    /// Returns an error when the daemon refuses, or when the evaluation may not build.
    pub fn root(&self, root: &Path) -> io::Result<()> {
        let builds = self.builds.as_ref().ok_or_else(|| io::Error::other("nothing is built"))?;
        builds.root(root).map_err(io::Error::other)
    }

    /// The build that is running for the evaluation, in words.
    pub fn building(&self) -> Option<String> {
        self.builds.as_ref()?.current()
    }

    /// The time that builds have taken so far.
    pub fn build_time(&self) -> Duration {
        self.builds.as_ref().map_or(Duration::ZERO, Builds::time)
    }
}
