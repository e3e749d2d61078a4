use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::db::bulk::{Cell, insert};
use crate::db::history::job_metadata::{MetadataIds, store_metadata};
use crate::db::{NewJob, Result, Tx, rows};

/// The numbers of the names and metadata of jobs.
pub(in crate::db) struct Described {
    pub(in crate::db) metadata: MetadataIds,
    pub(in crate::db) names: HashMap<String, i64>,
}

/// Loads the numbers of the names of jobs, and of their metadata that is not `known`; new ones are
/// stored.
pub(in crate::db) async fn describe<'a>(
    tx: &mut Tx,
    jobs: impl Iterator<Item = &'a NewJob> + Clone,
    known: &MetadataIds,
) -> Result<Described> {
    let names = store_names(tx, jobs.clone().map(|job| job.name.as_str())).await?;
    Ok(Described { metadata: store_metadata(tx, jobs, known).await?, names })
}

/// The numbers of job names; new ones are stored.
async fn store_names<'a>(tx: &mut Tx, names: impl Iterator<Item = &'a str>) -> Result<HashMap<String, i64>> {
    const LAST: &str = "select coalesce(max(id), 0) from job_name";
    let names: BTreeSet<&str> = names.collect();
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let wanted = rows(names.iter().map(|name| Value::from(*name)));
    let sql = [
        "select name, id from job_name where name in (select value from json_each($1))",
        "select found.* from json_array_elements_text($1::json) w (value) cross join lateral
           (select name, id from job_name where name = w.value limit 1) found",
    ];
    let found: Vec<(String, i64)> =
        each!(tx, tx, sql => sqlx::query_as(sql).bind(&wanted).fetch_all(&mut **tx).await?);
    let mut numbers: HashMap<String, i64> = found.into_iter().collect();
    let last: i64 = each!(tx, tx => sqlx::query_scalar(LAST).fetch_one(&mut **tx).await?);
    let new: Vec<(i64, &str)> =
        (last + 1..).zip(names.into_iter().filter(|name| !numbers.contains_key(*name))).collect();
    let lines: Vec<[Cell; 2]> = new.iter().map(|(id, name)| [(*id).into(), (*name).into()]).collect();
    insert(tx, "job_name", ["id", "name"], &lines).await?;
    numbers.extend(new.into_iter().map(|(id, name)| (name.to_owned(), id)));
    Ok(numbers)
}
