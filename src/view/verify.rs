use serde::Serialize;

use crate::db;

/// An inconsistency of the database.
#[derive(Debug, Serialize)]
pub struct Finding<'a> {
    /// The violated rule.
    pub rule: &'static str,
    /// What violates it.
    pub what: &'a str,
}

impl<'a> Finding<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Finding) -> Self {
        Self { rule: row.rule, what: &row.what }
    }
}
