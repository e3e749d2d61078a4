//! What a delivery says: which branch of which repository has moved.

use axum::http::HeaderMap;
use serde::Deserialize;

use crate::config::HookKind;
use crate::farm::actions::ReportedPush;

/// The message of Forgejo, Gitea and GitHub.
#[derive(Deserialize)]
struct Message {
    #[serde(rename = "ref")]
    reference: Option<String>,
    ref_type: Option<String>,
    repository: Option<Repository>,
}

#[derive(Deserialize)]
struct Repository {
    clone_url: String,
    ssh_url: Option<String>,
}

/// The message of GitLab.
#[derive(Deserialize)]
struct GitlabMessage {
    object_kind: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    project: Option<Project>,
}

#[derive(Deserialize)]
struct Project {
    git_http_url: String,
    git_ssh_url: Option<String>,
}

/// Gorget's own message, for any program.
#[derive(Deserialize)]
struct StandardMessage {
    repository: String,
    branch: String,
}

/// The push that a delivery reports; `None` if it is about something else.
pub(super) fn read(
    kind: HookKind,
    headers: &HeaderMap,
    body: &[u8],
) -> serde_json::Result<Option<ReportedPush>> {
    let event = |names: &[&str]| {
        let found = names.iter().find_map(|name| headers.get(*name));
        found.and_then(|event| event.to_str().ok()).unwrap_or_default().to_owned()
    };
    match kind {
        HookKind::Forgejo => message(&event(&["x-forgejo-event", "x-gitea-event"]), body),
        HookKind::Github => message(&event(&["x-github-event"]), body),
        HookKind::Gitlab => {
            let GitlabMessage { object_kind, reference, project } = serde_json::from_slice(body)?;
            let is_push = object_kind.is_some_and(|kind| kind == "push");
            let branch = reference.as_deref().and_then(of_branch).filter(|_| is_push);
            Ok(branch.zip(project).map(|(branch, Project { git_http_url, git_ssh_url })| ReportedPush {
                urls: [Some(git_http_url), git_ssh_url].into_iter().flatten().collect(),
                branch: branch.to_owned(),
            }))
        }
        HookKind::Standard => {
            let StandardMessage { repository, branch } = serde_json::from_slice(body)?;
            Ok(Some(ReportedPush { urls: vec![repository], branch }))
        }
    }
}

fn message(event: &str, body: &[u8]) -> serde_json::Result<Option<ReportedPush>> {
    if !["push", "create", "delete"].contains(&event) {
        return Ok(None);
    }
    let Message { reference, ref_type, repository } = serde_json::from_slice(body)?;
    let branch = match (event, &reference) {
        ("push", Some(reference)) => of_branch(reference),
        (_, Some(reference)) if ref_type.is_some_and(|kind| kind == "branch") => Some(reference.as_str()),
        _ => None,
    };
    Ok(branch.zip(repository).map(|(branch, Repository { clone_url, ssh_url })| ReportedPush {
        urls: [Some(clone_url), ssh_url].into_iter().flatten().collect(),
        branch: branch.to_owned(),
    }))
}

/// The branch of a reference; `None` for a tag.
fn of_branch(reference: &str) -> Option<&str> {
    reference.strip_prefix("refs/heads/")
}
