//! Branches by the dozen and by the thousand: patterns, and what is skipped.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gorget::clock::Clock;
use gorget::db::{BranchProblem, Db};
use gorget::domain::spec::Spec;
use gorget::farm::context::Context;
use gorget::farm::reconciler::{Reconciler, StepOutcome, run_until_idle};
use gorget::git::{Authenticator, Checkouts, Limits, Mirrors, PrivateHosts, Resolver};
use gorget::steps::collect::{Collect, Places};
use gorget::steps::fetch::Fetch;
use gorget::steps::register::Register;
use gorget::steps::watch::Watch;
use tempfile::TempDir;

use crate::repository::{Remote, Server};
use crate::support::guix::{Tree, guix_root, manifest};
use crate::support::program::{Farm, text};
use crate::support::site::{Answer, Site, path, published};
use crate::support::{author, context, on_both};

/// The reconcilers that see branches, with a clock that is moved by hand.
struct Bed {
    directory: TempDir,
    db: Db,
    clock: Clock,
    mirrors: Mirrors,
    register: Register,
    watch: Watch,
}

impl Bed {
    async fn new(look: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open(directory.path().join("gorget.db").to_str().unwrap()).await.unwrap();
        Self::with(db, directory, look, 1000)
    }

    /// On this database, with so many branches of a repository at most.
    fn with(db: Db, directory: TempDir, look: Duration, branches: usize) -> Self {
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("specs")).unwrap();
        let clock = Clock::manual(1_000_000);
        let limits = Limits { poll: look, fetch: Duration::from_mins(1), branches, ..Limits::default() };
        let mirrors = Mirrors::new(path("mirrors"), limits);
        let context = context(&db, &clock);
        let register = Register::new(&context, path("specs"));
        let watch = Watch::new(&context, mirrors.clone());
        Self { directory, db, clock, mirrors, register, watch }
    }

    fn spec(&self, name: &str, url: &str, rest: &str) {
        let text = format!(
            "build = \"hello\"\nevery = \"5m\"\n[[channel]]\nname = \"own\"\nurl = \"{url}\"\n{rest}\n"
        );
        std::fs::write(self.directory.path().join(format!("specs/{name}.toml")), text).unwrap();
    }

    /// Registers and looks until there is nothing to do.
    async fn see(&mut self) {
        run_until_idle(&mut self.register).await.unwrap();
        run_until_idle(&mut self.watch).await.unwrap();
        run_until_idle(&mut self.register).await.unwrap();
    }

    /// The specs that are evaluated.
    async fn evaluated(&self) -> Vec<Spec> {
        let specs = self.db.specs().await.unwrap().into_iter();
        specs
            .filter(|stored| stored.present && stored.spec.is_evaluated())
            .map(|stored| stored.spec)
            .collect()
    }

    fn context(&self) -> Context {
        context(&self.db, &self.clock)
    }

    fn fetch(&self) -> Fetch {
        let authenticator = Authenticator::new(guix_root(), self.directory.path().join("authentic"));
        Fetch::new(&self.context(), Resolver::new(self.mirrors.clone(), authenticator))
    }

    fn collect(&self) -> Collect {
        let path = |name: &str| self.directory.path().join(name);
        let places = Places {
            checkouts: Checkouts::new(path("checkouts")),
            mirrors: self.mirrors.clone(),
            time_machine: path("time-machine"),
            logs: path("logs"),
            roots: path("roots"),
        };
        Collect::new(&self.context(), places)
    }

    async fn branches_evaluated(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.evaluated().await.into_iter().map(|spec| spec.channels[0].branch.clone()).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn a_pattern_makes_and_retires_specs_with_the_branches_that_it_means() {
    let remote = Remote::new();
    let odd = ["é-team", "a/b-team", "'quote\"-team", "$(x)-team", "<b>&-team", "-team", "\u{202e}x-team"];
    for branch in odd.iter().chain(&["wip-team", "main", "python-team"]) {
        remote.push(branch, "a", "1");
    }
    // One that nobody could write down.
    let tip = remote.push("main", "a", "2");
    let line = [tip.as_bytes(), b" refs/heads/\xff-team\n"].concat();
    std::fs::write(remote.path().join("packed-refs"), line).unwrap();

    let mut bed = Bed::new(Duration::from_mins(1)).await;
    bed.spec("teams", &remote.url(), "branch = \"*-team\"\nexclude = [\"wip-*\"]");
    bed.see().await;
    let mut expected: Vec<String> = odd.iter().chain(&["python-team"]).map(ToString::to_string).collect();
    // Git has branches that begin with `-` only by force.
    expected.retain(|name| name != "-team");
    expected.sort();
    assert_eq!(bed.branches_evaluated().await, expected);
    let specs = bed.evaluated().await;
    assert!(specs.iter().any(|spec| spec.name == "teams/python-team"));
    assert!(specs.iter().all(|spec| spec.template.as_deref() == Some("teams")));

    remote.set("python-team", None);
    remote.push("ruby-team", "a", "1");
    bed.clock.advance(400);
    bed.see().await;
    assert!(bed.branches_evaluated().await.contains(&"python-team".to_owned()), "it may be a slip");
    bed.clock.advance(400);
    bed.see().await;
    let expected: Vec<String> = expected.into_iter().filter(|name| name != "python-team").collect();
    let now: Vec<String> = bed.branches_evaluated().await;
    assert!(expected.iter().all(|name| now.contains(name)) && now.contains(&"ruby-team".to_owned()));
    assert_eq!(now.len(), expected.len() + 1);

    remote.push("python-team", "a", "again");
    bed.clock.advance(400);
    bed.see().await;
    assert_eq!(bed.branches_evaluated().await.len(), expected.len() + 2, "it is back");
    std::fs::remove_file(bed.directory.path().join("specs/teams.toml")).unwrap();
    bed.see().await;
    assert_eq!(bed.branches_evaluated().await, [""; 0], "and all go with the template");
}

#[tokio::test]
async fn a_page_in_the_place_of_a_repository_takes_no_branch_away() {
    on_both(async |db| {
        let remote = Remote::new();
        for branch in ["main", "a-team", "b-team", "c-team"] {
            remote.push(branch, "a", "1");
        }
        published(&remote.url()).await;
        let (repository, is_page) = (remote.path().to_owned(), Arc::new(AtomicBool::new(false)));
        let is_page_now = Arc::clone(&is_page);
        let site = Site::new(move |head| {
            if is_page_now.load(Ordering::Relaxed) {
                return Answer::Text("200 OK", "Content-Type: text/html\r\n".to_owned(), Vec::new());
            }
            Answer::File(repository.join(path(head).trim_start_matches("/repository/")))
        })
        .await;
        let mut bed = Bed::with(db.clone(), tempfile::tempdir().unwrap(), Duration::from_mins(1), 500);
        bed.spec("main", &site.url("127.0.0.1"), "branch = \"main\"\nauthenticate = false");
        bed.spec("teams", &site.url("127.0.0.1"), "branch = \"*-team\"\nauthenticate = false");
        bed.see().await;
        let all = ["a-team", "b-team", "c-team", "main"];
        assert_eq!(bed.branches_evaluated().await, all);
        let tips =
            async |bed: &Bed| bed.db.branches().await.unwrap().iter().filter(|b| b.tip.is_some()).count();
        is_page.store(true, Ordering::Relaxed);
        for _ in 0..5 {
            bed.clock.advance(4000);
            bed.see().await;
        }
        assert_eq!((bed.branches_evaluated().await, tips(&bed).await), (all.map(str::to_owned).to_vec(), 4));
        let branches = bed.db.branches().await.unwrap();
        let reason = branches[0].reason.as_deref().unwrap();
        assert!(reason.contains("answered without any branch"), "{reason}");
        assert_eq!(branches[0].problem, Some(BranchProblem::Unreachable));

        // A half-restored repository is one look only; what is gone for good is gone at the second.
        is_page.store(false, Ordering::Relaxed);
        for branch in ["main", "a-team", "b-team"] {
            remote.set(branch, None);
        }
        published(&remote.url()).await;
        bed.clock.advance(4000);
        bed.see().await;
        assert_eq!((bed.branches_evaluated().await, tips(&bed).await), (all.map(str::to_owned).to_vec(), 4));
        remote.push("main", "a", "1");
        remote.push("a-team", "a", "1");
        published(&remote.url()).await;
        bed.clock.advance(299);
        bed.see().await;
        assert_eq!(tips(&bed).await, 4);
        bed.clock.advance(400);
        bed.see().await;
        assert_eq!(
            (bed.branches_evaluated().await, tips(&bed).await),
            (["a-team", "c-team", "main"].map(str::to_owned).to_vec(), 3)
        );
    })
    .await;
}

#[tokio::test]
async fn a_repository_with_ever_new_branches_costs_no_more_than_the_limit() {
    on_both(async |db| {
        let remote = Remote::new();
        let tip = remote.push("main", "a", "1");
        let rename = |poll: usize| {
            let mut refs = format!("{tip} refs/heads/-team\n");
            for number in 0..100_000 {
                writeln!(refs, "{tip} refs/heads/p{poll}-{number:06}-team").unwrap();
            }
            std::fs::write(remote.path().join("packed-refs"), refs).unwrap();
        };
        let mut bed = Bed::with(db.clone(), tempfile::tempdir().unwrap(), Duration::from_mins(1), 50);
        bed.spec("main", &remote.url(), "branch = \"main\"");
        bed.spec("teams", &remote.url(), "branch = \"*-team\"");
        for poll in 0..6 {
            rename(poll);
            bed.see().await;
            bed.clock.advance(400);
        }
        let branches = bed.db.branches().await.unwrap();
        assert_eq!(branches.len(), 52, "those of the first poll");
        assert_eq!(bed.db.all_pushes(10_000).await.unwrap().len(), 101, "they came and went");
        assert_eq!(bed.branches_evaluated().await, ["main"]);
        let pattern = branches.iter().find(|branch| branch.name == "*-team").unwrap();
        let note = pattern.reason.as_deref().unwrap();
        assert!(note.contains("100000 more branches are not watched: the limit is 50"), "{note}");
        assert!(note.contains("ignored: `-team` (it begins with `-`)"), "{note}");
        assert_eq!((pattern.problem, pattern.failures), (None, 0));

        let mut collect = bed.collect();
        bed.clock.advance(24 * 60 * 60);
        run_until_idle(&mut collect).await.unwrap();
        assert_eq!(bed.db.branches().await.unwrap().len(), 2, "places are free again after a day");
        assert_eq!(bed.db.specs().await.unwrap().len(), 2);
        assert_eq!(bed.db.all_pushes(10_000).await.unwrap().len(), 1);
        bed.see().await;
        assert_eq!(bed.branches_evaluated().await.len(), 51);
    })
    .await;
}

#[tokio::test]
async fn a_thousand_branches_of_one_repository_cost_one_look() {
    let remote = Remote::new();
    let commit = remote.push("main", "a", "1");
    for number in 0..1000 {
        remote.set(&format!("{number}-team"), Some(&commit));
    }
    let server = Server::new(&remote).await;
    let mut bed = Bed::new(Duration::from_mins(1)).await;
    bed.spec("main", &server.url, "branch = \"main\"\nauthenticate = false");
    bed.spec("teams", &server.url, "branch = \"*-team\"\nauthenticate = false");
    bed.see().await;
    assert_eq!(bed.evaluated().await.len(), 1001);
    assert_eq!(server.line.visits(), 1);
    bed.see().await;
    assert_eq!(server.line.visits(), 1, "nothing is due");
    bed.clock.advance(400);
    bed.see().await;
    assert_eq!(server.line.visits(), 2);
    let tips = bed.db.branches().await.unwrap();
    assert_eq!(tips.iter().filter(|branch| branch.tip.as_ref() == Some(&commit)).count(), 1001);
}

#[tokio::test]
async fn whoever_asks_for_a_look_gets_one_and_whoever_asks_often_no_more() {
    let remote = Remote::new();
    remote.push("master", "a", "1");
    let server = Server::new(&remote).await;
    let mut bed = Bed::new(Duration::from_mins(1)).await;
    bed.spec("own", &server.url, "authenticate = false");
    bed.see().await;
    let commit = remote.push("master", "a", "2");
    for _ in 0..3 {
        let branches = bed.db.branches().await.unwrap();
        let ids: Vec<_> = branches.iter().map(|branch| branch.id).collect();
        bed.db.request_polls(&ids, "all", &author(), bed.clock.now()).await.unwrap();
        bed.see().await;
        bed.clock.advance(1);
    }
    assert_eq!(server.line.visits(), 1, "that was a moment ago");
    bed.clock.advance(10);
    bed.see().await;
    bed.clock.advance(15);
    bed.see().await;
    assert_eq!(server.line.visits(), 2, "once for all who asked");
    assert_eq!(bed.db.branches().await.unwrap()[0].tip, Some(commit));
}

#[tokio::test]
async fn repositories_that_are_never_sent_leave_a_place_to_one_that_was_fetched() {
    let remote = Remote::new();
    remote.push("master", "a", "1");
    published(&remote.url()).await;
    let repository = remote.path().to_owned();
    let site = Site::new(move |head| match path(head).split_once("/repository/") {
        Some((_, file @ ("info/refs" | "HEAD"))) => Answer::File(repository.join(file)),
        _ => Answer::Never,
    })
    .await;
    let mut bed = Bed::new(Duration::from_secs(20)).await;
    bed.spec("good", &remote.url(), "");
    bed.see().await;
    run_until_idle(&mut bed.fetch()).await.unwrap();
    for number in 0..6 {
        let url = format!("http://127.0.0.1:{}/{number}/repository", site.port);
        bed.spec(&format!("hangs-{number}"), &url, "authenticate = false");
    }
    bed.see().await;
    let mut fetch = bed.fetch();
    assert_eq!(fetch.step().await.unwrap(), StepOutcome::Worked, "they are being fetched");
    let tip = remote.push("master", "b", "2");
    bed.clock.advance(4000);
    bed.see().await;
    let begun = std::time::Instant::now();
    loop {
        fetch.step().await.unwrap();
        let evaluations = bed.db.evaluations(Some("good"), None, 10).await.unwrap();
        if evaluations.iter().any(|one| one.revision.channels()[0].commit == tip) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{evaluations:?}");
    }
}

#[tokio::test]
async fn a_silent_repository_does_not_hold_up_the_others() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bed = Bed::new(Duration::from_secs(20)).await;
    let url = format!("git://{}/silent", silent.local_addr().unwrap());
    bed.spec("a-silent", &url, "authenticate = false");
    let remotes: Vec<Remote> = (0..20).map(|_| Remote::new()).collect();
    for (number, remote) in remotes.iter().enumerate() {
        remote.push("master", "a", "1");
        bed.spec(&format!("spec-{number}"), &remote.url(), "");
    }
    run_until_idle(&mut bed.register).await.unwrap();
    let begun = std::time::Instant::now();
    let seen = async |bed: &Bed| bed.db.branches().await.unwrap().iter().filter(|b| b.tip.is_some()).count();
    while seen(&bed).await < 20 {
        assert_eq!(bed.watch.step().await.unwrap(), StepOutcome::Worked);
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_fetch_that_gets_stuck_does_not_hold_up_the_others() {
    let stuck = Remote::new();
    stuck.push("master", "a", "1");
    let server = Server::new(&stuck).await;
    let mut bed = Bed::new(Duration::from_mins(1)).await;
    bed.spec("a-stuck", &server.url, "authenticate = false");
    let remotes: Vec<Remote> = (0..6).map(|_| Remote::new()).collect();
    for (number, remote) in remotes.iter().enumerate() {
        remote.push("master", "a", "1");
        bed.spec(&format!("spec-{number}"), &remote.url(), "");
    }
    bed.see().await;
    server.line.stops_after.store(1, Ordering::Relaxed);
    let mut fetch = bed.fetch();
    let begun = std::time::Instant::now();
    while bed.db.newest_evaluations().await.unwrap().len() < 6 {
        assert_eq!(fetch.step().await.unwrap(), StepOutcome::Worked);
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(bed.db.blocked_specs().await.unwrap(), [], "the seventh is still under way");
}

#[tokio::test]
async fn what_channels_bring_holds_up_nothing_that_specs_name_and_has_one_time_for_all() {
    let honest = Remote::new();
    honest.push("master", "a", "1");
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let mut bed = Bed::new(Duration::from_mins(1)).await;
    let limits = Limits { fetch: Duration::from_secs(5), ..bed.mirrors.limits() };
    let mirrors = Mirrors::new(bed.directory.path().join("mirrors"), limits);
    bed.mirrors = mirrors.permitting(PrivateHosts::new(["127.0.0.1".parse().unwrap()]));
    bed.watch = Watch::new(&bed.context(), bed.mirrors.clone());
    let remotes: Vec<Remote> = (0..6).map(|_| Remote::new()).collect();
    for (number, remote) in remotes.iter().enumerate() {
        let needed = format!("(channel (name needed) (url \"git://{address}/{number}\"))");
        remote.push("master", ".guix-channel", format!("(channel (version 0) (dependencies {needed}))"));
        let shared = format!("[[channel]]\nname = \"honest\"\nurl = \"{}\"", honest.url());
        bed.spec(&format!("a-evil-{number}"), &remote.url(), &shared);
    }
    bed.spec("z-honest", &honest.url(), "");
    bed.see().await;
    let (mut fetch, begun) = (bed.fetch(), std::time::Instant::now());
    while bed.db.newest_evaluations().await.unwrap().is_empty() {
        assert_eq!(fetch.step().await.unwrap(), StepOutcome::Worked);
    }
    assert_eq!(bed.db.blocked_specs().await.unwrap(), [], "the others are still at it");
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    while bed.db.blocked_specs().await.unwrap().len() < 6 {
        fetch.step().await.unwrap();
    }
    for block in bed.db.blocked_specs().await.unwrap() {
        let expected = "channel needed: with it, what the spec does not name takes more than 10 s to fetch";
        assert!(block.reason.contains(expected), "{}", block.reason);
    }
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    assert_eq!(bed.db.newest_evaluations().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_channels_brought_in_vain_goes_after_three_days() {
    let (own, needed) = (Remote::new(), Remote::new());
    needed.push("master", "a", "1");
    let needs =
        format!("(channel (name needed) (url {:?})) (channel (name lost) (url \"/lost\"))", needed.url());
    own.push("master", ".guix-channel", format!("(channel (version 0) (dependencies {needs}))"));
    let mut bed = Bed::new(Duration::from_mins(1)).await;
    bed.spec("own", &own.url(), "");
    bed.see().await;
    run_until_idle(&mut bed.fetch()).await.unwrap();
    assert_eq!(bed.db.blocked_specs().await.unwrap().len(), 1);
    let mirror = bed.mirrors.for_brought_channels().path(&needed.url());
    let mut collect = bed.collect();
    for (days, expected) in [(2, true), (2, false)] {
        bed.clock.advance(days * 24 * 60 * 60);
        run_until_idle(&mut collect).await.unwrap();
        assert_eq!(mirror.exists(), expected);
    }
}

#[tokio::test]
async fn a_mirror_goes_a_month_after_it_was_needed_last() {
    let remote = Remote::new();
    let commit = remote.push("master", "a", "1");
    let mut bed = Bed::new(Duration::from_mins(1)).await;
    bed.spec("own", &remote.url(), "");
    bed.see().await;
    let mirrors = bed.mirrors.clone();
    mirrors.fetch(&remote.url(), "master", &commit).await.unwrap();
    bed.db.record_fetch(&remote.url(), bed.clock.now()).await.unwrap();
    let path = |name: &str| bed.directory.path().join(name);
    let mut collect = bed.collect();
    let day = 24 * 60 * 60;
    bed.clock.advance(31 * day);
    run_until_idle(&mut collect).await.unwrap();
    assert!(mirrors.path(&remote.url()).exists(), "a spec names it");
    bed.db.record_fetch(&remote.url(), bed.clock.now()).await.unwrap();
    std::fs::remove_file(path("specs/own.toml")).unwrap();
    bed.see().await;
    bed.clock.advance(29 * day);
    run_until_idle(&mut collect).await.unwrap();
    assert!(mirrors.path(&remote.url()).exists(), "specs come back");
    bed.clock.advance(2 * day);
    run_until_idle(&mut collect).await.unwrap();
    assert!(!mirrors.path(&remote.url()).exists());
    // Other machines have a day to remove theirs.
    bed.clock.advance(day);
    run_until_idle(&mut collect).await.unwrap();
    assert_eq!(bed.db.mirrors().await.unwrap(), []);
}

#[tokio::test]
async fn what_moves_on_before_its_turn_is_skipped_unless_every_commit_counts() {
    let channel = Tree::channel("manifest.scm", &manifest(&[("one", "")]));
    let farm = Farm::new(None);
    let spec = |rest: &str| {
        format!("build = {{ manifests = [\"manifest.scm\"] }}\n{rest}\n{}", channel.as_channel("own"))
    };
    farm.spec("newest", &spec(""));
    farm.spec("every", &spec("every-commit = true"));
    let mut commits = vec![channel.tip()];
    farm.run_once().await;
    for flag in ["--a", "--b", "--c"] {
        commits.push(channel.write("manifest.scm", &manifest(&[("one", flag)])));
    }
    farm.run_once().await;
    let evaluated = async |name: &str| -> Vec<String> {
        let evaluations = farm.evaluations(name).await;
        evaluations.iter().map(|e| text(&e["revision"]["channels"][0]["commit"])).collect()
    };
    assert_eq!(evaluated("every").await, commits);
    assert_eq!(evaluated("newest").await, [commits[0].clone(), commits[3].clone()]);

    channel.reset(&commits[1]);
    let forced = channel.write("manifest.scm", &manifest(&[("one", "--forced")]));
    farm.run_once().await;
    assert_eq!(evaluated("every").await[4..], [forced], "no way leads there from the last one");
}

#[tokio::test]
async fn a_branch_that_is_rewritten_during_its_evaluation_is_evaluated_again() {
    let slow =
        |name: &str| manifest(&[(name, "")]).replace("(packages->manifest", "(sleep 4)\n(packages->manifest");
    let channel = Tree::channel("manifest.scm", &slow("one"));
    let farm = Farm::new(None);
    let period = "every = \"10s\"\n";
    farm.spec(
        "own",
        &format!("build = {{ manifests = [\"manifest.scm\"] }}\n{period}{}", channel.as_channel("own")),
    );
    let first = channel.tip();
    let mut process = farm.start(&[]);
    farm.until(&mut process, |status| status["evaluations"][0]["state"] == "running").await;
    channel.remove_branch();
    let second = channel.write("manifest.scm", &manifest(&[("two", "")]));
    let both = |status: &serde_json::Value| {
        let newest = &status["evaluations"][0];
        newest["state"] == "complete" && newest["revision"]["channels"][0]["commit"] == second.as_str()
    };
    let status = farm.until(&mut process, both).await;
    let old = &status["evaluations"][1];
    assert_eq!(
        (&old["state"], &old["revision"]["channels"][0]["commit"]),
        (&"complete".into(), &first.into())
    );
    let (diff, _) = farm.diff(1, 2).await;
    assert_eq!((&diff["removed"], &diff["added"]), (&vec!["one-1".to_owned()], &vec!["two-1".to_owned()]));
}
