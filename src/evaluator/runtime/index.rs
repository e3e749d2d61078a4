//! What each module of a revision defines, and what it can see.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::definers::{self, Definers, Sort};
use super::hash::{Hash, texts_hash};
use super::includes::Includes;
use super::key_limits::{KeyLimits, LimitExceeded, Meter};
use super::layer::{Kind, Layer};
use super::makers::Makers;
use super::reach::Reach;
use super::reader::{self, Modules, Read, Symbol};
use super::sources::{File, SourcesError};

/// A top-level form, seen from outside.
#[derive(Debug)]
pub struct Definition {
    /// The file it is in.
    pub file: u32,
    /// How it takes part in the compilation of code that mentions it.
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
    /// By symbol: the definitions that may define it.
    pub defining: Vec<Vec<u32>>,
    /// By symbol: the definitions that may define it for their own file only.
    pub hidden: Vec<Vec<u32>>,
    /// By symbol: the groups of forms whose name is a part of it, as one of these forms may make
    /// it.
    pub making: Vec<Vec<u32>>,
    /// By group: the forms that are about the same name.
    pub made: Vec<Vec<u32>>,
    /// Files that export a symbol, by symbol.
    pub exporting: Vec<Vec<u32>>,
    /// By file.
    pub seen: Vec<FileFacts>,
    /// Which files reach which.
    pub reach: Reach,
}

/// What is known of a file beside its definitions.
#[derive(Debug, Default)]
pub struct FileFacts {
    /// Hash of its text and of what it includes.
    pub hash: Hash,
    /// Bytes of its text and of what it includes.
    pub bytes: u64,
    /// Hash of what it says about imports and exports.
    pub header: Hash,
    /// The layers from which it includes something.
    pub includes_from: BTreeSet<usize>,
    /// The symbols it mentions.
    pub symbols: Vec<Symbol>,
    /// By symbol with the prefix of an import: the symbols without the prefix.
    pub stripped: HashMap<Symbol, Vec<Symbol>>,
    /// Forms that are neither imports nor definitions.
    pub effects: Vec<u32>,
    /// Why its contents are unknown.
    pub unknown: Option<String>,
    /// Whether its whole text matters to every file that imports it.
    pub opaque: bool,
    /// Whether it is a module of packages, or of another channel. Such a module defines values,
    /// which no macro of another module calls.
    pub packages: bool,
    /// Whether it declares the module that its path stands for.
    pub is_module: bool,
}

/// How much memory a new symbol takes in the index beside its name, in bytes.
const SYMBOL_BYTES: usize = 160;

/// Reads `files` with all processors.
///
/// # Errors
/// When a limit is exceeded, or a file that a module includes cannot be read.
pub fn index(
    files: &[File],
    layers: &[Layer],
    core: &HashSet<&[u8]>,
    limits: &KeyLimits,
) -> Result<Index, SourcesError> {
    let halted = |halt| SourcesError::halted(layers, halt);
    let modules = Modules::new(files.iter().map(|file| file.path.as_str()));
    let mut reads = read_all(files, &modules, limits).map_err(halted)?;
    let mut includes = Includes::new(layers, &modules)?;
    let meter = limits.meter();
    let mut known = Vec::with_capacity(files.len());
    for (file, read) in files.iter().zip(&mut reads) {
        let taken_in = includes.follow(file, read, &meter).map_err(|error| error.named(layers))?;
        known.push(FileFacts {
            hash: taken_in.hash,
            bytes: file.text.len() as u64 + taken_in.bytes,
            includes_from: taken_in.layers,
            unknown: read.unknown.map(str::to_owned).or(taken_in.unknown),
            opaque: read.opaque || taken_in.any,
            is_module: read.declares,
            packages: file.kind == Kind::Channel || file.path.starts_with("gnu/packages/"),
            ..FileFacts::default()
        });
    }
    Index::of(files, &reads, known, core, &meter).map_err(halted)
}

/// The names of the macros that `files` define.
pub fn macros(files: &[File], limits: &KeyLimits) -> Result<Vec<String>, LimitExceeded> {
    let modules = Modules::new(files.iter().map(|file| file.path.as_str()));
    let reads = read_all(files, &modules, limits)?;
    let names = definers::macro_names(&reads).into_iter();
    Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

fn read_all<'a>(
    files: &'a [File],
    modules: &Modules<'_>,
    limits: &KeyLimits,
) -> Result<Vec<Read<'a>>, LimitExceeded> {
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut done, meter) = (Vec::new(), limits.meter());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(number) else { return Ok(done) };
            let read = reader::read(&file.text, u32::try_from(number).unwrap_or(u32::MAX), modules, &meter)?;
            meter.settle()?;
            done.push((number, read));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let mut reads: Vec<(usize, Read<'a>)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut reads = work();
        for other in others {
            match other.join() {
                Ok(more) => {
                    reads = reads.and_then(|reads| Ok([reads, more?].into_iter().flatten().collect()));
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        reads
    })?;
    reads.sort_unstable_by_key(|(number, _)| *number);
    Ok(reads.into_iter().map(|(_, read)| read).collect())
}

impl Index {
    fn of(
        files: &[File],
        reads: &[Read<'_>],
        seen: Vec<FileFacts>,
        core: &HashSet<&[u8]>,
        meter: &Meter<'_>,
    ) -> Result<Self, LimitExceeded> {
        let mut index = Self { seen, ..Self::default() };
        let mut numbers: Vec<Vec<Symbol>> = Vec::with_capacity(reads.len());
        for read in reads {
            let file = read.symbols.iter().map(|name| index.number(name, meter));
            numbers.push(file.collect::<Result<_, _>>()?);
        }
        index.defining.resize_with(index.names.len(), Vec::new);
        index.hidden.resize_with(index.names.len(), Vec::new);
        index.exporting.resize_with(index.names.len(), Vec::new);
        let definers = Definers::new(reads, core);
        let mut makers = Makers::default();
        for (file, number) in files.iter().zip(0..) {
            meter.steps(file.text.len() / 8)?;
            let (read, numbers) = (&reads[number as usize], &numbers[number as usize]);
            index.add(file, number, read, numbers, &definers, &mut makers);
        }
        index.strip_prefixes(reads, &numbers, meter)?;
        let imports: Vec<_> = reads.iter().map(|read| &read.imports).collect();
        index.reach = Reach::new(&imports, meter)?;
        index.making = makers.find(&index.names, meter)?;
        index.made = makers.groups;
        Ok(index)
    }

    fn number(&mut self, name: &[u8], meter: &Meter<'_>) -> Result<Symbol, LimitExceeded> {
        let next = Symbol::try_from(self.names.len()).unwrap_or(Symbol::MAX);
        if let Some(number) = self.names.get(name) {
            return Ok(*number);
        }
        meter.bytes(SYMBOL_BYTES + name.len())?;
        self.names.insert(name.into(), next);
        Ok(next)
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
        let exports: HashSet<Symbol> = read.exports.iter().copied().collect();
        let mut effects = Vec::new();
        for form in &read.forms {
            let head = form.head.map_or(&b""[..], name);
            let (sort, names, hidden) = definers::defines(form, head, &exports, name, definers);
            let at = u32::try_from(self.definitions.len()).unwrap_or(u32::MAX);
            for symbol in &names {
                self.defining[numbers[*symbol as usize] as usize].push(at);
            }
            for symbol in hidden {
                self.hidden[numbers[symbol as usize] as usize].push(at);
            }
            if names.is_empty() {
                effects.push(at);
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
        self.add_renamed(file, number, read, numbers);
        for symbol in &read.exports {
            self.exporting[numbers[*symbol as usize] as usize].push(number);
        }
        let header: Vec<&[u8]> = read.header.iter().map(|range| &file.text[range.clone()]).collect();
        let seen = &mut self.seen[number as usize];
        seen.header = texts_hash(&header);
        seen.symbols = numbers.to_vec();
        seen.effects = effects;
    }

    /// Adds the names that a module exports under other names.
    fn add_renamed(&mut self, file: &File, number: u32, read: &Read<'_>, numbers: &[Symbol]) {
        let name = |symbol: Symbol| read.symbols[symbol as usize];
        for (old, new) in &read.renamed {
            let at = u32::try_from(self.definitions.len()).unwrap_or(u32::MAX);
            self.defining[numbers[*new as usize] as usize].push(at);
            let symbols = vec![(numbers[*old as usize], true)];
            let hash = texts_hash(&[file.path.as_bytes(), name(*old), name(*new)]);
            self.definitions.push(Definition { file: number, sort: Sort::Pattern, hash, symbols });
        }
    }

    /// Finds the names behind `prefix:name`.
    fn strip_prefixes(
        &mut self,
        reads: &[Read<'_>],
        numbers: &[Vec<Symbol>],
        meter: &Meter<'_>,
    ) -> Result<(), LimitExceeded> {
        for ((seen, read), numbers) in self.seen.iter_mut().zip(reads).zip(numbers) {
            let prefixes: HashSet<Symbol> = read.prefixes.iter().copied().collect();
            for prefix in prefixes {
                let prefix = read.symbols[prefix as usize];
                for (name, number) in read.symbols.iter().zip(numbers) {
                    meter.steps(1)?;
                    let Some(rest) = name.strip_prefix(prefix) else { continue };
                    meter.steps(name.len())?;
                    if let Some(behind) = self.names.get(rest) {
                        meter.bytes(64)?;
                        seen.stripped.entry(*number).or_default().push(*behind);
                    }
                }
            }
        }
        Ok(())
    }
}
