//! What a top-level form defines, judged by its head.

use std::collections::{HashMap, HashSet};

use super::reader::{Form, Read, Symbol};

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

/// What a top-level form with a certain head does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Defines variables.
    Value,
    /// Defines a macro.
    Macro,
    /// Defines a record type, or macros as simple as a record type's.
    Record,
    /// Defines nothing.
    Effect,
    /// May define anything.
    Unknown,
}

/// What is known of the heads of top-level forms.
pub struct Definers<'a> {
    /// The macros of the sources, and whether all that each can define are values.
    macros: HashMap<&'a [u8], bool>,
    /// Names that are certainly defined somewhere, and the names that Guile itself provides.
    pub defined: HashSet<&'a [u8]>,
}

impl<'a> Definers<'a> {
    /// Learns from all forms; `core` are the names that Guile provides.
    pub fn new(reads: &[Read<'a>], core: &HashSet<&'a [u8]>) -> Self {
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

    /// Finds out which macros define nothing but values: those made of templates that contain no
    /// other definitions.
    fn settle(&mut self, mentions: &HashMap<&'a [u8], HashSet<&'a [u8]>>) {
        let mut users: HashMap<&[u8], Vec<&'a [u8]>> = HashMap::new();
        for (name, words) in mentions {
            for word in words {
                users.entry(word).or_default().push(name);
            }
        }
        let is_harmless = |macros: &HashMap<&[u8], bool>, name: &[u8], word: &[u8]| match macros.get(word) {
            _ if word == name => true,
            Some(values) => *values,
            None => is_plain(word),
        };
        let harmful = mentions.iter().filter(|(name, words)| {
            self.macros.get(*name) == Some(&false)
                || !words.iter().all(|word| is_harmless(&self.macros, name, word))
        });
        let mut waiting: Vec<&[u8]> = harmful.map(|(name, _)| *name).collect();
        let mut settled: HashSet<&[u8]> = waiting.iter().copied().collect();
        while let Some(name) = waiting.pop() {
            self.macros.insert(name, false);
            let users = users.get(name).into_iter().flatten();
            waiting.extend(users.filter(|user| settled.insert(user)));
        }
    }

    /// What a form with this head does.
    pub fn class(&self, head: &[u8]) -> Class {
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

/// The names of the macros that are defined under their own name.
pub fn macro_names<'a>(reads: &[Read<'a>]) -> HashSet<&'a [u8]> {
    let forms = reads.iter().flat_map(|read| read.forms.iter().map(move |form| (read, form)));
    forms
        .filter(|(read, form)| form.head.is_some_and(|head| is_macro(read.symbols[head as usize])))
        .filter_map(|(read, form)| Some(read.symbols[form.name? as usize]))
        .collect()
}

/// Whether forms with this head define a macro.
pub fn is_macro(head: &[u8]) -> bool {
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

/// Whether forms with this head define records or the like: their macros run no code that is in the
/// form itself.
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

/// Names that make a macro out of a value, or change how later code is read or expanded.
pub const RUNS: [&[u8]; 8] = [
    b"make-syntax-transformer",
    b"make-variable-transformer",
    b"read-hash-extend",
    b"module-define!",
    b"module-set!",
    b"primitive-load",
    b"eval-string",
    b"macro-transformer",
];

/// The names that a form defines, if it is known to define values or records.
pub fn defined(head: &[u8], form: &Form) -> Vec<Symbol> {
    if head == b"define-values" {
        return form.shallow.iter().map(|(symbol, ..)| *symbol).collect();
    }
    if !is_record(head) || head.starts_with(b"define-deprecated") {
        return form.name.into_iter().collect();
    }
    // `<type> (make field …) predicate? (field accessor …) …`: other code does not see the names of
    // fields.
    let mut maker = matches!(form.shallow.get(1), Some((_, 1, true)));
    let mut names = Vec::new();
    for (at, (symbol, below, first)) in form.shallow.iter().enumerate() {
        maker &= *below > 0 || at == 0;
        let counts = match below {
            0 => at != 1 || !has_parent(head),
            1 if *first => maker && at == 1,
            1 => !maker,
            _ => false,
        };
        if counts {
            names.push(*symbol);
        }
    }
    names
}

/// Whether the second argument of such a form is the type that it extends.
fn has_parent(head: &[u8]) -> bool {
    head.starts_with(b"define-condition-type") || head.starts_with(b"define-exception-type")
}

/// Whether a macro is made of patterns, or runs code.
pub fn macro_sort<'a>(head: &[u8], form: &Form, name: &impl Fn(Symbol) -> &'a [u8]) -> Sort {
    let second = form.second.map_or(&b""[..], name);
    let patterns = matches!(second, b"syntax-rules" | b"identifier-syntax");
    if head == b"define-syntax-rule" || head == b"define-inlinable" || patterns {
        Sort::Pattern
    } else {
        Sort::Procedural
    }
}

/// The sort of a form with this `head`, the names that it defines, and those that it may define for
/// its own file only.
pub(super) fn defines<'a>(
    form: &Form,
    head: &[u8],
    exports: &HashSet<Symbol>,
    name: impl Fn(Symbol) -> &'a [u8],
    definers: &Definers<'_>,
) -> (Sort, Vec<Symbol>, Vec<Symbol>) {
    let runs = form.symbols.iter().any(|(symbol, _)| RUNS.contains(&name(*symbol)));
    let defined = || defined(head, form);
    match definers.class(head) {
        Class::Value if !runs => (Sort::Plain, defined(), Vec::new()),
        Class::Macro => (macro_sort(head, form, &name), defined(), Vec::new()),
        Class::Record => (Sort::Pattern, defined(), Vec::new()),
        Class::Effect => (if runs { Sort::Procedural } else { Sort::Plain }, Vec::new(), Vec::new()),
        Class::Value | Class::Unknown => {
            let known = |symbol| definers.defined.contains(name(symbol));
            let hidden = form.shallow.iter().map(|(symbol, ..)| *symbol).filter(|symbol| !known(*symbol));
            let names = form.shallow.iter().map(|(symbol, below, _)| (*symbol, *below));
            let names =
                names.filter(|(symbol, below)| *below == 0 || (exports.contains(symbol) && !known(*symbol)));
            (Sort::Procedural, names.map(|(symbol, _)| symbol).collect(), hidden.collect())
        }
    }
}
