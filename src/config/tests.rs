use super::*;

const EXAMPLE: &str = include_str!("../../gorget.toml.example");

/// The machine whose defaults `gorget.toml.example` shows.
fn server() -> Machine {
    Machine {
        name: "farm".to_owned(),
        is_root: true,
        home: None,
        state_home: None,
        config_home: None,
        cores: NonZeroUsize::new(4).unwrap(),
        memory: 24 << 30,
    }
}

fn resolved(text: &str) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("gorget.toml");
    fs_err::write(&file, text)?;
    let written = read(&file).map_err(|error| match error {
        ConfigError::Text { line, column, message, .. } => {
            ConfigError::Text { path: "gorget.toml".into(), line, column, message }
        }
        error => error,
    })?;
    resolve(written, Path::new("/etc/gorget/gorget.toml"), &server())
}

#[test]
fn the_example_shows_every_key_at_its_default() {
    let defaults = resolved("").unwrap();
    assert_eq!(resolved(EXAMPLE).unwrap(), defaults, "all of it is commented out");

    let is_key = |line: &str| {
        line.strip_prefix('#').is_some_and(|rest| !rest.starts_with([' ', '#']) && !rest.is_empty())
    };
    let lines = EXAMPLE.lines().map(|line| if is_key(line) { &line[1..] } else { line });
    let uncommented = lines.collect::<Vec<_>>().join("\n");
    assert_eq!(resolved(&uncommented).unwrap(), defaults);
    let written: Written = toml::from_str(&uncommented).unwrap();
    assert!(written.is_complete(), "a key is missing in the example");
}

#[test]
fn what_the_file_says_comes_before_defaults() {
    let config = resolved(
        r#"
        state = "state"
        database = "postgres://gorget:s3cret@db.example.org/gorget?password=s3cret"
        guix-root = "/srv/sid"
        [evaluate]
        workers = 3
        memory = "512M"
        package-time = "90s"
        [coordinator]
        kind = "guix-build-coordinator"
        substitute-urls = ["https://gorget.example.org"]
        "#,
    )
    .unwrap();
    assert_eq!(config.state, Path::new("/etc/gorget/state"));
    assert_eq!((config.evaluate.workers.get(), config.evaluate.memory), (3, 512 << 20));
    assert_eq!(config.evaluate.package_time, Duration::from_secs(90));
    let Kind::GuixBuildCoordinator { url, substitute_urls, .. } = &config.coordinators[0].kind else {
        panic!("{:?}", config.coordinators)
    };
    assert_eq!((url.as_str(), substitute_urls.len()), ("http://127.0.0.1:8746", 1));
    assert!(config.database.as_str().contains("s3cret"));
    assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
    assert_eq!(config.database.to_string(), "postgres://…@db.example.org/gorget?…");
}

#[test]
fn the_database_is_a_file_in_the_state_directory_unless_told_otherwise() {
    let database = |text: &str| resolved(text).unwrap().database.as_str().to_owned();
    assert_eq!(database(""), "/var/lib/gorget/gorget.db");
    assert_eq!(database("state = '/srv/g'"), "/srv/g/gorget.db");
    assert_eq!(database("state = '/srv/g'\ndatabase = 'my.db'"), "/srv/g/my.db");
    assert_eq!(database("database = '/srv/my.db'"), "/srv/my.db");
}

#[test]
fn what_is_served_and_asked_can_be_anywhere() {
    let web = |text: &str| resolved(&format!("[web]\n{text}")).unwrap().web;
    assert_eq!(web("").listen, Listen::Socket("/var/lib/gorget/gorget.sock".into()));
    assert_eq!(web("listen = '[::1]:80'").listen, Listen::Address("[::1]:80".to_owned()));
    assert_eq!(web("listen = '/run/a:1'").listen, Listen::Socket("/run/a:1".into()));
    assert_eq!(web("public-url = ''").public_url, None);
    assert_eq!(
        web("signing-key = '/etc/guix/signing-key.sec'").signing_key,
        Path::new("/etc/guix/signing-key.sec")
    );
    let acl = |text: &str| resolved(text).unwrap().substitutes.acl;
    assert_eq!(acl("guix-root = '/srv/sid'"), Path::new("/srv/sid/etc/guix/acl"));
    assert_eq!(acl("[substitutes]\nacl = 'acl'"), Path::new("/etc/gorget/acl"));
}

#[test]
fn a_machine_can_build_by_itself() {
    let config = resolved("[coordinator]\nkind = 'guix-daemon'\nat-once = 3").unwrap();
    let Kind::GuixDaemon { at_once, log_size } = config.coordinators[0].kind else {
        panic!("it is another one")
    };
    assert_eq!((at_once.get(), log_size), (3, 4 << 20));
}

#[test]
fn there_can_be_several_coordinators_each_with_its_own_builds() {
    let config = resolved(
        r#"
        [coordinator]
        kind = "guix-daemon"
        [coordinators.arm]
        kind = "guix-build-coordinator"
        systems = ["aarch64-linux"]
        events-id = 2
        [coordinators.release]
        kind = "guix-build-coordinator"
        url = "http://127.0.0.1:9746"
        specs = ["release"]
        "#,
    )
    .unwrap();
    let routes = config.routes();
    let serving = |spec, system| routes.serving(spec, system).unwrap();
    assert_eq!(serving("master", "x86_64-linux"), "default");
    assert_eq!(serving("master", "aarch64-linux"), "arm");
    assert_eq!(serving("release", "aarch64-linux"), "release");
    let token = |place: usize| config.coordinators[place].events_token.as_deref();
    assert_eq!(token(0), Some(Path::new("/var/lib/gorget/events-token")));
    assert_eq!(token(1), Some(Path::new("/var/lib/gorget/events-token-arm")));
    assert_eq!(token(2), None, "it has no number to tell events with");
}

#[test]
fn coordinators_that_cannot_be_told_apart_are_a_fault() {
    let told = |text: &str| resolved(text).unwrap_err().to_string();
    let gbc = |name: &str, port: u16, rest: &str| {
        format!("[coordinators.{name}]\nkind = 'guix-build-coordinator'\nurl = 'http://x:{port}'\n{rest}\n")
    };
    let one = gbc("a", 1, "systems = ['x86_64-linux', 'i686-linux']\nevents-id = 7");
    let here = "[coordinators.here]\nkind = 'guix-daemon'\nspecs = ['x']\n";
    for (text, place, what) in [
        (one.clone() + &gbc("b", 2, "systems = ['i686-linux']"), "6:15", "a and b serve the same builds"),
        (one.clone() + &gbc("b", 1, ""), "6:15", "a and b have the same address"),
        (one + &gbc("b", 2, "events-id = 7"), "6:15", "a and b have the same `events-id`"),
        (
            gbc("a", 1, "systems = ['x86-linux']"),
            "4:11",
            "`x86-linux` is not a system of Guix: write one of x86_64-linux",
        ),
        (gbc("'a b'", 1, ""), "1:15", "a coordinator cannot have this name"),
        ("[coordinators.a]\nspecs = ['x']".to_owned(), "1:15", "[coordinators.a] has no `kind`"),
        ("[coordinators.a]\nkind = 'none'\nsystem = []".to_owned(), "3:1", "unknown field `system`"),
        (format!("[coordinator]\nkind = 'guix-daemon'\n{here}"), "3:15", "are the same guix-daemon"),
    ] {
        let told = told(&text);
        assert!(told.contains(&format!("gorget.toml:{place}: ")) && told.contains(what), "{told}");
    }
}

#[test]
fn a_user_who_is_not_root_has_everything_at_home() {
    let home = |state_home: Option<&str>| Machine {
        is_root: false,
        home: Some("/home/ada".into()),
        state_home: state_home.map(Into::into),
        ..server()
    };
    let config = resolve(Written::default(), Path::new("/"), &home(None)).unwrap();
    assert_eq!(config.state, Path::new("/home/ada/.local/state/gorget"));
    assert_eq!(config.specs, Path::new("/home/ada/.config/gorget/specs"));
    let config = resolve(Written::default(), Path::new("/"), &home(Some("/x"))).unwrap();
    assert_eq!(config.state, Path::new("/x/gorget"));
    let homeless = Machine { home: None, ..home(None) };
    assert!(matches!(resolve(Written::default(), Path::new("/"), &homeless), Err(ConfigError::NoHome)));
}

#[test]
fn a_fault_is_told_with_its_place_and_without_the_line() {
    let told = |text: &str| resolved(text).unwrap_err().to_string();
    insta::assert_snapshot!(told("\n[evaluate]\nworker = 3\n"), @r#"
    gorget.toml:3:1: unknown field `worker`, expected one of `systems`, `workers`, `memory`, `compiled`, `most-stored`, `stored-per-spec`, `package-time`, `time-machine-time`, `evaluation-time`, `daemon-socket`, `daemon-store`
    "#);
    insta::assert_snapshot!(told("[evaluate]\nmemory = \"12X\"\n"), @r#"
    gorget.toml:2:10: `12X` is not a size: write a whole number and M, G or T, such as `12G`
    "#);
    insta::assert_snapshot!(told("[evaluate]\nworkers = 0\n"), @r#"
    gorget.toml:2:11: invalid value: integer `0`, expected a nonzero usize
    "#);
    insta::assert_snapshot!(told("host = \"a b\"\n"), @r#"
    gorget.toml:1:8: the name of a host is made of at most 64 letters, digits, `.`, `-` and `_`
    "#);
    insta::assert_snapshot!(told("[evaluate]\nsystems = [\"vax\"]\n"), @r#"
    gorget.toml:2:11: `vax` is not a system of Guix: write one of x86_64-linux, i686-linux, aarch64-linux, armhf-linux, powerpc64le-linux, riscv64-linux, i586-gnu, x86_64-gnu, mips64el-linux, powerpc-linux
    "#);
    insta::assert_snapshot!(told("[git]\npoll-time = \"0s\"\n"), @r#"
    gorget.toml:2:13: `0s` is not a duration: write a whole number and s, m, h or d, such as `5m`
    "#);
    insta::assert_snapshot!(told("database = \"mysql://gorget:s3cret@x/y\"\n"), @r#"
    gorget.toml:1:12: a database is the path of an SQLite file or `postgres://USER@HOST/NAME`
    "#);
    insta::assert_snapshot!(told("database = \"postgres://gorget:s3cret@x/y\n"), @r#"
    gorget.toml:1:41: invalid basic string, expected `"`
    "#);
    insta::assert_snapshot!(told("[coordinator]\nkind = \"cuirass\"\n"), @r#"
    gorget.toml:2:8: unknown variant `cuirass`, expected one of `none`, `guix-build-coordinator`, `guix-daemon`
    "#);
    insta::assert_snapshot!(told("[coordinator]\nurl = \"http://127.0.0.1:1\"\n"), @r#"
    /etc/gorget/gorget.toml:2:7: [coordinator] has `url`, but no `kind`
    hint: add `kind = "guix-build-coordinator"`
    "#);
    insta::assert_snapshot!(told("[coordinator]\nurl = \"ftp://u:s3cret@x\"\n"), @r#"
    gorget.toml:2:7: this is not a URL that begins with `http://` or `https://`
    "#);
}

#[test]
fn the_real_machine_can_be_asked() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gorget.toml");
    fs_err::write(&file, "specs = \"specs\"\n").unwrap();
    let config = Config::load(Some(&file), Some(Path::new("here"))).unwrap();
    assert!(config.evaluate.memory > 64 << 20, "{} bytes", config.evaluate.memory);
    assert_eq!(config.state, std::env::current_dir().unwrap().join("here"));
    assert_eq!(config.specs, directory.path().join("specs"));
    let missing = Config::load(Some(&directory.path().join("missing.toml")), None).unwrap_err();
    assert!(missing.to_string().contains("missing.toml"), "{missing}");
}

#[test]
fn a_webhook_has_a_name_a_kind_and_a_file_of_secrets() {
    let config = resolved("[hooks.codeberg]\nkind = 'forgejo'\nsecret = 'hook'").unwrap();
    let Hook { name, kind, secret } = &config.hooks[0];
    assert_eq!((name.as_str(), *kind), ("codeberg", HookKind::Forgejo));
    assert_eq!(secret, Path::new("/var/lib/gorget/hook"));
    for wrong in [
        "[hooks.'a b']\nkind = 'forgejo'\nsecret = 'x'",
        "[hooks.a]\nkind = 'gitea'\nsecret = 'x'",
        "[hooks.a]\nkind = 'github'",
        "[hooks.a]\nkind = 'github'\nsecret = 'x'\nrepositories = []",
    ] {
        assert!(resolved(wrong).is_err(), "{wrong}");
    }
}
