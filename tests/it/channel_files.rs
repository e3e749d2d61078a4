//! `.guix-channel` as Guile reads it and as Guix takes it.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use gorget::git::{Metadata, metadata};
use gorget::guix::guile::{Datum, Value, position, read};

use crate::repository::Remote;
use crate::support::Dice;
use crate::support::repl::repl;

/// Reads each line of hexadecimal digits of a file as Guile reads a file of these bytes, and prints it.
const READ: &str = r#"
(use-modules (guix base16) (rnrs bytevectors) (rnrs io ports) (ice-9 rdelim) (ice-9 binary-ports))
(define (hex text) (bytevector->base16-string (string->utf8 text)))
(define (show x)
  (cond ((pair? x) (string-append "(" (show (car x)) " " (show (cdr x)) ")"))
        ((null? x) "()")
        ((string? x) (string-append "s" (hex x)))
        ((symbol? x) (string-append "y" (hex (symbol->string x))))
        ((keyword? x) (string-append "k" (hex (symbol->string (keyword->symbol x)))))
        ((equal? x 0) "0")
        ((number? x) "n")
        ((eq? x #t) "t")
        ((eq? x #f) "f")
        ((char? x) (string-append "c" (number->string (char->integer x) 16)))
        ((or (vector? x) (bitvector? x)) "v")
        (else "!")))
(call-with-input-file (cadr (command-line))
  (lambda (port)
    (let loop ((line (read-line port)))
      (unless (eof-object? line)
        (call-with-output-file "/tmp/text"
          (lambda (text) (put-bytevector text (base16-string->bytevector line))))
        (display (catch #t (lambda () (show (call-with-input-file "/tmp/text" read))) (const "!")))
        (newline)
        (loop (read-line port))))))
"#;

fn show(datum: &Datum) -> String {
    let hex = |kind: char, text: &str| format!("{kind}{}", HEXLOWER.encode(text.as_bytes()));
    match &datum.value {
        Value::List(items, tail) => {
            let end = tail.as_ref().map_or("()".to_owned(), |tail| show(tail));
            items.iter().rev().fold(end, |rest, item| format!("({} {rest})", show(item)))
        }
        Value::String(text) => hex('s', text),
        Value::Symbol(name) => hex('y', name),
        Value::Keyword(name) => hex('k', name),
        Value::Zero => "0".to_owned(),
        Value::Number => "n".to_owned(),
        Value::Boolean(value) => if *value { "t" } else { "f" }.to_owned(),
        Value::Character(c) => format!("c{:x}", u32::from(*c)),
        Value::Vector => "v".to_owned(),
    }
}

/// What is likely to be read in another way than it is meant.
const PIECES: [&str; 98] = [
    "(",
    ")",
    "[",
    "]",
    "(",
    ")",
    " ",
    "\n",
    "\"",
    "\"",
    "a",
    "b.c",
    ".",
    " . ",
    "'",
    "`",
    ",",
    ",@",
    "#",
    "|",
    "#|",
    "|#",
    "#| x |#",
    "#;",
    "#;x ",
    ";",
    "; x\n",
    "\\",
    "\"\\x41;\"",
    "\"\\x4\"",
    "\"\\u00e9\"",
    "\"\\U01F600\"",
    "\"\\ud800\"",
    "\"\\n\\a\\0\"",
    "\"a\\\n   b\"",
    "\"a\\\n\u{a0}\tb\"",
    "\"\\q\"",
    "\"\\(\"",
    "#t",
    "#f",
    "#true",
    "#False",
    "#tru",
    "#:",
    "#:key",
    "#: k",
    "#\\",
    "#\\space",
    "#\\SPACE",
    "#\\x41",
    "#\\x ",
    "#\\41",
    "#\\(",
    "#\\é",
    "#\\nul",
    "#\\nothing",
    "#{",
    "}#",
    "#{a b\\x41;}#",
    "#{}}#",
    "#!r6rs",
    "#!r6rs ",
    "#!fold-case ",
    "#!no-fold-case",
    "#!",
    "!#",
    "#! x !#",
    "0",
    "-0",
    "00",
    "1/2",
    " 0/7",
    "1/0",
    "1e3 ",
    "1e",
    "+inf.0",
    "-",
    "+",
    "...",
    "1+",
    "#x1F",
    "#e0.0",
    "#xg",
    "#i0",
    "0.",
    ".5",
    "1.2.3",
    "é",
    "É",
    "\u{a0}",
    "\u{b}",
    "\u{c}",
    "\r\n",
    "\t",
    "#(",
    "#*01",
    "{",
    "}",
];

fn soup(dice: &mut Dice) -> String {
    let count = 1 + dice.roll(12);
    let mut piece = || PIECES[usize::try_from(dice.roll(PIECES.len() as u64)).unwrap()];
    let pieces: String = (0..count).map(|_| piece()).collect();
    match dice.roll(3) {
        0 => pieces,
        1 => format!("({pieces})"),
        _ => format!("(a {pieces}\n\"\") z"),
    }
}

#[tokio::test]
async fn a_datum_is_read_as_guile_reads_it() {
    let mut dice = Dice(7);
    let mut texts: Vec<String> = PIECES.iter().map(|piece| (*piece).to_owned()).collect();
    texts.extend(
        ["", "\u{feff}(a)", "( . a)", "(a . (b . (c)))", "(a . b c)", "(a #;)", "'''a", "(#t#f)", "a'b"]
            .map(str::to_owned),
    );
    texts.extend((0..8000).map(|_| soup(&mut dice)));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("texts");
    let lines: String = texts.iter().map(|text| format!("{}\n", HEXLOWER.encode(text.as_bytes()))).collect();
    std::fs::write(&file, lines).unwrap();
    let answer = repl(READ, &[file.to_str().unwrap()], &[&file]).await;
    let (mut good, mut wrong) = (0, String::new());
    assert_eq!(answer.lines().count(), texts.len());
    for (text, theirs) in texts.iter().zip(answer.lines()) {
        let ours = match read(text.strip_prefix('\u{feff}').unwrap_or(text)) {
            Ok(datum) => show(&datum),
            Err(fault) if fault.reason.contains("not supported") => continue,
            Err(_) => "!".to_owned(),
        };
        good += usize::from(theirs != "!");
        if ours != theirs {
            writeln!(wrong, "{text:?}\n  {theirs}\n  {ours}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(good > 1000, "{good}");
}

/// Has Guix read each channel file, and prints what it says, or `!`.
const METADATA: &str = r#"
(use-modules (guix channels) (guix base16) (rnrs bytevectors) (ice-9 rdelim) (ice-9 binary-ports) (ice-9 match))
(define (get name) (@@ (guix channels) name))
(define read-channel-metadata (@@ (guix channels) read-channel-metadata))
(define (text x) (if (string? x) x (error "no string" x)))
(define (dependency c)
  (format #f "~a ~a ~a ~a ~a" (symbol->string (channel-name c)) (text (channel-url c))
          (text (channel-branch c)) (if (channel-commit c) (text (channel-commit c)) "-")
          (match (channel-introduction c)
            (#f "-")
            (i (string-append (text (channel-introduction-first-signed-commit i)) "/"
                 (bytevector->base16-string (channel-introduction-first-commit-signer i)))))))
(define (show metadata)
  (format #f "~a|~a|~a|~{~a~^,~}" (text ((@@ (guix channels) channel-metadata-directory) metadata))
          (text ((@@ (guix channels) channel-metadata-keyring-reference) metadata))
          (let ((news ((@@ (guix channels) channel-metadata-news-file) metadata))) (if news (text news) "-"))
          (map dependency ((@@ (guix channels) channel-metadata-dependencies) metadata))))
(call-with-input-file (cadr (command-line))
  (lambda (port)
    (let loop ((line (read-line port)))
      (unless (eof-object? line)
        (call-with-output-file "/tmp/text"
          (lambda (text) (put-bytevector text (base16-string->bytevector line))))
        (display (catch #t (lambda () (show (call-with-input-file "/tmp/text" read-channel-metadata)))
                        (const "!")))
        (newline)
        (loop (read-line port))))))
"#;

const COMMIT: &str = "9edb3f66fd807b096b48283debdcddccfea34bad";

/// Texts as people write them, with and without mistakes.
fn texts() -> Vec<String> {
    let introduction = |text: &str| {
        format!(
            "(channel (version 0) (dependencies (channel (name a) (url \"https://a.org/b\") (introduction {text}))))"
        )
    };
    let dependency = |text: &str| format!("(channel (version 0) (dependencies {text}))");
    let mut texts: Vec<String> = [
        "(channel (version 0))",
        ";; -*- mode: scheme -*-\n(channel\n (version 0)\n (directory \"modules\"))\n;; vim: set ft=scheme:\n",
        "(channel (version 0) (directory \"modules\"))\nvim: ft=scheme (",
        "[channel [version 0] [directory \"/modules\"]]",
        "#| What we have. #|Nested.|# |#\n(channel (version 0) #;(directory \"old\") (directory \"modules\"))",
        "#!/usr/bin/env guile\n!#\n(channel (version 0) (keyring-reference \"keys\"))",
        "(channel (version 0) (directory \".\") (url \"https://a.org/own.git\") (news-file \"etc/news.txt\"))",
        "(channel (version 0) (directory \"mod\\u0075les\") (directory \"nowhere\"))",
        "(channel (version 0) (directory #f) (news-file . #f) (dependencies . #f))",
        "(channel (version 0) unknown (unknown) \"text\" (directory \"modules\") #:x)",
        "(channel (version 0) (directory \"modules\" \"other\") (dependencies))",
        "(channel (version -0) . ((directory \"modules\")))",
        "(channel (directory \"modules\") (version 0))",
        "(channel (version 1))",
        "(channel (version \"0\"))",
        "(channel (version 0 0))",
        "(channel (version 0) (directory modules))",
        "(channel (version 0) (directory))",
        "(channel (version 0) (url))",
        "(channel (version 0) (directory . \"modules\"))",
        "(channel (version 0) . x)",
        "'(channel (version 0))",
        "(list (channel (version 0)))",
        "",
        "(channel (version 0)",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.extend(
        [
            "(channel (name a) (url \"https://a.org/b\"))",
            "(channel (url \"https://a.org/b\") (name a) (branch \"main\") (summary \"x\"))",
            "((name a) (url \"https://a.org/b\") (branch #f) (commit #f))",
            "(channel (name a) (url \"https://a.org/b\")) (channel (name c) (url \"https://a.org/c\"))",
            "(channel (name \"a\") (url \"https://a.org/b\"))",
            "(channel (name 'a) (url \"https://a.org/b\"))",
            "(channel (name a) (url \"https://a.org/b\") (branch main))",
            "(channel (name a))",
            "(channel (name a) (url https://a.org/b))",
            "channel",
        ]
        .map(dependency),
    );
    let signer = "BBB0 2DDF 2CEA F6A8 0D1D  E643 A2A0 6DF2 A33A 54FA";
    texts.extend(
        [
            format!("(channel-introduction (version 0) (commit {COMMIT:?}) (signer {signer:?}))"),
            format!("(channel-introduction (version 0) (commit {COMMIT:?}) (signer {signer:?}) (more))"),
            format!("(channel-introduction (version 0) (signer {signer:?}) (commit {COMMIT:?}))"),
            format!("(channel-introduction (commit {COMMIT:?}) (signer {signer:?}))"),
            format!("(make-channel-introduction {COMMIT:?} (openpgp-fingerprint {signer:?}))"),
            "#f".to_owned(),
        ]
        .map(|text| introduction(&text)),
    );
    texts
}

async fn described(text: &str) -> Result<Metadata, String> {
    let remote = Remote::new();
    let inner = remote.tree(&[("100644", b"file", remote.blob("x"))]);
    let file = remote.blob(text);
    let tree = remote.tree(&[("100644", b".guix-channel", file), ("40000", b"modules", inner)]);
    let commit = remote.commit_tree(tree, None);
    let described = metadata(remote.path(), "https://a.org/own", &commit).await;
    described.map_err(|error| error.to_string())
}

fn told(metadata: &Metadata) -> String {
    let dependencies: Vec<String> = metadata
        .dependencies
        .iter()
        .map(|dependency| {
            let introduction = dependency.introduction.as_ref().map_or("-".to_owned(), |introduction| {
                format!("{}/{}", introduction.commit, introduction.signer.to_lowercase())
            });
            let commit = dependency.commit.as_deref().unwrap_or("-");
            format!("{} {} {} {commit} {introduction}", dependency.name, dependency.url, dependency.branch)
        })
        .collect();
    let directory = metadata.directory.as_deref().unwrap_or_default();
    let news = metadata.news.as_deref().unwrap_or("-");
    format!("/{directory}|{}|{news}|{}", metadata.keyring, dependencies.join(","))
}

#[tokio::test]
async fn a_channel_file_says_what_guix_says_it_does() {
    let texts = texts();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("texts");
    let lines: String = texts.iter().map(|text| format!("{}\n", HEXLOWER.encode(text.as_bytes()))).collect();
    std::fs::write(&file, lines).unwrap();
    let answer = repl(METADATA, &[file.to_str().unwrap()], &[&file]).await;
    let (mut good, mut wrong) = (0, String::new());
    assert_eq!(answer.lines().count(), texts.len());
    for (text, theirs) in texts.iter().zip(answer.lines()) {
        let ours = described(text).await;
        // A directory `.` is the top, however it is written.
        let theirs = theirs.replacen("/.|", "/|", 1);
        good += usize::from(ours.is_ok());
        if ours.as_ref().map_or("!".to_owned(), told) != theirs {
            writeln!(wrong, "{text}\n  {theirs}\n  {ours:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(good > 15 && good < texts.len() - 15, "{good}");
}

#[tokio::test]
async fn a_mistake_in_a_channel_file_is_told_with_its_place_and_what_to_write() {
    let introduction = format!("(make-channel-introduction {COMMIT:?} (openpgp-fingerprint \"BBB0\"))");
    let dependency =
        format!("(channel (name a)\n  (url \"https://a.org/b\") (introduction\n   {introduction}))");
    for (text, parts) in [
        (
            format!("(channel (version 0)\n (dependencies\n  {dependency}))"),
            [
                ".guix-channel:5:4: expected `(channel-introduction (version 0) …)` (commit ",
                "\nhint: write `(introduction (channel-introduction (version 0) (commit \"…\") (signer \"…\")))`",
            ],
        ),
        (
            "(channel\n  (version 0)\n  é (directory modules))".to_owned(),
            [
                ".guix-channel:3:16: expected a string as `directory`",
                "\nhint: write it between double quotes",
            ],
        ),
        (
            "\u{feff}; x\n(channel (directory \"modules\"))".to_owned(),
            [".guix-channel:2:10: expected `(version 0)`", "`(version 0)` comes first"],
        ),
        (
            "(channel (version 0)\n  (directory \"modules\")".to_owned(),
            [".guix-channel:1:1: this list has no end", "expected `)`"],
        ),
    ] {
        let error = described(&text).await.unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{error}");
        }
    }
    assert_eq!(position("a\néx", 4), (2, 2));
}
