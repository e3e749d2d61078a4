//! One SQL text for both databases, and the macros that run it.
//!
//! [`both`] replaces placeholders in a text:
//!
//! * `name(arguments)`, if the name is in [`PLACEHOLDERS`] or in [`OF_COLUMNS`]. Other functions
//!   are left alone.
//! * `{name}`, with a list of states of builds: see [`STATES`]. SQLite uses a partial index only if
//!   a query contains the index's condition literally, so the list is part of the text.
//!
//! A statement that is tuned for each database has two texts, side by side.

use super::BuildState;

/// The text of a statement for SQLite, and the one for PostgreSQL.
pub(in crate::db) type Texts = [&'static str; 2];

/// Placeholders, with their replacements for SQLite and for PostgreSQL. `@1` is the first argument.
const PLACEHOLDERS: [(&str, Texts); 12] = [
    // The numbers in a JSON array, for `in`.
    (
        "ids",
        [
            "(select value from json_each(@1))",
            "(select value::bigint from json_array_elements_text(@1::json))",
        ],
    ),
    // The texts in a JSON array, for `in`.
    ("texts", ["(select value from json_each(@1))", "(select json_array_elements_text(@1::json))"]),
    // The texts in a JSON array, as `w.value`. A join follows; SQLite must read the array first.
    ("each_text", ["json_each(@1) w cross", "json_array_elements_text(@1::json) w (value)"]),
    // A column whose index SQLite must not use, because another column's index finds fewer rows.
    ("unindexed", ["+@1", "@1"]),
    // Whether an interval is stored at one of the nodes that `interval::path` returns.
    (
        "on_path",
        ["node in (select value from json_each(@1))", "node = any (translate(@1, '[]', '{}')::bigint[])"],
    ),
    // A member of a JSON object in a column.
    ("member", ["@1->>'@2'", "(@1::json)->>'@2'"]),
    ("instr", ["instr(@1, @2)", "position(@2 in @1)"]),
    ("hex", ["hex(@1)", "encode(@1, 'hex')"]),
    // Whether a row of `derivation` or `store_item` has this hash. SQLite's index has only their first
    // characters. Without `|| ''`, SQLite infers that the first comparison is constant, and scans.
    ("has_hash", same("substr(@1.hash, 1, 12) = substr(@2, 1, 12) and @1.hash || '' = @2")),
    // The store path of a derivation.
    ("derivation_path", same("'/gnu/store/' || @1.hash || '-' || @1.name || '.drv'")),
    // The outputs of a set. The table leaves out the name of the derivation, so that is filled in.
    ("outputs", same("replace(@1.outputs, '*', @2.name)")),
    // Whether a build failed with the derivation of this number: for `exists`. A condition on the
    // failure `f` may follow.
    (
        "failures",
        same(
            "select 1 from failed_derivation f where f.build_id = @1.id
               and f.hash = (select k.hash from derivation k where k.id = @2)",
        ),
    ),
];

/// Placeholders with columns as arguments: see the functions of [`Dialect`] of the same names.
const OF_COLUMNS: [&str; 4] = ["records", "numbered_records", "of_hashes", "one_text"];

type Predicate = fn(BuildState) -> bool;

/// Lists of states of builds.
const STATES: [(&str, Predicate); 10] = [
    ("wanted", BuildState::is_wanted),
    ("open", BuildState::is_open),
    ("submitted", BuildState::is_submitted),
    ("in_queue", BuildState::is_in_queue),
    ("waiting", BuildState::is_waiting),
    ("in_outbox", BuildState::is_in_outbox),
    ("routed", BuildState::is_routed),
    ("missing", BuildState::is_missing),
    ("failed", BuildState::has_failed),
    ("counted", BuildState::is_counted),
];

const fn same(text: &'static str) -> Texts {
    [text, text]
}

/// A statement that can be executed: one text for both databases, or one for each.
pub(in crate::db) trait Statement {
    fn texts(self) -> Texts;
}

impl Statement for &'static str {
    fn texts(self) -> Texts {
        same(self)
    }
}

impl Statement for Texts {
    fn texts(self) -> Texts {
        self
    }
}

// The `Texts` of a statement, made once. Its parts are literals, or macros that expand to literals.
macro_rules! sql {
    ($($part:expr),+ $(,)?) => {{
        static TEXTS: std::sync::LazyLock<$crate::db::dialect::Texts> =
            std::sync::LazyLock::new(|| $crate::db::dialect::both(concat!($($part),+)));
        *TEXTS
    }};
}

// Runs one piece of code against the open database, whichever it is. If the name of a variable with
// `Texts` is given, that name refers to the text for the open database in the code.
macro_rules! each {
    ($db:expr, $c:ident => $body:expr) => {
        match $db {
            $crate::db::Either::Sqlite($c) => $body,
            $crate::db::Either::Postgres($c) => $body,
        }
    };
    ($db:expr, $c:ident, $sql:ident => $body:expr) => {
        match $db {
            $crate::db::Either::Sqlite($c) => {
                let [$sql, _] = $sql;
                $body
            }
            $crate::db::Either::Postgres($c) => {
                let [_, $sql] = $sql;
                $body
            }
        }
    };
}

// Executes a `Statement` of a transaction, and counts the rows it touched.
macro_rules! execute {
    ($tx:expr, $sql:expr $(, $value:expr)* $(,)?) => {{
        let sql = $crate::db::dialect::Statement::texts($sql);
        each!($tx, tx, sql =>
            sqlx::query(sql)$(.bind($value))*.execute(&mut **tx).await?.rows_affected())
    }};
}

/// Both texts of a statement. `sql!` calls this once for each statement, so the texts are leaked.
///
/// # Panics
///
/// Panics if a placeholder is unknown or has the wrong arguments.
pub(in crate::db) fn both(text: &str) -> Texts {
    [Dialect::Sqlite, Dialect::Postgres].map(|dialect| &*dialect.expand(text).leak())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    fn of(self, [sqlite, postgres]: Texts) -> &'static str {
        match self {
            Self::Sqlite => sqlite,
            Self::Postgres => postgres,
        }
    }

    /// The text with its placeholders replaced.
    fn expand(self, text: &str) -> String {
        let mut sql = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (token, after) = rest.split_at(token_length(rest, first));
            rest = after;
            if first == '{' {
                sql.push_str(&states(token));
                continue;
            }
            let Some(inside) = rest.strip_prefix('(').filter(|_| is_placeholder(token)) else {
                sql.push_str(token);
                continue;
            };
            let end = unnested(inside).find(|(_, c)| *c == ')').map(|(end, _)| end);
            let end = end.unwrap_or_else(|| panic!("`{token}(` is not closed in: {text}"));
            let arguments = self.expand(&inside[..end]);
            rest = &inside[end + 1..];
            let replacement = match token {
                "records" => self.records(&arguments, &mut rest, false),
                "numbered_records" => self.records(&arguments, &mut rest, true),
                "of_hashes" => self.of_hashes(&arguments),
                "one_text" => self.one_text(&arguments),
                _ => self.simple(token, &arguments),
            };
            sql.push_str(&replacement.unwrap_or_else(|| panic!("wrong arguments of `{token}` in: {text}")));
        }
        sql
    }

    /// The replacement of one of [`PLACEHOLDERS`].
    fn simple(self, name: &str, arguments: &str) -> Option<String> {
        let (_, texts) = PLACEHOLDERS.iter().find(|(other, _)| *other == name)?;
        let mut sql = self.of(*texts).to_owned();
        let commas = unnested(arguments).filter(|(_, c)| *c == ',').map(|(at, _)| at);
        let mut from = 0;
        for (number, to) in (1..).zip(commas.chain([arguments.len()])) {
            let place = format!("@{number}");
            if !sql.contains(&place) {
                return None;
            }
            sql = sql.replace(&place, arguments[from..to].trim());
            from = to + 1;
        }
        (!sql.contains('@')).then_some(sql)
    }

    /// Rows from a JSON array of objects: `records($1: id bigint, note text) as new`. Numbered ones
    /// also have a column `place`. The alias is removed from `rest`, the text after the parentheses.
    fn records(self, arguments: &str, rest: &mut &str, are_numbered: bool) -> Option<String> {
        let (json, columns) = arguments.split_once(": ")?;
        let names = columns.split(',').map(|column| Some(column.trim().split_once(' ')?.0));
        let names = names.collect::<Option<Vec<&str>>>()?;
        let after = rest.strip_prefix(" as ")?;
        let (alias, after) = after.split_at(after.find(|c| !is_word(c)).unwrap_or(after.len()));
        *rest = after;
        Some(match self {
            Self::Sqlite => {
                let values = names.iter().map(|name| format!("value->>'{name}' as {name}"));
                let values = values.chain(are_numbered.then(|| "key as place".to_owned()));
                let values = values.collect::<Vec<_>>().join(", ");
                format!("(select {values} from json_each({json})) as {alias}")
            }
            Self::Postgres if are_numbered => {
                let names = names.join(", ");
                format!(
                    "rows from (json_to_recordset({json}::json) as ({columns})) with ordinality
                       as {alias} ({names}, place)"
                )
            }
            Self::Postgres => format!("json_to_recordset({json}::json) as {alias} ({columns})"),
        })
    }

    /// A query for columns of the rows `t` of a table whose hashes are in the JSON array $1, with an
    /// index lookup for each. Without statistics, PostgreSQL would otherwise read the whole table.
    fn of_hashes(self, arguments: &str) -> Option<String> {
        let (table, columns) = arguments.split_once(": ")?;
        Some(match self {
            Self::Sqlite => self.expand(&format!(
                "select {columns} from json_each($1) w cross join {table} t on has_hash(t, w.value)"
            )),
            Self::Postgres => format!(
                "select found.* from json_array_elements_text($1::json) w (value) cross join lateral
                   (select {columns} from {table} t where t.hash = w.value limit 1) found"
            ),
        })
    }

    /// A query for columns of many rows as one text, an array of arrays: faster than many rows.
    fn one_text(self, arguments: &str) -> Option<String> {
        let (columns, from) = arguments.split_once(" from ")?;
        Some(match self {
            Self::Sqlite => {
                format!("select json_group_array(json_array({columns})) from (select * from {from}) t")
            }
            Self::Postgres => format!(
                "select cast(coalesce(json_agg(json_build_array({columns})), '[]') as text)
                 from (select * from {from}) t"
            ),
        })
    }
}

/// The length of the word, quoted text or list at the start, or else of the first character.
fn token_length(text: &str, first: char) -> usize {
    match first {
        '\'' => text[1..].find('\'').map_or(text.len(), |end| end + 2),
        '{' => text.find('}').map_or(text.len(), |end| end + 1),
        _ if is_word(first) => text.find(|c| !is_word(c)).unwrap_or(text.len()),
        _ => first.len_utf8(),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_placeholder(word: &str) -> bool {
    OF_COLUMNS.contains(&word) || PLACEHOLDERS.iter().any(|(name, _)| *name == word)
}

/// The positions of characters outside of quotes and parentheses; an unmatched `)` is outside.
fn unnested(text: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut depth, mut is_quoted) = (0, false);
    text.char_indices().filter(move |(_, c)| {
        match c {
            '\'' => is_quoted = !is_quoted,
            _ if is_quoted => return false,
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            _ => return depth == 0,
        }
        false
    })
}

/// The states that `{name}` stands for.
fn states(list: &str) -> String {
    let name = list.trim_matches(['{', '}']);
    let (_, is_in) = STATES.iter().find(|(other, _)| *other == name).unwrap_or_else(|| panic!("{list}?"));
    let states = BuildState::ALL.into_iter().filter(|state| is_in(*state));
    let words: Vec<String> = states.map(|state| format!("'{}'", state.word())).collect();
    format!("({})", words.join(", "))
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, SqliteConnection};

    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_databases_say_differently_is_written_once() {
        for (text, sqlite, postgres) in [
            (
                "id in ids($1)",
                "id in (select value from json_each($1))",
                "id in (select value::bigint from json_array_elements_text($1::json))",
            ),
            (
                "url not in texts($2)",
                "url not in (select value from json_each($2))",
                "url not in (select json_array_elements_text($2::json))",
            ),
            (
                "from each_text($1) join a on a.b = w.value",
                "from json_each($1) w cross join a on a.b = w.value",
                "from json_array_elements_text($1::json) w (value) join a on a.b = w.value",
            ),
            ("unindexed(b.state) = 'x'", "+b.state = 'x'", "b.state = 'x'"),
            (
                "on_path($3)",
                "node in (select value from json_each($3))",
                "node = any (translate($3, '[]', '{}')::bigint[])",
            ),
            ("member(a, template)", "a->>'template'", "(a::json)->>'template'"),
            ("instr(name, $1) > 0", "instr(name, $1) > 0", "position($1 in name) > 0"),
            ("hex(inputs)", "hex(inputs)", "encode(inputs, 'hex')"),
            (
                "from records($1: id bigint, note text) as new where new.id = b.id",
                "from (select value->>'id' as id, value->>'note' as note from json_each($1)) as new where new.id = b.id",
                "from json_to_recordset($1::json) as new (id bigint, note text) where new.id = b.id",
            ),
            (
                "from numbered_records($1: id bigint, note text) as new",
                "from (select value->>'id' as id, value->>'note' as note, key as place from json_each($1)) as new",
                "from rows from (json_to_recordset($1::json) as (id bigint, note text)) \
                 with ordinality as new (id, note, place)",
            ),
            (
                "one_text(id, hex(inputs) from derivation where id in (1, 2))",
                "select json_group_array(json_array(id, hex(inputs))) from (select * from derivation where id in (1, 2)) t",
                "select cast(coalesce(json_agg(json_build_array(id, encode(inputs, 'hex'))), '[]') as text) \
                 from (select * from derivation where id in (1, 2)) t",
            ),
            (
                "of_hashes(store_item: t.hash, t.id)",
                "select t.hash, t.id from json_each($1) w cross join store_item t \
                 on substr(t.hash, 1, 12) = substr(w.value, 1, 12) and t.hash || '' = w.value",
                "select found.* from json_array_elements_text($1::json) w (value) cross join lateral \
                 (select t.hash, t.id from store_item t where t.hash = w.value limit 1) found",
            ),
        ] {
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(both(text).map(words), [sqlite, postgres]);
        }
    }

    #[test]
    fn so_is_what_they_say_alike() {
        for (text, expected) in [
            ("has_hash(d, $1)", "substr(d.hash, 1, 12) = substr($1, 1, 12) and d.hash || '' = $1"),
            ("derivation_path(d)", "'/gnu/store/' || d.hash || '-' || d.name || '.drv'"),
            ("outputs(o, d)", "replace(o.outputs, '*', d.name)"),
            (
                "exists (failures(b, d.id) and f.failed_at < $1)",
                "exists (select 1 from failed_derivation f where f.build_id = b.id
               and f.hash = (select k.hash from derivation k where k.id = d.id) and f.failed_at < $1)",
            ),
            ("state in {open} or x", &format!("state in {} or x", states("{open}"))),
        ] {
            assert_eq!(both(text), [expected; 2]);
        }
    }

    #[test]
    fn lists_of_states_are_in_the_order_of_the_indices() {
        let submitted = both("{submitted}")[0];
        assert_eq!(submitted, "('submitted', 'building')");
        for schema in ["sqlite", "postgres"] {
            let path = format!("{}/migrations/{schema}/0033_words.sql", env!("CARGO_MANIFEST_DIR"));
            assert!(std::fs::read_to_string(path).unwrap().contains(&format!("state in {submitted}")));
        }
        assert_eq!(
            both("{counted}")[0],
            "('awaiting-approval', 'queued', 'submitted', 'building', 'succeeded', 'failed', 'rejected')"
        );
    }

    #[test]
    fn everything_else_stays() {
        let text = "select coalesce(max(id), 0), 'ids($1) {x}', '{}', ids.hex from a where hex in (ids)";
        assert_eq!(both(text), [text; 2]);
    }

    #[test]
    fn a_placeholder_that_is_wrong_is_noticed() {
        for text in
            ["{opened}", "ids($1", "ids($1, $2)", "has_hash(d)", "records($1) as a", "records($1: id bigint)"]
        {
            assert!(std::panic::catch_unwind(|| both(text)).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn sqlite_finds_a_hash_by_its_first_characters() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let tables = "create table derivation (id integer primary key, hash text) strict;
            create index derivation_hash on derivation (substr(hash, 1, 12))";
        sqlx::raw_sql(tables).execute(&mut connection).await.unwrap();
        let [sql, _] = both("explain query plan select d.id from derivation d where has_hash(d, $1)");
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sql).bind("a").fetch_all(&mut connection).await.unwrap();
        assert!(plan[0].3.starts_with("SEARCH d USING INDEX derivation_hash"), "{plan:?}");
    }
}
