//! Farms: the real program, with a state directory of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gorget::db::Db;
use gorget::sandbox::{Process, describe_exit};
use serde_json::Value;
use tempfile::TempDir;

use super::disk::SmallDisk;
use super::guix::guix_root;
use super::unlimited;

/// More time than any command needs on a slow machine.
const PATIENCE: Duration = Duration::from_mins(30);

/// A farm: specs, a configuration, and all that Gorget keeps.
pub struct Farm {
    directory: TempDir,
    /// What every command begins with.
    prefix: Vec<String>,
    /// Environment variables of every command.
    env: Vec<(String, String)>,
}

/// What a command said.
pub struct Said {
    /// Its exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub data: String,
    /// Standard error.
    pub talk: String,
}

impl Farm {
    /// A farm without specs. Without a `coordinator`'s URL, the queue is the result.
    pub fn new(coordinator: Option<&str>) -> Self {
        Self::with_guix(&guix_root(), coordinator)
    }

    /// The same with the Guix below `root`.
    pub fn with_guix(root: &Path, coordinator: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("specs")).unwrap();
        let mut config = format!(
            "state = \"state\"\nspecs = \"specs\"\nguix-root = \"{}\"\n[evaluate]\nworkers = 2\n",
            root.display()
        );
        if let Some(url) = coordinator {
            let coordinator = format!("[coordinator]\nkind = \"guix-build-coordinator\"\nurl = \"{url}\"\n");
            config.push_str(&coordinator);
        }
        std::fs::write(directory.path().join("gorget.toml"), config).unwrap();
        let farm = Self { directory, prefix: Vec::new(), env: Vec::new() };
        share_compiled_worker(&farm.state());
        farm
    }

    /// Has all that it keeps on a disk of so many MiB.
    pub fn on_small_disk(&mut self, mebibytes: u32) -> SmallDisk {
        let disk = SmallDisk::at(&self.state(), mebibytes);
        self.prefix = disk.enter();
        disk
    }

    /// Has every command begin with these words.
    pub fn begin_with(&mut self, words: Vec<String>) {
        self.prefix = words;
    }

    /// Sets an environment variable for every command.
    pub fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Adds to the configuration.
    pub fn configure(&self, text: &str) {
        let file = self.directory.path().join("gorget.toml");
        let config = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{config}\n{text}\n")).unwrap();
    }

    /// Adds to the section `[evaluate]`.
    pub fn configure_evaluate(&self, text: &str) {
        let file = self.directory.path().join("gorget.toml");
        let config = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, config.replace("workers = 2\n", &format!("workers = 2\n{text}"))).unwrap();
    }

    /// Another machine of the same farm: it has the same database, and the same specs.
    pub fn another(&self, database: &str) -> Self {
        let other = Self::new(None);
        other.share(database, &self.directory.path().join("specs"));
        other
    }

    /// Has its database elsewhere.
    pub fn at_database(&self, database: &str) {
        self.share(database, Path::new("specs"));
    }

    fn share(&self, database: &str, specs: &Path) {
        let file = self.directory.path().join("gorget.toml");
        let config = std::fs::read_to_string(&file).unwrap();
        let config = config.replace("specs = \"specs\"", &format!("specs = \"{}\"", specs.display()));
        std::fs::write(file, format!("database = \"{database}\"\n{config}")).unwrap();
    }

    /// The directory of all that it keeps.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Where the file of a spec is.
    pub fn spec_file(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("specs/{name}.toml"))
    }

    /// Writes a spec file and says where.
    pub fn spec(&self, name: &str, text: &str) -> PathBuf {
        let file = self.spec_file(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// A run of `gorget` on this farm.
    pub fn gorget(&self, arguments: &[&str]) -> Process {
        let program = env!("CARGO_BIN_EXE_gorget").to_owned();
        let mut words = self.prefix.iter().cloned().chain([program, "--config".to_owned()]);
        let tool = unlimited(words.next().unwrap()).args(words);
        let tool = self.env.iter().fold(tool, |tool, (name, value)| tool.env(name, value));
        tool.arg(self.directory.path().join("gorget.toml")).args(arguments).spawn().unwrap()
    }

    /// Runs a command to its end.
    pub async fn say(&self, arguments: &[&str]) -> Said {
        let finished = self.gorget(arguments).finish(PATIENCE).await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = finished.status.and_then(|status| status.code());
        Said { code, data: text(finished.stdout), talk: text(finished.stderr) }
    }

    /// Runs a command to its end, as a user whose home is `home`.
    pub async fn say_at(&self, home: &Path, arguments: &[&str]) -> Said {
        let gorget = unlimited(env!("CARGO_BIN_EXE_gorget")).env("HOME", home).arg("--config");
        let gorget = gorget.arg(self.directory.path().join("gorget.toml")).args(arguments);
        let finished = gorget.spawn().unwrap().finish(PATIENCE).await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = finished.status.and_then(|status| status.code());
        Said { code, data: text(finished.stdout), talk: text(finished.stderr) }
    }

    /// Does everything once; whatever there was to do went well.
    pub async fn run_once(&self) {
        let said = self.say(&["run", "--once"]).await;
        assert_eq!(said.code, Some(0), "{}", said.talk);
    }

    /// Does everything once; something is wrong with what the farm was given.
    pub async fn run_once_in_trouble(&self) -> String {
        let said = self.say(&["run", "--once"]).await;
        assert_eq!(said.code, Some(1), "{}", said.talk);
        said.talk
    }

    /// Begins to run `gorget run` with these arguments.
    pub fn start(&self, arguments: &[&str]) -> Process {
        self.gorget(&[&["run"], arguments].concat())
    }

    /// The same of a program that may open so many files.
    pub fn start_with_files(&self, files: u32, arguments: &[&str]) -> Process {
        let limited = ["-c", "ulimit -n \"$0\" && exec \"$@\"", &files.to_string()].map(str::to_owned);
        let gorget = unlimited("sh").args(limited).arg(env!("CARGO_BIN_EXE_gorget")).arg("--config");
        let gorget = gorget.arg(self.directory.path().join("gorget.toml")).arg("run");
        gorget.args(arguments.iter().map(|word| (*word).to_owned())).spawn().unwrap()
    }

    /// What `gorget status` says.
    pub async fn status(&self) -> Value {
        let said = self.say(&["status", "--json"]).await;
        assert_eq!(said.code, Some(0), "{}", said.talk);
        serde_json::from_str(&said.data).unwrap()
    }

    /// The newest evaluation of the only spec.
    pub async fn newest(&self) -> Value {
        self.status().await["evaluations"][0].take()
    }

    /// The evaluations of a spec, the oldest first.
    pub async fn evaluations(&self, spec: &str) -> Vec<Value> {
        let mut status = self.status().await;
        let Value::Array(mut evaluations) = status["evaluations"].take() else { panic!("{status}") };
        evaluations.retain(|evaluation| evaluation["spec"] == spec);
        evaluations.reverse();
        evaluations
    }

    /// The queue, in its order.
    pub async fn queue(&self) -> Vec<Value> {
        let said = self.say(&["queue", "--json"]).await;
        assert_eq!(said.code, Some(0), "{}", said.talk);
        said.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Jobs of the builds that the evaluation `number` was the first to want, sorted.
    pub async fn queued_by(&self, number: i64) -> Vec<String> {
        let queue = self.queue().await;
        let mut jobs: Vec<String> = queue
            .iter()
            .filter(|build| build["evaluation"] == number)
            .map(|build| text(&build["job"]))
            .collect();
        jobs.sort_unstable();
        jobs
    }

    /// What `gorget diff` says of two evaluations: the jobs under each heading that has any, and the
    /// messages of new errors by name.
    pub async fn diff(&self, a: i64, b: i64) -> (BTreeMap<String, Vec<String>>, BTreeMap<String, String>) {
        let said = self.say(&["diff", "--json", &a.to_string(), &b.to_string()]).await;
        assert_eq!(said.code, Some(0), "{}", said.talk);
        let answer: Value = serde_json::from_str(&said.data).unwrap();
        let headings = answer["diff"].as_object().unwrap().iter();
        let jobs = |list: &Value| list.as_array().unwrap().iter().map(|job| text(&job["job"])).collect();
        let diff = headings.map(|(name, list)| (name.clone(), jobs(list)));
        let errors = answer["new_errors"].as_array().unwrap().iter();
        let errors = errors.map(|error| (text(&error["name"]), text(&error["message"])));
        (diff.filter(|(_, jobs): &(_, Vec<_>)| !jobs.is_empty()).collect(), errors.collect())
    }

    /// Where its database is.
    pub fn database(&self) -> String {
        self.directory.path().join("state/gorget.db").to_str().unwrap().to_owned()
    }

    /// Its database.
    pub async fn db(&self) -> Db {
        Db::open(&self.database()).await.unwrap()
    }

    /// Asks for the status until `enough` is true of it; the farm must be at work.
    pub async fn until(&self, process: &mut Process, enough: impl Fn(&Value) -> bool) -> Value {
        loop {
            let ended = tokio::time::timeout(Duration::from_millis(50), process.ended()).await;
            let said = self.say(&["status", "--json"]).await;
            if let Ok(status) = serde_json::from_str(&said.data)
                && enough(&status)
            {
                return status;
            }
            assert!(ended.is_err(), "it ended before that: {}", describe_exit(ended.unwrap().unwrap()));
        }
    }
}

/// Has the compiled form of the evaluator's own code in common with all other farms. Each story would compile it
/// anew otherwise, and that took a third of all processor time.
pub fn share_compiled_worker(state: &Path) {
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-worker");
    std::fs::create_dir_all(&shared).unwrap();
    let compiled = state.join("compiled");
    std::fs::create_dir_all(&compiled).unwrap();
    std::fs::set_permissions(state, Permissions::from_mode(0o711)).unwrap();
    std::os::unix::fs::symlink(shared, compiled.join("evaluator")).unwrap();
}

/// What a JSON string says.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string")).to_owned()
}

/// Pairs of job and derivation, from objects that have both.
pub fn derivations<'a>(objects: impl IntoIterator<Item = &'a Value>) -> BTreeSet<(String, String)> {
    objects.into_iter().map(|object| (text(&object["job"]), text(&object["derivation"]))).collect()
}
