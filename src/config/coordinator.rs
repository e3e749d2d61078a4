use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::Location;
use super::value::{KnownSystem, Size, Url};
use crate::domain::plan::route::{DEFAULT, Route};
use crate::domain::spec::is_name;

/// The default `events-id` of `[coordinator]`.
const FIRST_ID: i64 = 1;
/// The default of `log-size`, in bytes.
const LOG_SIZE: u64 = 4 << 20;

/// A coordinator that builds are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinator {
    /// The coordinator's name, and which builds it gets.
    pub serves: Route,
    /// The kind of coordinator, with its settings.
    pub kind: Kind,
    /// The id under which the coordinator reports events. `[coordinator]` may report under any id
    /// that no other coordinator has.
    pub events_id: Option<i64>,
    /// The absolute path of the file with the token for reporting events. `None` if it may not
    /// report.
    pub events_token: Option<PathBuf>,
}

/// The kind of a coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// No coordinator: the queue is the result.
    None,
    /// A Guix Build Coordinator.
    GuixBuildCoordinator {
        /// Its client address: an `http://` or `https://` URL, perhaps with credentials.
        url: Location,
        /// Where it may fetch the derivations from.
        substitute_urls: Vec<String>,
        /// How builds that failed before are routed to agents.
        retries: Retries,
    },
    /// The daemon of this machine, whose socket is the one of [`Evaluate`](super::Evaluate).
    GuixDaemon {
        /// How many builds run at the same time.
        at_once: NonZeroUsize,
        /// How much of the log of a build is kept, in bytes.
        log_size: u64,
    },
}

/// Which agents of a Guix Build Coordinator get builds that failed before. An agent with tags takes
/// only builds whose tags match; an agent without tags takes any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retries {
    /// Tags that are added to a build when it is retried: keys and values.
    pub tags: BTreeMap<String, String>,
    /// The tags of agents that emulate the system that they build for; empty if no agent emulates.
    pub emulating: BTreeMap<String, String>,
}

/// `[coordinator]`, or one table of `[coordinators]`, as the file has it.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Written {
    pub(super) kind: Option<WrittenKind>,
    pub(super) specs: Option<Vec<String>>,
    pub(super) systems: Option<Vec<KnownSystem>>,
    pub(super) url: Option<Spanned<Url>>,
    pub(super) substitute_urls: Option<Vec<Url>>,
    pub(super) at_once: Option<NonZeroUsize>,
    pub(super) log_size: Option<Size>,
    pub(super) events_id: Option<Spanned<i64>>,
    pub(super) retry_tags: Option<BTreeMap<String, String>>,
    pub(super) emulating_agents: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WrittenKind {
    None,
    GuixBuildCoordinator,
    GuixDaemon,
}

/// `[coordinators]` as the file has it.
pub(super) type Named = BTreeMap<Spanned<String>, Written>;

/// The byte offset of a mistake in the text, and its description.
pub(super) struct Fault(pub(super) usize, pub(super) String);

/// Resolves all coordinators, named ones in the order of their names. The token file of a named one
/// is next to `token`.
pub(super) fn resolve(default: Written, named: Named, token: &Path) -> Result<Vec<Coordinator>, Fault> {
    let mut found: Vec<(usize, Coordinator)> = Vec::new();
    if let Some(coordinator) = one(DEFAULT, 0, default)? {
        let events_id = coordinator.events_id.or(Some(FIRST_ID));
        let events_token = Some(token.to_owned());
        found.push((0, Coordinator { events_id, events_token, ..coordinator }));
    }
    for (name, written) in named {
        let at = name.span().start;
        let name = name.into_inner();
        if !is_name(&name) {
            let rule = "letters, digits, `-`, `_` and `.`, beginning with a letter or digit";
            return Err(Fault(at, format!("a coordinator cannot have this name: it is made of {rule}")));
        }
        if written.kind.is_none() {
            return Err(Fault(at, format!("[coordinators.{name}] has no `kind`")));
        }
        let Some(coordinator) = one(&name, at, written)? else { continue };
        let file = token.file_name().unwrap_or_default().to_string_lossy();
        let own = token.with_file_name(format!("{file}-{name}"));
        let events_token = coordinator.events_id.map(|_| own);
        check_conflicts(&found, at, &coordinator)?;
        found.push((at, Coordinator { events_token, ..coordinator }));
    }
    Ok(found.into_iter().map(|(_, coordinator)| coordinator).collect())
}

/// Resolves the coordinator `name`, whose name is at byte `at`; `None` if the file has none.
fn one(name: &str, at: usize, written: Written) -> Result<Option<Coordinator>, Fault> {
    let Some(kind) = written.kind else {
        let what = "[coordinator] has `url`, but no `kind`\nhint: add `kind = \"guix-build-coordinator\"`";
        return written.url.map_or(Ok(None), |url| Err(Fault(url.span().start, what.to_owned())));
    };
    if name == DEFAULT && at == 0 && kind == WrittenKind::None {
        return Ok(None);
    }
    if let Some(id) = written.events_id.as_ref().filter(|id| *id.get_ref() < 0) {
        return Err(Fault(id.span().start, "`events-id` is a whole number from 0 on".to_owned()));
    }
    let systems = written.systems.unwrap_or_default().into_iter();
    Ok(Some(Coordinator {
        serves: Route {
            coordinator: name.to_owned(),
            specs: written.specs.unwrap_or_default(),
            systems: systems.map(|system| system.0.as_str().to_owned()).collect(),
        },
        kind: match kind {
            WrittenKind::None => Kind::None,
            WrittenKind::GuixDaemon => Kind::GuixDaemon {
                at_once: written.at_once.unwrap_or(NonZeroUsize::MIN),
                log_size: written.log_size.map_or(LOG_SIZE, |size| size.0),
            },
            WrittenKind::GuixBuildCoordinator => {
                let urls = written.substitute_urls.unwrap_or_default().into_iter();
                Kind::GuixBuildCoordinator {
                    url: written
                        .url
                        .map_or_else(|| Location::new("http://127.0.0.1:8746"), |url| url.into_inner().0),
                    substitute_urls: urls.map(|url| url.0.as_str().to_owned()).collect(),
                    retries: Retries {
                        tags: written.retry_tags.unwrap_or_default(),
                        emulating: written.emulating_agents.unwrap_or_default(),
                    },
                }
            }
        },
        events_id: written.events_id.map(Spanned::into_inner),
        events_token: None,
    }))
}

/// Returns an error if `new` claims something that another coordinator already has.
fn check_conflicts(others: &[(usize, Coordinator)], at: usize, new: &Coordinator) -> Result<(), Fault> {
    let name = &new.serves.coordinator;
    for (_, other) in others {
        let theirs = &other.serves.coordinator;
        let what = if theirs == name {
            format!("[coordinator] is called {name} already\nhint: choose another name")
        } else if new.events_id.is_some() && new.events_id == other.events_id {
            format!("{theirs} and {name} have the same `events-id`")
        } else if matches!((&new.kind, &other.kind), (Kind::GuixDaemon { .. }, Kind::GuixDaemon { .. })) {
            format!("{theirs} and {name} are the same guix-daemon")
        } else if is_same_address(&new.kind, &other.kind) {
            format!("{theirs} and {name} have the same address")
        } else if new.serves.contends_with(&other.serves) {
            format!(
                "{theirs} and {name} serve the same builds\nhint: distinguish them with `systems` or `specs`; one that names specs comes before others, then one that names systems"
            )
        } else {
            continue;
        };
        return Err(Fault(at, what));
    }
    Ok(())
}

fn is_same_address(one: &Kind, other: &Kind) -> bool {
    match (one, other) {
        (Kind::GuixBuildCoordinator { url: one, .. }, Kind::GuixBuildCoordinator { url: other, .. }) => {
            one == other
        }
        _ => false,
    }
}
