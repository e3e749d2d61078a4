//! Forges report pushes. What they say is only a reason to look.

use std::time::{Duration, Instant};

use data_encoding::{BASE64, HEXLOWER};
use gorget::clock::Clock;
use gorget::config::HookKind;
use gorget::db::Db;
use gorget::web::{Hook, Web};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::pages::serve_web;
use crate::support::guix::{Tree, manifest};
use crate::support::program::Farm;
use crate::support::{Port, on_both};

const PLAIN: &str = "a secret that nobody guesses";
const OLD: &str = "the secret from before, which still counts";
const KEY: &[u8] = b"the bytes of a secret of Standard Webhooks";
const REPOSITORY: &str = "https://git.example.org/Guix/guix.git";
const LARGEST: usize = 5 << 20;

fn kinds() -> [(&'static str, HookKind); 5] {
    [
        ("forgejo", HookKind::Forgejo),
        ("gitea", HookKind::Forgejo),
        ("github", HookKind::Github),
        ("gitlab", HookKind::Gitlab),
        ("standard", HookKind::Standard),
    ]
}

fn mac(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

/// What a forge says when `branch` was pushed to.
fn push(forge: &str, url: &str, branch: &str) -> Vec<u8> {
    let reference = format!("refs/heads/{branch}");
    let lies = json!({ "after": "0123", "commits": [{ "id": "0123", "author": { "name": "nobody" } }] });
    let message = match forge {
        "gitlab" => json!({ "object_kind": "push", "ref": reference, "lies": lies,
            "project": { "git_http_url": url, "git_ssh_url": "git@elsewhere:x.git", "path_with_namespace": "x/y" } }),
        "standard" => json!({ "repository": url, "branch": branch }),
        _ => json!({ "ref": reference, "lies": lies,
            "repository": { "full_name": "x/y", "clone_url": url, "ssh_url": "git@elsewhere:x.git" } }),
    };
    message.to_string().into_bytes()
}

/// How a forge signs a body, at a time, as the delivery `id`.
fn headers(forge: &str, secret: &str, id: &str, at: i64, body: &[u8]) -> Vec<(&'static str, String)> {
    let hex = || HEXLOWER.encode(&mac(secret.as_bytes(), body));
    match forge {
        "forgejo" => vec![
            ("x-forgejo-event", "push".to_owned()),
            ("x-forgejo-delivery", id.to_owned()),
            ("x-forgejo-signature", hex()),
        ],
        "gitea" => vec![
            ("x-gitea-event", "push".to_owned()),
            ("x-gitea-delivery", id.to_owned()),
            ("x-gitea-signature", hex()),
        ],
        "github" => vec![
            ("x-github-event", "push".to_owned()),
            ("x-github-delivery", id.to_owned()),
            ("x-hub-signature-256", format!("sha256={}", hex())),
        ],
        _ => {
            let signed = [format!("{id}.{at}.").as_bytes(), body].concat();
            let signature = format!("v1,{}", BASE64.encode(&mac(KEY, &signed)));
            vec![
                ("webhook-id", id.to_owned()),
                ("webhook-timestamp", at.to_string()),
                ("webhook-signature", signature),
            ]
        }
    }
}

struct Sender {
    client: Client,
    url: String,
    _secrets: TempDir,
}

impl Sender {
    /// Webhooks of all kinds before a database that watches two branches and a pattern.
    async fn new(db: &Db, clock: &Clock) -> Self {
        db.ensure_branches(REPOSITORY, &["master", "core", "wip-*"]).await.unwrap();
        db.ensure_branches("https://git.example.org/guix/guix", &["master"]).await.unwrap();
        let secrets = tempfile::tempdir().unwrap();
        let hooks = kinds().map(|(name, kind)| {
            let file = secrets.path().join(name);
            let key = format!("whsec_{}\n", BASE64.encode(KEY));
            let plain = if name == "standard" { String::new() } else { format!("{OLD}\n{PLAIN}\n") };
            std::fs::write(&file, plain + &key).unwrap();
            Hook::load(name, kind, &file).unwrap()
        });
        let web = Web { hooks: hooks.into(), ..Web::new(db.clone(), clock.clone()) };
        Self { client: Client::new(), url: serve_web(web).await.0, _secrets: secrets }
    }

    fn request(&self, forge: &str, headers: &[(&'static str, String)], body: Vec<u8>) -> RequestBuilder {
        let request = self.client.post(format!("{}/hooks/{forge}", self.url)).body(body);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, value))
    }

    async fn send(&self, forge: &str, headers: &[(&'static str, String)], body: &[u8]) -> (u16, String) {
        let answer = self.request(forge, headers, body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

/// The branches whose polls were requested, with the time, and what the audit log says of that.
async fn requested(db: &Db) -> (Vec<(String, String, i64)>, Vec<String>) {
    let branches = db.branches().await.unwrap().into_iter();
    let branches = branches.filter_map(|one| Some((one.url, one.name, one.requested_at?)));
    let audit = db.audit(None, 100).await.unwrap();
    let audit = audit.iter().map(|one| format!("{} {} {}", one.author, one.action, one.subject));
    (branches.collect(), audit.collect())
}

#[tokio::test]
async fn what_is_signed_polls_one_branch_once_and_what_is_not_changes_nothing() {
    on_both(async |db| {
        let clock = Clock::manual(1000);
        let sender = Sender::new(db, &clock).await;
        for (forge, _) in kinds() {
            clock.advance(1000);
            let (now, before) = (clock.now(), requested(db).await.1.len());
            let body = push(forge, "https://Git.example.org/Guix/guix/", "master");
            let right = headers(forge, PLAIN, "one", now, &body);

            // Any flipped bit makes it wrong.
            for place in (0..body.len() * 8).step_by(41) {
                let mut flipped = body.clone();
                flipped[place / 8] ^= 1 << (place % 8);
                assert_eq!(sender.send(forge, &right, &flipped).await.0, 401, "{forge}: bit {place}");
            }
            for (name, value) in right.iter().filter(|(name, _)| name.contains("signature")) {
                let start = value.find([',', '=']).filter(|at| *at < 8).map_or(0, |at| at + 1);
                for place in (start..start + 40).step_by(3) {
                    let mut wrong = value.clone().into_bytes();
                    wrong[place] = if wrong[place] == b'0' { b'1' } else { b'0' };
                    let wrong = String::from_utf8(wrong).unwrap();
                    let mut all = right.clone();
                    all.iter_mut()
                        .filter(|(other, _)| other == name)
                        .for_each(|one| one.1.clone_from(&wrong));
                    assert_eq!(sender.send(forge, &all, &body).await.0, 401, "{forge}: {wrong}");
                }
            }
            let unsigned: Vec<_> =
                right.iter().filter(|(name, _)| !name.contains("signature")).cloned().collect();
            let (status, answer) = sender.send(forge, &unsigned, &body).await;
            assert_eq!(status, 401);
            assert!(!answer.contains("example"), "{answer}");
            assert_eq!(requested(db).await.1.len(), before, "{forge}");

            let (status, answer) = sender.send(forge, &right, &body).await;
            assert_eq!(status, 202, "{answer}");
            let (branches, audit) = requested(db).await;
            assert_eq!(branches, [(REPOSITORY.to_owned(), "master".to_owned(), now)], "only that one");
            assert_eq!(audit[0], format!("hook:{forge} poll master of {REPOSITORY}"));
            assert_eq!(audit.len(), before + 1);

            clock.advance(60);
            assert_eq!(sender.send(forge, &right, &body).await.0, 200, "it is known already");
            assert_eq!(requested(db).await, (branches, audit), "{forge}");
            // Six minutes later, only a signature without a time still counts.
            clock.advance(300);
            let expected = if ["gitlab", "standard"].contains(&forge) { 401 } else { 200 };
            assert_eq!(sender.send(forge, &right, &body).await.0, expected, "{forge}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_sender_with_a_secret_cannot_do_more_than_have_known_branches_polled() {
    on_both(async |db| {
        let clock = Clock::manual(1000);
        let sender = Sender::new(db, &clock).await;
        let mut number = 0;
        let mut send = async |forge: &str, event: Option<&str>, body: &[u8]| {
            number += 1;
            clock.advance(1);
            let mut all = headers(forge, OLD, &format!("delivery {number}"), clock.now(), body);
            if let Some(event) = event {
                all[0].1 = event.to_owned();
            }
            sender.send(forge, &all, body).await
        };
        for (forge, _) in kinds() {
            let (status, answer) =
                send(forge, None, &push(forge, "https://evil.example.org/x", "master")).await;
            assert_eq!(status, 404);
            assert!(!answer.contains("git.example.org"), "{answer}");
            assert_eq!(send(forge, None, &push(forge, REPOSITORY, "unwatched")).await.0, 202);
            for wrong in ["", "{}", "[", "{\"ref\": 1}", "payload=%7B%7D"] {
                let (status, answer) = send(forge, None, wrong.as_bytes()).await;
                assert!([204, 400].contains(&status), "{forge}: {wrong}: {answer}");
            }
        }
        let tag = json!({ "ref": "refs/tags/master", "repository": { "clone_url": REPOSITORY } }).to_string();
        assert_eq!(send("forgejo", None, tag.as_bytes()).await.0, 204);
        assert_eq!(send("github", Some("ping"), b"{\"zen\": \"\"}").await.0, 204);
        assert_eq!(requested(db).await, (Vec::new(), Vec::new()));

        // A branch that is new is for the pattern to find.
        let created =
            json!({ "ref": "wip-x", "ref_type": "branch", "repository": { "clone_url": REPOSITORY } });
        assert_eq!(send("forgejo", Some("create"), created.to_string().as_bytes()).await.0, 202);
        let (branches, _) = requested(db).await;
        assert_eq!(branches, [(REPOSITORY.to_owned(), "wip-*".to_owned(), clock.now())]);

        // An older GitLab sends its secret as it is.
        let body = push("gitlab", REPOSITORY, "core");
        let plain =
            |secret: &str| vec![("x-gitlab-token", secret.to_owned()), ("idempotency-key", "k".to_owned())];
        assert_eq!(sender.send("gitlab", &plain("another secret, as long"), &body).await.0, 401);
        assert_eq!(sender.send("gitlab", &plain(PLAIN), &body).await.0, 202);
        assert_eq!(sender.send("gitlab", &plain(PLAIN), &body).await.0, 200);
        let mut both = plain(PLAIN);
        both.push(("webhook-signature", "v1,AAAA".to_owned()));
        assert_eq!(sender.send("gitlab", &both, &body).await.0, 401, "a wrong signature is no missing one");
        assert_eq!(sender.send("nowhere", &plain(PLAIN), &body).await.0, 404);
    })
    .await;
}

#[tokio::test]
async fn large_and_frequent_deliveries_are_refused() {
    on_both(async |db| {
        let clock = Clock::manual(1000);
        let sender = Sender::new(db, &clock).await;
        let mut body = push("forgejo", REPOSITORY, "master");
        body.resize(LARGEST, b' ');
        let right = headers("forgejo", PLAIN, "large", 1000, &body);
        let (status, answer) = sender.send("forgejo", &right, &body).await;
        assert_eq!(status, 202, "{answer}");
        body.push(b' ');
        let right = headers("forgejo", PLAIN, "larger", 1000, &body);
        let answer = sender.request("forgejo", &right, body.clone()).send().await;
        // The server may close the connection while the body is still being sent.
        assert!(answer.is_err() || answer.unwrap().status() == 413);
        assert_eq!(requested(db).await.1.len(), 1);

        clock.advance(1);
        let body = push("github", REPOSITORY, "master");
        let mut statuses = Vec::new();
        for number in 0..12 {
            let right = headers("github", PLAIN, &number.to_string(), 0, &body);
            statuses.push(sender.send("github", &right, &body).await.0);
        }
        assert_eq!(statuses, [[202; 6], [202, 202, 202, 202, 429, 429]].concat());
        clock.advance(1);
        let right = headers("github", PLAIN, "11", 0, &body);
        assert_eq!(sender.send("github", &right, &body).await.0, 202, "what was refused may be sent again");
    })
    .await;
}

#[tokio::test]
async fn who_sends_slowly_or_signs_nothing_keeps_no_push_out() {
    on_both(async |db| {
        let clock = Clock::manual(1000);
        let sender = Sender::new(db, &clock).await;
        let connect = async |header: &str, sent: usize| {
            let mut stream = TcpStream::connect(sender.url.trim_start_matches("http://")).await.unwrap();
            let head =
                format!("POST /hooks/github HTTP/1.1\r\nhost: x\r\n{header}content-length: 4194304\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&vec![b' '; sent]).await.unwrap();
            stream
        };
        let mut slow = Vec::new();
        for sent in [0; 10].into_iter().chain([300 << 10; 10]) {
            slow.push(connect("x-hub-signature-256: sha256=00\r\n", sent).await);
        }
        let begun = Instant::now();
        let mut answer = [0; 12];
        connect("", 0).await.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 401", "without its body");
        let body = push("github", REPOSITORY, "master");
        let right = headers("github", PLAIN, "one", 0, &body);
        assert_eq!(sender.send("github", &right, &body).await.0, 202);
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    })
    .await;
}

#[tokio::test]
async fn a_push_is_evaluated_although_the_next_poll_is_a_day_away() {
    let channel = Tree::channel("manifest.scm", &manifest(&[("one", "")]));
    let farm = Farm::new(None);
    let build = "build = { manifests = [\"manifest.scm\"] }\nevery = \"1d\"";
    farm.spec("small", &format!("{build}\n{}", channel.as_channel("own")));
    farm.configure("[hooks.forge]\nkind = \"forgejo\"\nsecret = \"hook-forge\"");
    std::fs::create_dir_all(farm.state()).unwrap();
    std::fs::write(farm.state().join("hook-forge"), "short\n").unwrap();
    let said = farm.say(&["run"]).await;
    assert!(said.code == Some(2) && said.talk.contains("at least 16 characters"), "{}", said.talk);
    std::fs::write(farm.state().join("hook-forge"), format!("{PLAIN}\n")).unwrap();
    farm.configure("[hooks.own]\nkind = \"standard\"\nsecret = \"hook-own\"");
    for wrong in [PLAIN, "whsec_no base64, as it has blanks", "whsec_c2hvcnQga2V5"] {
        std::fs::write(farm.state().join("hook-own"), format!("whsec_{}\n{wrong}\n", BASE64.encode(KEY)))
            .unwrap();
        let said = farm.say(&["run"]).await;
        assert!(said.code == Some(2) && said.talk.contains("echo whsec_$("), "{wrong}: {}", said.talk);
    }
    std::fs::write(farm.state().join("hook-own"), format!("whsec_{}\n", BASE64.encode(KEY))).unwrap();

    let port = Port::free();
    let mut process = farm.start(&["--listen", &port.address.to_string()]);
    farm.until(&mut process, |status| status["evaluations"][0]["state"] == "complete").await;
    let commit = channel.write("manifest.scm", &manifest(&[("one", ""), ("two", "")]));
    let body = push("forgejo", &channel.url(), "master");
    let url = format!("http://{}/hooks/forge", port.address);
    let request = headers("forgejo", PLAIN, "1", 0, &body)
        .into_iter()
        .fold(Client::new().post(url).body(body), |request, (name, value)| request.header(name, value));
    let (answer, begun) = (request.send().await.unwrap(), Instant::now());
    assert_eq!(answer.status(), 202);
    assert!(answer.json::<Value>().await.unwrap()["delivery"].is_i64());
    let of_push =
        |one: &Value| one["state"] == "complete" && one["revision"]["channels"][0]["commit"] == *commit;
    farm.until(&mut process, |status| status["evaluations"].as_array().unwrap().iter().any(of_push)).await;
    assert!(begun.elapsed() < Duration::from_mins(5), "{:?}", begun.elapsed());
    let audit = farm.say(&["audit"]).await.data;
    assert!(audit.contains("hook:forge"), "{audit}");
    process.kill();
}
