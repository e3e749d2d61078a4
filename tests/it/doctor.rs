//! `gorget doctor` finds what keeps a farm from working, and names the remedy.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::support::Port;
use crate::support::guix::Tree;
use crate::support::program::Farm;

fn channel() -> Tree {
    Tree::channel("own.scm", "(define-module (own))\n")
}

/// A farm that watches `tree`, and nothing is wrong with it.
fn farm(tree: &Tree) -> Farm {
    let farm = Farm::new(None);
    farm.spec("own", &format!("build = {{ channels = [\"own\"] }}\n{}", tree.as_channel("own")));
    farm
}

/// The checks that are not in order, by their names, and the exit code.
async fn doctor(farm: &Farm) -> (Vec<Value>, Option<i32>) {
    let said = farm.say(&["doctor", "--json"]).await;
    let checks: Vec<Value> = said.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!checks.is_empty(), "{}", said.talk);
    (checks.into_iter().filter(|check| check["state"] != "ok").collect(), said.code)
}

/// There is a fault or warning of this name that says this, and it has a hint.
async fn finds(farm: &Farm, state: &str, name: &str, text: &str) {
    let (checks, code) = doctor(farm).await;
    let found = checks.iter().find(|check| check["name"].as_str().unwrap().starts_with(name));
    let found = found.unwrap_or_else(|| panic!("no check {name}: {checks:?}"));
    assert_eq!(found["state"], state, "{found}");
    assert!(found["text"].as_str().unwrap().contains(text), "{text}: {found}");
    assert!(found["hint"].is_string(), "{found}");
    let has_fault = checks.iter().any(|check| check["state"] == "fault");
    assert_eq!(code, Some(i32::from(has_fault)));
}

/// Programs on a `PATH` of their own, without one of them.
fn path_without(farm: &mut Farm, directory: &Path, missing: &str) {
    for program in ["git", "bwrap"] {
        if program != missing {
            let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
                .map(|directory| directory.join(program))
                .find(|path| path.exists());
            std::os::unix::fs::symlink(found.unwrap(), directory.join(program)).unwrap();
        }
    }
    farm.set("PATH", directory.to_str().unwrap());
}

#[tokio::test]
async fn a_farm_without_faults_has_none() {
    let tree = channel();
    let farm = farm(&tree);
    let said = farm.say(&["key", "generate"]).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);
    farm.run_once().await;
    let (checks, code) = doctor(&farm).await;
    // These depend on the machine, and on what runs.
    let known = ["user", "cgroups", "landlock", "hosts", "state directory"];
    let other: Vec<&Value> =
        checks.iter().filter(|check| !known.contains(&check["name"].as_str().unwrap())).collect();
    assert!(other.is_empty(), "{other:?}");
    assert_eq!(code, Some(0), "{checks:?}");
    let text = farm.say(&["doctor"]).await;
    assert!(text.data.contains("\nok       git "), "{}", text.data);
    assert!(text.talk.starts_with("0 faults, "), "{}", text.talk);
}

#[tokio::test]
async fn faults_of_the_machine_are_found() {
    let tree = channel();
    for (missing, hint) in [("git", "git"), ("bwrap", "bwrap")] {
        let (mut farm, directory) = (farm(&tree), tempfile::tempdir().unwrap());
        path_without(&mut farm, directory.path(), missing);
        finds(&farm, "fault", hint, "cannot be started").await;
    }
    let nowhere = tempfile::tempdir().unwrap();
    let farm_without_guix = Farm::with_guix(nowhere.path(), None);
    finds(&farm_without_guix, "fault", "Guix in a sandbox", "there is no guix").await;
    let mut small = farm(&tree);
    let disk = small.on_small_disk(64);
    finds(&small, "fault", "state directory", "0 GiB free").await;
    disk.fill();
    let (checks, _) = doctor(&small).await;
    assert!(checks.iter().any(|check| check["name"] == "state directory" && check["state"] == "fault"));
    drop(disk);
    let many = farm(&tree);
    many.configure_evaluate("memory = \"1G\"\n");
    finds(&many, "warning", "resources", "1024 MiB").await;
    // The kernel allows no namespaces.
    let mut closed = farm(&tree);
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let words = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"];
    closed.begin_with(words.map(str::to_owned).to_vec());
    finds(&closed, "fault", "Guix in a sandbox", "the sandbox cannot be made").await;
}

#[tokio::test]
async fn faults_of_what_the_farm_keeps_are_found() {
    let tree = channel();
    let damaged = farm(&tree);
    std::fs::write(damaged.state().join("gorget.db"), "no database").unwrap();
    finds(&damaged, "fault", "database", "").await;
    let absent = farm(&tree);
    finds(&absent, "warning", "database", "does not exist yet").await;
    finds(&absent, "warning", "signing key", "does not exist").await;
    let elsewhere = farm(&tree);
    elsewhere.at_database("postgres://nobody@127.0.0.1:1/gorget");
    finds(&elsewhere, "fault", "database", "").await;
    let stopped = farm(&tree);
    stopped.run_once().await;
    finds(&stopped, "warning", "hosts", "no host is running").await;
    let bad_key = farm(&tree);
    std::fs::write(bad_key.state().join("signing-key.sec"), "no key").unwrap();
    std::fs::set_permissions(bad_key.state().join("signing-key.sec"), std::fs::Permissions::from_mode(0o600))
        .unwrap();
    let (checks, code) = doctor(&bad_key).await;
    assert!(checks.iter().any(|check| check["name"] == "signing key" && check["state"] == "fault"));
    assert_eq!(code, Some(1));
    let unlisted = farm(&tree);
    unlisted.configure("[substitutes]\nservers = [\"http://127.0.0.1:1\"]\nacl = \"nowhere\"");
    finds(&unlisted, "fault", "authorized keys", "nowhere").await;

    let none = Farm::new(None);
    finds(&none, "warning", "specs", "has no spec").await;
    std::fs::remove_dir(none.spec_file("x").parent().unwrap()).unwrap();
    finds(&none, "fault", "specs", "cannot be read").await;
    let faulty = farm(&tree);
    faulty.spec("bad", "build = \"al\"\n");
    finds(&faulty, "fault", "spec bad", "").await;
    let unread = farm(&tree);
    unread.configure("nothing = true");
    let said = unread.say(&["doctor"]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.data.starts_with("fault  "), "{}", said.data);
}

#[tokio::test]
async fn what_cannot_be_reached_is_found() {
    let tree = channel();
    let moved = farm(&tree);
    tree.remove_branch();
    let (checks, _) = doctor(&moved).await;
    let remote = checks.iter().find(|check| check["name"].as_str().unwrap().starts_with("remote ")).unwrap();
    assert_eq!(remote["state"], "fault");
    assert!(remote["text"].as_str().unwrap().contains("has no branch \"master\""), "{remote}");
    tree.hide(true);
    let (checks, _) = doctor(&moved).await;
    assert!(checks.iter().any(|check| check["name"] == remote["name"] && check["text"] != remote["text"]));

    let port = Port::free();
    let refused = farm(&tree);
    refused.configure(&format!(
        "[substitutes]\nservers = [\"http://127.0.0.1:{0}\"]\n[coordinator]\nkind = \"guix-build-coordinator\"\nurl = \"http://127.0.0.1:{0}\"",
        port.address.port()
    ));
    finds(&refused, "fault", "substitutes ", "Connection refused").await;
    finds(&refused, "fault", "coordinator default", "Connection refused").await;
    let daemonless = farm(&tree);
    daemonless.configure_evaluate("daemon-socket = \"/nowhere/socket\"\n");
    daemonless.configure("[coordinator]\nkind = \"guix-daemon\"");
    finds(&daemonless, "fault", "coordinator default", "/nowhere/socket").await;
}
