//! What substitute servers have of the newest evaluations.

use gorget::clock::Clock;
use gorget::db::{Coverage, Db};
use gorget::domain::coverage::{Counts, Enough};
use gorget::domain::spec::System;
use gorget::farm::reconciler::run_until_idle;
use gorget::guix::signature::SigningKey;
use gorget::steps::substitutes::{MeasureCoverage, Server};
use gorget::view::coverage::{self as view, Rows, enough};
use serde_json::{Value, json};

use crate::here;
use crate::substitutes::{StandIn, Word, signed, trusting, want, with_output};
use crate::support::daemon::Machine;
use crate::support::program::Farm;
use crate::support::{context, on_both};

const HOUR: i64 = 3600;

async fn coverage(farm: &Farm, words: &[&str]) -> (Vec<Value>, Option<i32>) {
    let said = farm.say(&[&["coverage", "own", "--json"], words].concat()).await;
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{}", said.talk));
    (said.data.lines().map(read).collect(), said.code)
}

#[tokio::test]
async fn what_a_real_server_lacks_is_named_with_what_keeps_it_back() {
    let machine = Machine::new();
    let _daemon = machine.serve().await;
    let (_publish, url) = machine.publish_beside_daemon().await;
    let jobs = r#"("base" "echo base > $out") ("user" "read -r word < $1; echo $word used > $out" "base")
      ("broken" "echo no; exit 3") ("victim" "echo never > $out" "broken") ("second" "echo never > $out" "victim")"#;
    let (farm, _channel) = here::farm(&machine, jobs, "at-once = 2").await;
    farm.run_once().await;
    let said = farm.say(&["coverage", "--require", "0"]).await;
    assert_eq!((said.code, said.data.contains("not yet")), (Some(5), true), "{}", said.data);
    assert!(said.talk.contains("names no substitute server"), "{}", said.talk);
    let acl = machine.settings().join("acl");
    farm.configure(&format!("[substitutes]\nservers = [\"{url}\"]\nacl = \"{}\"", acl.display()));
    farm.run_once().await;

    let (found, code) = coverage(&farm, &["--require", "50"]).await;
    let [one] = &found[..] else { panic!("{found:?}") };
    let total = &one["total"];
    assert_eq!(
        (&total["present"], &total["absent"], &total["unknown"]),
        (&3.into(), &3.into(), &0.into()),
        "{one}"
    );
    assert_eq!((&total["percent"], code), (&50.0.into(), Some(0)), "{one}");
    assert_eq!(one["missing"]["states"], json!({ "blocked": 2, "failed": 1 }), "{one}");
    let cause = &one["missing"]["causes"][0];
    assert_eq!((&cause["job"], &cause["blocked"]), (&"broken".into(), &2.into()), "{one}");
    assert_eq!(one["servers"][0]["url"], url, "{one}");
    assert_eq!(coverage(&farm, &["--require", "50.1"]).await.1, Some(4));
    assert_eq!(coverage(&farm, &["--require", "50.1", "--server", &url]).await.1, Some(4));
    let (missing, _) = coverage(&farm, &["--missing"]).await;
    let missing: Vec<(&str, &str)> =
        missing.iter().map(|job| (job["job"].as_str().unwrap(), job["state"].as_str().unwrap())).collect();
    assert_eq!(missing, [("broken", "failed"), ("second", "queued"), ("victim", "queued")]);

    // The server's own word on each output.
    for (job, has) in
        [("base", true), ("user", true), ("licence", true), ("broken", false), ("second", false)]
    {
        let explained = farm.say(&["explain", "--json", job]).await;
        let explained: Value = serde_json::from_str(&explained.data).unwrap();
        let path = explained["jobs"][0]["outputs"][0].as_str().unwrap();
        let hash = path.trim_start_matches("/gnu/store/").split_once('-').unwrap().0;
        let answer = reqwest::get(format!("{url}/{hash}.narinfo")).await.unwrap();
        assert_eq!(answer.status().is_success(), has, "{job}");
    }

    for (words, expected) in [
        (&["coverage"][..], "own   x86_64-linux  1           50.0"),
        (&["coverage", "own"], "absent: blocked 2, failed 1\n  2 wait for broken"),
        (&["coverage", "own", "--missing"], "victim  x86_64-linux  queued"),
    ] {
        let said = farm.say(words).await;
        assert!(said.data.contains(expected), "{}", said.data);
    }
    for (words, expected) in [
        (&["coverage", "other"][..], "there is no spec other\nhint:"),
        (
            &["coverage", "--server", "http://elsewhere"],
            "http://elsewhere is not asked\nhint: these are: http",
        ),
        (&["coverage", "--require", "101"], "a number from 0 to 100"),
        (&["coverage", "--require", "NaN"], "a number from 0 to 100"),
    ] {
        let said = farm.say(words).await;
        assert_eq!(said.code, Some(1), "{words:?}");
        assert!(said.talk.contains(expected), "{}", said.talk);
    }
}

/// The numbers present, absent and unknown at a server.
fn at(rows: &[Coverage], server: &str, hours: i64) -> Option<(i64, i64, i64)> {
    let row = rows.iter().find(|row| row.server == server && row.hours == hours)?;
    let Counts { present, absent, unknown } = row.counts;
    Some((present, absent, unknown))
}

async fn last(db: &Db) -> Vec<Coverage> {
    db.coverage(None).await.unwrap()
}

#[tokio::test]
async fn a_server_that_fails_leaves_things_unknown_until_it_answers() {
    on_both(async |db| {
        let key = SigningKey::generate().unwrap();
        let ((good, good_url), (bad, bad_url)) = (StandIn::start().await, StandIn::start().await);
        good.about("one", Some(signed("one", &key)));
        for word in ["one", "two", "three"] {
            bad.about(word, Some(Word::Fails(reqwest::StatusCode::BAD_GATEWAY, None)));
        }
        want(db, "a", ["one", "two", "three"].map(with_output).to_vec()).await;
        // The evaluation was wanted at the second 100.
        let wanted = db.evaluations(None, None, 1).await.unwrap()[0].created_at;
        let clock = Clock::manual(wanted + 60);
        let server = |url| Server::new(url, trusting(&[&key]), 4).unwrap();
        let servers = vec![server(&good_url), server(&bad_url)];
        let mut measure = MeasureCoverage::new(&context(db, &clock), servers.clone());
        run_until_idle(&mut measure).await.unwrap();
        let rows = last(db).await;
        assert_eq!(at(&rows, good_url.as_str(), 0), Some((1, 2, 0)));
        assert_eq!(at(&rows, bad_url.as_str(), 0), Some((0, 0, 3)));
        assert_eq!(at(&rows, "", 0), Some((1, 0, 2)), "what one server lacks another may have");
        assert_eq!(at(&rows, "", 1), None);

        // It answers again; what is known is not asked for again.
        bad.about("two", Some(signed("two", &key)));
        bad.about("three", None);
        bad.about("one", None);
        good.requests();
        clock.advance(HOUR);
        run_until_idle(&mut measure).await.unwrap();
        let rows = last(db).await;
        assert_eq!(at(&rows, "", 0), Some((2, 1, 0)));
        assert_eq!(at(&rows, "", 1), Some((2, 1, 0)), "counted an hour after it was wanted");
        assert_eq!(good.requests(), 2, "what is there was believed, what was not was asked for");
        let missing = db.missing_jobs(rows[0].evaluation, "", 0, 10).await.unwrap();
        assert_eq!(missing.iter().map(|job| (&*job.job, job.absent_at)).collect::<Vec<_>>(), [("three", 2)]);
        let events = db.events_after(0, 1000).await.unwrap();
        assert!(events.iter().any(|event| event.kind == "coverage"), "{events:?}");

        // A server that has been away for days says nothing any more. What it said at that hour stays.
        bad.about("two", Some(Word::Fails(reqwest::StatusCode::BAD_GATEWAY, None)));
        clock.advance(100 * HOUR);
        run_until_idle(&mut measure).await.unwrap();
        let rows = last(db).await;
        assert_eq!(at(&rows, "", 0), Some((1, 1, 1)));
        assert_eq!((at(&rows, "", 1), at(&rows, "", 72)), (Some((2, 1, 0)), None), "too late for 72 h");

        // One that is not configured any more counts for nothing.
        let mut measure = MeasureCoverage::new(&context(db, &clock), servers[..1].to_vec());
        run_until_idle(&mut measure).await.unwrap();
        let rows = last(db).await;
        assert_eq!(at(&rows, "", 0), Some((1, 2, 0)));
        assert_eq!(at(&rows, bad_url.as_str(), 0), None);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_counted_or_was_long_ago_is_not_known() {
    on_both(async |db| {
        let key = SigningKey::generate().unwrap();
        let (server, url) = StandIn::start().await;
        server.about("one", Some(signed("one", &key)));
        want(db, "a", vec![with_output("one")]).await;
        let clock = Clock::manual(1000);
        let servers = vec![Server::new(&url, trusting(&[&key]), 4).unwrap()];
        let mut measure = MeasureCoverage::new(&context(db, &clock), servers);
        let whole = async |now| {
            let rows = Rows::load(db, None, now).await.unwrap();
            let found = view::Coverage::all(&rows);
            let percents: Vec<Option<f64>> = found.iter().map(|one| one.total?.percent).collect();
            (percents, enough(found.iter().map(|one| one.share(None)), 100.0))
        };
        assert_eq!(whole(1000).await, (vec![None], Enough::Unknown), "not counted yet");
        run_until_idle(&mut measure).await.unwrap();
        assert_eq!(whole(1000).await, (vec![Some(100.0)], Enough::Yes));
        assert_eq!(whole(1000 + 73 * HOUR).await, (vec![Some(0.0)], Enough::Unknown), "long ago");

        // A system that was not evaluated yet is not known, however much is there of the other.
        let mut both = db.specs().await.unwrap()[0].spec.clone();
        both.systems.push(System::new("aarch64-linux").unwrap());
        db.sync_specs(&[both]).await.unwrap();
        assert_eq!(whole(1000).await, (vec![Some(100.0), None], Enough::Unknown));

        // One server error among many answers keeps nobody from asking for builds.
        let many: Vec<String> = (0..100).map(|number| format!("package-{number}")).collect();
        for name in &many[..10] {
            server.about(name, Some(Word::Fails(reqwest::StatusCode::BAD_GATEWAY, None)));
        }
        want(db, "b", many.iter().map(|name| with_output(name)).collect()).await;
        run_until_idle(&mut measure).await.unwrap();
        assert_eq!(db.failing_servers().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn outputs_that_no_evaluation_has_any_more_are_not_asked_for() {
    on_both(async |db| {
        let key = SigningKey::generate().unwrap();
        let (server, url) = StandIn::start().await;
        let names: Vec<String> = (0..1500).map(|number| format!("package-{number}")).collect();
        want(db, "a", names.iter().map(|name| with_output(name)).collect()).await;
        let clock = Clock::manual(1000);
        let servers = vec![Server::new(&url, trusting(&[&key]), 16).unwrap()];
        let mut measure = MeasureCoverage::new(&context(db, &clock), servers);
        run_until_idle(&mut measure).await.unwrap();
        assert_eq!((at(&last(db).await, "", 0), server.requests()), (Some((0, 1500, 0)), 1500));
        want(db, "b", names[..2].iter().map(|name| with_output(name)).collect()).await;
        clock.advance(25 * HOUR);
        run_until_idle(&mut measure).await.unwrap();
        assert_eq!((at(&last(db).await, "", 0), server.requests()), (Some((0, 2, 0)), 2));
        // How it was then is still known.
        let spec = db.specs().await.unwrap()[0].id;
        let history = db.coverage_history(spec, 0).await.unwrap();
        assert_eq!(history.iter().map(|row| row.counts.absent).collect::<Vec<_>>(), [1500, 2]);
    })
    .await;
}
