//! A guess at which packages two revisions have differently: those whose definitions changed. It
//! decides what is evaluated first, never what is evaluated.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// More changed packages than this, and no order is better than another.
const MOST: usize = 2000;

/// Names of packages whose top-level definitions differ between two checkouts, in `files`.
pub(super) fn changed_packages(old: &Path, new: &Path, files: &[PathBuf]) -> Vec<String> {
    let mut names = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "scm")) {
        // A file that is not there, or no text, has no definitions.
        let read = |directory: &Path| fs_err::read_to_string(directory.join(file)).unwrap_or_default();
        let (before, after) = (read(old), read(new));
        let known: HashSet<&str> = forms(&before).collect();
        let changed = forms(&after).filter(|form| !known.contains(form));
        names.extend(changed.filter_map(package_name).map(str::to_owned));
        if names.len() > MOST {
            return Vec::new();
        }
    }
    names
}

/// The top-level forms of a file: what starts with a parenthesis in the first column. That is how
/// Guix is written, and good enough for a guess.
fn forms(text: &str) -> impl Iterator<Item = &str> {
    let starts: Vec<usize> =
        text.match_indices("\n(").map(|(at, _)| at + 1).chain(text.starts_with('(').then_some(0)).collect();
    let mut bounds = starts;
    bounds.sort_unstable();
    bounds.push(text.len());
    (1..bounds.len()).map(move |index| text[bounds[index - 1]..bounds[index]].trim_end())
}

/// The name in a definition: that of its `(name "…")` field, else that of the variable.
fn package_name(form: &str) -> Option<&str> {
    if let Some((_, rest)) = form.split_once("(name \"") {
        return rest.split('"').next();
    }
    let rest = form.strip_prefix("(define-public ").or_else(|| form.strip_prefix("(define "))?;
    rest.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_definition_is_found_by_its_package_name() {
        let old = "(define-module (x))\n\n(define-public a\n  (package (name \"a-pkg\") (version \"1\")))\n\n(define-public b 1)\n";
        let new = old.replace("\"1\"", "\"2\"") + "\n(define-public c\n  (package (inherit a)))\n";
        let known: HashSet<&str> = forms(old).collect();
        let changed: Vec<_> =
            forms(&new).filter(|form| !known.contains(form)).filter_map(package_name).collect();
        assert_eq!(changed, ["a-pkg", "c"]);
    }
}
