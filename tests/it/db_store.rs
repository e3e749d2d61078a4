//! Store items come back whole, and the graph of derivations can be walked.

use std::collections::HashSet;

use gorget::db::{Batch, Db, Error, EvaluationId, EvaluationWriter, Item, ItemKind, JobError, Pack, SpecId};
use serde_json::json;

use crate::support::{begin, derivation, hash, job, on_both, only_spec, spec, spec_id};

fn pack(items: &[(&str, &[u8])]) -> Pack {
    let mut start = 0;
    let mut contents = Vec::new();
    let mut list = Vec::new();
    for (word, bytes) in items {
        let length = u64::try_from(bytes.len()).unwrap();
        list.push(Item {
            hash: hash(word),
            name: format!("{word}.drv"),
            kind: if *word == "nar" { ItemKind::Nar } else { ItemKind::Text },
            refs: vec![format!("{}-a", hash("a")), format!("{}-b", hash("b"))],
            start,
            length,
        });
        start += length;
        contents.extend_from_slice(bytes);
    }
    Pack { contents: zstd::encode_all(&contents[..], 3).unwrap(), items: list }
}

#[tokio::test]
async fn store_items_are_kept_once_and_come_back_whole() {
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        let mut recorder = EvaluationWriter::new(begin(db, master, "a").await);
        let everything: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let first = pack(&[("empty", b""), ("nar", &everything), ("last", b"Derive([])")]);
        recorder.record(db, &Batch { packs: vec![first], ..Batch::default() }).await.unwrap();
        let second = pack(&[("last", b"something else"), ("new", b"new")]);
        recorder.record(db, &Batch { packs: vec![second], ..Batch::default() }).await.unwrap();

        let nar = db.item(&hash("nar")).await.unwrap().unwrap();
        assert_eq!((nar.name.as_str(), nar.kind), ("nar.drv", ItemKind::Nar));
        assert_eq!(nar.refs, [format!("{}-a", hash("a")), format!("{}-b", hash("b"))]);
        assert!(nar.contents == everything);
        assert_eq!(db.item(&hash("empty")).await.unwrap().unwrap().contents, b"");
        assert_eq!(db.item(&hash("last")).await.unwrap().unwrap().contents, b"Derive([])");
        assert_eq!(db.item(&hash("new")).await.unwrap().unwrap().contents, b"new");
        assert_eq!(db.item(&hash("other")).await.unwrap(), None);
        let known = db.known_items(&[hash("nar"), hash("other"), hash("new")]).await.unwrap();
        assert_eq!(known, HashSet::from([hash("nar"), hash("new")]));
    })
    .await;
}

/// libc <- gcc <- {hello, emacs <- emacs-next}; vim stands alone, but uses a new gcc later.
async fn evaluate_graph(db: &Db, spec: SpecId, commit: &str, gcc: &str) -> EvaluationId {
    let task = begin(db, spec, commit).await;
    let id = task.id;
    let mut recorder = EvaluationWriter::new(task);
    let named = |name: &str| format!("{name}-{gcc}");
    let libs = Batch {
        derivations: vec![derivation("libc", &[]), derivation(gcc, &["libc"]), derivation("vim", &[])],
        jobs: vec![job("libc", "libc"), job("gcc", gcc)],
        ..Batch::default()
    };
    let users = Batch {
        derivations: vec![
            derivation(&named("hello"), &[gcc, "libc"]),
            derivation(&named("emacs"), &[gcc]),
            derivation(&named("emacs-next"), &[&named("emacs")]),
        ],
        jobs: vec![
            job("hello", &named("hello")),
            job("emacs", &named("emacs")),
            job("emacs-next", &named("emacs-next")),
            job("vim", "vim"),
        ],
        ..Batch::default()
    };
    recorder.record(db, &libs).await.unwrap();
    recorder.record(db, &users).await.unwrap();
    recorder.finish(db, false, &json!({}), 200).await.unwrap();
    id
}

#[tokio::test]
async fn dependents_of_changed_jobs_are_found_through_the_graph() {
    on_both(async |db| {
        let master = only_spec(db, spec("master")).await;
        let first = evaluate_graph(db, master, "a", "gcc1").await;
        let second = evaluate_graph(db, master, "b", "gcc2").await;
        let above_gcc = ["emacs", "emacs-next", "hello"];
        for evaluation in [first, second] {
            let dependents =
                async |changed: &[&str]| db.dependents_among_jobs(evaluation, changed).await.unwrap();
            assert_eq!(dependents(&["gcc"]).await, above_gcc);
            assert_eq!(dependents(&["gcc", "emacs", "vim"]).await, above_gcc, "emacs needs gcc; vim nothing");
            assert_eq!(dependents(&["emacs"]).await, ["emacs-next"]);
            assert_eq!(dependents(&["libc"]).await, ["emacs", "emacs-next", "gcc", "hello"]);
            assert_eq!(dependents(&["vim", "no such job"]).await, [""; 0]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_spec_whose_store_items_take_too_much_adds_no_more_and_others_do() {
    on_both(async |db| {
        db.sync_specs(&[spec("greedy"), spec("modest")]).await.unwrap();
        let contents: Vec<u8> =
            (0..4u32 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[1]).collect();
        let pack = |word: &str| Batch { packs: vec![pack_of(word, &contents)], ..Batch::default() };
        let greedy = begin(db, spec_id(db, "greedy").await, "a").await;
        let mut recorder = EvaluationWriter::new(greedy.clone()).with_quota(6 << 20);
        recorder.record(db, &pack("one")).await.unwrap();
        let error = recorder.record(db, &pack("two")).await.unwrap_err();
        assert!(error.to_string().contains("of greedy added take 4 MiB"), "{error}");
        assert!(error.to_string().contains("hint: ") && !error.is_passing(), "{error}");
        db.fail_evaluation(&greedy, &error.to_string(), 200).await.unwrap();
        // It counts what is there, whoever recorded it.
        let again = begin(db, spec_id(db, "greedy").await, "b").await;
        let mut recorder = EvaluationWriter::new(again.clone()).with_quota(6 << 20);
        assert!(matches!(recorder.record(db, &pack("two")).await, Err(Error::OverQuota { .. })));
        recorder.record(db, &Batch::default()).await.unwrap();
        db.fail_evaluation(&again, "", 200).await.unwrap();
        let modest = begin(db, spec_id(db, "modest").await, "a").await;
        EvaluationWriter::new(modest).with_quota(6 << 20).record(db, &pack("two")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn every_error_of_an_evaluation_is_kept_but_not_all_that_it_says() {
    on_both(async |db| {
        let task = begin(db, only_spec(db, spec("master")).await, "a").await;
        let id = task.id;
        let mut recorder = EvaluationWriter::new(task);
        for number in 0..40 {
            let (name, cause) = (format!("job-{number}"), "exception".to_owned());
            let errors = vec![JobError { name, cause, message: "x".repeat(1 << 20) }];
            recorder.record(db, &Batch { errors, ..Batch::default() }).await.unwrap();
        }
        let errors = db.errors(id).await.unwrap();
        assert_eq!(errors.len(), 40);
        let whole = errors.iter().filter(|error| error.message.len() == 1 << 20).count();
        assert_eq!(whole, 16);
        assert!(errors.iter().any(|error| error.message.starts_with("(omitted: ")));
    })
    .await;
}

fn pack_of(word: &str, contents: &[u8]) -> Pack {
    let (start, length) = (0, contents.len() as u64);
    let item = Item {
        hash: hash(word),
        name: word.to_owned(),
        kind: ItemKind::Text,
        refs: Vec::new(),
        start,
        length,
    };
    Pack { contents: contents.to_owned(), items: vec![item] }
}
