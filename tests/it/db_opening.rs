//! One schema, two databases.

use std::collections::BTreeSet;

use gorget::db::{Db, Error};
use sqlx::{Connection, PgConnection, SqliteConnection};

use crate::support::{on_both_at, only_spec, postgres_database, spec, write_down};

#[tokio::test]
async fn both_databases_have_the_same_tables_and_columns() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gorget.db").display().to_string();
    let url = postgres_database().await;
    Db::open(&file).await.unwrap().close().await;
    Db::open(&url).await.unwrap().close().await;

    let mut sqlite = SqliteConnection::connect(&file).await.unwrap();
    let mut postgres = PgConnection::connect(&url).await.unwrap();
    let in_sqlite: Vec<(String, String, bool)> = sqlx::query_as(
        "select t.name, c.name, c.\"notnull\" or c.pk from pragma_table_list t join pragma_table_info(t.name) c
         where t.schema = 'main' and t.name not like '\\_%' escape '\\' and t.name not like 'sqlite\\_%' escape '\\'",
    )
    .fetch_all(&mut sqlite)
    .await
    .unwrap();
    let in_postgres: Vec<(String, String, bool)> = sqlx::query_as(
        "select table_name::text, column_name::text, is_nullable = 'NO' from information_schema.columns
         where table_schema = 'public' and table_name not like '\\_%'",
    )
    .fetch_all(&mut postgres)
    .await
    .unwrap();

    let in_sqlite: BTreeSet<_> = in_sqlite.into_iter().collect();
    let in_postgres: BTreeSet<_> = in_postgres.into_iter().collect();
    assert!(in_sqlite.contains(&("build".to_owned(), "reference".to_owned(), false)));
    assert_eq!(in_sqlite, in_postgres);
}

#[tokio::test]
async fn what_was_written_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", dir.path().join("gorget.db").display());
    for location in [file, postgres_database().await] {
        let db = Db::open(&location).await.unwrap();
        only_spec(&db, spec("master")).await;
        db.close().await;
        let db = Db::open(&location).await.unwrap();
        assert_eq!(db.specs().await.unwrap()[0].spec, spec("master"));
        db.close().await;
    }
}

#[tokio::test]
async fn what_cannot_be_opened_says_so_and_keeps_the_password() {
    for location in ["", "mysql://here/it", "postgres://host:port/name"] {
        assert!(matches!(Db::open(location).await, Err(Error::Location { .. })), "{location}");
    }
    let missing = Db::open("/nonexistent/gorget.db").await.unwrap_err();
    let missing = missing.to_string();
    assert!(missing.starts_with("cannot open the database /nonexistent/gorget.db: "), "{missing}");
    let closed = Db::open("postgres://me:secret@localhost:1/farm").await.unwrap_err();
    assert!(closed.to_string().starts_with("cannot open the database farm at localhost: "), "{closed}");
    assert!(!format!("{closed:?}").contains("secret"));
}

#[tokio::test]
async fn a_database_that_a_newer_gorget_changed_says_what_to_do() {
    on_both_at(async |_, location| {
        let success = if location.starts_with("postgres:") { "true" } else { "1" };
        let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)";
        write_down(location, &format!("{newer} values (9999, 'later', {success}, '', 1)")).await;
        let refused = Db::open(location).await.unwrap_err().to_string();
        assert!(refused.contains("made by a newer Gorget") && refused.contains("9999"), "{refused}");
        assert!(refused.contains("hint: "), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn a_file_that_lost_what_was_in_it_is_not_taken_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gorget.db");
    let open = || async { Db::open(file.to_str().unwrap()).await };
    std::fs::write(&file, "").unwrap();
    let refused = open().await.unwrap_err();
    assert!(matches!(refused, Error::Empty(_)) && refused.to_string().contains("hint: restore"), "{refused}");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(dir.path().join("gorget.db-wal"), "frames").unwrap();
    let refused = open().await.unwrap_err();
    assert!(matches!(refused, Error::Gone(_)), "{refused}");
    std::fs::remove_file(dir.path().join("gorget.db-wal")).unwrap();
    // Of those who begin at once, all have the same one.
    let (one, other) = tokio::join!(open(), open());
    let (one, other) = (one.unwrap(), other.unwrap());
    only_spec(&one, spec("master")).await;
    assert_eq!(other.specs().await.unwrap().len(), 1);
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name.to_str().unwrap().starts_with("gorget.db")), "{names:?}");
}
