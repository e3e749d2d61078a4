//! Reads Scheme source as far as keys need it: which top-level forms there are, which symbols each
//! mentions, which modules the file names.
//!
//! Sources are untrusted, so the reader never recurses, and takes time and memory in proportion to
//! the text. A construct that it cannot follow makes the file *opaque*: an opaque file is compared
//! by its whole text. Nesting that no real source has makes it *unknown*.

mod form;
mod lexemes;
mod modules;
mod symbols;

use std::collections::HashMap;

use super::key_limits::{LimitExceeded, Meter};

pub use form::{Form, Include, Read, Symbol};
pub use modules::Modules;

/// Deepest nesting of a file that is read.
const MAX_DEPTH: usize = 10_000;
/// Most symbols that lists which might name modules may have at once. A file with more is not read.
const MAX_NAMES: usize = 1 << 20;
/// How many mentions a form has when duplicates are first removed.
const MANY_MENTIONS: usize = 4096;
/// How much memory is kept until there are keys, in bytes: of a form or an include, of a symbol in
/// a form, and of a symbol of the file.
const FORM_BYTES: usize = 320;
const MENTION_BYTES: usize = 16;
const SYMBOL_BYTES: usize = 64;

#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// Its elements are top-level forms.
    Container,
    /// A clause of `cond-expand`: its elements but the first are top-level forms.
    Clauses,
    Form,
    Inner,
}

#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
struct Frame<'a> {
    start: usize,
    role: Role,
    items: u32,
    head: Option<&'a [u8]>,
    /// Where its elements start on the stack of names.
    names: usize,
    /// Whether it holds nothing but symbols so far.
    plain: bool,
    /// Nothing in it counts: it follows `#;`.
    dropped: bool,
    template: bool,
    /// It is data, not code.
    quoted: bool,
    keyword: &'a [u8],
    /// Whether what follows that keyword is exported.
    exporting: bool,
    /// Whether it holds the name of a module that has a file.
    module: bool,
}

/// What stands before a datum.
#[derive(Default, Clone, Copy)]
struct Before {
    drop: u32,
    template: Option<bool>,
    quoted: Option<bool>,
}

/// Reads `text`, the source of the module file number `file`.
pub fn read<'a>(
    text: &'a [u8],
    file: u32,
    modules: &Modules<'_>,
    meter: &Meter<'_>,
) -> Result<Read<'a>, LimitExceeded> {
    let mut reader = Reader {
        text,
        at: 0,
        file,
        modules,
        numbers: HashMap::new(),
        frames: Vec::new(),
        importing: 0,
        names: Vec::new(),
        before: Before::default(),
        form: None,
        many: MANY_MENTIONS,
        kept: 0,
        out: Read::default(),
    };
    let mut from = 0;
    while reader.out.unknown.is_none() && reader.step() {
        meter.steps(reader.at - from)?;
        meter.bytes(std::mem::take(&mut reader.kept))?;
        from = reader.at;
    }
    while !reader.frames.is_empty() {
        reader.close();
    }
    meter.bytes(reader.kept)?;
    if reader.numbers.keys().any(|name| name.starts_with(b"module-use")) {
        // It may import any module whose name it knows.
        let named = reader.out.named.clone();
        reader.out.imports.extend(named);
    }
    Ok(reader.out)
}

struct Reader<'a, 'm> {
    text: &'a [u8],
    at: usize,
    file: u32,
    modules: &'m Modules<'m>,
    numbers: HashMap<&'a [u8], Symbol>,
    frames: Vec<Frame<'a>>,
    /// How many of them import the modules that they name.
    importing: usize,
    names: Vec<&'a [u8]>,
    before: Before,
    /// The form that is being read, with the depth of its frame.
    form: Option<(usize, Form)>,
    /// How many mentions it may have before duplicates are removed again.
    many: usize,
    /// Bytes that are kept and not yet counted.
    kept: usize,
    out: Read<'a>,
}

fn is_include(head: &[u8]) -> bool {
    matches!(head, b"include" | b"include-ci" | b"include-from-path" | b"include-relative")
}

fn is_header(head: &[u8]) -> bool {
    matches!(head, b"define-module" | b"use-modules" | b"import" | b"use-syntax")
        || head.starts_with(b"export")
        || head.starts_with(b"re-export")
}

/// Whether modules named in a form with this head become visible.
fn imports(head: &[u8]) -> bool {
    matches!(head, b"@" | b"@@" | b"define-library" | b"library" | b"use-interface") || is_header(head)
}

impl<'a> Reader<'a, '_> {
    /// Whether the next datum is dropped, and whether it is in a template; consumes `before`.
    fn begin(&mut self) -> (bool, bool) {
        let (mut dropped, mut template) =
            self.frames.last().map_or((false, false), |frame| (frame.dropped, frame.template));
        if self.before.drop > 0 {
            self.before.drop -= 1;
            dropped = true;
        }
        template = self.before.template.take().unwrap_or(template);
        self.before.quoted = None;
        (dropped, template)
    }

    /// Counts a datum that is neither symbol nor list; false when it is dropped.
    fn atom(&mut self) -> bool {
        let (dropped, _) = self.begin();
        if !dropped && let Some(frame) = self.frames.last_mut() {
            frame.items += 1;
            frame.plain = false;
        }
        !dropped
    }

    fn keyword(&mut self, word: &'a [u8]) {
        // A renamer of Guile's own modules does not matter: any new name still stands for Guile's.
        let imported = self.frames.last().is_some_and(|frame| frame.module);
        self.out.opaque |= imported && word.ends_with(b":renamer");
        if self.atom()
            && let Some(frame) = self.frames.last_mut()
        {
            frame.keyword = word;
            frame.exporting = word.windows(6).any(|part| part == b"export") || word.ends_with(b":replace");
        }
    }

    fn open(&mut self) {
        let quoted = self.before.quoted.or(self.frames.last().map(|frame| frame.quoted)).unwrap_or(false);
        let (dropped, template) = self.begin();
        let parent = self.frames.last_mut().filter(|_| !dropped);
        let role = match parent {
            _ if dropped => Role::Inner,
            None => Role::Form,
            Some(frame) => {
                frame.items += 1;
                frame.plain = false;
                match frame.role {
                    Role::Container => Role::Form,
                    Role::Clauses => Role::Container,
                    Role::Form | Role::Inner => Role::Inner,
                }
            }
        };
        self.frames.push(Frame {
            start: self.at,
            role,
            items: 0,
            head: None,
            names: self.names.len(),
            plain: true,
            dropped,
            template,
            quoted,
            keyword: b"",
            exporting: false,
            module: false,
        });
        if role == Role::Form {
            self.form = Some((self.frames.len(), Form::default()));
            self.many = MANY_MENTIONS;
        }
        if self.frames.len() > MAX_DEPTH {
            self.out.unknown = Some("it is nested too deeply");
        }
        self.at += 1;
    }

    fn close(&mut self) {
        self.before = Before::default();
        let Some(frame) = self.frames.pop() else { return };
        self.importing -= usize::from(frame.head.is_some_and(imports));
        if frame.plain && !frame.dropped {
            self.module(frame.names);
        }
        self.names.truncate(frame.names);
        if frame.dropped {
            return;
        }
        if frame.role == Role::Form
            && let Some((_, form)) = self.form.take()
        {
            self.finish(&frame, form);
        }
    }

    /// Whether the list of symbols that ends here names modules.
    fn module(&mut self, from: usize) {
        let parts = &self.names[from..];
        if let Some(found) = self.modules.find(parts) {
            self.out.named.insert(found);
            if let Some(outer) = self.frames.last_mut() {
                outer.module = true;
            }
            if self.importing > 0 {
                self.out.imports.insert(found);
            }
            let declares = found == self.file
                && self.frames.last().is_some_and(|outer| outer.head == Some(b"define-module"));
            self.out.declares |= declares;
        }
        let Some(kind) = parts.first().and_then(|head| match *head {
            b"use-package-modules" => Some(&b"packages"[..]),
            b"use-service-modules" => Some(b"services"),
            b"use-system-modules" => Some(b"system"),
            _ => None,
        }) else {
            self.pair(from);
            return;
        };
        let found: Vec<u32> =
            parts[1..].iter().filter_map(|n| self.modules.find(&[b"gnu", kind, n])).collect();
        self.out.imports.extend(found);
    }

    /// Records `(old . new)` in a header.
    fn pair(&mut self, from: usize) {
        let in_header = self.form.as_ref().is_some_and(|(base, _)| {
            self.frames.get(*base - 1).and_then(|frame| frame.head).is_some_and(is_header)
        });
        if in_header && let [old, b".", new] = self.names[from..] {
            let pair = (self.number(old), self.number(new));
            self.out.renamed.push(pair);
            self.kept += FORM_BYTES;
        }
    }

    fn finish(&mut self, frame: &Frame<'a>, mut form: Form) {
        form.text = frame.start..self.at.min(self.text.len());
        let head = frame.head.unwrap_or_default();
        self.kept += FORM_BYTES;
        if is_header(head) {
            self.out.opaque |= head == b"import";
            self.out.header.push(form.text);
            return;
        }
        form.symbols.sort_unstable();
        form.symbols.dedup();
        self.kept += MENTION_BYTES * form.symbols.len();
        self.out.forms.push(form);
    }
}

#[cfg(test)]
mod tests;
