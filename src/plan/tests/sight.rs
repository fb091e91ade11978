//! Seeing the pods: how patiently a broken LIST or WATCH is begun again, and when the watch is doubted.

use super::stage::{
    Stage, bookmark, failed, first_list, gone, list_anew, next_list, pod, pods, policy, seen,
    silent,
};
use crate::plan::action::{FailureKind, Outcome, Request};
use crate::plan::fact::{Fact, PodNews};

fn is_list(request: &Request) -> bool {
    matches!(request, Request::ListPods(..))
}

fn is_watch(request: &Request) -> bool {
    matches!(request, Request::WatchPods(_))
}

fn is_open(stage: &Stage, pick: impl Fn(&Request) -> bool) -> bool {
    stage.open_requests().iter().any(|request| pick(request))
}

fn verdicts(stage: &Stage) -> usize {
    stage.count(|fact| matches!(fact, Fact::Verdict(..)))
}

/// How long it takes from now to the next LIST.
fn wait_for_list(stage: &mut Stage) -> f64 {
    let before = stage.at;
    while !is_open(stage, is_list) {
        stage.forward_to_next_due();
    }
    stage.at - before
}

#[test]
fn a_list_that_fails_is_asked_for_again_after_a_tenth_of_a_second_and_then_ever_later() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    assert_eq!(stage.limit_of(is_list), Some(17.0));
    for wait in [0.1, 0.2, 0.4, 0.8, 1.5, 1.5, 1.5] {
        stage.answer(&first_list(), failed(FailureKind::ServerError, 500));
        let waited = wait_for_list(&mut stage) / wait;
        assert!((0.8..=1.2).contains(&waited), "{waited} of {wait} s");
    }
}

#[test]
fn what_a_watch_brings_ends_the_growing_patience() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    for _ in 0..4 {
        stage.answer(&first_list(), failed(FailureKind::ServerError, 500));
        wait_for_list(&mut stage);
    }
    stage.answer(&first_list(), pods(vec![pod("web", 30)]));
    stage.watch(bookmark());
    stage.end_watch();
    let waited = wait_for_list(&mut stage);
    assert!((0.08..=0.12).contains(&waited), "{waited} s");
}

#[test]
fn an_empty_first_list_settles_after_one_second_and_not_before() {
    let mut stage = Stage::draining(policy(), 120.0, vec![]);
    stage.forward_to(5.9);
    stage.watch(bookmark());
    assert_eq!(verdicts(&stage), 0);
    stage.forward_to(6.0);
    assert_eq!(verdicts(&stage), 1);
    assert!(stage.summary().pods.is_complete());
}

#[test]
fn an_unseen_eviction_lists_in_place_of_the_watch() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", Outcome::Done);
    stage.forward_to(7.9);
    assert!(is_open(&stage, is_watch));
    stage.forward_to(8.0);
    assert!(is_open(&stage, is_list));
    assert!(!is_open(&stage, is_watch));
}

#[test]
fn an_unseen_eviction_lists_at_once_though_a_broken_watch_would_wait() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", Outcome::Done);
    stage.forward_to(7.99);
    stage.end_watch();
    assert!(!is_open(&stage, is_list));
    stage.forward_to(8.0);
    assert!(is_open(&stage, is_list));
}

#[test]
fn an_unseen_eviction_leaves_a_list_that_is_under_way_alone() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", Outcome::Done);
    stage.forward_to(6.0);
    stage.end_watch();
    wait_for_list(&mut stage);
    let limit = stage.limit_of(is_list);
    stage.forward_to(8.1);
    assert_eq!(stage.limit_of(is_list), limit);
}

#[test]
fn two_doubts_within_a_second_are_two_lists_a_second_apart() {
    let listed = vec![pod("web", 30), pod("api", 30)];
    let mut stage = Stage::draining(policy(), 120.0, listed);
    stage.answer_pod("web", Outcome::Done);
    stage.forward_to(5.4);
    stage.answer_pod("api", Outcome::Done);
    stage.forward_to(8.0);
    stage.answer(
        &list_anew("100"),
        pods(vec![pod("web", 30), pod("api", 30)]),
    );
    stage.forward_to(8.99);
    assert!(!is_open(&stage, is_list));
    stage.forward_to(9.0);
    assert!(is_open(&stage, is_list));
}

#[test]
fn a_list_asked_for_less_than_three_seconds_after_the_answer_is_no_doubt() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", Outcome::Done);
    stage.forward_to(6.0);
    stage.end_watch();
    wait_for_list(&mut stage);
    stage.forward_to(7.0);
    stage.answer(&next_list("100"), pods(vec![pod("web", 30)]));
    assert_eq!(stage.news_of("web"), Vec::<&PodNews>::new());
    stage.forward_to(7.9);
    assert_eq!(stage.pod_calls(), []);
}

#[test]
fn a_pod_that_outlives_its_accepted_eviction_is_evicted_again_with_growing_patience() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    for wait in [1.0, 2.0, 4.0] {
        stage.answer_pod("web", Outcome::Done);
        stage.forward_to(stage.at + 3.0);
        stage.answer(&list_anew("100"), pods(vec![pod("web", 30)]));
        let before = stage.at;
        stage.forward_to_next_pod_call();
        let waited = (stage.at - before) / wait;
        assert!((0.8..=1.2).contains(&waited), "{waited} of {wait} s");
    }
}

#[test]
fn a_pod_that_was_only_missing_from_a_list_is_evicted_when_it_is_seen_again() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    stage.end_watch();
    wait_for_list(&mut stage);
    stage.answer(&next_list("100"), pods(vec![]));
    stage.watch(seen(pod("web", 30)));
    stage.forward_to(stage.at + 0.1);
    assert_eq!(stage.pod_calls(), [("evict", "web", None)]);
    // What was told of it first is not lost, and a second end is an end.
    stage.answer_pod("web", Outcome::Done);
    stage.watch(gone("web"));
    stage.forward_to(stage.at + 1.0);
    assert_eq!(stage.summary().pods.gone, 1);
}

#[test]
fn a_pod_that_is_gone_stays_gone_when_it_is_seen_finished_or_had_its_stop_signal() {
    let finished = || super::PodView {
        progress: super::PodProgress::Finished,
        ..pod("web", 30)
    };
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    stage.watch(gone("web"));
    stage.watch(seen(finished()));
    stage.forward_to(7.0);
    assert_eq!(stage.pod_calls(), []);
    assert_eq!(stage.summary().pods.gone, 1);

    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", Outcome::Done);
    stage.watch(gone("web"));
    stage.watch(seen(pod("web", 30)));
    stage.forward_to(7.0);
    assert_eq!(stage.pod_calls(), []);
    assert_eq!(stage.summary().pods.gone, 1);
}

#[test]
fn a_watch_that_breaks_by_an_error_is_followed_by_a_list_too() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_first(is_watch, silent(FailureKind::Expired));
    let waited = wait_for_list(&mut stage);
    assert!((0.08..=0.12).contains(&waited), "{waited} s");
}
