//! A client of a real guix-daemon, with the operations that builds need. Operations have their
//! numbers from `guix/store.scm`.

mod log;
pub(crate) mod wire;

use std::io::{self, BufReader, BufWriter, Write as _};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use sha2::{Digest, Sha256};
use wire::{MAGIC_CLIENT, MAGIC_SERVER, STDERR_ERROR, STDERR_LAST, Sink, Source, VERSION, broken};

use crate::guix::store_path::StorePath;
pub use log::Log;

/// The frame with output of a build.
const STDERR_NEXT: u64 = 0x6f6c_6d67;
/// The protocol version that the client asks for: daemons since Guix 0.17 support it.
const SPOKEN: u64 = 0x163;
/// The longest text that is accepted from the daemon, in bytes.
const LONGEST: u64 = 1 << 20;

/// A connection. While it is open, nothing that is added or built over it is garbage-collected.
#[derive(Debug)]
pub(crate) struct Daemon {
    source: Source<BufReader<UnixStream>>,
    sink: Sink<BufWriter<UnixStream>>,
}

/// Why the daemon did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    /// The daemon reported an error.
    #[error("{message}")]
    Refused {
        /// The daemon's message.
        message: String,
        /// 100 when a builder failed, 101 when a build timed out, something else when the build is
        /// not to blame; see `Worker::exitStatus` of the daemon.
        status: u64,
    },
    /// The daemon computed another path for an added item.
    #[error("the daemon has another path for {0}")]
    OtherPath(StorePath),
    /// The connection is no longer usable.
    #[error("the connection to the daemon broke: {0}")]
    Broken(#[from] io::Error),
}

/// Closes a connection that is in use by another thread, which stops a running build.
#[derive(Debug)]
pub(crate) struct ConnectionCloser(UnixStream);

impl ConnectionCloser {
    pub(crate) fn close(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// The contents of a store item.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Contents<'a> {
    /// A plain file, and the store paths that it refers to.
    Text(&'a [u8], &'a [String]),
    /// An archive of any files, without references.
    Nar(&'a [u8]),
}

impl Daemon {
    /// Connects to the daemon that listens at `socket`.
    pub(crate) fn connect(socket: &Path) -> io::Result<(Self, ConnectionCloser)> {
        let stream = UnixStream::connect(socket)?;
        let closer = ConnectionCloser(stream.try_clone()?);
        let source = Source { stream: BufReader::new(stream.try_clone()?) };
        let mut daemon = Self { source, sink: Sink { stream: BufWriter::new(stream) } };
        daemon.greet()?;
        Ok((daemon, closer))
    }

    fn greet(&mut self) -> io::Result<()> {
        self.sink.integer(MAGIC_CLIENT)?;
        self.sink.stream.flush()?;
        if self.source.integer()? != MAGIC_SERVER {
            return Err(broken("a greeting that is not a daemon's"));
        }
        if self.source.integer()? >> 8 != VERSION >> 8 {
            return Err(broken("another major version of the protocol"));
        }
        for number in [SPOKEN, 0, 0] {
            // Neither bind to a processor nor reserve space.
            self.sink.integer(number)?;
        }
        self.answer(|_| ()).map_err(io::Error::other)
    }

    /// Adds an item, which must get this path. Its references must be in the store.
    pub(crate) fn add(&mut self, path: &StorePath, contents: Contents<'_>) -> Result<(), DaemonError> {
        let name = path.name();
        let found = match contents {
            Contents::Text(text, references) => self.add_text(name, text, references)?,
            Contents::Nar(archive) => {
                // Otherwise it is named after the hash of the file in it.
                let whole = StorePath::of_fixed(name.as_bytes(), "sha256", &Sha256::digest(archive), true);
                self.add_nar(name, whole.is_ok_and(|named| named == *path), archive)?
            }
        };
        if found == path.to_string().into_bytes() {
            Ok(())
        } else {
            Err(DaemonError::OtherPath(path.clone()))
        }
    }

    /// Whether an item exists. If so, it and what it refers to is kept while the connection is
    /// open.
    pub(crate) fn hold(&mut self, path: &StorePath) -> Result<bool, DaemonError> {
        let path = path.to_string();
        for operation in [11, 1] {
            self.sink.integer(operation)?;
            self.sink.string(path.as_bytes())?;
            self.answer(|_| ())?;
            if !self.source.boolean()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sets time limits of builds over this connection, in seconds; 0 means none. Substitutes are
    /// used according to the daemon's configuration.
    pub(crate) fn limit(&mut self, silence: i64, time: i64) -> Result<(), DaemonError> {
        self.sink.integer(19)?;
        // keep-failed, keep-going, fallback and verbosity are all off.
        for number in [0, 0, 0, 0] {
            self.sink.integer(number)?;
        }
        // Offload as configured; pass the output of builders on, without traces; use substitutes.
        for number in [1, 0, 0, 0, 1] {
            self.sink.integer(number)?;
        }
        let limits = [("build-max-silent-time", silence), ("build-timeout", time)];
        let limits: Vec<_> = limits.into_iter().filter(|(_, seconds)| *seconds > 0).collect();
        self.sink.integer(limits.len() as u64)?;
        for (name, seconds) in limits {
            self.sink.string(name.as_bytes())?;
            self.sink.string(seconds.to_string().as_bytes())?;
        }
        self.answer(|_| ())
    }

    /// Adds a text; returns its store path.
    fn add_text(
        &mut self,
        name: &str,
        contents: &[u8],
        references: &[String],
    ) -> Result<Vec<u8>, DaemonError> {
        self.sink.integer(8)?;
        self.sink.string(name.as_bytes())?;
        self.sink.string(contents)?;
        self.sink.strings(references)?;
        self.answer(|_| ())?;
        Ok(self.source.word()?)
    }

    /// Adds a file tree, named after the SHA-256 of the archive (`recursive`) or of the file in it;
    /// returns its store path.
    fn add_nar(&mut self, name: &str, recursive: bool, archive: &[u8]) -> Result<Vec<u8>, DaemonError> {
        self.sink.integer(7)?;
        self.sink.string(name.as_bytes())?;
        self.sink.integer(u64::from(!recursive))?; // obsolete
        self.sink.integer(recursive.into())?;
        self.sink.string(b"sha256")?;
        self.sink.stream.write_all(archive)?;
        self.answer(|_| ())?;
        Ok(self.source.word()?)
    }

    /// Builds derivations; passes output to `log` meanwhile.
    pub(crate) fn build<T: AsRef<[u8]>>(
        &mut self,
        wanted: &[T],
        log: impl FnMut(&[u8]),
    ) -> Result<(), DaemonError> {
        self.sink.integer(9)?;
        self.sink.strings(wanted)?;
        self.sink.integer(0)?; // normal build mode
        self.answer(log)?;
        self.source.integer()?;
        Ok(())
    }

    /// The references of the store item `path`.
    pub(crate) fn references(&mut self, path: &[u8]) -> Result<Vec<Vec<u8>>, DaemonError> {
        self.sink.integer(5)?;
        self.sink.string(path)?;
        self.answer(|_| ())?;
        Ok(self.source.words()?)
    }

    /// Registers the link at `root`, which leads into the store. While it exists, its target is not
    /// garbage-collected.
    pub(crate) fn add_indirect_root(&mut self, root: &Path) -> Result<(), DaemonError> {
        self.sink.integer(12)?;
        self.sink.string(root.as_os_str().as_bytes())?;
        self.answer(|_| ())?;
        self.source.integer()?;
        Ok(())
    }

    /// Sends the request, and reads up to the result.
    fn answer(&mut self, mut log: impl FnMut(&[u8])) -> Result<(), DaemonError> {
        self.sink.stream.flush()?;
        let mut text = Vec::new();
        loop {
            match self.source.integer()? {
                STDERR_LAST => return Ok(()),
                STDERR_NEXT => {
                    self.source.string(&mut text, LONGEST)?;
                    log(&text);
                }
                STDERR_ERROR => {
                    self.source.string(&mut text, LONGEST)?;
                    let message = String::from_utf8_lossy(&text).into_owned();
                    return Err(DaemonError::Refused { message, status: self.source.integer()? });
                }
                _ => return Err(broken("a valid message of the daemon").into()),
            }
        }
    }
}
