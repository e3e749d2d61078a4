//! Whatever is broken is found, and a copy is as good as what it was made from.

use gorget::db::{BuildState, Db, EvaluationWriter};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::support::program::Farm;
use crate::support::real::{Real, real, real_batch};
use crate::support::{begin, only_spec, postgres_database, spec};

/// Two evaluations: `app` on a library, then another version of both.
async fn fill(db: &Db) {
    let master = only_spec(db, spec("master")).await;
    for version in [1, 2] {
        let library = real(&format!("library-{version}"), &[]);
        let app = real(&format!("app-{version}"), &[&library]);
        let all: [(Option<&str>, Real); 2] = [(None, library), (Some("app"), app)];
        let mut recorder = EvaluationWriter::new(begin(db, master, &format!("c{version}")).await);
        let id = recorder.evaluation();
        recorder.record(db, &real_batch(&all)).await.unwrap();
        recorder.finish(db, false, &json!({}), 200).await.unwrap();
        db.queue_builds(id, BuildState::Queued, 200).await.unwrap();
    }
}

/// Does something to a database that Gorget never would.
async fn meddle(location: &str, sql: &str) {
    if location.starts_with("postgres:") {
        let mut connection = PgConnection::connect(location).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    } else {
        let mut connection = SqliteConnection::connect(location).await.unwrap();
        sqlx::raw_sql("pragma foreign_keys = off").execute(&mut connection).await.unwrap();
        // An archive of bytes is written in another way there.
        let sql = sql.replace("'\\x", "x'");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// What is done, the rule that it breaks, and a word of what is said.
const HARM: [(&str, &str, &str); 16] = [
    ("update job_interval set last_evaluation = 2, node = 2 where last_evaluation = 1", "", ""),
    ("update job_interval set node = 2 where last_evaluation = 1", "interval", "at the wrong node"),
    ("update job_interval set node = null where last_evaluation = 1", "interval", "at the wrong node"),
    ("update job_interval set first_evaluation = 2 where last_evaluation = 1", "interval", "wrong order"),
    ("update evaluation set state = 'failed' where id = 1", "interval", "not complete"),
    (
        "insert into job_interval (sequence_id, name_id, derivation_id, metadata_id, line, first_evaluation)
           select sequence_id, name_id, derivation_id, metadata_id, line, 1 from job_interval where last_evaluation = 1",
        "overlap",
        "are the same",
    ),
    ("update derivation set inputs = '\\x7f' where id = 2", "graph", "recorded later"),
    ("update derivation set inputs = '\\x80' where id = 2", "graph", "cannot be read"),
    (
        "update output_set set outputs = (select outputs from output_set where id = 2) where id = 1",
        "twice",
        "are the same",
    ),
    (
        "insert into derivation (id, hash, name, system_id, output_set_id, inputs)
           select 99, hash, name, system_id, output_set_id, inputs from derivation where id = 2",
        "twice",
        "derivations 2 and 99 are both",
    ),
    (
        "insert into store_item (hash, name, kind, refs, pack_id, start, length)
           select hash, name, kind, refs, pack_id, start, length from store_item where id = 2",
        "twice",
        "store items 2 and",
    ),
    (
        "update output_set set outputs = 'out other' where id = 1",
        "derivation",
        "differs from its store item",
    ),
    ("update derivation set inputs = '\\x' where id = 2", "derivation", "differs from its store item"),
    ("update store_item set start = 1 where name = 'app-1-builder'", "items", "have the path"),
    ("delete from store_item where name = 'library-2-builder'", "closure", "is missing"),
    ("update build set derivation_id = 1 where derivation_id = 4", "build", "different outputs"),
];

#[tokio::test]
async fn each_rule_is_missed_when_it_is_broken() {
    let directory = tempfile::tempdir().unwrap();
    for (number, (sql, rule, word)) in HARM.into_iter().enumerate() {
        let file = directory.path().join(format!("{number}.db")).display().to_string();
        for location in [file, postgres_database().await] {
            let db = Db::open(&location).await.unwrap();
            fill(&db).await;
            assert_eq!(db.verify().await.unwrap(), []);
            meddle(&location, sql).await;
            let findings = db.verify().await.unwrap();
            let is_it = findings.iter().any(|finding| finding.rule == rule && finding.what.contains(word));
            // The first harms nobody: the job was in both evaluations, as far as one can tell.
            assert!(is_it || rule.is_empty() && findings.is_empty(), "{sql}: {findings:?}");
            db.close().await;
        }
    }
}

/// What refers to what in the tables that have rows by the thousand, where PostgreSQL is not told so.
const REFERENCES: [(&str, &str); 11] = [
    ("job_interval", "sequence_id"),
    ("job_interval", "name_id"),
    ("job_interval", "derivation_id"),
    ("job_interval", "metadata_id"),
    ("derivation", "system_id"),
    ("derivation", "output_set_id"),
    ("store_item", "pack_id"),
    ("build", "output_set_id"),
    ("build", "evaluation_id"),
    ("build", "name_id"),
    ("build", "needed_by"),
];

#[tokio::test]
async fn what_refers_to_nothing_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    for location in [directory.path().join("1.db").display().to_string(), postgres_database().await] {
        let db = Db::open(&location).await.unwrap();
        fill(&db).await;
        for (table, column) in REFERENCES {
            let move_by = |by: i64| format!("update {table} set {column} = coalesce({column}, 0) + {by}");
            meddle(&location, &move_by(1000)).await;
            let findings = db.verify().await.unwrap();
            let is_it =
                findings.iter().any(|finding| finding.rule == "reference" && finding.what.starts_with(table));
            assert!(is_it, "{table}.{column}: {findings:?}");
            meddle(&location, &move_by(-1000)).await;
            meddle(&location, "update build set needed_by = null").await;
        }
        assert_eq!(db.verify().await.unwrap(), []);
        db.close().await;
    }
}

#[tokio::test]
async fn a_damaged_file_is_found_and_said() {
    let farm = Farm::new(None);
    std::fs::create_dir_all(farm.state()).unwrap();
    let file = farm.state().join("gorget.db").display().to_string();
    let db = farm.db().await;
    fill(&db).await;
    db.close().await;
    let well = farm.say(&["verify"]).await;
    assert_eq!((well.code, well.data.as_str()), (Some(0), ""), "{}", well.talk);
    meddle(
        &file,
        "delete from derivation where id = 2; update store_pack set contents = '\\x00' where id = 1",
    )
    .await;
    let said = farm.say(&["verify"]).await;
    assert_eq!(said.code, Some(2), "{}", said.talk);
    assert!(said.talk.contains("hint: "), "{}", said.talk);
    for words in ["reference: job_interval row", "build: build", "items: "] {
        assert!(said.data.contains(words), "{words}: {}", said.data);
    }
}

#[tokio::test]
async fn a_backup_is_whole_while_others_write() {
    let farm = Farm::new(None);
    std::fs::create_dir_all(farm.state()).unwrap();
    let db = farm.db().await;
    fill(&db).await;
    let file = farm.state().join("copy.db");
    let target = file.display().to_string();
    let master = db.specs().await.unwrap()[0].id;
    let write = async {
        for number in 0..200 {
            let mut recorder = EvaluationWriter::new(begin(&db, master, &format!("d{number}")).await);
            let all = [(Some("app"), real(&format!("app-{number}"), &[]))];
            recorder.record(&db, &real_batch(&all)).await.unwrap();
            recorder.finish(&db, false, &json!({}), 200).await.unwrap();
        }
    };
    let backup = async {
        let said = farm.say(&["backup", &target]).await;
        assert_eq!(said.code, Some(0), "{}", said.talk);
    };
    tokio::join!(write, backup);
    let copy = Db::open(&target).await.unwrap();
    assert_eq!(copy.verify().await.unwrap(), []);
    let (in_copy, in_farm) =
        (copy.evaluations(None, None, 1000).await.unwrap(), db.evaluations(None, None, 1000).await.unwrap());
    assert!(in_copy.len() >= 2 && in_farm.len() == 202, "{}", in_copy.len());
    copy.close().await;

    let again = farm.say(&["backup", &target]).await;
    assert_eq!(again.code, Some(1));
    assert!(again.talk.contains("exists already\nhint: "), "{}", again.talk);
}

#[tokio::test]
async fn postgresql_has_its_own_way_to_make_a_backup() {
    let farm = Farm::new(None);
    let config = std::fs::read_to_string(farm.state().with_file_name("gorget.toml")).unwrap();
    let config = format!("database = \"{}\"\n{config}", postgres_database().await);
    std::fs::write(farm.state().with_file_name("gorget.toml"), config).unwrap();
    let target = farm.state().with_file_name("copy.db").display().to_string();
    let said = farm.say(&["backup", &target]).await;
    assert_eq!(said.code, Some(1), "{}", said.talk);
    assert!(said.talk.contains("hint: pg_dump"), "{}", said.talk);
}

/// A row in each table that the farm does not fill, with texts and bytes of all kinds.
const ROWS: &str = "
    insert into branch (id, url, name, tip, reason) values (7, 'u', 'b''\"\\ [{\u{1b}𝄞', null, '');
    insert into push (id, branch_id, after, seen_at, kind) values (9, 7, 'x', -5, 'forced');
    insert into mirror (url, failures) values ('m', 9007199254740993);
    insert into blocked_spec (spec_id, target, kind, reason, push_id, since, next_attempt, failures)
      values (1, 'w', 'bad', 'r\n\t', 9, 1, 2, 3);
    insert into substitute_answer (server, hash, present, expires_at) values ('s', 'h', true, 1), ('s', 'i', false, 1);
    insert into substitute_server (url, failures, next_attempt, reason) values ('s', 1, 2, '0123');
    insert into build_event (id, build_id, reference, attempt, received_at) values (3, 1, 'r', 'started', 1);
    insert into failed_derivation (build_id, hash, evaluation_id, failed_at, has_others) values (1, 'h', 1, 2, true);
    insert into evaluation_error (id, evaluation_id, name, cause, message) values (3, 1, 'n', 'c', 'm');
    update evaluation set errors = 1 where id = 1;
    insert into sweep (id, holder, expires_at) values (1, 'nobody', 5);
    insert into store_pack (id, contents) values (77, '\\x00ff225c'), (78, '\\x');";

#[tokio::test]
async fn a_farm_moves_to_postgresql_and_back_and_loses_nothing() {
    let farm = Farm::new(None);
    std::fs::create_dir_all(farm.state()).unwrap();
    let at = |name: &str| farm.state().join(name).display().to_string();
    let (from, back, url) = (at("gorget.db"), at("back.db"), postgres_database().await);
    let db = farm.db().await;
    fill(&db).await;
    db.close().await;
    meddle(&from, ROWS).await;
    let copy = async |from: &str, to: &str| farm.say(&["db", "copy", from, to]).await;
    let said = copy(&from, &url).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);

    let said = copy(&url, &back).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);
    let mut both = SqliteConnection::connect(&from).await.unwrap();
    sqlx::query("attach $1 as back").bind(&back).execute(&mut both).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(
        "select name from pragma_table_list where schema = 'main' and name not like 'sqlite\\_%' escape '\\'",
    )
    .fetch_all(&mut both)
    .await
    .unwrap();
    assert!(tables.len() > 18, "{tables:?}");
    for table in tables.iter().filter(|table| !table.starts_with('_')) {
        let count = async |both: &mut SqliteConnection, sql: String| -> i64 {
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(both).await.unwrap()
        };
        for (a, b) in [("main", "back"), ("back", "main")] {
            let lost = format!(
                "select (select count(*) from (select * from {a}.{table} except select * from {b}.{table}))
                   + (select count(*) from {a}.{table}) - (select count(*) from {b}.{table})"
            );
            assert_eq!(count(&mut both, lost).await, 0, "{table}");
        }
    }

    let refused = copy(&from, &url).await;
    assert_eq!(refused.code, Some(1), "{}", refused.talk);
    assert!(refused.talk.contains("the table `"), "{}", refused.talk);
    assert!(copy(&from, &at("other.db")).await.talk.contains("of one kind\nhint: "));
    assert_eq!(copy(&at("nowhere"), &url).await.code, Some(1));

    // The farm goes on there.
    meddle(&url, "delete from store_pack where id >= 77; delete from sweep").await;
    let db = Db::open(&url).await.unwrap();
    let master = db.specs().await.unwrap()[0].id;
    let mut recorder = EvaluationWriter::new(begin(&db, master, "next").await);
    recorder.record(&db, &real_batch(&[(Some("app"), real("app-3", &[]))])).await.unwrap();
    recorder.finish(&db, false, &json!({}), 300).await.unwrap();
    assert_eq!(db.verify().await.unwrap(), []);
    db.close().await;
}
