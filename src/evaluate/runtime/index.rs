//! What each module of a revision defines, and what it can see.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};

use super::definers::{self, Class, Definers};
use super::reader::{self, Modules, Read, Symbol};
use super::sources::{File, Kind, Layer};

/// SHA-256 of something.
pub type Hash = [u8; 32];

/// How a definition takes part in the compilation of code that mentions it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A value: not at all, unless a macro calls it.
    Plain,
    /// A macro made of patterns and templates: by the macros that it mentions.
    Pattern,
    /// A macro that runs code, or something unknown: by everything that it mentions.
    Procedural,
}

/// A top-level form, seen from outside.
#[derive(Debug)]
pub struct Definition {
    /// The file it is in.
    pub file: u32,
    /// See there.
    pub sort: Sort,
    /// Hash of its path and text.
    pub hash: Hash,
    /// The symbols it mentions; `true` when outside of templates.
    pub symbols: Vec<(Symbol, bool)>,
}

/// Everything that keys are made from. Symbols are numbered across files.
#[derive(Debug, Default)]
pub struct Index {
    /// All symbols.
    pub names: HashMap<Box<[u8]>, Symbol>,
    /// All definitions and top-level effects.
    pub definitions: Vec<Definition>,
    /// Who may define a symbol, by symbol.
    pub defining: Vec<Vec<u32>>,
    /// Who may define a symbol for nobody but its own file.
    pub hidden: Vec<Vec<u32>>,
    /// Whose name is a part of a symbol, by symbol: it may be made by that form.
    pub making: Vec<Vec<u32>>,
    /// Files that export a symbol, by symbol.
    pub exporting: Vec<Vec<u32>>,
    /// By file.
    pub seen: Vec<Seen>,
}

/// What is known of a file beside its definitions.
#[derive(Debug, Default)]
pub struct Seen {
    /// Hash of its text and of what it includes.
    pub hash: Hash,
    /// Hash of what it says about imports and exports.
    pub header: Hash,
    /// The symbols it mentions.
    pub symbols: Vec<Symbol>,
    /// Other names for symbols of it, where it imports with a prefix.
    pub stripped: HashMap<Symbol, Vec<Symbol>>,
    /// Forms that are neither imports nor definitions.
    pub effects: Vec<u32>,
    /// Whether its text as a whole concerns whoever imports it.
    pub opaque: bool,
    /// Whether it is a module of packages, or of another channel: what it defines are values, which
    /// no macro of another module calls.
    pub packages: bool,
    /// Whether it declares the module that its path stands for.
    pub is_module: bool,
    /// The files it reaches by imports, itself included: a set of bits.
    pub reach: Vec<u64>,
}

impl Seen {
    /// Whether it reaches `file` by imports.
    pub fn reaches(&self, file: u32) -> bool {
        self.reach[file as usize / 64] >> (file % 64) & 1 == 1
    }
}

/// Reads `files` with all processors.
pub fn index(files: &[File], layers: &[Layer], core: &HashSet<&[u8]>) -> Index {
    let modules = Modules::new(files.iter().map(|file| file.path.as_str()));
    let reads = read_all(files, &modules);
    let mut index = Index::default();
    let mut numbers: Vec<Vec<Symbol>> = Vec::with_capacity(reads.len());
    for read in &reads {
        numbers.push(read.symbols.iter().map(|name| index.number(name)).collect());
    }
    index.defining.resize_with(index.names.len(), Vec::new);
    index.hidden.resize_with(index.names.len(), Vec::new);
    index.exporting.resize_with(index.names.len(), Vec::new);
    let definers = Definers::new(&reads, core);
    let mut makers = Makers::default();
    for (file, (read, numbers)) in reads.iter().zip(&numbers).enumerate() {
        index.add(
            &files[file],
            u32::try_from(file).unwrap_or(u32::MAX),
            read,
            numbers,
            &definers,
            &mut makers,
        );
        let included = included(&files[file], read, &layers[files[file].layer].directory);
        let seen = &mut index.seen[file];
        seen.opaque |= !included.is_empty();
        let mut hash = Sha256::new_with_prefix(&files[file].text);
        for text in &included {
            hash.update(Sha256::digest(text));
        }
        seen.hash = hash.finalize().into();
    }
    index.strip_prefixes(&reads, &numbers);
    index.reach(&reads);
    index.making = makers.find(&index.names);
    index
}

/// The names of the macros that `files` define.
pub fn macros(files: &[File]) -> Vec<String> {
    let modules = Modules::new(files.iter().map(|file| file.path.as_str()));
    let reads = read_all(files, &modules);
    definers::macro_names(&reads).into_iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

fn read_all<'a>(files: &'a [File], modules: &Modules<'_>) -> Vec<Read<'a>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(number) else { return done };
            let read = reader::read(&file.text, u32::try_from(number).unwrap_or(u32::MAX), modules);
            done.push((number, read));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let mut reads: Vec<(usize, Read<'a>)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut reads = work();
        for other in others {
            match other.join() {
                Ok(more) => reads.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        reads
    });
    reads.sort_unstable_by_key(|(number, _)| *number);
    reads.into_iter().map(|(_, read)| read).collect()
}

/// The files whose text a file takes in while it is compiled.
fn included(file: &File, read: &Read<'_>, layer: &Path) -> Vec<Vec<u8>> {
    let beside = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    let names = read.includes.iter().map(|name| String::from_utf8_lossy(name).into_owned());
    names
        .flat_map(|name| [layer.join(beside).join(&name), layer.join(&name)])
        .filter(|path| path.is_file())
        .filter_map(|path| fs_err::read(path).ok())
        .collect()
}

impl Index {
    fn number(&mut self, name: &[u8]) -> Symbol {
        let next = Symbol::try_from(self.names.len()).unwrap_or(Symbol::MAX);
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        self.names.insert(name.into(), next);
        next
    }

    fn add(
        &mut self,
        file: &File,
        number: u32,
        read: &Read<'_>,
        numbers: &[Symbol],
        definers: &Definers<'_>,
        makers: &mut Makers,
    ) {
        let name = |symbol: Symbol| read.symbols[symbol as usize];
        let packages = file.kind == Kind::Channel || file.path.starts_with("gnu/packages/");
        let mut seen = Seen { opaque: read.opaque, is_module: read.declares, packages, ..Seen::default() };
        for form in &read.forms {
            let head = form.head.map_or(&b""[..], name);
            let mut hidden = Vec::new();
            let runs = form.symbols.iter().any(|(symbol, _)| definers::RUNS.contains(&name(*symbol)));
            let (sort, names) = match definers.class(head) {
                Class::Value if !runs => (Sort::Plain, definers::defined(head, form)),
                Class::Macro => (definers::macro_sort(head, form, &name), definers::defined(head, form)),
                Class::Record => (Sort::Pattern, definers::defined(head, form)),
                Class::Effect => (if runs { Sort::Procedural } else { Sort::Plain }, Vec::new()),
                Class::Value | Class::Unknown => {
                    let known = |symbol| definers.defined.contains(name(symbol));
                    hidden.extend(form.shallow.iter().map(|(symbol, ..)| *symbol).filter(|s| !known(*s)));
                    let names = form.shallow.iter().map(|(symbol, below, _)| (*symbol, *below));
                    let names = names.filter(|(symbol, below)| {
                        *below == 0 || (read.exports.contains(symbol) && !known(*symbol))
                    });
                    (Sort::Procedural, names.map(|(symbol, _)| symbol).collect())
                }
            };
            let at = u32::try_from(self.definitions.len()).unwrap_or(u32::MAX);
            for symbol in &names {
                self.defining[numbers[*symbol as usize] as usize].push(at);
            }
            for symbol in hidden {
                self.hidden[numbers[symbol as usize] as usize].push(at);
            }
            if names.is_empty() {
                seen.effects.push(at);
            }
            if sort != Sort::Plain
                && !definers::is_macro(head)
                && let Some(first) = form.name
            {
                makers.add(name(first), at);
            }
            let mentioned = form.symbols.iter().copied().chain(form.head.map(|head| (head, true)));
            let symbols = mentioned.map(|(s, free)| (numbers[s as usize], free)).collect();
            let hash = texts_hash(&[file.path.as_bytes(), &file.text[form.text.clone()]]);
            self.definitions.push(Definition { file: number, sort, hash, symbols });
        }
        for (old, new) in &read.renamed {
            let at = u32::try_from(self.definitions.len()).unwrap_or(u32::MAX);
            self.defining[numbers[*new as usize] as usize].push(at);
            let symbols = vec![(numbers[*old as usize], true)];
            let hash = texts_hash(&[file.path.as_bytes(), name(*old), name(*new)]);
            self.definitions.push(Definition { file: number, sort: Sort::Pattern, hash, symbols });
        }
        for symbol in &read.exports {
            self.exporting[numbers[*symbol as usize] as usize].push(number);
        }
        let header: Vec<&[u8]> = read.header.iter().map(|range| &file.text[range.clone()]).collect();
        seen.header = texts_hash(&header);
        seen.symbols = numbers.to_vec();
        self.seen.push(seen);
    }

    /// Finds the names behind `prefix:name`.
    fn strip_prefixes(&mut self, reads: &[Read<'_>], numbers: &[Vec<Symbol>]) {
        for ((seen, read), numbers) in self.seen.iter_mut().zip(reads).zip(numbers) {
            for prefix in &read.prefixes {
                let prefix = read.symbols[*prefix as usize];
                for (name, number) in read.symbols.iter().zip(numbers) {
                    let behind = name.strip_prefix(prefix).and_then(|rest| self.names.get(rest));
                    if let Some(behind) = behind {
                        seen.stripped.entry(*number).or_default().push(*behind);
                    }
                }
            }
        }
    }

    /// Fills in what each file reaches: its imports, their imports, and so on.
    fn reach(&mut self, reads: &[Read<'_>]) {
        let words = reads.len().div_ceil(64);
        let mut sets: Vec<Vec<u64>> = (0..reads.len())
            .map(|file| {
                let mut set = vec![0; words];
                set[file / 64] |= 1 << (file % 64);
                set
            })
            .collect();
        let mut changed = true;
        while changed {
            changed = false;
            for (file, read) in reads.iter().enumerate() {
                let mut set = std::mem::take(&mut sets[file]);
                for import in &read.imports {
                    for (word, more) in set.iter_mut().zip(&sets[*import as usize]) {
                        changed |= *more & !*word != 0;
                        *word |= more;
                    }
                }
                sets[file] = set;
            }
        }
        for (seen, set) in self.seen.iter_mut().zip(sets) {
            seen.reach = set;
        }
    }
}

/// Hash of texts, each with its length.
pub fn texts_hash(texts: &[&[u8]]) -> Hash {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

/// Forms by the words of the name that they are about: macros make names out of such names.
#[derive(Default)]
struct Makers(HashMap<Vec<u8>, Vec<u32>>);

/// The words of a name, separated by single blanks.
fn words(name: &[u8]) -> Vec<&[u8]> {
    name.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect()
}

impl Makers {
    fn add(&mut self, name: &[u8], definition: u32) {
        let words = words(name);
        if !words.is_empty() {
            self.0.entry(words.join(&b' ')).or_default().push(definition);
        }
    }

    fn find(&self, names: &HashMap<Box<[u8]>, Symbol>) -> Vec<Vec<u32>> {
        let mut found = vec![Vec::new(); names.len()];
        for (name, symbol) in names {
            let words = words(name);
            let words = &words[..words.len().min(12)];
            for start in 0..words.len() {
                for end in start + 1..=words.len() {
                    if let Some(forms) = self.0.get(words[start..end].join(&b' ').as_slice()) {
                        found[*symbol as usize].extend(forms);
                    }
                }
            }
        }
        found
    }
}
