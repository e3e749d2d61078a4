//! Branches move, vanish, and cannot be reached; mirrors fall behind.

use gorget::db::{
    BlockKind, Branch, BranchProblem, BranchState, Db, GONE_AFTER, MirrorProblem, NewBlock, PollResult,
    PushId, PushKind,
};

use crate::support::{author, on_both, only_spec, spec};

const URL: &str = "https://example.org/guix.git";

/// The branch called `name`, made known if it is not.
async fn branch(db: &Db, name: &str) -> Branch {
    db.ensure_branches(URL, &[name]).await.unwrap();
    db.branches().await.unwrap().into_iter().find(|branch| branch.name == name).unwrap()
}

async fn look(db: &Db, name: &str, seen: BranchState, now: i64) -> u64 {
    let branch = branch(db, name).await.id;
    db.record_polls(&[PollResult { branch, seen, next_poll: now + 10 }], now).await.unwrap()
}

fn at(commit: &str) -> BranchState {
    BranchState::At(commit.to_owned())
}

#[tokio::test]
async fn a_branch_moves_vanishes_and_comes_back() {
    on_both(async |db| {
        let master = branch(db, "master").await.id;
        let other = branch(db, "staging").await.id;
        assert_eq!(db.branches().await.unwrap().len(), 2);

        assert_eq!(look(db, "master", at("a"), 10).await, 1, "seen for the first time");
        assert_eq!(look(db, "master", at("a"), 20).await, 0, "nothing new");
        assert_eq!(look(db, "master", at("b"), 30).await, 1);
        let unreachable = BranchState::Unreachable("no route".to_owned());
        look(db, "master", unreachable.clone(), 40).await;
        assert_eq!(look(db, "master", unreachable.clone(), 50).await, 0);
        let master_now = branch(db, "master").await;
        let known = (master_now.tip.as_deref(), master_now.failures, master_now.next_poll);
        assert_eq!(known, (Some("b"), 2, 60));
        assert_eq!(master_now.problem, Some(BranchProblem::Unreachable));
        assert_eq!(master_now.reason.as_deref(), Some("no route"));

        let missing = BranchState::Missing("no branch `master`".to_owned());
        assert_eq!(look(db, "master", missing.clone(), 60).await, 0, "it may be a slip");
        assert_eq!(look(db, "master", unreachable, 70).await, 0);
        assert_eq!(look(db, "master", missing.clone(), 59 + GONE_AFTER).await, 0);
        let master_now = branch(db, "master").await;
        assert_eq!((master_now.missing_since, master_now.tip.as_deref()), (Some(60), Some("b")));
        assert_eq!(look(db, "master", missing.clone(), 60 + GONE_AFTER).await, 1);
        assert_eq!(look(db, "master", missing.clone(), 80 + GONE_AFTER).await, 0);
        let master_now = branch(db, "master").await;
        assert_eq!((master_now.problem, master_now.tip.as_deref()), (Some(BranchProblem::Missing), None));

        assert_eq!(look(db, "master", at("b"), 490).await, 1, "it is back");
        let master_now = branch(db, "master").await;
        assert_eq!((master_now.problem, &master_now.reason, master_now.failures), (None, &None, 0));
        assert_eq!(look(db, "master", missing, 900).await, 0, "from the beginning");
        assert_eq!(look(db, "master", at("a"), 1000).await, 1);

        let pushes = db.pushes(master, 10).await.unwrap();
        let moves: Vec<_> =
            pushes.iter().map(|p| (p.before.as_deref(), p.after.as_deref(), p.kind, p.seen_at)).collect();
        let expected = [
            (Some("b"), Some("a"), Some(PushKind::Returned), 1000),
            (None, Some("b"), Some(PushKind::Created), 490),
            (Some("b"), None, Some(PushKind::Deleted), 60 + GONE_AFTER),
            (Some("a"), Some("b"), None, 30),
            (None, Some("a"), Some(PushKind::Created), 10),
        ];
        assert_eq!(moves, expected);
        assert_eq!(db.pushes(master, 1).await.unwrap().len(), 1);
        assert_eq!(db.pushes(other, 10).await.unwrap(), []);

        let [unnamed] = &db.unnamed_pushes(URL, "master").await.unwrap()[..] else { panic!() };
        db.name_push(unnamed.id, PushKind::Forward).await.unwrap();
        assert_eq!(db.unnamed_pushes(URL, "master").await.unwrap(), []);
        assert_eq!(db.pushes(master, 10).await.unwrap()[3].kind, Some(PushKind::Forward));
    })
    .await;
}

#[tokio::test]
async fn a_thousand_branches_are_recorded_at_once() {
    on_both(async |db| {
        let names: Vec<String> = (0..1000).map(|number| format!("é'\"{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        db.ensure_branches(URL, &names).await.unwrap();
        db.ensure_branches(URL, &names).await.unwrap();
        let branches = db.branches().await.unwrap();
        let looks: Vec<PollResult> = branches
            .iter()
            .map(|branch| PollResult { branch: branch.id, seen: at(&branch.name), next_poll: 20 })
            .collect();
        assert_eq!(db.record_polls(&looks, 10).await.unwrap(), 1000);
        assert_eq!(db.record_polls(&looks, 20).await.unwrap(), 0);
        let branches = db.branches().await.unwrap();
        assert!(branches.iter().all(|branch| branch.tip.as_deref() == Some(&branch.name)));
        assert_eq!(branches.len(), 1000);
    })
    .await;
}

#[tokio::test]
async fn what_was_acknowledged_counts_until_something_newer_is_trusted() {
    on_both(async |db| {
        look(db, "master", at("a"), 10).await;
        assert_eq!(db.trust(URL, "master").await.unwrap(), None);
        db.record_trusted(URL, "master", "a").await.unwrap();
        look(db, "master", at("b"), 20).await;
        let trust = db.trust(URL, "master").await.unwrap().unwrap();
        assert_eq!(trust.bases, ["a"]);

        assert_eq!(
            db.acknowledge_push(PushId(trust.push.unwrap().0 + 1), &author(), 25).await.unwrap(),
            None
        );
        let push = db.acknowledge_push(trust.push.unwrap(), &author(), 30).await.unwrap().unwrap();
        assert_eq!((push.after.as_deref(), push.acknowledged_at), (Some("b"), Some(30)));
        assert_eq!(db.trust(URL, "master").await.unwrap().unwrap().bases, ["b", "a"]);
        db.record_trusted(URL, "master", "b").await.unwrap();
        assert_eq!(db.trust(URL, "master").await.unwrap().unwrap().bases, ["b"]);
        look(db, "master", at("a"), 40).await;
        look(db, "master", at("b"), 50).await;
        assert_eq!(db.trust(URL, "master").await.unwrap().unwrap().bases, ["b"], "it was for one push");
    })
    .await;
}

#[tokio::test]
async fn a_hold_lasts_until_the_spec_wants_something_else_or_is_released() {
    on_both(async |db| {
        let spec = only_spec(db, spec("master")).await;
        let block = |target, kind| NewBlock { target, kind, reason: "why", push: None, next_attempt: 99 };
        db.block_spec(spec, &block("x", BlockKind::Bad), 10).await.unwrap();
        db.block_spec(spec, &block("x", BlockKind::Unknown), 20).await.unwrap();
        let [found] = &db.blocked_specs().await.unwrap()[..] else { panic!() };
        assert_eq!(
            (found.kind, found.since, found.failures, found.spec.as_str()),
            (BlockKind::Unknown, 10, 2, "master")
        );
        db.block_spec(spec, &block("y", BlockKind::Rollback), 30).await.unwrap();
        let [found] = &db.blocked_specs().await.unwrap()[..] else { panic!() };
        assert_eq!((found.since, found.failures, found.next_attempt), (30, 1, 99));
        look(db, "master", at("a"), 40).await;
        db.acknowledge_push(PushId(1), &author(), 50).await.unwrap();
        assert_eq!(db.blocked_specs().await.unwrap()[0].next_attempt, 0, "it is tried again at once");
        db.unblock_spec(spec).await.unwrap();
        assert_eq!(db.blocked_specs().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_mirror_remembers_what_went_wrong_until_it_goes_right() {
    on_both(async |db| {
        let url = "https://example.org/guix.git";
        assert_eq!(db.mirror(url).await.unwrap(), None);
        db.record_fetch(url, 5).await.unwrap();
        db.record_fetch_failure(url, MirrorProblem::Failed, "timed out", 10, 20).await.unwrap();
        db.record_fetch_failure(url, MirrorProblem::Missing, "no commit abc", 20, 40).await.unwrap();
        let mirror = db.mirror(url).await.unwrap().unwrap();
        assert_eq!(
            (mirror.failures, mirror.next_fetch, mirror.problem),
            (2, 40, Some(MirrorProblem::Missing))
        );
        assert_eq!((mirror.fetched_at, mirror.failed_at), (Some(5), Some(20)));
        db.record_fetch(url, 50).await.unwrap();
        let [mirror] = &db.mirrors().await.unwrap()[..] else { panic!() };
        assert_eq!(
            (mirror.failures, mirror.next_fetch, mirror.problem, mirror.failed_at),
            (0, 0, None, None)
        );
        assert_eq!(mirror.fetched_at, Some(50));
    })
    .await;
}
