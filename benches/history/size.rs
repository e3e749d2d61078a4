//! How large a database is, and what takes the space.

use sqlx::{PgPool, SqlitePool};

/// Bytes of the database, of the store items in it, and how many intervals it has.
pub async fn sizes(location: &str) -> [i64; 3] {
    const SQLITE: &str = "select (select page_count * page_size from pragma_page_count, pragma_page_size),
        (select coalesce(sum(pgsize), 0) from dbstat where aggregate = true and name like 'store\\_%' escape '\\'),
        (select coalesce(max(id), 0) from job_interval)";
    const POSTGRES: &str = "select pg_database_size(current_database()),
        pg_total_relation_size('store_item') + pg_total_relation_size('store_pack'),
        (select coalesce(max(id), 0) from job_interval)";
    let (all, items, spans) = if is_postgres(location) {
        let pool = PgPool::connect(location).await.unwrap();
        sqlx::query_as(POSTGRES).fetch_one(&pool).await.unwrap()
    } else {
        let pool = SqlitePool::connect(location).await.unwrap();
        sqlx::query_as(SQLITE).fetch_one(&pool).await.unwrap()
    };
    [all, items, spans]
}

/// What takes the space.
pub async fn tables(location: &str) {
    const SQLITE: &str =
        "select name, pgsize, ncell from dbstat where aggregate = true order by pgsize desc limit 24";
    const POSTGRES: &str = "select relname::text, pg_total_relation_size(oid) - pg_indexes_size(oid), reltuples::bigint
          from pg_class where relkind = 'r'
        union all select relname::text, pg_relation_size(oid), reltuples::bigint from pg_class where relkind = 'i'
        order by 2 desc limit 24";
    let tables: Vec<(String, i64, i64)> = if is_postgres(location) {
        let pool = PgPool::connect(location).await.unwrap();
        sqlx::query("analyze").execute(&pool).await.unwrap();
        sqlx::query_as(POSTGRES).fetch_all(&pool).await.unwrap()
    } else {
        let pool = SqlitePool::connect(location).await.unwrap();
        sqlx::query_as(SQLITE).fetch_all(&pool).await.unwrap()
    };
    for (name, bytes, entries) in tables {
        println!("{name:>34} {:>9.1} MB, {:>4} bytes an entry", megabytes(bytes), bytes / entries.max(1));
    }
}

fn is_postgres(location: &str) -> bool {
    location.starts_with("postgres")
}

pub fn megabytes(bytes: i64) -> f64 {
    f64::from(i32::try_from(bytes / 1000).unwrap()) / 1000.0
}
