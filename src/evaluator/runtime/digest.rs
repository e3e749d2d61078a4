//! Digests: one hash of what a name stands for at expansion time and of everything that this
//! depends on.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::compiler::CompilerIdentity;
use super::definers::Sort;
use super::hash::{Hash, hash_set};
use super::index::Index;
use super::key_limits::{LimitExceeded, Meter};
use super::reader::Symbol;
use super::search::{Search, Step};

/// Definitions with what each of them stands for at expansion time.
///
/// The digest of a definition covers everything that it can reach; definitions that reach each
/// other have one digest in common (strongly connected components, found without recursion).
pub struct Graph<'a> {
    /// The definitions, and what each file can see.
    pub index: &'a Index,
    /// The names of all symbols.
    pub names: Vec<&'a [u8]>,
    core: HashSet<Symbol>,
    /// By definition; meaningful for macros and what they reach.
    pub digests: Vec<Hash>,
}

impl<'a> Graph<'a> {
    /// Prepares the digests of `index`.
    pub fn new(index: &'a Index, compiler: &CompilerIdentity) -> Self {
        let core =
            compiler.core.iter().filter_map(|name| index.names.get(name.as_bytes())).copied().collect();
        let mut names: Vec<&[u8]> = vec![b""; index.names.len()];
        for (name, symbol) in &index.names {
            names[*symbol as usize] = name;
        }
        Self { index, names, core, digests: vec![Hash::default(); index.definitions.len()] }
    }

    /// The definitions that `symbol` may stand for in code of `file`.
    pub fn meanings(&self, file: u32, symbol: Symbol, meter: &Meter<'_>) -> Result<Vec<u32>, LimitExceeded> {
        let (index, mut found) = (self.index, Vec::new());
        let stripped = index.seen[file as usize].stripped.get(&symbol).into_iter().flatten();
        for symbol in std::iter::once(&symbol).chain(stripped) {
            let at = *symbol as usize;
            let (hidden, defining, making) = (&index.hidden[at], &index.defining[at], &index.making[at]);
            let made = making.iter().map(|group| &index.made[*group as usize]);
            let count = made.clone().map(Vec::len).sum::<usize>() + hidden.len() + defining.len();
            meter.steps(count + 1)?;
            let file_of = |definition: &u32| index.definitions[*definition as usize].file;
            found.extend(hidden.iter().filter(|definition| file_of(definition) == file));
            let others = defining.iter().chain(made.flatten());
            found.extend(others.filter(|definition| index.reach.reaches(file, file_of(definition))));
        }
        Ok(found)
    }

    /// Whether it matters which module gives `symbol` its meaning, because Guile or a macro may
    /// define it.
    pub fn is_special(&self, symbol: Symbol, meanings: &[u32]) -> bool {
        self.core.contains(&symbol)
            || meanings.iter().any(|at| self.index.definitions[*at as usize].sort != Sort::Plain)
    }

    /// The files that define or export `symbol`, among those that `file` reaches.
    pub fn places(
        &self,
        file: u32,
        symbol: Symbol,
        meanings: &[u32],
        meter: &Meter<'_>,
    ) -> Result<Vec<u32>, LimitExceeded> {
        let exports = self.index.exporting[symbol as usize].iter().copied();
        meter.steps(exports.len())?;
        let mut places: Vec<u32> =
            meanings.iter().map(|at| self.index.definitions[*at as usize].file).chain(exports).collect();
        places.retain(|place| self.index.reach.reaches(file, *place));
        places.sort_unstable();
        places.dedup();
        Ok(places)
    }

    /// The definitions that `definition` can reach in one step, and its own hash.
    fn look(&self, definition: u32, meter: &Meter<'_>) -> Result<(Vec<u32>, Hash), LimitExceeded> {
        let this = &self.index.definitions[definition as usize];
        let mut edges = Vec::new();
        let mut hash = Sha256::new_with_prefix(this.hash);
        let mut ambiguous = false;
        for (symbol, free) in &this.symbols {
            let meanings = self.meanings(this.file, *symbol, meter)?;
            if meanings.is_empty() {
                continue;
            }
            let special = self.is_special(*symbol, &meanings);
            ambiguous |= special && self.places(this.file, *symbol, &meanings, meter)?.len() > 1;
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
        // Each edge is kept twice: while the search is at this definition, and in `below`.
        meter.bytes(8 * edges.len())?;
        Ok((edges, hash.finalize().into()))
    }

    /// Whether `definition` may be a macro.
    pub fn is_root(&self, definition: u32) -> bool {
        self.index.definitions[definition as usize].sort != Sort::Plain
    }

    /// Computes the digests of all macros and of all definitions that they reach.
    pub fn digest_all(&mut self, meter: &Meter<'_>) -> Result<(), LimitExceeded> {
        let mut search = Search::new(self.index.definitions.len());
        for root in (0..).take(self.index.definitions.len()) {
            let mut enter = (self.is_root(root) && search.is_new(root)).then_some(root);
            loop {
                if let Some(definition) = enter.take() {
                    let (edges, hash) = self.look(definition, meter)?;
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
        Ok(())
    }

    fn digest_component(&mut self, members: &[u32], search: &Search) {
        let mut parts: Vec<Hash> = members.iter().map(|member| search.own(*member)).collect();
        let deeper = members.iter().flat_map(|member| search.below(*member));
        parts.extend(deeper.map(|edge| self.digests[*edge as usize]));
        let digest = hash_set(parts);
        for member in members {
            self.digests[*member as usize] = digest;
        }
    }
}
