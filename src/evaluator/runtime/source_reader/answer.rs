use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::RuntimeError;
use super::super::key::Keys;
use super::super::layer::{Kind, Layer};
use super::super::sources::SourcesError;

/// What the source reader answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Installed(InstalledKeys),
    Modules(Modules),
    Failed(Failed),
}

/// What is known of the installed Guix.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in super::super) struct InstalledKeys {
    /// The names of the macros that Guile's modules define.
    pub(in super::super) macros: Vec<String>,
    /// The keys of its modules, by path.
    pub(in super::super) keys: HashMap<String, Keys>,
}

/// The modules in some layers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in super::super) struct Modules {
    /// Sorted by path.
    pub(in super::super) files: Vec<Module>,
    /// By layer: the layers of channels that its modules with keys import or include something from.
    pub(in super::super) reached: BTreeMap<usize, BTreeSet<usize>>,
}

/// A file of modules.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct Module {
    /// Its path below its layer.
    pub(in super::super) path: String,
    /// Which layer it is from.
    pub(in super::super) layer: usize,
    /// What kind of layer that is.
    pub(in super::super) kind: Kind,
    /// Its keys, if they were asked for and are known.
    pub(in super::super) keys: Option<Keys>,
    /// Why its contents are unknown.
    pub(in super::super) unknown: Option<String>,
    /// Whether packages of Guix, or what evaluates them, reach it by imports.
    pub(in super::super) of_packages: bool,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Failed {
    /// A channel has something that it may not have, or too much.
    Refused { layer: String, reason: String },
    /// The channel `guix` is not a Guix.
    NotGuix { missing: String },
    /// The channel `guix` is too old.
    TooOld { file: String, name: String },
    /// The machine failed, with this number if the kernel gave one.
    Io { errno: Option<i32>, what: String },
}

/// The longest text of an error, in bytes.
const LONGEST_TEXT: usize = 4096;

impl Failed {
    /// The form of `error` that is sent to another process.
    pub(super) fn new(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Sources(SourcesError::Refused { layer, reason }) => Self::Refused { layer, reason },
            RuntimeError::NotGuix { missing } => Self::NotGuix { missing },
            RuntimeError::TooOld { file, name, .. } => Self::TooOld { file, name },
            RuntimeError::Sources(SourcesError::File { path, error }) => {
                Self::Io { errno: error.raw_os_error(), what: path }
            }
            error => Self::Io { errno: None, what: error.to_string() },
        }
    }

    /// The error that was sent, with its texts cut to the longest length.
    pub(super) fn error(self) -> RuntimeError {
        match self {
            Self::Refused { layer, reason } => {
                SourcesError::Refused { layer: short(layer), reason: short(reason) }.into()
            }
            Self::NotGuix { missing } => RuntimeError::NotGuix { missing: short(missing) },
            Self::TooOld { file, name } => {
                let whose = "of the channel `guix`".to_owned();
                RuntimeError::TooOld { whose, file: short(file), name: short(name) }
            }
            Self::Io { errno: Some(errno), what } => {
                SourcesError::File { path: short(what), error: io::Error::from_raw_os_error(errno) }.into()
            }
            Self::Io { errno: None, what } => io::Error::other(short(what)).into(),
        }
    }
}

fn short(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST_TEXT));
    text
}

impl Modules {
    /// These modules, if they can be in `layers`.
    ///
    /// # Errors
    /// When one of them cannot be there.
    pub(super) fn checked(mut self, layers: &[Layer]) -> io::Result<Self> {
        let wrong = |what: &str| Err(io::Error::other(format!("the source reader sent {what}")));
        for file in &mut self.files {
            file.unknown = file.unknown.take().map(short);
            let Some(layer) = layers.get(file.layer) else { return wrong("a layer that does not exist") };
            let is_config = file.path == CONFIG && file.kind == Kind::Library;
            if !(is_beneath(&file.path) && (file.kind == layer.kind || is_config)) {
                return wrong("a file that cannot be in its layer");
            }
        }
        if !self.files.is_sorted_by(|a, b| a.path < b.path) {
            return wrong("a file twice");
        }
        let is_channel = |layer: &usize| layers.get(*layer).is_some_and(|layer| !layer.kind.is_trusted());
        if !self.reached.iter().all(|(layer, reached)| is_channel(layer) && reached.iter().all(is_channel)) {
            return wrong("a channel that does not exist");
        }
        Ok(self)
    }
}

/// The module that no checkout has.
pub(super) const CONFIG: &str = "guix/config.scm";

/// Whether a path is that of a Scheme file, and stays below its layer.
fn is_beneath(path: &str) -> bool {
    let path = Path::new(path);
    path.extension().is_some_and(|extension| extension == "scm")
        && !path.as_os_str().as_encoded_bytes().contains(&0)
        && path.components().all(|part| matches!(part, Component::Normal(_)))
        && path.components().collect::<PathBuf>().as_os_str() == path.as_os_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, layer: usize, kind: Kind) -> Module {
        Module { path: path.to_owned(), layer, kind, keys: None, unknown: None, of_packages: false }
    }

    #[test]
    fn an_answer_that_leads_elsewhere_is_refused() {
        let layer = |kind| Layer::alone("/nowhere".into(), kind);
        let layers = [layer(Kind::Guix), layer(Kind::Library), layer(Kind::Channel)];
        let checked = |files: Vec<Module>, reached: &[(usize, usize)]| {
            let reached = reached.iter().map(|(layer, reached)| (*layer, BTreeSet::from([*reached])));
            Modules { files, reached: reached.collect() }.checked(&layers).map(drop)
        };
        let honest = || {
            let config = module("guix/config.scm", 0, Kind::Library);
            vec![module("a/b c.scm", 2, Kind::Channel), config, module("x.scm", 1, Kind::Library)]
        };
        checked(honest(), &[(2, 0), (2, 2)]).unwrap();
        for wrong in
            ["a//x.scm", "a/./x.scm", "../x.scm", "/x.scm", "a/../../x.scm", "x", "x\0.scm", "", "..", ".scm"]
        {
            checked(vec![module(wrong, 2, Kind::Channel)], &[]).unwrap_err();
        }
        for (layer, kind) in [(3, Kind::Channel), (2, Kind::Guix), (2, Kind::Library), (0, Kind::Installed)] {
            checked(vec![module("x.scm", layer, kind)], &[]).unwrap_err();
        }
        for reached in [(2, 1), (1, 2), (3, 2), (2, 9)] {
            checked(honest(), &[reached]).unwrap_err();
        }
        let twice = || module("x.scm", 2, Kind::Channel);
        checked(vec![twice(), twice()], &[]).unwrap_err();
    }

    #[test]
    fn an_error_stays_one_on_its_way_and_its_text_is_short() {
        let disk = SourcesError::File { path: "a.scm".to_owned(), error: io::Error::from_raw_os_error(5) };
        let failed = Failed::new(disk.into());
        let errno = rustix::io::Errno::IO.raw_os_error();
        assert_eq!(failed, Failed::Io { errno: Some(errno), what: "a.scm".to_owned() });
        let fault = crate::farm::fault::MachineFault::of(&failed.error().into());
        assert!(fault.unwrap().to_string().contains("the disk fails"));
        let long = Failed::Refused { layer: "ü".repeat(5000), reason: "x".to_owned() };
        assert!(
            matches!(long.error(), RuntimeError::Sources(SourcesError::Refused { layer, .. }) if layer.len() == 4096)
        );
    }
}
