//! A Guix to measure with: packages that change as real ones do, and texts that compress as theirs do.

use std::fmt::Write as _;

use gorget::db::{Batch, Item, ItemKind, NewDerivation, NewJob, Pack};
use gorget::domain::job::{JobMetadata, Location};
use gorget::guix::store_path::StorePath;

/// Jobs in one batch, as an evaluation records them.
const BATCH: usize = 2_000;
/// What all derivations have in common, and all builders. With it, both are as long as those of Guix 1.5 are
/// on average (2.6 and 5.4 kB), and packs are compressed to a twelfth, as those are.
const ENVIRONMENT: &str = include_str!("environment.txt");
const BUILDER: &str = include_str!("builder.txt");

/// A package as it is built for a system: which version, and how often what it stands on changed.
#[derive(Clone, Copy)]
pub struct Package {
    number: usize,
    version: usize,
    state: usize,
    world: usize,
}

impl Package {
    fn hash(self, system: &str, what: &str) -> String {
        let text = format!("{what} {} {} {} {} {system}", self.number, self.version, self.state, self.world);
        StorePath::of_text(b"x", text.as_bytes(), &[""; 0]).unwrap().hash_text()
    }

    fn version(self) -> String {
        format!("{}.{}", self.number * 7919 % 10_007, self.version)
    }

    fn name(self) -> String {
        format!("package-{}-{}", self.number, self.version())
    }

    fn job(self, system: &str) -> NewJob {
        let number = self.number;
        let metadata = JobMetadata {
            package: Some(format!("package-{number}")),
            version: Some(self.version()),
            location: Some(Location { file: format!("gnu/packages/file-{}.scm", number % 400), line: 7 }),
            max_silent_time: 3600,
            timeout: 259_200,
            substitutable: true,
            ..JobMetadata::default()
        };
        NewJob { name: format!("package-{number}.{system}"), derivation: self.hash(system, "drv"), metadata }
    }

    /// Its source: a file that is the same whatever fetches it, for all systems.
    fn source(self, system: &str) -> NewDerivation {
        let here = Self { state: 0, ..self };
        let there = Self { world: 0, ..here };
        let name = format!("{}.tar.gz", self.name());
        let outputs = vec![("out".to_owned(), format!("{}-{name}", there.hash("any", "source")))];
        let hash = here.hash(system, "source-drv");
        NewDerivation { hash, name, system: system.to_owned(), outputs, inputs: Vec::new() }
    }

    /// The derivation, with a dozen inputs that it has from the packages before it.
    fn derivation(self, system: &str, all: &[Self]) -> NewDerivation {
        let inputs = (1..=12).filter_map(|step| all.get(self.number.checked_sub(step * step)?));
        let inputs = inputs.map(|input| input.hash(system, "drv"));
        let inputs = inputs.chain([self.source(system).hash]).collect();
        let name = self.name();
        let outputs = vec![("out".to_owned(), format!("{}-{name}", self.hash(system, "out")))];
        NewDerivation { hash: self.hash(system, "drv"), name, system: system.to_owned(), outputs, inputs }
    }
}

/// All packages for one system, as they are now.
pub struct Tree {
    system: &'static str,
    packages: Vec<Package>,
    jobs: Vec<NewJob>,
    /// Which packages have other derivations, and which other sources, than at the last evaluation.
    changed: Vec<(bool, bool)>,
}

impl Tree {
    pub fn new(system: &'static str, count: usize) -> Self {
        let package = |number| Package { number, version: 0, state: 0, world: 0 };
        let packages: Vec<Package> = (0..count).map(package).collect();
        let jobs = packages.iter().map(|package| package.job(system)).collect();
        Self { system, packages, jobs, changed: vec![(true, true); count] }
    }

    /// A package changes: its version, or something below it.
    pub fn change(&mut self, number: usize, is_version: bool) {
        let package = &mut self.packages[number];
        package.version += usize::from(is_version);
        package.state += 1;
        let (_, source) = self.changed[number];
        self.changed[number] = (true, source || is_version);
    }

    /// Everything changes.
    pub fn change_world(&mut self) {
        self.packages.iter_mut().for_each(|package| package.world += 1);
        self.changed.fill((true, true));
    }

    /// What changed was recorded before.
    pub fn pass(&mut self) {
        for (number, (changed, _)) in self.changed.iter().enumerate() {
            if *changed {
                self.jobs[number] = self.packages[number].job(self.system);
            }
        }
        self.changed.fill((false, false));
    }

    /// What an evaluation records, the derivations and store items of which are new.
    pub fn batches(&mut self) -> Vec<Batch> {
        let changed = self.changed.clone();
        self.pass();
        let mut batches = Vec::new();
        for (part, jobs) in self.jobs.chunks(BATCH).enumerate() {
            let mut derivations = Vec::new();
            for number in (part * BATCH..).take(jobs.len()) {
                let (package, (changed, source)) = (self.packages[number], changed[number]);
                if source {
                    derivations.push(package.source(self.system));
                }
                if changed {
                    derivations.push(package.derivation(self.system, &self.packages));
                }
            }
            // An evaluation packs about a megabyte at a time.
            let packs = derivations.chunks(250).map(pack).collect();
            batches.push(Batch { packs, derivations, jobs: jobs.to_vec(), ..Batch::default() });
        }
        batches
    }
}

/// The store items of derivations: their texts, and those of their builders.
fn pack(derivations: &[NewDerivation]) -> Pack {
    let (mut contents, mut items) = (String::new(), Vec::new());
    for derivation in derivations {
        let builder = format!("b{}", &derivation.hash[1..]);
        let mut kinds = vec![(derivation.hash.clone(), ".drv")];
        if !derivation.inputs.is_empty() {
            kinds.push((builder.clone(), "-builder"));
        }
        for (hash, what) in kinds {
            let start = contents.len();
            if what == ".drv" {
                write_derivation(&mut contents, derivation, &builder);
            } else {
                write_builder(&mut contents, derivation);
            }
            let name = format!("{}{what}", derivation.name);
            let length = (contents.len() - start) as u64;
            items.push(Item {
                hash,
                name,
                kind: ItemKind::Text,
                refs: Vec::new(),
                start: start as u64,
                length,
            });
        }
    }
    Pack { contents: zstd::encode_all(contents.as_bytes(), 3).unwrap(), items }
}

fn write_derivation(text: &mut String, derivation: &NewDerivation, builder: &str) {
    let NewDerivation { name, outputs, inputs, system, .. } = derivation;
    let _ = write!(text, "Derive([(\"out\",\"/gnu/store/{}\",\"\",\"\")],[", outputs[0].1);
    for (place, input) in inputs.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let _ = write!(text, "{comma}(\"/gnu/store/{input}-{}.drv\",[\"out\"])", package_name(input));
    }
    let _ = write!(
        text,
        "],[\"/gnu/store/{builder}-{name}-builder\"],\"{system}\",{ENVIRONMENT}(\"out\",\"/gnu/store/{}\")])",
        outputs[0].1
    );
}

fn write_builder(text: &mut String, derivation: &NewDerivation) {
    let _ =
        write!(text, "{BUILDER} #:source \"{}\" #:name \"{}\" #:inputs '(", derivation.hash, derivation.name);
    for input in &derivation.inputs {
        let _ = write!(text, "(\"{0}\" . \"/gnu/store/{input}-{0}\") ", package_name(input));
    }
    text.push_str(")))");
}

/// A name for what has this hash.
fn package_name(hash: &str) -> String {
    let number: usize = hash.bytes().take(2).map(usize::from).product();
    format!("package-{number}-{}.0", number % 100)
}
