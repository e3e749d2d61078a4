use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use super::build::build;
use super::channel::{channels, name};
use super::diagnostic::{Diagnostic, Severity};
use super::period::Period;
use super::period_error::PeriodError;
use super::section::{Section, Value, boolean, string, strings, system, table, unknown, whole};
use super::verdict::policy;
use super::{Channel, FirstEvaluation, Keep, RetryFailed, Runtime, Spec, System};

/// Most faults of a file that are shown, because showing each takes time in proportion to the file.
const MOST_FAULTS: usize = 50;

/// A spec without faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The spec, with defaults for what the file leaves out.
    pub spec: Spec,
    /// The warnings about the file.
    pub warnings: Vec<Diagnostic>,
    /// The place of the name in the file, in bytes; the start of the file if the name comes from
    /// the file name.
    pub(super) name_span: Range<usize>,
}

/// Parses the text of a spec file. `default_name` is the spec's name if the text has none: the name
/// of the file without `.toml`.
///
/// If there is a fault, the error holds all faults and warnings, in the order of the file. Only a
/// mistake in TOML itself hides what comes after it.
pub fn parse(source: &str, default_name: &str) -> Result<Checked, Vec<Diagnostic>> {
    let document = DeTable::parse(source).map_err(|error| vec![syntax(&error)])?;
    let mut faults = Vec::new();
    let spec = spec(document.get_ref(), default_name, &mut faults);
    faults.sort_by_key(|fault| fault.span.start);
    if faults.len() > MOST_FAULTS {
        let (more, span) = (faults.len() - MOST_FAULTS, faults[MOST_FAULTS].span.clone());
        let worst = faults.iter().map(|fault| fault.severity).find(|severity| *severity == Severity::Fault);
        faults.truncate(MOST_FAULTS);
        let rest = Diagnostic::warning(span, format!("{more} more are not shown"));
        faults.push(Diagnostic { severity: worst.unwrap_or(Severity::Warning), ..rest });
    }
    match spec {
        Some((spec, name_span)) if faults.iter().all(|fault| fault.severity == Severity::Warning) => {
            Ok(Checked { spec, warnings: faults, name_span })
        }
        _ => Err(faults),
    }
}

fn syntax(error: &toml::de::Error) -> Diagnostic {
    Diagnostic::fault(error.span().unwrap_or(0..0), error.message()).label("TOML cannot be parsed after this")
}

/// Reads every key. Returns `None` only if a fault has been noted.
#[expect(clippy::too_many_lines, reason = "one line for each key")]
fn spec<'a>(
    table: &'a DeTable<'a>,
    default_name: &str,
    faults: &mut Vec<Diagnostic>,
) -> Option<(Spec, Range<usize>)> {
    let mut section = Section::new("a spec", table, 0..0);
    let (name, name_span) = spec_name(&mut section, default_name, faults);
    let channels = channels(&mut section, faults);
    let build = build(&mut section, channels.as_deref(), faults);
    let systems = match section.take("systems") {
        None => Some(vec![System::host()]),
        Some(value) => strings(value, faults, system),
    };
    let period = period(&mut section, faults);
    let priority = section.take("priority").map_or(Some(5), |value| priority(value, faults));
    let active = section.take("active").map_or(Some(true), |value| boolean(value, faults));
    let first = section.take("first").map_or(Some(FirstEvaluation::Queue), |value| first(value, faults));
    let runtime = runtime(&mut section, channels.as_deref(), faults);
    let every_commit = section.take("every-commit").map_or(Some(false), |value| boolean(value, faults));
    let retry_failed =
        section.take("retry-failed").map_or(Some(RetryFailed::Never), |value| retry_failed(value, faults));
    let share = section
        .take("share")
        .map_or(Some(1), |value| whole(value, 1..=100, ("a share", "1 is usual"), faults));
    let what = ("a budget", "leave it out for no limit");
    let budget = section
        .take("budget")
        .map_or(Some(None), |value| whole(value, 0..=1_000_000, what, faults).map(Some));
    let staged = section.take("staged").map_or(Some(false), |value| boolean(value, faults));
    let queue_inputs = section.take("queue-inputs").map_or(Some(false), |value| boolean(value, faults));
    let keep = section.take("keep").map_or(Some(None), |value| keep(value, faults).map(Some));
    let verdict = section
        .take("verdict")
        .map_or(Some(None), |value| policy(value, name.as_deref(), systems.as_deref(), faults).map(Some));
    section.finish(faults);
    let spec = Spec {
        name: name?,
        channels: channels?,
        build: build?,
        systems: systems?,
        period: period?,
        priority: priority?,
        active: active?,
        first: first?,
        every_commit: every_commit?,
        runtime: runtime?,
        retry_failed: retry_failed?,
        share: share?,
        budget: budget?,
        staged: staged?,
        queue_inputs: queue_inputs?,
        keep: keep?,
        verdict: verdict?,
        template: None,
    };
    Some((spec, name_span))
}

fn spec_name(
    section: &mut Section<'_>,
    default_name: &str,
    faults: &mut Vec<Diagnostic>,
) -> (Option<String>, Range<usize>) {
    let Some(value) = section.take("name") else {
        let mut wrong = Vec::new();
        let name = name(&Spanned::new(0..0, default_name), &mut wrong);
        if name.is_none() {
            let fault = Diagnostic::fault(0..0, "the name of this file is not a valid name of a spec");
            faults.push(fault.hint("give the spec another one: `name = \"…\"`"));
        }
        return (name, 0..0);
    };
    (string(value, faults).and_then(|text| name(&text, faults)), value.span())
}

/// Reads `every` or `period`; without either, the default applies.
fn period(section: &mut Section<'_>, faults: &mut Vec<Diagnostic>) -> Option<Period> {
    let (every, crontab) = (section.take("every"), section.take("period"));
    if let (Some(_), Some(value)) = (every, crontab) {
        let fault = Diagnostic::fault(value.span(), "both `every` and `period` are given");
        faults.push(fault.hint("leave one of them out"));
    }
    let every = every.map(|value| timed(value, Period::every, faults));
    let crontab = crontab.map(|value| timed(value, Period::crontab, faults));
    every.or(crontab).unwrap_or_else(|| Some(Period::default()))
}

fn timed(
    value: Value<'_>,
    read: fn(&str) -> Result<Period, PeriodError>,
    faults: &mut Vec<Diagnostic>,
) -> Option<Period> {
    let text = string(value, faults)?;
    let error = match read(text.get_ref()) {
        Ok(period) => return Some(period),
        Err(error) => error,
    };
    // Between plain quotes, a position in the text maps directly to one in the file.
    let is_plain = text.span().len() == text.get_ref().len() + 2;
    let span = match error.at() {
        Some(at) if is_plain && !at.is_empty() => {
            text.span().start + 1 + at.start..text.span().start + 1 + at.end
        }
        _ => text.span(),
    };
    faults.push(Diagnostic::fault(span, error.to_string()).hint(error.hint()));
    None
}

fn priority(value: Value<'_>, faults: &mut Vec<Diagnostic>) -> Option<u8> {
    let what = ("a priority", "0 comes first, 9 last, 5 is usual");
    whole(value, 0..=9, what, faults).and_then(|number| u8::try_from(number).ok())
}

fn runtime(
    section: &mut Section<'_>,
    channels: Option<&[Channel]>,
    faults: &mut Vec<Diagnostic>,
) -> Option<Runtime> {
    let Some(value) = section.take("runtime") else { return Some(Runtime::default()) };
    if channels.is_some_and(|channels| channels.iter().all(|channel| channel.name != "guix")) {
        let fault = Diagnostic::fault(value.span(), "this needs a channel called `guix`");
        faults.push(fault.hint("leave it out: without that channel, the installed Guix evaluates"));
    }
    let text = string(value, faults)?;
    match *text.get_ref() {
        "checkout" => Some(Runtime::Checkout),
        "time-machine" => Some(Runtime::TimeMachine),
        _ => {
            unknown(&text, &["checkout", "time-machine"], faults);
            None
        }
    }
}

fn first(value: Value<'_>, faults: &mut Vec<Diagnostic>) -> Option<FirstEvaluation> {
    let text = string(value, faults)?;
    match *text.get_ref() {
        "queue" => Some(FirstEvaluation::Queue),
        "record" => Some(FirstEvaluation::Record),
        _ => {
            unknown(&text, &["queue", "record"], faults);
            None
        }
    }
}

fn retry_failed(value: Value<'_>, faults: &mut Vec<Diagnostic>) -> Option<RetryFailed> {
    let text = string(value, faults)?;
    let again = RetryFailed::new(text.get_ref());
    if again.is_none() {
        let message = format!("`{}` does not say when failed builds are retried", text.get_ref());
        let fault = Diagnostic::fault(text.span(), message);
        faults.push(fault.hint("there are `never`, `next` (evaluation), and intervals such as `7d`"));
    }
    again
}

/// Reads `keep = { newest = 50, days = 30, weeks = 8, months = 12 }`; all but the first are
/// optional.
fn keep(value: Value<'_>, faults: &mut Vec<Diagnostic>) -> Option<Keep> {
    let mut section = table(value, "`keep`", faults)?;
    let newest = section.require("newest", "say how many of the newest evaluations are kept", faults);
    let mut count = |value, least| {
        let what =
            ("what is kept", "that many evaluations, or one for each of so many days, weeks or months");
        whole(value, least..=1_000_000, what, faults).map(|count| count as usize)
    };
    let newest = newest.and_then(|value| count(value, 1));
    let [days, weeks, months] =
        ["days", "weeks", "months"].map(|key| section.take(key).map_or(Some(0), |value| count(value, 0)));
    section.finish(faults);
    Some(Keep { newest: newest?, days: days?, weeks: weeks?, months: months? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Subset;
    use super::super::diagnostic::render;
    use super::*;

    #[test]
    fn the_shortest_spec_has_defaults_for_the_rest() {
        let source = "build = \"hello\"\n[[channel]]\nname = \"guix\"\nurl = \"/srv/guix\"\n";
        let Checked { spec, warnings, .. } = parse(source, "farm").unwrap();
        assert_eq!(warnings, []);
        assert_eq!((spec.name.as_str(), spec.channels[0].branch.as_str()), ("farm", "master"));
        assert_eq!((spec.build, spec.systems), (Subset::Hello.into(), vec![System::host()]));
        assert_eq!((spec.period, spec.priority, spec.active), (Period::every("5m").unwrap(), 5, true));
        assert_eq!(spec.first, FirstEvaluation::Queue);
    }

    #[test]
    fn what_is_kept_is_counted_and_at_least_one() {
        let faults = |keep: &str| {
            let source = format!(
                "keep = {keep}\nbuild = \"hello\"\n[[channel]]\nname = \"guix\"\nurl = \"/srv/guix\"\n"
            );
            let faults = parse(&source, "farm").err().unwrap_or_default();
            faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>()
        };
        assert_eq!(faults("{ newest = 1 }"), [""; 0]);
        assert_eq!(faults("{ days = 3 }"), ["`keep` needs `newest`"]);
        assert_eq!(
            faults("{ newest = 0, days = -1 }"),
            [1, 0].map(|least| format!("what is kept is a number from {least} to 1000000"))
        );
        assert_eq!(faults("{ newest = 1, day = 3 }"), ["`keep` has no key `day`"]);
        assert_eq!(faults("100"), ["expected a table, found a whole number"]);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one line for each key")]
    fn all_that_a_spec_can_say_is_heard() {
        let source = r#"
            name = "release"
            build = { manifests = ["etc/manifests/release.scm"] }
            exclude = ["texlive-*"]
            systems = ["x86_64-linux", "i686-linux"]
            period = "0 3 * * mon-fri"
            priority = 0
            active = false
            first = "record"
            every-commit = true
            runtime = "time-machine"
            retry-failed = "7d"
            share = 3
            budget = 500
            staged = true
            queue-inputs = true
            keep = { newest = 20, weeks = 8 }
            [[channel]]
            name = "guix"
            url = "https://git.example.org/guix.git"
            branch = "version-1.5.0"
            commit = "9EDB3F66FD807B096B48283DEBDCDDCCFEA34BAD"
            introduction = { commit = "9edb3f66fd807b096b48283debdcddccfea34bad", signer = "bbb0 2ddf 2cea f6a8 0d1d  e643 a2a0 6df2 a33a 54fa" }
            [verdict]
            base = "master"
            required = ["x86_64-linux"]
            sets = ["installer"]
            known = 99
        "#;
        let Checked { spec, warnings, .. } = parse(source, "farm").unwrap();
        assert_eq!(spec.channels[0].commit.as_deref(), Some("9edb3f66fd807b096b48283debdcddccfea34bad"));
        let introduction = spec.channels[0].introduction.as_ref().unwrap();
        assert_eq!(introduction.signer, "BBB02DDF2CEAF6A80D1DE643A2A06DF2A33A54FA");
        assert_eq!(spec.build.subset, Subset::Manifests(vec!["etc/manifests/release.scm".to_owned()]));
        assert_eq!(spec.build.exclude, ["texlive-*"]);
        assert_eq!((spec.name.as_str(), spec.priority, spec.active), ("release", 0, false));
        assert_eq!((spec.systems.len(), spec.first), (2, FirstEvaluation::Record));
        assert_eq!(spec.period, Period::crontab("0 3 * * mon-fri").unwrap());
        assert_eq!((warnings, spec.every_commit), (Vec::new(), true));
        assert_eq!(spec.runtime, Runtime::TimeMachine);
        assert_eq!(spec.retry_failed, RetryFailed::After(7 * 86_400));
        assert_eq!((spec.share, spec.budget, spec.staged, spec.queue_inputs), (3, Some(500), true, true));
        assert_eq!(spec.keep, Some(Keep { newest: 20, weeks: 8, ..Keep::default() }));
        let policy = spec.verdict.unwrap();
        assert_eq!((policy.base.as_str(), policy.known, policy.sets.len()), ("master", 99, 1));
        assert!(policy.requires(&spec.systems[0]) && !policy.requires(&spec.systems[1]));
    }

    proptest! {
        #[test]
        fn whatever_a_file_holds_its_faults_can_be_shown(
            lines in prop::collection::vec("(name|build|channel|\\[\\[channel\\]\\]|every|period|systems|priority)( = (\"[a-z0-9*/@ é-]{0,12}\"|[0-9]{1,4}|\\[[\"a-z0-9, ]{0,8}\\]|\\{ [a-z]{1,9} = [\\[\\]\"a-z]{1,9} \\}))?", 0..8),
        ) {
            let source = lines.join("\n");
            if let Err(faults) = parse(&source, "farm") {
                prop_assert!(!faults.is_empty());
                for fault in &faults {
                    prop_assert!(source.get(fault.span.clone()).is_some(), "{:?}", fault);
                }
                prop_assert!(!render(&faults, "farm.toml", &source, true).is_empty());
            }
        }
    }
}
