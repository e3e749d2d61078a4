//! Remotes that want more than to be fetched: our credentials, our network, our disk, our patience.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gorget::git::{Limits, Mirrors, RemoteError};
use gorget::sandbox::Tool;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::repository::{Remote, Server, noise};
use crate::support::guix::{Tree, manifest};
use crate::support::program::{Farm, text};
use crate::support::siege::peak;
use crate::support::site::{Answer, Site, is_anywhere_in, published};

/// A channel with a manifest of one package, which needs the channel `needed` at `url`.
fn needing(url: &str) -> Tree {
    let channel = Tree::channel("manifest.scm", &manifest(&[("own", "")]));
    let needs = format!("(channel (version 0) (dependencies (channel (name needed) (url {url:?}))))");
    channel.write(".guix-channel", &needs);
    channel
}

fn spec(farm: &Farm, name: &str, channel: &str) {
    farm.spec(name, &format!("build = {{ manifests = [\"manifest.scm\"] }}\n{channel}"));
}

/// A home in which everything that git asks knows the password.
fn home(port: u16, private: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(home.path().join(name), text).unwrap();
    write(".netrc", "machine 127.0.0.1 login farm password s3cret-word\n".to_owned());
    write(".git-credentials", format!("http://farm:s3cret-word@127.0.0.1:{port}\n"));
    let helper = "!echo username=farm; echo password=s3cret-word; #";
    write(
        ".gitconfig",
        format!(
            "[credential]\nhelper = \"{helper}\"\nhelper = store\n[http]\nfollowRedirects = true\n\
             extraHeader = \"X-Secret: s3cret-word\"\n[safe]\ndirectory = *\n\
             [url \"{private}\"]\ninsteadOf = https://decoy.invalid/repository\n"
        ),
    );
    home
}

/// "farm:s3cret-word"
const AUTHORIZATION: &str = "Basic ZmFybTpzM2NyZXQtd29yZA==";

#[tokio::test]
async fn what_another_channel_names_is_not_fetched_with_the_operators_credentials() {
    let private = Tree::channel("manifest.scm", &manifest(&[("private", "")]));
    let marker = private.write("secret.scm", "; deep-s3cret\n");
    published(&private.url()).await;
    let site = Site::of(private.url(), Some(AUTHORIZATION)).await;
    let url = site.url("127.0.0.1");
    let home = home(site.port, &private.url());
    let farm = Farm::new(None);
    farm.configure("[git]\nprivate-hosts = [\"127.0.0.1\"]");
    let (channel, decoy) = (needing(&url), needing("https://decoy.invalid/repository"));
    spec(&farm, "deputy", &channel.as_channel("own"));
    spec(&farm, "decoy", &decoy.as_channel("own"));
    let said = farm.say_at(home.path(), &["run", "--once"]).await;
    assert_eq!(said.code, Some(1), "{}", said.talk);
    for name in ["deputy", "decoy"] {
        let (_, problem) = said.talk.split_once(&format!("{name} is not evaluated: ")).unwrap();
        let reason = problem.lines().nth(1).unwrap();
        assert!(reason.starts_with("channel needed (needed by own)"), "{}", said.talk);
    }
    let asked = site.requests();
    assert!(!asked.is_empty(), "the address is permitted");
    assert!(
        asked.iter().all(|head| !head.contains("uthorization") && !head.contains("Secret")),
        "{asked:#?}"
    );
    assert!(!is_anywhere_in(&farm.state(), marker.as_bytes()), "not even the name of the commit is known");

    // Named by a spec, it is fetched with them; that does not open it for the other.
    let named = format!(
        "[[channel]]\nname = \"private\"\nurl = \"{url}\"\nbranch = \"master\"\nauthenticate = false\n"
    );
    spec(&farm, "named", &named);
    let said = farm.say_at(home.path(), &["run", "--once"]).await;
    assert_eq!(said.code, Some(1), "{}", said.talk);
    let status = farm.status().await;
    let evaluated: Vec<String> =
        status["evaluations"].as_array().unwrap().iter().map(|one| text(&one["spec"])).collect();
    assert_eq!(evaluated, ["named"], "{status:#}");
    assert!(site.requests().iter().any(|head| head.contains(AUTHORIZATION)));
    assert!(!said.talk.contains("s3cret"), "{}", said.talk);
    assert!(!is_anywhere_in(&farm.state(), b"s3cret-word"));
}

#[tokio::test]
async fn what_another_channel_names_leads_neither_here_nor_to_networks_that_only_we_reach() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let redirecting = Site::new(move |_| {
        let there = format!("Location: http://127.0.0.1:{port}/repository/info/refs\r\n");
        Answer::Text("302 Found", there, Vec::new())
    })
    .await;
    let farm = Farm::new(None);
    farm.configure("[git]\nprivate-hosts = [\"127.0.0.2\"]");
    let urls = [
        format!("http://127.0.0.1:{port}/build/abc/cancel?x=y"),
        format!("http://127.0.0.1:{port}/build"),
        format!("http://localhost:{port}/build"),
        format!("http://2130706433:{port}/build"),
        format!("http://127.1:{port}/build"),
        format!("http://0x7f000001:{port}/build"),
        format!("http://0.0.0.0:{port}/build"),
        format!("http://[::ffff:127.0.0.1]:{port}/build"),
        format!("git://127.0.0.1:{port}/build"),
        format!("git://localhost:{port}/build"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://10.0.0.1/x".to_owned(),
        "http://[fd00::1]/x".to_owned(),
        redirecting.url("127.0.0.1"),
    ];
    let channels: Vec<Tree> = urls.iter().map(|url| needing(url)).collect();
    for (number, channel) in channels.iter().enumerate() {
        spec(&farm, &format!("spec-{number}"), &channel.as_channel("own"));
    }
    let talk = farm.run_once_in_trouble().await;
    let status = farm.status().await;
    let holds = status["blocked_specs"].as_array().unwrap();
    assert_eq!(holds.len(), urls.len(), "{talk}");
    for hold in holds {
        let reason = text(&hold["reason"]);
        let refused = ["is not fetched for a channel that needs it", "this URL has a `#` or a `?` in it"];
        assert!(refused.iter().any(|part| reason.contains(part)), "{reason}");
    }
    assert_eq!(status["evaluations"], Value::Array(Vec::new()));
    let contacted = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(contacted.is_err(), "a connection was made");
    assert_eq!(redirecting.requests(), [""; 0]);
}

#[tokio::test]
async fn a_redirect_from_what_another_channel_names_is_not_followed() {
    let secret = Tree::channel("needed.scm", "(define-module (needed))\n");
    published(&secret.url()).await;
    let inside = Site::of(secret.url(), None).await;
    let there = inside.url("127.0.0.1");
    let outside = Site::new(move |head| {
        let there =
            format!("Location: {there}{}\r\n", head.split(' ').nth(1).unwrap().replace("/repository", ""));
        Answer::Text("302 Found", there, Vec::new())
    })
    .await;
    let farm = Farm::new(None);
    farm.configure("[git]\nprivate-hosts = [\"127.0.0.0/8\"]");
    let channel = needing(&outside.url("127.0.0.1"));
    spec(&farm, "own", &channel.as_channel("own"));
    let home = home(inside.port, "/nowhere");
    let said = farm.say_at(home.path(), &["run", "--once"]).await;
    assert_eq!(said.code, Some(1), "{}", said.talk);
    assert!(!outside.requests().is_empty());
    assert_eq!(inside.requests(), [""; 0]);
}

#[tokio::test]
async fn what_the_operator_permits_is_fetched_by_its_name_over_each_protocol() {
    let there = "(define-module (there) #:use-module (guix packages) #:use-module (gnu packages base))\n\
                 (define-public there (package (inherit hello) (name \"there\")))\n";
    let needed = Remote::new();
    needed.push("master", "there.scm", there);
    published(&needed.url()).await;
    let (site, daemon) = (Site::of(needed.url(), None).await, Server::new(&needed).await);
    let over_git = daemon.url.replace("127.0.0.1", "localhost");
    for url in [site.url("localhost"), over_git, needed.url()] {
        let farm = Farm::new(None);
        farm.configure("[git]\nprivate-hosts = [\"localhost\"]");
        let channel = needing(&url);
        channel
            .write("manifest.scm", "(use-modules (guix profiles) (there)) (packages->manifest (list there))");
        spec(&farm, "own", &channel.as_channel("own"));
        farm.run_once().await;
        assert_eq!(farm.queued_by(1).await, ["there-2.12.2"], "{url}");
    }
}

#[tokio::test]
async fn what_git_says_never_shows_a_token() {
    let site = Site::new(|_| {
        let ask = "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned();
        Answer::Text("401 Unauthorized", ask, Vec::new())
    })
    .await;
    let home = tempfile::tempdir().unwrap();
    let rewritten = format!("[url \"http://s3cret-word@127.0.0.1:{}/\"]\n", site.port);
    let config = format!("{rewritten}insteadOf = http://token.invalid/\n");
    std::fs::write(home.path().join(".gitconfig"), config).unwrap();
    let farm = Farm::new(None);
    let url = "http://token.invalid/repository";
    spec(&farm, "own", &format!("[[channel]]\nname = \"own\"\nurl = \"{url}\"\nauthenticate = false\n"));
    let said = farm.say_at(home.path(), &["run", "--once"]).await;
    let status = farm.say(&["status", "--json"]).await.data;
    assert!(!site.requests().is_empty(), "git knows it");
    assert!(said.talk.contains("***@127.0.0.1"), "{}", said.talk);
    assert!(status.contains("***@127.0.0.1"), "{status}");
    assert!(!said.talk.contains("s3cret") && !status.contains("s3cret"), "{}{status}", said.talk);
    assert!(!is_anywhere_in(&farm.state(), b"s3cret"));
}

fn packet(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

/// A server whose only branch is at a commit that comes in a pack without end.
async fn endless() -> Site {
    const COMMIT: &str = "1234567890123456789012345678901234567890";
    let advertised = [
        packet("# service=git-upload-pack\n"),
        "0000".to_owned(),
        packet(&format!("{COMMIT} HEAD\0symref=HEAD:refs/heads/master\n")),
        packet(&format!("{COMMIT} refs/heads/master\n")),
        "0000".to_owned(),
    ];
    let advertised = advertised.concat().into_bytes();
    Site::new(move |head| {
        if head.starts_with("GET") {
            let kind = "Content-Type: application/x-git-upload-pack-advertisement\r\n".to_owned();
            return Answer::Text("200 OK", kind, advertised.clone());
        }
        let start = b"0008NAK\nPACK\0\0\0\x02\0\x02\0\0".to_vec();
        Answer::Endless("application/x-git-upload-pack-result", start, blob(&noise(60_000)))
    })
    .await
}

/// A blob as it stands in a pack, not compressed.
fn blob(content: &[u8]) -> Vec<u8> {
    let mut size = content.len();
    let mut bytes = vec![0xb0 | u8::try_from(size & 15).unwrap()];
    size >>= 4;
    while size > 0 {
        bytes.push(u8::try_from(size & 127).unwrap() | if size > 127 { 128 } else { 0 });
        size >>= 7;
    }
    let length = u16::try_from(content.len()).unwrap();
    bytes.extend_from_slice(&[0x78, 0x01, 0x01]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&(!length).to_le_bytes());
    bytes.extend_from_slice(content);
    let (a, b) = content.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (a + b) % 65521)
    });
    bytes.extend_from_slice(&(b << 16 | a).to_be_bytes());
    bytes
}

/// What a directory takes, in bytes.
fn size(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(
            |entry| if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().unwrap().len() },
        )
        .sum()
}

#[tokio::test]
async fn a_pack_without_end_is_cut_off_and_nothing_is_left_of_it() {
    let site = endless().await;
    let farm = Farm::new(None);
    farm.configure("[git]\nmirror-size = \"30M\"");
    let url = site.url("127.0.0.1");
    spec(&farm, "own", &format!("[[channel]]\nname = \"own\"\nurl = \"{url}\"\nauthenticate = false\n"));
    let talk = farm.run_once_in_trouble().await;
    assert!(talk.contains("sends more than 30 MiB"), "{talk}");
    let status = farm.status().await;
    assert!(text(&status["mirrors"][0]["reason"]).contains("sends more than 30 MiB"), "{status:#}");
    assert_eq!(status["mirrors"][0]["failures"], 1);
    assert!(size(&farm.state().join("mirrors")) < 1 << 20);
}

#[tokio::test]
async fn what_is_there_already_survives_a_pack_without_end_and_the_server_is_left_alone() {
    let (remote, hostile) = (Remote::new(), endless().await);
    let first = remote.push("master", "a", "1");
    published(&remote.url()).await;
    let (repository, is_endless) = (remote.path().to_owned(), Arc::new(AtomicBool::new(false)));
    let (is_endless_now, port) = (Arc::clone(&is_endless), hostile.port);
    let site = Site::new(move |head| {
        if is_endless_now.load(Ordering::Relaxed) {
            let there = format!("Location: http://127.0.0.1:{port}{}\r\n", head.split(' ').nth(1).unwrap());
            return Answer::Text("302 Found", there, Vec::new());
        }
        Answer::File(
            repository.join(head.split([' ', '?']).nth(1).unwrap().trim_start_matches("/repository/")),
        )
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { size: 30 << 20, ..Limits::default() };
    let mirrors = Mirrors::new(directory.path().join("mirrors"), limits);
    let url = site.url("127.0.0.1");
    mirrors.fetch(&url, "master", &first).await.unwrap();
    is_endless.store(true, Ordering::Relaxed);
    let wanted = "1234567890123456789012345678901234567890";
    let error = mirrors.fetch(&url, "master", wanted).await.unwrap_err();
    assert!(matches!(error, RemoteError::TooLarge { .. }), "{error}");
    assert!(size(directory.path()) < 1 << 20, "{}", size(directory.path()));
    mirrors.fetch(&url, "master", &first).await.unwrap();
    let (begun, visits) = (Instant::now(), hostile.requests().len());
    let error = mirrors.fetch(&url, "master", wanted).await.unwrap_err();
    assert!(matches!(error, RemoteError::TooLarge { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(hostile.requests().len(), visits, "it is not asked again so soon");
}

/// So many commits, one after the other, on the branch `master`.
async fn deep(remote: &Remote, commits: usize) {
    let mut text = "blob\nmark :1\ndata 2\nx\n\n".to_owned();
    for number in 0..commits {
        let file = if number == 0 { "M 644 :1 a\n" } else { "" };
        write!(text, "commit refs/heads/master\ncommitter A <a@e> {number} +0000\ndata 1\nx\n{file}\n")
            .unwrap();
    }
    let file = remote.directory.path().join("commits");
    std::fs::write(&file, text).unwrap();
    let import =
        ["-c", "exec git --git-dir \"$0\" fast-import --quiet < \"$1\"", &remote.url()].map(str::to_owned);
    let import = Tool::new("sh").args(import).arg(file);
    let finished = import.spawn().unwrap().finish(Duration::from_mins(2)).await.unwrap();
    assert!(finished.success(), "{}", finished.reason());
}

#[tokio::test]
async fn a_history_of_any_length_takes_no_memory_of_the_program() {
    let remote = Remote::new();
    deep(&remote, 200_000).await;
    let farm = Farm::new(None);
    let url = remote.url();
    spec(&farm, "own", &format!("[[channel]]\nname = \"own\"\nurl = \"{url}\"\nauthenticate = false\n"));
    let mut process = farm.start(&["--role", "schedule"]);
    let asked = |commit: String| {
        move |status: &Value| status["evaluations"][0]["revision"]["channels"][0]["commit"] == commit.as_str()
    };
    let tip = remote.git.refname_to_id("refs/heads/master").unwrap();
    farm.until(&mut process, asked(tip.to_string())).await;
    // Nothing that it has in common with the former one is found before that has come to its beginning.
    remote.set("master", None);
    let other = remote.push("master", "a", "2");
    farm.say(&["poll", "own"]).await;
    farm.until(&mut process, asked(other)).await;
    let said = farm.say(&["pushes", "own", "--json"]).await;
    assert!(said.data.contains("\"force-pushed\""), "{}", said.data);
    let peak = peak(process.id().unwrap()) >> 20;
    assert!(peak < 100, "the program held {peak} MiB");
}

/// Runs git on a repository.
async fn git(arguments: &[&str]) {
    let who = ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"];
    let git = who.iter().fold(Tool::new("git"), |git, name| git.env(*name, "a@example.org"));
    let finished = git.args(arguments).spawn().unwrap().finish(Duration::from_mins(1)).await.unwrap();
    assert!(finished.success(), "{}", finished.reason());
}

#[tokio::test]
async fn a_repository_that_cannot_do_is_told_by_its_kind() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let mirrors = Mirrors::new(path("mirrors"), Limits::default());
    let whole = Remote::new();
    let old = whole.push("main", "a", "1");
    let tip = whole.push("main", "a", "2");
    whole.git.set_head("refs/heads/main").unwrap();
    let shallow = path("shallow");
    git(&["clone", "--quiet", "--bare", "--depth=1", &format!("file://{}", whole.url()), &shallow]).await;
    for commit in [&tip, &old] {
        let error = mirrors.fetch(&shallow, "main", commit).await.unwrap_err();
        assert!(matches!(error, RemoteError::Shallow { .. }), "{error}");
        assert!(error.to_string().contains("git fetch --unshallow"), "{error}");
    }
    let other = path("sha256");
    git(&["init", "--quiet", "--object-format=sha256", "--initial-branch=main", &other]).await;
    git(&["-C", &other, "commit", "--quiet", "--allow-empty", "--message=x"]).await;
    let error = mirrors.tips(&other, &["main"]).await.unwrap_err();
    assert!(error.to_string().contains("SHA-256 hashes, which neither Guix nor Gorget supports"), "{error}");

    let listing = mirrors.tips(&whole.url(), &["master"]).await.unwrap();
    assert_eq!((listing.is_empty, listing.default.as_deref()), (false, Some("main")));
    let error = mirrors.fetch(&whole.url(), "master", &"1".repeat(40)).await.unwrap_err().to_string();
    let expected =
        "has no branch \"master\", which is taken where none is given (its main branch is \"main\")";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_spec_that_names_the_branch_head_is_told_what_to_write() {
    let text = "build = \"hello\"\n[[channel]]\nname = \"own\"\nurl = \"/srv/own\"\nbranch = \"HEAD\"\n";
    let faults = gorget::domain::spec::parse(text, "own").unwrap_err();
    let hint = faults[0].hint.as_deref().unwrap();
    assert!(hint.contains("git ls-remote --symref URL HEAD"), "{hint}");
}
