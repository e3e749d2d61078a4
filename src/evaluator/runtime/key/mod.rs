//! From an index to the keys of compiled modules.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::compiler::CompilerIdentity;
use super::definers::Sort;
use super::digest::Graph;
use super::hash::{Hash, hash_set, texts_hash};
use super::index::Index;
use super::key_limits::{KeyLimits, LimitExceeded, Meter};
use super::layer::{Kind, Layer};
use super::reader::Symbol;
use super::sources::{File, SourcesError};

/// Goes up whenever keys or the way of compiling change.
const FORMAT: &str = "gorget compiled module 3";

/// Where Guix has its packages.
const PACKAGES: [&str; 2] = ["gnu/packages/", "gnu/packages.scm"];
/// The modules of Guix that the evaluator's own code imports, and the one that says which packages
/// are built.
const EVALUATOR: [&str; 13] = [
    "gnu/ci.scm",
    "guix/base16.scm",
    "guix/derivations.scm",
    "guix/diagnostics.scm",
    "guix/discovery.scm",
    "guix/gexp.scm",
    "guix/grafts.scm",
    "guix/modules.scm",
    "guix/monads.scm",
    "guix/packages.scm",
    "guix/profiles.scm",
    "guix/store.scm",
    "guix/ui.scm",
];

/// What identifies the compiled form of one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The key of a module that Gorget compiles: only macros put parts of other modules into it.
    pub own: Hash,
    /// The key of a module from Guix's own build, which copies code from one module to another.
    pub host: Hash,
    /// The key of the fact that it does not compile. It covers everything that the module imports.
    pub failure: Hash,
    /// How many modules it imports, directly or not.
    pub imports: usize,
    /// How many bytes its source has, including the files that it includes.
    pub bytes: u64,
}

/// Guile's optimization level for a file, as Guix chooses it; other channels get the cheap one.
pub fn level(kind: Kind, path: &str) -> u8 {
    if kind == Kind::Channel || path.starts_with("gnu/packages/") || path.starts_with("gnu/tests/") {
        1
    } else if path.starts_with("gnu/services/") || path.starts_with("gnu/home/services/") {
        2
    } else {
        3
    }
}

/// The keys of a revision's modules.
#[derive(Debug, Default)]
pub struct Keyed {
    /// By path. A module that is missing here must be loaded from source.
    pub keys: HashMap<String, Keys>,
    /// By layer: the layers of channels that its modules with keys import or include something
    /// from.
    pub reached: HashMap<usize, BTreeSet<usize>>,
    /// The files that packages of Guix, and what evaluates them, reach by imports.
    pub of_packages: HashSet<String>,
    /// Modules whose contents are unknown, and why. They have no keys, and neither have modules
    /// that import them.
    pub unknown: Vec<(String, String)>,
}

/// The keys of all files that are modules of this kind.
///
/// # Errors
/// When a limit is exceeded, or a file that a module includes cannot be read.
pub fn keys(
    files: &[File],
    layers: &[Layer],
    kind: Kind,
    compiler: &CompilerIdentity,
    limits: &KeyLimits,
) -> Result<Keyed, SourcesError> {
    let core = compiler.core.iter().map(String::as_bytes).collect();
    let index = super::index::index(files, layers, &core, limits)?;
    let keyed = all_keys(files, &index, kind, compiler, limits);
    let mut keyed = keyed.map_err(|halt| SourcesError::halted(layers, halt))?;
    keyed.of_packages = of_packages(files, &index);
    for reached in keyed.reached.values_mut() {
        reached.retain(|layer| !layers[*layer].kind.is_trusted());
    }
    let unknown = files.iter().zip(&index.seen).filter(|(file, _)| file.kind == kind);
    let unknown = unknown.filter_map(|(file, seen)| Some((file.path.clone(), seen.unknown.clone()?)));
    Ok(Keyed { unknown: unknown.collect(), ..keyed })
}

/// The files that packages of Guix, and what evaluates them, reach by imports.
fn of_packages(files: &[File], index: &Index) -> HashSet<String> {
    let roots = (0_u32..).zip(files).filter(|(_, file)| {
        file.kind == Kind::Guix
            && (PACKAGES.iter().any(|place| file.path.starts_with(place))
                || EVALUATOR.contains(&file.path.as_str()))
    });
    let components: HashSet<u32> = roots.map(|(number, _)| index.reach.component(number)).collect();
    let reached: HashSet<u32> =
        components.into_iter().flat_map(|component| index.reach.files(component)).collect();
    reached.into_iter().map(|number| files[number as usize].path.clone()).collect()
}

fn all_keys(
    files: &[File],
    index: &Index,
    kind: Kind,
    compiler: &CompilerIdentity,
    limits: &KeyLimits,
) -> Result<Keyed, LimitExceeded> {
    let mut graph = Graph::new(index, compiler);
    graph.digest_all(&limits.meter())?;
    let graph = &graph;
    let texts = files.iter().zip(&index.seen);
    let texts: Vec<Hash> =
        texts.map(|(file, seen)| texts_hash(&[file.path.as_bytes(), &seen.hash])).collect();
    let mut wanted: Vec<u32> = (0..)
        .zip(files)
        .filter(|(number, file)| file.kind == kind && index.seen[*number as usize].is_module)
        .map(|(number, _)| number)
        .collect();
    // Files that reach the same files are adjacent.
    wanted.sort_by_key(|number| index.reach.component(*number));
    let half = wanted.len().div_ceil(2);
    let work = |part: &[u32]| -> Result<Keyed, LimitExceeded> {
        let (mut keyed, meter) = (Keyed::default(), limits.meter());
        for part in part.chunk_by(|a, b| index.reach.component(*a) == index.reach.component(*b)) {
            let reached = graph.reached(files, index.reach.component(part[0]), &texts, &meter)?;
            for file in part.iter().filter(|_| !reached.unknown) {
                let keys = graph.keys(files, *file, compiler, &reached, &meter)?;
                let file = &files[*file as usize];
                keyed.keys.insert(file.path.clone(), keys);
                keyed.reached.entry(file.layer).or_default().extend(&reached.layers);
            }
        }
        Ok(keyed)
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(&wanted[half..]));
        let keyed = work(&wanted[..half]);
        match other.join() {
            Ok(more) => Ok(keyed?.with(more?)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

impl Keyed {
    fn with(mut self, more: Self) -> Self {
        self.keys.extend(more.keys);
        for (layer, reached) in more.reached {
            self.reached.entry(layer).or_default().extend(reached);
        }
        self
    }
}

/// What all files of one component reach, as far as keys depend on it.
#[derive(Default)]
struct Reached {
    /// Whether the contents of one of them are unknown.
    unknown: bool,
    /// The hashes of their texts.
    texts: Vec<Hash>,
    /// Those of the opaque ones.
    opaque: Vec<Hash>,
    /// Those of files that Guix compiles at a level above 1.
    optimized: Vec<Hash>,
    /// What they do when they are loaded.
    effects: Vec<Hash>,
    /// Hash of all texts.
    all: Hash,
    /// The layers that they are from, or include something from.
    layers: BTreeSet<usize>,
}

impl Graph<'_> {
    fn reached(
        &self,
        files: &[File],
        component: u32,
        texts: &[Hash],
        meter: &Meter<'_>,
    ) -> Result<Reached, LimitExceeded> {
        meter.steps(self.index.reach.words())?;
        let mut reached = Reached::default();
        for at in self.index.reach.files(component) {
            let (file, seen, text) = (&files[at as usize], &self.index.seen[at as usize], texts[at as usize]);
            // Each is sorted and hashed.
            meter.steps(4 + seen.effects.len())?;
            reached.unknown |= seen.unknown.is_some();
            reached.effects.extend(seen.effects.iter().map(|effect| self.effect(*effect)));
            if seen.opaque {
                reached.opaque.push(text);
            }
            if level(file.kind, &file.path) > 1 {
                reached.optimized.push(text);
            }
            reached.texts.push(text);
            reached.layers.insert(file.layer);
            reached.layers.extend(&seen.includes_from);
        }
        reached.all = hash_set(reached.texts.clone());
        Ok(reached)
    }

    /// The keys of file number `number`, which reaches `reached`.
    fn keys(
        &self,
        files: &[File],
        number: u32,
        compiler: &CompilerIdentity,
        reached: &Reached,
        meter: &Meter<'_>,
    ) -> Result<Keys, LimitExceeded> {
        let file = &files[number as usize];
        let seen = &self.index.seen[number as usize];
        let level = level(file.kind, &file.path);
        let (mut own, mut host) = (Vec::new(), Vec::new());
        for symbol in &seen.symbols {
            self.add_symbol(files, number, *symbol, (&mut own, &mut host), meter)?;
        }
        own.extend(if seen.opaque { &reached.texts } else { &reached.opaque });
        own.extend(&reached.effects);
        if level > 1 {
            host.extend(&reached.optimized);
        } else {
            host.clear();
        }
        meter.steps(4 * (own.len() + host.len()))?;
        let start = format!("{FORMAT}\n{}\n{level}\n{}\n{}\n", compiler.identity, file.path, file.place);
        let base = Sha256::new_with_prefix(start).chain_update(seen.hash).chain_update(hash_set(own));
        let with = |more: Hash, what: &str| base.clone().chain_update(what).chain_update(more);
        Ok(Keys {
            own: base.clone().finalize().into(),
            host: with(hash_set(host), "host").finalize().into(),
            failure: with(reached.all, "failure").finalize().into(),
            imports: reached.texts.len(),
            bytes: seen.bytes,
        })
    }

    /// A top-level effect counts by its text, and by what it reaches when it changes the language.
    fn effect(&self, definition: u32) -> Hash {
        let this = &self.index.definitions[definition as usize];
        if this.sort == Sort::Plain { this.hash } else { self.digests[definition as usize] }
    }

    /// Adds what `symbol` may mean in `file` to the parts of the keys `own` and `host`.
    fn add_symbol(
        &self,
        files: &[File],
        file: u32,
        symbol: Symbol,
        (own, host): (&mut Vec<Hash>, &mut Vec<Hash>),
        meter: &Meter<'_>,
    ) -> Result<(), LimitExceeded> {
        let meanings = self.meanings(file, symbol, meter)?;
        if meanings.is_empty() {
            return Ok(());
        }
        let special = self.is_special(symbol, &meanings);
        let places = self.places(file, symbol, &meanings, meter)?;
        meter.steps(8 * places.len())?;
        let paths = places.iter().map(|place| files[*place as usize].path.as_bytes());
        let words: Vec<&[u8]> = std::iter::once(self.names[symbol as usize]).chain(paths).collect();
        let place = texts_hash(&words);
        if special {
            own.push(place);
            let macros = meanings.iter().filter(|at| self.is_root(**at));
            own.extend(macros.map(|at| self.digests[*at as usize]));
        }
        host.push(place);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
