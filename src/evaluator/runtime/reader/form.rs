//! The data that reading a file returns.

use std::collections::HashSet;
use std::ops::Range;

/// A symbol of one file: an index into [`Read::symbols`].
pub type Symbol = u32;

/// One top-level form (also those inside `begin`, `eval-when`, `cond-expand`).
#[derive(Debug, Default)]
pub struct Form {
    /// Its first element, when that is a symbol.
    pub head: Option<Symbol>,
    /// The first symbol after the head, at any depth: what most definitions define.
    pub name: Option<Symbol>,
    /// The second symbol after the head.
    pub second: Option<Symbol>,
    /// Symbols no deeper than two lists below the form: how deep, and whether first in a list.
    pub shallow: Vec<(Symbol, u8, bool)>,
    /// The symbols behind the head, sorted; `true` when one stands outside of syntax templates.
    pub symbols: Vec<(Symbol, bool)>,
    /// Where it stands in the file, in bytes.
    pub text: Range<usize>,
}

/// A string in a form that includes a file.
#[derive(Debug, Clone, Copy)]
pub struct Include<'a> {
    /// What stands between the quotes.
    pub name: &'a [u8],
    /// Whether the form is data: it stands in a quotation or a G-expression.
    pub quoted: bool,
}

/// What was read of a file.
#[derive(Debug, Default)]
pub struct Read<'a> {
    /// Every symbol of the file, once.
    pub symbols: Vec<&'a [u8]>,
    /// Its top-level forms, without those that only say what is imported and exported.
    pub forms: Vec<Form>,
    /// Files of modules that it imports.
    pub imports: HashSet<u32>,
    /// Files of modules that it names, wherever and for whatever purpose.
    pub named: HashSet<u32>,
    /// Whether it declares the module that its path stands for.
    pub declares: bool,
    /// The text of the forms that import and export.
    pub header: Vec<Range<usize>>,
    /// Symbols that it exports or re-exports.
    pub exports: Vec<Symbol>,
    /// Pairs of symbols in its header: the second may be another name of the first.
    pub renamed: Vec<(Symbol, Symbol)>,
    /// Prefixes of imported names.
    pub prefixes: Vec<Symbol>,
    /// Files that it includes.
    pub includes: Vec<Include<'a>>,
    /// Why the rest of the file was not read.
    pub unknown: Option<&'static str>,
    /// Whether there is something that only Guile can understand.
    pub opaque: bool,
}
