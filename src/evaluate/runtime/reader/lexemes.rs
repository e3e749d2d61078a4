//! Scheme's lexical syntax, with the reader extensions of `(guix gexp)`.

use super::Reader;

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
            b'\'' => self.prefix(1, b"quote", None),
            b'`' => self.prefix(1, b"quasiquote", None),
            b',' if rest.get(1) == Some(&b'@') => self.prefix(2, b"unquote-splicing", None),
            b',' => self.prefix(1, b"unquote", None),
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
            Some(b'\'') => self.prefix(2, b"syntax", Some(true)),
            Some(b'`') => self.prefix(2, b"quasisyntax", Some(true)),
            Some(b',') if splicing => self.prefix(3, b"unsyntax-splicing", Some(false)),
            Some(b',') => self.prefix(2, b"unsyntax", Some(false)),
            Some(b'~') => self.prefix(2, b"gexp", None),
            Some(b'$') if splicing => self.prefix(3, b"ungexp-splicing", None),
            Some(b'$') => self.prefix(2, b"ungexp", None),
            Some(b'+') if splicing => self.prefix(3, b"ungexp-native-splicing", None),
            Some(b'+') => self.prefix(2, b"ungexp-native", None),
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
        if self.atom()
            && let Some(frame) = self.frames.last_mut()
        {
            frame.string = Some(&self.text[start..end]);
        }
    }

    /// Reads the abbreviation of a form with head `symbol`; what follows is its argument.
    fn prefix(&mut self, length: usize, symbol: &'a [u8], template: Option<bool>) {
        self.at += length;
        self.mention(symbol);
        if template.is_some() {
            self.before.template = template;
        }
    }
}
