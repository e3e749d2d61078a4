//! Repositories against the program itself: whatever files they bring, reading them ends soon, takes little
//! memory, and touches nothing of the machine.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use gorget::channel::{Change, fold_changes};

use crate::repository::Remote;

const FILE: &str = "100644";
const LINK: &str = "120000";

#[tokio::test]
async fn comparing_commits_opens_no_file_that_a_link_names() {
    let remote = Remote::new();
    let before = remote.tree(&[(FILE, b"a.scm", remote.blob("(define a 1)"))]);
    let first = remote.commit_tree(before, None);
    let link = |target: &str| remote.blob(target);
    let after = remote.tree(&[
        (FILE, b"a.scm", remote.blob("(define a 2)")),
        (LINK, b"console.scm", link("/dev/console")),
        (FILE, b"data.txt", remote.blob("not Scheme")),
        (FILE, b"huge.scm", remote.blob(vec![b' '; 9 << 20])),
        (LINK, b"kmsg.scm", link("/proc/kmsg")),
        (LINK, b"passwd.scm", link("/etc/passwd")),
        (LINK, b"zero.scm", link("/dev/zero")),
    ]);
    let second = remote.commit_tree(after, Some(&first));
    let note = |texts: &mut Vec<String>, change: Change<'_>| {
        texts.push(String::from_utf8([change.before, b" -> ", change.after].concat()).unwrap());
        ControlFlow::Continue(())
    };
    let started = Instant::now();
    let texts = fold_changes(remote.path(), [&first, &second], "scm", Vec::new(), note).await.unwrap();
    assert_eq!(texts, ["(define a 1) -> (define a 2)", " -> ", " -> ", " -> ", " -> "]);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
