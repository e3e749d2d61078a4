//! Every hostile channel against the whole program: what anybody who can commit to one watched channel
//! may try. An honest client is served throughout (`support/siege.rs` says what is checked).

use crate::support::siege::{End, Siege, Story};

mod every;

/// Names of packages, as a spec has them.
fn packages(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("{{ packages = [{}] }}", names.join(", "))
}

/// Files that only look like modules: whoever reads them through the file system hangs, or never ends.
fn links() -> Vec<Story> {
    let second = |name, files: &[(&'static str, &str)]| {
        let file = |(place, target): &(&'static str, &str)| {
            ("120000", (*place).to_owned(), target.as_bytes().to_vec())
        };
        let mut second: Vec<_> = files.iter().map(file).collect();
        second.push(("100644", "README".to_owned(), b"changed".to_vec()));
        Story { second, build: packages(&["good", "fine"]), end: End::Ends, ..Story::new(name, "") }
    };
    vec![
        second("zero", &[("evil/zero.scm", "/dev/zero")]),
        second("terminal", &[("evil/console.scm", "/dev/tty0"), ("evil/random.scm", "/dev/random")]),
        second("kernel", &[("evil/log.scm", "/proc/kmsg"), ("evil/self.scm", "/proc/self/fd/0")]),
    ]
}

/// Files of the host that a module would include.
fn includes() -> Vec<Story> {
    let including = |name, path: &str| {
        Story::new(name, format!("(define-bad bad (list))\n(define (never) (include {path:?}))"))
    };
    vec![
        Story { build: packages(&["good", "fine"]), ..including("includes-a-device", "/dev/zero") },
        Story { build: packages(&["good", "fine"]), ..including("includes-the-log", "/proc/kmsg") },
        Story {
            build: packages(&["good", "fine"]),
            ..including("includes-above", "../../../../../../../../dev/zero")
        },
    ]
}

/// Says things over the connection of the process that evaluates.
const SAY: &str = r"
(define control (@@ (guile-user) control))
(define (say . messages)
  (for-each (lambda (message) (write message control) (newline control)) messages)
  (force-output control))
";

/// Messages that are as large and as many as can be.
fn floods() -> Vec<Story> {
    let story = |name, code: &str| Story::new(name, format!("{SAY}{code}"));
    vec![
        story(
            "many-jobs-of-one-unit",
            r"
(define-bad bad
  (let ((text (make-string 240000 #\x)))
    (for-each (lambda (_) (say `(also 1 ,text ,text (#f #f #f #f #f #f 1 1)))) (iota 14000))))",
        ),
        story(
            "many-errors-of-one-unit",
            r#"
(define-bad bad
  (for-each (lambda (n) (say `(also 1 "bad" "/gnu/store/00000000000000000000000000000000-x.drv" (#f #f #f #f #f #f 1 1))))
            (iota 14000)))"#,
        ),
        Story {
            end: End::Fails("more than 256 KiB"),
            ..story(
                "large-errors-of-modules",
                r"
(define-bad bad (list))
(let ((text (make-string 60000000 #\x)))
  (for-each (lambda (_) (say `(module-error ,text exception ,text))) (iota 60)))",
            )
        },
        story(
            "a-derivation-of-many-outputs",
            r#"
(define-bad bad
  (with-store store
    (let ((numbers (iota 300000)))
      (add-text-to-store
       store "bad-1.drv"
       (string-append
        "Derive(["
        (string-join (map (lambda (n) (format #f "(\"o~a\",\"\",\"\",\"\")" n)) numbers) ",")
        "],[],[],\"x86_64-linux\",\"/bin/sh\",[],["
        (string-join (map (lambda (n) (format #f "(\"v~a\",\"\")" n)) numbers) ",")
        "])")
       '()))))"#,
        ),
    ]
}

/// What takes memory, processes and time.
fn hogs() -> Vec<Story> {
    vec![
        Story::new(
            "hogs",
            "(define-bad bad (let loop ((all '())) (loop (cons (make-bytevector 10000000 1) all))))",
        ),
        Story::new("loops", "(define-bad bad (let loop () (loop)))"),
        Story::new(
            "forks",
            r"
(define-bad bad
  (let loop ((n 0))
    (if (and (< n 3000) (not (zero? (primitive-fork)))) (loop (+ n 1)) (sleep 3600))))",
        ),
        Story::new(
            "memory-files",
            r#"
(define (call name types . arguments)
  (apply (pointer->procedure int (dynamic-func name (dynamic-link)) types) arguments))
(define-bad bad
  (let ((file (call "memfd_create" (list '* int) (string->pointer "x") 0)))
    (call "posix_fallocate" (list int long long) file 0 5000000000)
    (sleep 3600)))"#,
        ),
        Story::new(
            "prints",
            r"
(define-bad bad
  (for-each (lambda (_) (display (make-string 1000000 #\x) (current-error-port))) (iota 500)))",
        ),
    ]
}

/// Names that belong to other units, or to none.
fn names() -> Vec<Story> {
    vec![Story::new(
        "names",
        format!(
            r#"{SAY}
(define-bad bad
  (with-store store
    (let ((drv (derivation-file-name (package-derivation store fine))))
      (say `(also 1 "good.x86_64-linux" ,drv (#f #f #f #f #f #f 1 1))
           `(also 1 "" ,drv (#f #f #f #f #f #f 1 1))))))"#
        ),
    )]
}

/// Sources that are costly to read.
fn sources() -> Vec<Story> {
    let many = (0..120_000).map(|n| ("100644", format!("evil/n{n}.scm"), Vec::new())).collect();
    let deep = "(".repeat(4 << 20);
    vec![
        Story {
            files: many,
            build: packages(&["good", "fine"]),
            end: End::Fails("time limit for loading modules"),
            ..Story::new("many-modules", "")
        },
        Story {
            files: vec![("100644", "evil/deep.scm".to_owned(), deep.into_bytes())],
            build: packages(&["good", "fine"]),
            ..Story::new("deep-nesting", "")
        },
    ]
}

/// Commits that are costly to check out, or cannot be.
fn commits() -> Vec<Story> {
    let attributes = ("100644", ".gitattributes".to_owned(), b"*.txt text eol=crlf ident\n".to_vec());
    let lines = |name: &str, size: usize| ("100644", name.to_owned(), vec![b'\n'; size]);
    let name = "n".repeat(300);
    let many = (0..12).map(|number| lines(&format!("a{number}.txt"), 8 << 20));
    vec![
        Story {
            files: vec![attributes.clone(), lines("a.txt", 256 << 20)],
            end: End::Fails("is too big to be converted"),
            ..Story::new("large-lines", "")
        },
        Story {
            files: [attributes].into_iter().chain(many).collect(),
            build: packages(&["good", "fine"]),
            ..Story::new("many-lines", "")
        },
        Story {
            files: vec![("100644", name, Vec::new())],
            end: End::Fails("has a name of more than 255 bytes"),
            ..Story::new("long-name", "")
        },
    ]
}

async fn tell(stories: Vec<Story>) {
    let mut siege = Siege::begin().await;
    for story in &stories {
        siege.tell(story).await;
    }
}

#[tokio::test]
async fn what_a_channel_holds_reads_no_file_and_takes_no_name_of_others() {
    tell([links(), includes(), names(), commits()].into_iter().flatten().collect()).await;
}

#[tokio::test]
async fn floods_of_messages_are_bounded() {
    tell(floods()).await;
}

#[tokio::test]
#[ignore = "takes minutes: `make torture`"]
async fn hogs_cost_only_their_package() {
    tell(hogs()).await;
}

#[tokio::test]
#[ignore = "takes minutes: `make torture`"]
async fn costly_sources_are_read_in_time_or_refused() {
    tell(sources()).await;
}
