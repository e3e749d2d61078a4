//! Checkouts with attributes: what Guix's own checkout has, to the byte.

use std::collections::BTreeMap;
use std::path::Path;

use data_encoding::HEXLOWER;
use gorget::git::{CheckoutError, Checkouts, Refusal};

use crate::repository::Remote;
use crate::support::repl::repl;

/// Prints the files of a branch as Guix checks them out: names and contents in hexadecimal digits.
const CHECKOUT: &str = r#"
(use-modules (guix git) (guix base16) (guix build utils) (ice-9 binary-ports) (ice-9 match) (rnrs bytevectors))
(define directory
  (update-cached-checkout (cadr (command-line)) #:ref '(branch . "master") #:cache-directory "/tmp/checkout"))
(for-each
 (lambda (file)
   (let ((name (string-drop file (+ 1 (string-length directory)))))
     (unless (string-prefix? ".git/" name)
       (format #t "~a ~a~%" name
               (match (call-with-input-file file get-bytevector-all #:binary #t)
                 ((? eof-object?) "")
                 (bytes (bytevector->base16-string bytes)))))))
 (find-files directory (lambda (file stat) (eq? 'regular (stat:type stat)))))
"#;

fn files(directory: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&entry.path(), &format!("{name}/"), found);
        } else if kind.is_file() {
            found.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}

async fn by_guix(remote: &Remote) -> BTreeMap<String, Vec<u8>> {
    let answer = repl(CHECKOUT, &[&remote.url()], &[remote.path()]).await;
    let pair = |line: &str| {
        let (name, content) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), HEXLOWER.decode(content.as_bytes()).unwrap())
    };
    answer.lines().map(pair).collect()
}

const ATTRIBUTES: &str = "\
*.bat text eol=crlf
*.auto text=auto eol=crlf
id.txt ident
both eol=crlf ident
*.md text
*.bin binary
*.crlf crlf
[attr]windows text eol=crlf
*.win windows
*.lf text eol=lf
*.utf16 text working-tree-encoding=UTF-16
*.large filter=lfs diff=lfs merge=lfs -text
*.export export-subst
hidden export-ignore
deep/**/x.y eol=crlf
-first eol=crlf
";

fn content(name: &str) -> Vec<u8> {
    let text = format!("{name}\n$Id$\nmixed\r\n$Id: old $\nlast $Format:%H$\n");
    if name.contains("zero") { [text.as_bytes(), b"\0\n"].concat() } else { text.into_bytes() }
}

/// A commit of `.gitattributes` in two directories, and of files with names that they mean.
fn repository(attributes: &str, inner: &str) -> (Remote, String) {
    let remote = Remote::new();
    let mut names: Vec<&str> = vec![
        "a.bat",
        "a.auto",
        "zero.auto",
        "zero.bat",
        "id.txt",
        "both",
        "a.md",
        "a.bin",
        "a.crlf",
        "a.win",
        "a.lf",
        "a.utf16",
        "a.large",
        "a.export",
        "hidden",
        "x.y",
        "-first",
        "plain",
        ".early",
    ];
    names.sort_unstable();
    let blobs: Vec<_> = names.iter().map(|name| (*name, remote.blob(content(name)))).collect();
    let entries = |attributes: &str| {
        let mut entries: Vec<(&str, &[u8], git2::Oid)> =
            blobs.iter().map(|(name, id)| ("100644", name.as_bytes(), *id)).collect();
        entries.push(("100644", b".gitattributes", remote.blob(attributes)));
        entries.push(("120000", b"link.bat", remote.blob("a.bat")));
        entries.sort_by_key(|entry| entry.1);
        entries
    };
    let inside = remote.tree(&entries(inner));
    let mut outside = entries(attributes);
    outside.push(("40000", b"deep", inside));
    outside.sort_by_key(|entry| if entry.1 == b"deep" { &b"deep/"[..] } else { entry.1 });
    let commit = remote.commit_tree(remote.tree(&outside), None);
    remote.set("master", Some(&commit));
    remote.git.set_head("refs/heads/master").unwrap();
    (remote, commit)
}

#[tokio::test]
async fn files_with_attributes_are_what_guix_checks_out() {
    let directory = tempfile::tempdir().unwrap();
    let checkouts = Checkouts::new(directory.path().join("checkouts"));
    for (attributes, inner, changed) in [
        (ATTRIBUTES, "*.bat -text\n-first eol=crlf\n.early eol=crlf\n", true),
        (ATTRIBUTES, ATTRIBUTES, true),
        ("* text=auto eol=crlf\n* ident\n", "* !eol\n", true),
        ("*.scm diff=scheme\n*.md text\n* text=auto\n", "*.bin binary", false),
    ] {
        let (remote, commit) = repository(attributes, inner);
        let tree = checkouts.checkout(remote.path(), &commit).await.unwrap();
        let mut found = BTreeMap::new();
        files(&tree, "", &mut found);
        let expected = by_guix(&remote).await;
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, content) in &expected {
            let readable = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            assert_eq!(readable(&found[name]), readable(content), "{name} with {attributes}");
        }
        let is_raw = |(name, found): (&String, &Vec<u8>)| {
            name.ends_with(".gitattributes") || *found == content(name.rsplit('/').next().unwrap())
        };
        assert_eq!(found.iter().all(is_raw), !changed);
        assert_eq!(std::fs::read_link(tree.join("link.bat")).unwrap(), Path::new("a.bat"));
    }
    let left = std::fs::read_dir(directory.path().join("checkouts/new")).unwrap();
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn hostile_attributes_cost_little_and_reach_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let checkouts = Checkouts::new(directory.path().join("checkouts"));
    let remote = Remote::new();
    let (file, secret) = (remote.blob("x\n"), directory.path().join("secret"));
    std::fs::write(&secret, "a eol=crlf\n").unwrap();
    let away = remote.blob(secret.to_str().unwrap());
    let program = remote.blob("a eol=crlf filter=x\n* filter=../../x\n[attr]filter eol=crlf\n");
    let big = remote.blob("* eol=crlf\n".repeat(7000));
    // A link to attributes is none, and attributes of links mean nothing.
    let tree = remote.tree(&[("120000", b".gitattributes", away), ("100644", b"a", file)]);
    let commit = remote.commit_tree(tree, None);
    let tree = checkouts.checkout(remote.path(), &commit).await.unwrap();
    assert_eq!(std::fs::read(tree.join("a")).unwrap(), b"x\n");

    let inner = remote.tree(&[("100644", b"x", file)]);
    let odd = remote.tree(&[
        ("40000", b".gitattributes", inner),
        ("100644", b"a:b\\c", file),
        ("120000", b"link", away),
    ]);
    let module = git2::Oid::from_str("1234567890123456789012345678901234567890").unwrap();
    let tree = remote.tree(&[
        ("100644", b".gitattributes", program),
        ("100644", b"a", file),
        ("120000", b"link", away),
        ("160000", b"module", module),
    ]);
    let commit = remote.commit_tree(tree, None);
    let tree = checkouts.checkout(remote.path(), &commit).await.unwrap();
    assert_eq!(std::fs::read(tree.join("a")).unwrap(), b"x\r\n");
    assert_eq!(std::fs::read_link(tree.join("link")).unwrap(), secret);
    assert_eq!(std::fs::read(&secret).unwrap(), b"a eol=crlf\n");

    let slow = remote.blob(format!("{}\n* eol=crlf\n", "**/a*b*c*d*e*f*g*h ident\n".repeat(2000)));
    let names: Vec<String> = (0..5000).map(|number| format!("{}{number:04}", "abcdefg".repeat(30))).collect();
    let many: Vec<_> = names.iter().map(|name| ("100644", name.as_bytes(), file)).collect();
    let many = remote.tree(&many);
    // libgit2 would be at it for years.
    let endless = remote.blob("*a*a*a*a*a*a*a*a*a*a*b eol=crlf\n");
    let name = "a".repeat(200);
    for tree in [
        remote.tree(&[("100644", b".gitattributes", endless), ("100644", name.as_bytes(), file)]),
        remote.tree(&[("100644", b".gitattributes", big)]),
        remote.tree(&[("100644", b".gitattributes", slow), ("40000", b"d", many)]),
    ] {
        let commit = remote.commit_tree(tree, None);
        let error = checkouts.checkout(remote.path(), &commit).await.unwrap_err();
        let refused = matches!(error, CheckoutError::Refused { refusal: Refusal::Attributes, .. });
        assert!(refused, "{error}");
    }
    let tree = remote.tree(&[("100644", b".gitattributes", program), ("40000", b"d", odd)]);
    let commit = remote.commit_tree(tree, None);
    checkouts.checkout(remote.path(), &commit).await.unwrap();
}

#[tokio::test]
async fn what_is_converted_is_small_and_what_is_not_may_be_large() {
    let directory = tempfile::tempdir().unwrap();
    let checkouts = Checkouts::new(directory.path().join("checkouts"));
    let remote = Remote::new();
    let attributes = remote.blob("*.txt text eol=crlf ident\n");
    let lines = |size: usize| remote.blob([&b"$Id$"[..], &vec![b'\n'; size - 4]].concat());
    let (most, more) = (lines(8 << 20), lines((8 << 20) + 1));
    let commit = |names: &[String], blob| {
        let mut entries = vec![("100644", &b".gitattributes"[..], attributes)];
        entries.extend(names.iter().map(|name| ("100644", name.as_bytes(), blob)));
        remote.commit_tree(remote.tree(&entries), None)
    };
    let names = |count: usize| (10..10 + count).map(|number| format!("a{number}.txt")).collect::<Vec<_>>();

    let tree = checkouts.checkout(remote.path(), &commit(&names(12), most)).await.unwrap();
    let converted = std::fs::read(tree.join("a21.txt")).unwrap();
    assert_eq!(converted.len(), 2 * ((8 << 20) - 4) + format!("$Id: {most} $").len());
    assert!(converted.ends_with(b"\r\n\r\n"));
    let plain = checkouts.checkout(remote.path(), &commit(&["a.dat".to_owned()], more)).await.unwrap();
    assert_eq!(std::fs::read(plain.join("a.dat")).unwrap().len(), (8 << 20) + 1);
    for (names, blob) in [(names(1), more), (names(13), most)] {
        let error = checkouts.checkout(remote.path(), &commit(&names, blob)).await.unwrap_err();
        let refused = matches!(error, CheckoutError::Refused { refusal: Refusal::Conversion, .. });
        assert!(refused && error.to_string().contains(names.last().unwrap()), "{error}");
        assert!(error.to_string().contains("\nhint: take `eol=crlf` and `ident` off it"), "{error}");
    }
}
