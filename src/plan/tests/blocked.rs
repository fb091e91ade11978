//! Pods that are refused: their condition, their owners' wishes, and the controllers that put them back.

use std::time::Duration;

use super::stage::{Stage, failed, gone, pod, policy, seen, wall};
use crate::plan::action::{FailureKind, Outcome, Request};
use crate::plan::pod::{BlockedWish, PodView};

fn blocked() -> Outcome {
    failed(FailureKind::BlockedByBudget, 429)
}

fn marks(stage: &Stage) -> usize {
    let is_mark = |request: &&&Request| matches!(request, Request::MarkDisruption(_));
    stage.open_requests().iter().filter(is_mark).count()
}

fn answer_namespace(stage: &mut Stage, wish: BlockedWish) {
    let shop = Request::ReadNamespace("shop".to_owned());
    stage.answer(&shop, Outcome::Namespace(wish));
}

/// Refuses every eviction up to `seconds`.
fn refuse_until(stage: &mut Stage, seconds: f64) {
    while stage.at < seconds {
        while !stage.pod_calls().is_empty() {
            stage.answer_pod("web", blocked());
        }
        stage.forward_to((stage.at + 0.25).min(seconds));
    }
}

#[test]
fn a_pod_gets_its_condition_a_second_before_it_is_deleted() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", blocked());
    answer_namespace(&mut stage, BlockedWish::AsConfigured);
    // L is at 87 s.
    refuse_until(&mut stage, 85.75);
    assert_eq!(marks(&stage), 0);
    refuse_until(&mut stage, 86.0);
    assert_eq!(marks(&stage), 1);
    refuse_until(&mut stage, 86.75);
    stage.forward_to(87.0);
    assert_eq!(stage.pod_calls(), [("delete", "web", None)]);
}

#[test]
fn a_pod_whose_owner_forbids_it_is_not_deleted() {
    let waits = PodView {
        when_blocked: BlockedWish::Wait,
        ..pod("web", 30)
    };
    let mut stage = Stage::draining(policy(), 120.0, vec![waits]);
    refuse_until(&mut stage, 110.0);
    let asked = Request::ReadNamespace("shop".to_owned());
    assert!(!stage.open_requests().contains(&&asked));
    assert_eq!(marks(&stage), 0);
    assert!(stage.pod_calls().iter().all(|(verb, ..)| *verb == "evict"));
    assert_eq!(stage.summary().pods.left, 1);
    assert_eq!(stage.summary().pods.deleted, 0);
}

#[test]
fn a_namespace_is_asked_once_at_the_first_refusal_in_it_and_may_forbid_deletions() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("api", 30), pod("web", 30)]);
    let asked = Request::ReadNamespace("shop".to_owned());
    assert!(!stage.open_requests().contains(&&asked));
    stage.answer_pod("api", blocked());
    stage.answer_pod("web", blocked());
    answer_namespace(&mut stage, BlockedWish::Wait);
    assert!(!stage.open_requests().contains(&&asked));
    stage.forward_to(100.0);
    let calls = stage.pod_calls();
    assert!(calls.iter().all(|(verb, ..)| *verb == "evict"), "{calls:?}");
    assert_eq!(marks(&stage), 0);
}

#[test]
fn seen_too_late_a_deletion_waits_two_seconds_for_the_namespace_and_no_longer() {
    let refused = || {
        let mut stage = Stage::draining(policy(), 30.0, vec![pod("web", 60)]);
        stage.answer_pod("web", blocked());
        stage
    };
    let mut stage = refused();
    answer_namespace(&mut stage, BlockedWish::AsConfigured);
    stage.forward_to_next_pod_call();
    assert!((stage.at - 5.0).abs() < 1e-6, "{}", stage.at);
    assert_eq!(stage.pod_calls(), [("delete", "web", Some(22))]);
    let mut stage = refused();
    refuse_until(&mut stage, 7.0);
    assert_eq!(stage.pod_calls(), [("delete", "web", Some(20))]);
}

#[test]
fn what_a_controller_puts_onto_the_cordoned_node_is_evicted_three_times() {
    let again = |number: u32| PodView {
        created: Some(wall(7.0) + Duration::from_secs(number.into())),
        ..pod(&format!("web-{number}"), 30)
    };
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", Outcome::Done);
    stage.watch(gone("web"));
    for number in 1..=3 {
        let name = format!("web-{number}");
        stage.watch(seen(again(number)));
        assert_eq!(stage.pod_calls(), [("evict", name.as_str(), None)]);
        stage.answer_pod(&name, Outcome::Done);
        stage.watch(gone(&name));
    }
    stage.watch(seen(again(4)));
    assert_eq!(stage.pod_calls(), []);
    let older = PodView {
        created: Some(wall(1.0)),
        ..pod("older", 30)
    };
    stage.watch(seen(older));
    assert_eq!(stage.pod_calls(), [("evict", "older", None)]);
}
