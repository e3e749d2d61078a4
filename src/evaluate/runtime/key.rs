//! From an index to the keys of compiled modules.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::index::{File, Hash, Index, Kind, Layer, Sort, texts_hash};
use super::reader::Symbol;

/// Goes up whenever keys or the way of compiling change.
const FORMAT: &str = "gorget compiled module 1";

/// What identifies the compiled form of one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// For a module compiled by us: nothing of other modules is in it but what macros put there.
    pub own: Hash,
    /// For a module compiled by Guix's own build, which copies code from one module to another.
    pub host: Hash,
    /// For the fact that it does not compile: everything that it imports takes part.
    pub failure: Hash,
}

/// What keys depend on beside the sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compiler {
    /// Version and build of Guile, and the machine it compiles for.
    pub identity: String,
    /// The names that Guile gives every module: its macros and primitives are among them.
    pub core: Vec<String>,
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

/// The keys of all files that are modules of Guix or another channel, by path.
pub fn keys(files: &[File], layers: &[Layer], compiler: &Compiler) -> HashMap<String, Keys> {
    let core = compiler.core.iter().map(String::as_bytes).collect();
    let index = super::index::index(files, layers, &core);
    let mut graph = Graph::new(&index, compiler);
    graph.digest_all();
    let graph = &graph;
    let wanted: Vec<u32> = (0..)
        .zip(files)
        .filter(|(number, file)| file.kind != Kind::Library && index.seen[*number as usize].is_module)
        .map(|(number, _)| number)
        .collect();
    let half = wanted.len().div_ceil(2);
    let work = |part: &[u32]| -> Vec<(String, Keys)> {
        part.iter().map(|n| (files[*n as usize].path.clone(), graph.keys(files, *n, compiler))).collect()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(&wanted[half..]));
        let mut keys: HashMap<_, _> = work(&wanted[..half]).into_iter().collect();
        match other.join() {
            Ok(more) => keys.extend(more),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        keys
    })
}

/// Definitions with what each of them stands for at expansion time.
///
/// The digest of a definition covers everything that it can reach; definitions that reach each
/// other have one digest in common (strongly connected components, found without recursion).
struct Graph<'a> {
    index: &'a Index,
    names: Vec<&'a [u8]>,
    core: HashSet<Symbol>,
    digests: Vec<Hash>,
}

/// Where the search for components stands at one definition.
struct Visit {
    definition: u32,
    edges: Vec<u32>,
    next: usize,
}

const UNSEEN: u32 = u32::MAX;

impl<'a> Graph<'a> {
    fn new(index: &'a Index, compiler: &Compiler) -> Self {
        let core =
            compiler.core.iter().filter_map(|name| index.names.get(name.as_bytes())).copied().collect();
        let mut names: Vec<&[u8]> = vec![b""; index.names.len()];
        for (name, symbol) in &index.names {
            names[*symbol as usize] = name;
        }
        Self { index, names, core, digests: vec![Hash::default(); index.definitions.len()] }
    }

    /// Calls `found` with what `symbol` may be to code in `file`.
    fn meanings(&self, file: u32, symbol: Symbol, found: &mut impl FnMut(Symbol, u32)) {
        let seen = &self.index.seen[file as usize];
        let mut look = |symbol: Symbol| {
            let at = symbol as usize;
            for definition in &self.index.hidden[at] {
                if self.index.definitions[*definition as usize].file == file {
                    found(symbol, *definition);
                }
            }
            for definition in self.index.defining[at].iter().chain(&self.index.making[at]) {
                if seen.reaches(self.index.definitions[*definition as usize].file) {
                    found(symbol, *definition);
                }
            }
        };
        look(symbol);
        seen.stripped.get(&symbol).into_iter().flatten().for_each(|symbol| look(*symbol));
    }

    /// Whether it matters which module gives `symbol` its meaning: Guile or a macro is concerned.
    fn is_special(&self, symbol: Symbol, meanings: &[u32]) -> bool {
        self.core.contains(&symbol)
            || meanings.iter().any(|at| self.index.definitions[*at as usize].sort != Sort::Plain)
    }

    /// The files of `file`'s reach that define or export `symbol`.
    fn places(&self, file: u32, symbol: Symbol, meanings: &[u32]) -> Vec<u32> {
        let seen = &self.index.seen[file as usize];
        let exports = self.index.exporting[symbol as usize].iter().copied();
        let mut places: Vec<u32> =
            meanings.iter().map(|at| self.index.definitions[*at as usize].file).chain(exports).collect();
        places.retain(|place| seen.reaches(*place));
        places.sort_unstable();
        places.dedup();
        places
    }

    /// What `definition` can reach in one step, and its own hash.
    fn look(&self, definition: u32) -> (Vec<u32>, Hash) {
        let this = &self.index.definitions[definition as usize];
        let mut edges = Vec::new();
        let mut hash = Sha256::new_with_prefix(this.hash);
        let mut ambiguous = false;
        for (symbol, free) in &this.symbols {
            let mut meanings = Vec::new();
            self.meanings(this.file, *symbol, &mut |_, at| meanings.push(at));
            if meanings.is_empty() {
                continue;
            }
            let special = self.is_special(*symbol, &meanings);
            ambiguous |= special && self.places(this.file, *symbol, &meanings).len() > 1;
            ambiguous |= self.core.contains(symbol);
            let calls = this.sort != Sort::Pattern && *free;
            edges.extend(meanings.into_iter().filter(|at| {
                let other = &self.index.definitions[*at as usize];
                let callable = other.file == this.file || !self.index.seen[other.file as usize].packages;
                other.sort != Sort::Plain || (calls && callable)
            }));
        }
        if ambiguous {
            hash.update(self.index.seen[this.file as usize].header);
        }
        edges.sort_unstable();
        edges.dedup();
        (edges, hash.finalize().into())
    }

    /// Computes the digests of all macros and of whatever they reach.
    fn digest_all(&mut self) {
        let count = self.index.definitions.len();
        let (mut order, mut low) = (vec![UNSEEN; count], vec![0_u32; count]);
        let (mut open, mut visits): (Vec<u32>, Vec<Visit>) = (Vec::new(), Vec::new());
        let (mut is_open, mut own) = (vec![false; count], vec![Hash::default(); count]);
        let mut below: Vec<Vec<u32>> = vec![Vec::new(); count];
        let mut counter = 0;
        for root in 0..u32::try_from(count).unwrap_or(UNSEEN) {
            let mut enter = (self.is_root(root) && order[root as usize] == UNSEEN).then_some(root);
            loop {
                if let Some(definition) = enter.take() {
                    let at = definition as usize;
                    (order[at], low[at], is_open[at]) = (counter, counter, true);
                    counter += 1;
                    open.push(definition);
                    let (edges, hash) = self.look(definition);
                    own[at] = hash;
                    visits.push(Visit { definition, edges, next: 0 });
                }
                let Some(visit) = visits.last_mut() else { break };
                let at = visit.definition as usize;
                if let Some(edge) = visit.edges.get(visit.next).copied() {
                    visit.next += 1;
                    if order[edge as usize] == UNSEEN {
                        enter = Some(edge);
                    } else if is_open[edge as usize] {
                        low[at] = low[at].min(order[edge as usize]);
                    } else {
                        below[at].push(edge);
                    }
                    continue;
                }
                if low[at] == order[at] {
                    let mut members = Vec::new();
                    while let Some(member) = open.pop() {
                        is_open[member as usize] = false;
                        members.push(member);
                        if member as usize == at {
                            break;
                        }
                    }
                    self.digest_component(&members, &own, &below);
                }
                let (low_here, closed) = (low[at], !is_open[at]);
                let definition = visit.definition;
                visits.pop();
                if let Some(parent) = visits.last() {
                    let parent = parent.definition as usize;
                    if closed {
                        below[parent].push(definition);
                    } else {
                        low[parent] = low[parent].min(low_here);
                    }
                }
            }
        }
    }

    fn is_root(&self, definition: u32) -> bool {
        self.index.definitions[definition as usize].sort != Sort::Plain
    }

    fn digest_component(&mut self, members: &[u32], own: &[Hash], below: &[Vec<u32>]) {
        let mut parts: Vec<Hash> = members.iter().map(|member| own[*member as usize]).collect();
        let deeper = members.iter().flat_map(|member| &below[*member as usize]);
        parts.extend(deeper.map(|edge| self.digests[*edge as usize]));
        let digest = hash_set(parts);
        for member in members {
            self.digests[*member as usize] = digest;
        }
    }

    /// The keys of file number `number`.
    fn keys(&self, files: &[File], number: u32, compiler: &Compiler) -> Keys {
        let file = &files[number as usize];
        let seen = &self.index.seen[number as usize];
        let level = level(file.kind, &file.path);
        let (mut own, mut host) = (Vec::new(), Vec::new());
        for symbol in &seen.symbols {
            self.add_symbol(files, number, *symbol, &mut own, &mut host);
        }
        let (mut effects, mut all) = (Vec::new(), Vec::new());
        for (other, at) in self.index.seen.iter().zip(0..).filter(|(_, at)| seen.reaches(*at)) {
            let foreign = &files[at as usize];
            let text = texts_hash(&[foreign.path.as_bytes(), &other.hash]);
            effects.extend(other.effects.iter().map(|effect| self.effect(*effect)));
            if other.opaque || seen.opaque {
                own.push(text);
            }
            if level > 1 && super::key::level(foreign.kind, &foreign.path) > 1 {
                host.push(text);
            }
            all.push(text);
        }
        own.extend(effects);
        let start = format!("{FORMAT}\n{}\n{level}\n{}\n", compiler.identity, file.path);
        let base = Sha256::new_with_prefix(start).chain_update(seen.hash).chain_update(hash_set(own));
        let with = |more: Vec<Hash>, what: &str| base.clone().chain_update(what).chain_update(hash_set(more));
        Keys {
            own: base.clone().finalize().into(),
            host: with(if level > 1 { host } else { Vec::new() }, "host").finalize().into(),
            failure: with(all, "failure").finalize().into(),
        }
    }

    /// A top-level effect counts by its text, and by what it reaches when it changes the language.
    fn effect(&self, definition: u32) -> Hash {
        let this = &self.index.definitions[definition as usize];
        if this.sort == Sort::Plain { this.hash } else { self.digests[definition as usize] }
    }

    /// Adds what `symbol` may mean in `file`.
    fn add_symbol(
        &self,
        files: &[File],
        file: u32,
        symbol: Symbol,
        own: &mut Vec<Hash>,
        host: &mut Vec<Hash>,
    ) {
        let mut meanings = Vec::new();
        self.meanings(file, symbol, &mut |_, at| meanings.push(at));
        if meanings.is_empty() {
            return;
        }
        let special = self.is_special(symbol, &meanings);
        let places = self.places(file, symbol, &meanings);
        let paths = places.iter().map(|place| files[*place as usize].path.as_bytes());
        let words: Vec<&[u8]> = std::iter::once(self.names[symbol as usize]).chain(paths).collect();
        let place = texts_hash(&words);
        if special {
            own.push(place);
            let macros = meanings.iter().filter(|at| self.is_root(**at));
            own.extend(macros.map(|at| self.digests[*at as usize]));
        }
        host.push(place);
    }
}

/// Hash of a set of hashes.
fn hash_set(mut parts: Vec<Hash>) -> Hash {
    parts.sort_unstable();
    parts.dedup();
    let mut hash = Sha256::new();
    for part in &parts {
        hash.update(part);
    }
    hash.finalize().into()
}
