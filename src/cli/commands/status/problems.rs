//! The part of `gorget status` about problems, and about decisions that a person has to make.

use crate::cli::output;
use crate::clock::{Seconds, readable_span};
use crate::view::trouble::{Kind, Trouble};

/// Shows the problems that no table of `gorget status` shows.
pub(super) fn show(all: &[Trouble<'_>], now: Seconds) -> std::io::Result<()> {
    use Kind::{Branch, Coordinator, FailedBuild, FailedEvaluation};
    let shown = |kind| matches!(kind, Branch | Coordinator | FailedBuild | FailedEvaluation);
    for trouble in all.iter().filter(|trouble| !shown(trouble.kind)) {
        output::paragraph(&trouble.paragraph(now))?;
    }
    Ok(())
}

/// `in 3 min 5 s`, or `now`.
pub(super) fn in_future(seconds: Seconds) -> String {
    if seconds > 0 { format!("in {}", readable_span(seconds)) } else { "now".to_owned() }
}
