//! Specifications in a file of Scheme, as `cuirass register -S` takes it.

use super::Found;
use super::expression::{Definitions, Expression};
use super::jobset::{Channel, Jobset};
use crate::domain::spec::Introduction;
use crate::guix::guile::{self, Datum, Fault};

/// Forms at the top of a file that are no specifications.
const OTHERS: [&str; 4] = ["use-modules", "define-module", "define", "define-public"];

/// All specifications of a text. An error if it cannot be read at all.
pub(super) fn jobsets(text: &str, file: &str) -> Result<Vec<Found>, String> {
    // In a system configuration, the list is a G-expression. That changes nothing if it is plain.
    let text = text.replace("#~(", "  (");
    let told = |fault: &Fault| {
        let (line, column) = guile::position(&text, fault.at);
        let hint = fault.hint.map_or(String::new(), |hint| format!("\nhint: {hint}"));
        format!("{file}:{line}:{column}: {fault}{hint}")
    };
    let data = guile::read_all(&text).map_err(|fault| told(&fault))?;
    let definitions = Definitions::of(&text, &data);
    let found = specifications(&definitions, &data).map_err(|fault| told(&fault))?;
    let imported = found.into_iter().map(|expression| {
        let (line, _) = guile::position(&text, expression.datum.at);
        jobset(&definitions, expression, format!("{file}:{line}")).map_err(|fault| match fault {
            Problem::At(fault) => told(&fault),
            Problem::Text(text) => text,
        })
    });
    Ok(imported.collect())
}

/// Why a specification cannot be imported.
enum Problem {
    At(Fault),
    Text(String),
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::At(fault)
    }
}

/// The specifications are the value of the last expression, or else what is defined.
fn specifications<'a>(
    definitions: &Definitions<'a>,
    data: &'a [Datum],
) -> Result<Vec<Expression<'a>>, Fault> {
    let is_other =
        |datum: &&Datum| Expression::of(datum).call().is_some_and(|(head, _)| OTHERS.contains(&head));
    if let Some(last) = data.iter().rfind(|datum| !is_other(datum)) {
        return definitions.list(Expression::of(last));
    }
    let mut all = Vec::new();
    for value in definitions.values().map(Expression::of) {
        // What is defined for other purposes need not be a list.
        for item in definitions.list(value).unwrap_or_default() {
            let is_one = definitions.resolved(item)?.call().is_some_and(|(head, _)| head == "specification");
            all.extend(is_one.then_some(item));
        }
    }
    Ok(all)
}

fn jobset<'a>(
    definitions: &Definitions<'a>,
    expression: Expression<'a>,
    place: String,
) -> Result<Jobset, Problem> {
    let found = definitions.resolved(expression)?;
    let Some(("specification", fields)) = found.call() else {
        return Err(Fault::new(found.datum.at, "this is no `(specification …)`").into());
    };
    let fields = fields.iter().map(field).collect::<Result<Vec<_>, Fault>>()?;
    let name = fields.iter().find(|(name, _)| *name == "name");
    let name = name.ok_or_else(|| Fault::new(found.datum.at, "this specification has no `name`"))?;
    let mut jobset = Jobset::new(&definitions.word(name.1)?, place).map_err(Problem::Text)?;
    for (name, value) in fields {
        set(definitions, &mut jobset, name, value)?;
    }
    Ok(jobset)
}

fn set<'a>(
    definitions: &Definitions<'a>,
    jobset: &mut Jobset,
    name: &str,
    value: Expression<'a>,
) -> Result<(), Fault> {
    match name {
        "name" => {}
        "build" => {
            let result = if let Ok(word) = definitions.word(value) {
                jobset.build(&word, None)
            } else {
                let items = definitions.list(value)?;
                let (head, rest) = items.split_first().ok_or_else(|| value.computed())?;
                jobset.build(&definitions.word(*head)?, Some(definitions.words(rest)?))
            };
            result.map_err(|reason| Fault::new(value.datum.at, reason))?;
        }
        "channels" => jobset.channels(channels(definitions, value)?),
        "priority" => jobset.priority(definitions.number(value)?),
        "period" => jobset.period(definitions.number(value)?),
        "systems" => jobset.systems(definitions.words(&definitions.list(value)?)?),
        "is-active?" => jobset.active(definitions.boolean(value)?),
        "build-outputs" => {
            jobset.note("Its `build-outputs` have no counterpart: outputs are not offered for download.");
        }
        "notifications" => jobset.note(
            "Its `notifications` have no counterpart: the feeds and `/api/v1/events` tell what happens.",
        ),
        other => jobset.note(format!("Its `{other}` has no counterpart.")),
    }
    Ok(())
}

/// The name and the value of `(name value)`.
fn field(datum: &Datum) -> Result<(&str, Expression<'_>), Fault> {
    match Expression::of(datum).call() {
        Some((name, [value])) => Ok((name, Expression::of(value))),
        _ => Err(Fault::new(datum.at, "expected `(FIELD VALUE)`")),
    }
}

fn channels<'a>(definitions: &Definitions<'a>, value: Expression<'a>) -> Result<Vec<Channel>, Fault> {
    if value.datum.is("%default-channels") {
        return Ok(vec![Channel::guix()]);
    }
    // Its tail can be a name of Guix's, which no file defines.
    if let Some(("cons" | "cons*", [items @ .., tail])) = definitions.resolved(value)?.call() {
        let own = items.iter().map(|item| channel(definitions, Expression::of(item)));
        let mut all = own.collect::<Result<Vec<_>, Fault>>()?;
        let tail = Expression::of(tail);
        all.extend(definitions.inside(tail, || channels(definitions, tail))?);
        return Ok(all);
    }
    let items = definitions.list(value)?;
    items.into_iter().map(|item| channel(definitions, item)).collect()
}

fn channel<'a>(definitions: &Definitions<'a>, expression: Expression<'a>) -> Result<Channel, Fault> {
    let found = definitions.resolved(expression)?;
    if found.datum.is("%default-guix-channel") {
        return Ok(Channel::guix());
    }
    let Some(("channel", fields)) = found.call() else { return Err(found.computed()) };
    let (name, url) = (String::new(), String::new());
    let mut channel = Channel { name, url, introduction: None, ..Channel::guix() };
    for (name, value) in fields.iter().map(field).collect::<Result<Vec<_>, Fault>>()? {
        match name {
            "inherit" => {
                channel = definitions.inside(value, || self::channel(definitions, value))?;
            }
            "name" => channel.name = definitions.word(value)?,
            "url" => channel.url = definitions.word(value)?,
            "branch" => channel.branch = definitions.word(value)?,
            "commit" | "introduction" if value.datum.is_false() => {}
            "commit" => channel.commit = Some(definitions.word(value)?),
            "introduction" => channel.introduction = Some(introduction(definitions, value)?),
            // Where it is kept on that machine, and the like.
            _ => {}
        }
    }
    Ok(channel)
}

fn introduction<'a>(definitions: &Definitions<'a>, value: Expression<'a>) -> Result<Introduction, Fault> {
    let found = definitions.resolved(value)?;
    let Some(("make-channel-introduction", [commit, signer])) = found.call() else {
        return Err(found.computed());
    };
    let signer = definitions.resolved(Expression::of(signer))?;
    let Some(("openpgp-fingerprint", [fingerprint])) = signer.call() else { return Err(signer.computed()) };
    let fingerprint = definitions.word(Expression::of(fingerprint))?;
    let signer = fingerprint.chars().filter(|char| !char.is_whitespace()).collect::<String>();
    let commit = definitions.word(Expression::of(commit))?;
    Ok(Introduction { commit, signer: signer.to_ascii_uppercase() })
}
