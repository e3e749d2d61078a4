/// What is known about a build after all servers were asked for all of its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every output is at some server.
    Present,
    /// Some output is at none.
    Absent,
    /// Some output is at no server that answered, and not all did.
    Unknown,
}

/// Decides it. For each output, `answers` has whether any server has it: none when no server that
/// answered has it, and some did not answer.
pub fn verdict(answers: impl IntoIterator<Item = Option<bool>>) -> Verdict {
    let mut verdict = Verdict::Present;
    for answer in answers {
        match answer {
            Some(true) => {}
            Some(false) => return Verdict::Absent,
            None => verdict = Verdict::Unknown,
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_output_that_nobody_has_decides_and_one_unknown_does_not() {
        for (answers, expected) in [
            (&[Some(true), Some(true)][..], Verdict::Present),
            (&[Some(true), Some(false)], Verdict::Absent),
            (&[None, Some(false)], Verdict::Absent),
            (&[Some(true), None], Verdict::Unknown),
        ] {
            assert_eq!(verdict(answers.iter().copied()), expected, "{answers:?}");
        }
    }
}
