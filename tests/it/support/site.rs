//! A web server for stories about remotes: it answers as it is told, and remembers who asked for what.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gorget::sandbox::Tool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a request is answered with.
pub enum Answer {
    /// A file, or nothing there.
    File(PathBuf),
    /// This status line, these headers, this text.
    Text(&'static str, String, Vec<u8>),
    /// These bytes, again and again, as fast as they are taken, after this beginning.
    Endless(&'static str, Vec<u8>, Vec<u8>),
    /// Nothing, while the connection stays open.
    Never,
}

/// A server on a port of its own.
pub struct Site {
    pub port: u16,
    /// The heads of all requests.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// Answers each request by what `answer` says of its head.
    pub async fn new(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, heads) = (Arc::new(answer), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, heads) = (Arc::clone(&answer), Arc::clone(&heads));
                tokio::spawn(async move {
                    let Some(head) = head(stream, &heads).await else { return };
                    let _ = reply(head.1, answer(&head.0)).await;
                });
            }
        });
        Self { port, requests }
    }

    /// Serves the files of a repository to whoever comes, or only with this `Authorization`.
    pub async fn of(repository: impl Into<PathBuf>, authorization: Option<&'static str>) -> Self {
        let repository = repository.into();
        Self::new(move |head| {
            let lower = head.to_ascii_lowercase();
            let needed =
                authorization.map(|needed| format!("authorization: {}", needed.to_ascii_lowercase()));
            if needed.is_some_and(|needed| !lower.contains(&needed)) {
                let ask = "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned();
                return Answer::Text("401 Unauthorized", ask, Vec::new());
            }
            Answer::File(repository.join(path(head).trim_start_matches("/repository/")))
        })
        .await
    }

    pub fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/repository", self.port)
    }

    /// The heads of all requests so far; an empty one for a connection without a request.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// The path that a request asks for, without what follows `?`.
pub fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap()
}

async fn head(mut stream: TcpStream, heads: &Mutex<Vec<String>>) -> Option<(String, TcpStream)> {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") && bytes.len() < 64 << 10 {
        let mut buffer = [0; 4096];
        match tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer)).await {
            Ok(Ok(count @ 1..)) => bytes.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    heads.lock().unwrap().push(head.clone());
    (!head.is_empty()).then_some((head, stream))
}

async fn reply(mut stream: TcpStream, answer: Answer) -> std::io::Result<()> {
    let (status, headers, body) = match answer {
        Answer::File(path) => match std::fs::read(path) {
            Ok(body) => ("200 OK", String::new(), body),
            Err(_) => ("404 Not Found", String::new(), Vec::new()),
        },
        Answer::Text(status, headers, body) => (status, headers, body),
        Answer::Never => return std::future::pending().await,
        Answer::Endless(content_type, start, more) => {
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {content_type}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&start).await?;
            loop {
                stream.write_all(&more).await?;
            }
        }
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}

/// Whether any file below `directory` holds these bytes.
pub fn is_anywhere_in(directory: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            return is_anywhere_in(&entry.path(), bytes);
        }
        let content =
            if kind.is_file() { std::fs::read(entry.path()).unwrap_or_default() } else { Vec::new() };
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

/// Makes the files of a repository ready for a plain web server.
pub async fn published(repository: &str) {
    let git = Tool::new("git").args(["--git-dir", repository, "update-server-info"]);
    assert!(git.spawn().unwrap().finish(Duration::from_mins(1)).await.unwrap().success());
}
