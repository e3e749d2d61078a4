//! What a name stands for at expansion time, with all that this depends on, as one hash.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::index::{Hash, Index, Sort};
use super::key::Compiler;
use super::reader::Symbol;

/// Definitions with what each of them stands for at expansion time.
///
/// The digest of a definition covers everything that it can reach; definitions that reach each
/// other have one digest in common (strongly connected components, found without recursion).
pub struct Graph<'a> {
    /// See there.
    pub index: &'a Index,
    /// The names of all symbols.
    pub names: Vec<&'a [u8]>,
    core: HashSet<Symbol>,
    /// By definition; meaningful for macros and what they reach.
    pub digests: Vec<Hash>,
}

impl<'a> Graph<'a> {
    /// Prepares the digests of `index`.
    pub fn new(index: &'a Index, compiler: &Compiler) -> Self {
        let core =
            compiler.core.iter().filter_map(|name| index.names.get(name.as_bytes())).copied().collect();
        let mut names: Vec<&[u8]> = vec![b""; index.names.len()];
        for (name, symbol) in &index.names {
            names[*symbol as usize] = name;
        }
        Self { index, names, core, digests: vec![Hash::default(); index.definitions.len()] }
    }

    /// Calls `found` with what `symbol` may be to code in `file`.
    pub fn meanings(&self, file: u32, symbol: Symbol, found: &mut impl FnMut(Symbol, u32)) {
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
    pub fn is_special(&self, symbol: Symbol, meanings: &[u32]) -> bool {
        self.core.contains(&symbol)
            || meanings.iter().any(|at| self.index.definitions[*at as usize].sort != Sort::Plain)
    }

    /// The files of `file`'s reach that define or export `symbol`.
    pub fn places(&self, file: u32, symbol: Symbol, meanings: &[u32]) -> Vec<u32> {
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

    /// Whether `definition` may be a macro.
    pub fn is_root(&self, definition: u32) -> bool {
        self.index.definitions[definition as usize].sort != Sort::Plain
    }

    /// Computes the digests of all macros and of whatever they reach.
    pub fn digest_all(&mut self) {
        let mut search = Search::new(self.index.definitions.len());
        for root in (0..).take(self.index.definitions.len()) {
            let mut enter = (self.is_root(root) && search.order[root as usize] == UNSEEN).then_some(root);
            loop {
                if let Some(definition) = enter.take() {
                    let (edges, hash) = self.look(definition);
                    search.enter(definition, edges, hash);
                }
                match search.step() {
                    Step::Enter(definition) => enter = Some(definition),
                    Step::Complete(members) => self.digest_component(&members, &search),
                    Step::Again => {}
                    Step::Done => break,
                }
            }
        }
    }

    fn digest_component(&mut self, members: &[u32], search: &Search) {
        let mut parts: Vec<Hash> = members.iter().map(|member| search.own[*member as usize]).collect();
        let deeper = members.iter().flat_map(|member| &search.below[*member as usize]);
        parts.extend(deeper.map(|edge| self.digests[*edge as usize]));
        let digest = hash_set(parts);
        for member in members {
            self.digests[*member as usize] = digest;
        }
    }
}

/// Tarjan's search for strongly connected components, with its stack on the heap.
struct Search {
    order: Vec<u32>,
    low: Vec<u32>,
    is_open: Vec<bool>,
    open: Vec<u32>,
    visits: Vec<Visit>,
    entered: u32,
    /// The own hash of each definition.
    own: Vec<Hash>,
    /// What each definition reaches in components that are complete.
    below: Vec<Vec<u32>>,
}

/// Where the search stands at one definition.
struct Visit {
    definition: u32,
    edges: Vec<u32>,
    next: usize,
}

enum Step {
    Enter(u32),
    Complete(Vec<u32>),
    Again,
    Done,
}

const UNSEEN: u32 = u32::MAX;

impl Search {
    fn new(count: usize) -> Self {
        Self {
            order: vec![UNSEEN; count],
            low: vec![0; count],
            is_open: vec![false; count],
            open: Vec::new(),
            visits: Vec::new(),
            entered: 0,
            own: vec![Hash::default(); count],
            below: vec![Vec::new(); count],
        }
    }

    fn enter(&mut self, definition: u32, edges: Vec<u32>, own: Hash) {
        let at = definition as usize;
        (self.order[at], self.low[at], self.is_open[at]) = (self.entered, self.entered, true);
        self.entered += 1;
        self.own[at] = own;
        self.open.push(definition);
        self.visits.push(Visit { definition, edges, next: 0 });
    }

    fn step(&mut self) -> Step {
        let Some(visit) = self.visits.last_mut() else { return Step::Done };
        let (definition, at) = (visit.definition, visit.definition as usize);
        if let Some(edge) = visit.edges.get(visit.next).copied() {
            visit.next += 1;
            let order = self.order[edge as usize];
            if order == UNSEEN {
                return Step::Enter(edge);
            } else if self.is_open[edge as usize] {
                self.low[at] = self.low[at].min(order);
            } else {
                self.below[at].push(edge);
            }
            return Step::Again;
        }
        self.visits.pop();
        let complete = self.low[at] == self.order[at];
        if let Some(parent) = self.visits.last().map(|parent| parent.definition as usize) {
            if complete {
                self.below[parent].push(definition);
            } else {
                self.low[parent] = self.low[parent].min(self.low[at]);
            }
        }
        if complete { Step::Complete(self.take(definition)) } else { Step::Again }
    }

    /// The open definitions down to `last`: they all reach each other.
    fn take(&mut self, last: u32) -> Vec<u32> {
        let from = self.open.iter().rposition(|definition| *definition == last).unwrap_or(0);
        let members = self.open.split_off(from);
        for member in &members {
            self.is_open[*member as usize] = false;
        }
        members
    }
}

/// Hash of a set of hashes.
pub fn hash_set(mut parts: Vec<Hash>) -> Hash {
    parts.sort_unstable();
    parts.dedup();
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
