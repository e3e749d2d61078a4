//! What cannot be evaluated costs itself, and is never taken for removed.

use crate::support::guix::{MODULES, Tree, entry, manifest};
use crate::support::program::{Farm, text};

#[tokio::test]
#[ignore = "takes minutes: `make test-slow`"]
async fn a_package_that_raises_costs_that_job_only() {
    let guix = Tree::guix().await;
    let farm = Farm::new(None);
    let build = r#"build = { packages = ["clisp", "figlet", "libffcall"] }"#;
    farm.spec("small", &format!("{build}\n{}", guix.as_channel("guix")));
    let good = guix.tip();
    farm.run_once().await;

    let raise = "`(#:parallel-build? ,(error \"no such luck:\" 'libffcall)";
    guix.edit("gnu/packages/libffcall.scm", "'(#:parallel-build? #f", raise);
    guix.edit("gnu/packages/figlet.scm", "(version \"", "(version \"99.");
    farm.run_once().await;
    let evaluation = farm.newest().await;
    assert_eq!((&evaluation["state"], &evaluation["errors"]), (&"complete".into(), &2.into()));
    assert_eq!(farm.queued_by(2).await, ["figlet.x86_64-linux"]);
    let (diff, errors) = farm.diff(1, 2).await;
    assert_eq!(diff["broken"], ["clisp.x86_64-linux", "libffcall.x86_64-linux"]);
    assert_eq!(diff["changed"], ["figlet.x86_64-linux"]);
    assert_eq!(diff.len(), 2, "nothing was removed: {diff:?}");
    let message = &errors["libffcall.x86_64-linux"];
    assert!(message.contains("no such luck: libffcall"), "{message}");
    assert!(message.contains("gnu/packages/libffcall.scm:"), "{message}");

    guix.reset(&good);
    farm.run_once().await;
    let again = farm.queued_by(3).await;
    assert_eq!(again, ["figlet.x86_64-linux"], "what could not be evaluated stayed wanted");
    assert_eq!(farm.diff(2, 3).await.0["fixed"], ["clisp.x86_64-linux", "libffcall.x86_64-linux"]);
}

#[tokio::test]
#[ignore = "takes minutes: `make test-slow`"]
async fn a_module_that_does_not_compile_costs_what_needs_it_until_it_does_again() {
    let guix = Tree::guix().await;
    let farm = Farm::new(None);
    let build = r#"build = { packages = ["clisp", "libffcall", "time"] }"#;
    farm.spec("small", &format!("{build}\n{}", guix.as_channel("guix")));
    farm.run_once().await;
    let all = ["clisp.x86_64-linux", "libffcall.x86_64-linux", "time.x86_64-linux"];

    // No other module imports this one: what it lacks is a parenthesis, and what it costs is itself.
    guix.edit("gnu/packages/pv.scm", "(license", "((license");
    let time = "(name \"time\")\n    (version \"";
    let good = guix.edit("gnu/packages/time.scm", time, &format!("{time}99."));
    farm.run_once().await;
    assert_eq!(farm.queued_by(2).await, [all[2]]);
    let (diff, errors) = farm.diff(1, 2).await;
    assert_eq!((&diff["changed"], diff.len()), (&vec![all[2].to_owned()], 1));
    let message = &errors["(gnu packages pv)"];
    assert!(message.contains("gnu/packages/pv.scm:") && message.contains("end of input"), "{message}");
    assert_eq!(errors.len(), 1, "{errors:?}");

    // Guix's modules import each other in circles, so this one takes most of them with it.
    guix.edit("gnu/packages/libffcall.scm", "(license", "((license");
    farm.run_once().await;
    let (diff, errors) = farm.diff(2, 3).await;
    assert_eq!((&diff["broken"][..], diff.len()), (&all.map(str::to_owned)[..], 1), "{diff:?}");
    assert!(errors.values().any(|message| message.contains("gnu/packages/libffcall.scm:")), "{errors:?}");
    assert!(farm.queued_by(3).await.is_empty());

    guix.edit(
        "gnu/packages.scm",
        "(define (find-best-packages-by-name",
        "(define ((find-best-packages-by-name",
    );
    let talk = farm.run_once_in_trouble().await;
    let evaluation = farm.newest().await;
    assert_eq!(evaluation["state"], "failed", "{talk}");
    assert!(text(&evaluation["reason"]).contains("gnu/packages.scm:"), "{evaluation}");
    assert!(farm.queued_by(4).await.is_empty());

    guix.reset(&good);
    farm.run_once().await;
    assert!(farm.queued_by(5).await.is_empty(), "all of it had been queued before");
    assert!(farm.diff(2, 5).await.0.is_empty());
    let (diff, _) = farm.diff(3, 5).await;
    assert_eq!((&diff["fixed"][..], diff.len()), (&all.map(str::to_owned)[..], 1), "{diff:?}");
}

#[tokio::test]
async fn an_entry_that_raises_costs_itself_and_a_manifest_that_does_not_load_all_of_its_entries() {
    let good = manifest(&[("one", ""), ("two", "")]);
    let channel = Tree::channel("a.scm", &good);
    channel.write("b.scm", &manifest(&[("three", "")]));
    let farm = Farm::new(None);
    let build = "build = { manifests = [\"a.scm\", \"b.scm\"] }";
    farm.spec("release", &format!("{build}\n{}", channel.as_channel("own")));
    farm.run_once().await;
    assert_eq!(farm.queued_by(1).await, ["one-1", "three-1", "two-1"]);

    let raising = entry("two", "(error \"out of luck\")");
    channel.write("a.scm", &format!("{MODULES}(packages->manifest (list {}{raising}))", entry("one", "'()")));
    farm.run_once().await;
    let (diff, errors) = farm.diff(1, 2).await;
    assert_eq!(
        (&diff["changed"], &diff["broken"], diff.len()),
        (&vec!["one-1".to_owned()], &vec!["two-1".to_owned()], 2)
    );
    assert!(errors["two-1"].contains("out of luck"), "{errors:?}");
    assert_eq!(farm.queued_by(2).await, ["one-1"]);

    channel.write("a.scm", "(packages->manifest (list");
    farm.run_once().await;
    let (diff, errors) = farm.diff(2, 3).await;
    assert_eq!((&diff["broken"], diff.len()), (&vec!["one-1".to_owned()], 1), "{diff:?}");
    assert!(errors["a.scm"].contains("a.scm"), "{errors:?}");
    let evaluation = farm.newest().await;
    assert_eq!((&evaluation["state"], &evaluation["partial"]), (&"complete".into(), &true.into()));

    channel.write("a.scm", &good);
    farm.run_once().await;
    assert_eq!(farm.diff(3, 4).await.0["fixed"], ["one-1"]);
    let (diff, _) = farm.diff(2, 4).await;
    assert_eq!(
        (&diff["changed"], &diff["fixed"], diff.len()),
        (&vec!["one-1".to_owned()], &vec!["two-1".to_owned()], 2)
    );
    assert_eq!(farm.queue().await.len(), 3, "those of the good one");
}

#[tokio::test]
async fn a_commit_that_no_disk_can_hold_fails_at_once_and_is_not_tried_again() {
    let channel = Tree::channel("manifest.scm", &manifest(&[("one", "")]));
    let name = "n".repeat(300);
    channel.write(&name, "");
    let farm = Farm::new(None);
    farm.spec("own", &format!("build = {{ manifests = [\"manifest.scm\"] }}\n{}", channel.as_channel("own")));
    let talk = farm.run_once_in_trouble().await;
    let evaluation = farm.newest().await;
    assert_eq!((&evaluation["state"], &evaluation["attempts"]), (&"failed".into(), &1.into()), "{talk}");
    let expected = format!("\"{name}\" has a name of more than 255 bytes");
    assert!(talk.contains(&expected), "{talk}");
}
