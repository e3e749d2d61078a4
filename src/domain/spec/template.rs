//! Makes specs from a template, a spec whose branch is a pattern.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::location::{BranchError, check_branch};
use super::name::LONGEST_NAME;
use super::{Channel, Spec};

/// Most specs made from one template.
const MOST: usize = 1000;

/// Whether a branch is a pattern. Git allows no `*` in the name of a branch.
pub fn is_pattern(branch: &str) -> bool {
    branch.contains('*')
}

/// Refuses patterns that no branch can match.
pub(super) fn check_pattern(pattern: &str) -> Result<(), BranchError> {
    check_branch(&pattern.replace('*', "x"))
}

/// Whether a branch matches a channel's pattern and none of its `exclude` patterns.
pub fn watches_branch(channel: &Channel, branch: &str) -> bool {
    matches_pattern(&channel.branch, branch)
        && !channel.exclude.iter().any(|pattern| matches_pattern(pattern, branch))
}

/// Whether a text matches a pattern. `*` stands for any text, including slashes.
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let head = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let Some(tail) = parts.next_back() else { return rest.is_empty() };
    // For a part in the middle, the first match is as good as any.
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(tail)
}

/// The specs made from `template`: one for each of `branches` that its pattern matches, the same as
/// the template except for the branch. If there are too many, the first by name are taken. The
/// second value is the number of those left out.
pub fn specs_from_template<'a>(
    template: &Spec,
    branches: impl IntoIterator<Item = &'a str>,
) -> (Vec<Spec>, usize) {
    let Some(place) = template.channels.iter().position(|channel| is_pattern(&channel.branch)) else {
        return (Vec::new(), 0);
    };
    let pattern = &template.channels[place];
    let fitting: BTreeSet<&str> = branches
        .into_iter()
        .filter(|branch| watches_branch(pattern, branch) && check_branch(branch).is_ok())
        .collect();
    let specs = fitting.iter().take(MOST).map(|branch| {
        let mut spec = Spec { name: name(&template.name, branch), ..template.clone() };
        spec.template = Some(template.name.clone());
        (*branch).clone_into(&mut spec.channels[place].branch);
        spec.channels[place].exclude = Vec::new();
        spec
    });
    // Two channels of one spec must not have the same URL and branch.
    let specs = specs.filter(|spec| {
        let is_other =
            |other: &Channel| (&other.url, &other.branch) != (&pattern.url, &spec.channels[place].branch);
        template.channels.iter().all(is_other)
    });
    (specs.collect(), fitting.len().saturating_sub(MOST))
}

/// `TEMPLATE/BRANCH`. No name in a file has a slash, so it is unique. Characters that are not
/// allowed in a name are replaced. In that case, and when the name is too long, a hash of the
/// branch makes it unique.
fn name(template: &str, branch: &str) -> String {
    let plain = format!("{template}/{branch}");
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "._-+/".contains(char);
    if plain.len() <= LONGEST_NAME && plain.chars().all(is_plain) {
        return plain;
    }
    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(branch)[..5]);
    let mut name: String = plain.chars().map(|char| if is_plain(char) { char } else { '-' }).collect();
    name.truncate(LONGEST_NAME - hash.len() - 1);
    format!("{name}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn template(branch: &str) -> Spec {
        let channel = format!("[[channel]]\nname = \"own\"\nurl = \"/srv/own\"\nbranch = \"{branch}\"\n");
        let exclude = "exclude = [\"wip-*\", \"old-team\"]\n";
        parse(&format!("build = \"all\"\n{channel}{exclude}"), "teams").unwrap().spec
    }

    #[test]
    fn a_star_stands_for_any_text() {
        let table = [
            ("*", "x", true),
            ("*", "", true),
            ("*-team", "python-team", true),
            ("*-team", "a/b-team", true),
            ("*-team", "python-teams", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "acb", false),
            ("a**c", "ac", true),
            ("ab*ba", "aba", false),
            ("é*", "éa", true),
            ("master", "master", true),
            ("master", "masters", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(matches_pattern(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn each_branch_that_is_meant_gets_a_spec_with_a_name_of_its_own() {
        let long = "l".repeat(100) + "-team";
        let branches =
            ["python-team", "wip-team", "old-team", "master", "a/b-team", "a-b-team", "é-team", &long];
        let (specs, left_out) = specs_from_template(&template("*-team"), branches);
        let made: Vec<_> = specs.iter().map(|spec| spec.channels[0].branch.as_str()).collect();
        assert_eq!((made, left_out), (vec!["a-b-team", "a/b-team", &long, "python-team", "é-team"], 0));
        let names: BTreeSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names.len(), specs.len());
        assert!(names.iter().all(|name| name.len() <= LONGEST_NAME && name.is_ascii()), "{names:?}");
        for name in ["teams/python-team", "teams/a-b-team", "teams/a/b-team"] {
            assert!(names.contains(name), "{names:?}");
        }
        assert!(specs.iter().all(|spec| spec.template.as_deref() == Some("teams") && !spec.is_template()));
    }

    #[test]
    fn one_repository_cannot_make_specs_without_end() {
        let branches: Vec<String> = (0..5000).map(|number| format!("{number:04}-team")).collect();
        let (specs, left_out) = specs_from_template(&template("*-team"), branches.iter().map(String::as_str));
        assert_eq!((specs.len(), left_out), (1000, 4000));
    }
}
