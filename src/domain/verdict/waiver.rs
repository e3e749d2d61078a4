use crate::domain::spec::{System, matches_pattern};

/// The codes of the reasons that can be waived: those that say what a branch breaks. What is not
/// known cannot be waived.
pub const WAIVABLE: [&str; 4] = ["evaluation-errors", "regressions", "new-broken", "unattributed"];

/// Jobs that do not count for a reason, because somebody answers for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// The code of the reason.
    pub reason: String,
    /// A pattern of the names of jobs; `*` stands for any text.
    pub job: String,
    /// Only for this system.
    pub system: Option<System>,
}

impl Waiver {
    /// Whether it covers a job.
    pub fn covers(&self, reason: &str, system: &str, job: &str) -> bool {
        let here = self.system.as_ref().is_none_or(|own| own.as_str() == system);
        // People name packages, and the names of their jobs end in the system.
        let matches_pattern =
            || matches_pattern(&self.job, job) || matches_pattern(&format!("{}.{system}", self.job), job);
        here && self.reason == reason && matches_pattern()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiver_covers_no_other_reason_system_or_job() {
        let system = System::new("x86_64-linux");
        let waiver = Waiver { reason: "regressions".into(), job: "python-*".into(), system };
        assert!(waiver.covers("regressions", "x86_64-linux", "python-click.x86_64-linux"));
        let hello = Waiver { job: "hello".into(), ..waiver.clone() };
        assert!(hello.covers("regressions", "x86_64-linux", "hello.x86_64-linux"));
        assert!(!hello.covers("regressions", "x86_64-linux", "hello-more.x86_64-linux"));
        assert!(!waiver.covers("new-broken", "x86_64-linux", "python-click.x86_64-linux"));
        assert!(!waiver.covers("regressions", "i686-linux", "python-click.i686-linux"));
        assert!(!waiver.covers("regressions", "x86_64-linux", "hello.x86_64-linux"));
        assert!(Waiver { system: None, ..waiver }.covers("regressions", "i686-linux", "python-x"));
    }
}
