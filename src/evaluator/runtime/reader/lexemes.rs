//! Scheme's lexical syntax, with the reader extensions of `(guix gexp)`.

use super::{FORM_BYTES, Include, Reader, is_include};
use Abbreviation::{Quotes, Template, Unquotes};

/// What an abbreviation makes of the datum behind it.
#[derive(Clone, Copy)]
enum Abbreviation {
    /// Data.
    Quotes,
    /// Code again.
    Unquotes,
    /// Part of a syntax template, or code again.
    Template(bool),
}

const READER_DIRECTIVES: [&[u8]; 6] =
    [b"fold-case", b"no-fold-case", b"curly-infix", b"r6rs", b"r7rs", b"eof"];

fn delimits(byte: u8) -> bool {
    byte <= b' ' || matches!(byte, b'(' | b')' | b'[' | b']' | b'"' | b';')
}

fn is_number(word: &[u8]) -> bool {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

impl<'a> Reader<'a, '_> {
    /// Reads one lexeme; `false` at the end.
    pub(super) fn step(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let Some(&byte) = rest.first() else { return false };
        match byte {
            b'(' | b'[' => self.open(),
            b')' | b']' => {
                self.at += 1;
                self.close();
            }
            b';' => {
                let line = rest.iter().position(|byte| *byte == b'\n');
                self.at += line.map_or(rest.len(), |length| length + 1);
            }
            b'"' => self.string(),
            b'\'' => self.prefix(1, b"quote", Quotes),
            b'`' => self.prefix(1, b"quasiquote", Quotes),
            b',' if rest.get(1) == Some(&b'@') => self.prefix(2, b"unquote-splicing", Unquotes),
            b',' => self.prefix(1, b"unquote", Unquotes),
            b'#' => self.sharp(rest),
            byte if byte <= b' ' => self.at += 1,
            _ => {
                let word = self.word();
                if is_number(word) {
                    self.atom();
                } else {
                    self.symbol(word);
                }
            }
        }
        true
    }

    fn sharp(&mut self, rest: &'a [u8]) {
        let splicing = rest.get(2) == Some(&b'@');
        match rest.get(1) {
            Some(b'|') => self.block_comment(),
            Some(b'!') => self.bang(),
            Some(b';') => {
                self.at += 2;
                self.before.drop += 1;
            }
            Some(b'(') => self.at += 1,
            Some(b'\\') => {
                self.at = (self.at + 3).min(self.text.len());
                self.word();
                self.atom();
            }
            Some(b'{') => self.braced(),
            Some(b'\'') => self.prefix(2, b"syntax", Template(true)),
            Some(b'`') => self.prefix(2, b"quasisyntax", Template(true)),
            Some(b',') if splicing => self.prefix(3, b"unsyntax-splicing", Template(false)),
            Some(b',') => self.prefix(2, b"unsyntax", Template(false)),
            Some(b'~') => self.prefix(2, b"gexp", Quotes),
            Some(b'$') if splicing => self.prefix(3, b"ungexp-splicing", Unquotes),
            Some(b'$') => self.prefix(2, b"ungexp", Unquotes),
            Some(b'+') if splicing => self.prefix(3, b"ungexp-native-splicing", Unquotes),
            Some(b'+') => self.prefix(2, b"ungexp-native", Unquotes),
            other => {
                self.out.opaque |= other == Some(&b'.');
                let word = self.word();
                if other == Some(&b':') {
                    self.keyword(word);
                } else {
                    self.atom();
                }
            }
        }
    }

    /// Takes everything up to the next delimiter.
    fn word(&mut self) -> &'a [u8] {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| delimits(*byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn skip_past(&mut self, end: &[u8]) {
        let rest = &self.text[self.at..];
        let found = rest.windows(end.len()).position(|window| window == end);
        self.at += found.map_or(rest.len(), |position| position + end.len());
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.text.len() {
            match &self.text[self.at..] {
                [b'#', b'|', ..] => (depth, self.at) = (depth + 1, self.at + 2),
                [b'|', b'#', ..] => (depth, self.at) = (depth - 1, self.at + 2),
                _ => self.at += 1,
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn bang(&mut self) {
        let rest = &self.text[self.at + 2..];
        if READER_DIRECTIVES.iter().any(|directive| rest.starts_with(directive)) {
            self.out.opaque = true;
            self.word();
        } else {
            self.at += 2;
            self.skip_past(b"!#");
        }
    }

    /// Reads `#{…}#`.
    fn braced(&mut self) {
        let start = self.at + 2;
        self.at = start;
        self.skip_past(b"}#");
        let name = self.text[start..self.at].strip_suffix(b"}#").unwrap_or(b"\\");
        self.out.opaque |= name.contains(&b'\\');
        self.symbol(name);
    }

    fn string(&mut self) {
        let start = self.at + 1;
        let mut at = start;
        while at < self.text.len() && self.text[at] != b'"' {
            at += if self.text[at] == b'\\' { 2 } else { 1 };
        }
        let end = at.min(self.text.len());
        self.at = (at + 1).min(self.text.len());
        let quoted = self.before.quoted;
        if self.atom()
            && let Some(frame) = self.frames.last()
            && frame.head.is_some_and(is_include)
        {
            let quoted = quoted.unwrap_or(frame.quoted);
            self.kept += FORM_BYTES;
            self.out.includes.push(Include { name: &self.text[start..end], quoted });
        }
    }

    /// Reads the abbreviation of a form with head `symbol`; what follows is its argument.
    fn prefix(&mut self, length: usize, symbol: &'a [u8], meaning: Abbreviation) {
        self.at += length;
        self.mention(symbol);
        match meaning {
            Quotes => self.before.quoted = Some(true),
            Unquotes => self.before.quoted = Some(false),
            Template(is_template) => self.before.template = Some(is_template),
        }
    }
}
