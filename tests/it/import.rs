//! Who comes from Cuirass keeps the specifications.

use std::fmt::Write as _;
use std::path::Path;

use crate::support::program::Farm;
use crate::support::site::{Answer, Site};

/// As manuals have it: in a system configuration.
const MANUAL: &str = r#"
(use-modules (gnu services cuirass))
(define %cuirass-specs
  #~(list (specification
           (name "my-manifest")
           (build '(manifests "guix.scm"))
           (channels
            (cons (channel
                   (name 'my-channel)
                   (url "https://my-channel.example.org/channel.git"))
                  %default-channels)))))
"#;

/// A file with all that is understood.
const FARM: &str = r#"
;; Specifications of a farm.
(use-modules (guix channels))
(define %systems '("x86_64-linux" "aarch64-linux"))
(define hour (* 60 60))
(define (branch-of name)                        ; a procedure, which nothing calls
  (channel (inherit %default-guix-channel) (branch name)))
(define %own
  (channel (name 'own) (url "https://git.example.org/own.git") (branch "main")
    (commit "0123456789012345678901234567890123456789")
    (introduction (make-channel-introduction "9edb3f66fd807b096b48283debdcddccfea34bad"
      (openpgp-fingerprint "bbb0 2ddf 2cea f6a8 0d1d  e643 a2a0 6df2 a33a 54fa")))))
(define release
  (specification (name 'release) (build '(packages "hello" "gcc-toolchain@14")) (is-active? #f)))

(append
 (list (specification (name "guix") (build 'guix) (priority 0) (systems %systems))
       (specification (name "team/rust") (period (* 24 hour))
         (channels (list (channel (inherit %default-guix-channel) (branch "rust-team"))))
         (systems `("i686-linux" ,@%systems))
         (build-outputs (list (build-output (job "iso*") (type "ISO-9660") (path ""))))
         (notifications (list (email (from "a@example.org") (to "b@example.org"))))
         (colour "red"))
       release)
 (list (specification (name "custom") (build '(custom . ((own ci) (own images)))) (channels (list %own %default-guix-channel)))
       (specification (name "fork") (channels (list (channel (name 'guix) (url "https://example.org/guix.git")))))
       (specification (name "mirror") (channels (list
         (channel (inherit %default-guix-channel) (url "https://example.org/guix.git")))))
       (specification (name "evil\"\n[x]") (build 'hello))))
"#;

fn all(directory: &Path) -> String {
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut text = String::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        writeln!(text, "== {name}\n{}", std::fs::read_to_string(&file).unwrap()).unwrap();
    }
    text
}

#[tokio::test]
async fn specifications_become_spec_files_that_check_accepts() {
    let farm = Farm::new(None);
    let directory = tempfile::tempdir().unwrap();
    let (file, specs) = (directory.path().join("cuirass.scm"), directory.path().join("specs"));
    let [file, into] = [&file, &specs].map(|path| path.to_str().unwrap());
    let mut text = String::new();
    for source in [MANUAL, FARM] {
        std::fs::write(file, source).unwrap();
        let said = farm.say(&["import", "cuirass", file, into]).await;
        assert_eq!(said.code, Some(0), "{}", said.talk);
        text.push_str(&said.data);
    }
    let checked = farm.say(&["check", into]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.talk);
    let place = directory.path().to_str().unwrap();
    text = format!("{text}\n{}", all(&specs)).replace(place, "DIRECTORY");
    insta::assert_snapshot!("import", text);

    let again = farm.say(&["import", "cuirass", file, into]).await;
    assert_eq!(again.code, Some(1));
    assert!(again.talk.contains("no file is overwritten"), "{}", again.talk);
    assert!(text.contains(&all(&specs).replace(place, "DIRECTORY")), "nothing has changed");
}

#[tokio::test]
async fn what_would_have_to_be_evaluated_is_told_with_its_place() {
    let farm = Farm::new(None);
    let directory = tempfile::tempdir().unwrap();
    let (file, into) = (directory.path().join("cuirass.scm"), directory.path().join("specs"));
    let [file, into] = [&file, &into].map(|path| path.to_str().unwrap());
    let mut text = String::new();
    let deep =
        format!("{}\n(list a0)", (0..99).map(|n| format!("(define a{n} a{})", n + 1)).collect::<String>());
    let wide = format!(
        "(define b0 (list \"x\" \"y\"))\n{}\n(list (specification (name \"a\") (systems b40)))",
        (0..40).map(|n| format!("(define b{} (append b{n} b{n}))\n", n + 1)).collect::<String>()
    );
    for source in [
        "(list (specification (name (string-append \"a\" \"b\"))) (specification (name \"good\") (build 'hello)))",
        "(map (lambda (name) (specification (name name))) '(\"a\"))",
        "(list (specification (build 'all)))",
        "(list (specification (name \"a\") (build 'everything)))",
        "(list (specification (name \"a\") (channels (list (branch-of \"x\")))))",
        "(list (specification (name \"a\") (systems '(\"x86_64-linus\"))))",
        "(list (specification (name \"a\") (period 5)))",
        "(list (specification (name \"a\") (period 3.6e3)))",
        "(list (specification (name \"a\") (priority 10/2)))",
        "(list (specification (name \"\")))",
        "(define a (list a))\n(list a)",
        "(define a b)(define b a)\n(list a)",
        "(define a (cons b a))(define b (channel (inherit b)))\n(list (specification (name \"a\") (channels a)))",
        "(define a (* a a))\n(list (specification (name \"a\") (period a)))",
        &deep,
        &wide,
        "(list (specification",
        "(list)",
        "",
    ] {
        std::fs::write(file, source).unwrap();
        let said = farm.say(&["import", "cuirass", file, into]).await;
        assert_eq!(said.code, Some(1), "{source}: {}", said.talk);
        let shown: String = source.chars().take(120).collect();
        writeln!(text, "{shown}\n{}{}", said.data, said.talk).unwrap();
    }
    text = text.replace(directory.path().to_str().unwrap(), "DIRECTORY");
    insta::assert_snapshot!("import_errors", text);
}

#[tokio::test]
async fn a_running_cuirass_is_asked_for_its_specifications() {
    let farm = Farm::new(None);
    let listed = r#"[{"name":"master","build":"all","channels":[{"name":"guix","url":"https://git.savannah.gnu.org/git/guix.git",
        "branch":"master","commit":null}],"build-outputs":[],"notifications":[{"type":"mastodon"}],"period":3600,"priority":2,
        "systems":["x86_64-linux"]},
        {"name":"own","build":{"packages":["hello"]},"channels":[{"name":"guix","url":"https://example.org/guix.git","branch":"x",
        "commit":false}],"build-outputs":[],"notifications":[],"period":0,"priority":9,"systems":["x86_64-linux"]},
        {"name":"modules","build":"custom","channels":[],"build-outputs":[],"notifications":[],"period":0,"priority":9,"systems":[]}]"#;
    let site = Site::new(move |head| {
        let (status, body) =
            if head.starts_with("GET /jobsets ") { ("200 OK", listed) } else { ("404 Not Found", "no") };
        Answer::Text(status, "Content-Type: application/json\r\n".to_owned(), body.as_bytes().to_vec())
    })
    .await;
    let url = format!("http://127.0.0.1:{}", site.port);
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path().to_str().unwrap();
    let said = farm.say(&["import", "cuirass", &format!("{url}/"), into]).await;
    assert_eq!(said.code, Some(1), "one of them lacks its modules");
    let checked = farm.say(&["check", into]).await;
    assert_eq!(checked.code, Some(1), "the introduction of a fork of Guix has to be added");
    let text = format!("{}{}\n{}\n{}", said.data, said.talk, all(directory.path()), checked.talk);
    insta::assert_snapshot!("import_running", text.replace(&url, "URL").replace(into, "DIRECTORY"));
    let said = farm.say(&["import", "cuirass", &format!("{url}/elsewhere"), into]).await;
    assert!(said.code == Some(2) && said.talk.contains("404"), "{}", said.talk);

    let with_password = url.replace("http://", "http://user:secret@");
    let into = directory.path().join("again");
    let said = farm.say(&["import", "cuirass", &with_password, into.to_str().unwrap()]).await;
    let wrong = farm.say(&["import", "cuirass", &format!("{with_password}/elsewhere"), "."]).await;
    let no_url = farm.say(&["import", "cuirass", "https://user:secret@:x/", "."]).await;
    assert_eq!((said.code, wrong.code, no_url.code), (Some(1), Some(2), Some(1)));
    let text = [said.data, said.talk, all(&into), wrong.talk, no_url.talk].concat();
    assert!(text.contains("Imported from Cuirass: http://127.0.0.1") && !text.contains("secret"), "{text}");
}
