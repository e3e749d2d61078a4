//! Repositories for stories: made with libgit2, served by a real `git daemon`, on lines that can be cut.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use git2::{ObjectType, Oid, Signature, Time};
use gorget::sandbox::{Process, Tool};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::Port;

/// A bare repository that a test fills.
pub struct Remote {
    pub directory: TempDir,
    pub git: git2::Repository,
}

impl Remote {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let git = git2::Repository::init_bare(directory.path().join("repository")).unwrap();
        Self { directory, git }
    }

    pub fn url(&self) -> String {
        self.git.path().to_str().unwrap().to_owned()
    }

    pub fn path(&self) -> &Path {
        self.git.path()
    }

    /// Writes a tree as it is told, however hostile: (mode, name, object).
    pub fn tree(&self, entries: &[(&str, &[u8], Oid)]) -> Oid {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend_from_slice(mode.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend_from_slice(id.as_bytes());
        }
        self.git.odb().unwrap().write(ObjectType::Tree, &bytes).unwrap()
    }

    pub fn blob(&self, content: impl AsRef<[u8]>) -> Oid {
        self.git.blob(content.as_ref()).unwrap()
    }

    /// A commit of any tree object, sound or not.
    pub fn commit_tree(&self, tree: Oid, parent: Option<&str>) -> String {
        let parent = parent.map(|parent| format!("parent {parent}\n")).unwrap_or_default();
        let who = "A <a@example.org> 1700000000 +0000";
        let text = format!("tree {tree}\n{parent}author {who}\ncommitter {who}\n\nA commit\n");
        let id = self.git.odb().unwrap().write(ObjectType::Commit, text.as_bytes()).unwrap();
        id.to_string()
    }

    /// Puts a commit with one more version of `file` on `branch`, after what is there.
    pub fn push(&self, branch: &str, file: &str, content: impl AsRef<[u8]>) -> String {
        let name = format!("refs/heads/{branch}");
        let parent = self.git.find_reference(&name).ok().map(|tip| tip.peel_to_commit().unwrap());
        let before = parent.as_ref().map(|parent| parent.tree().unwrap());
        let mut builder = self.git.treebuilder(before.as_ref()).unwrap();
        builder.insert(file, self.blob(content), 0o100_644).unwrap();
        let tree = self.git.find_tree(builder.write().unwrap()).unwrap();
        let who = Signature::new("A", "a@example.org", &Time::new(1_700_000_000, 0)).unwrap();
        let parents: Vec<_> = parent.iter().collect();
        self.git.commit(Some(&name), &who, &who, "A commit", &tree, &parents).unwrap().to_string()
    }

    /// Points `branch` at `commit`, or removes it.
    pub fn set(&self, branch: &str, commit: Option<&str>) {
        let name = format!("refs/heads/{branch}");
        match commit {
            Some(commit) => {
                self.git.reference(&name, Oid::from_str(commit).unwrap(), true, "set").map(drop).unwrap();
            }
            None => self.git.find_reference(&name).unwrap().delete().unwrap(),
        }
    }
}

/// A `git daemon` behind a line that a test can cut.
pub struct Server {
    pub url: String,
    pub line: Arc<Line>,
    _daemon: Process,
}

/// What happens to the bytes on their way.
#[derive(Default)]
pub struct Line {
    /// Once this many bytes (if not 0) have come from the server, no more come.
    pub stops_after: AtomicUsize,
    /// Whether the line is then closed, or left hanging (0).
    pub closes: AtomicUsize,
    /// Set to speak the protocol of servers that give only what their branches point to.
    pub is_old: AtomicUsize,
    /// How many bytes have come from the server.
    pub carried: AtomicUsize,
    /// How many connections there were.
    visits: AtomicUsize,
}

impl Line {
    /// How often somebody has come.
    pub fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }
}

impl Server {
    pub async fn new(remote: &Remote) -> Self {
        let port = Port::free();
        let daemon = Tool::new("git")
            .args(["daemon", "--listen=127.0.0.1", "--reuseaddr", "--export-all"])
            .arg(format!("--port={}", port.address.port()))
            .arg(format!("--base-path={}", remote.directory.path().display()))
            .spawn()
            .unwrap();
        while TcpStream::connect(port.address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("git://{}/repository", listener.local_addr().unwrap());
        let line = Arc::new(Line::default());
        tokio::spawn(accept(listener, port, Arc::clone(&line)));
        Self { url, line, _daemon: daemon }
    }
}

async fn accept(listener: TcpListener, port: Port, line: Arc<Line>) {
    while let Ok((client, _)) = listener.accept().await {
        let (line, server) = (Arc::clone(&line), port.address);
        line.visits.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let server = TcpStream::connect(server).await.unwrap();
            let (client_in, client_out) = client.into_split();
            let (server_in, server_out) = server.into_split();
            let down = down(server_in, client_out, &line);
            let up = up(client_in, server_out, line.is_old.load(Ordering::Relaxed) != 0);
            tokio::select! { () = down => {}, () = up => {} }
        });
    }
}

/// Carries requests. The first one ends in the wish for a newer protocol, which an old server does not know.
async fn up(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, is_old: bool) {
    let mut size = [0; 4];
    from.read_exact(&mut size).await.unwrap();
    let length = usize::from_str_radix(str::from_utf8(&size).unwrap(), 16).unwrap();
    let mut first = vec![0; length - 4];
    from.read_exact(&mut first).await.unwrap();
    let end = first.windows(2).position(|bytes| bytes == b"\0\0").filter(|_| is_old);
    first.truncate(end.map_or(first.len(), |end| end + 1));
    to.write_all(format!("{:04x}", first.len() + 4).as_bytes()).await.unwrap();
    to.write_all(&first).await.unwrap();
    let _ = tokio::io::copy(&mut from, &mut to).await;
    std::future::pending::<()>().await;
}

async fn down(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, line: &Line) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let _ = to.write_all(&buffer[..count]).await;
        let carried = count + line.carried.fetch_add(count, Ordering::Relaxed);
        let limit = line.stops_after.load(Ordering::Relaxed);
        if limit != 0 && carried >= limit {
            if line.closes.load(Ordering::Relaxed) == 0 {
                std::future::pending::<()>().await;
            }
            break;
        }
    }
}

/// Bytes that no compression makes smaller.
pub fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(size).collect()
}
