//! A newer Gorget takes over the database of an older one.

use sqlx::{Connection as _, PgConnection};

use crate::support::program::Farm;
use crate::support::{postgres_database, unlimited};

const A0F2C46: &str = include_str!("fixtures/a0f2c46.postgres.sql");

async fn evaluations(url: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let sql = "select state from evaluation order by id";
    let states = sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    states
}

async fn migration(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let sql = "select max(version) from _sqlx_migrations";
    let version = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    version
}

#[tokio::test]
async fn a_postgresql_database_is_dumped_before_it_is_migrated_or_left_alone() {
    let (url, restored) = (postgres_database().await, postgres_database().await);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(A0F2C46).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let old = migration(&url).await;
    let mut farm = Farm::new(None);
    farm.at_database(&url);

    let path = std::env::var("PATH").unwrap();
    farm.set("PATH", "/nonexistent");
    let said = farm.say(&["status"]).await;
    assert_ne!(said.code, Some(0));
    assert!(said.talk.contains("cannot back up the database before it is migrated"), "{}", said.talk);
    let dump = said.talk.split("put the backup at ").nth(1).expect("a hint").trim().to_owned();
    assert_eq!(migration(&url).await, old, "nothing was migrated");

    farm.set("PATH", &path);
    assert_eq!(farm.status().await["evaluations"].as_array().unwrap().len(), 2);
    assert!(migration(&url).await > old);
    let restore =
        unlimited("pg_restore").args(["--clean", "--if-exists", "--no-owner", "--dbname", &restored]);
    let finished =
        restore.arg(&dump).spawn().unwrap().finish(std::time::Duration::from_mins(5)).await.unwrap();
    assert!(finished.success(), "{}", finished.reason());
    assert_eq!(migration(&restored).await, old, "the dump is as the database was");
    assert_eq!(evaluations(&restored).await, ["complete", "complete"]);
}
