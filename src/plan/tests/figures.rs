//! The receipt and the progress: every figure of them.

use std::time::Duration;

use super::stage::{
    Stage, bookmark, describe, failed, gone, pod, policy, seen, silent, target, terminating,
    with_group,
};
use super::{Owner, PodView};
use crate::plan::action::{FailureKind, Outcome, Ports, Request, TargetState};
use crate::plan::fact::{Fact, Requests, Sighting, Tally};

fn progress(stage: &Stage) -> Vec<(u32, u32)> {
    let facts = stage.facts.iter();
    facts
        .filter_map(|fact| match fact {
            Fact::DrainProgress {
                pods_gone,
                pods_total,
            } => Some((*pods_gone, *pods_total)),
            _ => None,
        })
        .collect()
}

#[test]
fn every_pod_is_counted_where_it_stands_at_the_verdict() {
    let daemon = PodView {
        owner: Some(Owner {
            kind: "DaemonSet".to_owned(),
            name: "cni".to_owned(),
        }),
        ..pod("cni", 30)
    };
    let mut listed: Vec<PodView> = [
        ("stopped", 30),
        ("stopping", 300),
        ("slow", 600),
        ("refused-once", 30),
        ("deleted", 30),
    ]
    .map(|(name, grace)| pod(name, grace))
    .to_vec();
    listed.push(daemon);
    let mut stage = Stage::draining(policy(), 120.0, listed);
    // Gone within its own grace, and with all of a shorter one that somebody else gave it.
    stage.answer_pod("stopped", Outcome::Done);
    stage.watch(seen(terminating("stopped", 30, 30, 5.0)));
    stage.watch(seen(terminating("cut", 30, 3, 5.0)));
    stage.answer_pod("stopping", silent(FailureKind::Lost));
    stage.watch(seen(terminating("stopping", 300, 300, -200.0)));
    stage.answer_pod("slow", Outcome::Done);
    stage.watch(seen(terminating("slow", 600, 112, 5.0)));
    stage.answer_pod("deleted", failed(FailureKind::NamespaceTerminating, 403));
    stage.forward_to(5.0);
    stage.answer_pod("deleted", Outcome::Done);
    stage.watch(seen(terminating("deleted", 30, 30, 5.0)));
    stage.answer_pod("refused-once", failed(FailureKind::BlockedByBudget, 429));
    stage.forward_to(8.0);
    stage.watch(gone("cut"));
    stage.watch(gone("stopped"));
    stage.answer_pod("refused-once", Outcome::Done);
    stage.watch(gone("refused-once"));
    // Accepted so late that the watch has not shown it yet: one with its own grace, one with what is left.
    stage.forward_to(60.0);
    stage.watch(bookmark());
    stage.forward_to(108.0);
    stage.watch(seen(pod("accepted", 5)));
    stage.answer_pod("accepted", Outcome::Done);
    stage.watch(seen(pod("accepted-short", 60)));
    stage.answer_pod("accepted-short", Outcome::Done);
    // Still under way.
    stage.watch(seen(pod("calling", 5)));
    stage.forward_to(110.0);
    let summary = stage.summary();
    assert_eq!(
        summary.pods,
        Tally {
            gone: 2,
            stopping: 3,
            cut: 3,
            left: 1,
            blocked: 1,
            deleted: 1,
            ignored: 1,
            sighting: Sighting::Listed,
        }
    );
    // 30 + 3 + 300 + 112 + 30 + 30, and 27 + 488 cut.
    assert_eq!(
        (summary.grace_given_seconds, summary.grace_cut_seconds),
        (505, 515)
    );
    assert_eq!(summary.last_eviction_after, Some(Duration::from_secs(103)));
    assert_eq!(summary.all_gone_after, None);
    assert_eq!(summary.duration, Duration::from_secs(105));
}

#[test]
fn a_pod_that_ends_more_than_a_second_past_its_time_is_cut() {
    // S is 117 s, and the API server's timestamps have whole seconds.
    for (since, cut) in [(87.0, 0), (88.0, 0), (88.1, 1), (89.0, 1), (100.0, 1)] {
        let mut stage = Stage::draining(policy(), 120.0, vec![]);
        stage.watch(seen(terminating("web", 30, 30, since)));
        stage.forward_to(110.0);
        let pods = stage.summary().pods;
        assert_eq!((pods.cut, pods.stopping), (cut, 1 - cut), "since {since} s");
    }
}

#[test]
fn the_progress_is_told_every_ten_seconds_until_the_verdict() {
    let listed = vec![pod("a", 30), pod("b", 30), pod("c", 30)];
    let mut stage = Stage::draining(policy(), 120.0, listed);
    for name in ["a", "b", "c"] {
        stage.answer_pod(name, Outcome::Done);
        stage.watch(seen(terminating(name, 30, 30, 5.0)));
    }
    stage.forward_to(14.9);
    assert_eq!(progress(&stage), []);
    stage.watch(gone("a"));
    stage.forward_to(15.0);
    assert_eq!(progress(&stage), [(1, 3)]);
    stage.watch(gone("b"));
    stage.forward_to(25.0);
    assert_eq!(progress(&stage), [(1, 3), (2, 3)]);
    stage.watch(gone("c"));
    stage.forward_to(60.0);
    assert_eq!(progress(&stage), [(1, 3), (2, 3)]);
}

#[test]
fn requests_are_counted_from_the_notice_on_by_where_they_go() {
    let mut stage = Stage::draining(with_group(Ports::All), 120.0, vec![pod("web", 30)]);
    for _ in 0..3 {
        stage.answer_pod("web", failed(FailureKind::Throttled(None), 429));
        stage.forward_to_next_pod_call();
    }
    stage.answer_pod("web", failed(FailureKind::ServerError, 500));
    stage.forward_to_next_pod_call();
    stage.answer_pod("web", Outcome::Done);
    stage.watch(gone("web"));
    stage.answer(
        &describe(Ports::All),
        failed(FailureKind::Throttled(None), 429),
    );
    stage.forward_to(9.0);
    let registered = Outcome::Targets(vec![target(80, TargetState::Draining)]);
    stage.forward_to(10.0);
    stage.answer(
        &Request::ReadNotice,
        failed(FailureKind::Throttled(None), 429),
    );
    stage.answer(&describe(Ports::All), registered);
    assert_eq!(
        stage.summary().requests,
        Requests {
            // The node read and patched, the notice's event, LIST and WATCH, five evictions.
            api: 11,
            api_429: 3,
            elb: 2,
            imds: 1,
        }
    );
    assert_eq!(stage.summary().pods.gone, 1);
}

#[test]
fn without_a_call_that_took_effect_there_is_no_last_eviction() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    stage.watch(gone("web"));
    stage.forward_to(7.0);
    let summary = stage.summary();
    assert_eq!(summary.last_eviction_after, None);
    assert_eq!(summary.all_gone_after, Some(Duration::ZERO));
    assert_eq!(summary.duration, Duration::from_secs(1));
}
