use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use super::super::RuntimeError;
use super::super::key;
use super::super::key_limits::KeyLimits;
use super::super::layer::{Kind, Layer};
use super::super::layer_reader::{LayerReader, Unreadable};
use super::super::min_version;
use super::super::sources::{self, MAX_SOURCE, SourcesError};
use super::super::{compiler::CompilerIdentity, index};
use super::answer::{Answer, CONFIG, Failed};
use super::{Asked, InstalledKeys, LONGEST_REQUEST, Module, Modules, Request};
use crate::sandbox::restrict_to_reads;

/// Answers the request on the standard input, as the source reader.
///
/// # Errors
/// When there is no valid request, or nobody reads the answer.
pub fn serve() -> io::Result<()> {
    let mut request = Vec::new();
    io::stdin().take(LONGEST_REQUEST).read_to_end(&mut request)?;
    let request: Request = postcard::from_bytes(&request)
        .map_err(|_| io::Error::other("no request: this command is for Gorget itself"))?;
    restrict_to_reads(&request.readable())?;
    let answer = answer(request).unwrap_or_else(|error| Answer::Failed(Failed::new(error)));
    io::stdout().write_all(&postcard::to_stdvec(&answer).map_err(io::Error::other)?)?;
    io::stdout().flush()
}

fn answer(request: Request) -> Result<Answer, RuntimeError> {
    let Request { layers, config, compiler, asked, .. } = request;
    let config = fs_err::read(config)?;
    Ok(match asked {
        Asked::Installed { guile } => Answer::Installed(installed(guile, &layers, config, compiler)?),
        Asked::Modules { kind } => Answer::Modules(modules(&layers, kind, config, &compiler)?),
    })
}

/// No limits apply to what the admin installed.
fn installed(
    guile: Layer,
    layers: &[Layer],
    config: Vec<u8>,
    mut compiler: CompilerIdentity,
) -> Result<InstalledKeys, RuntimeError> {
    let limits = KeyLimits::unlimited();
    let guile = [guile];
    let macros = index::macros(&sources::files(&guile, &limits)?, &limits);
    let macros = macros.map_err(|halt| SourcesError::halted(&guile, halt))?;
    compiler.core.extend(macros.iter().cloned());
    let mut files = sources::files(layers, &limits)?;
    sources::replace(&mut files, CONFIG, config);
    let keys = key::keys(&files, layers, Kind::Installed, &compiler, &limits)?.keys;
    Ok(InstalledKeys { macros, keys })
}

fn modules(
    layers: &[Layer],
    kind: Kind,
    config: Vec<u8>,
    compiler: &CompilerIdentity,
) -> Result<Modules, RuntimeError> {
    if kind == Kind::Guix {
        check_guix(&layers[0])?;
    }
    let limits = KeyLimits::limited();
    let mut files = sources::files(layers, &limits)?;
    let mut keyed = key::Keyed::default();
    if files.iter().any(|file| file.kind == kind) {
        sources::replace(&mut files, CONFIG, config);
        keyed = key::keys(&files, layers, kind, compiler, &limits)?;
    }
    let (steps, bytes) = limits.used();
    tracing::debug!(files = files.len(), steps, bytes, "the modules were compared");
    let mut unknown: HashMap<String, String> = keyed.unknown.into_iter().collect();
    let files = files.into_iter().map(|file| Module {
        keys: keyed.keys.get(&file.path).copied(),
        unknown: unknown.remove(&file.path),
        of_packages: keyed.of_packages.contains(&file.path),
        path: file.path,
        layer: file.layer,
        kind: file.kind,
    });
    Ok(Modules { files: files.collect(), reached: keyed.reached.into_iter().collect::<BTreeMap<_, _>>() })
}

/// Refuses a layer that is not a Guix, or is too old.
fn check_guix(layer: &Layer) -> Result<(), RuntimeError> {
    let guix = LayerReader::new(layer)?;
    for missing in ["gnu/packages.scm", "guix/packages.scm"] {
        match guix.read(Path::new(missing), MAX_SOURCE) {
            Ok(_) => {}
            Err(Unreadable::Absent) => return Err(RuntimeError::NotGuix { missing: missing.to_owned() }),
            Err(error) => return Err(layer.unreadable(missing, error).into()),
        }
    }
    min_version::refuse_too_old(&guix, "of the channel `guix`")
}
