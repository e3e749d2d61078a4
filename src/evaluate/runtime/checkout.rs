//! A revision's own Guix, straight from a checkout.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::age;
use super::beneath::{Beneath, Unreadable};
use super::channel::Place;
use super::compile::{self, CompileFailure, Compiling, Job};
use super::effort::{Effort, Halt};
use super::farm::Farm;
use super::key::{self, Keyed, Keys};
use super::sources::{self, File, Kind, Layer, MAX_SOURCE};
use super::{Cache, Counts, Environment, Host, RuntimeError, Source, search_path};

/// Where the links to modules are inside the sandbox.
const FARM: &str = "/gorget/links";

/// What a revision is made of, and what there is of it in compiled form.
struct Plan {
    farm: Arc<Farm>,
    jobs: Vec<Job>,
    failures: Vec<CompileFailure>,
    counts: Counts,
}

/// Guix from the channel called `guix`, with the other channels behind it.
///
/// All files of `channels` must be as old as can be (`mtime` 1), for Guile takes a compiled module only
/// if it is not older than its source. Compiles what is neither installed nor in the cache.
///
/// # Errors
/// When the channels are not a Guix, or files cannot be read or written. What does not compile is
/// no error: see [`Environment::failures`].
pub async fn checkout(
    host: &Host,
    channels: &[&Source],
    cache: &Cache,
    compiling: &Compiling,
) -> Result<Environment, RuntimeError> {
    let is_guix = |channel: &&Source| channel.name == "guix";
    let guix = channels.iter().copied().find(is_guix).ok_or(RuntimeError::NoGuixChannel)?;
    let others = channels.iter().copied().filter(|channel| !is_guix(channel));
    let ordered: Vec<&Source> = std::iter::once(guix).chain(others).collect();
    let places: Vec<Place> = ordered.iter().map(|channel| channel.place()).collect::<Result<_, _>>()?;
    let layers = ordered.iter().zip(&places).map(|(channel, place)| {
        let kind = if is_guix(channel) { Kind::Guix } else { Kind::Channel };
        place.layer(&channel.name, kind)
    });
    let layers: Vec<Layer> = layers.chain(host.libraries()).collect();
    let inside: Vec<PathBuf> = places.iter().map(|place| place.load.clone()).collect();
    let binds: Vec<_> = places.iter().map(Place::bind).collect();
    let mut plan = {
        let (host, cache, inside) = (host.clone(), cache.clone(), inside.clone());
        // When nobody waits any more, it ends soon.
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let plan = move || plan(&host, &layers, &inside, &cache, &stop);
        let planned = tokio::task::spawn_blocking(plan).await;
        planned.map_err(io::Error::other)??
    };
    let mut jobs = std::mem::take(&mut plan.jobs);
    // The first are compiled while those that import them are loaded.
    jobs.sort_by_key(|job| job.keys.imports);
    if !jobs.is_empty() {
        let environment = environment(host, &binds, &inside, &plan);
        let failures = compile::compile(host, &environment, cache, &plan.farm, &jobs, compiling).await?;
        plan.counts.compiled += jobs.len() - failures.len();
        plan.failures.extend(failures);
    }
    Ok(environment(host, &binds, &inside, &plan))
}

/// Refuses what is no Guix, or too old a one.
fn check_guix(layer: &Layer) -> Result<(), RuntimeError> {
    let guix = Beneath::new(layer)?;
    for missing in ["gnu/packages.scm", "guix/packages.scm"] {
        match guix.read(Path::new(missing), MAX_SOURCE) {
            Ok(_) => {}
            Err(Unreadable::Absent) => return Err(RuntimeError::NotGuix { missing }),
            Err(error) => return Err(layer.unreadable(missing, error).into()),
        }
    }
    age::refuse_too_old(&guix, "of the channel `guix`")
}

/// Looks up what is there. Takes about a second.
fn plan(
    host: &Host,
    layers: &[Layer],
    inside: &[PathBuf],
    cache: &Cache,
    stop: &CancellationToken,
) -> Result<Plan, RuntimeError> {
    check_guix(&layers[0])?;
    let unlimited = Effort::unlimited(stop.clone());
    let compiler = host.compiler(&unlimited)?;
    // One after the other: each has all sources in memory, and uses all processors.
    let installed = host.keys(&compiler, &unlimited)?;
    let effort = Effort::limited(stop.clone());
    let mut files = sources::files(layers, &effort)?;
    sources::replace(&mut files, "guix/config.scm", fs_err::read(host.outside(&host.config.0))?);
    let Keyed { keys, unknown } = key::keys(&files, layers, &compiler, &effort)?;
    let (steps, bytes) = effort.used();
    tracing::debug!(files = files.len(), steps, bytes, "the modules were compared");
    let farm = Farm::new(cache)?;
    let (mut jobs, mut counts) = (Vec::new(), Counts::default());
    let unknown = unknown.into_iter().map(|(module, why)| CompileFailure {
        module,
        message: format!("it is not compiled, nor is what imports it: {why}"),
    });
    let mut failures: Vec<_> = unknown.collect();
    for file in &files {
        if stop.is_cancelled() {
            return Err(io::Error::other(Halt::Stopped).into());
        }
        if file.path == "guix/config.scm" {
            farm.source(&file.path, &host.config.0)?;
            farm.compiled(&file.path, &host.config.1)?;
        } else if file.kind == Kind::Library {
            link_library(host, file, &farm)?;
        } else if let Some(keys) = keys.get(&file.path) {
            match place(host, file, *keys, installed.get(&file.path), cache, &farm)? {
                Placed::Installed => counts.installed += 1,
                Placed::Cached => counts.cached += 1,
                Placed::Source => counts.source += 1,
                Placed::Fails(message) => {
                    failures.push(CompileFailure { module: file.path.clone(), message });
                }
                Placed::Missing => {
                    let source = inside[file.layer].join(&file.path);
                    let level = key::level(file.kind, &file.path);
                    jobs.push(Job { path: file.path.clone(), source, level, keys: *keys });
                }
            }
        }
    }
    Ok(Plan { farm: Arc::new(farm), jobs, failures, counts })
}

/// Links a file of a Guile library and its compiled form, wherever they are installed.
fn link_library(host: &Host, file: &File, farm: &Farm) -> io::Result<()> {
    let first = |directories: &[PathBuf], path: &Path| {
        let paths = directories.iter().map(|directory| directory.join(path));
        paths.into_iter().find(|path| host.outside(path).symlink_metadata().is_ok())
    };
    let path = Path::new(&file.path);
    if let Some(source) = first(&host.load_path, path) {
        farm.source(&file.path, &source)?;
    }
    if let Some(compiled) = first(&host.load_compiled_path, &path.with_extension("go")) {
        farm.compiled(&file.path, &compiled)?;
    }
    Ok(())
}

/// Where the compiled form of a module comes from.
enum Placed {
    Installed,
    Cached,
    /// From nowhere, nor is there one in the installed Guix: it needs libraries that are not installed.
    Source,
    /// It is known not to compile.
    Fails(String),
    /// It is to be compiled.
    Missing,
}

/// Finds the compiled form of a module.
fn place(
    host: &Host,
    file: &File,
    keys: Keys,
    installed: Option<&Keys>,
    cache: &Cache,
    farm: &Farm,
) -> io::Result<Placed> {
    let compiled = host.compiled.join(&file.path).with_extension("go");
    let there = host.outside(&compiled).symlink_metadata().is_ok();
    Ok(if there && installed.is_some_and(|other| other.host == keys.host) {
        farm.compiled(&file.path, &compiled)?;
        Placed::Installed
    } else if installed.is_some() && !there {
        Placed::Source
    } else if farm.take(&file.path, cache, &keys.own)? {
        Placed::Cached
    } else {
        cache.failure(&keys.failure).map_or(Placed::Missing, Placed::Fails)
    })
}

/// The environment in which Guile finds all of that.
fn environment(host: &Host, channels: &[(PathBuf, PathBuf)], inside: &[PathBuf], plan: &Plan) -> Environment {
    let mut binds = channels.to_vec();
    binds.push((plan.farm.path().to_owned(), FARM.into()));
    let farm_of = |name: &str| Path::new(FARM).join(name);
    let load_path: Vec<PathBuf> = std::iter::once(farm_of("scm")).chain(inside.iter().cloned()).collect();
    let env = vec![
        ("GUILE_AUTO_COMPILE".to_owned(), "0".to_owned()),
        ("GUILE_LOAD_PATH".to_owned(), search_path(&load_path)),
        ("GUILE_LOAD_COMPILED_PATH".to_owned(), search_path(&[farm_of("go")])),
        ("GUILE_SYSTEM_PATH".to_owned(), search_path(std::slice::from_ref(&host.guile_modules.0))),
        ("GUILE_SYSTEM_COMPILED_PATH".to_owned(), search_path(std::slice::from_ref(&host.guile_modules.1))),
    ];
    let (program, failures, counts) = (host.guile.clone(), plan.failures.clone(), plan.counts);
    Environment { program, binds, env, failures, counts, _farm: Some(Arc::clone(&plan.farm)) }
}
