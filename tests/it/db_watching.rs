//! Branches move, vanish, and cannot be reached; mirrors fall behind.

use gorget::db::{BranchProblem, MirrorProblem};

use crate::support::on_both;

#[tokio::test]
async fn a_branch_moves_vanishes_and_comes_back() {
    on_both(async |db| {
        let master = db.ensure_branch("https://example.org/guix.git", "master").await.unwrap();
        assert_eq!(db.ensure_branch("https://example.org/guix.git", "master").await.unwrap(), master);
        let other = db.ensure_branch("https://example.org/guix.git", "staging").await.unwrap();
        assert_eq!(db.branches().await.unwrap().len(), 2);

        assert!(db.record_look(master, "a", 10, 20).await.unwrap(), "seen for the first time");
        assert!(!db.record_look(master, "a", 20, 30).await.unwrap(), "nothing new");
        assert!(db.record_look(master, "b", 30, 40).await.unwrap());
        db.record_look_failure(master, "no route", 40, 50).await.unwrap();
        db.record_look_failure(master, "no route", 50, 70).await.unwrap();
        let [branch, _] = &db.branches().await.unwrap()[..] else { panic!() };
        assert_eq!((branch.tip.as_deref(), branch.failures, branch.next_look), (Some("b"), 2, 70));
        assert_eq!(branch.problem, Some(BranchProblem::Unreachable));
        assert_eq!(branch.reason.as_deref(), Some("no route"));

        db.record_vanished(master, "no branch `master`", 70, 80).await.unwrap();
        db.record_vanished(master, "no branch `master`", 80, 90).await.unwrap();
        let [branch, _] = &db.branches().await.unwrap()[..] else { panic!() };
        assert_eq!((branch.problem, branch.tip.as_deref()), (Some(BranchProblem::Missing), None));

        assert!(db.record_look(master, "b", 90, 100).await.unwrap(), "it is back");
        let [branch, _] = &db.branches().await.unwrap()[..] else { panic!() };
        assert_eq!((branch.problem, &branch.reason, branch.failures), (None, &None, 0));

        let moves: Vec<_> = db
            .pushes(master, 10)
            .await
            .unwrap()
            .into_iter()
            .map(|p| (p.before, p.after, p.seen_at))
            .collect();
        let commit = |name: &str| Some(name.to_owned());
        assert_eq!(
            moves,
            [
                (None, commit("b"), 90),
                (commit("b"), None, 70),
                (commit("a"), commit("b"), 30),
                (None, commit("a"), 10)
            ]
        );
        assert_eq!(db.pushes(master, 1).await.unwrap().len(), 1);
        assert_eq!(db.pushes(other, 10).await.unwrap(), []);
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
