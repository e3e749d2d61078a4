//! From an index to the keys of compiled modules.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::digest::{Graph, hash_set};
use super::index::{Hash, Sort, texts_hash};
use super::reader::Symbol;
use super::sources::{File, Kind, Layer};

/// Goes up whenever keys or the way of compiling change.
const FORMAT: &str = "gorget compiled module 2";

/// What identifies the compiled form of one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// For a module compiled by us: nothing of other modules is in it but what macros put there.
    pub own: Hash,
    /// For a module compiled by Guix's own build, which copies code from one module to another.
    pub host: Hash,
    /// For the fact that it does not compile: everything that it imports takes part.
    pub failure: Hash,
    /// How many modules it imports, and those import.
    pub imports: usize,
}

/// What keys depend on beside the sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compiler {
    /// Version and build of Guile, and the machine it compiles for.
    pub identity: String,
    /// The names that Guile gives every module: its macros and primitives are among them.
    pub core: Vec<String>,
}

/// Guile's optimization level for a file, as Guix chooses it; other channels get the cheap one.
pub fn level(kind: Kind, path: &str) -> u8 {
    if kind == Kind::Channel || path.starts_with("gnu/packages/") || path.starts_with("gnu/tests/") {
        1
    } else if path.starts_with("gnu/services/") || path.starts_with("gnu/home/services/") {
        2
    } else {
        3
    }
}

/// The keys of all files that are modules of Guix or another channel, by path.
pub fn keys(files: &[File], layers: &[Layer], compiler: &Compiler) -> HashMap<String, Keys> {
    let core = compiler.core.iter().map(String::as_bytes).collect();
    let index = super::index::index(files, layers, &core);
    let mut graph = Graph::new(&index, compiler);
    graph.digest_all();
    let graph = &graph;
    let wanted: Vec<u32> = (0..)
        .zip(files)
        .filter(|(number, file)| file.kind != Kind::Library && index.seen[*number as usize].is_module)
        .map(|(number, _)| number)
        .collect();
    let half = wanted.len().div_ceil(2);
    let work = |part: &[u32]| -> Vec<(String, Keys)> {
        part.iter().map(|n| (files[*n as usize].path.clone(), graph.keys(files, *n, compiler))).collect()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(&wanted[half..]));
        let mut keys: HashMap<_, _> = work(&wanted[..half]).into_iter().collect();
        match other.join() {
            Ok(more) => keys.extend(more),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        keys
    })
}

impl Graph<'_> {
    /// The keys of file number `number`.
    fn keys(&self, files: &[File], number: u32, compiler: &Compiler) -> Keys {
        let file = &files[number as usize];
        let seen = &self.index.seen[number as usize];
        let level = level(file.kind, &file.path);
        let (mut own, mut host) = (Vec::new(), Vec::new());
        for symbol in &seen.symbols {
            self.add_symbol(files, number, *symbol, &mut own, &mut host);
        }
        let (mut effects, mut all) = (Vec::new(), Vec::new());
        for (other, at) in self.index.seen.iter().zip(0..).filter(|(_, at)| seen.reaches(*at)) {
            let foreign = &files[at as usize];
            let text = texts_hash(&[foreign.path.as_bytes(), &other.hash]);
            effects.extend(other.effects.iter().map(|effect| self.effect(*effect)));
            if other.opaque || seen.opaque {
                own.push(text);
            }
            if level > 1 && super::key::level(foreign.kind, &foreign.path) > 1 {
                host.push(text);
            }
            all.push(text);
        }
        own.extend(effects);
        let start = format!("{FORMAT}\n{}\n{level}\n{}\n{}\n", compiler.identity, file.path, file.place);
        let base = Sha256::new_with_prefix(start).chain_update(seen.hash).chain_update(hash_set(own));
        let imports = all.len();
        let with = |more: Vec<Hash>, what: &str| base.clone().chain_update(what).chain_update(hash_set(more));
        Keys {
            own: base.clone().finalize().into(),
            host: with(if level > 1 { host } else { Vec::new() }, "host").finalize().into(),
            failure: with(all, "failure").finalize().into(),
            imports,
        }
    }

    /// A top-level effect counts by its text, and by what it reaches when it changes the language.
    fn effect(&self, definition: u32) -> Hash {
        let this = &self.index.definitions[definition as usize];
        if this.sort == Sort::Plain { this.hash } else { self.digests[definition as usize] }
    }

    /// Adds what `symbol` may mean in `file`.
    fn add_symbol(
        &self,
        files: &[File],
        file: u32,
        symbol: Symbol,
        own: &mut Vec<Hash>,
        host: &mut Vec<Hash>,
    ) {
        let mut meanings = Vec::new();
        self.meanings(file, symbol, &mut |_, at| meanings.push(at));
        if meanings.is_empty() {
            return;
        }
        let special = self.is_special(symbol, &meanings);
        let places = self.places(file, symbol, &meanings);
        let paths = places.iter().map(|place| files[*place as usize].path.as_bytes());
        let words: Vec<&[u8]> = std::iter::once(self.names[symbol as usize]).chain(paths).collect();
        let place = texts_hash(&words);
        if special {
            own.push(place);
            let macros = meanings.iter().filter(|at| self.is_root(**at));
            own.extend(macros.map(|at| self.digests[*at as usize]));
        }
        host.push(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of modules given as path and source.
    fn keys_of(modules: &[(&str, &str)]) -> HashMap<String, Keys> {
        let layers = [Layer::trusted("nowhere".into(), Kind::Guix)];
        let file = |(path, text): &(&str, &str)| File {
            path: (*path).to_owned(),
            place: (*path).to_owned(),
            layer: 0,
            kind: Kind::Guix,
            text: text.as_bytes().to_vec(),
        };
        let mut files: Vec<File> = modules.iter().map(file).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let core = ["list", "define", "define-syntax", "let"].map(str::to_owned).to_vec();
        keys(&files, &layers, &Compiler { identity: "3.0".to_owned(), core })
    }

    const BASE: [(&str, &str); 6] = [
        (
            "guix/base32.scm",
            "(define-module (guix base32) #:export (decode)) (define (decode s) (split s)) (define (split s) s)",
        ),
        (
            "guix/packages.scm",
            "(define-module (guix packages) #:use-module (guix base32) #:use-module (guix records)
               #:export (base32 package unit package-name))
             (define-syntax base32 (lambda (s) (syntax-case s () ((_ x) (decode #'x)))))
             (define-record-type* <package> package make-package package? (name package-name))
             (define-syntax-rule (unit x) (wrap (helper x)))
             (define-syntax-rule (wrap x) x)
             (define (helper x) x)",
        ),
        (
            "guix/records.scm",
            "(define-module (guix records) #:export (define-record-type*)) (define-syntax define-record-type* (lambda (s) s))",
        ),
        (
            "gnu/packages/a.scm",
            "(define-module (gnu packages a) #:use-module (guix packages)) (define-public a (package (name \"a\")))",
        ),
        (
            "gnu/packages/b.scm",
            "(define-module (gnu packages b) #:use-module ((guix packages) #:prefix p:) #:use-module (gnu packages a)) (define-public b (p:base32 (list a))) (define (c x) (settings-x x))",
        ),
        ("guix/user.scm", "(define-module (guix user) #:use-module (guix packages)) (define u (unit 1))"),
    ];

    /// Which modules get other keys when `old` becomes `new` in one of them: for our own compiled
    /// modules, and for those of the installed Guix.
    fn changed(path: &str, old: &str, new: &str) -> (Vec<String>, Vec<String>) {
        let mut modules = BASE;
        let place = modules.iter().position(|(name, _)| *name == path).unwrap();
        let text = modules[place].1.replacen(old, new, 1);
        assert_ne!(text, modules[place].1, "{old}");
        modules[place].1 = &text;
        let (before, after) = (keys_of(&BASE), keys_of(&modules));
        let other = |differs: &dyn Fn(&Keys, &Keys) -> bool| {
            let mut paths: Vec<String> =
                before.iter().filter(|(p, k)| differs(k, &after[*p])).map(|(p, _)| p.clone()).collect();
            paths.sort();
            paths
        };
        (other(&|a, b| a.own != b.own), other(&|a, b| a.host != b.host))
    }

    #[test]
    fn a_value_concerns_its_own_file() {
        let (own, host) = changed("gnu/packages/a.scm", "\"a\"", "\"A\"");
        assert_eq!(own, ["gnu/packages/a.scm"]);
        assert_eq!(host, own);
        // Guix's own build may have copied the procedure into whatever imports it.
        let (own, host) = changed("guix/packages.scm", "(helper x) x)", "(helper x) (+ x 1))");
        assert_eq!(own, ["guix/packages.scm"]);
        assert_eq!(host, ["guix/packages.scm", "guix/user.scm"]);
    }

    #[test]
    fn a_macro_concerns_whoever_uses_it() {
        // Through another macro.
        assert_eq!(
            changed("guix/packages.scm", "(wrap x) x)", "(wrap x) 1)").0,
            ["guix/packages.scm", "guix/user.scm"]
        );
        // Through a prefix, and because it calls a procedure of another module, which calls another.
        let users = ["gnu/packages/b.scm", "guix/base32.scm", "guix/packages.scm"];
        assert_eq!(changed("guix/base32.scm", "(split s) s)", "(split s) 1)").0, users);
        // Through the macro that made it.
        let users = ["gnu/packages/a.scm", "guix/packages.scm", "guix/records.scm"];
        assert_eq!(changed("guix/records.scm", "(lambda (s) s)", "(lambda (s) 1)").0, users);
        // Through a name that it made.
        let record = "(define-configuration settings (x 1)) (define-public a";
        let (own, _) = changed("gnu/packages/a.scm", "(define-public a", record);
        assert_eq!(own, ["gnu/packages/a.scm", "gnu/packages/b.scm"]);
    }

    #[test]
    fn a_name_that_gets_another_meaning_concerns_whoever_uses_it() {
        let (own, _) =
            changed("gnu/packages/a.scm", "(define-public a", "(define-public (list . x) x)(define-public a");
        assert_eq!(own, ["gnu/packages/a.scm", "gnu/packages/b.scm"], "a name of Guile");
        let (own, _) =
            changed("gnu/packages/a.scm", "(define-public a", "(define-public base32 1)(define-public a");
        assert_eq!(own, ["gnu/packages/a.scm", "gnu/packages/b.scm"], "a name of a macro");
        let (own, _) =
            changed("gnu/packages/a.scm", "(define-public a (package", "(define-syntax a (package");
        assert_eq!(own, ["gnu/packages/a.scm", "gnu/packages/b.scm"], "a variable that becomes a macro");
    }

    #[test]
    fn effects_and_disguises_are_seen() {
        for trick in [
            "(set! list vector)",
            "(eval-when (expand) (read-hash-extend #\\! decode))",
            "(cond-expand (guile (define-syntax a 1)))",
            "(begin #;(hidden) (define-syntax #{a}# 1))",
            "#| #| |# |# (define-syntax #;b a 1)",
            "(export (b . a))",
        ] {
            let (own, _) =
                changed("gnu/packages/a.scm", "(define-public a", &format!("{trick} (define-public a"));
            assert_eq!(own, ["gnu/packages/a.scm", "gnu/packages/b.scm"], "{trick}");
        }
        for comment in [
            "; (define-syntax a 1)\n",
            "#| (define-syntax a 1) |#",
            "#! (define-syntax a 1) !#",
            "\"(define-syntax a 1)\"",
        ] {
            let (own, _) =
                changed("gnu/packages/a.scm", "(define-public a", &format!("{comment} (define-public a"));
            assert_eq!(own, ["gnu/packages/a.scm"], "{comment}");
        }
    }
}
