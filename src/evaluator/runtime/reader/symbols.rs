//! What a symbol means where it stands.

use super::{
    MANY_MENTIONS, MAX_NAMES, MENTION_BYTES, Reader, Role, SYMBOL_BYTES, Symbol, imports, is_header,
};

impl<'a> Reader<'a, '_> {
    pub(super) fn number(&mut self, name: &'a [u8]) -> Symbol {
        let next = Symbol::try_from(self.out.symbols.len()).unwrap_or(Symbol::MAX);
        let number = *self.numbers.entry(name).or_insert(next);
        if number == next {
            self.out.symbols.push(name);
            self.kept += SYMBOL_BYTES;
        }
        number
    }

    /// Adds a symbol to the form that is being read.
    pub(super) fn mention(&mut self, name: &'a [u8]) -> Symbol {
        let number = self.number(name);
        let template = self.before.template.or(self.frames.last().map(|frame| frame.template));
        if let Some((_, form)) = &mut self.form {
            if form.symbols.len() >= self.many {
                form.symbols.sort_unstable();
                form.symbols.dedup();
                self.many = MANY_MENTIONS.max(2 * form.symbols.len());
            }
            form.symbols.push((number, template != Some(true)));
        }
        number
    }

    pub(super) fn symbol(&mut self, name: &'a [u8]) {
        if name.starts_with(b":") && self.frames.last().is_some_and(|frame| frame.role == Role::Form) {
            // `define-module` takes this old spelling of keywords as well.
            return self.keyword(name);
        }
        let number = self.mention(name);
        let (dropped, _) = self.begin();
        let depth = self.frames.len();
        let Some(frame) = self.frames.last_mut().filter(|_| !dropped) else { return };
        let first = frame.items == 0;
        frame.items += 1;
        if frame.plain {
            self.names.push(name);
            if self.names.len() > MAX_NAMES {
                self.out.unknown = Some("it has too many symbols in one list");
            }
        }
        if first {
            frame.head = Some(name);
            self.importing += usize::from(imports(name));
        }
        if frame.keyword.ends_with(b":prefix") {
            self.out.prefixes.push(number);
            self.kept += MENTION_BYTES;
        }
        if first && frame.role == Role::Form {
            self.head(name, number);
        } else if let Some((base, form)) = &mut self.form {
            let below = depth - *base;
            form.name.is_none().then(|| form.name = Some(number));
            if form.second.is_none() && form.name != Some(number) {
                form.second = Some(number);
            }
            if let Ok(below @ ..=2) = u8::try_from(below) {
                form.shallow.push((number, below, first));
                self.kept += MENTION_BYTES;
            }
            self.header_symbol(number);
        }
    }

    /// The head of a top-level form decides whether its elements are top-level forms themselves.
    pub(super) fn head(&mut self, name: &[u8], number: Symbol) {
        let Some(frame) = self.frames.last_mut() else { return };
        match name {
            b"begin" | b"eval-when" | b"library" | b"define-library" => frame.role = Role::Container,
            b"cond-expand" => frame.role = Role::Clauses,
            _ => {}
        }
        if frame.role == Role::Form {
            if let Some((_, form)) = &mut self.form {
                form.head = Some(number);
                form.symbols.pop();
            }
        } else {
            self.form = None;
            self.out.opaque |= name.ends_with(b"library");
        }
    }

    /// Records what a header exports.
    pub(super) fn header_symbol(&mut self, number: Symbol) {
        let Some((base, _)) = &self.form else { return };
        let outer = &self.frames[*base - 1];
        let Some(head) = outer.head.filter(|head| is_header(head)) else { return };
        if outer.exporting || head.starts_with(b"export") || head.starts_with(b"re-export") {
            self.out.exports.push(number);
            self.kept += MENTION_BYTES;
        }
    }
}
