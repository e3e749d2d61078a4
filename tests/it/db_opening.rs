//! One schema, two databases.

use std::collections::BTreeSet;

use gorget::db::{Db, Error};
use sqlx::{Connection, PgConnection, SqliteConnection};

use crate::support::{only_spec, postgres_database, spec};

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
    assert_eq!(missing.to_string(), "cannot open the database /nonexistent/gorget.db");
    let closed = Db::open("postgres://me:secret@localhost:1/farm").await.unwrap_err();
    assert_eq!(closed.to_string(), "cannot open the database farm at localhost");
    assert!(!format!("{closed:?}").contains("secret"));
}
