//! The events about the Node: what they say, and how often each is tried.

use super::stage::{
    Stage, describe, failed, first_list, gone, group, pod, pods, policy, seen, silent, terminating,
    with_group,
};
use crate::plan::Policy;
use crate::plan::action::{FailureKind, NodeEvent, NodeEventKind, Outcome, Ports, Request};
use crate::plan::id::TargetGroupArn;
use crate::plan::targets::ConfiguredGroup;

fn notice_id(stage: &Stage) -> String {
    let context = stage.planner.interruption(super::now(stage.at).at);
    context.expect("an interruption is under way").notice_id
}

fn notes(stage: &Stage) -> Vec<(NodeEventKind, &str)> {
    let events = stage.events().into_iter();
    events
        .map(|event| (event.kind, event.note.as_str()))
        .collect()
}

#[test]
fn the_notices_event_has_a_name_of_its_own_and_comes_before_the_nodes_uid_is_known() {
    let stage = Stage::interrupted(policy(), 120.0);
    let expected = NodeEvent {
        kind: NodeEventKind::SpotInterruption,
        note: "EC2 is going to terminate this spot instance: draining the node before the deadline"
            .to_owned(),
        name: format!("node-1.{}.spotinterruption", notice_id(&stage)),
        node_uid: None,
    };
    assert_eq!(stage.events(), [&expected]);
    let limit = stage.limit_of(|request| matches!(request, Request::PublishEvent(_)));
    assert_eq!(limit, Some(5.0 + 5.0));
}

#[test]
fn a_good_verdict_says_how_the_pods_stand() {
    let listed = vec![pod("web", 30), pod("job", 300), pod("slow", 600)];
    let mut stage = Stage::draining(policy(), 120.0, listed);
    for (name, own, given) in [("web", 30, 30), ("job", 300, 112), ("slow", 600, 112)] {
        stage.answer_pod(name, Outcome::Done);
        stage.watch(seen(terminating(name, own, given, 5.0)));
    }
    stage.watch(gone("web"));
    stage.watch(seen(terminating("late", 30, 30, 5.0)));
    stage.watch(seen(terminating("later", 30, 30, 5.0)));
    stage.watch(seen(terminating("latest", 30, 30, 5.0)));
    stage.forward_to(110.0);
    let expected = NodeEvent {
        kind: NodeEventKind::SpotDrainCompleted,
        note:
            "Every pod got its stop signal before the spot interruption: 1 gone, 3 stopping, 2 cut"
                .to_owned(),
        name: format!("node-1.{}.spotdraincompleted", notice_id(&stage)),
        node_uid: Some("node-uid".to_owned()),
    };
    assert_eq!(stage.events(), [&expected]);
}

#[test]
fn a_bad_verdict_counts_the_pods_without_a_stop_signal() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30), pod("other", 30)]);
    stage.answer_pod("web", Outcome::Done);
    stage.watch(seen(terminating("web", 30, 30, 5.0)));
    stage.forward_to(110.0);
    assert_eq!(
        notes(&stage),
        [(
            NodeEventKind::SpotDrainIncomplete,
            "1 of 2 pods got no stop signal before the spot interruption"
        )]
    );
}

#[test]
fn a_verdict_without_any_list_says_that_nobody_knows() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    stage.answer_event(NodeEventKind::SpotInterruption, Outcome::Done);
    stage.forward_to(110.0);
    assert_eq!(
        notes(&stage),
        [(
            NodeEventKind::SpotDrainIncomplete,
            "The API server did not say in time which pods the spot interruption takes"
        )]
    );
}

#[test]
fn an_event_that_cannot_be_published_is_tried_five_times_with_growing_patience() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    for at in [5.0, 6.0, 8.0, 12.0, 20.0] {
        stage.forward_to(at - 0.001);
        assert_eq!(
            stage.events().len(),
            usize::from(at <= 5.0),
            "before {at} s"
        );
        stage.forward_to(at);
        stage.answer_event(
            NodeEventKind::SpotInterruption,
            failed(FailureKind::Forbidden, 403),
        );
    }
    while stage.at < 109.0 {
        assert_eq!(notes(&stage), [], "at {} s", stage.at);
        stage.forward_to_next_due();
    }
}

#[test]
fn groups_that_do_not_let_go_are_one_event() {
    let other = TargetGroupArn::parse(
        "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/api/0123456789abcdef",
    )
    .expect("a well-formed ARN");
    let policy = Policy {
        groups: [group(), other]
            .map(|arn| ConfiguredGroup {
                arn,
                ports: Ports::All,
            })
            .to_vec(),
        ..policy()
    };
    let mut stage = Stage::interrupted(policy, 120.0);
    stage.answer_event(NodeEventKind::SpotInterruption, Outcome::Done);
    let look = |request: &Request| matches!(request, Request::DescribeTargets(..));
    stage.answer_first(look, failed(FailureKind::Forbidden, 403));
    let told = [(
        NodeEventKind::TargetDeregistrationFailed,
        "A target group of a load balancer did not let go of this instance before the spot interruption",
    )];
    assert_eq!(notes(&stage), told);
    stage.answer_event(NodeEventKind::TargetDeregistrationFailed, Outcome::Done);
    stage.answer_first(look, failed(FailureKind::Forbidden, 403));
    assert_eq!(notes(&stage), []);
}

#[test]
fn a_group_that_is_tried_again_or_lets_go_is_no_event() {
    let mut stage = Stage::interrupted(with_group(Ports::All), 120.0);
    stage.answer_event(NodeEventKind::SpotInterruption, Outcome::Done);
    stage.answer(
        &describe(Ports::All),
        failed(FailureKind::Throttled(None), 400),
    );
    assert_eq!(notes(&stage), []);
    stage.forward_to(5.3);
    stage.answer(&describe(Ports::All), Outcome::Targets(vec![]));
    assert_eq!(notes(&stage), []);
}

#[test]
fn an_event_that_waits_for_its_next_try_keeps_the_agent_from_stopping() {
    let mut stage = Stage::draining(policy(), 120.0, vec![]);
    stage.forward_to(6.0);
    stage.planner.handle_stop();
    stage.answer_event(NodeEventKind::SpotDrainCompleted, silent(FailureKind::Lost));
    assert!(!stage.planner.is_stopped());
    stage.forward_to(7.0);
    stage.answer_event(NodeEventKind::SpotDrainCompleted, Outcome::Done);
    assert!(stage.planner.is_stopped());
}

#[test]
fn a_resumed_interruption_is_no_second_event() {
    let mut stage = Stage::new(policy());
    stage.answer(&Request::ReadNotice, stage.notice(90.0));
    stage.answer(
        &Request::ReadNode,
        super::cordoned_by_an_earlier_process(80.0),
    );
    assert!(stage.planner.is_resumed());
    stage.answer(&first_list(), pods(vec![]));
    assert_eq!(notes(&stage), []);
}
