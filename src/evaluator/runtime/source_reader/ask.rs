use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::super::RuntimeError;
use super::super::compiler::CompilerIdentity;
use super::super::layer::{Kind, Layer};
use super::super::sources::SourcesError;
use super::answer::Answer;
use super::{Asked, COMMAND, InstalledKeys, LONGEST_ANSWER, LONGEST_REQUEST, Modules, Request};
use crate::sandbox::{Exceeded, Limits, Process, Subprocess};

/// The memory of a source reader, in bytes. For Guix it takes 250 MiB; the most that channels may make
/// it keep is what [`KeyLimits`](super::super::effort::EffortLimits) counts, their text, and as much
/// again for what is not counted.
const MEMORY: u64 = 2 << 30;
/// Time limit. A reader stops by itself earlier, after a limited number of steps.
const TIME: Duration = Duration::from_mins(10);

/// How long a reader may take to end after it has closed its connection.
const END: Duration = Duration::from_secs(1);

/// Asks source readers about the modules in some layers.
pub(in super::super) struct SourceReader {
    /// Gorget's own program.
    pub(in super::super) program: PathBuf,
    /// `guix/config.scm` of the installed Guix.
    pub(in super::super) config: PathBuf,
    /// Where links of the installed Guix lead.
    pub(in super::super) linked: Vec<PathBuf>,
}

impl SourceReader {
    /// The keys of the installed Guix's modules in `layers`, and the macros of Guile.
    pub(in super::super) async fn installed(
        &self,
        guile: Layer,
        layers: Vec<Layer>,
        compiler: CompilerIdentity,
    ) -> Result<InstalledKeys, RuntimeError> {
        match self.ask(Asked::Installed { guile }, layers, compiler).await?.1 {
            Answer::Installed(keys) => Ok(keys),
            Answer::Failed(failed) => Err(failed.error()),
            Answer::Modules(_) => Err(unexpected()),
        }
    }

    /// The modules in `layers`, with the keys of those of a kind.
    pub(in super::super) async fn modules(
        &self,
        layers: Vec<Layer>,
        kind: Kind,
        compiler: CompilerIdentity,
    ) -> Result<Modules, RuntimeError> {
        match self.ask(Asked::Modules { kind }, layers, compiler).await? {
            (layers, Answer::Modules(modules)) => Ok(modules.checked(&layers)?),
            (_, Answer::Failed(failed)) => Err(failed.error()),
            (_, Answer::Installed(_)) => Err(unexpected()),
        }
    }

    async fn ask(
        &self,
        asked: Asked,
        layers: Vec<Layer>,
        compiler: CompilerIdentity,
    ) -> Result<(Vec<Layer>, Answer), RuntimeError> {
        let (config, linked) = (self.config.clone(), self.linked.clone());
        let request = Request { layers, config, compiler, linked, asked };
        let limits = Limits { processes: 1, descriptors: 256, file_size: 0, ..Limits::sandbox(MEMORY, TIME) };
        let (mut process, socket) = Subprocess::new(&self.program, COMMAND, limits).spawn()?;
        let answer = exchange(socket, &request).await;
        let answer = match answer {
            Ok(answer) => postcard::from_bytes(&answer).map_err(io::Error::other),
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => Ok((request.layers, answer)),
            Err(error) => Err(fault(&mut process, &request.layers, &error).await?),
        }
    }
}

/// Sends the request, and reads the answer.
async fn exchange(mut socket: UnixStream, request: &Request) -> io::Result<Vec<u8>> {
    let request = postcard::to_stdvec(request).map_err(io::Error::other)?;
    if request.len() as u64 > LONGEST_REQUEST {
        return Err(io::Error::other("the request is too long"));
    }
    socket.write_all(&request).await?;
    socket.shutdown().await?;
    let mut answer = Vec::new();
    socket.take(LONGEST_ANSWER + 1).read_to_end(&mut answer).await?;
    if answer.len() as u64 > LONGEST_ANSWER {
        return Err(io::Error::other("the answer is too long"));
    }
    Ok(answer)
}

/// Why a reader gave no answer. One that exceeded a limit would do so again.
async fn fault(process: &mut Process, layers: &[Layer], error: &io::Error) -> io::Result<RuntimeError> {
    let finished = process.finish(END).await?;
    let channels: Vec<&str> =
        layers.iter().filter(|layer| !layer.kind.is_trusted()).map(|layer| layer.name.as_str()).collect();
    Ok(match finished.exceeded {
        // The time that it takes depends on the machine; other resources depend on the channels.
        Some(exceeded) if !matches!(exceeded, Exceeded::Wall(_)) && !channels.is_empty() => {
            let reason = format!("comparing them: {}", finished.reason());
            SourcesError::Refused { layer: channels.join("`, `"), reason }.into()
        }
        _ => {
            io::Error::other(format!("the source reader ended early: {}: {error}", finished.reason())).into()
        }
    })
}

fn unexpected() -> RuntimeError {
    io::Error::other("the source reader answered another question").into()
}
