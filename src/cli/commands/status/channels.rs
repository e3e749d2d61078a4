//! The part of `gorget status` about specs and their channels.

use std::collections::BTreeSet;

use super::problems::in_future;
use crate::cli::output;
use crate::clock::{Seconds, readable_span};
use crate::db::{Branch, Evaluation};
use crate::domain::spec::Channel;
use crate::view::status::Rows;

/// Shows the channels of all specs, and the tips of their branches.
pub(super) fn show(rows: &Rows, newest: &[Evaluation], now: Seconds) -> std::io::Result<()> {
    let mut lines = Vec::new();
    for stored in rows.specs.iter().filter(|stored| stored.present) {
        let spec = &stored.spec;
        for channel in &spec.channels {
            let branch = rows.branches.iter().find(|b| b.url == channel.url && b.name == channel.branch);
            let polled = branch.and_then(|branch| branch.polled_at);
            let tip = channel.commit.clone().or_else(|| branch?.tip.clone());
            let evaluated = newest.iter().find(|evaluation| evaluation.spec_id == stored.id);
            let signer = signer(channel, evaluated, tip.as_deref());
            lines.push(vec![
                spec.name.clone(),
                if spec.active { "active" } else { "inactive" }.to_owned(),
                channel.name.clone(),
                if channel.commit.is_some() { "(pinned)".to_owned() } else { channel.branch.clone() },
                tip.map_or("-".to_owned(), |tip| tip.chars().take(10).collect()),
                signer,
                polled.map_or("never".to_owned(), |at| format!("{} ago", readable_span(now - at))),
                branch.map_or(String::new(), |branch| problem(branch, now)),
            ]);
        }
    }
    if lines.is_empty() {
        return output::line("no specs");
    }
    output::table(&["SPEC", "", "CHANNEL", "BRANCH", "COMMIT", "SIGNED BY", "POLLED", "PROBLEM"], lines)
}

/// The signer of a channel's commit, if the channel is authenticated and the signer is known.
fn signer(channel: &Channel, evaluated: Option<&Evaluation>, tip: Option<&str>) -> String {
    if channel.introduction.is_none() {
        return "(not asked)".to_owned();
    }
    let found = evaluated.and_then(|evaluation| {
        let mut channels = evaluation.revision.channels().iter();
        channels.find(|other| other.name == channel.name && Some(other.commit.as_str()) == tip)
    });
    let signer = found.and_then(|found| found.origin.signer.as_ref());
    signer.map_or("?".to_owned(), |signer| signer[signer.len().saturating_sub(16)..].to_owned())
}

fn problem(branch: &Branch, now: Seconds) -> String {
    let Some(reason) = &branch.reason else { return String::new() };
    if branch.problem.is_none() {
        return reason.clone();
    }
    format!("{reason} ({} in a row, next poll {})", branch.failures, in_future(branch.next_poll - now))
}

/// Shows the warnings about channels of the newest evaluations.
pub(super) fn show_warnings(newest: &[Evaluation]) -> std::io::Result<()> {
    let mut shown = BTreeSet::new();
    for evaluation in newest {
        for warning in evaluation.revision.warnings() {
            if shown.insert((&evaluation.spec, warning)) {
                output::paragraph(&format!("warning for {}: {warning}", evaluation.spec))?;
            }
        }
    }
    Ok(())
}
