use super::*;

/// The keys of modules given as path and source.
fn keys_of(modules: &[(&str, &str)]) -> HashMap<String, Keys> {
    compared(Kind::Guix, modules, &KeyLimits::limited()).unwrap().keys
}

fn compared(kind: Kind, modules: &[(&str, &str)], limits: &KeyLimits) -> Result<Keyed, SourcesError> {
    let empty = tempfile::tempdir().unwrap();
    let layers = [Layer { name: "evil".to_owned(), ..Layer::alone(empty.path().to_owned(), kind) }];
    let file = |(path, text): &(&str, &str)| File {
        path: (*path).to_owned(),
        place: (*path).to_owned(),
        layer: 0,
        kind,
        text: text.as_bytes().to_vec(),
    };
    let mut files: Vec<File> = modules.iter().map(file).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let core = ["list", "define", "define-syntax", "let"].map(str::to_owned).to_vec();
    keys(&files, &layers, kind, &CompilerIdentity { identity: "3.0".to_owned(), core }, limits)
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
    let (own, _) = changed("gnu/packages/a.scm", "(define-public a (package", "(define-syntax a (package");
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

#[test]
fn what_imports_an_unknown_module_has_no_key_either() {
    let unknown = "(define-module (x)) (include \"/etc/passwd\")";
    let modules = [
        ("a.scm", "(define-module (a) #:use-module (b))"),
        ("b.scm", "(define-module (b) #:use-module (x))"),
        ("c.scm", "(define-module (c))"),
        ("x.scm", unknown),
    ];
    let limits = KeyLimits::limited();
    let keyed = compared(Kind::Channel, &modules, &limits).unwrap();
    assert_eq!(keyed.keys.keys().collect::<Vec<_>>(), ["c.scm"]);
    assert_eq!(keyed.unknown.len(), 1);
    assert_eq!(keyed.unknown[0].0, "x.scm");
}

/// `count` modules, each of which defines a macro and imports these others by number.
fn many(count: usize, imports: &dyn Fn(usize) -> Vec<usize>) -> Vec<(String, String)> {
    let module = |number: usize| {
        let others: String =
            imports(number).iter().map(|other| format!("#:use-module (m{other}) ")).collect();
        let uses: String = imports(number).iter().map(|other| format!("(macro{other} 1) ")).collect();
        let text =
            format!("(define-module (m{number}) {others}) (define-syntax macro{number} (lambda (s) {uses}))");
        (format!("m{number}.scm"), text)
    };
    (0..count).map(module).collect()
}

fn steps(modules: &[(String, String)]) -> u64 {
    let modules: Vec<_> = modules.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let limits = KeyLimits::limited();
    let keyed = compared(Kind::Channel, &modules, &limits).unwrap();
    assert_eq!(keyed.keys.len(), modules.len());
    limits.used().0
}

#[test]
fn twice_as_many_modules_take_twice_as_many_steps() {
    type Imports<'a> = &'a dyn Fn(usize, usize) -> Vec<usize>;
    let shapes: [(&str, Imports<'_>); 3] = [
        ("independent", &|_, _| Vec::new()),
        ("with one base", &|number, _| if number == 0 { Vec::new() } else { vec![0] }),
        ("in a circle", &|number, count| vec![(number + 1) % count]),
    ];
    for (what, imports) in shapes {
        let [once, twice] = [800, 1600].map(|count| steps(&many(count, &|number| imports(number, count))));
        assert!(twice < once * 5 / 2, "{what}: {once} and {twice} steps");
    }
}

#[test]
fn what_takes_too_much_is_refused_and_the_channel_named() {
    let one = |text: String| vec![("x.scm".to_owned(), format!("(define-module (x)) {text}"))];
    let prefixes: String = (0..20_000).map(|number| format!("#:prefix p{number}: ")).collect();
    let names: String = (0..20_000).map(|number| format!("n{number} ")).collect();
    for (what, modules) in [
        ("one macro, defined often", one("(define-syntax x (lambda (s) x))".repeat(20_000))),
        ("many prefixes", one(format!("(use-modules ((y) {prefixes})) (define z '({names}))"))),
        ("a long chain", many(20_000, &|number| if number == 0 { Vec::new() } else { vec![number - 1] })),
        ("many forms", one("()".repeat(100_000))),
        ("many symbols", one((0..200_000).map(|number| format!("s{number} ")).collect())),
    ] {
        let modules: Vec<_> = modules.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let limits = KeyLimits::of(20_000_000, 8 << 20);
        let error = compared(Kind::Channel, &modules, &limits).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("`evil`") && error.contains("hint: "), "{what}: {error}");
    }
}

#[test]
fn it_is_known_whose_files_a_channel_reaches() {
    let directory = tempfile::tempdir().unwrap();
    let layer =
        |name: &str, kind| Layer { name: name.to_owned(), ..Layer::alone(directory.path().join(name), kind) };
    let layers = [
        ("guix", Kind::Guix),
        ("lib", Kind::Library),
        ("a", Kind::Channel),
        ("b", Kind::Channel),
        ("c", Kind::Channel),
    ]
    .map(|(name, kind)| layer(name, kind));
    for (path, text) in [
        ("guix/guix/x.scm", "(define-module (guix x) #:use-module (json))"),
        ("lib/json.scm", "(define-module (json))"),
        ("a/a.scm", "(define-module (a) #:use-module (b))"),
        ("b/b.scm", "(define-module (b) #:use-module (guix x)) (include-from-path \"c/text.scm\")"),
        ("b/d.scm", "(define-module (d) #:use-module (guix x))"),
        ("c/c.scm", "(define-module (c))"),
        ("c/c/text.scm", "(define text 1)"),
    ] {
        let path = directory.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    let limits = KeyLimits::limited();
    let files = crate::evaluator::runtime::sources::files(&layers, &limits).unwrap();
    let reached = |kind| {
        let keyed = keys(&files, &layers, kind, &CompilerIdentity::default(), &limits).unwrap();
        let mut reached: Vec<_> = keyed
            .reached
            .into_iter()
            .map(|(layer, of)| (layer, of.into_iter().collect::<Vec<_>>()))
            .collect();
        reached.sort();
        reached
    };
    assert_eq!(reached(Kind::Channel), [(2, vec![0, 2, 3, 4]), (3, vec![0, 3, 4]), (4, vec![4])]);
    assert_eq!(reached(Kind::Guix), [(0, vec![0])]);
}

#[test]
fn what_packages_reach_is_known() {
    let mut modules = BASE.to_vec();
    modules.extend([
        ("gnu/ci.scm", "(define-module (gnu ci) #:use-module (gnu system))"),
        ("gnu/packages/c.scm", "(define-module (gnu packages c) #:autoload (guix lazy) (late))"),
        ("gnu/system.scm", "(define-module (gnu system))"),
        (
            "gnu/tests/t.scm",
            "(define-module (gnu tests t) #:use-module (gnu packages a) #:use-module (gnu tests))",
        ),
        ("gnu/tests.scm", "(define-module (gnu tests))"),
        ("guix/lazy.scm", "(define-module (guix lazy) #:export (late))"),
        ("tests/packages.scm", "(define-module (test-packages) #:use-module (gnu packages a))"),
    ]);
    let keyed = compared(Kind::Guix, &modules, &KeyLimits::limited()).unwrap();
    let mut rest: Vec<&str> = modules.iter().map(|(path, _)| *path).collect();
    rest.retain(|path| !keyed.of_packages.contains(*path));
    assert_eq!(rest, ["guix/user.scm", "gnu/tests/t.scm", "gnu/tests.scm", "tests/packages.scm"]);
}
