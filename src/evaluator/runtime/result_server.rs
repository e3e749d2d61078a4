//! Takes results from a sandbox over a socket, because a sandbox can write no file that outlives
//! it.
//!
//! Each connection brings one result: a line that says what it is, then the bytes. Any code in the
//! sandbox can connect and claim any result that the sandbox is to make, but no other. The first
//! one counts. It is kept at once, so if the sandbox is stopped, only unfinished results are lost.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};

use super::CompileProgress;
use super::budget::{Budget, PendingFile};

/// How much of a message is kept, in bytes.
const MAX_MESSAGE: u64 = 8 << 10;
/// Most bytes that one sandbox may send, whether they are kept or not.
const MAX_TOTAL: u64 = 4 << 30;
/// Most connections that are read at the same time.
const MAX_CONNECTIONS: usize = 64;
/// The longest first line, in bytes.
const MAX_LINE: u64 = 64;
/// How long results that have been sent may take to arrive after the sandbox has ended.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(30);
/// What every compiled module begins with.
const MAGIC: [u8; 4] = *b"\x7fELF";

/// A result.
#[derive(Debug, Clone)]
pub(super) enum CompileResult {
    /// A compiled module, which is kept.
    Compiled,
    /// Why it could not be compiled.
    Failed(String),
}

/// The results of a sandbox.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// By the number of the module.
    pub(super) of: HashMap<usize, CompileResult>,
    /// Why a module could not be loaded.
    pub(super) unloaded: Option<String>,
    /// Why a compiled module could not be kept.
    pub(super) fault: Option<io::Error>,
    /// Bytes that have arrived.
    total: u64,
}

/// Keeps the compiled module with this number, which is in this file; `false` if the file is not a
/// compiled module.
pub(super) type StoreResult = Arc<dyn Fn(usize, &Path) -> io::Result<bool> + Send + Sync>;

/// Takes results until `end` is called.
pub(super) struct ResultServer {
    server: JoinHandle<()>,
    results: Arc<Mutex<Results>>,
    over: watch::Sender<bool>,
}

impl ResultServer {
    /// Takes results of modules at `socket`, into files in `directory`. The compiled module with
    /// number `n` may take `most[n]` bytes, and all of them what is left of `budget`.
    pub(super) fn listen(
        socket: &Path,
        directory: &Path,
        most: Vec<u64>,
        budget: &Arc<Budget>,
        progress: &Arc<CompileProgress>,
        store_result: StoreResult,
    ) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let results = Arc::new(Mutex::new(Results::default()));
        let (over, ended) = watch::channel(false);
        let receiver = ResultReceiver {
            results: Arc::clone(&results),
            directory: directory.to_owned(),
            most: most.into(),
            budget: Arc::clone(budget),
            progress: Arc::clone(progress),
            store_result,
        };
        Ok(Self { server: tokio::spawn(serve(listener, receiver, ended)), results, over })
    }

    /// Ends after the sandbox has ended, and returns its results.
    pub(super) async fn end(mut self) -> Results {
        let _ = self.over.send(true);
        let _ = tokio::time::timeout(HANDOVER_TIMEOUT, &mut self.server).await;
        self.server.abort();
        std::mem::take(&mut *lock(&self.results))
    }
}

impl Drop for ResultServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(results: &Mutex<Results>) -> MutexGuard<'_, Results> {
    results.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: UnixListener, receiver: ResultReceiver, mut ended: watch::Receiver<bool>) {
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
        let receiver = receiver.clone();
        connections.spawn(async move { receiver.take(stream, number).await });
        number += 1;
    }
    while connections.join_next().await.is_some() {}
}

#[derive(Clone)]
struct ResultReceiver {
    results: Arc<Mutex<Results>>,
    directory: PathBuf,
    most: Arc<[u64]>,
    budget: Arc<Budget>,
    progress: Arc<CompileProgress>,
    store_result: StoreResult,
}

impl ResultReceiver {
    /// Takes the result of the connection `number`.
    async fn take(&self, stream: UnixStream, number: usize) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        (&mut reader).take(MAX_LINE).read_line(&mut line).await?;
        let Some((kind, name)) = line.trim_end().split_once(' ') else { return Ok(()) };
        let Some(name) = name.parse().ok().filter(|name| *name < self.most.len()) else {
            return Ok(());
        };
        match kind {
            "compiled" => self.compiled(&mut reader, name, format!("{number}.go")).await,
            "failed" | "unloaded" => {
                let mut text = Vec::new();
                reader.take(MAX_MESSAGE).read_to_end(&mut text).await?;
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                let mut results = lock(&self.results);
                if kind == "unloaded" {
                    results.unloaded.get_or_insert(text);
                } else if let Entry::Vacant(place) = results.of.entry(name) {
                    place.insert(CompileResult::Failed(text));
                    self.progress.advance();
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Writes the compiled module `name` to a file called `file`, if it is a compiled module, the
    /// first to arrive, and not too large.
    async fn compiled(
        &self,
        reader: &mut BufReader<UnixStream>,
        name: usize,
        file: String,
    ) -> io::Result<()> {
        let mut magic = [0; MAGIC.len()];
        reader.read_exact(&mut magic).await?;
        if magic != MAGIC || lock(&self.results).of.contains_key(&name) {
            return Ok(());
        }
        let path = self.directory.join(file);
        let mut pending = PendingFile::new(&self.budget, path.clone());
        let mut to = fs_err::tokio::File::create(&path).await?;
        to.write_all(&magic).await?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = reader.read(&mut buffer).await?;
            if count == 0 {
                break;
            }
            if pending.bytes() + count as u64 > self.most[name] {
                self.refuse(name);
                return Ok(());
            }
            if !self.admits(count as u64) || !pending.grow(count) {
                return Ok(());
            }
            to.write_all(&buffer[..count]).await?;
        }
        to.flush().await?;
        let is_first = match lock(&self.results).of.entry(name) {
            Entry::Vacant(place) => {
                place.insert(CompileResult::Compiled);
                true
            }
            Entry::Occupied(_) => false,
        };
        if is_first {
            self.store_result(name, pending.complete()).await;
        }
        Ok(())
    }

    /// Keeps a compiled module that has arrived.
    async fn store_result(&self, name: usize, file: PathBuf) {
        let store_result = Arc::clone(&self.store_result);
        let kept = spawn_blocking(move || store_result(name, &file)).await.map_err(io::Error::other);
        match kept.flatten() {
            Ok(true) => self.progress.advance(),
            Ok(false) => drop(lock(&self.results).of.remove(&name)),
            Err(error) => {
                let mut results = lock(&self.results);
                results.of.remove(&name);
                results.fault.get_or_insert(error);
            }
        }
    }

    /// Records that the module `name` failed because its compiled form is too large.
    fn refuse(&self, name: usize) {
        let text = format!("its compiled form takes more than {} bytes", self.most[name]);
        lock(&self.results).of.entry(name).or_insert(CompileResult::Failed(text));
    }

    /// Counts `count` more bytes; false when the sandbox has sent too many.
    fn admits(&self, count: u64) -> bool {
        let mut results = lock(&self.results);
        results.total += count;
        results.total <= MAX_TOTAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The results that are taken when these are sent one after the other, each a first line and a
    /// number of bytes, and the bytes of the kept files.
    async fn taken(sent: &[(&str, usize)], most: &[u64], budget: u64) -> (Results, u64) {
        let directory = tempfile::tempdir().unwrap();
        let (socket, budget) = (directory.path().join("results"), Arc::new(Budget::new(budget)));
        let store_result: StoreResult = Arc::new(|_, _| Ok(true));
        let result_server = ResultServer::listen(
            &socket,
            directory.path(),
            most.to_vec(),
            &budget,
            &Arc::default(),
            store_result,
        )
        .unwrap();
        for (line, size) in sent {
            let mut stream = UnixStream::connect(&socket).await.unwrap();
            let bytes = [line.as_bytes(), b"\n", &MAGIC, &vec![7; *size]].concat();
            // The other side may close before it has read all.
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let _ = stream.read(&mut [0]).await;
        }
        let results = result_server.end().await;
        let files = fs_err::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension() == Some("go".as_ref()));
        (results, files.map(|path| path.metadata().unwrap().len()).sum())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_too_large_for_its_source_has_failed_and_takes_no_space() {
        let sent = [("compiled 0", 1_000), ("compiled 1", 100_000), ("compiled 1", 10), ("compiled 7", 1)];
        let (results, size) = taken(&sent, &[2_000, 50_000], 1 << 20).await;
        assert!(matches!(results.of[&0], CompileResult::Compiled), "{results:?}");
        let CompileResult::Failed(message) = &results.of[&1] else { panic!("{results:?}") };
        assert!(message.contains("more than 50000 bytes"), "{message}");
        assert_eq!((results.of.len(), size), (2, 1_004));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn all_results_together_stay_within_the_budget() {
        let sent: Vec<(String, usize)> = (0..20).map(|n| (format!("compiled {n}"), 100_000)).collect();
        let sent: Vec<(&str, usize)> = sent.iter().map(|(line, size)| (line.as_str(), *size)).collect();
        let (results, size) = taken(&sent, &[1 << 20; 20], 350_000).await;
        assert_eq!((results.of.len(), size), (3, 3 * 100_004));
    }
}
