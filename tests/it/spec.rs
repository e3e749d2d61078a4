//! What an admin sees of a spec file.

use std::path::Path;
use std::time::Duration;

use gorget::domain::spec::{Spec, Subset, check_branch, load_directory, parse, render};
use gorget::sandbox::Tool;

use crate::support::program::Farm;

fn faults(source: &str) -> String {
    render(&parse(source, "farm").expect_err("this file has faults"), "farm.toml", source, false)
}

#[test]
fn every_fault_of_a_file_is_shown_at_once() {
    let source = r#"name = "../farm"
build = { package = ["hello"] }
systems = ["x86_64-linus", 3, "i686-linux", "i686-linux"]
period = "0 25 * * *"
every = "5 minutes"
prority = 3
priority = 10
active = "yes"
first = "recrod"

[[channel]]
name = "guix"
url = "ext::touch /srv/x"
branch = "a..b"
commit = "abc"
introduction = { commit = "9edb3f66fd807b096b48283debdcddccfea34bad", key = "B" }

[[channel]]
nam = "other"
url = "https://user:secret@example.org/x"
"#;
    insta::assert_snapshot!(faults(source), @r#"
    error: this is not a valid name
     --> farm.toml:1:8
      |
    1 | name = "../farm"
      |        ^^^^^^^^^
      |
    hint: a name has at most 64 letters, digits, `.`, `_` and `-`, and begins with a letter or digit

    error: `build` has no key `package`
     --> farm.toml:2:11
      |
    2 | build = { package = ["hello"] }
      |           ^^^^^^^
      |
    hint: did you mean `packages`?

    error: `x86_64-linus` is not known here
     --> farm.toml:3:12
      |
    3 | systems = ["x86_64-linus", 3, "i686-linux", "i686-linux"]
      |            ^^^^^^^^^^^^^^
      |
    hint: did you mean `x86_64-linux`?

    error: expected a string, found a whole number
     --> farm.toml:3:28
      |
    3 | systems = ["x86_64-linus", 3, "i686-linux", "i686-linux"]
      |                            ^ expected a string

    error: `i686-linux` is listed twice
     --> farm.toml:3:45
      |
    3 | systems = ["x86_64-linus", 3, "i686-linux", "i686-linux"]
      |                                             ^^^^^^^^^^^^
      |
    hint: leave one of them out

    error: both `every` and `period` are given
     --> farm.toml:4:10
      |
    4 | period = "0 25 * * *"
      |          ^^^^^^^^^^^^
      |
    hint: leave one of them out

    error: `25` is not an hour
     --> farm.toml:4:13
      |
    4 | period = "0 25 * * *"
      |             ^^
      |
    hint: write `*`, `*/N`, or a list of numbers from 0 to 23

    error: `5 minutes` is not an interval
     --> farm.toml:5:9
      |
    5 | every = "5 minutes"
      |         ^^^^^^^^^^^
      |
    hint: write a whole number and a unit: `30s`, `5m`, `2h` or `1d`

    error: a spec has no key `prority`
     --> farm.toml:6:1
      |
    6 | prority = 3
      | ^^^^^^^
      |
    hint: did you mean `priority`?

    error: a priority is a number from 0 to 9
     --> farm.toml:7:12
      |
    7 | priority = 10
      |            ^^
      |
    hint: 0 comes first, 9 last, 5 is usual

    error: expected `true` or `false`, found a string
     --> farm.toml:8:10
      |
    8 | active = "yes"
      |          ^^^^^ expected `true` or `false`

    error: `recrod` is not known here
     --> farm.toml:9:9
      |
    9 | first = "recrod"
      |         ^^^^^^^^
      |
    hint: did you mean `record`?

    error: this URL has a blank or a control character in it
      --> farm.toml:13:7
       |
    13 | url = "ext::touch /srv/x"
       |       ^^^^^^^^^^^^^^^^^^^
       |
    hint: write `%20` for a blank

    error: this is not the name of a branch: `..` or `@{` is in it
      --> farm.toml:14:10
       |
    14 | branch = "a..b"
       |          ^^^^^^

    error: this is not a full commit hash
      --> farm.toml:15:10
       |
    15 | commit = "abc"
       |          ^^^^^
       |
    hint: write all 40 hexadecimal digits, as `git rev-parse` shows them

    error: an introduction needs `signer`
      --> farm.toml:16:16
       |
    16 | introduction = { commit = "9edb3f66fd807b096b48283debdcddccfea34bad", key = "B" }
       |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
    hint: the OpenPGP fingerprint of who signed that commit

    error: an introduction has no key `key`
      --> farm.toml:16:71
       |
    16 | introduction = { commit = "9edb3f66fd807b096b48283debdcddccfea34bad", key = "B" }
       |                                                                       ^^^
       |
    hint: there are `commit`, `signer`

    error: a channel needs `name`
      --> farm.toml:18:1
       |
    18 | [[channel]]
       | ^^^^^^^^^^^
       |
    hint: the channel that brings Guix itself is called `guix`

    error: a channel has no key `nam`
      --> farm.toml:19:1
       |
    19 | nam = "other"
       | ^^^
       |
    hint: did you mean `name`?

    error: this URL has credentials in it
      --> farm.toml:20:7
       |
    20 | url = "https://user:secret@example.org/x"
       |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
    hint: leave them out, and let git find them (`git help credentials`)
    "#);
}

#[test]
fn what_is_missing_altogether_is_named() {
    insta::assert_snapshot!(faults("# nothing yet\n"), @r#"
    error: a spec needs `channel`
     --> farm.toml:1:1
      |
    1 | # nothing yet
      | ^
      |
    hint: add `[[channel]]` with `name` and `url`

    error: a spec needs `build`
     --> farm.toml:1:1
      |
    1 | # nothing yet
      | ^
      |
    hint: for example `build = "all"` or `build = { packages = ["hello"] }`
    "#);
    insta::assert_snapshot!(faults("build = \"packages\"\nchannel = []\n"), @r#"
    error: which packages?
     --> farm.toml:1:9
      |
    1 | build = "packages"
      |         ^^^^^^^^^^
      |
    hint: write `build = { packages = ["…"] }`

    error: this list is empty
     --> farm.toml:2:11
      |
    2 | channel = []
      |           ^^ expected at least one item
    "#);
    insta::assert_snapshot!(faults("build = {}\nchannel = [3]\n"), @r#"
    error: `build` is empty
     --> farm.toml:1:9
      |
    1 | build = {}
      |         ^^
      |
    hint: write `{ packages = ["…"] }` or `{ manifests = ["…"] }`

    error: expected a table, found a whole number
     --> farm.toml:2:12
      |
    2 | channel = [3]
      |            ^ expected a table
    "#);
}

#[test]
fn options_that_make_no_sense_are_shown_where_they_stand() {
    let spec = |text: &str| {
        format!("{text}\n[[channel]]\nname = \"own\"\nurl = \"/srv/own\"\nauthenticate = false\n")
    };
    insta::assert_snapshot!(faults(&spec("build = \"image\"\ntuned = false\nexclude = [\"*\", \"a b\"]\ncross-targets = [\"x y\"]")), @r#"
    error: `image` is not known here
     --> farm.toml:1:9
      |
    1 | build = "image"
      |         ^^^^^^^
      |
    hint: did you mean `images`?

    error: this leaves out everything
     --> farm.toml:3:12
      |
    3 | exclude = ["*", "a b"]
      |            ^^^
      |
    hint: write `NAME`, or a part of it and `*` for the rest, such as `texlive-*`

    error: this is not a pattern for names of packages
     --> farm.toml:3:17
      |
    3 | exclude = ["*", "a b"]
      |                 ^^^^^
      |
    hint: write `NAME`, or a part of it and `*` for the rest, such as `texlive-*`

    error: this is not a target
     --> farm.toml:4:18
      |
    4 | cross-targets = ["x y"]
      |                  ^^^^^
      |
    hint: write a triplet that `guix build --list-targets` shows, such as `aarch64-linux-gnu`
    "#);
    insta::assert_snapshot!(faults(&spec("build = \"guix\"\ntuned = false\ncross = false")), @r#"
    error: this needs a channel called `guix`
     --> farm.toml:1:9
      |
    1 | build = "guix"
      |         ^^^^^^
      |
    hint: add it: these jobs build what that channel has

    error: `tuned` changes nothing about the build `guix`
     --> farm.toml:2:9
      |
    2 | tuned = false
      |         ^^^^^
      |
    hint: leave it out; it goes with `all`

    error: `cross` changes nothing about the build `guix`
     --> farm.toml:3:9
      |
    3 | cross = false
      |         ^^^^^
      |
    hint: leave it out; it goes with `all`, `core`
    "#);
    insta::assert_snapshot!(faults(&spec("build = { channels = [\"owm\"], custom = [\"own ci\"] }")), @r#"
    error: `build` lists channels and custom
     --> farm.toml:1:9
      |
    1 | build = { channels = ["owm"], custom = ["own ci"] }
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: make a spec for each
    "#);
    insta::assert_snapshot!(faults(&spec("build = { channels = [\"owm\"] }")), @r#"
    error: `owm` is not known here
     --> farm.toml:1:23
      |
    1 | build = { channels = ["owm"] }
      |                       ^^^^^
      |
    hint: did you mean `own`?
    "#);
    insta::assert_snapshot!(faults(&spec("build = { custom = [\"own ci\", \"()\", \"(own (ci))\"] }")), @r#"
    error: this is not the name of a module
     --> farm.toml:1:21
      |
    1 | build = { custom = ["own ci", "()", "(own (ci))"] }
      |                     ^^^^^^^^
      |
    hint: write it as Guile does: `(my-channel ci)`

    error: this is not the name of a module
     --> farm.toml:1:31
      |
    1 | build = { custom = ["own ci", "()", "(own (ci))"] }
      |                               ^^^^
      |
    hint: write it as Guile does: `(my-channel ci)`

    error: this is not the name of a module
     --> farm.toml:1:37
      |
    1 | build = { custom = ["own ci", "()", "(own (ci))"] }
      |                                     ^^^^^^^^^^^^
      |
    hint: write it as Guile does: `(my-channel ci)`
    "#);
    for right in [
        "build = \"core\"\ncross = false\ncross-targets = [\"riscv64-linux-gnu\", \"x86_64-w64-mingw32\"]\nexclude = [\"*-tarball\"]",
        "build = { custom = [\"(own ci)\", \"( own  other )\"] }",
        "build = { channels = [\"own\"] }\nexclude = [\"python2-*\"]",
        "build = \"tarball\"",
        "build = \"hello\"\ncross-targets = [\"avr\"]",
        "build = { manifests = [\"m.scm\"] }\nbuilds-while-evaluating = true",
    ] {
        assert!(parse(&spec(right), "farm").is_ok(), "{}", faults(&spec(right)));
    }
}

#[test]
fn whoever_does_without_authentication_says_so() {
    let spec = |channel: &str| format!("build = \"all\"\n[[channel]]\n{channel}\n");
    let parsed = |channel: &str| parse(&spec(channel), "farm").unwrap();
    let known = "introduction = { commit = \"9edb3f66fd807b096b48283debdcddccfea34bad\", signer = \"BBB0 2DDF 2CEA F6A8 0D1D  E643 A2A0 6DF2 A33A 54FA\" }";

    let guix = parsed("name = \"guix\"\nurl = \"https://git.guix.gnu.org/guix.git\"");
    let elsewhere = parsed(&format!("name = \"guix\"\nurl = \"https://example.org/guix\"\n{known}"));
    assert_eq!(guix.spec.channels[0].introduction, elsewhere.spec.channels[0].introduction);
    assert!(guix.spec.channels[0].introduction.is_some(), "as `guix pull` does it");
    let without =
        parsed("name = \"guix\"\nurl = \"https://git.guix.gnu.org/guix.git\"\nauthenticate = false");
    assert_eq!((&without.spec.channels[0].introduction, &without.warnings), (&None, &Vec::new()));
    let local = parsed("name = \"guix\"\nurl = \"/srv/guix\"");
    assert_eq!((&local.spec.channels[0].introduction, &local.warnings), (&None, &Vec::new()));
    let other = parsed("name = \"other\"\nurl = \"https://example.org/x\"");
    let warnings = render(&other.warnings, "farm.toml", "", false);
    assert!(
        warnings.contains("not authenticated") && warnings.contains("authenticate = false"),
        "{warnings}"
    );

    insta::assert_snapshot!(faults(&spec("name = \"guix\"\nurl = \"https://example.org/guix\"")), @r#"
    error: commits of the channel `guix` are not authenticated
     --> farm.toml:2:1
      |
    2 | [[channel]]
      | ^^^^^^^^^^^ it has no introduction
      |
    hint: add `introduction = { commit = "…", signer = "…" }`, or say `authenticate = false`
    "#);
    insta::assert_snapshot!(faults(&spec("name = \"other\"\nurl = \"/srv/x\"\nauthenticate = true")), @r#"
    error: there is nothing to authenticate this channel by
     --> farm.toml:5:16
      |
    5 | authenticate = true
      |                ^^^^
      |
    hint: add `introduction = { commit = "…", signer = "…" }`
    "#);
    let both = format!("name = \"guix\"\nurl = \"https://example.org/guix\"\nauthenticate = false\n{known}");
    insta::assert_snapshot!(faults(&spec(&both)), @r#"
    error: `introduction` and `authenticate = false` contradict each other
     --> farm.toml:5:16
      |
    5 | authenticate = false
      |                ^^^^^
      |
    hint: leave out either `introduction` or `authenticate = false`
    "#);
}

#[test]
fn a_pattern_stands_for_branches_and_for_nothing_else() {
    let spec = |channels: &str| format!("build = \"all\"\n{channels}");
    let channel =
        |name: &str, rest: &str| format!("[[channel]]\nname = \"{name}\"\nurl = \"/srv/{name}\"\n{rest}\n");
    let teams = parse(&spec(&channel("x", "branch = \"*-team\"\nexclude = [\"wip-*\"]")), "teams").unwrap();
    assert!(teams.spec.is_template() && !teams.spec.is_evaluated());
    let twice = channel("x", "branch = \"*\"") + &channel("y", "branch = \"*\"");
    let commit = format!("branch = \"a*\"\ncommit = \"{}\"", "1".repeat(40));
    let wrong = [
        (twice, "two channels have a pattern"),
        (channel("x", &commit), "has no `commit`"),
        (channel("x", "branch = \"a..*\""), "not the name of a branch"),
        (channel("x", "exclude = [\"a\"]"), "goes with a pattern"),
        (channel("x", "branch = \"*\"\nexclude = [\"a b\"]"), "not the name of a branch"),
    ];
    for (channels, fault) in wrong {
        let faults = faults(&spec(&channels));
        assert!(faults.contains(fault), "{faults}");
    }
}

#[test]
fn two_channels_are_not_the_same() {
    let channel = |name: &str, url: &str| format!("[[channel]]\nname = \"{name}\"\nurl = \"{url}\"\n");
    let spec = |other: &str| format!("build = \"all\"\n{}{other}", channel("guix", "/srv/guix"));
    assert!(parse(&spec(&channel("other", "/srv/other")), "farm").is_ok());
    insta::assert_snapshot!(faults(&spec(&channel("guix", "/srv/other"))), @r#"
    error: two channels are called `guix`
     --> farm.toml:5:1
      |
    5 | [[channel]]
      | ^^^^^^^^^^^ the second one
      |
    hint: rename it
    "#);
    insta::assert_snapshot!(faults(&spec(&channel("other", "/srv/guix"))), @r#"
    error: two channels have the same URL and branch
     --> farm.toml:5:1
      |
    5 | [[channel]]
      | ^^^^^^^^^^^ the second one
      |
    hint: leave it out
    "#);
}

#[test]
fn a_mistake_in_toml_itself_is_one_fault() {
    insta::assert_snapshot!(faults("build = \"all\"\nbuild = \"hello\"\n"), @r#"
    error: duplicate key
     --> farm.toml:2:1
      |
    2 | build = "hello"
      | ^^^^^ TOML cannot be parsed after this
    "#);
    insta::assert_snapshot!(faults("build = all\n"), @r#"
    error: string values must be quoted, expected literal string
     --> farm.toml:1:9
      |
    1 | build = all
      |         ^^^ TOML cannot be parsed after this
    "#);
}

#[test]
fn a_bad_file_does_not_stop_the_others_but_a_name_given_twice_stops_both() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs_err::write(directory.path().join(name), text).unwrap();
    let good = "build = \"hello\"\n[[channel]]\nname = \"guix\"\nurl = \"/srv/guix\"\n";
    write("good.toml", good);
    write("bad.toml", "build = 3\n");
    write("twin.toml", &format!("name = \"b\"\n{good}"));
    write("b.toml", good);
    write("latin-1.toml", "");
    fs_err::write(directory.path().join("latin-1.toml"), b"# sch\xf6n\n").unwrap();
    fs_err::create_dir(directory.path().join("folder.toml")).unwrap();
    write(".#good.toml", "an editor's lock");
    write("README", "not a spec");

    let files = load_directory(directory.path()).unwrap();
    let shown = files.iter().map(|file| {
        let name = file.path.file_name().unwrap().to_str().unwrap();
        match &file.outcome {
            Ok(checked) => format!("{name}: {}", checked.spec.name),
            Err(faults) => {
                let messages = faults.iter().map(|fault| format!("{:?} {}", fault.span, fault.message));
                format!("{name}: {}", messages.collect::<Vec<_>>().join("; "))
            }
        }
    });
    let shown = shown.collect::<Vec<_>>().join("\n").replace(directory.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(shown, @r#"
    b.toml: 0..0 `b` is also the name of the spec in DIR/twin.toml
    bad.toml: 0..0 a spec needs `channel`; 8..9 expected a string or a table, found a whole number
    folder.toml: 0..0 DIR/folder.toml is not a regular file
    good.toml: good
    latin-1.toml: 5..8 this is not UTF-8
    twin.toml: 7..10 `b` is also the name of the spec in DIR/b.toml
    "#);
    let missing = load_directory(&directory.path().join("missing")).unwrap_err();
    assert!(missing.to_string().contains("missing"), "the error names the directory: {missing}");
}

#[test]
fn the_specs_that_come_with_gorget_can_be_used() {
    let files = load_directory(&Path::new(env!("CARGO_MANIFEST_DIR")).join("specs")).unwrap();
    let spec = |name: &str| -> Spec {
        let found = files.iter().find(|file| file.path.file_stem().unwrap() == name);
        let file = found.unwrap_or_else(|| panic!("specs/{name}.toml is there"));
        match &file.outcome {
            Ok(checked) => checked.spec.clone(),
            Err(faults) => panic!("{}", render(faults, name, &file.source, false)),
        }
    };
    assert_eq!((spec("guix-master").build, spec("guix-master").systems.len()), (Subset::All.into(), 2));
    assert_eq!(spec("channel").build.subset, Subset::Channels(vec!["own".to_owned()]));
    assert_eq!(spec("channel").build.exclude, ["*-snapshot"]);
    assert_eq!(spec("images").build, Subset::Images.into());
    assert_eq!(spec("hello").build, Subset::Hello.into());
    assert!(matches!(spec("toolchain").build.subset, Subset::Packages(_)));
    assert!(matches!(spec("release").build.subset, Subset::Manifests(_)));
    assert!(spec("teams").is_template() && spec("teams").channels[0].introduction.is_some());
    assert_eq!(files.len(), 7, "each of them is named above");
}

#[tokio::test]
async fn an_admin_checks_what_the_farm_evaluates_without_saying_where_it_is() {
    let farm = Farm::new(None);
    let said = farm.say(&["check"]).await;
    assert!(said.code == Some(1) && said.talk.contains("no spec is in this directory"), "{}", said.talk);
    farm.spec("good", "build = \"hello\"\n[[channel]]\nname = \"guix\"\nurl = \"/nowhere\"\n");
    let said = farm.say(&["check"]).await;
    assert!(said.code == Some(0) && said.data.contains("good"), "{}{}", said.data, said.talk);
    farm.spec("bad", "build = \"helo\"\n");
    let said = farm.say(&["check"]).await;
    assert!(said.code == Some(1) && said.talk.contains("bad.toml"), "{}", said.talk);
}

/// Asks git itself about many names. It takes some that are refused here all the same: they would
/// be read as options or as something other than a branch.
#[tokio::test]
async fn a_branch_is_what_git_takes_as_one() {
    let pieces = [
        "a", "b", "c", "0", "_", "-", ".", "..", "/", "@", "{", "~", "^", ":", "?", "*", "[", "\\", " ",
        ".lock", "é",
    ];
    let mut taken = 0;
    for (i, first) in pieces.iter().enumerate() {
        for (j, second) in pieces.iter().enumerate() {
            let third = pieces[(3 * i + 5 * j) % pieces.len()];
            let name = format!("{first}{second}{third}");
            let reference = format!("refs/heads/{name}");
            let mut git = Tool::new("git").args(["check-ref-format", &reference]).spawn().unwrap();
            let git_takes_it = git.finish(Duration::from_secs(30)).await.unwrap().success();
            let expected = git_takes_it && !name.starts_with('-');
            assert_eq!(check_branch(&name).is_ok(), expected, "{name}");
            taken += u32::from(expected);
        }
    }
    assert!(taken > 20, "{taken} names were good");
    for name in ["HEAD", "@", "refs/heads/master", "", "a\u{1b}", "a\u{9b}"] {
        assert!(check_branch(name).is_err(), "{name:?}");
    }
}
