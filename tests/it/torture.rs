//! Processes of evaluations are killed and stopped at random, from outside. What comes out is what comes
//! out undisturbed, but for packages that were killed twice while they were evaluated.
//!
//! The moments are drawn from a seed, which is printed: `GORGET_TORTURE_SEED` repeats them, as far as a
//! machine does the same twice. `make torture` does this to all of Guix.

#![expect(clippy::print_stdout, reason = "the seed and the figures are what a failure is understood by")]

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::{Duration, Instant};

use gorget::sandbox::{Process, measure_tree};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::guix::{Tree, guix_root};
use crate::support::unlimited;

/// Packages that need little, so that a new worker is soon at work; some take longer than the others.
const CHANNEL: &str = "(define-module (own packages)
  #:use-module (guix packages) #:use-module (guix gexp) #:use-module (guix build-system trivial)
  #:use-module (gnu packages bootstrap))
(define module (current-module))
(for-each
 (lambda (n)
   (define torn
     (package
       (name (string-append \"torn-\" (number->string n)))
       (version \"1\")
       (source #f)
       (build-system trivial-build-system)
       (arguments
        (begin
          (let loop ((left (* (modulo n 7) 20000)))
            (unless (zero? left) (loop (- left 1))))
          (list #:guile %bootstrap-guile #:builder #~(mkdir #$output))))
       (home-page #f) (synopsis #f) (description #f) (license #f)))
   (define variable (string->symbol (package-name torn)))
   (module-define! module variable torn)
   (module-export! module (list variable)))
 (iota 600))
";

/// Moments and choices, from a seed: `SplitMix64`.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let given = std::env::var("GORGET_TORTURE_SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        println!("GORGET_TORTURE_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// What an evaluation came to: what there is twice counts twice.
#[derive(Debug, Default)]
struct Evaluated {
    jobs: BTreeMap<(String, String), usize>,
    errors: BTreeMap<(String, String, String), usize>,
    complete: bool,
    log: String,
}

/// How much the torturer may do.
#[derive(Debug, Clone, Copy)]
struct Licence {
    /// How many processes it kills at most: an evaluation comes to its end after that.
    kills: usize,
    /// How many of them are parents at most.
    parents: usize,
    /// How long it waits between two deeds, on average.
    pause: Duration,
}

/// What the torturer did.
#[derive(Debug, Default)]
struct Deeds {
    killed: BTreeSet<u32>,
    /// Those of them that were parents.
    parents: BTreeSet<u32>,
    stopped: usize,
}

/// `gorget evaluate` of one spec.
struct Rack {
    directory: TempDir,
    _source: Tree,
}

impl Rack {
    fn new(source: Tree, spec: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = format!(
            "guix-root = \"{}\"\nstate = \"state\"\n[evaluate]\nworkers = 2\n",
            guix_root().display()
        );
        std::fs::write(directory.path().join("gorget.toml"), config).unwrap();
        std::fs::write(directory.path().join("spec.toml"), spec).unwrap();
        Self { directory, _source: source }
    }

    fn start(&self) -> Process {
        let [config, spec] = ["gorget.toml", "spec.toml"].map(|file| self.directory.path().join(file));
        let output = self.directory.path().join("output");
        // Longer than what a process keeps of its output.
        unlimited("sh")
            .env("GORGET_LOG", "gorget::evaluator=info")
            .args(["-c", "exec \"$0\" evaluate --json --config \"$1\" \"$2\" > \"$3\" 2> \"$3.log\""])
            .arg(env!("CARGO_BIN_EXE_gorget"))
            .args([config, spec, output])
            .spawn()
            .unwrap()
    }

    fn result(&self) -> Evaluated {
        let read = |file: &str| std::fs::read_to_string(self.directory.path().join(file)).unwrap();
        let mut result = Evaluated { log: read("output.log"), ..Evaluated::default() };
        for line in read("output").lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            match text("type").as_str() {
                "job" => *result.jobs.entry((text("name"), text("derivation"))).or_default() += 1,
                "error" => {
                    let error = (text("name"), text("cause"), text("message"));
                    *result.errors.entry(error).or_default() += 1;
                }
                _ => result.complete = true,
            }
        }
        result
    }

    async fn undisturbed(&self) -> Evaluated {
        self.start().finish(Duration::from_mins(30)).await.unwrap();
        let result = self.result();
        assert!(result.complete, "{}", result.log);
        assert_eq!(losses(&result.log), [], "{}", result.log);
        result
    }

    /// Evaluates, and does something to a process now and then.
    async fn tortured(&self, chance: &mut Chance, licence: Licence) -> (Evaluated, Deeds) {
        let mut process = self.start();
        let gorget = process.id().unwrap();
        let mut deeds = Deeds::default();
        let begun = Instant::now();
        loop {
            let micros = chance.below(2 * u64::try_from(licence.pause.as_micros()).unwrap());
            let ended = tokio::time::timeout(Duration::from_micros(micros), process.ended()).await;
            if ended.is_ok() {
                return (self.result(), deeds);
            }
            assert!(begun.elapsed() < Duration::from_hours(3), "it never ends: {}", self.result().log);
            if deeds.killed.len() < licence.kills {
                torment(gorget, chance, licence.parents, &mut deeds).await;
            }
        }
    }
}

/// Kills or stops a process of the evaluation, when workers are there.
async fn torment(gorget: u32, chance: &mut Chance, parents: usize, deeds: &mut Deeds) {
    let (parent, workers) = evaluating(gorget);
    let Some(parent) = parent.filter(|_| !workers.is_empty()) else { return };
    // Mostly the one that has been at work for longest: who is new may be there for a unit that was hit before.
    let any = if chance.below(4) == 0 { chance.below(workers.len() as u64) } else { 0 };
    let worker = workers[usize::try_from(any).unwrap()];
    let signal =
        |pid: u32, signal| kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).is_ok();
    match chance.below(40) {
        0 if deeds.parents.len() < parents => {
            if signal(parent, Signal::KILL) {
                deeds.parents.insert(parent);
                deeds.killed.insert(parent);
            }
        }
        choice @ 1..=3 => {
            let victim = if choice == 1 { parent } else { worker };
            deeds.stopped += usize::from(signal(victim, Signal::STOP));
            tokio::time::sleep(Duration::from_millis(chance.below(200))).await;
            if choice == 3 && signal(victim, Signal::KILL) {
                deeds.killed.insert(victim);
            }
            signal(victim, Signal::CONT);
        }
        _ => {
            if signal(worker, Signal::KILL) {
                deeds.killed.insert(worker);
            }
        }
    }
}

/// The parent that evaluates below `gorget`, and its workers.
fn evaluating(gorget: u32) -> (Option<u32>, Vec<u32>) {
    let runs_worker = |pid: u32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split('\0').next().unwrap().ends_with("guile") && line.contains("worker.scm")
    };
    let tree = measure_tree(gorget);
    let loader = tree.iter().find(|process| runs_worker(process.pid)).map(|process| process.pid);
    let parent = tree.iter().find(|process| Some(process.parent) == loader && runs_worker(process.pid));
    let parent = parent.map(|process| process.pid);
    let workers = tree.iter().filter(|process| Some(process.parent) == parent);
    (parent, workers.map(|process| process.pid).collect())
}

/// The units that Gorget says were in flight when a process was lost, with that process.
fn losses(log: &str) -> Vec<(String, u32)> {
    let value = |line: &str, key: &str| -> String {
        let (_, rest) = line.split_once(&format!(" {key}=")).unwrap_or_else(|| panic!("no {key}: {line}"));
        rest.split(' ').next().unwrap().to_owned()
    };
    let lines = log.lines().filter(|line| line.contains("worker lost"));
    lines
        .map(|line| {
            let unit = value(line, "unit");
            let unit = unit.strip_prefix("Some(\"").and_then(|unit| unit.strip_suffix("\")")).unwrap();
            (unit.to_owned(), value(line, "process").parse().unwrap())
        })
        .collect()
}

/// Makes sure that nothing is missing, changed or twice but what was killed twice; gives how many were. Whoever was
/// lost with a parent that had other workers is not to blame: it is tried once more.
fn assert_only_casualties(undisturbed: &Evaluated, tortured: &Evaluated, deeds: &Deeds) -> usize {
    let log = &tortured.log;
    assert!(tortured.complete, "{log}");
    // Deaths of workers, and of their parents.
    let mut deaths: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for (unit, process) in losses(log) {
        assert!(deeds.killed.contains(&process), "{unit}: nobody killed {process}\n{log}");
        deaths.entry(unit).or_default()[usize::from(deeds.parents.contains(&process))] += 1;
    }
    // Some packages have the name of another one: which of them was hit, Gorget does not say.
    let mut units: BTreeMap<&str, usize> = BTreeMap::new();
    for ((name, _), count) in &undisturbed.jobs {
        *units.entry(name).or_default() += count;
    }
    let namesakes = |name: &str| units.get(name).is_some_and(|count| *count > 1);
    deaths.retain(|name, _| !namesakes(name));
    let was_error = |unit: &str| undisturbed.errors.keys().any(|(name, ..)| name == unit);
    let is_error = |unit: &str| tortured.errors.keys().any(|(name, ..)| name == unit);
    let casualties: BTreeSet<&str> =
        deaths.keys().map(String::as_str).filter(|unit| is_error(unit) && !was_error(unit)).collect();
    for (unit, count) in &deaths {
        let [of_workers, of_parents] = *count;
        let expected = match of_workers {
            0 | 1 => of_workers + of_parents > 1 || !casualties.contains(unit.as_str()),
            2 => casualties.contains(unit.as_str()),
            _ => false,
        };
        assert!(expected, "{unit}: killed {of_workers} times, and {of_parents} times with its parent");
    }

    let of_one = |jobs: &BTreeMap<(String, String), usize>| {
        let mut jobs = jobs.clone();
        jobs.retain(|(name, _), _| !namesakes(name));
        jobs
    };
    let found = of_one(&tortured.jobs);
    let mut expected = of_one(&undisturbed.jobs);
    expected.retain(|(name, _), _| !casualties.contains(name.as_str()));
    let differing = difference(&expected, &found);
    let some = &differing[..differing.len().min(20)];
    assert!(differing.is_empty(), "{} differ, such as {some:#?}\n{log}", differing.len());
    let mut errors = undisturbed.errors.clone();
    for unit in &casualties {
        let found: Vec<_> = tortured.errors.iter().filter(|((name, ..), _)| name == unit).collect();
        let [((_, cause, message), 1)] = found[..] else { panic!("{unit} has {found:?}") };
        let killed =
            message == "the process was killed by signal 9" || message.ends_with("lost with its parent");
        assert!(cause == "signal" && killed, "{unit}: {cause}: {message}");
        errors.retain(|(name, ..), _| name != unit);
        errors.insert(((*unit).to_owned(), cause.clone(), message.clone()), 1);
    }
    let mut found = tortured.errors.clone();
    found.retain(|(name, ..), _| !namesakes(name));
    errors.retain(|(name, ..), _| !namesakes(name));
    assert!(found == errors, "{:#?}", difference(&errors, &found));
    casualties.len()
}

fn difference<'a, K: Ord>(a: &'a BTreeMap<K, usize>, b: &'a BTreeMap<K, usize>) -> Vec<(&'a K, [usize; 2])> {
    let keys: BTreeSet<&K> = a.keys().chain(b.keys()).collect();
    let count = |of: &BTreeMap<K, usize>, key: &K| of.get(key).copied().unwrap_or(0);
    let pairs = keys.into_iter().map(|key| (key, [count(a, key), count(b, key)]));
    pairs.filter(|(_, [a, b])| a != b).collect()
}

#[tokio::test]
async fn random_kills_cost_only_what_they_hit_twice() {
    let channel = Tree::channel("own/packages.scm", CHANNEL);
    let spec = format!(
        "build = {{ channels = [\"own\"] }}\nsystems = [\"x86_64-linux\"]\n{}",
        channel.as_channel("own")
    );
    let rack = Rack::new(channel, &spec);
    let undisturbed = rack.undisturbed().await;
    assert_eq!((undisturbed.jobs.len(), undisturbed.errors.len()), (600, 0), "{}", undisturbed.log);
    let licence = Licence { kills: usize::MAX, parents: 1, pause: Duration::from_millis(100) };
    let (tortured, deeds) = rack.tortured(&mut Chance::new(), licence).await;
    let casualties = assert_only_casualties(&undisturbed, &tortured, &deeds);
    println!("{} killed, {} stopped: {casualties} casualties", deeds.killed.len(), deeds.stopped);
    assert!(deeds.killed.len() > 5, "{deeds:?}");
}

#[tokio::test]
#[ignore = "takes half an hour: make torture"]
async fn ten_thousand_kills_while_all_of_guix_is_evaluated() {
    let kills = std::env::var("GORGET_TORTURE_KILLS").map_or(10_000, |count| count.parse().unwrap());
    let guix = Tree::guix().await;
    let spec = format!("build = \"all\"\nsystems = [\"x86_64-linux\"]\n{}", guix.as_channel("guix"));
    let rack = Rack::new(guix, &spec);
    let begun = Instant::now();
    let undisturbed = rack.undisturbed().await;
    println!("undisturbed: {} jobs, {} errors", undisturbed.jobs.len(), undisturbed.errors.len());
    // A slow or busy machine has to get somewhere between two kills, too.
    let pause = begun.elapsed() / 400;
    let mut chance = Chance::new();
    let mut total = 0;
    while total < kills {
        let begun = Instant::now();
        let licence = Licence { kills: kills - total, parents: 2, pause };
        let (tortured, deeds) = rack.tortured(&mut chance, licence).await;
        let casualties = assert_only_casualties(&undisturbed, &tortured, &deeds);
        total += deeds.killed.len();
        println!(
            "{total} killed; this time {} in {:.0?}, {} of them parents, {} stopped: {casualties} casualties, all else equal",
            deeds.killed.len(),
            begun.elapsed(),
            deeds.parents.len(),
            deeds.stopped,
        );
    }
}
