//! Less than everything: beside another drainer, only watching, only rehearsing.

use super::stage::{Stage, failed, node, pod, policy, with_group};
use crate::plan::action::{FailureKind, Outcome, Ports, Request, TargetState};
use crate::plan::fact::{AgentState, Fact, PodNews, StopReason, TargetNews};
use crate::plan::node::{CordonPatch, NodeView, SchedulingWrite};
use crate::plan::{Effect, Mode, Policy};

fn patch(stage: &Stage) -> Option<CordonPatch> {
    stage
        .open_requests()
        .into_iter()
        .find_map(|request| match request {
            Request::Cordon(patch) => Some(patch.clone()),
            _ => None,
        })
}

fn rehearsing() -> Policy {
    Policy {
        effect: Effect::Rehearsed,
        ..with_group(Ports::All)
    }
}

#[test]
fn an_observer_tells_of_the_notice_and_asks_nobody_anything() {
    let observing = Policy {
        mode: Mode::Observe,
        ..with_group(Ports::All)
    };
    let mut stage = Stage::interrupted(observing, 120.0);
    assert_eq!(stage.open_requests(), Vec::<&Request>::new());
    assert_eq!(
        stage.count(|fact| matches!(fact, Fact::InterruptionNoticed(_))),
        1
    );
    assert_eq!(stage.summary().pods.total(), 0);
    assert_eq!(stage.summary().requests.api, 0);
    stage.forward_to(200.0);
    let cluster = |request: &&Request| !matches!(request, Request::ReadNotice);
    assert_eq!(stage.open_requests().into_iter().filter(cluster).count(), 0);
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Summary(_))), 1);
}

#[test]
fn an_observer_idles_until_the_deadline_and_stops_as_asked_before_it() {
    let observing = || Policy {
        mode: Mode::Observe,
        ..policy()
    };
    let mut stage = Stage::interrupted(observing(), 120.0);
    stage.forward_to(130.0);
    let states: Vec<AgentState> = stage
        .facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Heartbeat { state, .. } => Some(*state),
            _ => None,
        })
        .collect();
    assert_eq!(states, [AgentState::Idle, AgentState::Idle]);
    stage.forward_to(180.0);
    let after = |fact: &Fact| {
        matches!(
            fact,
            Fact::Heartbeat {
                state: AgentState::After,
                ..
            }
        )
    };
    assert_eq!(stage.count(after), 1);
    for (asked_at, expected) in [(100.0, StopReason::Asked), (126.0, StopReason::Deadline)] {
        let mut stage = Stage::interrupted(observing(), 120.0);
        stage.forward_to(asked_at);
        stage.planner.handle_stop();
        stage.forward_to(asked_at);
        let stops = |fact: &Fact| *fact == Fact::Stopping { reason: expected };
        stage.collect();
        assert_eq!(stage.count(stops), 1, "asked at {asked_at} s");
    }
}

#[test]
fn beside_another_drainer_the_node_is_excluded_and_deregistered_and_no_pod_is_looked_at() {
    let beside = Policy {
        mode: Mode::DeregisterOnly,
        ..with_group(Ports::All)
    };
    let mut stage = Stage::interrupted(beside, 120.0);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    let asked = patch(&stage).expect("a patch");
    assert_eq!(asked.scheduling, SchedulingWrite::Keep);
    assert!(asked.record.is_some());
    stage.answer(&Request::Cordon(asked), Outcome::Node(node()));
    stage.answer_first(
        |request| matches!(request, Request::PublishEvent(_)),
        Outcome::Done,
    );
    for state in [TargetState::Registered, TargetState::Draining] {
        stage.forward_to(stage.at + 1.0);
        stage.answer_first(
            |request| matches!(request, Request::DescribeTargets(..)),
            Outcome::Targets(vec![super::target(80, state)]),
        );
        if state == TargetState::Registered {
            stage.answer_first(
                |request| matches!(request, Request::DeregisterTargets(..)),
                Outcome::Done,
            );
        }
    }
    assert_eq!(stage.summary().targets.draining, 1);
    assert_eq!(stage.summary().cordoned_after, None);
    let drains = |fact: &Fact| {
        matches!(
            fact,
            Fact::Verdict(..)
                | Fact::Pod(..)
                | Fact::DrainProgress { .. }
                | Fact::NodeCordoned { .. }
        )
    };
    assert_eq!(stage.count(drains), 0);
    let lists = |request: &&Request| matches!(request, Request::ListPods(..));
    assert_eq!(stage.open_requests().into_iter().filter(lists).count(), 0);
}

#[test]
fn a_rehearsal_leaves_no_record_and_no_target_and_takes_an_answer_for_the_end() {
    let mut stage = Stage::interrupted(rehearsing(), 120.0);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    let asked = patch(&stage).expect("a patch");
    assert_eq!(asked.record, None);
    stage.answer(
        &Request::Cordon(asked),
        Outcome::Node(NodeView { ..node() }),
    );
    stage.answer_first(
        |request| matches!(request, Request::DescribeTargets(..)),
        Outcome::Targets(vec![super::target(80, TargetState::Registered)]),
    );
    let skipped = |fact: &Fact| matches!(fact, Fact::Target(_, TargetNews::Skipped(_)));
    assert_eq!(stage.count(skipped), 1);
    stage.answer(
        &super::first_list(),
        super::pods(vec![pod("web", 30), pod("slow", 600), pod("db", 5)]),
    );
    stage.answer_pod("web", Outcome::Done);
    stage.answer_pod("slow", Outcome::Done);
    stage.answer_pod("db", failed(FailureKind::NotFound, 404));
    let evicted = |fact: &Fact| matches!(fact, Fact::Pod(_, PodNews::Evicted { .. }));
    assert_eq!(stage.count(evicted), 2);
    stage.forward_to(100.0);
    assert_eq!(
        stage
            .pod_calls()
            .iter()
            .filter(|(_, name, _)| *name != "db")
            .count(),
        0
    );
    let deregisters = |request: &&Request| matches!(request, Request::DeregisterTargets(..));
    assert_eq!(
        stage
            .open_requests()
            .into_iter()
            .filter(deregisters)
            .count(),
        0
    );
}

#[test]
fn a_rehearsed_drain_is_over_when_every_pod_was_answered() {
    let rehearsing = Policy {
        effect: Effect::Rehearsed,
        ..policy()
    };
    let mut stage = Stage::draining(rehearsing, 120.0, vec![pod("web", 30), pod("slow", 600)]);
    stage.answer_pod("web", Outcome::Done);
    stage.answer_pod("slow", Outcome::Done);
    stage.forward_to(7.0);
    let pods = stage.summary().pods;
    assert_eq!((pods.stopping, pods.cut, pods.left), (1, 1, 0));
}
