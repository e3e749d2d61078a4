/// What is known about a build after all servers were asked for all of its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Some server has each output.
    Present,
    /// No server has some output.
    Absent,
    /// For some output, no server that answered has it, and not all servers answered.
    Unknown,
}

/// Combines the answers for all outputs: whether any server has the output, or `None` when no
/// server that answered has it and some did not answer.
pub fn availability(answers: impl IntoIterator<Item = Option<bool>>) -> Availability {
    let mut availability = Availability::Present;
    for answer in answers {
        match answer {
            Some(true) => {}
            Some(false) => return Availability::Absent,
            None => availability = Availability::Unknown,
        }
    }
    availability
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_output_that_nobody_has_decides_and_one_unknown_does_not() {
        for (answers, expected) in [
            (&[Some(true), Some(true)][..], Availability::Present),
            (&[Some(true), Some(false)], Availability::Absent),
            (&[None, Some(false)], Availability::Absent),
            (&[Some(true), None], Availability::Unknown),
        ] {
            assert_eq!(availability(answers.iter().copied()), expected, "{answers:?}");
        }
    }
}
