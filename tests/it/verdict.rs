//! Verdicts: whether a branch may be merged into its base.

use std::collections::BTreeMap;

use gorget::db::NewWaiver;
use gorget::domain::spec::Spec;
use gorget::domain::verdict::{Class, Reason, Report, SystemReport, Waiver, Word};
use serde_json::{Value, json};

use crate::here;
use crate::support::daemon::Machine;
use crate::support::guix::Tree;
use crate::support::{author, on_both, only_spec, spec, system};

use crate::support::program::Farm;

/// A branch of the channel that is to be merged into `own`.
fn team(channel: &Tree, more: &str) -> String {
    let build = "build = { custom = [\"(own ci)\"] }\nsystems = [\"x86_64-linux\"]";
    let channel = channel.as_channel("own").replace("\"master\"", "\"team\"");
    format!("{build}\n{channel}[verdict]\nbase = \"own\"\n{more}")
}

/// What `gorget verdict` says, and its exit code.
async fn verdict(farm: &Farm) -> (Value, Option<i32>) {
    let said = farm.say(&["verdict", "team", "--json"]).await;
    (serde_json::from_str(&said.data).unwrap_or_else(|_| panic!("{}", said.talk)), said.code)
}

/// The codes of its reasons.
fn codes(verdict: &Value) -> Vec<&str> {
    verdict["reasons"].as_array().unwrap().iter().map(|reason| reason["code"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_branch_that_breaks_a_package_must_change_and_is_ready_once_that_builds() {
    let machine = Machine::new();
    let daemon = machine.serve().await;
    let jobs = r#"("base" "echo base > $out") ("user" "read -r word < $1; echo $word used > $out" "base")
      ("lonely" "echo lonely > $out") ("rotten" "echo rotten; exit 9") ("rusty" "echo rusty > $out" "rotten")"#;
    let (farm, channel) = here::farm(&machine, jobs, "at-once = 2").await;
    farm.run_once().await;
    let trunk = channel.tip();

    // The branch breaks one package, which another needs, and touches one that was broken before.
    channel.edit("own/ci.scm", "echo base >", "exit 7; echo base >");
    channel.edit("own/ci.scm", "echo rotten;", "echo still rotten;");
    channel.move_to("team", &trunk);
    // What its base breaks meanwhile is not its fault.
    channel.edit("own/ci.scm", "echo lonely >", "exit 8; echo lonely >");
    // Builds of the base that nobody wants any more are canceled. What they needed had failed all the same.
    channel.edit("own/ci.scm", "echo rotten;", "echo as rotten as before;");
    farm.spec("team", &team(&channel, ""));
    farm.run_once().await;
    let (found, code) = verdict(&farm).await;
    assert_eq!((&found["word"], code), (&"must-change".into(), Some(4)), "{found}");
    assert_eq!(codes(&found), ["regressions"], "{found}");
    let system = &found["systems"][0];
    assert_eq!(system["base"], 1, "the newest of the base is none that the branch contains: {found}");
    assert_eq!(system["classes"], json!({ "regression": 2, "still-broken": 2 }));
    assert_eq!(system["jobs"]["regression"], json!(["base", "user"]));
    assert_eq!(system["causes"][0]["job"], "base");
    assert_eq!(system["causes"][0]["classes"], json!({ "regression": 2 }));
    assert_eq!(
        (&system["causes"][1]["job"], system["causes"].as_array().unwrap().len()),
        (&"rotten".into(), 2)
    );
    let said = farm.say(&["verdict", "team"]).await;
    assert!(said.data.contains("2 jobs build on the base, and not on the branch"), "{}", said.data);

    // Somebody answers for it, and then no longer does.
    for (words, refusal) in [
        (["create", "team", "unbuilt", "*", "--why", "no"].as_slice(), "\"unbuilt\" cannot be waived"),
        (&["create", "team", "regressions", "*", "--why", "no", "--days", "91"], "from 1 to 90"),
        (
            &["create", "team", "regressions", "*", "--why", "no", "--system", "i686-linux"],
            "not evaluated for",
        ),
        (&["create", "own", "regressions", "*", "--why", "no"], "own has no base"),
        (&["end", "7"], "there is no waiver 7"),
    ] {
        let said = farm.say(&[&["waiver"], words].concat()).await;
        assert_eq!(said.code, Some(1), "{words:?} {}", said.talk);
        assert!(said.talk.contains(refusal), "{}", said.talk);
    }
    let said = farm.say(&["waiver", "create", "team", "regressions", "*", "--why", "it goes away"]).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);
    farm.run_once().await;
    let (found, code) = verdict(&farm).await;
    assert_eq!((codes(&found), code), (vec!["waived"], Some(0)), "{found}");
    assert_eq!(found["systems"][0]["classes"]["regression"], 2, "it is broken all the same");
    let listed = farm.say(&["waiver", "list", "--json"]).await.data;
    assert!(listed.contains("it goes away"), "{listed}");
    farm.say(&["waiver", "end", "1"]).await;
    farm.run_once().await;
    assert_eq!(verdict(&farm).await.1, Some(4));

    // It is mended, and nothing can be built now.
    drop(daemon);
    channel.reset(&trunk);
    channel.edit("own/ci.scm", "echo base >", "echo better; echo base >");
    channel.move_to("team", &trunk);
    farm.say(&["run", "--once"]).await;
    let (found, code) = verdict(&farm).await;
    assert_eq!((&found["word"], code), (&"waiting".into(), Some(3)), "{found}");
    assert_eq!(codes(&found), ["unbuilt"], "{found}");
    assert_eq!(found["systems"][0]["classes"], json!({ "unbuilt": 2 }));

    let _daemon = machine.serve().await;
    farm.run_once().await;
    let (found, code) = verdict(&farm).await;
    assert_eq!((&found["word"], code), (&"ready".into(), Some(0)), "{found}");
    assert_eq!(found["systems"][0]["classes"], json!({ "rebuilt": 2 }));

    let said = farm.say(&["verdict", "team", "--history", "--json"]).await;
    let words: Vec<Value> =
        said.data.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["word"].take()).collect();
    assert_eq!(words, ["ready", "waiting", "must-change", "ready", "must-change"]);
}

#[tokio::test]
async fn what_keeps_a_branch_from_being_judged_is_said() {
    let machine = Machine::new();
    let _daemon = machine.serve().await;
    let (farm, channel) = here::farm(&machine, r#"("base" "echo base > $out")"#, "").await;
    let trunk = channel.tip();
    channel.edit("own/ci.scm", "echo base >", "echo better > /dev/null; echo base >");
    channel.move_to("team", &trunk);
    farm.spec("team", &team(&channel, "sets = [\"nowhere\"]").replace("\"own\"\nsets", "\"other\"\nsets"));
    farm.run_once().await;
    let (found, code) = verdict(&farm).await;
    assert_eq!((codes(&found), code), (vec!["base-unknown"], Some(5)), "{found}");
    assert!(found.to_string().contains("there is no spec other"), "{found}");

    // A set that nobody knows is no empty one.
    farm.spec("team", &team(&channel, "sets = [\"nowhere\"]"));
    farm.run_once().await;
    let (found, _) = verdict(&farm).await;
    assert_eq!((codes(&found), &found["word"]), (vec!["set-unknown"], &"unknown".into()), "{found}");

    farm.spec("team", &team(&channel, ""));
    farm.say(&["pause", "--spec", "team", "--reason", "freeze"]).await;
    farm.run_once().await;
    let (found, code) = verdict(&farm).await;
    assert_eq!((codes(&found), code), (vec!["paused"], Some(3)), "{found}");
    farm.say(&["resume", "--spec", "team"]).await;

    // Nobody knows what a repository has that cannot be reached.
    channel.hide(true);
    farm.say(&["run", "--once"]).await;
    assert_ne!(codes(&verdict(&farm).await.0), ["not-watched"], "a poll may fail by chance");
    farm.say(&["run", "--once"]).await;
    let (found, code) = verdict(&farm).await;
    assert_eq!((codes(&found), code), (vec!["not-watched"], Some(5)), "{found}");
    channel.hide(false);

    // Other jobs are no comparison.
    farm.spec("team", &team(&channel, "").replace("{ custom = [\"(own ci)\"] }", "{ channels = [\"own\"] }"));
    farm.run_once().await;
    let (found, code) = verdict(&farm).await;
    assert_eq!((codes(&found), code), (vec!["base-unknown"], Some(5)), "{found}");
    assert!(found.to_string().contains("computes the same jobs"), "{found}");
    farm.spec("team", &team(&channel, ""));

    // A branch that Guix cannot evaluate has nothing that could be built.
    channel.edit(
        "own/ci.scm",
        "(cuirass-jobs store arguments)\n",
        "(cuirass-jobs store arguments)\n (throw 'no)",
    );
    channel.move_to("team", &trunk);
    farm.say(&["run", "--once"]).await;
    let (found, code) = verdict(&farm).await;
    assert_eq!(code, Some(4), "{found}");
    assert!(!codes(&found).is_empty(), "{found}");

    let said = farm.say(&["verdict", "own"]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.talk.contains("hint: name the spec of the branch to merge into"), "{}", said.talk);
    // A spec without a base has no verdicts.
    let text = team(&channel, "");
    farm.spec("team", text.split("[verdict]").next().unwrap());
    farm.say(&["run", "--once"]).await;
    assert_eq!(farm.say(&["verdict", "--json"]).await.data, "");
}

fn report(word: Word, count: usize) -> Report {
    let (code, text, system) = ("unbuilt".to_owned(), "some".to_owned(), None);
    let system_report = SystemReport {
        base: Some(1),
        base_revision: Some("guix@1".to_owned()),
        causes: Vec::new(),
        classes: BTreeMap::from([(Class::Unbuilt, count)]),
        evaluation: Some(2),
        jobs: BTreeMap::new(),
        required: true,
        revision: Some("guix@2".to_owned()),
        system: "x86_64-linux".to_owned(),
    };
    Report {
        base: "master".to_owned(),
        reasons: vec![Reason { code, count, system, text, word }],
        spec: "team".to_owned(),
        systems: vec![system_report],
        word,
    }
}

#[tokio::test]
async fn a_verdict_is_a_row_only_when_it_changes() {
    on_both(async |db| {
        let team = only_spec(db, Spec { template: Some("teams".to_owned()), ..spec("team") }).await;
        assert!(db.record_verdict(team, &report(Word::MustChange, 3), 100).await.unwrap());
        assert!(!db.record_verdict(team, &report(Word::MustChange, 3), 200).await.unwrap());
        assert!(db.record_verdict(team, &report(Word::MustChange, 2), 300).await.unwrap());
        assert!(db.record_verdict(team, &report(Word::Waiting, 9), 350).await.unwrap());
        // How many builds are left is no news.
        assert!(!db.record_verdict(team, &report(Word::Waiting, 2), 360).await.unwrap());
        assert_eq!(db.verdicts_of(team, 1).await.unwrap()[0].reasons[0].count, 2);
        assert!(db.record_verdict(team, &report(Word::Ready, 0), 400).await.unwrap());
        let all = db.verdicts_of(team, 10).await.unwrap();
        let times: Vec<_> = all.iter().map(|one| (one.word, one.at, one.judged_at)).collect();
        let changes = [(Word::MustChange, 300, 300), (Word::MustChange, 100, 100)];
        assert_eq!(times[..2], [(Word::Ready, 400, 400), (Word::Waiting, 350, 360)]);
        assert_eq!(times[2..], changes);
        assert!(!db.record_verdict(team, &report(Word::Ready, 0), 700).await.unwrap());
        assert_eq!(
            db.verdicts_of(team, 1).await.unwrap()[0].judged_at,
            700,
            "five minutes later it is written"
        );
        let all = db.verdicts_of(team, 10).await.unwrap();
        assert_eq!(all[0].report, Some(report(Word::Ready, 0)));
        assert!(all[1..].iter().all(|one| one.report.is_none()), "only the newest says how it came to be");
        let short = gorget::db::Verdict { report: None, ..all[0].clone() };
        assert_eq!(db.current_verdicts().await.unwrap(), [short]);
        let events = db.events_after(0, 100).await.unwrap();
        assert_eq!(events.iter().filter(|event| event.kind == "verdict").count(), 4);

        for count in 0..600 {
            db.record_verdict(team, &report(Word::MustChange, count), 500).await.unwrap();
        }
        assert_eq!(db.verdicts_of(team, 1000).await.unwrap().len(), 500, "a diary has an end");
        let waiver = |job: &str, until| NewWaiver {
            waiver: Waiver { reason: "regressions".to_owned(), job: job.to_owned(), system: Some(system()) },
            why: "it goes away".to_owned(),
            until,
        };
        let [first, second] = [waiver("a*", 700), waiver("b*", 800)];
        let first = db.create_waiver(team, &first, &author(), 500).await.unwrap();
        let second = db.create_waiver(team, &second, &author(), 600).await.unwrap();
        let ids = async |now| db.waivers(now).await.unwrap().iter().map(|one| one.id).collect::<Vec<_>>();
        assert_eq!((ids(600).await, ids(700).await), (vec![second, first], vec![second]));
        assert!(!db.end_waiver(first, &author(), 700).await.unwrap(), "it has ended");
        assert!(db.end_waiver(second, &author(), 700).await.unwrap());
        assert_eq!(ids(600).await, [first]);
        db.sync_specs(&[]).await.unwrap();
        assert_eq!(db.current_verdicts().await.unwrap(), []);
        assert_eq!(db.forget_verdicts(&[]).await.unwrap(), 0, "a spec that is away may come back");
        assert_eq!(db.verdicts_of(team, 1).await.unwrap().len(), 1);
        db.forget_made_specs().await.unwrap();
        assert_eq!(db.verdicts_of(team, 10).await.unwrap(), []);
        assert_eq!(db.verify().await.unwrap(), []);
    })
    .await;
}
