//! Pods that serve requests which come through this node only stop when those have stopped coming.

use super::super::stage::{Front, Stage, failed, node, pods, seen, with_group};
use super::{
    NODE_PORT, binding, by_bindings, calls, deregister, found, front, look, news, service, web,
};
use crate::plan::Policy;
use crate::plan::action::{FailureKind, Outcome, Ports, Request, TargetState};
use crate::plan::binding::{BalancerKind, Binding, TargetType, TrafficPolicy};
use crate::plan::fact::TargetNews;
use crate::plan::pod::{PodPort, PodView};

/// An agent before this front with these pods, `left` seconds before the deadline, five seconds after its start.
fn interrupted(policy: Policy, front: Front, left: f64, listed: Vec<PodView>) -> Stage {
    let mut stage = Stage::before(policy, Some(front)).identified();
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    stage.forward_to(5.0);
    let notice = stage.notice(left);
    stage.answer(&Request::ReadNotice, notice);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    stage.answer_first(
        |request| matches!(request, Request::Cordon(_)),
        Outcome::Node(node()),
    );
    stage.answer(&super::super::stage::first_list(), pods(listed));
    stage
}

fn local(bindings: Vec<Binding>) -> Front {
    front(bindings, TrafficPolicy::Local)
}

/// When the first pod is called for, in seconds after the notice.
fn first_pod(stage: &mut Stage) -> f64 {
    stage.forward_to_next_pod_call();
    stage.at - 5.0
}

/// Lets the group drain at the first look, and says when that was.
fn drains(stage: &mut Stage, found_in: TargetState) -> f64 {
    let group = binding().group;
    while calls(stage).is_empty() {
        stage.forward_to_next_due();
    }
    stage.answer(&look(&group), found(found_in));
    stage.at - 5.0
}

#[test]
fn a_pod_behind_a_local_service_starts_when_its_group_has_settled() {
    for (kind, settling) in [
        (Some(BalancerKind::Application), 25.0),
        (Some(BalancerKind::Network), 30.0),
        (None, 30.0),
    ] {
        let bindings = vec![Binding { kind, ..binding() }];
        let mut stage = interrupted(by_bindings(), local(bindings), 120.0, vec![web("a", 30)]);
        let drained = drains(&mut stage, TargetState::Draining);
        let started = first_pod(&mut stage);
        assert!(
            (started - drained - settling).abs() < 1e-6,
            "{kind:?}: {started} s"
        );
        let has_settled = |(_, news): &(_, &TargetNews)| **news == TargetNews::Settled;
        assert!(news(&stage).iter().any(has_settled), "{kind:?}");
    }
}

#[test]
fn a_pod_that_any_node_leads_to_is_not_held() {
    let cluster = front(vec![binding()], TrafficPolicy::Cluster);
    let stage = interrupted(by_bindings(), cluster, 120.0, vec![web("a", 30)]);
    assert_eq!(stage.pod_calls(), [("evict", "a", None)]);
}

#[test]
fn a_pod_of_another_service_is_not_held() {
    let mut stage = interrupted(
        by_bindings(),
        local(vec![binding()]),
        120.0,
        vec![web("a", 30), super::super::stage::pod("b", 30)],
    );
    assert_eq!(stage.pod_calls(), [("evict", "b", None)]);
    stage.watch(seen(web("late", 30)));
    assert_eq!(stage.pod_calls().len(), 1);
}

#[test]
fn nobody_is_held_beyond_two_seconds_before_the_last_useful_moment() {
    // D = 60, S = 52, L = 22.
    let mut stage = interrupted(
        by_bindings(),
        local(vec![binding()]),
        60.0,
        vec![web("a", 30)],
    );
    drains(&mut stage, TargetState::Draining);
    assert!(
        (first_pod(&mut stage) - 20.0).abs() < 1e-6,
        "{} s",
        stage.at
    );
    // The group is never heard of.
    let mut stage = interrupted(
        by_bindings(),
        local(vec![binding()]),
        60.0,
        vec![web("a", 30)],
    );
    assert!(
        (first_pod(&mut stage) - 20.0).abs() < 1e-6,
        "{} s",
        stage.at
    );
}

#[test]
fn a_group_that_will_not_let_go_lets_its_pods_go_at_once() {
    let mut stage = interrupted(
        by_bindings(),
        local(vec![binding()]),
        120.0,
        vec![web("a", 30)],
    );
    drains(&mut stage, TargetState::Registered);
    assert_eq!(stage.pod_calls(), []);
    stage.answer(
        &deregister(&binding().group),
        failed(FailureKind::Forbidden, 403),
    );
    assert_eq!(stage.pod_calls(), [("evict", "a", None)]);
}

#[test]
fn a_group_that_never_led_here_holds_nobody() {
    let mut stage = interrupted(
        by_bindings(),
        local(vec![binding()]),
        120.0,
        vec![web("a", 30)],
    );
    drains(&mut stage, TargetState::NotRegistered);
    assert_eq!(stage.pod_calls(), [("evict", "a", None)]);
}

#[test]
fn a_pod_that_listens_on_the_registered_port_of_the_node_is_held() {
    let listening = |port| PodView {
        ports: vec![PodPort {
            name: None,
            number: 8080,
            host: Some(port),
        }],
        ..super::super::stage::pod("gateway", 30)
    };
    let policy = || with_group(Ports::Only(NODE_PORT));
    let stage = interrupted(
        policy(),
        Front::default(),
        120.0,
        vec![listening(NODE_PORT)],
    );
    assert_eq!(stage.pod_calls(), []);
    let stage = interrupted(policy(), Front::default(), 120.0, vec![listening(443)]);
    assert_eq!(stage.pod_calls().len(), 1);
}

#[test]
fn as_long_as_a_groups_ports_are_not_known_pods_behind_any_node_port_wait_two_seconds() {
    let policy = || with_group(Ports::All);
    let listed = || vec![web("a", 30)];
    let mut stage = interrupted(policy(), local(vec![]), 120.0, listed());
    assert!((first_pod(&mut stage) - 2.0).abs() < 1e-6, "{} s", stage.at);
    // The look tells that it is another port.
    let mut stage = interrupted(policy(), local(vec![]), 120.0, listed());
    let other = super::super::stage::target(443, TargetState::Registered);
    stage.answer(
        &super::super::stage::describe(Ports::All),
        Outcome::Targets(vec![other]),
    );
    assert_eq!(stage.pod_calls(), [("evict", "a", None)]);
}

#[test]
fn what_nobody_has_told_yet_is_waited_for_two_seconds() {
    let policy = by_bindings;
    let mut stage = Stage::before(policy(), None).identified();
    let notice = stage.notice(120.0);
    // The notice is there at the start: nothing was found out before.
    stage.answer(&Request::ReadNotice, notice);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    stage.answer(&super::super::stage::first_list(), pods(vec![web("a", 30)]));
    assert_eq!(stage.pod_calls(), []);
    stage.forward_to_next_pod_call();
    assert!((stage.at - 2.0).abs() < 1e-6, "{} s", stage.at);
}

#[test]
fn pods_that_are_registered_by_their_own_address_go_first() {
    let by_address = Binding {
        target_type: TargetType::Ip,
        ..binding()
    };
    let narrow = Policy {
        max_in_flight: 1,
        ..by_bindings()
    };
    let mut front = front(vec![by_address], TrafficPolicy::Cluster);
    front.services = vec![service(TrafficPolicy::Cluster)];
    let urgent = PodView {
        progress: crate::plan::pod::PodProgress::Pending,
        ..super::super::stage::pod("a", 60)
    };
    let stage = interrupted(narrow, front, 120.0, vec![urgent, web("b", 5)]);
    assert_eq!(stage.pod_calls(), [("evict", "b", None)]);
}

#[test]
fn a_group_that_drains_already_holds_the_pods_behind_all_its_ports() {
    // An agent that was restarted: what was deregistered has not settled yet.
    let bindings = vec![Binding {
        service: super::named("not-known-yet"),
        ..binding()
    }];
    let mut stage = interrupted(by_bindings(), local(bindings), 39.0, vec![web("a", 5)]);
    let draining = super::super::stage::target(NODE_PORT, TargetState::Draining);
    stage.answer(
        &super::super::stage::describe(Ports::All),
        Outcome::Targets(vec![draining]),
    );
    assert_eq!(stage.pod_calls(), []);
}

#[test]
fn pods_behind_a_group_that_is_left_to_its_controller_wait_although_its_ports_are_not_known() {
    // Named without a port, and bound as well.
    let named = Policy {
        discover: by_bindings().discover,
        ..with_group(Ports::All)
    };
    let orphan = Binding {
        service: super::named("gone"),
        ..binding()
    };
    let mut stage = Stage::before(named, Some(local(vec![orphan]))).identified();
    while stage.at < 40.0 {
        stage.answer(&Request::ReadNotice, Outcome::Notice(None));
        stage.forward_to(stage.at + 5.0);
    }
    let notice = stage.notice(120.0);
    stage.answer(&Request::ReadNotice, notice);
    let listed = pods(vec![web("a", 30)]);
    stage.answer(&super::super::stage::first_list(), listed);
    stage.forward_to(42.2);
    assert_eq!(stage.pod_calls(), []);
}
