//! An API server that falls silent: no new calls, a probe every two seconds, and what follows when it is heard again.

use super::stage::{
    Stage, failed, first_list, gone, list_anew, next_list, pod, pods, policy, seen, silent,
    terminating,
};
use crate::plan::Policy;
use crate::plan::action::{FailureKind, Freshness, Outcome, Request, Route};
use crate::plan::pod::{PodProgress, PodView};

fn two_at_once() -> Policy {
    Policy {
        max_in_flight: 2,
        ..policy()
    }
}

/// Three pods, two of them under way since 5 s.
fn begun() -> Stage {
    let listed = vec![pod("a", 30), pod("b", 30), pod("c", 30)];
    let stage = Stage::draining(two_at_once(), 120.0, listed);
    assert_eq!(names(&stage), ["a", "b"]);
    stage
}

/// The pods with a call under way, the oldest first.
fn names(stage: &Stage) -> Vec<&str> {
    let calls = stage.pod_calls().into_iter();
    calls.map(|(_, name, _)| name).collect()
}

fn lists(stage: &Stage) -> usize {
    let requests = stage.open_requests().into_iter();
    requests
        .filter(|request| matches!(request, Request::ListPods(..)))
        .count()
}

#[test]
fn after_three_seconds_of_silence_the_oldest_call_is_sent_again_every_two_seconds() {
    let mut stage = begun();
    stage.forward_to(7.9);
    assert_eq!(names(&stage), ["a", "b"]);
    for (until, expected) in [
        (8.0, ["b", "a"]),
        (9.9, ["b", "a"]),
        (10.0, ["a", "b"]),
        (12.0, ["b", "a"]),
        (14.0, ["a", "b"]),
    ] {
        stage.forward_to(until);
        assert_eq!(names(&stage), expected, "at {until} s");
    }
}

#[test]
fn an_answer_puts_the_silence_off_and_a_new_call_does_not() {
    let mut stage = begun();
    stage.forward_to(7.0);
    stage.answer_pod("a", failed(FailureKind::BlockedByBudget, 429));
    assert_eq!(names(&stage), ["b", "c"]);
    stage.forward_to(9.9);
    assert_eq!(names(&stage), ["b", "c"]);
    stage.forward_to(10.0);
    assert_eq!(names(&stage), ["c", "b"]);
}

#[test]
fn in_a_silence_no_call_begins_but_probes() {
    let mut stage = begun();
    stage.forward_to(6.0);
    stage.answer_pod("a", silent(FailureKind::TimedOut));
    assert_eq!(names(&stage), ["b", "c"]);
    stage.forward_to(9.5);
    // A free slot is not taken until the next probe is due, and then by who was tried least.
    stage.answer_pod("c", silent(FailureKind::TimedOut));
    assert_eq!(names(&stage), ["b"]);
    stage.forward_to(9.9);
    assert_eq!(names(&stage), ["b"]);
    stage.forward_to(10.0);
    assert_eq!(names(&stage).len(), 2);
}

#[test]
fn the_answer_to_a_probe_ends_older_calls_which_a_list_looks_up_and_which_are_sent_again_at_once() {
    let mut stage = begun();
    stage.forward_to(8.5);
    assert_eq!(names(&stage), ["b", "a"]);
    stage.answer_pod("a", Outcome::Done);
    // b's call is lost, and c takes the place of a's.
    assert_eq!(names(&stage), ["c"]);
    assert_eq!(lists(&stage), 1);
    stage.answer(
        &next_list("100"),
        pods(vec![
            terminating("a", 30, 30, 8.5),
            pod("b", 30),
            pod("c", 30),
        ]),
    );
    assert_eq!(names(&stage), ["c", "b"]);
}

#[test]
fn a_probe_whose_pod_is_gone_before_the_answer_ends_the_silence_too() {
    let mut stage = begun();
    stage.forward_to(8.5);
    assert_eq!(names(&stage), ["b", "a"]);
    stage.watch(gone("a"));
    // b's call is lost, and c takes the place of a's.
    assert_eq!(names(&stage), ["c"]);
    assert_eq!(lists(&stage), 0);
    stage.forward_to(9.5);
    assert_eq!(names(&stage), ["c", "b"]);
}

#[test]
fn a_probe_whose_pod_has_ended_by_itself_says_nothing_of_the_server() {
    let mut stage = begun();
    stage.forward_to(8.5);
    assert_eq!(names(&stage), ["b", "a"]);
    stage.watch(seen(PodView {
        progress: PodProgress::Finished,
        ..pod("a", 30)
    }));
    assert_eq!(names(&stage), ["b"]);
}

#[test]
fn a_pod_that_goes_while_its_call_hangs_says_nothing_of_the_server() {
    let mut stage = begun();
    stage.forward_to(8.5);
    assert_eq!(names(&stage), ["b", "a"]);
    stage.watch(gone("b"));
    assert_eq!(names(&stage), ["a"]);
}

#[test]
fn what_took_effect_before_the_silence_is_not_sent_again() {
    let mut stage = begun();
    stage.forward_to(8.5);
    stage.answer_pod("a", Outcome::Done);
    stage.answer(
        &next_list("100"),
        pods(vec![
            terminating("a", 30, 30, 8.5),
            terminating("b", 30, 30, 5.0),
            pod("c", 30),
        ]),
    );
    stage.answer_pod("c", Outcome::Done);
    stage.watch(seen(terminating("c", 30, 30, 8.5)));
    stage.forward_to(12.0);
    assert_eq!(names(&stage), Vec::<&str>::new());
    assert_eq!(stage.news_of("b").len(), 1, "{:?}", stage.news_of("b"));
}

#[test]
fn a_list_that_does_not_come_keeps_nobody_waiting_for_more_than_a_second() {
    let mut stage = begun();
    stage.forward_to(8.5);
    stage.answer_pod("a", Outcome::Done);
    stage.answer_pod("c", Outcome::Done);
    stage.forward_to(9.49);
    assert_eq!(names(&stage), Vec::<&str>::new());
    stage.forward_to(9.5);
    assert_eq!(names(&stage), ["b"]);
}

#[test]
fn an_answer_that_was_only_late_ends_no_other_call() {
    let mut stage = begun();
    stage.forward_to(8.5);
    assert_eq!(names(&stage), ["b", "a"]);
    stage.answer_pod("b", Outcome::Done);
    assert_eq!(names(&stage), ["a", "c"]);
    assert_eq!(lists(&stage), 0);
}

#[test]
fn a_probe_repeats_the_grace_of_the_call_it_replaces_as_does_what_follows_it() {
    let mut stage = Stage::draining(two_at_once(), 120.0, vec![pod("a", 600), pod("b", 600)]);
    let first = [("evict", "a", Some(112)), ("evict", "b", Some(112))];
    assert_eq!(stage.pod_calls(), first);
    stage.forward_to(8.0);
    let probed = [("evict", "b", Some(112)), ("evict", "a", Some(112))];
    assert_eq!(stage.pod_calls(), probed);
    stage.answer_pod("a", Outcome::Done);
    stage.forward_to(9.0);
    assert_eq!(stage.pod_calls(), [("evict", "b", Some(112))]);
}

#[test]
fn a_call_that_follows_a_lost_one_is_not_cut_short() {
    let mut stage = begun();
    stage.forward_to(8.5);
    stage.answer_pod("a", failed(FailureKind::Throttled(None), 429));
    stage.answer_pod("c", failed(FailureKind::Forbidden, 403));
    stage.answer(
        &next_list("100"),
        pods(vec![pod("a", 30), pod("b", 30), pod("c", 30)]),
    );
    assert_eq!(names(&stage), ["b"]);
    let limit =
        stage.limit_of(|request| matches!(request, Request::Evict(pod, _) if pod.name == "b"));
    assert_eq!(limit, Some(8.5 + 12.0));
    while stage.at < 20.4 {
        stage.forward_to((stage.at + 0.5).min(20.4));
        let others: Vec<String> = names(&stage)
            .into_iter()
            .filter(|name| *name != "b")
            .map(str::to_owned)
            .collect();
        for name in others {
            stage.answer_pod(&name, failed(FailureKind::Throttled(None), 429));
        }
    }
    let limit =
        stage.limit_of(|request| matches!(request, Request::Evict(pod, _) if pod.name == "b"));
    assert_eq!(limit, Some(8.5 + 12.0));
}

#[test]
fn a_server_slower_than_probes_are_patient_is_given_its_twelve_seconds_in_the_end() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    let is_call = |request: &Request| matches!(request, Request::Evict(..));
    // Ten probes, the first of them at 8 s.
    for probe in 0..10 {
        stage.forward_to(8.0 + 2.0 * f64::from(probe));
        assert_eq!(stage.limit_of(is_call), Some(stage.at + 12.0));
    }
    let last = stage.at;
    stage.forward_to(last + 11.9);
    assert_eq!(stage.limit_of(is_call), Some(last + 12.0));
    stage.answer_pod("web", Outcome::Done);
    assert_eq!(stage.pod_calls(), []);
}

#[test]
fn a_lost_connection_ends_the_silence() {
    let mut stage = begun();
    stage.forward_to(8.5);
    stage.answer_pod("b", silent(FailureKind::Lost));
    stage.answer_pod("a", silent(FailureKind::Lost));
    assert_eq!(names(&stage), ["c"]);
    stage.forward_to(8.6);
    assert_eq!(names(&stage).len(), 2);
}

#[test]
fn a_list_that_is_not_answered_gets_another_beside_it_every_two_seconds() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    stage.forward_to(7.9);
    assert_eq!(lists(&stage), 1);
    stage.forward_to(8.0);
    assert_eq!(lists(&stage), 2);
    stage.forward_to(14.5);
    assert_eq!(lists(&stage), 2);
    // The first keeps its twelve seconds.
    let limits = stage.limits_of(|request| matches!(request, Request::ListPods(..)));
    assert_eq!(limits, [Some(17.0), Some(16.0)]);
    // The younger one is answered: one of them is enough.
    stage.answer_youngest_list(pods(vec![pod("web", 30)]));
    assert_eq!(lists(&stage), 0);
    assert_eq!(stage.pod_calls(), [("evict", "web", None)]);
}

#[test]
fn an_answer_to_the_second_list_that_is_none_ends_the_first_too() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    stage.forward_to(8.5);
    stage.answer_youngest_list(failed(FailureKind::Throttled(None), 429));
    assert_eq!(lists(&stage), 0);
    stage.forward_to(8.7);
    assert_eq!(lists(&stage), 1);
}

#[test]
fn a_first_list_that_comes_in_the_end_ends_the_second() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    stage.forward_to(8.5);
    stage.answer(&first_list(), pods(vec![pod("web", 30)]));
    assert_eq!(lists(&stage), 0);
    stage.forward_to(11.0);
    assert_eq!(lists(&stage), 0);
}

#[test]
fn the_second_probe_looks_whether_another_server_answers() {
    let mut stage = begun();
    stage.forward_to(9.9);
    assert_eq!(lists(&stage), 0);
    stage.forward_to(10.0);
    assert!(stage.open_requests().contains(&&list_anew("100")));
    // So does the second LIST beside one that is not answered.
    let mut stage = Stage::interrupted(policy(), 120.0);
    let first_anew = Request::ListPods(Freshness::Cached, Route::New);
    stage.forward_to(9.9);
    assert!(!stage.open_requests().contains(&&first_anew));
    stage.forward_to(10.0);
    assert!(stage.open_requests().contains(&&first_anew));
}
