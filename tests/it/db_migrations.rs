//! Farms that ran before a migration lose nothing by it.

use std::borrow::Cow;

use gorget::db::{BuildState, Db, EvaluationId};
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
    insert into output_set (id, key, outputs) values (1, 'a', 'out x-a'), (2, 'b', 'out x-b');
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
        assert_eq!(states, [(BuildState::Queued, 1), (BuildState::Refused, 1)]);
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
