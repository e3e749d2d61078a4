use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::alive;
use crate::spec::without_credentials;

/// How much of each output stream is kept: the end of it, for that is where the reason stands.
const KEPT_OUTPUT: usize = 1 << 20;

/// A running program with all that it started.
///
/// Its output is always drained, so a program that prints without end neither blocks nor fills
/// memory; the last 1 MiB of each stream is kept.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Option<Pid>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it ended; `None` when its time was over and it was killed.
    pub status: Option<ExitStatus>,
    /// The end of its standard output.
    pub stdout: Vec<u8>,
    /// The end of its standard error.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// Whether it ended by itself, with exit code 0.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// How it ended, in words, with the last lines that it printed on standard error, without the
    /// credentials of the URLs in them.
    pub fn reason(&self) -> String {
        let end = match self.status {
            None => "time limit reached".to_owned(),
            Some(status) => describe_exit(status),
        };
        let text = without_credentials(&String::from_utf8_lossy(&self.stderr));
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(8)..].join("\n");
        if tail.is_empty() { end } else { format!("{tail} ({end})") }
    }
}

/// Says how a program ended.
pub fn describe_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended without a status".to_owned(),
    }
}

impl Process {
    pub(super) fn spawn(
        program: &Path,
        args: &[OsString],
        env: &[(OsString, OsString)],
        directory: Option<&Path>,
    ) -> io::Result<Self> {
        let (mut process, stdout) = Self::spawn_reading(program, args, env, directory)?;
        process.stdout = stdout.map(drain);
        Ok(process)
    }

    /// Leaves it to the caller to read what it prints.
    #[expect(clippy::disallowed_methods, reason = "this is the room that starts processes")]
    pub(super) fn spawn_reading(
        program: &Path,
        args: &[OsString],
        env: &[(OsString, OsString)],
        directory: Option<&Path>,
    ) -> io::Result<(Self, Option<ChildStdout>)> {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .envs(env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(directory) = directory {
            command.current_dir(directory);
        }
        let mut child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("cannot start {}: {error}", program.display()))
        })?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(group) = group {
            alive::add(group, program);
        }
        let stdout = child.stdout.take();
        let stderr = child.stderr.take().map(drain);
        Ok((Self { child, group, stdout: None, stderr }, stdout))
    }

    /// The process id, as long as it has not been waited for.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills the program and everything that it started.
    pub fn kill(&self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Waits until it ends; kills it when `limit` is over. What it printed is handed out once.
    pub async fn finish(&mut self, limit: Duration) -> io::Result<Finished> {
        let status = if let Ok(status) = tokio::time::timeout(limit, self.child.wait()).await {
            Some(status?)
        } else {
            self.kill();
            self.child.wait().await?;
            None
        };
        // What it started may hold its streams open: they die with it.
        self.kill();
        Ok(Finished {
            status,
            stdout: kept(self.stdout.take()).await,
            stderr: kept(self.stderr.take()).await,
        })
    }

    /// Waits until it ends by itself, without taking what it printed.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if let Some(group) = self.group {
            alive::remove(group);
        }
    }
}

async fn kept(stream: Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    match stream {
        Some(stream) => stream.await.unwrap_or_default(),
        None => Vec::new(),
    }
}

fn drain(mut stream: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<Vec<u8>> {
    tokio::spawn(async move {
        let mut kept = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count) = stream.read(&mut buffer).await {
            if count == 0 {
                break;
            }
            kept.extend_from_slice(&buffer[..count]);
            if kept.len() > 2 * KEPT_OUTPUT {
                kept.drain(..kept.len() - KEPT_OUTPUT);
            }
        }
        let excess = kept.len().saturating_sub(KEPT_OUTPUT);
        kept.drain(..excess);
        kept
    })
}
