use serde::Serialize;

use crate::clock::Seconds;
use crate::domain::spec::{self, Severity, Spec};

/// A spec file. The keys are in the order in which a person reads them.
#[derive(Debug, Serialize)]
pub struct SpecFile<'a> {
    /// Its path.
    pub file: String,
    /// The name of the spec; none when the file is at fault.
    pub name: Option<&'a str>,
    /// The next three times at which the spec is due; none when it is not active or at fault.
    pub due: Vec<Seconds>,
    /// Faults, or warnings if there is no fault.
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

/// The next three times at which a spec is due.
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
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// What is the matter.
    pub message: &'a str,
    /// What to do about it.
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
