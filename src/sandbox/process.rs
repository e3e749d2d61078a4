use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::task::JoinHandle;

use super::alive;
use super::cgroup::Cgroup;
use super::limits::{Exceeded, Limits};
use super::measure::{Measured, children, measure_tree};
use super::unaccounted_memory;
use super::watch::Watch;
use crate::domain::spec::without_credentials;

/// A running program with all its descendants.
///
/// Its output is always drained, so a program that prints without end neither blocks nor fills
/// memory; the end of each stream is kept.
#[derive(Debug)]
pub struct Process {
    child: Child,
    limits: Limits,
    watch: Watch,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

/// The result of a program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit status; `None` if it was killed because its time was over.
    pub status: Option<ExitStatus>,
    /// The limit for which it was killed.
    pub exceeded: Option<Exceeded>,
    /// The end of its standard output.
    pub stdout: Vec<u8>,
    /// The end of its standard error.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// Whether it exited with code 0.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Describes how it ended, with the last lines of its standard error. Credentials in URLs are
    /// removed.
    pub fn reason(&self) -> String {
        let end = match (self.exceeded, self.status) {
            (Some(exceeded), _) => exceeded.to_string(),
            (None, Some(status)) => describe_exit(status),
            (None, None) => "time limit reached".to_owned(),
        };
        let text = without_credentials(&String::from_utf8_lossy(&self.stderr));
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(8)..].join("\n");
        if tail.is_empty() { end } else { format!("{tail} ({end})") }
    }
}

/// Describes an exit status.
pub fn describe_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended without a status".to_owned(),
    }
}

impl Process {
    /// Enforces `limits` on a program from now on. `is_confined`: it is a sandbox.
    pub(super) fn watched(
        mut child: Child,
        limits: Limits,
        cgroup: Option<Cgroup>,
        is_confined: bool,
    ) -> io::Result<Self> {
        let pid = child.id().ok_or_else(|| io::Error::other("it has ended already"))?;
        let stdout = child.stdout.take().map(|stream| drain(stream, limits.output));
        let stderr = child.stderr.take().map(|stream| drain(stream, limits.output));
        let watch = Watch::start(pid, limits, cgroup, is_confined)?;
        Ok(Self { child, limits, watch, stdout, stderr })
    }

    /// The process id, until the program has been waited for.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills the program and all its descendants.
    pub fn kill(&self) {
        self.watch.kill();
    }

    /// Restarts the count of wall clock and CPU time.
    pub fn renew(&self) {
        self.watch.renew();
    }

    /// The processes inside a sandbox, parents before their children.
    pub fn processes_inside(&self) -> Vec<Measured> {
        // The first two processes are bubblewrap's own.
        self.child
            .id()
            .map_or_else(Vec::new, |outermost| measure_tree(outermost).into_iter().skip(2).collect())
    }

    /// The memory of a sandbox that is charged to none of its processes, in bytes.
    pub fn unaccounted_memory(&self) -> u64 {
        self.init().and_then(|init| unaccounted_memory::bytes(init, self.limits.writable)).unwrap_or(0)
    }

    /// Removes all files that a sandbox has written.
    pub async fn remove_files(&self) {
        let Some(init) = self.init() else { return };
        let size = self.limits.writable;
        // A failure means that the sandbox has ended.
        let _ = tokio::task::spawn_blocking(move || unaccounted_memory::remove_files(init, size)).await;
    }

    /// The first process inside a sandbox.
    fn init(&self) -> Option<u32> {
        children(self.child.id()?).first().copied()
    }

    /// How often the kernel has killed in it for lack of memory; 0 where that cannot be read.
    pub fn out_of_memory(&self) -> u64 {
        self.watch.cgroup().and_then(Cgroup::out_of_memory).unwrap_or(0)
    }

    /// Waits until it ends, or kills it after `limit`. Returns its output, which is available only
    /// once.
    pub async fn finish(&mut self, limit: Duration) -> io::Result<Finished> {
        let status = if let Ok(status) = tokio::time::timeout(limit, self.child.wait()).await {
            Some(status?)
        } else {
            self.watch.out_of_time(limit);
            self.kill();
            self.child.wait().await?;
            None
        };
        let exceeded = self.watch.exceeded();
        let status = status.filter(|_| !matches!(exceeded, Some(Exceeded::Wall(_))));
        // A descendant may still hold the streams open: kill them all.
        self.kill();
        Ok(Finished {
            status,
            exceeded,
            stdout: kept(self.stdout.take()).await,
            stderr: kept(self.stderr.take()).await,
        })
    }

    /// Waits until it ends by itself. Leaves its output for [`Process::finish`].
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        alive::remove(self.watch.pid());
    }
}

async fn kept(stream: Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    match stream {
        Some(stream) => stream.await.unwrap_or_default(),
        None => Vec::new(),
    }
}

fn drain(mut stream: impl AsyncRead + Unpin + Send + 'static, most: usize) -> JoinHandle<Vec<u8>> {
    tokio::spawn(async move {
        let mut kept = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count) = stream.read(&mut buffer).await {
            if count == 0 {
                break;
            }
            kept.extend_from_slice(&buffer[..count]);
            if kept.len() > 2 * most {
                kept.drain(..kept.len() - most);
            }
        }
        let excess = kept.len().saturating_sub(most);
        kept.drain(..excess);
        kept
    })
}
