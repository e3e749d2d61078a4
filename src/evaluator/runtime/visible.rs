//! Which channels a sandbox sees.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::channel::Place;
use super::layer::{Kind, Layer};
use super::link_tree::{self, LinkTree};
use super::{Cache, Counts, Environment, InstalledGuix, RuntimeError, Source, search_path};

/// Where the links to modules are inside the sandbox.
const LINKS: &str = "/gorget/links";

/// The channels of a revision, with Guix as number 0, and the Guile libraries that Guix needs.
#[derive(Debug, Clone)]
pub(super) struct Channels {
    sources: Vec<Source>,
    places: Vec<Place>,
    libraries: Vec<Layer>,
}

impl Channels {
    /// # Errors
    /// When none is called `guix`, or the modules of one are not where they should be.
    pub(super) fn new(host: &InstalledGuix, channels: &[&Source]) -> Result<Self, RuntimeError> {
        let is_guix = |channel: &&Source| channel.name == "guix";
        let guix = channels.iter().copied().find(is_guix).ok_or(RuntimeError::NoGuixChannel)?;
        let others = channels.iter().copied().filter(|channel| !is_guix(channel));
        let sources: Vec<Source> = std::iter::once(guix).chain(others).cloned().collect();
        let places = sources.iter().map(Source::place).collect::<Result<_, _>>()?;
        Ok(Self { sources, places, libraries: host.libraries() })
    }

    /// The numbers of all of them.
    pub(super) fn all(&self) -> Vec<usize> {
        (0..self.sources.len()).collect()
    }

    /// The layers of modules where the channels `seen` are seen, which include Guix: first Guix's
    /// own, then the libraries', then the other channels', because Guix itself puts channels behind
    /// everything that it needs.
    pub(super) fn layers(&self, seen: &[usize]) -> Vec<Layer> {
        let layer = |channel: &usize| {
            let kind = if *channel == 0 { Kind::Guix } else { Kind::Channel };
            self.places[*channel].layer(&self.sources[*channel].name, kind)
        };
        let (guix, others) = seen.split_at(1);
        let libraries = self.libraries.iter().cloned();
        guix.iter().map(layer).chain(libraries).chain(others.iter().map(layer)).collect()
    }

    /// The channel of the layer with number `layer`, where the channels `seen` are seen.
    pub(super) fn of_layer(&self, seen: &[usize], layer: usize) -> usize {
        seen[layer.saturating_sub(self.libraries.len())]
    }

    /// The channels that a sandbox sees in which modules are compiled that reach these layers. The
    /// layers are numbered as where the channels `seen` are seen.
    pub(super) fn reached(&self, seen: &[usize], layers: &BTreeSet<usize>) -> Vec<usize> {
        let reached = layers.iter().map(|layer| self.of_layer(seen, *layer));
        reached.chain([0]).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The path in the sandbox of the module at `path` of a channel.
    pub(super) fn inside(&self, channel: usize, path: &str) -> PathBuf {
        self.places[channel].load.join(path)
    }

    /// The part of `cache` for modules that are compiled where only the channels `seen` are seen.
    pub(super) fn part_of(&self, cache: &Cache, seen: &[usize]) -> Cache {
        let channels = seen.iter().map(|channel| &self.sources[*channel]);
        let identities = channels.map(|it| (it.name.as_str(), it.url.as_str(), it.introduction.as_ref()));
        cache.for_channels(&identities.collect::<Vec<_>>())
    }

    /// The environment in which Guile finds the modules of the channels `seen`, and of no others.
    pub(super) fn environment(
        &self,
        host: &InstalledGuix,
        link_tree: &Arc<LinkTree>,
        seen: &[usize],
    ) -> Environment {
        let places = || seen.iter().map(|channel| &self.places[*channel]);
        let linked = |part: &str| Path::new(LINKS).join(part);
        let mut binds: Vec<_> = places().map(Place::bind).collect();
        binds.extend(
            link_tree.binds(seen).into_iter().map(|(here, part)| (here, Path::new(LINKS).join(part))),
        );
        let load_path: Vec<PathBuf> = std::iter::once(linked(link_tree::SOURCES))
            .chain(places().map(|place| place.load.clone()))
            .collect();
        let compiled: Vec<PathBuf> =
            seen.iter().map(|channel| linked(&link_tree::compiled(*channel))).collect();
        let (sources_of_guile, compiled_of_guile) = &host.guile_modules;
        let env = [
            ("GUILE_AUTO_COMPILE", "0".to_owned()),
            ("GUILE_LOAD_PATH", search_path(&load_path)),
            ("GUILE_LOAD_COMPILED_PATH", search_path(&compiled)),
            ("GUILE_SYSTEM_PATH", search_path(std::slice::from_ref(sources_of_guile))),
            ("GUILE_SYSTEM_COMPILED_PATH", search_path(std::slice::from_ref(compiled_of_guile))),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let (program, failures, counts) = (host.guile.clone(), Vec::new(), Counts::default());
        // The first one is that of Guix.
        let directory = Some(self.places[0].load.clone());
        Environment {
            program,
            binds,
            directory,
            env,
            failures,
            counts,
            _link_tree: Some(Arc::clone(link_tree)),
        }
    }
}
