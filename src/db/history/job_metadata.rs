use std::collections::HashMap;

use serde_json::{Value, json};

use crate::db::bulk::{Cell, insert};
use crate::db::{NewJob, Result, Tx, rows, stored};
use crate::domain::job::{JobMetadata, Location};

/// Numbers of job metadata, without the line.
pub(in crate::db) type MetadataIds = HashMap<JobMetadata, i64>;

/// Job metadata as stored; all `None` if there are none.
#[derive(sqlx::FromRow)]
pub(in crate::db) struct MetadataRow {
    package: Option<String>,
    version: Option<String>,
    file: Option<String>,
    target: Option<String>,
    channel: Option<String>,
    max_silent_time: Option<i64>,
    timeout: Option<i64>,
    hidden: Option<bool>,
    replacement: Option<bool>,
    substitutable: Option<bool>,
}

impl MetadataRow {
    /// The metadata of a job that is defined at `line`.
    pub(in crate::db) fn metadata(self, line: Option<i64>) -> JobMetadata {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let line = line.and_then(|line| u32::try_from(line).ok());
        JobMetadata {
            package: some(self.package),
            version: some(self.version),
            location: some(self.file).zip(line).map(|(file, line)| Location { file, line }),
            target: some(self.target),
            channel: some(self.channel),
            max_silent_time: self.max_silent_time.unwrap_or_default(),
            timeout: self.timeout.unwrap_or_default(),
            hidden: self.hidden.unwrap_or_default(),
            replacement: self.replacement.unwrap_or_default(),
            substitutable: self.substitutable.unwrap_or_default(),
        }
    }
}

/// Splits job metadata into metadata without the line, and the line.
pub(in crate::db) fn without_line(metadata: &JobMetadata) -> (JobMetadata, Option<u32>) {
    let mut metadata = metadata.clone();
    let line = metadata.location.as_mut().map(|location| std::mem::take(&mut location.line));
    (metadata, line)
}

/// The numbers of the metadata that the open intervals of a sequence have.
pub(in crate::db) async fn open_metadata(tx: &mut Tx, sequence: i64) -> Result<MetadataIds> {
    type Texts = (String, String, String, String, String);
    type Row = (i64, Texts, (i64, i64), (i64, i64, i64));
    let sql = [
        "select json_group_array(json_array(id, json_array(package, version, file, target, channel),
           json_array(max_silent_time, timeout), json_array(hidden, replacement, substitutable))) from job_metadata
         where id in (select metadata_id from job_interval where sequence_id = $1 and last_evaluation is null)",
        "select json_agg(json_build_array(id, json_build_array(package, version, file, target, channel),
           json_build_array(max_silent_time, timeout),
           json_build_array(hidden::int, replacement::int, substitutable::int)))::text from job_metadata
         where id in (select metadata_id from job_interval where sequence_id = $1 and last_evaluation is null)",
    ];
    let text: Option<String> =
        each!(tx, tx, sql => sqlx::query_scalar(sql).bind(sequence).fetch_one(&mut **tx).await?);
    let rows: Vec<Row> =
        stored(text.as_deref().unwrap_or("[]"), || format!("the job metadata of sequence {sequence}"))?;
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let metadata = |(id, texts, (max_silent_time, timeout), (hidden, replacement, substitutable)): Row| {
        let (package, version, file, target, channel) = texts;
        let metadata = JobMetadata {
            package: some(package),
            version: some(version),
            location: some(file).map(|file| Location { file, line: 0 }),
            target: some(target),
            channel: some(channel),
            max_silent_time,
            timeout,
            hidden: hidden != 0,
            replacement: replacement != 0,
            substitutable: substitutable != 0,
        };
        (metadata, id)
    };
    Ok(rows.into_iter().map(metadata).collect())
}

/// Loads the numbers of all metadata of `jobs` that are not `known`; new ones are stored.
pub(in crate::db) async fn store_metadata<'a>(
    tx: &mut Tx,
    jobs: impl Iterator<Item = &'a NewJob>,
    known: &MetadataIds,
) -> Result<MetadataIds> {
    const LAST: &str = "select coalesce(max(id), 0) from job_metadata";
    let mut new: Vec<JobMetadata> = jobs.map(|job| without_line(&job.metadata).0).collect();
    new.retain(|metadata| !known.contains_key(metadata));
    new.sort_unstable();
    new.dedup();
    if new.is_empty() {
        return Ok(MetadataIds::new());
    }
    let ids = stored_ids(tx, &new).await?;
    let mut last: i64 = each!(tx, tx => sqlx::query_scalar(LAST).fetch_one(&mut **tx).await?);
    let mut lines = Vec::new();
    let mut numbers = MetadataIds::new();
    for (metadata, id) in new.into_iter().zip(ids) {
        let id = id.unwrap_or_else(|| {
            last += 1;
            lines.push(row(last, &metadata));
            last
        });
        numbers.insert(metadata, id);
    }
    insert(tx, "job_metadata", COLUMNS, &lines).await?;
    Ok(numbers)
}

/// The number of each of these metadata; `None` for those that are not stored.
async fn stored_ids(tx: &mut Tx, metadata: &[JobMetadata]) -> Result<Vec<Option<i64>>> {
    let sql = [
        "select value->>'place', f.id from jsonb_each($1) join job_metadata f on f.package = value->>'package'
           and f.version = value->>'version' and f.file = value->>'file' and f.target = value->>'target'
           and f.channel = value->>'channel' and f.max_silent_time = value->>'max_silent_time'
           and f.timeout = value->>'timeout' and f.hidden = value->>'hidden'
           and f.replacement = value->>'replacement' and f.substitutable = value->>'substitutable'",
        // Without statistics, PostgreSQL would otherwise read all metadata each time.
        "select f.place, stored.id
         from json_to_recordset($1::json) as f (place bigint, package text, version text, file text, target text,
           channel text, max_silent_time bigint, timeout bigint, hidden boolean, replacement boolean,
           substitutable boolean)
         cross join lateral (select id from job_metadata s
           where (s.package, s.version, s.file, s.target, s.channel, s.max_silent_time, s.timeout, s.hidden,
             s.replacement, s.substitutable) = (f.package, f.version, f.file, f.target, f.channel, f.max_silent_time,
             f.timeout, f.hidden, f.replacement, f.substitutable) limit 1) stored",
    ];
    let lines = rows(metadata.iter().enumerate().map(line));
    let found: Vec<(i64, i64)> =
        each!(tx, tx, sql => sqlx::query_as(sql).bind(&lines).fetch_all(&mut **tx).await?);
    let mut ids: Vec<Option<i64>> = vec![None; metadata.len()];
    for (place, id) in found {
        if let Some(slot) = usize::try_from(place).ok().and_then(|place| ids.get_mut(place)) {
            *slot = Some(id);
        }
    }
    Ok(ids)
}

/// The columns of [`row`]'s result.
const COLUMNS: [&str; 11] = [
    "id",
    "package",
    "version",
    "file",
    "target",
    "channel",
    "max_silent_time",
    "timeout",
    "hidden",
    "replacement",
    "substitutable",
];

fn row(id: i64, metadata: &JobMetadata) -> [Cell<'static>; 11] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default().into();
    let flag = |flag: bool| i64::from(flag).into();
    let file = metadata.location.as_ref().map_or_else(String::new, |location| location.file.clone()).into();
    [
        id.into(),
        text(&metadata.package),
        text(&metadata.version),
        file,
        text(&metadata.target),
        text(&metadata.channel),
        metadata.max_silent_time.into(),
        metadata.timeout.into(),
        flag(metadata.hidden),
        flag(metadata.replacement),
        flag(metadata.substitutable),
    ]
}

fn line((place, metadata): (usize, &JobMetadata)) -> Value {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    json!({
        "place": place,
        "package": text(&metadata.package), "version": text(&metadata.version),
        "file": metadata.location.as_ref().map_or("", |location| &location.file),
        "target": text(&metadata.target), "channel": text(&metadata.channel),
        "max_silent_time": metadata.max_silent_time, "timeout": metadata.timeout,
        "hidden": metadata.hidden, "replacement": metadata.replacement, "substitutable": metadata.substitutable,
    })
}
