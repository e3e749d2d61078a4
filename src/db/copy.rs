//! Copies a database from `SQLite` to `PostgreSQL`, or back. Tables, columns and references come
//! from the catalogue of the `SQLite` side, so no addition to the schema can be missed.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Postgres, Row as _, Sqlite, Transaction};

use super::{Db, Either, Error, Result};

/// Rows are copied as JSON, in pieces of about this many bytes.
const CHUNK: usize = 4 << 20;
/// Rows to read at a time.
const ROWS: i64 = 500;

/// A table that both databases have.
struct Table {
    name: String,
    columns: Vec<Column>,
    /// The columns of its primary key, in their order.
    key: Vec<String>,
    /// The tables that must be filled before it.
    after: Vec<String>,
}

struct Column {
    name: String,
    is_blob: bool,
}

impl Table {
    /// All columns, quoted.
    fn columns(&self) -> String {
        self.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
    }
}

impl Db {
    /// Copies all rows, as of this moment, into an empty database of the other kind; all of them or
    /// none. `told` is called with the number of rows of each table.
    pub async fn copy(&self, target: &Self, mut told: impl FnMut(&str, u64)) -> Result<()> {
        match (&self.readers, target.begin().await?) {
            (Either::Sqlite(source), Either::Postgres(mut target)) => {
                let mut source = source.begin().await?;
                for table in tables(&mut source).await? {
                    check_empty(&table, sqlx::query(exists(&table)).fetch_one(&mut *target).await?.get(0))?;
                    told(&table.name, to_postgres(&mut source, &mut target, &table).await?);
                }
                restore_sequences(&mut target).await?;
                target.commit().await?;
            }
            (Either::Postgres(source), Either::Sqlite(mut target)) => {
                let mut source = source.begin_with("begin isolation level repeatable read read only").await?;
                for table in tables(&mut target).await? {
                    check_empty(&table, sqlx::query(exists(&table)).fetch_one(&mut *target).await?.get(0))?;
                    told(&table.name, to_sqlite(&mut source, &mut target, &table).await?);
                }
                target.commit().await?;
            }
            _ => return Err(Error::SameKind),
        }
        Ok(())
    }
}

/// Marks SQL as safe: its names come from the catalogue.
fn sql(text: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(text)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn exists(table: &Table) -> AssertSqlSafe<String> {
    sql(format!("select exists (select 1 from {})", quoted(&table.name)))
}

fn check_empty(table: &Table, has_rows: bool) -> Result<()> {
    if has_rows { Err(Error::NotEmpty(table.name.clone())) } else { Ok(()) }
}

/// All tables except those of the database itself and of migrations, each after those that it
/// refers to.
async fn tables(sqlite: &mut Transaction<'static, Sqlite>) -> Result<Vec<Table>> {
    const TABLES: &str = "select name from pragma_table_list where schema = 'main' and type = 'table'
        and name not like '\\_%' escape '\\' and name not like 'sqlite\\_%' escape '\\' order by name";
    const COLUMNS: &str = "select name, type = 'BLOB' as is_blob, pk from pragma_table_info($1) order by cid";
    const REFERENCES: &str =
        "select distinct \"table\" from pragma_foreign_key_list($1) where \"table\" <> $1";
    let names: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut **sqlite).await?;
    let mut waiting = Vec::new();
    for name in names {
        let rows: Vec<SqliteRow> = sqlx::query(COLUMNS).bind(&name).fetch_all(&mut **sqlite).await?;
        let column = |row: &SqliteRow| Column { name: row.get(0), is_blob: row.get(1) };
        let mut key: Vec<(i64, String)> = rows.iter().map(|row| (row.get(2), row.get(0))).collect();
        key.retain(|(place, _)| *place > 0);
        key.sort_unstable();
        let after = sqlx::query_scalar(REFERENCES).bind(&name).fetch_all(&mut **sqlite).await?;
        let columns = rows.iter().map(column).collect();
        waiting.push(Table { name, columns, key: key.into_iter().map(|(_, name)| name).collect(), after });
    }
    let mut tables: Vec<Table> = Vec::new();
    while !waiting.is_empty() {
        let is_filled = |name: &String| tables.iter().any(|table| table.name == *name);
        let Some(next) = waiting.iter().position(|table| table.after.iter().all(is_filled)) else {
            let what = format!("the schema: {} and others", waiting[0].name);
            return Err(Error::Damaged { what, reason: "they refer to each other in a circle".to_owned() });
        };
        tables.push(waiting.remove(next));
    }
    Ok(tables)
}

async fn to_postgres(
    source: &mut Transaction<'static, Sqlite>,
    target: &mut Transaction<'static, Postgres>,
    table: &Table,
) -> Result<u64> {
    let name = quoted(&table.name);
    let members = table.columns.iter().map(|Column { name, is_blob }| {
        let column = quoted(name);
        let value = if *is_blob { format!("'\\x' || hex({column})") } else { column };
        format!("'{}', {value}", name.replace('\'', "''"))
    });
    let members = members.collect::<Vec<_>>().join(", ");
    let keys: Vec<String> = table.key.iter().map(|name| quoted(name)).collect();
    let key = keys.join(", ");
    let last: Vec<String> = (0..keys.len()).map(|place| format!("$1 ->> {place}")).collect();
    let select = format!("select json_array({key}), json_object({members}) from {name}");
    let order = format!("order by {key} limit {ROWS}");
    let first = format!("{select} {order}");
    let next = format!("{select} where ({key}) > ({}) {order}", last.join(", "));
    let columns = table.columns();
    let insert = format!(
        "insert into {name} ({columns}) select {columns} from json_populate_recordset(null::{name}, $1::json)"
    );
    let mut written = 0;
    let mut rows: Vec<(String, String)> = sqlx::query_as(sql(first)).fetch_all(&mut **source).await?;
    while let Some((last, _)) = rows.last().cloned() {
        for json in arrays(rows.into_iter().map(|(_, object)| object)) {
            written +=
                sqlx::query(sql(insert.clone())).bind(json).execute(&mut **target).await?.rows_affected();
        }
        rows = sqlx::query_as(sql(next.clone())).bind(last).fetch_all(&mut **source).await?;
    }
    Ok(written)
}

async fn to_sqlite(
    source: &mut Transaction<'static, Postgres>,
    target: &mut Transaction<'static, Sqlite>,
    table: &Table,
) -> Result<u64> {
    let name = quoted(&table.name);
    let values = table.columns.iter().map(|Column { name, is_blob }| {
        let value = format!("value ->> '{}'", name.replace('\'', "''"));
        // PostgreSQL writes bytes with a leading `\x`.
        if *is_blob { format!("unhex(substr({value}, 3))") } else { value }
    });
    let insert = format!(
        "insert into {name} ({}) select {} from json_each($1)",
        table.columns(),
        values.collect::<Vec<_>>().join(", ")
    );
    let declare = format!("declare copied no scroll cursor for select to_json(t)::text from {name} t");
    sqlx::query(sql(declare)).execute(&mut **source).await?;
    let mut written = 0;
    loop {
        let fetch = sql(format!("fetch {ROWS} from copied"));
        let rows: Vec<String> = sqlx::query_scalar(fetch).fetch_all(&mut **source).await?;
        if rows.is_empty() {
            break;
        }
        for json in arrays(rows) {
            written +=
                sqlx::query(sql(insert.clone())).bind(json).execute(&mut **target).await?.rows_affected();
        }
    }
    sqlx::query("close copied").execute(&mut **source).await?;
    Ok(written)
}

/// Puts objects into JSON arrays, none of which is much longer than [`CHUNK`].
fn arrays(objects: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut arrays: Vec<String> = Vec::new();
    for object in objects {
        match arrays.last_mut().filter(|array| array.len() < CHUNK) {
            Some(array) => array.push(','),
            None => arrays.push("[".to_owned()),
        }
        if let Some(array) = arrays.last_mut() {
            array.push_str(&object);
        }
    }
    arrays.into_iter().map(|array| array + "]").collect()
}

/// Sets PostgreSQL's sequences to continue after the copied numbers.
async fn restore_sequences(target: &mut Transaction<'static, Postgres>) -> Result<()> {
    const COUNTED: &str = "select table_name::text, column_name::text from information_schema.columns
        where table_schema = current_schema() and is_identity = 'YES'";
    let counted: Vec<(String, String)> = sqlx::query_as(COUNTED).fetch_all(&mut **target).await?;
    for (table, column) in counted {
        let set = format!(
            "select setval(pg_get_serial_sequence($1, $2), coalesce(max({}), 0) + 1, false) from {}",
            quoted(&column),
            quoted(&table)
        );
        sqlx::query(sql(set)).bind(quoted(&table)).bind(&column).execute(&mut **target).await?;
    }
    Ok(())
}
