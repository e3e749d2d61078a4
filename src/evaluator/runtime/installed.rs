//! The installed Guix.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::sandbox::{Confined, Limits, find_guix};

use super::channel::Place;
use super::compiler::CompilerIdentity;
use super::key::Keys;
use super::layer::{Kind, Layer};
use super::layer_reader::LayerReader;
use super::min_version;
use super::source_reader::{InstalledKeys, SourceReader};
use super::{Counts, Environment, RuntimeError, Source, search_path};

/// Where the sandbox has the store.
const STORE: &str = "/gnu/store";
/// Time limit for asking a Guix.
const PROBE_LIMIT: Duration = Duration::from_mins(2);
/// Memory for asking a Guix, in bytes.
const PROBE_MEMORY: u64 = 2 << 30;

/// What was learnt of an installed Guix and its Guile. All paths but [`InstalledGuix::root`] are as seen
/// inside the root.
///
/// It is asked through `guix repl`, so what counts is what that Guix itself loads: on Debian a
/// script over two site directories; after `guix pull` and on Guix System a wrapper over many
/// directories of `/gnu/store`, some of which hold nothing but links. (Tried on Debian only.)
#[derive(Debug, Clone)]
pub struct InstalledGuix {
    /// The system root: `/` for this machine's.
    pub root: PathBuf,
    /// The `guile` program: Guile itself, which heeds `GUILE_LOAD_PATH`.
    pub guile: PathBuf,
    /// Guile's version.
    pub guile_version: String,
    /// Guix's version.
    pub guix_version: String,
    /// The directory that has `guix/packages.scm`.
    pub sources: PathBuf,
    /// The directory that has `guix/packages.go`.
    pub compiled: PathBuf,
    /// `guix/config.scm` and `guix/config.go`, which no checkout has.
    pub config: (PathBuf, PathBuf),
    /// Guile's own modules, sources and compiled.
    pub guile_modules: (PathBuf, PathBuf),
    /// Everywhere that this Guix loads modules from, Guile's own excepted.
    pub load_path: Vec<PathBuf>,
    /// The same for compiled modules.
    pub load_compiled_path: Vec<PathBuf>,
    /// What keys of compiled modules depend on beside sources, except Guile's macros.
    pub(super) compiler: Arc<CompilerIdentity>,
    /// What the sandbox shows as `/gnu/store`, if that is not the root's own.
    store: Option<PathBuf>,
    known: Arc<OnceCell<Known>>,
}

impl InstalledGuix {
    /// Asks the Guix below `root` about itself.
    ///
    /// # Errors
    /// When there is no Guix, or it does not answer as a Guix does.
    pub async fn probe(root: &Path) -> Result<Self, RuntimeError> {
        let root = fs_err::canonicalize(root)?;
        let program = find_guix(&root).ok_or_else(|| RuntimeError::NoGuix { root: root.clone() })?;
        Self::ask(root, program, None).await
    }

    /// Asks the Guix whose program is `program` in the store `store` about itself, with the system
    /// root `root`.
    ///
    /// # Errors
    /// When it does not answer as a Guix does.
    pub(super) async fn probe_built(root: &Path, program: &Path, store: &Path) -> Result<Self, RuntimeError> {
        Self::ask(root.to_owned(), program.to_owned(), Some(store.to_owned())).await
    }

    async fn ask(root: PathBuf, program: PathBuf, store: Option<PathBuf>) -> Result<Self, RuntimeError> {
        let script = tempfile::NamedTempFile::with_suffix(".scm")?;
        fs_err::write(script.path(), include_str!("probe.scm"))?;
        let inside = "/gorget/probe.scm";
        let limits = Limits::sandbox(PROBE_MEMORY, PROBE_LIMIT);
        let guix =
            Confined::new(&root, program, limits).args(["repl", inside]).readable(script.path(), inside);
        let guix = store.iter().fold(guix, |guix, store| guix.readable(store, STORE));
        let finished = guix.spawn()?.finish(PROBE_LIMIT).await?;
        if !finished.success() {
            return Err(RuntimeError::Probe { root, reason: finished.reason() });
        }
        let host = Self::learn(root, store, &String::from_utf8_lossy(&finished.stdout))?;
        let sources = LayerReader::new(&Layer::alone(host.outside(&host.sources), Kind::Installed))?;
        min_version::refuse_too_old(&sources, &format!("below {}", host.root.display()))?;
        Ok(host)
    }

    fn learn(root: PathBuf, store: Option<PathBuf>, answer: &str) -> Result<Self, RuntimeError> {
        let facts: HashMap<&str, Vec<&str>> = answer
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(name, values)| (name, values.split('\t').collect()))
            .collect();
        let all = |name: &str| facts.get(name).cloned().unwrap_or_default();
        let at = |name: &'static str, number: usize| match all(name).get(number) {
            Some(value) if !value.is_empty() => Ok((*value).to_owned()),
            _ => Err(RuntimeError::Probe { root: root.clone(), reason: format!("it has no {name}") }),
        };
        let guile_modules = (at("guile-sources", 0)?.into(), at("guile-compiled", 0)?.into());
        let others = |name: &str, own: &PathBuf| {
            let mut paths: Vec<PathBuf> = Vec::new();
            for path in all(name).into_iter().map(PathBuf::from) {
                if path != *own && !paths.contains(&path) && below(&root, store.as_deref(), &path).is_dir() {
                    paths.push(path);
                }
            }
            paths
        };
        let load_path = others("load-path", &guile_modules.0);
        let load_compiled_path = others("load-compiled-path", &guile_modules.1);
        let identity = [vec![at("guile-version", 0)?.as_str()], all("guile-build")].concat().join("\n");
        let core = all("core").into_iter().map(str::to_owned).collect();
        Ok(Self {
            guile: at("guile", 0)?.into(),
            guile_version: at("guile-version", 0)?,
            guix_version: at("guix-version", 0)?,
            sources: at("sources", 0)?.into(),
            compiled: at("compiled", 0)?.into(),
            config: (at("config", 0)?.into(), at("config", 1)?.into()),
            compiler: Arc::new(CompilerIdentity { identity, core }),
            known: Arc::default(),
            guile_modules,
            load_path,
            load_compiled_path,
            store,
            root,
        })
    }

    /// Where a path inside the root is on this machine.
    pub(super) fn outside(&self, inside: &Path) -> PathBuf {
        below(&self.root, self.store.as_deref(), inside)
    }

    /// The layers of Guile libraries that Guix uses.
    pub(super) fn libraries(&self) -> Vec<Layer> {
        let layer = |path: &PathBuf| Layer::alone(self.outside(path), Kind::Library);
        // Guile's top directory contains the others, and has no modules of its own.
        let inner = |path: &&PathBuf| !self.load_path.iter().any(|p| p != *path && p.starts_with(path));
        let inner_of_guile = |path: &&PathBuf| !self.guile_modules.0.starts_with(path);
        self.load_path.iter().filter(inner).filter(inner_of_guile).map(layer).collect()
    }

    /// The reader of sources for this Guix; `program` is Gorget.
    pub(super) fn source_reader(&self, program: &Path) -> SourceReader {
        // Profiles are made of links into the store.
        let stores = [self.outside(Path::new(STORE)), self.root.join("usr")].into_iter();
        let linked = stores.filter(|directory| directory.is_dir()).collect();
        SourceReader { program: program.to_owned(), config: self.outside(&self.config.0), linked }
    }

    /// The facts about its modules, which are learnt once.
    pub(super) async fn known(&self, reader: &SourceReader) -> Result<&Known, RuntimeError> {
        let learn = async || {
            let guile = Layer::alone(self.outside(&self.guile_modules.0), Kind::Guile);
            let mut layers = vec![Layer::alone(self.outside(&self.sources), Kind::Installed)];
            layers.extend(self.libraries());
            let mut compiler = (*self.compiler).clone();
            let InstalledKeys { macros, keys } = reader.installed(guile, layers, compiler.clone()).await?;
            compiler.core.extend(macros);
            Ok(Known { compiler, keys })
        };
        self.known.get_or_try_init(learn).await
    }
}

/// The facts about the modules of an installed Guix.
#[derive(Debug)]
pub(super) struct Known {
    /// What keys of compiled modules depend on beside sources.
    pub(super) compiler: CompilerIdentity,
    /// The keys of its modules.
    pub(super) keys: HashMap<String, Keys>,
}

/// The path on this machine of `path`, which is absolute inside `root` with `store` as its store.
fn below(root: &Path, store: Option<&Path>, path: &Path) -> PathBuf {
    if let (Some(store), Ok(rest)) = (store, path.strip_prefix(STORE)) {
        return store.join(rest);
    }
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The installed Guix, with the modules of `channels` behind its own.
///
/// Channels are not compiled: Guile loads them from source.
///
/// # Errors
/// When a channel cannot be loaded from: see [`RuntimeError::is_of_revision`].
pub fn installed_environment(
    host: &InstalledGuix,
    channels: &[&Source],
) -> Result<Environment, RuntimeError> {
    let places = channels.iter().map(|channel| channel.place()).collect::<Result<Vec<_>, _>>()?;
    let mut binds: Vec<_> = places.iter().map(Place::bind).collect();
    binds.extend(host.store.clone().map(|store| (store, STORE.into())));
    let load_path: Vec<PathBuf> =
        host.load_path.iter().cloned().chain(places.into_iter().map(|place| place.load)).collect();
    let env = vec![
        ("GUILE_AUTO_COMPILE".to_owned(), "0".to_owned()),
        ("GUILE_LOAD_PATH".to_owned(), search_path(&load_path)),
        ("GUILE_LOAD_COMPILED_PATH".to_owned(), search_path(&host.load_compiled_path)),
        ("GUILE_SYSTEM_PATH".to_owned(), host.guile_modules.0.display().to_string()),
        ("GUILE_SYSTEM_COMPILED_PATH".to_owned(), host.guile_modules.1.display().to_string()),
    ];
    let program = host.guile.clone();
    let (failures, counts) = (Vec::new(), Counts::default());
    Ok(Environment { program, binds, directory: None, env, failures, counts, _link_tree: None })
}
