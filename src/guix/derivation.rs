//! Derivations in the format of `.drv` files: `Derive([outputs],[inputs],[sources],system,builder,
//! [arguments],[environment])`, a subset of the ATerm notation.
//!
//! Reading is strict: [`Derivation::parse`] accepts exactly what [`Derivation::print`] prints, so
//! no text can mean something else to a more lenient reader.

use std::collections::{BTreeMap, HashSet};

use sha2::{Digest, Sha256};

pub use super::aterm::ParseError;
use super::aterm::{Cursor, Text, print_list, print_string, print_tuple};
use super::store_path::{PathError, StorePath, fixed_output_text};

/// The most outputs of a derivation. Real ones have fewer than ten.
const MOST_OUTPUTS: usize = 128;
/// Above this number of outputs, names are looked up in a hash table.
const FEW_OUTPUTS: usize = 4;
/// The longest part of a text that an error shows, in bytes.
const LONGEST_SHOWN: usize = 300;

/// Why the outputs of a derivation are wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// The claimed path is not the one that follows from the derivation.
    #[error("output {output:?} claims {claimed}, but its path is {actual}")]
    Wrong {
        /// Name of the output.
        output: String,
        /// The path in the derivation.
        claimed: String,
        /// The path that the store gives it.
        actual: StorePath,
    },
    /// An input is an unknown derivation.
    #[error("the input {0} is not known")]
    UnknownInput(String),
    /// A path or name that no store accepts.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The hash of a fixed output is not in the form that the store requires.
    #[error("output {0:?} has an invalid hash")]
    BadHash(String),
    /// The derivation has no outputs, or is fixed and has more than the one output `out`.
    #[error("a derivation has at least one output, and exactly one, called \"out\", if that is fixed")]
    Count,
    /// Two outputs have the same name.
    #[error("it has two outputs called {0:?}")]
    Twice(String),
}

type Input<'a> = (Text<'a>, Vec<Text<'a>>);

/// One output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output<'a> {
    /// Its name: `out`, `lib`, `doc`, …
    pub name: Text<'a>,
    /// Its store path.
    pub path: Text<'a>,
    /// `sha256`, `r:sha256`, …; empty unless the output is fixed.
    pub algorithm: Text<'a>,
    /// The hash in hexadecimal; empty unless the output is fixed.
    pub hash: Text<'a>,
}

/// A `.drv` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derivation<'a> {
    /// Its outputs, in the file's order (sorted by name).
    pub outputs: Vec<Output<'a>>,
    /// Paths of its input derivations, each with the names of the outputs that it needs.
    pub inputs: Vec<Input<'a>>,
    /// Paths of the plain store items that it needs.
    pub sources: Vec<Text<'a>>,
    /// `x86_64-linux`, …
    pub system: Text<'a>,
    /// The program that builds it.
    pub builder: Text<'a>,
    /// The arguments of the builder.
    pub arguments: Vec<Text<'a>>,
    /// The environment of the builder, in the file's order (sorted by name).
    pub environment: Vec<(Text<'a>, Text<'a>)>,
}

/// SHA-256 of a derivation in which every input is replaced by its own such hash. It is equal for
/// derivations that make the same outputs from the same contents.
pub type ModuloHash = [u8; 32];

impl<'a> Derivation<'a> {
    /// Reads a `.drv` file.
    pub fn parse(text: &'a [u8]) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new(text);
        let (outputs, inputs) = outputs_and_inputs(&mut cursor)?;
        let sources = cursor.list(Cursor::string)?;
        let [system, builder] = [cursor.next_string()?, cursor.next_string()?];
        cursor.comma()?;
        let arguments = cursor.list(Cursor::string)?;
        cursor.comma()?;
        let environment = cursor.list(|c| {
            c.expect(b"(", "a variable")?;
            let pair = (c.string()?, c.next_string()?);
            c.expect(b")", "the end of a variable")?;
            Ok(pair)
        })?;
        cursor.expect(b")", "the end of the derivation")?;
        cursor.end()?;
        Ok(Self { outputs, inputs, sources, system, builder, arguments, environment })
    }

    /// Reads the sources of a `.drv` file, and ignores what follows them.
    pub fn parse_sources(text: &'a [u8]) -> Result<Vec<Text<'a>>, ParseError> {
        let mut cursor = Cursor::new(text);
        outputs_and_inputs(&mut cursor)?;
        cursor.list(Cursor::string)
    }

    /// Prints it in the format of a `.drv` file.
    pub fn print(&self) -> Vec<u8> {
        let inputs =
            self.inputs.iter().map(|(path, names)| (&path[..], names.iter().map(|n| &n[..]).collect()));
        self.print_with(&inputs.collect::<Vec<_>>(), false)
    }

    fn print_with(&self, inputs: &[(&[u8], Vec<&[u8]>)], masked: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        out.extend_from_slice(b"Derive(");
        print_list(&mut out, &self.outputs, |out, output| {
            let path: &[u8] = if masked { b"" } else { &output.path };
            print_tuple(out, &[&output.name, path, &output.algorithm, &output.hash]);
        });
        out.push(b',');
        print_list(&mut out, inputs, |out, (path, names)| {
            out.push(b'(');
            print_string(out, path);
            out.push(b',');
            print_list(out, names, |out, name| print_string(out, name));
            out.push(b')');
        });
        out.push(b',');
        print_list(&mut out, &self.sources, |out, source| print_string(out, source));
        for text in [&self.system, &self.builder] {
            out.push(b',');
            print_string(&mut out, text);
        }
        out.push(b',');
        print_list(&mut out, &self.arguments, |out, argument| print_string(out, argument));
        out.push(b',');
        let outputs = OutputNames::new(&self.outputs);
        print_list(&mut out, &self.environment, |out, (name, value)| {
            let hidden = masked && outputs.contains(name);
            print_tuple(out, &[name, if hidden { b"" } else { value }]);
        });
        out.push(b')');
        out
    }

    /// Whether Guix permits substitutes for its outputs.
    pub fn is_substitutable(&self) -> bool {
        let allows = self.environment.iter().find(|(name, _)| **name == *b"allowSubstitutes");
        allows.is_none_or(|(_, value)| **value == *b"1")
    }

    /// Checks that every output path is the one that the store gives it, as the real daemon does
    /// when a derivation is added. Returns the derivation's own [`ModuloHash`], for derivations that
    /// use it.
    ///
    /// `name` is that of the derivation, without `.drv`; `modulo_hash_of` returns the [`ModuloHash`] of an
    /// input. Without this check, a forged derivation could claim the outputs of another one and be
    /// mistaken for it.
    pub fn check_outputs(
        &self,
        name: &str,
        modulo_hash_of: impl Fn(&[u8]) -> Option<ModuloHash>,
    ) -> Result<ModuloHash, OutputError> {
        if self.outputs.is_empty() {
            return Err(OutputError::Count);
        }
        if let Some(name) = first_duplicate(&self.outputs) {
            return Err(OutputError::Twice(lossy(name)));
        }
        if self.outputs.iter().any(|output| !output.algorithm.is_empty() || !output.hash.is_empty()) {
            return self.check_fixed(name);
        }
        let mut hashes: BTreeMap<String, Vec<&[u8]>> = BTreeMap::new();
        for (path, names) in &self.inputs {
            let modulo_hash = modulo_hash_of(path).ok_or_else(|| OutputError::UnknownInput(lossy(path)))?;
            let wanted = hashes.entry(data_encoding::HEXLOWER.encode(&modulo_hash)).or_default();
            wanted.extend(names.iter().map(|name| &name[..]));
        }
        for names in hashes.values_mut() {
            names.sort_unstable();
            names.dedup();
        }
        let inputs: Vec<_> = hashes.iter().map(|(hash, names)| (hash.as_bytes(), names.clone())).collect();
        let masked = Sha256::digest(self.print_with(&inputs, true)).into();
        for output in &self.outputs {
            let output_name = std::str::from_utf8(&output.name).map_err(|_| OutputError::Count)?;
            expect_path(output, StorePath::of_output(name, output_name, &masked)?)?;
        }
        Ok(Sha256::digest(self.print_with(&inputs, false)).into())
    }

    fn check_fixed(&self, name: &str) -> Result<ModuloHash, OutputError> {
        let [output] = &self.outputs[..] else { return Err(OutputError::Count) };
        if &output.name[..] != b"out" {
            return Err(OutputError::Count);
        }
        let bad = || OutputError::BadHash(lossy(&output.name));
        let algorithm = std::str::from_utf8(&output.algorithm).map_err(|_| bad())?;
        let hash = data_encoding::HEXLOWER.decode(&output.hash).map_err(|_| bad())?;
        let (recursive, algorithm) = match algorithm.strip_prefix("r:") {
            Some(rest) => (true, rest),
            None => (false, algorithm),
        };
        let path = StorePath::of_fixed(name.as_bytes(), algorithm, &hash, recursive)?;
        let text = fixed_output_text(algorithm, &hash, recursive, &path.to_string());
        expect_path(output, path)?;
        Ok(Sha256::digest(text).into())
    }
}

/// The names of all outputs, for look-ups of variables.
enum OutputNames<'a> {
    Few(&'a [Output<'a>]),
    Many(HashSet<&'a [u8]>),
}

impl<'a> OutputNames<'a> {
    fn new(outputs: &'a [Output<'a>]) -> Self {
        if outputs.len() <= FEW_OUTPUTS {
            Self::Few(outputs)
        } else {
            Self::Many(outputs.iter().map(|output| &output.name[..]).collect())
        }
    }

    fn contains(&self, name: &[u8]) -> bool {
        match self {
            Self::Few(outputs) => outputs.iter().any(|output| output.name[..] == *name),
            Self::Many(names) => names.contains(name),
        }
    }
}

fn first_duplicate<'a>(outputs: &'a [Output<'_>]) -> Option<&'a [u8]> {
    if outputs.len() == 1 {
        return None;
    }
    let mut seen = HashSet::new();
    outputs.iter().map(|output| &output.name[..]).find(|name| !seen.insert(*name))
}

/// Reads from the beginning up to the sources.
fn outputs_and_inputs<'a>(cursor: &mut Cursor<'a>) -> Result<(Vec<Output<'a>>, Vec<Input<'a>>), ParseError> {
    cursor.expect(b"Derive(", "Derive(")?;
    let mut outputs_left = MOST_OUTPUTS;
    let outputs = cursor.list(|c| {
        outputs_left = outputs_left.checked_sub(1).ok_or_else(|| c.error("fewer outputs"))?;
        c.expect(b"(", "an output")?;
        let name = c.string()?;
        let [path, algorithm, hash] = [c.next_string()?, c.next_string()?, c.next_string()?];
        c.expect(b")", "the end of an output")?;
        Ok(Output { name, path, algorithm, hash })
    })?;
    cursor.comma()?;
    let inputs = cursor.list(|c| {
        c.expect(b"(", "an input")?;
        let path = c.string()?;
        c.comma()?;
        let names = c.list(Cursor::string)?;
        c.expect(b")", "the end of an input")?;
        Ok((path, names))
    })?;
    cursor.comma()?;
    Ok((outputs, inputs))
}

fn expect_path(output: &Output<'_>, actual: StorePath) -> Result<(), OutputError> {
    if output.path[..] == *actual.to_string().as_bytes() {
        return Ok(());
    }
    Err(OutputError::Wrong { output: lossy(&output.name), claimed: lossy(&output.path), actual })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_SHOWN)]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = Text<'static>> {
        vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(b'\n')], 0..12).prop_map(Cow::Owned)
    }

    fn derivation() -> impl Strategy<Value = Derivation<'static>> {
        let output = (text(), text(), text(), text()).prop_map(|(name, path, algorithm, hash)| Output {
            name,
            path,
            algorithm,
            hash,
        });
        (
            (vec(output, 0..3), vec((text(), vec(text(), 0..3)), 0..3), vec(text(), 0..3)),
            (text(), text(), vec(text(), 0..3), vec((text(), text()), 0..3)),
        )
            .prop_map(|((outputs, inputs, sources), (system, builder, arguments, environment))| {
                Derivation { outputs, inputs, sources, system, builder, arguments, environment }
            })
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(derivation in derivation()) {
            let text = derivation.print();
            let sources = Derivation::parse_sources(&text);
            prop_assert_eq!(sources.as_ref(), Ok(&derivation.sources));
            prop_assert_eq!(Derivation::parse(&text), Ok(derivation));
        }

        #[test]
        fn every_text_has_one_reading(derivation in derivation(), at: prop::sample::Index, byte: u8) {
            let mut text = derivation.print();
            let index = at.index(text.len());
            text[index] = byte;
            if let Ok(read) = Derivation::parse(&text) {
                prop_assert_eq!(read.print(), text.clone());
            }
        }
    }

    #[test]
    fn a_fault_is_shown_where_it_is() {
        let error = Derivation::parse(b"Derive([],[],[],\"a\",\"b\",[],[)").unwrap_err();
        assert_eq!((error.at, error.expected), (28, "a variable"));
        assert!(Derivation::parse(b"").is_err());
    }

    #[test]
    fn a_derivation_cannot_claim_the_output_of_another() {
        let make = |path: &str, builder: &'static str| {
            let output = Output {
                name: Cow::Borrowed(b"out"),
                path: Cow::Owned(path.as_bytes().to_vec()),
                algorithm: Cow::Borrowed(b""),
                hash: Cow::Borrowed(b""),
            };
            Derivation {
                outputs: vec![output],
                inputs: vec![],
                sources: vec![],
                system: Cow::Borrowed(b"x86_64-linux"),
                builder: Cow::Borrowed(builder.as_bytes()),
                arguments: vec![],
                environment: vec![(Cow::Borrowed(b"out"), Cow::Owned(path.as_bytes().to_vec()))],
            }
        };
        let Err(OutputError::Wrong { actual, .. }) = make("", "/bin/sh").check_outputs("x", |_| None) else {
            panic!("an empty path was taken")
        };
        let path = actual.to_string();
        assert!(make(&path, "/bin/sh").check_outputs("x", |_| None).is_ok());
        assert!(make(&path, "/bin/false").check_outputs("x", |_| None).is_err());
        assert!(make(&path, "/bin/sh").check_outputs("y", |_| None).is_err());
    }
}
