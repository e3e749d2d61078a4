use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::coordinator::Fault;
use crate::domain::spec::is_name;

/// A webhook: an address where a forge reports pushes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The name in its address: `/hooks/NAME`.
    pub name: String,
    /// Whose signatures and messages it takes.
    pub kind: HookKind,
    /// The absolute path of the file of its secrets, one in each line.
    pub secret: PathBuf,
}

/// The program that sends to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookKind {
    /// Forgejo, such as Codeberg, and Gitea.
    Forgejo,
    /// `GitHub`.
    Github,
    /// `GitLab`.
    Gitlab,
    /// Any program that signs as Standard Webhooks says.
    Standard,
}

/// One table of `[hooks]`, as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Written {
    kind: HookKind,
    secret: PathBuf,
}

/// `[hooks]` as the file has it.
pub(super) type Named = BTreeMap<Spanned<String>, Written>;

/// Resolves all webhooks, in the order of their names. Files are relative to `state`.
pub(super) fn resolve(named: Named, state: &Path) -> Result<Vec<Hook>, Fault> {
    let resolved = named.into_iter().map(|(name, written)| {
        let at = name.span().start;
        let name = name.into_inner();
        if !is_name(&name) {
            let rule = "letters, digits, `-`, `_` and `.`, beginning with a letter or digit";
            return Err(Fault(at, format!("a webhook cannot have this name: it is made of {rule}")));
        }
        Ok(Hook { name, kind: written.kind, secret: state.join(written.secret) })
    });
    resolved.collect()
}
