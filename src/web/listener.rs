use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use crate::config::Listen;

/// A socket that accepts connections.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket.
    Socket(UnixListener),
    /// An address of this machine.
    Address(TcpListener),
}

impl Listener {
    /// Starts to listen.
    pub async fn bind(listen: &Listen) -> anyhow::Result<Self> {
        let hint = "hint: choose another place with --listen, or with `listen` in [web]";
        let listener = match listen {
            Listen::Socket(path) => bind_socket(path).await.map(Self::Socket),
            Listen::Address(address) => TcpListener::bind(address).await.map(Self::Address),
        };
        listener.with_context(|| format!("cannot listen at {listen}\n{hint}"))
    }

    /// The socket among `passed`, those that the service manager opened; `None` without any.
    pub fn inherited(mut passed: ListenFd) -> anyhow::Result<Option<Self>> {
        const HINT: &str = "hint: give the socket unit one `ListenStream=`, and `Accept=no`";
        match passed.len() {
            0 => return Ok(None),
            1 => {}
            count => bail!("the service manager passes {count} sockets, and Gorget serves at one\n{HINT}"),
        }
        if let Ok(Some(socket)) = passed.take_unix_listener(0) {
            socket.set_nonblocking(true)?;
            return Ok(Some(Self::Socket(UnixListener::from_std(socket)?)));
        }
        let passed = passed.take_tcp_listener(0);
        let passed =
            passed.with_context(|| format!("the service manager passes no socket to serve at\n{HINT}"))?;
        let Some(socket) = passed else { return Ok(None) };
        socket.set_nonblocking(true)?;
        Ok(Some(Self::Address(TcpListener::from_std(socket)?)))
    }

    /// Accepts the next connection; returns it and the address of the peer, if it has one.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        Ok(match self {
            Self::Socket(listener) => (Stream::Left(listener.accept().await?.0), None),
            Self::Address(listener) => {
                let (stream, address) = listener.accept().await?;
                (Stream::Right(stream), Some(address.ip()))
            }
        })
    }

    /// The place where it listens, as text.
    pub fn place(&self) -> String {
        match self {
            Self::Socket(listener) => listener
                .local_addr()
                .ok()
                .and_then(|address| Some(address.as_pathname()?.display().to_string()))
                .unwrap_or_default(),
            Self::Address(listener) => {
                listener.local_addr().map(|address| format!("http://{address}")).unwrap_or_default()
            }
        }
    }
}

/// A connection of either type.
pub(super) type Stream = Either<UnixStream, TcpStream>;

/// Binds a Unix socket. Replaces one that an earlier run left behind, unless another process
/// listens on it.
async fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    let is_socket = fs_err::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket {
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "the address is in use"));
        }
        fs_err::remove_file(path)?;
    }
    UnixListener::bind(path)
}
