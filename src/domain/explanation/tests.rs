use super::*;
use crate::domain::revision::ChannelCommit;

fn revision() -> Revision {
    Revision::new(vec![ChannelCommit::new("guix", "https://example.org/guix.git", "abcd")])
}

fn input(build: Option<BuildInput<'_>>) -> ExplanationInput<'_> {
    ExplanationInput {
        spec: "master",
        retry_failed: RetryFailed::Never,
        evaluation: 7,
        evaluation_failed: false,
        is_current: true,
        build,
    }
}

/// A build whose own derivation failed, so that no rule about other derivations holds.
fn build(revision: &Revision, state: BuildState) -> BuildInput<'_> {
    BuildInput {
        state,
        origin: Origin { evaluation: 3, spec: "staging", revision },
        coordinator: Coordinator(Some(DEFAULT)),
        is_gone: false,
        in_doubt: false,
        paused: None,
        is_unwanted: false,
        has_failed: true,
        reference: Reference(Some("b1")),
        answer: Some("it said so"),
        cause: None,
    }
}

#[test]
fn each_state_has_a_rule_and_a_sentence() {
    let revision = revision();
    let lines = BuildState::ALL.map(|state| {
        let explanation = explain(&input(Some(build(&revision, state))));
        format!("{}: {explanation}", explanation.rule())
    });
    insta::assert_snapshot!(lines.join("\n"), @r"
    looking-up: not queued yet: its outputs were new in evaluation 3 (staging, abcd), and substitute servers are asked first
    awaiting-approval: awaits approval: it said so (`gorget approve 3` has it built); its outputs were new in evaluation 3 (staging, abcd)
    new-outputs: queued: its outputs were new in evaluation 3 (staging, abcd)
    submitted: the coordinator has it as b1: it said so
    building: it is being built as b1
    succeeded: not queued: it was built as b1
    failed: not queued: its build as b1 failed; master does not retry failed builds
    canceling: unwanted: it said so; the coordinator is asked to cancel it as b1
    canceled: its build was canceled; it is queued when a new evaluation has it
    rejected: the coordinator rejected it: it said so
    substituted: not queued: it said so has its outputs
    known: not queued: evaluation 3 (staging, abcd) was the first evaluation of a spec that only records the builds of its first
    ");
}

#[test]
fn without_a_build_the_evaluation_explains() {
    let found = explain(&input(None));
    assert_eq!(found, Explanation::NotScheduled { evaluation: 7 });
    assert_eq!(found.to_string(), "not queued yet: evaluation 7 found it just now");
    let failed = explain(&ExplanationInput { evaluation_failed: true, ..input(None) });
    assert_eq!(failed, Explanation::EvaluationFailed { evaluation: 7 });
    assert_eq!(failed.to_string(), "not queued: evaluation 7 failed");
}

#[test]
fn a_failed_input_comes_before_a_lost_coordinator_and_that_before_the_state() {
    let revision = revision();
    let cause = Cause { job: "gcc", spec: "master", state: BuildState::Failed };
    let coordinator = Coordinator(Some("arm"));
    let queued =
        BuildInput { coordinator, is_gone: true, in_doubt: true, ..build(&revision, BuildState::Queued) };
    let blocked = explain(&input(Some(BuildInput { cause: Some(cause), ..queued })));
    assert_eq!(blocked.to_string(), "blocked: it needs gcc of master, which failed");
    let gone = explain(&input(Some(queued)));
    assert_eq!(
        gone.to_string(),
        "the coordinator arm may have it as b1, but is no longer in gorget.toml (`gorget reassign arm` gives its builds to others)"
    );
    let in_doubt = explain(&input(Some(BuildInput { is_gone: false, ..queued })));
    assert_eq!(in_doubt.rule(), "in-doubt");
    let in_turn = explain(&input(Some(BuildInput { is_gone: false, in_doubt: false, ..queued })));
    assert_eq!(in_turn.to_string(), "queued for arm: its outputs were new in evaluation 3 (staging, abcd)");
    let unserved = BuildInput { coordinator: Coordinator(Some("")), is_gone: false, ..queued };
    assert_eq!(explain(&input(Some(unserved))).rule(), "unserved");
    let paused = Paused { kind: "spec", name: "staging", author: "ada" };
    let paused = BuildInput { is_gone: false, in_doubt: false, paused: Some(paused), ..queued };
    let paused = explain(&input(Some(paused)));
    assert_eq!(
        (paused.rule(), paused.to_string().as_str()),
        (
            "paused",
            "queued, but ada paused spec staging (`gorget resume --spec staging` resumes it); its outputs were new in evaluation 3 (staging, abcd)"
        )
    );
}

#[test]
fn a_failure_with_another_derivation_is_none_of_a_job_that_is_current() {
    let revision = revision();
    for state in [BuildState::Failed, BuildState::Rejected] {
        let other = BuildInput { has_failed: false, ..build(&revision, state) };
        assert_eq!(explain(&input(Some(other))), Explanation::OtherFailed);
        let former = ExplanationInput { is_current: false, ..input(Some(other)) };
        assert_eq!(explain(&former).rule(), state.word());
    }
}

#[test]
fn what_failed_is_tried_again_when_the_spec_says_so() {
    let revision = revision();
    let failed = Some(build(&revision, BuildState::Failed));
    let after = |retry_failed| {
        let text = explain(&ExplanationInput { retry_failed, ..input(failed) }).to_string();
        text.split_once("; ").map(|(_, policy)| policy.to_owned()).unwrap_or_default()
    };
    assert_eq!(after(RetryFailed::Next), "the next evaluation of master queues it again");
    assert_eq!(
        after(RetryFailed::After(7200)),
        "the first evaluation of master that is complete 2 h 0 min after that queues it again"
    );
}

#[test]
fn a_build_that_nobody_wants_is_superseded() {
    let revision = revision();
    let unwanted = BuildInput { is_unwanted: true, answer: None, ..build(&revision, BuildState::Canceled) };
    let explanation = explain(&input(Some(unwanted)));
    assert_eq!(explanation.rule(), "superseded");
    assert_eq!(explanation.to_string(), "unwanted: nothing; it is queued when a job wants it again");
}
