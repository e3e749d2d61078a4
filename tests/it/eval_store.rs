//! The evaluation store, asked by a client that was written by hand, against what Guix itself computes.

use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use gorget::evaluator::runtime::{InstalledGuix, installed_environment};
use gorget::guix::recording_store::{EvalStore, Recording};
use gorget::guix::sexp::Sexp;
use gorget::sandbox::Limits;

use crate::support::guix::guix_root;

const ANSWER: u64 = 0x616c_7473;
const ERROR: u64 = 0x6378_7470;

/// A client of a store daemon.
struct Client(UnixStream);

impl Client {
    /// Connects, speaking version 1.`minor` of the protocol.
    fn greet(store: &EvalStore, minor: u64) -> Self {
        let stream = UnixStream::connect(store.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Self(stream);
        client.say(&0x6e69_7863_u64.to_le_bytes());
        assert_eq!(client.integer(), 0x6478_696f);
        assert_eq!(client.integer() >> 8, 1, "major version");
        for greeting in [0x100 | minor, 0, 0] {
            client.say(&greeting.to_le_bytes());
        }
        assert_eq!(client.integer(), ANSWER);
        client
    }

    fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn integer(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }

    fn string(&mut self) -> String {
        let length = usize::try_from(self.integer()).unwrap();
        let mut bytes = vec![0; length.next_multiple_of(8)];
        self.0.read_exact(&mut bytes).unwrap();
        assert!(bytes[length..].iter().all(|byte| *byte == 0));
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    /// The path that is answered, or the error.
    fn path(&mut self) -> Result<String, String> {
        match self.integer() {
            ANSWER => Ok(self.string()),
            ERROR => {
                let message = self.string();
                assert_eq!(self.integer(), 1);
                Err(message)
            }
            other => panic!("{other:x}"),
        }
    }

    fn add_text(&mut self, name: &str, text: &str, references: &[&str]) -> Result<String, String> {
        let mut request = [8_u64.to_le_bytes().to_vec(), string(name), string(text)].concat();
        request.extend((references.len() as u64).to_le_bytes());
        request.extend(references.iter().flat_map(|reference| string(reference)));
        self.say(&request);
        self.path()
    }

    fn add_nar(&mut self, name: &str, recursive: bool, nar: &[u8]) -> Result<String, String> {
        let mut request = [7_u64.to_le_bytes().to_vec(), string(name)].concat();
        request.extend([1, u64::from(recursive)].iter().flat_map(|number| number.to_le_bytes()));
        request.extend(string("sha256"));
        request.extend(nar);
        self.say(&request);
        self.path()
    }
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes.resize(8 + text.len().next_multiple_of(8), 0);
    bytes
}

fn nar(words: &[&str]) -> Vec<u8> {
    std::iter::once(&"nix-archive-1").chain(words).flat_map(|word| string(word)).collect()
}

/// A directory with a file, a program and a link, and its archive.
fn tree(directory: &std::path::Path) -> Vec<u8> {
    std::fs::write(directory.join("a"), "contents").unwrap();
    std::fs::write(directory.join("b"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(directory.join("b"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../elsewhere", directory.join("c")).unwrap();
    let entry = |name: &'static str, node: &[&'static str]| {
        [&["entry", "(", "name", name, "node", "("][..], node, &[")", ")"]].concat()
    };
    nar(&[
        &["(", "type", "directory"][..],
        &entry("a", &["type", "regular", "contents", "contents"]),
        &entry("b", &["type", "regular", "executable", "", "contents", "#!/bin/sh\n"]),
        &entry("c", &["type", "symlink", "target", "../elsewhere"]),
        &[")"],
    ]
    .concat())
}

/// Runs a script of the real Guix, which sees `tree`; the strings that it prints.
async fn ask_guix(script: &str, tree: &std::path::Path) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let installed = InstalledGuix::probe(&guix_root()).await.unwrap();
    let limits = Limits::sandbox(4 << 30, Duration::from_mins(2));
    let guile = installed_environment(&installed, &[]).unwrap().confine(guix_root(), limits);
    let guile = guile.readable(file.path(), "/gorget/script.scm").readable(tree, "/gorget/tree");
    let mut running = guile.args(["--no-auto-compile", "/gorget/script.scm"]).spawn().unwrap();
    let finished = running.finish(Duration::from_mins(2)).await.unwrap();
    assert!(finished.success(), "{}", finished.reason());
    let text = String::from_utf8(finished.stdout).unwrap();
    text.lines().map(|line| Sexp::read(line).unwrap().string().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_paths_are_those_that_guix_computes() {
    let directory = tempfile::tempdir().unwrap();
    let archive = tree(directory.path());
    let values = ask_guix(include_str!("eval_store.scm"), directory.path()).await;
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let [builder, builder_path, referring, tree_path, flat_path, rest @ ..] = &values[..] else { panic!() };
    let [first, first_path, first_output, second, second_path, second_output] = rest else { panic!() };
    for minor in [0x63, 0x64] {
        let store = EvalStore::start(Recording::new(true, 1 << 20)).unwrap();
        let mut client = Client::greet(&store, minor);
        let early = client.add_text("first.drv", first, &[builder_path]).unwrap_err();
        assert!(early.contains("not in the store of this evaluation"), "{early}");

        assert_eq!(client.add_text("builder", builder, &[]).unwrap(), *builder_path);
        assert_eq!(client.add_text("referring", "x", &[builder_path]).unwrap(), *referring);
        assert_eq!(client.add_nar("tree", true, &archive).unwrap(), *tree_path);
        let flat = nar(&["(", "type", "regular", "contents", "flat\n", ")"]);
        assert_eq!(client.add_nar("flat", false, &flat).unwrap(), *flat_path);
        assert_eq!(client.add_text("first.drv", first, &[builder_path]).unwrap(), *first_path);
        let references = [*first_path, builder_path, tree_path];
        assert_eq!(client.add_text("second.drv", second, &references).unwrap(), *second_path);

        let outputs = |path: &str| store.recording().derivation(path.as_bytes()).unwrap().0[0].1.to_string();
        assert_eq!([outputs(first_path), outputs(second_path)], [*first_output, *second_output]);
        let order: Vec<String> = store.recording().drain().iter().map(|item| item.path.to_string()).collect();
        assert_eq!(order, [*builder_path, referring, tree_path, flat_path, first_path, second_path]);

        for (forged, name, references) in [
            (second.replace(second_output, first_output), "second.drv", &references[..]),
            (second.replace("i686-linux", "x86_64-linux"), "second.drv", &references[..]),
            (second.to_string(), "another.drv", &references[..]),
            (second.to_string(), "second.drv", &references[1..]),
            (format!("{second} "), "second.drv", &references[..]),
        ] {
            client.add_text(name, &forged, references).unwrap_err();
        }
        assert!(store.recording().drain().is_empty());
        // Errors do not end a connection.
        assert_eq!(client.add_text("builder", builder, &[]).unwrap(), *builder_path);
    }
}

#[test]
fn who_breaks_the_protocol_is_cut_off_and_others_are_not() {
    let store = EvalStore::start(Recording::new(false, 1 << 20)).unwrap();
    let mut good = Client::greet(&store, 0x64);
    for rubbish in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64]] {
        let mut bad = UnixStream::connect(store.socket()).unwrap();
        bad.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        bad.write_all(rubbish).unwrap();
        let mut heard = Vec::new();
        let end = bad.read_to_end(&mut heard).map_err(|error| error.kind());
        assert!(matches!(end, Ok(0) | Err(io::ErrorKind::ConnectionReset)), "{end:?} {heard:?}");
    }
    let full = good.add_text("large", &"x".repeat(2 << 20), &[]).unwrap_err();
    assert!(full.contains("more than 1 MiB"), "{full}");
    good.add_text("small", "x", &[]).unwrap();
}
