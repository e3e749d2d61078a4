//! The part of `gorget status` about problems, and about decisions that a person has to make.

use crate::cli::output;
use crate::clock::{Seconds, readable_span};
use crate::view::access::Pause;
use crate::view::approval::AwaitingApproval;
use crate::view::status::{BlockedSpec, Mirror, Status, SubstituteServer};

/// Shows pauses, failing repositories and servers, and blocked specs.
pub(super) fn show(status: &Status<'_>, now: Seconds) -> std::io::Result<()> {
    for Pause { author, kind, name, reason, since } in &status.pauses {
        let (what, since) = (format!("{kind} {name}"), readable_span(now - since));
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        output::paragraph(&format!("{} is paused, for {since}, by {author}{why}", what.trim_end()))?;
    }
    for Mirror { failures, next_fetch, reason, url, .. } in status.mirrors.iter().filter(|m| m.is_failing) {
        let (reason, again) = (reason.unwrap_or_default(), in_future(next_fetch - now));
        output::paragraph(&format!("cannot fetch {url} ({failures} in a row, next {again}): {reason}"))?;
    }
    for BlockedSpec { kind, next_attempt, reason, since, spec, .. } in &status.blocked_specs {
        let (since, again) = (readable_span(now - since), in_future(next_attempt - now));
        output::paragraph(&format!(
            "{spec} is not evaluated, for {since} ({kind}, next attempt {again}):\n{reason}"
        ))?;
    }
    for SubstituteServer { failures, next_attempt, reason, url } in &status.substitute_servers {
        let again = in_future(next_attempt - now);
        output::paragraph(&format!(
            "substitute server {url} fails ({failures} in a row, next {again}): {reason}"
        ))?;
    }
    Ok(())
}

/// Shows builds that await approval.
pub(super) fn show_approvals(held: &[AwaitingApproval<'_>]) -> anyhow::Result<()> {
    for AwaitingApproval { count, evaluation, reason, spec, system } in held {
        let builds = output::count(usize::try_from(*count)?, "build is", "builds are");
        output::paragraph(&format!(
            "{builds} awaiting approval, of evaluation {evaluation} of {spec} for {system}: {reason}\n`gorget approve {evaluation}` has them built"
        ))?;
    }
    Ok(())
}

/// `in 3 min 5 s`, or `now`.
pub(super) fn in_future(seconds: Seconds) -> String {
    if seconds > 0 { format!("in {}", readable_span(seconds)) } else { "now".to_owned() }
}
