use serde::Serialize;

use crate::clock::Seconds;
use crate::domain::spec::{self, Severity, Spec};

/// A checked spec file. The keys are in the order in which people read them.
#[derive(Debug, Serialize)]
pub struct SpecFile<'a> {
    /// Its path.
    pub file: String,
    /// The name of the spec; `None` when the file has faults.
    pub name: Option<&'a str>,
    /// The next three times at which the spec is due; empty if it is inactive or the file has
    /// faults.
    pub due: Vec<Seconds>,
    /// Faults or, if there are none, warnings.
    pub diagnostics: Vec<Diagnostic<'a>>,
}

impl<'a> SpecFile<'a> {
    /// The view of a file.
    pub fn new(file: &'a spec::SpecFile, now: Seconds) -> Self {
        let (spec, diagnostics) = match &file.outcome {
            Ok(checked) => (Some(&checked.spec), &checked.warnings),
            Err(faults) => (None, faults),
        };
        Self {
            file: file.path.display().to_string(),
            name: spec.map(|spec| spec.name.as_str()),
            due: spec.map(|spec| due(spec, now)).unwrap_or_default(),
            diagnostics: diagnostics.iter().map(|one| Diagnostic::new(one, &file.source)).collect(),
        }
    }
}

/// The next three times at which a spec is due; empty if it is inactive.
fn due(spec: &Spec, now: Seconds) -> Vec<Seconds> {
    if !spec.active {
        return Vec::new();
    }
    let times = std::iter::successors(Some(now), |after| Some(spec.period.next(*after)));
    times.skip(1).take(3).take_while(|at| *at < Seconds::MAX).collect()
}

/// A fault or a warning.
#[derive(Debug, Serialize)]
pub struct Diagnostic<'a> {
    /// Whether it is a fault or a warning.
    pub severity: Severity,
    /// What is wrong.
    pub message: &'a str,
    /// How to mend it.
    pub hint: Option<&'a str>,
    /// The line, counted from 1.
    pub line: usize,
    /// The column, counted from 1.
    pub column: usize,
}

impl<'a> Diagnostic<'a> {
    fn new(diagnostic: &'a spec::Diagnostic, source: &str) -> Self {
        let (line, column) = diagnostic.position(source);
        let spec::Diagnostic { severity, message, hint, .. } = diagnostic;
        Self { severity: *severity, message, hint: hint.as_deref(), line, column }
    }
}
