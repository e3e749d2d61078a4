use serde::Serialize;

use crate::db;

/// Something that is wrong with the database.
#[derive(Debug, Serialize)]
pub struct Finding<'a> {
    /// The rule that is broken.
    pub rule: &'static str,
    /// What breaks it.
    pub what: &'a str,
}

impl<'a> Finding<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Finding) -> Self {
        Self { rule: row.rule, what: &row.what }
    }
}
