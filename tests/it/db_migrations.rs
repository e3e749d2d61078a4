//! Farms that ran before a migration lose nothing by it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use gorget::db::{BuildId, BuildState, Db, EvaluationId, EvaluationState};
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection, SqliteConnection};

use crate::support::postgres_database;

/// The migrations before `version`.
fn before(version: i64, mut migrator: Migrator) -> Migrator {
    let kept = migrator.migrations.iter().filter(|migration| migration.version < version);
    migrator.migrations = Cow::Owned(kept.cloned().collect());
    migrator
}

/// Two builds of one evaluation, and two evaluations after it, as they stood in the first tables. Of one job,
/// all three have another derivation than those around them.
const BUILDS: &str = "
    insert into spec (id, name, definition, priority, active, present) values (1, 'master', '{}', 5, true, true);
    insert into revision (id, key, channels, created_at) values (1, 'k', '[]', 1);
    insert into evaluation (id, spec_id, revision_id, build, system, state, created_at)
      values (1, 1, 1, '\"all\"', 'x86_64-linux', 'complete', 1), (2, 1, 1, '\"all\"', 'x86_64-linux', 'complete', 1),
        (3, 1, 1, '\"all\"', 'x86_64-linux', 'complete', 1);
    insert into output_set (id, key, outputs) values (1, 'aa', 'out x-a'), (2, 'bb', 'out x-b');
    insert into derivation (id, hash, name, system, output_set_id, inputs)
      values (1, 'a', 'a', 'x86_64-linux', 1, ''), (2, 'b', 'b', 'x86_64-linux', 2, '');
    insert into build (output_set_id, derivation_id, evaluation_id, job, system, priority, state, created_at)
      values (1, 1, 1, 'a', 'x86_64-linux', 5, 'refused', 2), (2, 2, 1, 'b', 'x86_64-linux', 5, 'queued', 3);
    insert into job (spec_id, system, name, derivation_id, first_evaluation, last_evaluation)
      values (1, 'x86_64-linux', 'turns', 1, 1, 1), (1, 'x86_64-linux', 'turns', 2, 2, 2),
        (1, 'x86_64-linux', 'turns', 1, 3, null), (1, 'x86_64-linux', 'stays', 1, 1, 2);";

#[tokio::test]
async fn builds_keep_their_states_and_jobs_their_evaluations() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gorget.db").display().to_string();
    let url = postgres_database().await;
    let mut sqlite = SqliteConnection::connect(&format!("sqlite:{file}?mode=rwc")).await.unwrap();
    before(5, sqlx::migrate!("migrations/sqlite")).run(&mut sqlite).await.unwrap();
    let blobs = BUILDS.replace(", '')", ", x'')");
    sqlx::raw_sql(sqlx::AssertSqlSafe(blobs)).execute(&mut sqlite).await.unwrap();
    sqlite.close().await.unwrap();
    let mut postgres = PgConnection::connect(&url).await.unwrap();
    before(5, sqlx::migrate!("migrations/postgres")).run(&mut postgres).await.unwrap();
    sqlx::raw_sql(BUILDS).execute(&mut postgres).await.unwrap();
    postgres.close().await.unwrap();

    for location in [file, url] {
        let db = Db::open(&location).await.unwrap();
        let counts = db.build_counts().await.unwrap();
        let states: Vec<_> = counts.iter().map(|count| (count.state, count.count)).collect();
        assert_eq!(states, [(BuildState::Queued, 1), (BuildState::Rejected, 1)]);
        let failed = db.failed_derivations(BuildId(1)).await.unwrap();
        let failed: Vec<_> = failed.iter().map(|one| (one.derivation.as_str(), one.failed_at)).collect();
        assert_eq!(failed, [("/gnu/store/a-a.drv", 2)], "what failed is known of its derivation");
        for (evaluation, expected) in
            [(1, vec!["stays a", "turns a"]), (2, vec!["stays a", "turns b"]), (3, vec!["turns a"])]
        {
            let jobs = db.jobs(EvaluationId(evaluation)).await.unwrap();
            let name = |job: &gorget::db::Job| {
                format!("{} {}", job.name, &job.derivation["/gnu/store/".len()..][..1])
            };
            assert_eq!(
                jobs.iter().map(name).collect::<Vec<_>>(),
                expected,
                "intervals are found where they hang"
            );
        }
        db.close().await;
    }
}

/// A farm as the tables before migration 33 had it: builds in every state, an evaluation that waits, a spec that
/// is held, answers of a substitute server, a host that schedules.
const OLD_WORDS: &str = "
    insert into spec (id, name, definition, priority, active, present) values (1, 'master', '{}', 5, true, true);
    insert into revision (id, key, channels, created_at) values (1, 'k', '{\"channels\":[]}', 1);
    insert into evaluation (id, spec_id, revision_id, build, system, state, created_at, finished_at, figures)
      values (1, 1, 1, '{\"subset\":\"all\",\"tuned\":true,\"cross\":true,\"cross_targets\":[],\"exclude\":[]}', 'x86_64-linux', 'complete', 1, 2, '{\"jobs\":1}'),
        (2, 1, 1, '{\"subset\":\"all\",\"tuned\":true,\"cross\":true,\"cross_targets\":[],\"exclude\":[]}', 'x86_64-linux', 'waiting', 1, null, null);
    insert into system (id, name) values (1, 'x86_64-linux');
    insert into job_name (id, name) values (1, 'a.x86_64-linux');
    insert into sequence (id, spec_id, system) values (1, 1, 'x86_64-linux');
    insert into hold (spec_id, wanted, kind, reason, push_id, since, next_try, failures)
      values (1, 'w', 'bad', 'why', null, 1, 2, 3);
    insert into lookup (server, hash, present, expires_at) values ('s', 'h', true, 1);
    insert into scheduler (id, host, term, until) values (1, 'one', 1, 7);
    insert into host (name, identity, roles, systems, workers, memory, started_at, seen_at)
      values ('one', 'i', 'schedule', '', 1, 1, 1, 5);
    insert into branch (id, url, name, tip, looked_at, next_look) values (1, 'u', 'b', 'c', 3, 4);
    insert into span (id, sequence_id, name_id, derivation_id, first_evaluation) values (1, 1, 1, 1, 1);";

/// The states of builds before migration 33, and their words after it.
const STATES: [(&str, BuildState); 12] = [
    ("recorded", BuildState::Known),
    ("wanted", BuildState::Pending),
    ("held", BuildState::AwaitingApproval),
    ("substituted", BuildState::Substituted),
    ("queued", BuildState::Queued),
    ("submitted", BuildState::Submitted),
    ("refused", BuildState::Rejected),
    ("started", BuildState::Building),
    ("succeeded", BuildState::Succeeded),
    ("failed", BuildState::Failed),
    ("canceling", BuildState::Canceling),
    ("canceled", BuildState::Canceled),
];

#[tokio::test]
async fn whatever_has_another_name_keeps_its_content_and_a_copy_is_made_before() {
    let mut statements = OLD_WORDS.to_owned();
    for (number, (state, _)) in (1..).zip(STATES) {
        let _ = write!(
            statements,
            "insert into output_set (id, outputs) values ({number}, 'out {number}-a');
             insert into derivation (id, hash, name, system_id, output_set_id, inputs)
               values ({number}, '{number}', 'a', 1, {number}, '');
             insert into build (id, output_set_id, derivation_id, evaluation_id, name_id, priority, state, created_at)
               values ({number}, {number}, {number}, 1, 1, 5, '{state}', 1);"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gorget.db").display().to_string();
    let url = postgres_database().await;
    let mut sqlite = SqliteConnection::connect(&format!("sqlite:{file}?mode=rwc")).await.unwrap();
    before(33, sqlx::migrate!("migrations/sqlite")).run(&mut sqlite).await.unwrap();
    // The derivations come after the job that has the first one.
    sqlx::raw_sql("pragma foreign_keys = off").execute(&mut sqlite).await.unwrap();
    let blobs = statements.replace(", '');", ", x'');");
    sqlx::raw_sql(sqlx::AssertSqlSafe(blobs.clone())).execute(&mut sqlite).await.unwrap();
    sqlite.close().await.unwrap();
    let mut postgres = PgConnection::connect(&url).await.unwrap();
    before(33, sqlx::migrate!("migrations/postgres")).run(&mut postgres).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut postgres).await.unwrap();
    postgres.close().await.unwrap();

    for location in [&file, &url] {
        let db = Db::open(location).await.unwrap();
        for (number, (word, state)) in (1..).zip(STATES) {
            let build = db.build(BuildId(number)).await.unwrap().unwrap();
            assert_eq!(build.state, state, "{word}");
        }
        let evaluations = db.evaluations(None, None, 10).await.unwrap();
        let states: Vec<_> = evaluations.iter().map(|one| one.state).collect();
        assert_eq!(states, [EvaluationState::Pending, EvaluationState::Complete]);
        assert_eq!(evaluations[1].metrics, Some(serde_json::json!({ "jobs": 1 })));
        let blocked = db.blocked_specs().await.unwrap().remove(0);
        assert_eq!((blocked.target.as_str(), blocked.next_attempt, blocked.failures), ("w", 2, 3));
        let branch = db.branches().await.unwrap().remove(0);
        assert_eq!((branch.polled_at, branch.next_poll), (Some(3), 4));
        let host = db.hosts().await.unwrap().remove(0);
        assert_eq!((host.heartbeat_at, host.schedules), (5, true));
        assert_eq!(db.jobs(EvaluationId(1)).await.unwrap()[0].name, "a.x86_64-linux");
        db.close().await;
    }
    let copy = format!("{file}.before-33");
    let mut connection = SqliteConnection::connect(&format!("sqlite:{copy}")).await.unwrap();
    let held: i64 = sqlx::query_scalar("select count(*) from build where state = 'held'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(held, 1, "the copy is as the database was");
    let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let copies = files.filter(|name| name.to_string_lossy().contains("before")).count();
    assert_eq!(copies, 1, "nothing half-made is left");
}

/// The databases of a farm that ran at commit a0f2c46: it evaluated two revisions of a channel with three packages
/// and a faulty one.
const A0F2C46: [&str; 2] =
    [include_str!("fixtures/a0f2c46.sqlite.sql"), include_str!("fixtures/a0f2c46.postgres.sql")];

#[tokio::test]
async fn a_farm_of_the_first_reviewed_state_goes_on_with_what_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gorget.db").display().to_string();
    let url = postgres_database().await;
    let mut sqlite = SqliteConnection::connect(&format!("sqlite:{file}?mode=rwc")).await.unwrap();
    // Tables are in the order of their names.
    sqlx::raw_sql("pragma foreign_keys = off").execute(&mut sqlite).await.unwrap();
    sqlx::raw_sql(A0F2C46[0]).execute(&mut sqlite).await.unwrap();
    sqlite.close().await.unwrap();
    let mut postgres = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(A0F2C46[1]).execute(&mut postgres).await.unwrap();
    postgres.close().await.unwrap();

    for location in [file, url] {
        let db = Db::open(&location).await.unwrap();
        assert_eq!(db.verify().await.unwrap(), [], "every store item still has the name of its content");
        let evaluations = db.evaluations(None, None, 10).await.unwrap();
        let states: Vec<_> = evaluations.iter().map(|one| (one.id.0, one.state, one.errors)).collect();
        assert_eq!(states, [(2, EvaluationState::Complete, 1), (1, EvaluationState::Complete, 1)]);
        for (evaluation, middle) in [(1, "middle-1.drv"), (2, "middle-2.drv")] {
            let jobs = db.jobs(EvaluationId(evaluation)).await.unwrap();
            let names: Vec<_> = jobs.iter().map(|job| job.name.as_str()).collect();
            assert_eq!(names, ["leaf.x86_64-linux", "middle.x86_64-linux", "top.x86_64-linux"]);
            assert!(jobs[1].derivation.ends_with(middle), "{}", jobs[1].derivation);
        }
        let counts = db.build_counts().await.unwrap();
        let states: Vec<_> = counts.iter().map(|count| (count.state, count.count)).collect();
        assert_eq!(states, [(BuildState::Canceled, 2), (BuildState::Queued, 3)]);
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_open_an_older_database_at_once_all_succeed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gorget.db").display().to_string();
    let url = postgres_database().await;
    let mut sqlite = SqliteConnection::connect(&format!("sqlite:{file}?mode=rwc")).await.unwrap();
    before(5, sqlx::migrate!("migrations/sqlite")).run(&mut sqlite).await.unwrap();
    sqlite.close().await.unwrap();
    let mut postgres = PgConnection::connect(&url).await.unwrap();
    before(5, sqlx::migrate!("migrations/postgres")).run(&mut postgres).await.unwrap();
    postgres.close().await.unwrap();
    for location in [file, url] {
        let opening: Vec<_> = (0..6)
            .map(|_| {
                let location = location.clone();
                tokio::spawn(async move { Db::open(&location).await.map(drop) })
            })
            .collect();
        for opened in opening {
            opened.await.unwrap().unwrap();
        }
    }
}

/// Tables that have a row for each job, derivation, store item or build that there ever was.
const LARGE: [&str; 13] = [
    "build",
    "build_event",
    "derivation",
    "evaluation_error",
    "failed_derivation",
    "job",
    "job_facts",
    "job_metadata",
    "output_set",
    "job_interval",
    "span",
    "store_item",
    "store_pack",
];

/// The statement, when it reads or writes all of a large table, or keeps others from it for as long as that
/// takes.
fn takes_long(statement: &str, is_sqlite: bool) -> bool {
    let words: Vec<&str> = statement.split(|c: char| c.is_whitespace() || c == '(' || c == ',').collect();
    let after = |word: &str| words.iter().skip_while(|found| **found != word).nth(1).copied();
    let is_large = |table: Option<&str>| table.is_some_and(|table| LARGE.contains(&table));
    let has = |word: &str| words.contains(&word);
    match words.first().copied().unwrap_or_default() {
        "create" if has("index") => is_large(after("on")) && !has("concurrently"),
        "alter" if is_sqlite => is_large(after("table")) && has("drop"),
        "alter" => {
            let validates = has("type") || has("constraint") && has("add") && !has("valid") || has("set");
            is_large(after("table")) && (validates || has("references") && has("add"))
        }
        "insert" | "delete" => is_large(after("from")) || is_large(after("join")),
        "update" => is_large(words.get(1).copied()),
        _ => false,
    }
}

#[test]
fn a_migration_that_takes_long_on_a_large_database_says_so() {
    assert!(takes_long("create unique index a on job_interval (id)", true));
    assert!(takes_long("create index a on job_interval (id)", false));
    assert!(!takes_long("create index concurrently a on job_interval (id)", false));
    assert!(!takes_long("create index a on branch (id)", false));
    assert!(takes_long("alter table output_set alter column key type bytea", false));
    assert!(takes_long("update build set urgency = 1", true));
    assert!(takes_long("insert into x select * from derivation", true));
    assert!(!takes_long("alter table build add column a bigint", false));
    for (is_sqlite, migrator) in
        [(true, sqlx::migrate!("migrations/sqlite")), (false, sqlx::migrate!("migrations/postgres"))]
    {
        // The first ones are older than this rule, and than any farm with a long history.
        for migration in migrator.iter().filter(|migration| migration.version >= 14) {
            let text = migration.sql.as_str().to_lowercase();
            let code: Vec<&str> =
                text.lines().map(|line| line.split_once("--").map_or(line, |(code, _)| code)).collect();
            let long: Vec<String> = code
                .join("\n")
                .split(';')
                .map(|statement| statement.trim().to_owned())
                .filter(|statement| takes_long(statement, is_sqlite))
                .collect();
            let says_so = text.lines().next().is_some_and(|line| line.starts_with("-- takes long: "));
            assert!(
                long.is_empty() || says_so,
                "migration {} must begin with `-- Takes long: WHY`, or not do this: {long:?}",
                migration.version
            );
        }
    }
}

#[tokio::test]
async fn while_a_migration_waits_for_a_reader_others_read() {
    let url = postgres_database().await;
    let mut reader = PgConnection::connect(&url).await.unwrap();
    before(14, sqlx::migrate!("migrations/postgres")).run(&mut reader).await.unwrap();
    let mut other = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("begin; select * from job").execute(&mut reader).await.unwrap();
    let opening = tokio::spawn(async move { Db::open(&url).await });
    for _ in 0..30 {
        let read = sqlx::query("select * from job").execute(&mut other);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        read.expect("who reads is let through, though the migration still waits").unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!opening.is_finished(), "the first reader still has the table");
    sqlx::raw_sql("rollback").execute(&mut reader).await.unwrap();
    opening.await.unwrap().unwrap().close().await;
}

/// The indices that are there, and whether they are of use.
async fn indices(connection: &mut PgConnection) -> BTreeMap<String, bool> {
    const SQL: &str = "select relname::text, indisvalid from pg_index join pg_class on oid = indexrelid";
    let indices: Vec<(String, bool)> = sqlx::query_as(SQL).fetch_all(connection).await.unwrap();
    indices.into_iter().collect()
}

#[tokio::test]
async fn indices_are_built_while_others_write_and_anew_where_that_was_cut_off() {
    const WRITE: &str = "insert into derivation (id, hash, name, system_id, output_set_id, inputs)
        values ((random() * 1e15)::bigint, 'hash', 'name', 1, 1, '')";
    let url = postgres_database().await;
    let mut hasty = PgConnection::connect(&url).await.unwrap();
    before(17, sqlx::migrate!("migrations/postgres")).run(&mut hasty).await.unwrap();
    let mut slow = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("begin").execute(&mut slow).await.unwrap();
    sqlx::raw_sql(WRITE).execute(&mut slow).await.unwrap();
    let sql = "set lock_timeout = '300ms'";
    sqlx::raw_sql(sql).execute(&mut hasty).await.unwrap();
    let sql = "create index concurrently derivation_by_hash on derivation using hash (hash)";
    sqlx::raw_sql(sql).execute(&mut hasty).await.unwrap_err();
    assert!(!indices(&mut hasty).await["derivation_by_hash"], "somebody gave up in the middle");

    let (place, other) = (url.clone(), url.clone());
    let opening = tokio::spawn(async move { Db::open(&place).await });
    let another = tokio::spawn(async move { Db::open(&other).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut writer = PgConnection::connect(&url).await.unwrap();
    for _ in 0..30 {
        let written =
            tokio::time::timeout(Duration::from_secs(20), sqlx::raw_sql(WRITE).execute(&mut writer));
        written.await.expect("who writes is let through").unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!opening.is_finished(), "the slow one still writes");
    sqlx::raw_sql("commit").execute(&mut slow).await.unwrap();
    for opened in [opening, another] {
        opened.await.unwrap().unwrap().close().await;
    }
    let indices = indices(&mut hasty).await;
    assert!(indices.values().all(|is_valid| *is_valid), "{indices:?}");
    for (new, old) in [
        ("derivation_by_hash", "derivation_hash"),
        ("store_item_by_hash", "store_item_hash"),
        ("output_set_by_first", "output_set_first"),
    ] {
        assert!(indices.contains_key(new) && !indices.contains_key(old), "{indices:?}");
    }
}
