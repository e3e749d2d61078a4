//! One derivation: what its file says, and the jobs and the build that have it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::build::{JobRow, job_row};
use super::clean::Clean;
use super::figure::{count, number};
use super::frame::{Frame, Visit};
use super::link;
use super::response::{Answer, html};
use super::shape::Shape;
use crate::view::derivation::{Derivation, DerivationBuild, Input, Text};
use crate::web::Shared;
use crate::web::packages::derivation_rows;

/// The most inputs and jobs that a page lists.
const ROWS: usize = 100;
/// The most sources, arguments or variables that a page lists.
const VALUES: usize = 40;
/// The most bytes of one that a page shows.
const VALUE: usize = 400;

#[derive(Template)]
#[template(path = "derivation.html")]
struct DerivationPage {
    frame: Frame,
    name: Clean,
    file: String,
    lede: Clean,
    build: Option<(Shape, String)>,
    facts: Vec<(&'static str, Clean)>,
    lists: Vec<List>,
    inputs: Vec<InputRow>,
    more_inputs: Option<String>,
    has_text: bool,
    jobs: Vec<JobRow>,
}

/// A list of pairs, with how many more there are.
struct List {
    title: &'static str,
    rows: Vec<(Clean, Clean)>,
    more: Option<String>,
}

struct InputRow {
    href: String,
    path: Clean,
    outputs: Clean,
    build: Option<(Shape, String)>,
}

pub(in crate::web) async fn page(
    State(shared): State<Arc<Shared>>,
    visit: Visit,
    Path(file): Path<String>,
) -> Answer<Response> {
    let rows = derivation_rows(&shared.moment().await?, &file).await?;
    let derivation = Derivation::new(&rows);
    let text = derivation.text.as_ref();
    let inputs = text.map_or(&[][..], |text| &text.inputs);
    let name = derivation.path.get("/gnu/store/".len() + 33..).unwrap_or(derivation.path);
    Ok(html(&DerivationPage {
        frame: visit.frame(name, "/builds"),
        name: Clean::line(name),
        file: link::derivation(derivation.path),
        lede: Clean::line(&lede(&derivation)),
        build: derivation.build.map(build),
        facts: facts(&derivation),
        lists: text.map(lists).unwrap_or_default(),
        inputs: inputs.iter().take(ROWS).map(input).collect(),
        more_inputs: more(inputs.len(), ROWS),
        has_text: text.is_some(),
        jobs: derivation.jobs.iter().take(ROWS).map(job_row).collect(),
    }))
}

fn lede(derivation: &Derivation<'_>) -> String {
    let current = derivation.jobs.iter().filter(|job| job.last_evaluation.is_none()).count();
    let many = |many: usize| i64::try_from(many).unwrap_or(i64::MAX);
    let jobs = match (current, derivation.jobs.len()) {
        (0, 0) => "No job has it: others need it".to_owned(),
        (0, former) => format!("No job has it any more; {} had it", count(many(former), "job", "jobs")),
        (1, _) => "One job has it".to_owned(),
        (current, _) => format!("{} have it", count(many(current), "job", "jobs")),
    };
    let inputs = derivation.text.as_ref().map_or("its inputs are not known here".to_owned(), |text| {
        format!("it needs {}", count(many(text.inputs.len()), "derivation", "derivations"))
    });
    format!("{jobs}, and {inputs}.")
}

/// The look of a build, and the link to it.
fn build(build: DerivationBuild) -> (Shape, String) {
    (Shape::of_build(build.state), link::build(build.id))
}

fn more(all: usize, listed: usize) -> Option<String> {
    (all > listed).then(|| number(i64::try_from(all - listed).unwrap_or(i64::MAX)))
}

fn input(input: &Input) -> InputRow {
    InputRow {
        href: link::derivation(&input.path),
        path: Clean::line(input.path.trim_start_matches("/gnu/store/")),
        outputs: Clean::line(&input.outputs.join(" ")),
        build: input.build.map(build),
    }
}

fn facts(derivation: &Derivation<'_>) -> Vec<(&'static str, Clean)> {
    let mut facts = vec![("store path", derivation.path), ("system", derivation.system)];
    facts.extend(derivation.text.iter().map(|text| ("builder", text.builder.as_str())));
    facts.into_iter().map(|(word, text)| (word, Clean::line(text))).collect()
}

/// What the file says, besides inputs: the first rows of each list.
fn lists(text: &Text) -> Vec<List> {
    let outputs = text.outputs.iter().map(|output| {
        let fixed = match (&output.hash_algorithm, &output.hash) {
            (Some(algorithm), Some(hash)) => format!("\n{algorithm} {hash}"),
            _ => String::new(),
        };
        (output.name.clone(), format!("{}{fixed}", output.path))
    });
    let arguments = (1..).zip(&text.arguments).map(|(place, one): (i64, _)| (place.to_string(), one.clone()));
    let sources = (1..).zip(&text.sources).map(|(place, one): (i64, _)| (place.to_string(), one.clone()));
    let environment = text.environment.iter().map(|(name, value)| (name.clone(), value.clone()));
    vec![
        list("Outputs", &outputs.collect::<Vec<_>>()),
        list("Arguments of the builder", &arguments.collect::<Vec<_>>()),
        list("Environment of the builder", &environment.collect::<Vec<_>>()),
        list("Sources", &sources.collect::<Vec<_>>()),
    ]
}

fn list(title: &'static str, pairs: &[(String, String)]) -> List {
    let value = |text: &str| {
        let end = text.floor_char_boundary(VALUE);
        Clean::text(&if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() })
    };
    let more = more(pairs.len(), VALUES);
    let rows = pairs.iter().take(VALUES).map(|(name, text)| (Clean::line(name), value(text)));
    List { title, rows: rows.collect(), more }
}
