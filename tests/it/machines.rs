//! One farm on many machines, each a process with a state directory of its own: they have nothing in common
//! but the database and the repositories.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gorget::db::{Db, EvaluationId};
use gorget::sandbox::Process;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::Cluster;
use crate::support::guix::{MODULES, Tree, entry};
use crate::support::program::{Farm, text};

const SYSTEMS: [&str; 4] = ["x86_64-linux", "i686-linux", "aarch64-linux", "armhf-linux"];
/// More than a machine needs to stop.
const PATIENCE: Duration = Duration::from_mins(1);

/// Twelve packages, the half of which take their time.
fn slow(flags: &str) -> String {
    let arguments = |number: usize| match number % 2 {
        0 => format!("(begin (sleep 2) (list #:configure-flags '({flags:?})))"),
        _ => "'()".to_owned(),
    };
    let entries: String = (0..12).map(|number| entry(&format!("p{number}"), &arguments(number))).collect();
    format!("{MODULES}(packages->manifest (list {entries}))")
}

fn signal(process: &Process, signal: Signal) {
    let id = i32::try_from(process.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

/// What a process has said when it is told to stop.
async fn stop(process: &mut Process) -> String {
    signal(process, Signal::TERM);
    let finished = process.finish(PATIENCE).await.unwrap();
    assert!(finished.success(), "{}", finished.reason());
    String::from_utf8(finished.stderr).unwrap()
}

/// What each host evaluates.
fn evaluates(status: &Value) -> BTreeMap<String, i64> {
    let hosts = status["hosts"].as_array().unwrap().iter();
    hosts.filter_map(|host| Some((text(&host["host"]), host["evaluates"][0].as_i64()?))).collect()
}

fn schedules(status: &Value, name: &str) -> bool {
    let mut hosts = status["hosts"].as_array().unwrap().iter();
    hosts.any(|host| host["host"] == name && host["schedules"] == true)
}

fn states(status: &Value) -> Vec<&Value> {
    status["evaluations"].as_array().unwrap().iter().map(|evaluation| &evaluation["state"]).collect()
}

#[tokio::test]
async fn hosts_die_and_hang_and_every_system_is_evaluated_once() {
    let mut cluster = Cluster::start();
    let database = cluster.url("postgres");
    let channel = Tree::channel("manifest.scm", &slow("--a"));
    let planner = Farm::new(None);
    planner.at_database(&database);
    let build = format!("build = {{ manifests = [\"manifest.scm\"] }}\nsystems = {SYSTEMS:?}");
    planner.spec("own", &format!("{build}\n{}", channel.as_channel("own")));
    let deputy = planner.another(&database);
    let hosts = ["one", "two", "three"].map(|name| (name, planner.another(&database)));

    let mut planning = planner.start(&["--role", "schedule", "--host", "planner"]);
    planner.until(&mut planning, |status| states(status).len() == SYSTEMS.len()).await;
    let mut standing_by = deputy.start(&["--role", "schedule", "--host", "deputy"]);
    let [mut one, mut two, mut three] =
        hosts.each_ref().map(|(name, farm)| farm.start(&["--role", "evaluate", "--host", name]));
    let half_done = |evaluation: &Value| {
        let [done, total] = ["jobs_done", "jobs_total"].map(|key| evaluation[key].as_i64().unwrap_or(0));
        evaluation["state"] == "running" && done > 0 && done < total
    };
    let half_done_by = |status: &Value, host: &str| {
        let evaluations = status["evaluations"].as_array().unwrap();
        evaluations.iter().any(|evaluation| evaluation["host"] == host && half_done(evaluation))
    };
    // As soon as each is in the midst of an evaluation: one dies, one hangs, and the database breaks down.
    let mut had = evaluates(&planner.until(&mut one, |status| half_done_by(status, "one")).await);
    one.kill();
    let status = planner.until(&mut two, |status| half_done_by(status, "two")).await;
    signal(&two, Signal::STOP);
    had.insert("two".to_owned(), evaluates(&status)["two"]);
    planner.until(&mut three, |status| half_done_by(status, "three")).await;
    cluster.restart();
    planning.kill();

    // Who is left has its own, the fourth, and those of the others when their leases have gone.
    let all_complete = |status: &Value| states(status).iter().all(|state| *state == "complete");
    let status = planner.until(&mut three, all_complete).await;
    for evaluation in status["evaluations"].as_array().unwrap() {
        let lost = [had["one"], had["two"]].contains(&evaluation["id"].as_i64().unwrap());
        assert_eq!(
            (&evaluation["host"], evaluation["attempts"] == 2),
            (&"three".into(), lost),
            "{evaluation}"
        );
    }
    signal(&two, Signal::CONT);
    deputy.until(&mut standing_by, |status| schedules(status, "deputy")).await;

    // The deputy goes on where the planner was.
    channel.write("manifest.scm", &slow("--b"));
    let said = deputy.say(&["poll"]).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);
    let again = |status: &Value| states(status).len() == 2 * SYSTEMS.len() && all_complete(status);
    let status = deputy.until(&mut standing_by, again).await;
    assert!(evaluates(&status).is_empty(), "{status}");

    // Numbers may be left out: PostgreSQL does not count back what it had reserved when it broke down.
    let db = Db::open(&database).await.unwrap();
    let mut wanted = BTreeSet::new();
    for (place, evaluation) in status["evaluations"].as_array().unwrap().iter().enumerate() {
        let jobs = db.jobs(EvaluationId(evaluation["id"].as_i64().unwrap())).await.unwrap();
        assert_eq!(jobs.len(), 12, "{evaluation}");
        if place < SYSTEMS.len() {
            wanted.extend(jobs.into_iter().map(|job| job.derivation));
        }
    }
    assert_eq!(wanted.len(), 12 * SYSTEMS.len());
    while !wanted.is_empty() {
        for build in deputy.queue().await {
            wanted.remove(&text(&build["derivation"]));
        }
    }

    let talk = stop(&mut two).await;
    let refused = format!("nothing is recorded for evaluation {}: its lease was lost", had["two"]);
    assert!(talk.contains("dropped") && talk.contains(&refused), "{talk}");
    let talk = stop(&mut three).await;
    assert!(talk.contains("an evaluation was interrupted, and starts again"), "{talk}");
    assert!(stop(&mut standing_by).await.contains("this one stands by"));
    assert_eq!(db.verify().await.unwrap(), []);
    let stopped = db.hosts().await.unwrap().iter().filter(|host| host.stopped_at.is_some()).count();
    assert_eq!(stopped, 3, "of two nobody knows what became of them");
}

#[tokio::test]
async fn who_schedules_and_who_evaluates_can_share_a_file() {
    let channel = Tree::channel("manifest.scm", &slow("--a"));
    let planner = Farm::new(None);
    planner
        .spec("own", &format!("build = {{ manifests = [\"manifest.scm\"] }}\n{}", channel.as_channel("own")));
    let evaluator = planner.another(&planner.database());

    let said = planner.say(&["run", "--once", "--role", "schedule", "--host", "planner"]).await;
    assert_eq!(
        (said.code, planner.newest().await["state"].take()),
        (Some(0), "pending".into()),
        "{}",
        said.talk
    );
    let said = evaluator.say(&["run", "--once", "--role", "evaluate", "--host", "evaluator"]).await;
    assert_eq!(
        (said.code, planner.newest().await["state"].take()),
        (Some(0), "complete".into()),
        "{}",
        said.talk
    );
    assert!(planner.queue().await.is_empty(), "who only evaluates queues nothing");
    planner.run_once().await;
    assert_eq!(planner.queue().await.len(), 12);
    assert_eq!(planner.newest().await["host"], "evaluator");
    let said = planner.say(&["status"]).await;
    assert!(said.data.contains("evaluator") && said.data.contains("stopped"), "{}", said.data);

    let mut running = planner.start(&["--host", "planner"]);
    planner.until(&mut running, |status| schedules(status, "planner")).await;
    let said = evaluator.say(&["run", "--once", "--host", "planner"]).await;
    assert!(said.code == Some(1) && said.talk.contains("the host name `planner` is taken"), "{}", said.talk);
    let said = evaluator.say(&["run", "--once", "--host", "evaluator"]).await;
    assert!(said.code == Some(1) && said.talk.contains("another host schedules"), "{}", said.talk);
    stop(&mut running).await;
}
