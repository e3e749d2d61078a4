//! Results that a sandbox hands over a socket, as it can write no file that outlives it.
//!
//! Each connection brings one: a line that says what it is, then the bytes. Any code in the sandbox can
//! connect and claim any of the results that the sandbox is to make, but no other. The first one counts.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::cache::MAX_COMPILED;

/// What is kept of a message, in bytes.
const MAX_MESSAGE: u64 = 8 << 10;
/// What one sandbox may hand over, in bytes.
const MAX_TOTAL: u64 = 4 << 30;
/// Connections that are read at the same time.
const MAX_CONNECTIONS: usize = 64;
/// The longest first line, in bytes.
const MAX_LINE: u64 = 64;
/// How long results that have been sent may take to arrive after the sandbox has ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// What every compiled module begins with.
const MAGIC: [u8; 4] = *b"\x7fELF";

/// A result.
#[derive(Debug, Clone)]
pub(super) enum Given {
    /// A compiled module, in this file.
    Compiled(PathBuf),
    /// Why it could not be compiled.
    Failed(String),
}

/// What was handed over.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// By the number of the module.
    pub(super) of: HashMap<usize, Given>,
    /// Why a module could not be loaded.
    pub(super) unloaded: Option<String>,
    /// Bytes that have arrived.
    total: u64,
}

/// Takes results until it is told that there will be no more.
pub(super) struct Handover {
    server: JoinHandle<()>,
    results: Arc<Mutex<Results>>,
    over: watch::Sender<bool>,
}

impl Handover {
    /// Takes results of modules with numbers below `count` at `socket`, into files in `directory`.
    pub(super) fn listen(socket: &Path, directory: &Path, count: usize) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let results = Arc::new(Mutex::new(Results::default()));
        let (over, ended) = watch::channel(false);
        let taker = Taker { results: Arc::clone(&results), directory: directory.to_owned(), count };
        Ok(Self { server: tokio::spawn(serve(listener, taker, ended)), results, over })
    }

    /// What was handed over by a sandbox that has ended.
    pub(super) async fn end(mut self) -> Results {
        let _ = self.over.send(true);
        let _ = tokio::time::timeout(PATIENCE, &mut self.server).await;
        self.server.abort();
        std::mem::take(&mut *lock(&self.results))
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(results: &Mutex<Results>) -> MutexGuard<'_, Results> {
    results.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: UnixListener, taker: Taker, mut ended: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        // What was sent before the end is still in the queue.
        let stream = tokio::select! {
            biased;
            stream = listener.accept() => stream,
            _ = ended.wait_for(|over| *over) => break,
        };
        let Ok((stream, _)) = stream else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let taker = taker.clone();
        connections.spawn(async move { taker.take(stream, number).await });
        number += 1;
    }
    while connections.join_next().await.is_some() {}
}

#[derive(Clone)]
struct Taker {
    results: Arc<Mutex<Results>>,
    directory: PathBuf,
    count: usize,
}

impl Taker {
    /// Takes the result of the connection `number`.
    async fn take(&self, stream: UnixStream, number: usize) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        (&mut reader).take(MAX_LINE).read_line(&mut line).await?;
        let Some((kind, name)) = line.trim_end().split_once(' ') else { return Ok(()) };
        let Some(name) = name.parse().ok().filter(|name| *name < self.count) else { return Ok(()) };
        match kind {
            "compiled" => {
                let file = self.directory.join(format!("{number}.go"));
                let complete = self.compiled(&mut reader, name, &file).await;
                if !matches!(complete, Ok(true)) && file.exists() {
                    tokio::fs::remove_file(&file).await?;
                }
                complete.map(drop)
            }
            "failed" | "unloaded" => {
                let mut text = Vec::new();
                reader.take(MAX_MESSAGE).read_to_end(&mut text).await?;
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                let mut results = lock(&self.results);
                if kind == "failed" {
                    results.of.entry(name).or_insert(Given::Failed(text));
                } else {
                    results.unloaded.get_or_insert(text);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Writes a compiled module to `file`; `false` when it is none, or one has arrived before.
    async fn compiled(
        &self,
        reader: &mut BufReader<UnixStream>,
        name: usize,
        file: &Path,
    ) -> io::Result<bool> {
        let mut magic = [0; MAGIC.len()];
        reader.read_exact(&mut magic).await?;
        if magic != MAGIC || lock(&self.results).of.contains_key(&name) {
            return Ok(false);
        }
        let mut to = fs_err::tokio::File::create(file).await?;
        to.write_all(&magic).await?;
        let mut buffer = vec![0; 64 * 1024];
        let mut size = 0;
        loop {
            let count = reader.read(&mut buffer).await?;
            if count == 0 {
                break;
            }
            size += count as u64;
            if size > MAX_COMPILED || !self.admits(count as u64) {
                return Ok(false);
            }
            to.write_all(&buffer[..count]).await?;
        }
        to.flush().await?;
        let mut results = lock(&self.results);
        let is_first = !results.of.contains_key(&name);
        results.of.entry(name).or_insert_with(|| Given::Compiled(file.to_owned()));
        Ok(is_first)
    }

    /// Whether so many more bytes may arrive.
    fn admits(&self, count: u64) -> bool {
        let mut results = lock(&self.results);
        results.total += count;
        results.total <= MAX_TOTAL
    }
}
