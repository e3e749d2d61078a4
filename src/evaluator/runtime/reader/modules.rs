//! The names of modules.

use std::collections::{HashMap, HashSet};

/// Which module files there are: paths without `.scm`, and all their first components.
pub struct Modules<'a> {
    files: HashMap<&'a [u8], u32>,
    roots: HashSet<&'a [u8]>,
}

impl<'a> Modules<'a> {
    /// Collects them from paths such as `guix/packages.scm`, numbered in this order.
    pub fn new(paths: impl Iterator<Item = &'a str>) -> Self {
        let files: HashMap<&[u8], u32> =
            (0..).zip(paths).map(|(n, path)| (path.trim_end_matches(".scm").as_bytes(), n)).collect();
        let roots = files.keys().filter_map(|path| path.split(|byte| *byte == b'/').next()).collect();
        Self { files, roots }
    }

    /// The number of the module with this name.
    pub(super) fn find(&self, parts: &[&[u8]]) -> Option<u32> {
        if !self.roots.contains(parts.first()?) || parts.len() > 12 {
            return None;
        }
        self.files.get(parts.join(&b'/').as_slice()).copied()
    }
}
