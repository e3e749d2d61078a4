//! The module files of a revision, what each of them defines, and what each can see.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};

use super::reader::{self, Form, Modules, Read, Symbol};

/// SHA-256 of something.
pub type Hash = [u8; 32];

/// A directory of modules; earlier layers hide equally named files of later ones.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Where it is on this machine.
    pub directory: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// What a directory of modules is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The channel that brings Guix: what is compiled how depends on the path.
    Guix,
    /// The installed Guix.
    Installed,
    /// Another channel.
    Channel,
    /// Guile libraries, without the Guix that may be installed in the same place.
    Library,
    /// Guile's own modules.
    Guile,
}

/// One file of modules.
#[derive(Debug)]
pub struct File {
    /// Its path below the layer: `guix/packages.scm`.
    pub path: String,
    /// Which layer it is from.
    pub layer: usize,
    /// What kind of layer that is.
    pub kind: Kind,
    /// Its contents.
    pub text: Vec<u8>,
}

/// Directories deeper than this are not looked at: links can make them endless.
const MAX_DEPTH: usize = 24;
/// A layer may have so many files and directories.
const MAX_ENTRIES: usize = 500_000;
/// A module file may be so large, in bytes.
const MAX_SOURCE: u64 = 64 << 20;

/// Whether the library layers leave out the file or directory `name`: it belongs to Guix.
fn of_guix(name: &str) -> bool {
    matches!(name, "gnu" | "guix" | "gnu.scm" | "guix.scm")
}

/// Reads the module files of all layers, sorted by path.
///
/// # Errors
/// When a file cannot be read, is too large, or is a link that leads out of its channel: what Guile
/// would find there can then not be known.
pub fn files(layers: &[Layer]) -> io::Result<Vec<File>> {
    let mut found: HashMap<String, (usize, PathBuf)> = HashMap::new();
    for (number, layer) in layers.iter().enumerate() {
        let top = fs_err::canonicalize(&layer.directory)?;
        let mut lister = Lister { top: &top, kind: layer.kind, left: MAX_ENTRIES, found: Vec::new() };
        lister.list(&top, "")?;
        for (path, file) in lister.found {
            found.entry(path).or_insert((number, file));
        }
    }
    let mut files = found
        .into_iter()
        .map(|(path, (layer, file))| {
            if fs_err::metadata(&file)?.len() > MAX_SOURCE {
                return Err(io::Error::other(format!("{} is larger than 64 MiB", file.display())));
            }
            Ok(File { path, layer, kind: layers[layer].kind, text: fs_err::read(file)? })
        })
        .collect::<io::Result<Vec<_>>>()?;
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Puts `text` in the place of the file `path`, which takes part as a library from now on.
pub fn replace(files: &mut Vec<File>, path: &str, text: Vec<u8>) {
    let file = |text| File { path: path.to_owned(), layer: 0, kind: Kind::Library, text };
    match files.binary_search_by(|file| file.path.as_str().cmp(path)) {
        Ok(at) => files[at] = file(text),
        Err(at) => files.insert(at, file(text)),
    }
}

struct Lister<'a> {
    top: &'a Path,
    kind: Kind,
    left: usize,
    found: Vec<(String, PathBuf)>,
}

impl Lister<'_> {
    fn list(&mut self, directory: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs_err::read_dir(directory)? {
            let entry = entry?;
            self.left = self.left.checked_sub(1).ok_or_else(|| {
                io::Error::other(format!("{} has more than {MAX_ENTRIES} files", self.top.display()))
            })?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') || (prefix.is_empty() && self.kind == Kind::Library && of_guix(&name)) {
                continue;
            }
            let (mut path, mut of) = (entry.path(), entry.file_type()?);
            let is_module = path.extension().is_some_and(|ending| ending == "scm");
            if of.is_symlink() {
                let Some(target) = self.linked(&path, is_module)? else { continue };
                path = target;
                of = fs_err::metadata(&path)?.file_type();
            }
            if of.is_dir() && prefix.matches('/').count() < MAX_DEPTH {
                self.list(&path, &format!("{prefix}{name}/"))?;
            } else if of.is_file() && is_module {
                self.found.push((format!("{prefix}{name}"), path));
            }
        }
        Ok(())
    }

    /// Follows a link. Trusted layers may link anywhere: Guix profiles are made of links.
    fn linked(&self, link: &Path, wanted: bool) -> io::Result<Option<PathBuf>> {
        let target = match fs_err::canonicalize(link) {
            Ok(target) => target,
            Err(_) if !wanted => return Ok(None),
            Err(error) => return Err(error),
        };
        let trusted = !matches!(self.kind, Kind::Guix | Kind::Channel);
        if trusted || target.starts_with(self.top) {
            Ok(Some(target))
        } else if wanted || target.is_dir() {
            Err(io::Error::other(format!("{} is a link that leads out of its channel", link.display())))
        } else {
            Ok(None)
        }
    }
}

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

/// The names of the macros that `files` define.
pub fn macros(files: &[File]) -> Vec<String> {
    let modules = Modules::new(files.iter().map(|file| file.path.as_str()));
    let reads = read_all(files, &modules);
    macro_names(&reads).into_iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

fn macro_names<'a>(reads: &[Read<'a>]) -> HashSet<&'a [u8]> {
    let forms = reads.iter().flat_map(|read| read.forms.iter().map(move |form| (read, form)));
    forms
        .filter(|(read, form)| form.head.is_some_and(|head| is_macro(read.symbols[head as usize])))
        .filter_map(|(read, form)| Some(read.symbols[form.name? as usize]))
        .collect()
}

fn is_macro(head: &[u8]) -> bool {
    [&b"define-syntax"[..], b"define-macro", b"defmacro", b"define-inlinable", b"define-integrable"]
        .iter()
        .any(|start| head.starts_with(start))
}

fn is_plain(head: &[u8]) -> bool {
    const VALUES: [&[u8]; 11] = [
        b"define",
        b"define*",
        b"define-public",
        b"define*-public",
        b"define-once",
        b"define-class",
        b"define-method",
        b"define-generic",
        b"define-accessor",
        b"define-values",
        b"define-operation",
    ];
    VALUES.contains(&head)
}

/// Definers whose macros run no code that stands in the form itself.
fn is_record(head: &[u8]) -> bool {
    const STARTS: [&[u8]; 8] = [
        b"define-record-type",
        b"define-immutable-record-type",
        b"define-condition-type",
        b"define-exception-type",
        b"define-deprecated",
        b"define-configuration",
        b"define-maybe",
        b"define-json-mapping",
    ];
    STARTS.iter().any(|start| head.starts_with(start))
}

/// What a top-level form with a certain head does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Value,
    Macro,
    Record,
    Effect,
    Unknown,
}

/// What is known of the heads of top-level forms.
struct Definers<'a> {
    /// Macros of the tree, and whether all that they can define are values.
    macros: HashMap<&'a [u8], bool>,
    /// What is clearly defined somewhere, and what Guile itself brings.
    defined: HashSet<&'a [u8]>,
}

impl<'a> Definers<'a> {
    fn new(reads: &[Read<'a>], core: &HashSet<&'a [u8]>) -> Self {
        let mut definers = Self { macros: HashMap::new(), defined: core.clone() };
        let mut mentions: HashMap<&[u8], HashSet<&[u8]>> = HashMap::new();
        for read in reads {
            let name = |symbol: Symbol| read.symbols[symbol as usize];
            for form in &read.forms {
                let Some(head) = form.head.map(name) else { continue };
                let class = definers.class(head);
                if is_macro(head)
                    && let Some(defined) = form.name.map(name)
                {
                    let pattern = macro_sort(head, form, &name) == Sort::Pattern;
                    let free = form.symbols.iter().map(|(symbol, _)| name(*symbol));
                    let defining = free.filter(|word| word.starts_with(b"define") || *word == b"eval-when");
                    mentions.entry(defined).or_default().extend(defining);
                    *definers.macros.entry(defined).or_insert(true) &= pattern;
                }
                if matches!(class, Class::Value | Class::Macro | Class::Record) {
                    definers.defined.extend(defined(head, form).into_iter().map(name));
                }
            }
        }
        definers.settle(&mentions);
        definers
    }

    /// A macro defines nothing but values when it is made of templates in which nothing else stands.
    fn settle(&mut self, mentions: &HashMap<&'a [u8], HashSet<&'a [u8]>>) {
        let mut changed = true;
        while changed {
            changed = false;
            for (name, words) in mentions {
                let harmless = words.iter().all(|word| {
                    word == name
                        || (is_plain(word) && !self.macros.contains_key(word))
                        || self.macros.get(word) == Some(&true)
                });
                if !harmless && self.macros.insert(name, false) == Some(true) {
                    changed = true;
                }
            }
        }
    }

    fn class(&self, head: &[u8]) -> Class {
        match self.macros.get(head) {
            _ if is_macro(head) => Class::Macro,
            _ if is_record(head) => Class::Record,
            Some(true) => Class::Value,
            Some(false) => Class::Unknown,
            None if is_plain(head) => Class::Value,
            None if head.starts_with(b"define") => Class::Unknown,
            None => Class::Effect,
        }
    }
}

/// What makes a macro out of a value, and what changes how later code is read or expanded.
const RUNS: [&[u8]; 8] = [
    b"make-syntax-transformer",
    b"make-variable-transformer",
    b"read-hash-extend",
    b"module-define!",
    b"module-set!",
    b"primitive-load",
    b"eval-string",
    b"macro-transformer",
];

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
            let runs = form.symbols.iter().any(|(symbol, _)| RUNS.contains(&name(*symbol)));
            let (sort, names) = match definers.class(head) {
                Class::Value if !runs => (Sort::Plain, defined(head, form)),
                Class::Macro => (macro_sort(head, form, &name), defined(head, form)),
                Class::Record => (Sort::Pattern, defined(head, form)),
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
                && !is_macro(head)
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

/// What a form defines that is known to define values or records.
fn defined(head: &[u8], form: &Form) -> Vec<Symbol> {
    if head == b"define-values" {
        return form.shallow.iter().map(|(symbol, ..)| *symbol).collect();
    }
    if !is_record(head) || head.starts_with(b"define-deprecated") {
        return form.name.into_iter().collect();
    }
    // `<type> (make field …) predicate? (field accessor …) …`: a field's name is nothing to others.
    let mut maker = matches!(form.shallow.get(1), Some((_, 1, true)));
    let mut names = Vec::new();
    for (at, (symbol, below, first)) in form.shallow.iter().enumerate() {
        maker &= *below > 0 || at == 0;
        let is_name = match below {
            0 => at != 1 || !has_parent(head),
            1 if *first => maker && at == 1,
            1 => !maker,
            _ => false,
        };
        if is_name {
            names.push(*symbol);
        }
    }
    names
}

/// Whether the second argument of such a form is the type that it extends.
fn has_parent(head: &[u8]) -> bool {
    head.starts_with(b"define-condition-type") || head.starts_with(b"define-exception-type")
}

fn macro_sort<'a>(head: &[u8], form: &Form, name: &impl Fn(Symbol) -> &'a [u8]) -> Sort {
    let second = form.second.map_or(&b""[..], name);
    let patterns = matches!(second, b"syntax-rules" | b"identifier-syntax");
    if head == b"define-syntax-rule" || head == b"define-inlinable" || patterns {
        Sort::Pattern
    } else {
        Sort::Procedural
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
