use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use gorget::db::Db;
use sqlx::{Connection, PgConnection, SqliteConnection};

/// Tells a story twice: on a new `SQLite` file and in a new `PostgreSQL` database.
pub async fn on_both(story: impl AsyncFn(&Db)) {
    on_both_at(async |db, _| story(db).await).await;
}

/// The same for a story that has to know where its database is.
pub async fn on_both_at(story: impl AsyncFn(&Db, &str)) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gorget.db").display().to_string();
    for (kind, location) in [("SQLite", file), ("PostgreSQL", postgres_database().await)] {
        let _guard = SaysWhere(kind);
        let db = Db::open(&location).await.unwrap();
        story(&db, &location).await;
        db.close().await;
    }
}

/// Has a statement executed behind Gorget's back.
pub async fn write_down(location: &str, statement: &str) {
    let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()));
    if location.starts_with("postgres:") {
        let mut connection = PgConnection::connect(location).await.unwrap();
        statement.execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    } else {
        let mut connection = SqliteConnection::connect(&format!("sqlite:{location}")).await.unwrap();
        statement.execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// Makes a database as empty as a new one, which is faster than to make one.
pub struct Wiper {
    connection: Either,
    statements: String,
}

enum Either {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Wiper {
    pub async fn new(location: &str) -> Self {
        let (connection, begin, tables) = if location.starts_with("postgres:") {
            let mut connection = PgConnection::connect(location).await.unwrap();
            let tables: Vec<String> =
                sqlx::query_scalar("select tablename::text from pg_tables where schemaname = 'public'")
                    .fetch_all(&mut connection)
                    .await
                    .unwrap();
            (Either::Postgres(connection), "begin; set local session_replication_role = replica;", tables)
        } else {
            let mut connection = SqliteConnection::connect(&format!("sqlite:{location}")).await.unwrap();
            let tables: Vec<String> = sqlx::query_scalar(
                "select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'",
            )
            .fetch_all(&mut connection)
            .await
            .unwrap();
            sqlx::query("pragma foreign_keys = off").execute(&mut connection).await.unwrap();
            (Either::Sqlite(connection), "begin immediate;", tables)
        };
        let tables = tables.iter().filter(|table| *table != "_sqlx_migrations");
        let deletions: Vec<String> = tables.map(|table| format!("delete from {table};")).collect();
        let deletions = deletions.concat();
        Self { connection, statements: format!("{begin}{deletions}commit") }
    }

    /// From now on, each change of a build's state is noted.
    pub async fn watch_builds(&mut self) {
        const TABLE: &str = "create table seen (before text, after text, primary key (before, after));";
        const SQLITE: &str = "create trigger seen after update of state on build when old.state <> new.state
            begin insert into seen select old.state, new.state
              where not exists (select 1 from seen where before = old.state and after = new.state); end";
        const POSTGRES: &str = "create function seen() returns trigger language plpgsql as
              'begin insert into seen values (old.state, new.state) on conflict do nothing; return null; end';
            create trigger seen after update on build for each row when (old.state <> new.state)
              execute function seen()";
        let statements = |trigger| sqlx::raw_sql(sqlx::AssertSqlSafe(format!("{TABLE}{trigger}")));
        match &mut self.connection {
            Either::Sqlite(connection) => statements(SQLITE).execute(connection).await.map(drop),
            Either::Postgres(connection) => statements(POSTGRES).execute(connection).await.map(drop),
        }
        .unwrap();
    }

    /// The changes of builds' states that were noted.
    pub async fn seen(&mut self) -> Vec<(String, String)> {
        const SQL: &str = "select before, after from seen order by before, after";
        match &mut self.connection {
            Either::Sqlite(connection) => sqlx::query_as(SQL).fetch_all(connection).await,
            Either::Postgres(connection) => sqlx::query_as(SQL).fetch_all(connection).await,
        }
        .unwrap()
    }

    pub async fn wipe(&mut self) {
        let statements = sqlx::raw_sql(sqlx::AssertSqlSafe(self.statements.clone()));
        match &mut self.connection {
            Either::Sqlite(connection) => statements.execute(connection).await.map(drop),
            Either::Postgres(connection) => statements.execute(connection).await.map(drop),
        }
        .unwrap();
    }
}

struct SaysWhere(&'static str);

impl Drop for SaysWhere {
    #[expect(clippy::print_stderr, reason = "for whoever reads the failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("that was on {}", self.0);
        }
    }
}

/// Makes an empty `PostgreSQL` database and gives its URL.
pub async fn postgres_database() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(Cluster::start);
    let name = format!("story_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("create database {name}"));
    sqlx::query(create).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    cluster.url(&name)
}

/// A `PostgreSQL` server of our own, reachable through a socket in its directory only.
pub struct Cluster {
    dir: PathBuf,
    answers: BufReader<ChildStdout>,
    /// Stops the server and removes the directory as soon as its standard input ends, which is when
    /// this process does, whatever the way.
    supervisor: Child,
}

/// Whose a server's files are that root starts: this is `nobody`.
const NOBODY: u32 = 65534;

const SUPERVISOR: &str = r#"
export PATH="$PATH:$2" LC_ALL=C
initdb -D "$1/data" -U gorget -A trust -E UTF8 --no-sync >"$1/log" 2>&1 &&
pg_ctl -D "$1/data" -w -l "$1/log" start >/dev/null 2>&1 -o "-k $1 -c listen_addresses='' \
  -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200" &&
echo ready &&
while read -r what; do pg_ctl -D "$1/data" -w -l "$1/log" -m immediate "$what" >/dev/null 2>&1 && echo ready; done
pg_ctl -D "$1/data" -m immediate stop >/dev/null 2>&1
"#;

impl Cluster {
    pub fn start() -> Self {
        Self::start_within(&[])
    }

    /// Starts it by a command that begins with `prefix`.
    #[expect(clippy::disallowed_methods, reason = "the server is no part of Gorget")]
    pub fn start_within(prefix: &[String]) -> Self {
        let dir = tempfile::Builder::new().prefix("gorget-postgres-").tempdir().unwrap().keep();
        let mut words: Vec<&str> = prefix.iter().map(String::as_str).collect();
        let (uid, gid) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
        if rustix::process::geteuid().is_root() {
            // The server refuses to be root.
            own(&dir);
            words.extend(["setpriv", &uid, &gid, "--clear-groups"]);
        }
        words.push("sh");
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(["-c", &format!("{SUPERVISOR}\nrm -rf \"$1\""), "sh"])
            .arg(&dir)
            .arg(debian_programs());
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut supervisor = command.spawn().unwrap();
        let answers = BufReader::new(supervisor.stdout.take().unwrap());
        let mut cluster = Self { dir, answers, supervisor };
        cluster.wait_until_ready();
        cluster
    }

    /// Makes a database in a directory of its own, which must be empty; all else of the server is elsewhere.
    pub async fn database_in(&self, directory: &Path) -> String {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        for statement in [
            format!("create tablespace apart location '{}'", directory.display()),
            "create database apart tablespace apart".to_owned(),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
        self.url("apart")
    }

    fn wait_until_ready(&mut self) {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "PostgreSQL does not start\nhint: apt-get install postgresql");
    }

    /// Pulls its plug, and starts it again.
    pub fn restart(&mut self) {
        self.tell("restart");
    }

    /// Pulls its plug, until it is restarted.
    pub fn stop(&mut self) {
        self.tell("stop");
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.supervisor.stdin.as_ref().unwrap(), "{what}").unwrap();
        self.wait_until_ready();
    }

    pub fn url(&self, database: &str) -> String {
        assert!(self.supervisor.stdin.is_some(), "the server stops when this closes");
        format!("postgres://gorget@localhost/{database}?host={}", self.dir.display())
    }
}

/// Gives a directory to the user that a server runs as.
pub fn own(directory: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(directory, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// Where Debian keeps `initdb` and its like, which are not on PATH there.
fn debian_programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let programs = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    programs.max().unwrap_or_else(|| Path::new("/nonexistent").to_owned())
}
