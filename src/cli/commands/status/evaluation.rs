//! One evaluation, with all that was measured of it.

use serde_json::{Value, json};

use crate::cli::{Exit, output, user_error};
use crate::clock::readable;
use crate::db::{Db, Evaluation, EvaluationId, JobError};

/// Shows it.
pub(super) async fn show(db: &Db, id: EvaluationId, json: bool) -> anyhow::Result<Exit> {
    let missing =
        || user_error(format!("there is no evaluation {id}\nhint: `gorget status` lists the latest"));
    let evaluation = db.evaluation(id).await?.ok_or_else(missing)?;
    let errors = db.errors(id).await?;
    if json {
        let mut object = super::evaluation_object(&evaluation);
        let error = |e: &JobError| json!({ "name": e.name, "cause": e.cause, "message": e.message });
        object["error_list"] = errors.iter().map(error).collect();
        output::json(&object)?;
        return Ok(Exit::Done);
    }
    let Evaluation { spec, system, .. } = &evaluation;
    output::line(&format!("evaluation {id} of {spec} for {system}: {}", super::state(&evaluation)))?;
    let mut lines = facts(&evaluation);
    lines.extend(evaluation.metrics.as_ref().map(metrics).unwrap_or_default());
    for (name, text) in lines {
        output::line(&format!("  {name:<10} {text}"))?;
    }
    if let Some(reason) = &evaluation.reason {
        output::paragraph(&format!("it failed:\n{reason}"))?;
    }
    if !errors.is_empty() {
        output::paragraph("errors:")?;
    }
    for error in errors {
        output::entry(&format!("  {} ({}): {}", error.name, error.cause, error.message))?;
    }
    Ok(Exit::Done)
}

type Line = (&'static str, String);

fn facts(evaluation: &Evaluation) -> Vec<Line> {
    let channels = evaluation.revision.channels().iter();
    let channels: Vec<String> =
        channels.map(|channel| format!("{} {}", channel.name, channel.commit)).collect();
    let mut lines = vec![("revision", channels.join(", ")), ("asked for", readable(evaluation.created_at))];
    lines.extend(evaluation.started_at.map(|at| {
        let attempts = evaluation.attempts;
        let which = if attempts > 1 { format!(" (attempt {attempts})") } else { String::new() };
        let host = evaluation.host.as_ref().map_or(String::new(), |host| format!(" on {host}"));
        ("begun", readable(at) + &host + &which)
    }));
    lines.extend(evaluation.finished_at.map(|at| ("ended", readable(at))));
    let total = evaluation.jobs_total.map_or("?".to_owned(), |total| total.to_string());
    lines.push((
        "done",
        format!(
            "{} of {total}, {}",
            evaluation.jobs_done,
            output::count(usize::try_from(evaluation.errors).unwrap_or(0), "error", "errors")
        ),
    ));
    lines
}

/// What was measured, where it was: metrics of older evaluations have fewer of them.
fn metrics(metrics: &Value) -> Vec<Line> {
    let number = |name: &str| metrics[name].as_u64();
    let seconds = |name: &str| number(name).map(|ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100));
    let mebibytes = |name: &str| number(name).map(|bytes| format!("{} MiB", bytes >> 20));
    let list = |parts: &[(&str, Option<String>)]| {
        let known = parts.iter().filter_map(|(what, figure)| Some(format!("{what} {}", figure.as_ref()?)));
        known.collect::<Vec<_>>().join(", ")
    };
    let count = |name: &str| number(name).map(|count| count.to_string());
    let warnings = count("warnings").filter(|count| count != "0");
    let lines = vec![
        ("warnings", list(&[("modules that do not load, without a job of this", warnings)])),
        ("jobs", list(&[("", count("jobs")), ("Guix", metrics["guix_version"].as_str().map(str::to_owned))])),
        (
            "memory",
            list(&[
                ("evaluating processes", mebibytes("peak_memory")),
                ("Gorget itself", mebibytes("own_peak_memory")),
            ]),
        ),
        ("CPU", list(&[("evaluating processes", seconds("cpu_ms"))])),
        (
            "time",
            list(&[
                ("preparing", seconds("prepare_ms")),
                ("loading modules", seconds("load_ms")),
                ("enumerating", seconds("enumerate_ms")),
                ("popular packages", seconds("warm_ms")),
                ("lowering", seconds("lower_ms")),
                ("recording meanwhile", seconds("record_ms")),
                ("all", seconds("total_ms")),
            ]),
        ),
        (
            "workers",
            list(&[
                ("at a time", count("most_workers")),
                ("forked", count("forked")),
                ("ended early for lack of memory", count("retired")),
                ("died", count("deaths")),
            ]),
        ),
        ("requests", asked(&metrics["requests"])),
        (
            "store",
            list(&[
                ("CPU", seconds("store_cpu_ms")),
                ("items", count("store_items")),
                ("size", mebibytes("store_bytes")),
            ]),
        ),
    ];
    lines
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| (name, text.trim().to_owned()))
        .collect()
}

/// How often the evaluation store was asked, and for what.
fn asked(requests: &Value) -> String {
    let kinds = requests.as_object().into_iter().flatten();
    let mut kinds: Vec<(u64, &str)> =
        kinds.filter_map(|(kind, count)| Some((count.as_u64()?, kind.as_str()))).collect();
    kinds.sort_unstable_by_key(|(count, _)| std::cmp::Reverse(*count));
    let kinds = kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{kind} {count}"));
    kinds.collect::<Vec<_>>().join(", ")
}
