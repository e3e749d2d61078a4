//! Files that a module includes while it is compiled. Their text is part of the module.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::hash::Hash;
use super::hash::hash_set;
use super::key_limits::{LimitExceeded, Meter};
use super::layer::Layer;
use super::layer_reader::{LayerReader, Unreadable};
use super::reader::{self, Include, Modules, Read};
use super::sources::{File, MAX_SOURCE, SourcesError};

/// Most names that are looked up for all modules of a revision together.
const MAX_LOOKUPS: usize = 100_000;
/// Most bytes of all included files together.
const MAX_INCLUDED: u64 = 64 << 20;

/// What a module file includes.
pub(super) struct Included {
    /// Hash of the file and of everything that it includes.
    pub(super) hash: Hash,
    /// Whether it includes anything.
    pub(super) any: bool,
    /// How many bytes it includes, and from which layers.
    pub(super) bytes: u64,
    pub(super) layers: BTreeSet<usize>,
    /// Why it is unknown what it includes.
    pub(super) unknown: Option<String>,
}

/// Follows the includes of one revision.
pub(super) struct Includes<'a> {
    layers: Vec<LayerReader>,
    modules: &'a Modules<'a>,
    lookups: usize,
    bytes: u64,
}

/// Why includes cannot be followed.
#[derive(Debug)]
pub(super) enum Failed {
    LimitExceeded(LimitExceeded),
    Io(io::Error),
}

impl Failed {
    /// This failure, as an error that names the channels in `layers`.
    pub(super) fn named(self, layers: &[Layer]) -> SourcesError {
        match self {
            Self::LimitExceeded(exceeded) => SourcesError::halted(layers, exceeded),
            Self::Io(error) => error.into(),
        }
    }
}

/// A name that is still to be looked up, and the directory of the file that includes it.
struct Waiting {
    name: Result<PathBuf, &'static str>,
    beside: PathBuf,
    quoted: bool,
}

impl<'a> Includes<'a> {
    pub(super) fn new(layers: &[Layer], modules: &'a Modules<'a>) -> io::Result<Self> {
        let layers = layers.iter().map(LayerReader::new).collect::<io::Result<_>>()?;
        Ok(Self { layers, modules, lookups: MAX_LOOKUPS, bytes: MAX_INCLUDED })
    }

    /// Reads what `file` includes, and what that includes; adds the modules that it imports to `read`.
    ///
    /// A name is looked for beside the including file, and in all layers, as `include-from-path`
    /// does. Names outside of the layers, and files that are not regular, are not read.
    #[expect(clippy::too_many_lines, reason = "one walk, whose parts share all of its state")]
    pub(super) fn follow(
        &mut self,
        file: &File,
        read: &mut Read<'_>,
        meter: &Meter<'_>,
    ) -> Result<Included, Failed> {
        // The same files may be in several layers: Debian has Guix and its libraries in one directory.
        let (mut texts, mut unknown) = (Vec::<Hash>::new(), None);
        let (mut bytes, mut layers) = (0, BTreeSet::new());
        let mut seen = HashSet::new();
        let mut waiting: Vec<Waiting> = waiting(&read.includes, Path::new(&file.path));
        while let Some(Waiting { name, beside, quoted }) = waiting.pop() {
            let mut refuse = |name: &Path, why: &dyn std::fmt::Display| {
                // In quoted data, the word `include` says nothing about the module.
                if !quoted && unknown.is_none() {
                    unknown = Some(format!("it includes {}: {why}", name.display()));
                }
            };
            let name = match name {
                Ok(name) => name,
                Err(why) => {
                    refuse(Path::new("a file"), &why);
                    continue;
                }
            };
            let places = [(file.layer, beside.join(&name))];
            let places = places.into_iter().chain((0..self.layers.len()).map(|layer| (layer, name.clone())));
            for (layer, path) in places {
                if !seen.insert((layer, path.clone())) {
                    continue;
                }
                meter.settle().map_err(Failed::LimitExceeded)?;
                match self.read(layer, &path) {
                    Ok(text) => {
                        texts.push(Sha256::digest(&text).into());
                        bytes += text.len() as u64;
                        layers.insert(layer);
                        let inner = reader::read(&text, u32::MAX, self.modules, meter)
                            .map_err(Failed::LimitExceeded)?;
                        read.imports.extend(&inner.imports);
                        waiting.extend(self::waiting(&inner.includes, &path));
                    }
                    Err(Unreadable::Absent) => {}
                    Err(Unreadable::Io(error)) => return Err(Failed::Io(error)),
                    Err(error) => refuse(&name, &error),
                }
            }
        }
        let any = !texts.is_empty();
        let mut hash = Sha256::new_with_prefix(&file.text);
        if any {
            hash.update(hash_set(texts));
        }
        Ok(Included { hash: hash.finalize().into(), any, bytes, layers, unknown })
    }

    fn read(&mut self, layer: usize, path: &Path) -> Result<Vec<u8>, Unreadable> {
        self.lookups =
            self.lookups.checked_sub(1).ok_or(Unreadable::NotAllowed("there are too many includes"))?;
        let text = self.layers[layer].read(path, self.bytes.min(MAX_SOURCE))?;
        self.bytes -= text.len() as u64;
        Ok(text)
    }
}

fn waiting(includes: &[Include<'_>], path: &Path) -> Vec<Waiting> {
    let beside = path.parent().unwrap_or(Path::new(""));
    let waiting = includes.iter().map(|include| Waiting {
        name: name(include.name),
        beside: beside.to_owned(),
        quoted: include.quoted,
    });
    waiting.collect()
}

/// The file that a string names, if that is certain.
fn name(text: &[u8]) -> Result<PathBuf, &'static str> {
    if text.contains(&b'\\') || !text.is_ascii() {
        return Err("its name has characters that Guile may read differently");
    }
    let path = PathBuf::from(String::from_utf8_lossy(text).into_owned());
    if path.components().any(|component| component == Component::RootDir) {
        return Err("its name is absolute");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::super::key_limits::KeyLimits;
    use super::super::layer::Kind;
    use super::*;
    use crate::clock::cpu_time;
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    /// What a module of this text includes, beside files that are not what they seem.
    fn included(text: &str) -> Included {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        fs_err::create_dir_all(at("channel/inner")).unwrap();
        fs_err::write(at("secret"), "(define secret 1)").unwrap();
        fs_err::write(at("channel/plain.txt"), "(use-modules (other)) (include \"nested.txt\")").unwrap();
        fs_err::write(at("channel/nested.txt"), "(define nested 1)").unwrap();
        fs_err::File::create(at("channel/sparse")).unwrap().set_len(3 << 30).unwrap();
        mknodat(CWD, at("channel/fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        for (link, target) in
            [("zero", "/dev/zero"), ("kmsg", "/proc/kmsg"), ("away", "../secret"), ("self", "self")]
        {
            symlink(target, at("channel").join(link)).unwrap();
        }
        let layer = Layer::alone(at("channel"), Kind::Channel);
        let modules = Modules::new(["inner/a.scm", "other.scm"].into_iter());
        let file = File {
            path: "inner/a.scm".to_owned(),
            place: "inner/a.scm".to_owned(),
            layer: 0,
            kind: Kind::Channel,
            text: text.as_bytes().to_vec(),
        };
        let limits = KeyLimits::limited();
        let meter = limits.meter();
        let mut read = reader::read(&file.text, 0, &modules, &meter).unwrap();
        let started = cpu_time();
        let included = Includes::new(&[layer], &modules).unwrap().follow(&file, &mut read, &meter).unwrap();
        assert!(cpu_time() < started + Duration::from_secs(5), "{text:.100}");
        assert_eq!(read.imports.contains(&1), text.contains("plain.txt"), "{text:.100}");
        included
    }

    #[test]
    fn names_that_lead_away_and_files_without_end_are_not_read() {
        for (name, why) in [
            ("/etc/passwd", "absolute"),
            ("/proc/kmsg", "absolute"),
            ("../../secret", "leads out"),
            ("away", "leads out"),
            ("zero", "leads out"),
            ("kmsg", "leads out"),
            ("self", "leads nowhere"),
            ("fifo", "not a regular file"),
            ("sparse", "too large"),
            ("\\x2f;etc/passwd", "read differently"),
        ] {
            let unknown =
                included(&format!("(define-module (inner a)) (include \"{name}\")")).unknown.unwrap();
            assert!(unknown.contains(why), "{name}: {unknown}");
            // In data, `include` is a word like any other.
            for data in [format!("(define a '(x (include \"{name}\")))"), format!("#~(include \"{name}\")")] {
                assert_eq!(included(&data).unknown, None, "{data}");
            }
            let code = included(&format!("(define a `(x ,(include \"{name}\")))"));
            assert!(code.unknown.is_some(), "{name}");
        }
    }

    #[test]
    fn what_is_included_counts_with_what_that_includes() {
        let plain = included("(include \"plain.txt\")");
        assert!(plain.any && plain.unknown.is_none());
        assert!(included("(include \"../plain.txt\")").any);
        assert!(included("(include-from-path \"plain.txt\" \"more.txt\")").any);
        let absent = included("(include \"absent.txt\")");
        assert!(!absent.any && absent.unknown.is_none());
        let endless = format!("(begin {})", "(include \"absent.txt\")".repeat(200_000));
        assert!(included(&endless).unknown.is_none(), "one name is looked up once");
        let endless: String = (0..100_000).map(|number| format!("(include \"{number}\")")).collect();
        assert!(included(&endless).unknown.unwrap().contains("too many"));
    }
}
