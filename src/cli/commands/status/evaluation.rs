//! One evaluation, with all of its measurements.

use serde_json::Value;

use crate::cli::{Exit, output, user_error};
use crate::clock::readable;
use crate::db::{Db, EvaluationId};
use crate::view::evaluation::Evaluation;

/// Shows the evaluation `id`.
pub(super) async fn show(db: &Db, id: EvaluationId, json: bool) -> anyhow::Result<Exit> {
    let missing =
        || user_error(format!("there is no evaluation {id}\nhint: `gorget status` lists the latest"));
    let evaluation = db.evaluation(id).await?.ok_or_else(missing)?;
    let errors = db.errors(id).await?;
    let evaluation = Evaluation::new(&evaluation).with_errors(&errors);
    if json {
        output::json(&evaluation)?;
        return Ok(Exit::Done);
    }
    let Evaluation { spec, system, .. } = &evaluation;
    output::line(&format!("evaluation {id} of {spec} for {system}: {}", evaluation.progress()))?;
    let mut lines = facts(&evaluation);
    lines.extend(evaluation.metrics.map(metrics).unwrap_or_default());
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

fn facts(evaluation: &Evaluation<'_>) -> Vec<Line> {
    let channels = evaluation.revision.channels().iter();
    let channels: Vec<String> =
        channels.map(|channel| format!("{} {}", channel.name, channel.commit)).collect();
    let mut lines = vec![("revision", channels.join(", ")), ("requested", readable(evaluation.created_at))];
    lines.extend(evaluation.started_at.map(|at| {
        let attempts = evaluation.attempts;
        let which = if attempts > 1 { format!(" (attempt {attempts})") } else { String::new() };
        let host = evaluation.host.map_or(String::new(), |host| format!(" on {host}"));
        ("begun", readable(at) + &host + &which)
    }));
    lines.extend(evaluation.finished_at.map(|at| ("ended", readable(at))));
    if evaluation.is_preparing() {
        let (done, total) = (evaluation.modules_done, evaluation.modules_total);
        lines.push(("modules compiled", format!("{done} of {total}")));
    }
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

/// The measurements. Older evaluations have fewer.
fn metrics(metrics: &Value) -> Vec<Line> {
    let figures = Figures(metrics);
    let lines = vec![
        ("warnings", list(&[("modules that do not load and have no job", figures.warnings())])),
        ("jobs", list(&[("", figures.count("jobs")), ("Guix", figures.text("guix_version"))])),
        ("memory", figures.memory()),
        ("CPU", list(&[("evaluating processes", figures.seconds("cpu_ms"))])),
        ("time", figures.time()),
        ("workers", figures.workers()),
        ("requests", asked(&metrics["requests"])),
        ("store", figures.store()),
    ];
    let known = lines.into_iter().filter(|(_, text)| !text.is_empty());
    known.map(|(name, text)| (name, text.trim().to_owned())).collect()
}

/// The known figures, each with its label.
fn list(figures: &[(&str, Option<String>)]) -> String {
    let known = figures.iter().filter_map(|(what, figure)| Some(format!("{what} {}", figure.as_ref()?)));
    known.collect::<Vec<_>>().join(", ")
}

/// The metrics of an evaluation.
struct Figures<'a>(&'a Value);

impl Figures<'_> {
    fn number(&self, name: &str) -> Option<u64> {
        self.0[name].as_u64()
    }

    fn count(&self, name: &str) -> Option<String> {
        self.number(name).map(|count| count.to_string())
    }

    fn seconds(&self, name: &str) -> Option<String> {
        self.number(name).map(|ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100))
    }

    fn mebibytes(&self, name: &str) -> Option<String> {
        self.number(name).map(|bytes| format!("{} MiB", bytes >> 20))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0[name].as_str().map(str::to_owned)
    }

    fn warnings(&self) -> Option<String> {
        self.count("warnings").filter(|count| count != "0")
    }

    fn memory(&self) -> String {
        list(&[
            ("evaluating processes", self.mebibytes("peak_memory")),
            ("Gorget itself", self.mebibytes("own_peak_memory")),
        ])
    }

    fn time(&self) -> String {
        list(&[
            ("preparing", self.seconds("prepare_ms")),
            ("loading modules", self.seconds("load_ms")),
            ("enumerating", self.seconds("enumerate_ms")),
            ("popular packages", self.seconds("warm_ms")),
            ("lowering", self.seconds("lower_ms")),
            ("recording meanwhile", self.seconds("record_ms")),
            ("all", self.seconds("total_ms")),
        ])
    }

    fn workers(&self) -> String {
        list(&[
            ("at a time", self.count("most_workers")),
            ("forked", self.count("forked")),
            ("ended early for lack of memory", self.count("retired")),
            ("died", self.count("deaths")),
        ])
    }

    fn store(&self) -> String {
        list(&[
            ("CPU", self.seconds("store_cpu_ms")),
            ("items", self.count("store_items")),
            ("size", self.mebibytes("store_bytes")),
        ])
    }
}

/// How many requests of each kind the recording store got.
fn asked(requests: &Value) -> String {
    let kinds = requests.as_object().into_iter().flatten();
    let mut kinds: Vec<(u64, &str)> =
        kinds.filter_map(|(kind, count)| Some((count.as_u64()?, kind.as_str()))).collect();
    kinds.sort_unstable_by_key(|(count, _)| std::cmp::Reverse(*count));
    let kinds = kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{kind} {count}"));
    kinds.collect::<Vec<_>>().join(", ")
}
