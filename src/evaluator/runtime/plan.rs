//! Finds out which modules of a revision have a compiled form, and which have to be compiled.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::compile::CompileFailure;
use super::compiling::{Job, Scope};
use super::installed::Known;
use super::key::{self, Keys};
use super::layer::Kind;
use super::link_tree::LinkTree;
use super::source_reader::{Module, Modules, SourceReader};
use super::visible::Channels;
use super::{Cache, Counts, InstalledGuix, RuntimeError};

/// The modules of a revision, and which of them are compiled already.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) link_tree: Arc<LinkTree>,
    /// The missing modules, in the order in which they should be compiled.
    pub(super) groups: Vec<Group>,
    pub(super) failures: Vec<CompileFailure>,
    pub(super) counts: Counts,
}

/// Modules that are compiled together.
#[derive(Debug)]
pub(super) struct Group {
    /// The numbers of the channels that the sandbox sees.
    pub(super) seen: Vec<usize>,
    /// Where the results go.
    pub(super) cache: Cache,
    pub(super) jobs: Vec<Job>,
}

/// Looks up the compiled modules. This takes about a second, and another one if there are channels
/// other than Guix. It blocks its thread, which must be one that may block.
pub(super) fn plan(
    host: &InstalledGuix,
    channels: &Channels,
    cache: &Cache,
    scope: Scope,
    program: &Path,
    stop: &CancellationToken,
) -> Result<Plan, RuntimeError> {
    // The readers run one after the other: each has all sources in memory, and uses all processors.
    let reader = host.source_reader(program);
    let known = wait_for(host.known(&reader), stop)?;
    let link_tree = Arc::new(LinkTree::new(cache, channels.all().len())?);
    let (groups, failures, counts) = (Vec::new(), Vec::new(), Counts::default());
    let plan = Plan { link_tree, groups, failures, counts };
    let mut planner = Planner { host, channels, cache, scope, reader, known, stop, plan };
    planner.add_guix()?;
    if channels.all().len() > 1 {
        planner.add_others()?;
    }
    let mut plan = planner.plan;
    plan.groups.retain(|group| !group.jobs.is_empty());
    // A group that imports from others comes after them.
    plan.groups.sort_by_key(|group| group.seen.len());
    for group in &mut plan.groups {
        // The first modules are compiled while those that import them are loaded.
        group.jobs.sort_by_key(|job| job.keys.imports);
    }
    Ok(plan)
}

/// Waits for the answer of a source reader, unless planning is stopped.
fn wait_for<T>(
    answer: impl Future<Output = Result<T, RuntimeError>>,
    stop: &CancellationToken,
) -> Result<T, RuntimeError> {
    let answer = stop.run_until_cancelled(answer);
    Handle::current().block_on(answer).unwrap_or_else(|| Err(stopped()))
}

fn stopped() -> RuntimeError {
    io::Error::other("stopped").into()
}

struct Planner<'a> {
    host: &'a InstalledGuix,
    channels: &'a Channels,
    cache: &'a Cache,
    scope: Scope,
    reader: SourceReader,
    known: &'a Known,
    stop: &'a CancellationToken,
    plan: Plan,
}

/// The modules that are found where only some channels are seen, with the keys of some of them.
struct View {
    seen: Vec<usize>,
    modules: Modules,
}

impl View {
    /// The files of channels other than Guix, each with its channel's number.
    fn others<'a>(&'a self, channels: &'a Channels) -> impl Iterator<Item = (&'a Module, usize)> {
        let others = self.modules.files.iter().filter(|file| file.kind == Kind::Channel);
        others.map(|file| (file, channels.of_layer(&self.seen, file.layer)))
    }
}

impl Planner<'_> {
    /// The view where the channels `seen` are seen, with the keys of the modules of this kind.
    fn view(&self, seen: &[usize], kind: Kind) -> Result<View, RuntimeError> {
        let layers = self.channels.layers(seen);
        let modules = self.reader.modules(layers, kind, self.known.compiler.clone());
        Ok(View { seen: seen.to_vec(), modules: wait_for(modules, self.stop)? })
    }

    /// Adds Guix and its libraries, where nothing else is seen.
    fn add_guix(&mut self) -> Result<(), RuntimeError> {
        let view = self.view(&[0], Kind::Guix)?;
        for file in &view.modules.files {
            if file.path == "guix/config.scm" {
                self.plan.link_tree.source(&file.path, &self.host.config.0)?;
                self.plan.link_tree.compiled(&file.path, &self.host.config.1)?;
            } else if file.kind == Kind::Library {
                link_library(self.host, file, &self.plan.link_tree)?;
            }
        }
        let of_guix = view.modules.files.iter().filter(|file| file.kind == Kind::Guix);
        self.add(&view, of_guix.map(|file| (file, 0)))
    }

    /// Adds the other channels. Each is added where only the channels are seen that it imports
    /// from, directly or not.
    fn add_others(&mut self) -> Result<(), RuntimeError> {
        let channels = self.channels;
        let all = channels.all();
        let view = self.view(&all, Kind::Channel)?;
        let shown: HashMap<String, usize> =
            view.others(channels).map(|(file, channel)| (file.path.clone(), channel)).collect();
        let mut sets: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for (layer, reached) in &view.modules.reached {
            let channel = channels.of_layer(&all, *layer);
            sets.entry(channels.reached(&all, reached)).or_default().push(channel);
        }
        let with_all = sets.remove(&all).unwrap_or_default();
        self.add(&view, view.others(channels).filter(|(_, channel)| with_all.contains(channel)))?;
        // Each view has all sources in memory.
        drop(view);
        for (seen, of) in sets {
            let view = self.view(&seen, Kind::Channel)?;
            // Where all channels are seen, another file of that name may come first.
            let is_shown = |file: &Module, channel| shown.get(&file.path) == Some(&channel);
            let of = view.others(channels).filter(|(_, channel)| of.contains(channel));
            self.add(&view, of.filter(|(file, channel)| is_shown(file, *channel)))?;
        }
        Ok(())
    }

    /// Finds the compiled forms of files of `view`, which come with their channels' numbers.
    fn add<'a>(
        &mut self,
        view: &View,
        files: impl Iterator<Item = (&'a Module, usize)>,
    ) -> Result<(), RuntimeError> {
        let cache = self.channels.part_of(self.cache, &view.seen);
        let mut jobs = Vec::new();
        for (file, channel) in files {
            if self.stop.is_cancelled() {
                return Err(stopped());
            }
            if let Some(why) = &file.unknown {
                self.fails(file, format!("it is not compiled, nor is what imports it: {why}"));
            } else if let Some(keys) = file.keys {
                match self.place(file, channel, keys, &cache)? {
                    Placed::Installed => self.plan.counts.installed += 1,
                    Placed::Cached => self.plan.counts.cached += 1,
                    Placed::Fails(message) => self.fails(file, message),
                    Placed::Missing if self.is_needed(file) => jobs.push(self.job(file, channel, keys)),
                    Placed::Source | Placed::Missing => self.plan.counts.source += 1,
                }
            }
        }
        self.plan.groups.push(Group { seen: view.seen.clone(), cache, jobs });
        Ok(())
    }

    /// Whether the evaluation needs a module, as far as is known.
    fn is_needed(&self, file: &Module) -> bool {
        self.scope == Scope::All || file.kind != Kind::Guix || file.of_packages
    }

    fn fails(&mut self, file: &Module, message: String) {
        self.plan.failures.push(CompileFailure { module: file.path.clone(), message });
    }

    fn job(&self, file: &Module, channel: usize, keys: Keys) -> Job {
        let (path, source) = (file.path.clone(), self.channels.inside(channel, &file.path));
        Job { path, channel, source, level: key::level(file.kind, &file.path), keys }
    }

    /// Finds the compiled form of a module.
    fn place(&self, file: &Module, channel: usize, keys: Keys, cache: &Cache) -> io::Result<Placed> {
        let link_tree = &self.plan.link_tree;
        let installed = self.known.keys.get(&file.path).filter(|_| channel == 0);
        let compiled = self.host.compiled.join(&file.path).with_extension("go");
        let there = self.host.outside(&compiled).symlink_metadata().is_ok();
        Ok(if there && installed.is_some_and(|other| other.host == keys.host) {
            link_tree.compiled(&file.path, &compiled)?;
            Placed::Installed
        } else if installed.is_some() && !there {
            Placed::Source
        } else if link_tree.take(channel, &file.path, cache, &keys.own)? {
            Placed::Cached
        } else {
            cache.failure(&keys.failure).map_or(Placed::Missing, Placed::Fails)
        })
    }
}

/// Links a file of a Guile library and its compiled form, wherever they are installed.
fn link_library(host: &InstalledGuix, file: &Module, link_tree: &LinkTree) -> io::Result<()> {
    let first = |directories: &[PathBuf], path: &Path| {
        let paths = directories.iter().map(|directory| directory.join(path));
        paths.into_iter().find(|path| host.outside(path).symlink_metadata().is_ok())
    };
    let path = Path::new(&file.path);
    if let Some(source) = first(&host.load_path, path) {
        link_tree.source(&file.path, &source)?;
    }
    if let Some(compiled) = first(&host.load_compiled_path, &path.with_extension("go")) {
        link_tree.compiled(&file.path, &compiled)?;
    }
    Ok(())
}

/// Where the compiled form of a module comes from.
enum Placed {
    Installed,
    Cached,
    /// There is no compiled form, not even in the installed Guix: the module needs libraries that
    /// are not installed.
    Source,
    /// It is known not to compile.
    Fails(String),
    /// It is to be compiled.
    Missing,
}
