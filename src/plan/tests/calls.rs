//! The calls for one pod: how long each may take, what follows it, and what is told of the pod in the end.

use std::time::Duration;

use super::stage::{Stage, bookmark, failed, gone, pod, policy, seen, silent, terminating};
use crate::plan::Policy;
use crate::plan::action::{ConnectFailure, FailureKind, Outcome, Request};
use crate::plan::budget::Grace;
use crate::plan::drain::OnBlocked;
use crate::plan::fact::{BlockReason, DeleteReason, Fact, GoneOutcome, LeftReason, PodNews};
use crate::plan::pod::{BlockedWish, Wave};

const UNREACHABLE: FailureKind = FailureKind::Unreachable(ConnectFailure::Refused);

fn is_pod_call(request: &Request) -> bool {
    matches!(request, Request::Evict(..) | Request::Delete(..))
}

fn waiting() -> Policy {
    Policy {
        on_blocked: OnBlocked::Wait,
        ..policy()
    }
}

fn left(stage: &Stage) -> Vec<LeftReason> {
    let facts = stage.facts.iter();
    facts
        .filter_map(|fact| match fact {
            Fact::Pod(_, PodNews::Left { reason, .. }) => Some(*reason),
            _ => None,
        })
        .collect()
}

#[test]
fn an_eviction_may_take_twelve_seconds_and_no_longer_than_the_last_useful_moment() {
    let stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    assert_eq!(stage.limit_of(is_pod_call), Some(17.0));
    // L is 55 - 8 - 30 = 17 s; asked again at about 6 s, an eviction would have until 18 s.
    let mut stage = Stage::draining(policy(), 50.0, vec![pod("web", 30)]);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    stage.forward_to_next_pod_call();
    assert!(stage.at > 5.5, "{} s", stage.at);
    assert_eq!(stage.limit_of(is_pod_call), Some(17.0));
}

#[test]
fn after_the_last_useful_moment_an_eviction_may_take_two_seconds() {
    let stage = Stage::draining(policy(), 20.0, vec![pod("web", 30)]);
    assert_eq!(stage.pod_calls(), [("evict", "web", Some(12))]);
    assert_eq!(stage.limit_of(is_pod_call), Some(7.0));
}

#[test]
fn a_deletion_and_an_eviction_that_no_deletion_follows_have_time_to_the_deadline() {
    let mut stage = Stage::draining(policy(), 20.0, vec![pod("web", 30)]);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    let namespace = Request::ReadNamespace("shop".to_owned());
    stage.answer(&namespace, Outcome::Namespace(BlockedWish::AsConfigured));
    stage.forward_to_next_pod_call();
    assert_eq!(stage.pod_calls(), [("delete", "web", Some(12))]);
    assert_eq!(stage.limit_of(is_pod_call), Some(17.0));
    let mut stage = Stage::draining(waiting(), 20.0, vec![pod("web", 30)]);
    assert_eq!(stage.limit_of(is_pod_call), Some(17.0));
    stage.forward_to(17.0);
    stage.forward_to_next_pod_call();
    assert_eq!(stage.limit_of(is_pod_call), Some(25.0));
}

#[test]
fn a_pod_that_no_call_has_reached_is_evicted_for_two_seconds_before_it_is_deleted() {
    let mut stage = Stage::draining(policy(), 20.0, vec![pod("web", 30)]);
    let mut evictions = 0;
    while let [("evict", "web", _)] = stage.pod_calls()[..] {
        evictions += 1;
        assert!(stage.at < 7.0, "{} s", stage.at);
        stage.answer_pod("web", silent(UNREACHABLE));
        stage.forward_to_next_pod_call();
    }
    assert!((3..=6).contains(&evictions), "{evictions} evictions");
    assert!((7.0..9.0).contains(&stage.at), "{} s", stage.at);
    assert!(matches!(stage.pod_calls()[..], [("delete", "web", _)]));
}

#[test]
fn neither_a_failure_nor_a_refusal_at_the_last_useful_moment_delays_the_deletion() {
    for outcome in [
        failed(FailureKind::ServerError, 500),
        failed(FailureKind::BlockedByBudget, 429),
    ] {
        let mut stage = Stage::draining(policy(), 50.0, vec![pod("web", 30)]);
        stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
        stage.forward_to_next_pod_call();
        // L is 17 s, and so is the call's limit: the answer comes just in time.
        let before = 17.0;
        stage.forward_to_without_limits(before);
        stage.answer_pod("web", outcome);
        stage.forward_to_next_pod_call();
        let waited = stage.at - before;
        assert!(waited.abs() < 1e-6, "{waited} s");
        assert_eq!(stage.pod_calls(), [("delete", "web", None)]);
    }
}

#[test]
fn what_is_told_of_an_eviction_counts_the_calls_made_for_it() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    for _ in 0..2 {
        stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
        stage.forward_to_next_pod_call();
    }
    stage.answer_pod("web", Outcome::Done);
    stage.watch(seen(terminating("web", 30, 30, stage.at)));
    let [blocked, evicted] = &stage.news_of("web")[..] else {
        panic!("two facts, not {:?}", stage.news_of("web"));
    };
    let expected = PodNews::Blocked {
        reason: BlockReason::Budget,
        attempts: 1,
        delete_in: Some(82.0),
    };
    assert_eq!(*blocked, &expected);
    let expected = PodNews::Evicted {
        attempts: 3,
        grace_given: Grace::from_secs(30),
        wave: Wave::Ordinary,
    };
    assert_eq!(*evicted, &expected);
}

#[test]
fn what_is_told_of_a_deletion_says_why() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", failed(FailureKind::NamespaceTerminating, 403));
    stage.forward_to_next_pod_call();
    stage.answer_pod("web", Outcome::Done);
    stage.watch(gone("web"));
    let expected = PodNews::Deleted {
        reason: DeleteReason::NamespaceTerminating,
        attempts: 2,
        grace_given: Grace::from_secs(30),
    };
    assert_eq!(stage.news_of("web").first(), Some(&&expected));
}

#[test]
fn a_grace_that_another_shortens_in_mid_termination_is_the_one_that_counts() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", Outcome::Done);
    stage.watch(seen(terminating("web", 30, 30, 5.0)));
    stage.forward_to(8.0);
    stage.watch(seen(terminating("web", 30, 5, 8.0)));
    stage.forward_to(13.0);
    stage.watch(gone("web"));
    let outcomes: Vec<&PodNews> = stage.news_of("web");
    assert!(
        matches!(
            outcomes[..],
            [
                PodNews::Evicted { .. },
                PodNews::Gone {
                    outcome: GoneOutcome::Cut,
                    ..
                }
            ]
        ),
        "{outcomes:?}"
    );
    let summary = stage.summary();
    assert_eq!(
        (summary.grace_given_seconds, summary.grace_cut_seconds),
        (5, 25)
    );
}

#[test]
fn a_pod_that_uses_up_its_own_grace_was_not_cut() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", Outcome::Done);
    stage.watch(seen(terminating("web", 30, 30, 5.0)));
    stage.forward_to(36.0);
    stage.watch(gone("web"));
    let expected = PodNews::Gone {
        outcome: GoneOutcome::Gone,
        stopped_after: std::time::Duration::from_secs(31),
    };
    assert_eq!(stage.news_of("web").last(), Some(&&expected));
}

#[test]
fn a_pod_left_behind_says_whether_that_was_wanted_forbidden_or_out_of_reach() {
    // Its budget is respected.
    let mut stage = Stage::draining(waiting(), 30.0, vec![pod("web", 30)]);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    stage.forward_to(35.0);
    assert_eq!(left(&stage), [LeftReason::Wait]);
    // No budget was ever asked.
    let mut stage = Stage::draining(waiting(), 30.0, vec![pod("web", 30)]);
    stage.forward_to(35.0);
    assert_eq!(left(&stage), [LeftReason::Unreachable]);
    // A budget refused once, and the deletion that was to follow got no answer.
    let mut stage = Stage::draining(policy(), 30.0, vec![pod("web", 30)]);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    stage.forward_to(35.0);
    assert_eq!(left(&stage), [LeftReason::Unreachable]);
    // Neither is allowed.
    let mut stage = Stage::draining(policy(), 30.0, vec![pod("web", 30)]);
    for _ in 0..3 {
        stage.answer_pod("web", failed(FailureKind::Forbidden, 403));
        stage.forward_to_next_pod_call();
    }
    stage.forward_to(35.0);
    assert_eq!(left(&stage), [LeftReason::Forbidden]);
}

#[test]
fn an_eviction_that_did_nothing_counts_as_a_refusal_of_a_pod_that_is_to_wait() {
    let mut stage = Stage::draining(waiting(), 30.0, vec![pod("web", 30)]);
    stage.answer_pod("web", Outcome::Done);
    stage.forward_to(8.0);
    stage.answer(&super::list_anew("100"), super::pods(vec![pod("web", 30)]));
    stage.watch(bookmark());
    stage.forward_to(35.0);
    assert_eq!(left(&stage), [LeftReason::Wait]);
}

#[test]
fn a_wait_that_has_become_pointless_wakes_nobody() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", Outcome::Done);
    stage.watch(seen(terminating("web", 30, 30, 5.0)));
    stage.forward_to(7.0);
    // The pod's eviction would have been looked for at 8 s.
    assert_eq!(stage.due(), Some(10.0));
}

#[test]
fn a_call_whose_answer_was_lost_is_told_when_its_effect_is_seen() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", silent(FailureKind::Lost));
    stage.watch(seen(terminating("web", 30, 30, 5.0)));
    let expected = PodNews::Evicted {
        attempts: 1,
        grace_given: Grace::from_secs(30),
        wave: Wave::Ordinary,
    };
    assert_eq!(stage.news_of("web"), [&expected]);
    stage.watch(gone("web"));
    stage.forward_to(10.0);
    let summary = stage.summary();
    assert_eq!(summary.last_eviction_after, Some(Duration::ZERO));
    assert_eq!(summary.pods.gone, 1);
}

#[test]
fn the_kubelets_last_deletion_of_a_pod_that_waits_is_no_shortened_grace() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    stage.watch(seen(terminating("web", 30, 0, 8.0)));
    stage.watch(gone("web"));
    stage.forward_to(10.0);
    assert_eq!(stage.summary().pods.gone, 1);
    assert_eq!(stage.summary().grace_cut_seconds, 0);
}

#[test]
fn a_pod_that_goes_while_its_turn_is_to_come_is_not_called_any_more() {
    // Its name may be another's by now, and an eviction with a wrong UID spends the budget before it is refused.
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    stage.watch(gone("web"));
    stage.forward_to(100.0);
    assert_eq!(stage.pod_calls(), []);
}

#[test]
fn a_pod_that_goes_gives_back_its_slot_though_its_call_is_not_answered() {
    // The server thinks ten seconds about the UID of a pending pod of the same name.
    let policy = Policy {
        max_in_flight: 1,
        ..policy()
    };
    let mut stage = Stage::draining(policy, 120.0, vec![pod("a", 30), pod("b", 30)]);
    assert_eq!(stage.pod_calls(), [("evict", "a", None)]);
    stage.watch(gone("a"));
    assert_eq!(stage.pod_calls(), [("evict", "b", None)]);
}

#[test]
fn in_a_terminating_namespace_a_deletion_repeats_the_grace_of_an_eviction_that_may_have_taken_effect()
 {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("slow", 600)]);
    assert_eq!(stage.pod_calls(), [("evict", "slow", Some(112))]);
    stage.answer_pod("slow", silent(FailureKind::Lost));
    stage.forward_to_next_pod_call();
    stage.forward_to(stage.at + 2.0);
    // The namespace refuses before it looks at the pod, so nothing is known of the first call.
    stage.answer_pod("slow", failed(FailureKind::NamespaceTerminating, 403));
    stage.forward_to_next_pod_call();
    assert_eq!(stage.pod_calls(), [("delete", "slow", Some(112))]);
}

#[test]
fn a_refusal_is_no_proof_while_a_slow_server_may_still_work_on_an_earlier_call() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("slow", 600)]);
    assert_eq!(stage.pod_calls(), [("evict", "slow", Some(112))]);
    stage.answer_pod("slow", silent(FailureKind::Lost));
    stage.forward_to_next_pod_call();
    assert_eq!(stage.pod_calls(), [("evict", "slow", Some(112))]);
    let mut graces = Vec::new();
    while stage.at < 25.0 {
        stage.answer_pod("slow", failed(FailureKind::BlockedByBudget, 429));
        let refused = stage.at;
        stage.forward_to_next_pod_call();
        let [(_, _, Some(grace))] = stage.pod_calls()[..] else {
            panic!("{:?}", stage.pod_calls());
        };
        // The first call left at 5 s.
        let is_settled = refused >= 5.0 + 15.0;
        assert_eq!(grace < 112, is_settled, "{grace} after {refused} s");
        graces.push(grace);
    }
    assert!(graces.len() > 3, "{graces:?}");
}
