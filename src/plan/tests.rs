//! Exact-output tests: given an input, expect exactly these requests and these facts.
// A test looks for one kind of fact and does not care which others there are.
#![allow(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use super::Policy;
use super::action::{
    ConnectFailure, FailureKind, Freshness, NodeEventKind, Outcome, Ports, Request, Route,
    TargetState, WatchEvent,
};
use super::budget::Grace;
use super::drain::OnBlocked;
use super::fact::{
    DeregisteredState, Deregistrar, Fact, GoneOutcome, LeftReason, PodNews, TargetErrorKind,
    TargetNews,
};
use super::id::{BootId, InstanceId, NoticeId, ResourceVersion};
use super::node::SchedulingWrite;
use super::node::{
    Annotation, CordonOwner, CordonPatch, InterruptionRecord, LabelWrite, NodeView, Scheduling,
};
use super::notice::{InterruptionAction, Machine};
use super::pod::{BlockedWish, Owner, PodProgress, PodView};
use super::targets::ConfiguredGroup;
use stage::{
    Stage, bookmark, describe, failed, first_list, gone, group, instance, list_anew, next_list,
    node, now, own, pod, pods, policy, seen, silent, target, terminating, wall, with_group,
};

mod blocked;
mod calls;
mod cordon;
mod crowd;
mod events;
mod figures;
mod front;
mod health;
mod jitter;
mod modes;
mod notices;
mod preflight;
mod sight;
mod silence;
mod sleep;
mod stage;
mod targets;
mod undo;
mod waves;
mod words;

#[test]
fn while_no_notice_is_there_only_the_metadata_service_is_asked() {
    let mut stage = Stage::watching(policy());
    stage.forward_to(5.0);
    for poll in 2..=100 {
        assert_eq!(stage.open_requests(), [&Request::ReadNotice]);
        stage.answer(&Request::ReadNotice, Outcome::Notice(None));
        assert_eq!(stage.open_requests(), Vec::<&Request>::new());
        stage.forward_to(f64::from(poll) * 5.0);
    }
}

#[test]
fn a_notice_starts_node_pods_and_targets_at_once() {
    let stage = Stage::interrupted(with_group(Ports::All), 120.0);
    let [read, list, look, publish] = &stage.open_requests()[..] else {
        panic!("four requests, not {:?}", stage.open_requests());
    };
    assert_eq!(**read, Request::ReadNode);
    assert_eq!(**list, first_list());
    assert_eq!(**look, describe(Ports::All));
    assert!(
        matches!(publish, Request::PublishEvent(event) if event.kind == NodeEventKind::SpotInterruption)
    );
}

#[test]
fn the_node_gets_one_patch_that_records_whose_the_cordon_is() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    let time = Some(wall(125.0));
    let expected = CordonPatch {
        scheduling: SchedulingWrite::Cordon,
        expected: Some(ResourceVersion::new("7")),
        label: LabelWrite::Set,
        record: Some(InterruptionRecord {
            notice_id: NoticeId::of(
                Machine::Instance(&instance()),
                InterruptionAction::Terminate,
                time,
            ),
            action: InterruptionAction::Terminate,
            time,
            deadline: wall(125.0),
            instance_id: Some(instance()),
            boot_id: Some(BootId::new("boot")),
            cordon: CordonOwner::Us,
            label_before: None,
        }),
    };
    stage.answer(&Request::Cordon(expected), Outcome::Node(node()));
    assert_eq!(
        stage.facts.last(),
        Some(&Fact::NodeCordoned {
            cordoned_by_us: true,
            already_cordoned: false,
            label_set: true,
            elapsed: Duration::ZERO,
        })
    );
}

#[test]
fn a_node_that_was_cordoned_before_is_not_ours_to_uncordon() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    let view = NodeView {
        scheduling: Scheduling::Cordoned,
        exclusion_label: Some("true".to_owned()),
        ..node()
    };
    stage.answer(&Request::ReadNode, Outcome::Node(view));
    assert!(stage.open_requests().iter().any(|request| matches!(
        request,
        Request::Cordon(CordonPatch { label: LabelWrite::Keep, record: Some(record), .. })
            if record.cordon == CordonOwner::Another && record.label_before.as_deref() == Some("true")
    )));
}

#[test]
fn what_an_earlier_interruption_left_on_the_node_is_whose_it_was() {
    for (instance_id, cordon) in [
        (InstanceId::new("i-of-yesterday"), CordonOwner::Us),
        (InstanceId::new("i-of-yesterday"), CordonOwner::Another),
        (instance(), CordonOwner::Us),
        (instance(), CordonOwner::Another),
    ] {
        let mut stage = Stage::interrupted(policy(), 120.0);
        let left_behind = InterruptionRecord {
            instance_id: Some(instance_id),
            cordon,
            // Long past, so that it is not a record of this interruption either way.
            deadline: wall(-86_400.0),
            ..record(0.0)
        };
        let view = NodeView {
            scheduling: Scheduling::Cordoned,
            exclusion_label: Some("true".to_owned()),
            annotation: Annotation::Record(left_behind),
            ..node()
        };
        stage.answer(&Request::ReadNode, Outcome::Node(view));
        let requests = stage.open_requests().into_iter();
        let owned: Vec<_> = requests
            .filter_map(|request| match request {
                Request::Cordon(patch) => patch.record.as_ref(),
                _ => None,
            })
            .map(|record| (record.cordon, record.label_before.clone()))
            .collect();
        assert_eq!(owned, [(cordon, None)]);
    }
}

#[test]
fn after_two_lost_races_the_patch_goes_without_its_lock_and_claims_nothing() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    for _ in 0..2 {
        stage.answer(&Request::ReadNode, Outcome::Node(node()));
        stage.answer_first(
            |request| matches!(request, Request::Cordon(patch) if patch.expected.is_some()),
            failed(FailureKind::Conflict, 409),
        );
    }
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    assert!(stage.open_requests().iter().any(|request| matches!(
        request,
        Request::Cordon(CordonPatch { expected: None, record: Some(record), .. })
            if record.cordon == CordonOwner::Another
    )));
    assert_eq!(
        stage.count(|fact| matches!(fact, Fact::CordonFailed { .. })),
        0
    );
}

#[test]
fn a_node_that_cannot_be_patched_does_not_keep_a_pod_from_its_eviction() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    stage.answer(&Request::ReadNode, failed(FailureKind::Forbidden, 403));
    stage.answer(&first_list(), pods(vec![pod("web", 30)]));
    assert_eq!(stage.pod_calls(), [("evict", "web", None)]);
    assert_eq!(
        stage.count(|fact| matches!(fact, Fact::CordonFailed { attempt: 1, .. })),
        1
    );
}

#[test]
fn pods_of_daemon_sets_mirrors_the_agent_and_the_finished_are_left_alone() {
    let daemon = PodView {
        owner: Some(Owner {
            kind: "DaemonSet".to_owned(),
            name: "cni".to_owned(),
        }),
        ..pod("cni", 30)
    };
    let mirror = PodView {
        is_mirror: true,
        ..pod("proxy", 30)
    };
    let finished = PodView {
        progress: PodProgress::Finished,
        ..pod("job", 30)
    };
    let listed = vec![daemon, mirror, pod("agent", 30), finished];
    let mut stage = Stage::draining(policy(), 120.0, listed);
    assert_eq!(stage.pod_calls(), []);
    stage.forward_to(6.0);
    assert_eq!(stage.summary().pods.ignored, 4);
    assert_eq!(stage.summary().pods.total(), 0);
}

#[test]
fn pods_that_do_not_serve_go_first_then_those_with_the_least_slack() {
    let pending = PodView {
        progress: PodProgress::Pending,
        ..pod("pending", 5)
    };
    let claim = PodView {
        mounts_claim: true,
        ..pod("claim", 30)
    };
    let listed = vec![
        pod("quick", 5),
        pod("slow", 600),
        pod("usual", 30),
        claim,
        pending,
    ];
    let stage = Stage::draining(policy(), 120.0, listed);
    assert_eq!(
        stage.pod_calls(),
        [
            ("evict", "pending", None),
            ("evict", "slow", Some(112)),
            ("evict", "claim", None),
            ("evict", "usual", None),
            ("evict", "quick", None),
        ]
    );
}

#[test]
fn no_more_evictions_are_in_flight_than_allowed_and_a_waiting_pod_holds_no_slot() {
    let policy = Policy {
        max_in_flight: 2,
        ..policy()
    };
    let listed = vec![pod("a", 30), pod("b", 30), pod("c", 30), pod("d", 30)];
    let mut stage = Stage::draining(policy, 120.0, listed);
    assert_eq!(
        stage.pod_calls(),
        [("evict", "a", None), ("evict", "b", None)]
    );
    stage.answer_pod("a", failed(FailureKind::BlockedByBudget, 429));
    assert_eq!(
        stage.pod_calls(),
        [("evict", "b", None), ("evict", "c", None)]
    );
    stage.answer_pod("b", Outcome::Done);
    assert_eq!(
        stage.pod_calls(),
        [("evict", "c", None), ("evict", "d", None)]
    );
}

#[test]
fn a_closed_budget_is_asked_again_and_again_and_the_pod_is_deleted_at_the_last_useful_moment() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    let mut attempts = 0;
    while stage.pod_calls() == [("evict", "web", None)] {
        attempts += 1;
        stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
        stage.watch(bookmark());
        stage.forward_to_next_pod_call();
    }
    assert_eq!(stage.pod_calls(), [("delete", "web", None)]);
    assert!(
        (stage.at - 87.0).abs() < 1e-6,
        "L is 82 s after the notice: {}",
        stage.at
    );
    assert!((10..=16).contains(&attempts), "{attempts} evictions");
    stage.answer_pod("web", Outcome::Done);
    stage.watch(seen(terminating("web", 30, 30, stage.at)));
    assert_eq!(
        stage.count(|fact| matches!(fact, Fact::Pod(_, PodNews::Blocked { .. }))),
        1
    );
    assert_eq!(
        stage.count(|fact| matches!(fact, Fact::Pod(_, PodNews::Deleted { .. }))),
        1
    );
}

#[test]
fn a_pod_that_is_to_wait_is_never_deleted() {
    let policy = Policy {
        on_blocked: OnBlocked::Wait,
        ..policy()
    };
    let mut stage = Stage::draining(policy, 120.0, vec![pod("web", 30)]);
    while stage.at < 115.0 {
        let [("evict", "web", grace)] = stage.pod_calls()[..] else {
            panic!("one eviction, not {:?}", stage.pod_calls());
        };
        assert!(grace.is_none_or(|grace| f64::from(grace) < 118.0 - stage.at));
        stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
        stage.forward_to_next_pod_call();
    }
    let waits = |fact: &Fact| {
        matches!(
            fact,
            Fact::Pod(
                _,
                PodNews::Left {
                    reason: LeftReason::Wait,
                    ..
                }
            )
        )
    };
    assert_eq!(stage.count(waits), 1);
    assert_eq!(stage.summary().pods.left, 1);
}

#[test]
fn seen_too_late_a_pod_gets_one_eviction_and_its_refusal_is_answered_by_the_deletion() {
    let mut stage = Stage::draining(policy(), 20.0, vec![pod("web", 30)]);
    assert_eq!(stage.pod_calls(), [("evict", "web", Some(12))]);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    let namespace = Request::ReadNamespace("shop".to_owned());
    stage.answer(&namespace, Outcome::Namespace(BlockedWish::AsConfigured));
    stage.forward_to_next_pod_call();
    assert!((stage.at - 5.0).abs() < 1e-6);
    assert_eq!(stage.pod_calls(), [("delete", "web", Some(12))]);
}

#[test]
fn an_eviction_that_hangs_after_the_last_useful_moment_is_given_up_after_two_seconds() {
    let mut stage = Stage::draining(policy(), 20.0, vec![pod("web", 30)]);
    stage.forward_to(7.0);
    stage.forward_to_next_pod_call();
    // The eviction may have taken effect: its grace is repeated, not computed anew.
    assert_eq!(stage.pod_calls(), [("delete", "web", Some(12))]);
}

#[test]
fn a_retry_of_a_call_that_may_have_taken_effect_repeats_its_grace_and_one_after_a_refusal_does_not()
{
    for (outcome, second) in [
        (silent(FailureKind::Lost), Some(112)),
        (failed(FailureKind::ServerError, 503), Some(112)),
        (failed(FailureKind::BlockedByBudget, 429), Some(111)),
    ] {
        let mut stage = Stage::draining(policy(), 120.0, vec![pod("slow", 600)]);
        assert_eq!(stage.pod_calls(), [("evict", "slow", Some(112))]);
        stage.forward_to(5.5);
        stage.answer_pod("slow", outcome.clone());
        stage.forward_to_next_pod_call();
        assert_eq!(
            stage.pod_calls(),
            [("evict", "slow", second)],
            "{outcome:?}"
        );
    }
}

#[test]
fn no_failure_makes_the_drain_forget_a_pod() {
    for kind in [
        FailureKind::Unreachable(ConnectFailure::Refused),
        FailureKind::Lost,
        FailureKind::TimedOut,
        FailureKind::TwoBudgets,
        FailureKind::Throttled(None),
        FailureKind::Unauthenticated,
        FailureKind::Forbidden,
        FailureKind::NamespaceTerminating,
        FailureKind::NotFound,
        FailureKind::Conflict,
        FailureKind::Invalid,
        FailureKind::Expired,
        FailureKind::ServerError,
        FailureKind::Unreadable,
        FailureKind::Panicked,
    ] {
        let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
        stage.answer_pod("web", silent(kind));
        while stage.pod_calls().is_empty() {
            stage.forward_to_next_due();
            if stage.open_requests().contains(&&next_list("100")) {
                stage.answer(&next_list("100"), pods(vec![pod("web", 30)]));
            }
        }
        assert!(
            stage.at < 5.0 + 12.0,
            "{kind:?}: the next call at {} s",
            stage.at
        );
    }
}

#[test]
fn in_a_terminating_namespace_the_pod_is_deleted_at_once() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", failed(FailureKind::NamespaceTerminating, 403));
    stage.forward_to_next_pod_call();
    assert!((stage.at - 5.0).abs() < 1e-6);
    assert_eq!(stage.pod_calls(), [("delete", "web", None)]);
}

#[test]
fn evicting_is_given_up_after_three_403_and_deleting_is_tried_at_the_last_useful_moment() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    for _ in 0..3 {
        assert_eq!(stage.pod_calls(), [("evict", "web", None)]);
        stage.answer_pod("web", failed(FailureKind::Forbidden, 403));
        stage.forward_to_next_pod_call();
    }
    assert_eq!(stage.pod_calls(), [("delete", "web", None)]);
    assert!((stage.at - 87.0).abs() < 1e-6, "{}", stage.at);
}

#[test]
fn an_accepted_eviction_that_never_shows_is_noticed_and_the_pod_counts_as_blocked() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", Outcome::Done);
    stage.forward_to(8.1);
    stage.answer(&list_anew("100"), pods(vec![pod("web", 30)]));
    assert_eq!(
        stage.count(|fact| matches!(fact, Fact::Pod(_, PodNews::Blocked { .. }))),
        1
    );
    stage.forward_to_next_pod_call();
    assert_eq!(stage.pod_calls(), [("evict", "web", None)]);
}

#[test]
fn when_the_last_pod_is_gone_the_verdict_is_given_at_once() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30), pod("slow", 600)]);
    for (name, own, given) in [("web", 30, 30), ("slow", 600, 112)] {
        stage.answer_pod(name, Outcome::Done);
        stage.watch(seen(terminating(name, own, given, 5.0)));
    }
    stage.forward_to(9.0);
    stage.watch(gone("web"));
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Summary(_))), 0);
    stage.forward_to(11.0);
    stage.watch(gone("slow"));
    let summary = stage.summary();
    assert_eq!(
        (summary.pods.gone, summary.pods.cut, summary.pods.left),
        (2, 0, 0)
    );
    assert_eq!(summary.grace_given_seconds, 142);
    assert_eq!(summary.grace_cut_seconds, 488);
    assert_eq!(summary.all_gone_after, Some(Duration::from_secs(6)));
    assert_eq!(summary.last_eviction_after, Some(Duration::ZERO));
}

#[test]
fn a_pod_that_used_up_a_shortened_grace_was_cut() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("slow", 600)]);
    stage.answer_pod("slow", Outcome::Done);
    stage.watch(seen(terminating("slow", 600, 112, 5.0)));
    stage.forward_to(60.0);
    stage.watch(bookmark());
    stage.forward_to(117.0);
    stage.watch(gone("slow"));
    let cut = |fact: &Fact| {
        matches!(
            fact,
            Fact::Pod(
                _,
                PodNews::Gone {
                    outcome: GoneOutcome::Cut,
                    ..
                }
            )
        )
    };
    assert_eq!(stage.count(cut), 1);
    assert_eq!(stage.summary().pods.cut, 1);
}

#[test]
fn the_kubelets_last_deletion_with_grace_nought_is_no_shortened_grace() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30), pod("fast", 30)]);
    for name in ["web", "fast"] {
        stage.answer_pod(name, Outcome::Done);
    }
    stage.watch(seen(terminating("web", 30, 30, 5.0)));
    stage.forward_to(7.9);
    for name in ["web", "fast"] {
        stage.watch(seen(terminating(name, 30, 0, 8.0)));
        stage.watch(gone(name));
    }
    let summary = stage.summary();
    assert_eq!((summary.pods.gone, summary.pods.cut), (2, 0));
    assert_eq!(
        (summary.grace_given_seconds, summary.grace_cut_seconds),
        (60, 0)
    );
}

#[test]
fn the_verdict_comes_fifteen_seconds_before_the_deadline_and_once() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", Outcome::Done);
    stage.watch(seen(terminating("web", 30, 30, 5.0)));
    stage.forward_to(109.9);
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 0);
    stage.forward_to(200.0);
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 1);
    assert_eq!(stage.summary().pods.stopping, 1);
    assert_eq!(
        stage.count(|fact| matches!(fact, Fact::Pod(_, PodNews::Left { .. }))),
        0
    );
}

#[test]
fn after_the_deadline_there_are_no_more_calls_but_polls() {
    let mut stage = Stage::draining(policy(), 20.0, vec![pod("web", 30)]);
    stage.answer_pod("web", silent(FailureKind::Lost));
    stage.forward_to(26.0);
    let requests = stage.open_requests();
    assert!(
        requests
            .iter()
            .all(|request| matches!(request, Request::ReadNotice | Request::PublishEvent(_))),
        "{requests:?}"
    );
    let unreachable = |fact: &Fact| {
        matches!(
            fact,
            Fact::Pod(
                _,
                PodNews::Left {
                    reason: LeftReason::Unreachable,
                    ..
                }
            )
        )
    };
    assert_eq!(stage.count(unreachable), 1);
}

#[test]
fn a_pod_that_arrives_later_is_evicted_too() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("first", 30)]);
    stage.answer_pod("first", Outcome::Done);
    stage.watch(seen(pod("late", 30)));
    assert_eq!(stage.pod_calls(), [("evict", "late", None)]);
}

#[test]
fn a_watch_that_ends_or_falls_silent_is_replaced_by_a_new_list() {
    let mut stage = Stage::draining(policy(), 120.0, vec![]);
    stage.answer_first(
        |request| matches!(request, Request::WatchPods(_)),
        Outcome::Done,
    );
    stage.forward_to(5.2);
    stage.answer(&next_list("100"), pods(vec![]));
    stage.watch(bookmark());
    stage.forward_to(70.3);
    let requests = stage.open_requests();
    assert!(requests.contains(&&list_anew("103")));
    assert!(
        !requests
            .iter()
            .any(|request| matches!(request, Request::WatchPods(_)))
    );
}

#[test]
fn a_watch_that_the_server_does_not_even_take_is_given_up_after_twelve_seconds() {
    for (taken, silent_until) in [(None, 5.0 + 12.0), (Some(WatchEvent::Opened), 5.0 + 65.0)] {
        let mut stage = Stage::draining(policy(), 120.0, vec![]);
        if let Some(event) = taken {
            stage.watch(event);
        }
        stage.forward_to(silent_until - 0.1);
        assert!(!stage.open_requests().contains(&&list_anew("100")));
        stage.forward_to(silent_until);
        assert!(stage.open_requests().contains(&&list_anew("100")));
    }
}

#[test]
fn a_server_whose_cache_is_behind_what_was_seen_is_asked_for_what_etcd_has() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.watch(bookmark());
    stage.answer_first(
        |request| matches!(request, Request::WatchPods(_)),
        Outcome::Done,
    );
    stage.forward_to(5.2);
    stage.answer(&next_list("103"), failed(FailureKind::ServerError, 503));
    stage.forward_to(6.0);
    stage.answer(&next_list("103"), failed(FailureKind::ServerError, 504));
    stage.forward_to(7.0);
    stage.answer(
        &Request::ListPods(Freshness::Newest, Route::Shared),
        pods(vec![pod("web", 30)]),
    );
    assert!(
        stage
            .open_requests()
            .iter()
            .any(|request| matches!(request, Request::WatchPods(_)))
    );
}

fn record(deadline: f64) -> InterruptionRecord {
    InterruptionRecord {
        notice_id: NoticeId::new("first"),
        action: InterruptionAction::Terminate,
        time: Some(wall(deadline)),
        deadline: wall(deadline),
        instance_id: Some(instance()),
        boot_id: Some(BootId::new("boot")),
        cordon: CordonOwner::Us,
        label_before: None,
    }
}

fn cordoned_by_an_earlier_process(deadline: f64) -> Outcome {
    Outcome::Node(NodeView {
        scheduling: Scheduling::Cordoned,
        exclusion_label: Some("true".to_owned()),
        annotation: Annotation::Record(record(deadline)),
        ..node()
    })
}

#[test]
fn a_restarted_agent_takes_deadline_and_ownership_from_the_annotation_and_evicts_nobody_twice() {
    let mut stage = Stage::new(policy());
    stage.answer(&Request::ReadNotice, stage.notice(90.0));
    assert_eq!(stage.open_requests(), [&Request::ReadNode]);
    stage.answer(&Request::ReadNode, cordoned_by_an_earlier_process(80.0));
    assert_eq!(stage.open_requests(), [&first_list()]);
    let context = stage
        .planner
        .interruption(now(0.0).at)
        .map(|context| (context.notice_id, context.seconds_left));
    assert_eq!(context, Some(("first".to_owned(), 80.0)));
    let ours = |fact: &Fact| {
        matches!(
            fact,
            Fact::NodeCordoned {
                cordoned_by_us: true,
                ..
            }
        )
    };
    assert_eq!(stage.count(ours), 1);
    let listed = vec![terminating("web", 30, 30, -10.0), pod("other", 30)];
    stage.answer(&first_list(), pods(listed));
    assert_eq!(stage.pod_calls(), [("evict", "other", None)]);
    assert!(stage.planner.is_resumed());
}

#[test]
fn a_restarted_agent_does_nothing_to_pods_when_the_recorded_deadline_has_passed() {
    let mut stage = Stage::new(policy());
    stage.answer(&Request::ReadNotice, stage.notice(-30.0));
    stage.answer(&Request::ReadNode, cordoned_by_an_earlier_process(-30.0));
    assert_eq!(stage.open_requests(), Vec::<&Request>::new());
}

#[test]
fn a_record_of_another_instance_or_another_boot_is_not_resumed() {
    for node in [
        NodeView {
            boot_id: Some(BootId::new("another boot")),
            annotation: Annotation::Record(record(80.0)),
            ..node()
        },
        NodeView {
            annotation: Annotation::Record(InterruptionRecord {
                instance_id: Some(super::id::InstanceId::new("i-0fedcba9876543210")),
                ..record(80.0)
            }),
            ..node()
        },
    ] {
        let mut stage = Stage::new(policy());
        stage.answer(&Request::ReadNotice, stage.notice(90.0));
        stage.answer(&Request::ReadNode, Outcome::Node(node));
        assert!(!stage.planner.is_resumed());
        assert_eq!(
            stage.count(|fact| matches!(fact, Fact::InterruptionNoticed(_))),
            1
        );
    }
}

#[test]
fn a_node_that_cannot_be_read_delays_a_restarted_agent_by_three_seconds_at_most() {
    let mut stage = Stage::new(policy());
    stage.answer(&Request::ReadNotice, stage.notice(90.0));
    stage.forward_to(3.0);
    assert!(stage.open_requests().contains(&&first_list()));
    assert_eq!(
        stage.count(|fact| matches!(fact, Fact::InterruptionNoticed(_))),
        1
    );
}

#[test]
fn an_agent_that_is_asked_to_stop_while_idle_stops_at_once() {
    let mut stage = Stage::new(policy());
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    stage.planner.handle_stop();
    assert!(stage.planner.is_stopped());
}

#[test]
fn an_agent_that_is_asked_to_stop_in_a_drain_carries_on_until_all_is_done_and_said() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.planner.handle_stop();
    assert!(!stage.planner.is_stopped());
    stage.answer_pod("web", Outcome::Done);
    stage.watch(gone("web"));
    stage.forward_to(6.0);
    assert!(
        !stage.planner.is_stopped(),
        "the verdict's event has yet to be published"
    );
    stage.answer_first(
        |request| matches!(request, Request::PublishEvent(_)),
        Outcome::Done,
    );
    assert!(stage.planner.is_stopped());
    assert_eq!(stage.summary().pods.gone, 1);
}

#[test]
fn an_agent_that_is_asked_to_stop_in_a_drain_that_never_ends_stops_at_the_deadline() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.planner.handle_stop();
    stage.forward_to(124.9);
    assert!(!stage.planner.is_stopped());
    stage.forward_to(125.1);
    assert!(stage.planner.is_stopped());
}

#[test]
fn a_later_time_changes_nothing_and_an_earlier_one_tightens_the_deadline() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("slow", 600)]);
    stage.answer_pod("slow", failed(FailureKind::BlockedByBudget, 429));
    let left = |stage: &Stage| {
        stage
            .planner
            .interruption(now(stage.at).at)
            .map(|context| context.seconds_left.round())
    };
    stage.forward_to(10.0);
    stage.answer(&Request::ReadNotice, stage.notice(120.0));
    assert_eq!(left(&stage), Some(115.0));
    stage.forward_to(15.0);
    stage.answer(&Request::ReadNotice, stage.notice(60.0));
    assert_eq!(left(&stage), Some(60.0));
}

#[test]
fn a_notice_that_disappears_before_the_deadline_changes_nothing() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    for at in [10.0, 15.0] {
        stage.forward_to(at);
        stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    }
    assert_eq!(
        stage.count(|fact| matches!(fact, Fact::InterruptionChanged { .. })),
        1
    );
    stage.forward_to_next_pod_call();
}

#[test]
fn every_registered_port_is_deregistered_in_one_call_and_looked_at_until_it_drains() {
    let mut stage = Stage::interrupted(with_group(Ports::All), 120.0);
    stage.answer(
        &describe(Ports::All),
        Outcome::Targets(vec![
            target(31080, TargetState::Registered),
            target(31081, TargetState::Registered),
            target(31082, TargetState::Draining),
        ]),
    );
    let deregister = Request::DeregisterTargets(group(), own(), vec![31080, 31081]);
    stage.answer(&deregister, Outcome::Done);
    stage.forward_to(5.3);
    stage.answer(
        &describe(Ports::All),
        Outcome::Targets(vec![
            target(31080, TargetState::Draining),
            target(31082, TargetState::Draining),
        ]),
    );
    let told: Vec<(Option<u16>, DeregisteredState, Deregistrar)> = stage
        .facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Target(target, TargetNews::Deregistered { state, by, .. }) => {
                Some((target.port, *state, *by))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        told,
        [
            (Some(31082), DeregisteredState::Draining, Deregistrar::Other),
            (Some(31080), DeregisteredState::Draining, Deregistrar::Us),
            (
                Some(31081),
                DeregisteredState::NotRegistered,
                Deregistrar::Us
            ),
        ]
    );
}

#[test]
fn an_instance_that_is_in_no_group_is_a_success() {
    let mut stage = Stage::interrupted(with_group(Ports::All), 120.0);
    stage.answer(&describe(Ports::All), Outcome::Targets(vec![]));
    let absent = |fact: &Fact| {
        matches!(
            fact,
            Fact::Target(
                _,
                TargetNews::Deregistered {
                    state: DeregisteredState::NotRegistered,
                    ..
                }
            )
        )
    };
    assert_eq!(stage.count(absent), 1);
}

#[test]
fn a_group_that_is_gone_is_a_success_and_a_denied_one_is_given_up_at_once() {
    for (kind, error) in [
        (FailureKind::NotFound, None),
        (FailureKind::Forbidden, Some(TargetErrorKind::Denied)),
        (FailureKind::Invalid, Some(TargetErrorKind::BadArn)),
    ] {
        let mut stage = Stage::interrupted(with_group(Ports::All), 120.0);
        stage.answer(&describe(Ports::All), failed(kind, 400));
        let told = stage.facts.iter().find_map(|fact| match fact {
            Fact::Target(_, TargetNews::Failed { kind, .. }) => Some(Some(*kind)),
            Fact::Target(_, TargetNews::Deregistered { .. }) => Some(None),
            _ => None,
        });
        assert_eq!(told, Some(error), "{kind:?}");
    }
}

#[test]
fn a_named_port_is_deregistered_even_when_nobody_may_look() {
    let mut stage = Stage::interrupted(with_group(Ports::Only(31080)), 120.0);
    stage.answer(
        &describe(Ports::Only(31080)),
        failed(FailureKind::Forbidden, 403),
    );
    let deregister = Request::DeregisterTargets(group(), own(), vec![31080]);
    stage.answer(&deregister, Outcome::Done);
    let ours = |fact: &Fact| {
        matches!(
            fact,
            Fact::Target(
                _,
                TargetNews::Deregistered {
                    by: Deregistrar::Us,
                    ..
                }
            )
        )
    };
    assert_eq!(stage.count(ours), 1);
}

#[test]
fn a_throttled_group_is_tried_until_five_seconds_before_the_deadline() {
    let mut stage = Stage::interrupted(with_group(Ports::All), 120.0);
    let mut looks = 0;
    while stage.count(|fact| matches!(fact, Fact::Target(_, TargetNews::Failed { .. }))) == 0 {
        if stage.open_requests().contains(&&describe(Ports::All)) {
            looks += 1;
            stage.answer(
                &describe(Ports::All),
                failed(FailureKind::Throttled(None), 400),
            );
        } else {
            stage.forward_to_next_due();
        }
        assert!(stage.at <= 120.0, "{}", stage.at);
    }
    assert!(stage.at > 110.0, "given up at {} s", stage.at);
    assert!((20..=120).contains(&looks), "{looks} looks");
}

#[test]
fn expired_credentials_are_renewed_once() {
    let mut stage = Stage::interrupted(with_group(Ports::All), 120.0);
    for _ in 0..2 {
        stage.answer(
            &describe(Ports::All),
            failed(FailureKind::Unauthenticated, 403),
        );
    }
    let expired = |fact: &Fact| {
        matches!(
            fact,
            Fact::Target(
                _,
                TargetNews::Failed {
                    kind: TargetErrorKind::ExpiredToken,
                    ..
                }
            )
        )
    };
    assert_eq!(stage.count(expired), 1);
}

#[test]
fn two_configured_groups_are_independent_of_each_other() {
    let other = super::id::TargetGroupArn::parse(
        "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/api/0123456789abcdef",
    )
    .expect("a well-formed ARN");
    let policy = Policy {
        groups: [group(), other]
            .map(|arn| ConfiguredGroup {
                arn,
                ports: Ports::Only(80),
            })
            .to_vec(),
        ..policy()
    };
    let mut stage = Stage::interrupted(policy, 120.0);
    stage.answer(
        &describe(Ports::Only(80)),
        failed(FailureKind::Invalid, 400),
    );
    stage.answer_first(
        |request| matches!(request, Request::DescribeTargets(..)),
        Outcome::Targets(vec![target(80, TargetState::Draining)]),
    );
    assert_eq!(
        stage.count(|fact| matches!(fact, Fact::Target(_, TargetNews::Failed { .. }))),
        1
    );
    assert_eq!(
        stage.count(|fact| matches!(fact, Fact::Target(_, TargetNews::Deregistered { .. }))),
        1
    );
}

#[test]
fn a_grace_period_given_by_another_drainer_is_not_touched() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    stage.watch(seen(terminating("web", 30, 30, 5.0)));
    stage.forward_to(104.0);
    assert_eq!(stage.pod_calls(), []);
    assert_eq!(
        stage.count(|fact| matches!(fact, Fact::Pod(_, PodNews::Evicted { .. }))),
        0
    );
    assert_eq!(Grace::of_spec(None), Grace::DEFAULT);
}

#[test]
fn a_restarted_agent_that_does_not_know_its_instance_yet_leaves_the_record_as_it_is() {
    let mut stage = Stage::knowing_nothing(policy());
    stage.answer(&Request::ReadNotice, stage.notice(90.0));
    stage.answer(&Request::ReadNode, cordoned_by_an_earlier_process(80.0));
    // The identity document is not to be had, and three seconds are enough of waiting for it.
    stage.forward_to(3.0);
    assert!(stage.open_requests().contains(&&first_list()));
    let patches = |request: &&&Request| matches!(request, Request::Cordon(_));
    assert_eq!(stage.open_requests().iter().filter(patches).count(), 0);
}

#[test]
fn a_restarted_agent_gives_its_verdict_when_it_has_had_three_seconds_to_see_the_pods() {
    let mut stage = Stage::new(policy());
    stage.answer(&Request::ReadNotice, stage.notice(12.0));
    // The node is not to be had: the first sight is three seconds old when the agent begins.
    stage.forward_to(3.0);
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 0);
    stage.answer(&first_list(), pods(vec![pod("web", 30)]));
    stage.answer_pod("web", Outcome::Done);
    stage.forward_to(6.0);
    assert_eq!(stage.summary().pods.cut, 1);
}

#[test]
fn where_no_pod_was_ever_seen_no_drain_is_complete() {
    let mut stage = Stage::interrupted(policy(), 60.0);
    stage.forward_to(5.0 + 45.0);
    assert_eq!(stage.summary().pods.total(), 0);
    assert!(!stage.summary().pods.is_complete());
}

#[test]
fn a_record_of_the_same_interruption_under_another_time_keeps_its_ownership() {
    let mut stage = Stage::new(policy());
    stage.answer(&Request::ReadNotice, stage.notice(90.0));
    // The record could not be read in time, and the notice now says another time: to this process it is a new one.
    stage.forward_to(3.0);
    assert!(!stage.planner.is_resumed());
    stage.answer(&Request::ReadNode, cordoned_by_an_earlier_process(80.0));
    let patches = |request: &&&Request| matches!(request, Request::Cordon(_));
    assert_eq!(stage.open_requests().iter().filter(patches).count(), 0);
}

#[test]
fn a_list_without_pods_is_believed_when_the_watch_has_added_nothing_for_a_second() {
    let mut stage = Stage::draining(policy(), 120.0, Vec::new());
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 0);
    stage.watch(seen(pod("web", 30)));
    stage.forward_to(6.0);
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 0);
    assert_eq!(stage.pod_calls(), [("evict", "web", None)]);
    let mut stage = Stage::draining(policy(), 120.0, Vec::new());
    stage.forward_to(6.0);
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 1);
}

#[test]
fn a_second_lost_connection_is_answered_with_more_patience_than_the_first() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    for least in [0.05, 0.2, 0.4] {
        let before = stage.at;
        stage.answer_pod("web", silent(FailureKind::Lost));
        stage.forward_to_next_pod_call();
        assert!(stage.at - before >= 0.8 * least, "{} s", stage.at - before);
    }
}

#[test]
fn a_first_list_after_the_verdict_settles_without_another_verdict() {
    let mut stage = Stage::interrupted(policy(), 60.0);
    stage.forward_to(5.0 + 45.0);
    stage.answer(&first_list(), pods(vec![pod("web", 30)]));
    stage.forward_to(5.0 + 50.0);
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 1);
}

#[test]
fn a_time_that_was_missing_at_first_tightens_the_deadline_when_it_comes() {
    let mut stage = Stage::new(policy());
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    stage.forward_to(5.0);
    let Outcome::Notice(Some(announced)) = stage.notice(40.0) else {
        panic!("a notice");
    };
    let untold = super::notice::Announcement {
        time: None,
        ..announced.clone()
    };
    stage.answer(&Request::ReadNotice, Outcome::Notice(Some(untold)));
    let left = |stage: &Stage| {
        let context = stage.planner.interruption(now(stage.at).at);
        context.map(|context| context.seconds_left.round())
    };
    assert_eq!(left(&stage), Some(100.0));
    stage.forward_to(10.0);
    stage.answer(&Request::ReadNotice, Outcome::Notice(Some(announced)));
    assert!(left(&stage) <= Some(40.0), "{:?}", left(&stage));
}

#[test]
fn a_patch_that_is_always_refused_is_tried_with_patience_and_told() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    let mut patches = 0;
    while stage.at < 25.0 {
        let is_patch = |request: &Request| matches!(request, Request::Cordon(_));
        if stage.open_requests().contains(&&Request::ReadNode) {
            stage.answer(&Request::ReadNode, Outcome::Node(node()));
        } else if stage
            .open_requests()
            .iter()
            .any(|request| is_patch(request))
        {
            patches += 1;
            stage.answer_first(is_patch, failed(FailureKind::Conflict, 409));
        } else {
            stage.forward_to_next_due();
        }
    }
    assert!(patches < 15, "{patches} patches in twenty seconds");
    assert!(stage.count(|fact| matches!(fact, Fact::CordonFailed { .. })) > 0);
}

#[test]
fn an_eviction_whose_effect_is_seen_before_its_answer_counts_as_the_last() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.watch(seen(terminating("web", 30, 30, 5.0)));
    stage.answer_pod("web", Outcome::Done);
    stage.watch(gone("web"));
    stage.forward_to(8.0);
    assert!(stage.summary().last_eviction_after.is_some());
}

#[test]
fn groups_that_nothing_could_be_done_about_are_told_at_the_deadline() {
    let mut stage = Stage::knowing_nothing(with_group(Ports::All));
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    stage.forward_to(5.0);
    stage.answer(&Request::ReadNotice, stage.notice(60.0));
    stage.forward_to(70.0);
    let failed = |fact: &Fact| matches!(fact, Fact::Target(_, TargetNews::Failed { .. }));
    assert_eq!(stage.count(failed), 1);
}

#[test]
fn asked_to_stop_before_the_first_answer_it_waits_for_that_one() {
    let mut stage = Stage::new(policy());
    stage.planner.handle_stop();
    assert!(!stage.planner.is_stopped());
    stage.answer(&Request::ReadNotice, stage.notice(90.0));
    assert!(!stage.planner.is_stopped(), "there is a drain to finish");
    let mut stage = Stage::new(policy());
    stage.planner.handle_stop();
    stage.answer(&Request::ReadNotice, silent(FailureKind::TimedOut));
    assert!(stage.planner.is_stopped());
}
