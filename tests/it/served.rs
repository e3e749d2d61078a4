//! Derivations are served as substitutes, straight from the database, to the real `guix substitute`.

use std::collections::BTreeSet;
use std::time::Duration;

use gorget::clock::Clock;
use gorget::config::Listen;
use gorget::db::{Batch, Db, EvaluationWriter, Item, ItemKind, Pack};
use gorget::guix::derivation::Derivation;
use gorget::guix::signature::SigningKey;
use gorget::guix::store_path::StorePath;
use gorget::guix::{base32, nar};
use gorget::sandbox::Process;
use gorget::web::{Listener, Web, serve};
use reqwest::{Client, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::support::daemon::Machine;
use crate::support::guix::Tree;
use crate::support::program::{Farm, text};
use crate::support::{Port, begin, on_both, only_spec, spec};

/// A plain file that refers to another one, and that one as an archive.
fn two_items() -> (StorePath, StorePath, Batch) {
    let archive = nar::of_file(b"source");
    let source = StorePath::of_source(b"source", &Sha256::digest(&archive).into()).unwrap();
    let words = format!("builder of {source}");
    let builder = StorePath::of_text(b"builder", words.as_bytes(), &[source.to_string()]).unwrap();
    let contents = [words.as_bytes(), &archive].concat();
    let item = |path: &StorePath, kind, refs, start: usize, length: usize| Item {
        hash: path.hash_text(),
        name: path.name().to_owned(),
        kind,
        refs,
        start: start as u64,
        length: length as u64,
    };
    let items = vec![
        item(&builder, ItemKind::Text, vec![source.base_name()], 0, words.len()),
        item(&source, ItemKind::Nar, vec![], words.len(), archive.len()),
    ];
    let pack = Pack { contents: zstd::encode_all(&contents[..], 3).unwrap(), items };
    (builder, source, Batch { packs: vec![pack], ..Batch::default() })
}

/// Serves a database with those two items until it is told to stop.
async fn serving(db: &Db, batch: &Batch, key: Option<SigningKey>) -> (String, CancellationToken) {
    let master = only_spec(db, spec("master")).await;
    let mut recorder = EvaluationWriter::new(begin(db, master, "a").await);
    recorder.record(db, batch).await.unwrap();
    recorder.finish(db, false, &json!({}), 200).await.unwrap();
    let listener = Listener::bind(&Listen::Address("127.0.0.1:0".to_owned())).await.unwrap();
    let (url, stop) = (listener.place(), CancellationToken::new());
    let web = Web { key, ..Web::new(db.clone(), Clock::manual(1000)) };
    tokio::spawn(serve(listener, web, stop.clone()));
    (url, stop)
}

#[tokio::test]
async fn what_is_kept_is_described_signed_and_handed_out_as_an_archive() {
    on_both(async |db| {
        let (builder, source, batch) = two_items();
        let key = SigningKey::generate().unwrap();
        let (url, stop) = serving(db, &batch, Some(key)).await;
        let get = async |path: &str| reqwest::get(format!("{url}/{path}")).await.unwrap();
        let info = get("nix-cache-info").await.text().await.unwrap();
        assert_eq!(info, "StoreDir: /gnu/store\nWantMassQuery: 0\nPriority: 100\n");
        for (path, references) in [(&builder, source.base_name()), (&source, String::new())] {
            let info = get(&format!("{}.narinfo", path.hash_text())).await;
            assert_eq!(info.headers()["content-type"], "application/x-nix-narinfo");
            let info = info.text().await.unwrap();
            let field = |name: &str| {
                let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
                line.unwrap_or_else(|| panic!("no {name} in {info}")).to_owned()
            };
            let archive = get(&field("URL")).await;
            assert_eq!(archive.headers()["content-length"], field("NarSize").as_str());
            let archive = archive.bytes().await.unwrap();
            assert_eq!(nar::read(&mut &archive[..], 1 << 20).unwrap(), archive);
            assert_eq!(field("NarHash"), format!("sha256:{}", base32::encode(&Sha256::digest(&archive))));
            assert_eq!(field("StorePath"), path.to_string());
            assert_eq!(field("References"), references);
            assert!(field("Signature").starts_with("1;"), "{info}");
        }
        let words = get(&format!("nar/{}", builder.base_name())).await.bytes().await.unwrap();
        assert_eq!(nar::single_file(&words).unwrap(), format!("builder of {source}").as_bytes());
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn so_are_large_texts_and_derivations() {
    on_both(async |db| {
        let (source, long) = (two_items().1, "long ".repeat(500_000));
        let derivation = format!("Derive([],[],[\"{source}\"],\"s\",\"b\",[\"{long}\"],[])");
        let refs = [source.to_string()];
        let texts = [("long", &long, vec![source.base_name()]), ("x.drv", &derivation, vec![])];
        let mut batch = Batch::default();
        let mut paths = Vec::new();
        for (name, text, refs_kept) in texts {
            let path = StorePath::of_text(name.as_bytes(), text.as_bytes(), &refs).unwrap();
            let (hash, name, length) = (path.hash_text(), name.to_owned(), text.len() as u64);
            let item = Item { hash, name, kind: ItemKind::Text, refs: refs_kept, start: 0, length };
            let contents = zstd::encode_all(text.as_bytes(), 3).unwrap();
            batch.packs.push(Pack { contents, items: vec![item] });
            paths.push((path, nar::of_file(text.as_bytes())));
        }
        let (url, stop) = serving(db, &batch, None).await;
        for (path, nar) in paths {
            let info = reqwest::get(format!("{url}/{}.narinfo", path.hash_text())).await.unwrap();
            let (info, hash) = (info.text().await.unwrap(), base32::encode(&Sha256::digest(&nar)));
            let said = format!(
                "NarHash: sha256:{hash}\nNarSize: {}\nReferences: {}\n",
                nar.len(),
                source.base_name()
            );
            assert!(info.contains(&said), "{info}");
            let answer = reqwest::get(format!("{url}/nar/{}", path.base_name())).await.unwrap();
            assert!(answer.bytes().await.unwrap() == nar, "{path}");
        }
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn what_is_not_kept_and_what_is_no_name_is_not_found() {
    on_both(async |db| {
        let (builder, _, batch) = two_items();
        let (url, stop) = serving(db, &batch, None).await;
        let hash = builder.hash_text();
        let client = Client::new();
        let status = async |path: &str| client.get(format!("{url}/{path}")).send().await.unwrap().status();
        for path in [
            &format!("{}.narinfo", "0".repeat(32))[..],
            &format!("{hash}.narinfo.narinfo"),
            &format!("{}.narinfo", hash.to_uppercase()),
            &format!("{hash}-builder.narinfo"),
            "%27%20or%201=1.narinfo",
            ".narinfo",
            &hash,
            "nar/",
            &format!("nar/{hash}-other-name"),
            &format!("nar/{hash}"),
            "nar/..%2f..%2fetc%2fpasswd",
            "nar/%2e%2e/%2e%2e/etc/passwd",
            "nar/%00",
            "etc/passwd",
        ] {
            assert_eq!(status(path).await, StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(status("%ff.narinfo").await, StatusCode::BAD_REQUEST);
        let info = client.get(format!("{url}/{hash}.narinfo")).send().await.unwrap().text().await.unwrap();
        assert!(!info.contains("Signature"), "there is no key: {info}");
        let deleted = client.delete(format!("{url}/{hash}.narinfo")).send().await.unwrap();
        assert_eq!(deleted.status(), StatusCode::METHOD_NOT_ALLOWED);
        stop.cancel();
    })
    .await;
}

#[tokio::test]
async fn one_connection_serves_many_requests_and_a_head_has_no_body() {
    on_both(async |db| {
        let (builder, _, batch) = two_items();
        let (url, stop) = serving(db, &batch, None).await;
        let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
        let request = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let narinfo = format!("/{}.narinfo", builder.hash_text());
        // All at once, as `guix substitute` does it.
        let requests = [request("HEAD", &narinfo), request("GET", "/x"), request("GET", "/nix-cache-info")];
        stream.write_all(requests.concat().as_bytes()).await.unwrap();
        let mut answers = String::new();
        while !answers.ends_with("Priority: 100\n") {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "{answers}");
            answers.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        let codes: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        assert_eq!(codes, ["200", "404", "200"], "{answers}");
        assert!(!answers.contains("StorePath"), "{answers}");

        stop.cancel();
        let end = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 16])).await;
        assert_eq!(end.unwrap().unwrap(), 0, "an idle connection does not keep it from stopping");
    })
    .await;
}

/// The closure of a derivation, from the database alone.
async fn closure(db: &Db, start: StorePath) -> BTreeSet<String> {
    let mut seen = BTreeSet::from([start.to_string()]);
    let mut waiting = vec![start];
    while let Some(path) = waiting.pop() {
        let item = db.item(&path.hash_text()).await.unwrap().unwrap();
        let mut below: Vec<StorePath> =
            item.refs.iter().map(|name| StorePath::parse_base_name(name.as_bytes()).unwrap()).collect();
        if path.derivation_name().is_some() {
            let derivation = Derivation::parse(&item.contents).unwrap();
            let inputs = derivation.inputs.iter().map(|(path, _)| path).chain(&derivation.sources);
            below.extend(inputs.map(|path| StorePath::parse(path).unwrap()));
        }
        waiting.extend(below.into_iter().filter(|path| seen.insert(path.to_string())));
    }
    seen
}

/// Waits until the farm listens.
async fn until_served(process: &mut Process, connect: impl AsyncFn() -> bool) {
    while !connect().await {
        let ended = tokio::time::timeout(Duration::from_millis(50), process.ended()).await;
        assert!(ended.is_err(), "it ended before it listened");
    }
}

#[tokio::test]
async fn a_real_daemon_that_authorized_the_key_fetches_a_derivation_with_all_it_needs() {
    let channel = Tree::channel("README", "nothing\n");
    let farm = Farm::new(None);
    farm.spec("hello", &format!("build = \"hello\"\n{}", channel.as_channel("own")));
    farm.run_once().await;
    let hello = text(&farm.queue().await[0]["derivation"]);
    let closure = closure(&farm.db().await, StorePath::parse(hello.as_bytes()).unwrap()).await;
    assert!(closure.len() > 300, "{}", closure.len());

    let made = farm.say(&["key", "generate"]).await;
    assert_eq!(made.code, Some(0), "{}", made.talk);
    assert_eq!(farm.say(&["key", "generate"]).await.code, Some(1), "a key is never overwritten");
    let public_key = farm.say(&["key", "show"]).await.data;
    assert_eq!(made.data, public_key);

    let port = Port::free();
    let address = port.address;
    let mut process = farm.start(&["--listen", &address.to_string()]);
    until_served(&mut process, async || TcpStream::connect(address).await.is_ok()).await;
    let program = format!(
        "(use-modules (guix store) (guix derivations))
         (with-store store
           (ensure-path store {hello:?})
           (for-each (lambda (item) (format #t \"~a~%\" item)) (requisites store (list {hello:?})))
           (format #t \"~a~%\" (derivation-name (read-derivation-from-file {hello:?}))))"
    );
    let stranger = Machine::new();
    let finished = stranger.run(&program, &format!("http://{address}")).await;
    assert!(!finished.success(), "it fetched what nobody it knows has signed");

    let machine = Machine::new();
    machine.authorize(&public_key).await;
    let finished = machine.run(&program, &format!("http://{address}")).await;
    process.kill();
    let farm_log = process.finish(Duration::from_secs(10)).await.unwrap().stderr;
    let log = String::from_utf8_lossy(&finished.stderr);
    let told: Vec<&str> = log
        .split(['\r', '\n'])
        .filter(|line| !line.contains("0.0%") && line.trim() != "substitute:")
        .collect();
    assert!(finished.success(), "{}\n{}", told.join("\n"), String::from_utf8_lossy(&farm_log));
    let said = String::from_utf8(finished.stdout).unwrap();
    let mut lines: Vec<&str> = said.lines().collect();
    assert!(lines.pop().unwrap().starts_with("hello-"), "{said}");
    let fetched: BTreeSet<String> = lines.into_iter().map(str::to_owned).collect();
    assert_eq!(fetched, closure);
}

/// libgcrypt writes numbers as strings in which most bytes happen to be characters of Latin-1: 16 of 50,000.
#[tokio::test]
async fn guix_takes_a_signature_with_whatever_numbers() {
    let (builder, _, _) = two_items();
    let key = SigningKey::generate().unwrap();
    let sign = |size| {
        let signed = format!("StorePath: {builder}\nNarHash: sha256:x\nNarSize: {size}\nReferences: \n");
        let signature = key.sign("farm", &signed).unwrap();
        let encoded = signature.rsplit(';').next().unwrap();
        let is_plain = data_encoding::BASE64.decode(encoded.as_bytes()).unwrap().is_ascii();
        (is_plain, format!("{signed}Signature: {signature}\nURL: nar/x\nCompression: none\n"))
    };
    let odd: Vec<String> =
        (0..100_000).map(sign).filter(|(plain, _)| !plain).map(|(_, text)| text).take(5).collect();
    let (_, plain) = sign(0);
    let forged = odd[0].replace("NarSize: ", "NarSize: 1");
    let program = format!(
        "(use-modules (guix narinfo))
         (for-each (lambda (text) (format #t \"~a~%\" (valid-narinfo? (string->narinfo text \"http://x/\"))))
           '({plain:?} {forged:?} {}))",
        odd.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" "),
    );
    let machine = Machine::new();
    machine.authorize(&key.public_text()).await;
    let finished = machine.run(&program, "").await;
    let said = String::from_utf8_lossy(&finished.stdout);
    assert_eq!(said, "#t\n#f\n#t\n#t\n#t\n#t\n#t\n", "{}", String::from_utf8_lossy(&finished.stderr));
}

#[tokio::test]
async fn without_a_word_a_farm_listens_at_a_socket_and_ends_when_it_is_told() {
    let farm = Farm::new(None);
    let mut process = farm.start(&[]);
    let socket = farm.state().join("gorget.sock");
    until_served(&mut process, async || UnixStream::connect(&socket).await.is_ok()).await;
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    stream.write_all(b"GET /nix-cache-info HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200") && answer.contains("StoreDir"), "{answer}");

    let pid = rustix::process::Pid::from_raw(i32::try_from(process.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let finished = process.finish(Duration::from_secs(30)).await.unwrap();
    assert!(finished.success(), "{}", finished.reason());

    // What it left behind is no hindrance.
    let mut again = farm.start(&[]);
    until_served(&mut again, async || UnixStream::connect(&socket).await.is_ok()).await;
}
