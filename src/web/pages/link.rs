//! Links to pages.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::db::{BuildId, EvaluationId};

/// The characters that are escaped in a segment of a path and in a value of a query.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'\'')
    .add(b'+')
    .add(b'/')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Makes a path of segments.
fn path(segments: &[&str]) -> String {
    segments.iter().map(|segment| format!("/{}", utf8_percent_encode(segment, ESCAPED))).collect()
}

pub(in crate::web) fn spec(name: &str) -> String {
    path(&["specs", name])
}

/// Where the verdict on a branch is.
pub(super) fn branch(spec: &str) -> String {
    path(&["branches", spec])
}

/// Where it is what substitute servers have of a spec.
pub(super) fn coverage(spec: &str) -> String {
    path(&["coverage", spec])
}

pub(in crate::web) fn evaluation(id: EvaluationId) -> String {
    format!("/evaluations/{id}")
}

pub(in crate::web) fn build(id: BuildId) -> String {
    format!("/builds/{id}")
}

/// The builds that a spec wanted, for a system unless that is empty.
pub(super) fn builds(spec: &str, system: &str) -> String {
    format!("/builds{}", query(&[("spec", spec), ("system", system)]))
}

/// The page of a derivation, given its store path.
pub(super) fn derivation(store_path: &str) -> String {
    path(&["derivations", store_path.trim_start_matches("/gnu/store/")])
}

/// The page of a package, or of a job of that name.
pub(super) fn package(name: &str) -> String {
    path(&["packages", name])
}

pub(super) fn job(spec: &str, system: &str, job: &str) -> String {
    path(&["jobs", spec, system, job])
}

/// The page that compares two evaluations.
pub(super) fn compare(base: &str, target: &str) -> String {
    compare_range(&format!("{base}..{target}"))
}

/// The same for `A..B`.
pub(super) fn compare_range(range: &str) -> String {
    path(&["compare", range])
}

/// The path that pauses something.
pub(super) fn pause(kind: &str, name: &str) -> String {
    path(&["pauses", kind, name])
}

/// The path in a form, if it is on this server, or else the first page: no form can redirect
/// elsewhere.
pub(super) fn local(path: &str) -> &str {
    // Browsers ignore tabs and line breaks, and treat a backslash as a slash.
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_plain && path.starts_with('/') && !path.starts_with("//") { path } else { "/" }
}

/// Makes a query, with its `?`, of the pairs that have a value.
pub(in crate::web) fn query(pairs: &[(&str, &str)]) -> String {
    let given = pairs.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<String> =
        given.map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, ESCAPED))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_segment() {
        assert_eq!(job("edits/a", "x86_64-linux", "gtk+.x?#"), "/jobs/edits%2Fa/x86_64-linux/gtk%2B.x%3F%23");
        assert_eq!(spec("a\"><b>"), "/specs/a%22%3E%3Cb%3E");
        assert_eq!(query(&[("a", "b&c"), ("d", "")]), "?a=b%26c");
        assert_eq!(query(&[("d", "")]), "");
        for (path, expected) in [
            ("/queue?spec=a", "/queue?spec=a"),
            ("//evil", "/"),
            ("/\\evil", "/"),
            ("", "/"),
            ("/\t/evil", "/"),
            ("/\u{1}", "/"),
            ("/\u{7f}", "/"),
        ] {
            assert_eq!(local(path), expected);
        }
        assert_eq!(local("https://evil/"), "/");
    }
}
