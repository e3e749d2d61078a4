//! Farms that ran before a migration lose nothing by it.

use std::borrow::Cow;

use gorget::db::{BuildState, Db};
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection, SqliteConnection};

use crate::support::postgres_database;

/// The migrations before `version`.
fn before(version: i64, mut migrator: Migrator) -> Migrator {
    let kept = migrator.migrations.iter().filter(|migration| migration.version < version);
    migrator.migrations = Cow::Owned(kept.cloned().collect());
    migrator
}

/// Two builds of one evaluation, as they stood in the first tables.
const BUILDS: &str = "
    insert into spec (id, name, definition, priority, active, present) values (1, 'master', '{}', 5, true, true);
    insert into revision (id, key, channels, created_at) values (1, 'k', '[]', 1);
    insert into evaluation (id, spec_id, revision_id, build, system, state, created_at)
      values (1, 1, 1, '\"all\"', 'x86_64-linux', 'complete', 1);
    insert into output_set (id, key, outputs) values (1, 'a', 'out x-a'), (2, 'b', 'out x-b');
    insert into derivation (id, hash, name, system, output_set_id, inputs)
      values (1, 'a', 'a', 'x86_64-linux', 1, ''), (2, 'b', 'b', 'x86_64-linux', 2, '');
    insert into build (output_set_id, derivation_id, evaluation_id, job, system, priority, state, created_at)
      values (1, 1, 1, 'a', 'x86_64-linux', 5, 'refused', 2), (2, 2, 1, 'b', 'x86_64-linux', 5, 'queued', 3);";

#[tokio::test]
async fn builds_keep_their_states() {
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
        assert_eq!(states, [(BuildState::Queued, 1), (BuildState::Refused, 1)]);
        db.close().await;
    }
}
