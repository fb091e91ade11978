//! What an interruption left on a node that outlives it, and what of it is taken back.

use std::time::Duration;

use super::record;
use super::stage::{Stage, failed, node, now, policy, silent, wall};
use crate::plan::action::{FailureKind, Outcome, Request};
use crate::plan::fact::Fact;
use crate::plan::id::{BootId, InstanceId, ResourceVersion};
use crate::plan::node::{
    Annotation, CordonOwner, CordonPatch, InterruptionRecord, LabelUndo, NodeView, Scheduling,
    SchedulingUndo, UndoPatch,
};
use crate::plan::{Mode, Policy};

/// The node as an interruption left it.
fn left(record: InterruptionRecord) -> NodeView {
    NodeView {
        resource_version: ResourceVersion::new("9"),
        scheduling: Scheduling::Cordoned,
        exclusion_label: Some("true".to_owned()),
        annotation: Annotation::Record(record),
        ..node()
    }
}

fn undo(scheduling: SchedulingUndo, label: LabelUndo) -> Request {
    Request::Undo(UndoPatch {
        expected: ResourceVersion::new("9"),
        scheduling,
        label,
    })
}

fn all_of_it() -> Request {
    undo(SchedulingUndo::Uncordon, LabelUndo::Remove)
}

/// Everything that is asked about the node now.
fn asked(stage: &Stage) -> Vec<&Request> {
    let requests = stage.open_requests().into_iter();
    requests
        .filter(|request| {
            matches!(
                request,
                Request::ReadNode | Request::Cordon(_) | Request::Undo(_)
            )
        })
        .collect()
}

/// Lets time pass with every poll answered that there is no notice.
fn forward_without_notice(stage: &mut Stage, seconds: f64) {
    while stage.at < seconds {
        if stage.open_requests().contains(&&Request::ReadNotice) {
            stage.answer(&Request::ReadNotice, Outcome::Notice(None));
        }
        let next = stage.due().unwrap_or(seconds).min(seconds);
        stage.forward_to(next);
    }
}

/// Lets time pass until the node is read again, and says when.
fn look_again(stage: &mut Stage) -> f64 {
    while !stage.open_requests().contains(&&Request::ReadNode) {
        let next = stage.at + 1.0;
        forward_without_notice(stage, next);
    }
    stage.at
}

/// An agent that has just been started where this is left, and has polled and read the node.
fn started(policy: Policy, view: NodeView) -> Stage {
    let mut stage = Stage::new(policy);
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    stage.answer(&Request::ReadNode, Outcome::Node(view));
    stage
}

fn uncordoned(stage: &Stage) -> Vec<&Fact> {
    let facts = stage.facts.iter();
    facts
        .filter(|fact| matches!(fact, Fact::NodeUncordoned { .. }))
        .collect()
}

/// The interruption of [`Stage::interrupted`], cordoned and over, with its record.
fn outlived(policy: Policy) -> (Stage, InterruptionRecord) {
    let mut stage = Stage::interrupted(policy, 120.0);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    let patch = stage
        .open_requests()
        .into_iter()
        .find_map(|request| match request {
            Request::Cordon(patch) => Some(patch.clone()),
            _ => None,
        })
        .expect("a patch");
    let record = patch.record.clone().expect("a record");
    stage.answer(&Request::Cordon(patch), Outcome::Node(left(record.clone())));
    stage.forward_to(125.0);
    (stage, record)
}

#[test]
fn without_a_notice_and_without_an_annotation_the_node_is_read_once() {
    let mut stage = started(policy(), node());
    forward_without_notice(&mut stage, 1_000.0);
    assert_eq!(asked(&stage), Vec::<&Request>::new());
    assert_eq!(stage.planner.poll_action(), None);
}

#[test]
fn the_node_is_not_read_before_the_machine_is_known() {
    let mut stage = Stage::knowing_nothing(policy());
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    assert_eq!(stage.open_requests(), [&Request::ReadIdentity]);
}

#[test]
fn a_node_that_outlives_its_notice_is_given_back_five_minutes_after_its_time() {
    let (mut stage, record) = outlived(policy());
    // T was at 125 s.
    forward_without_notice(&mut stage, 424.9);
    assert_eq!(asked(&stage), Vec::<&Request>::new());
    forward_without_notice(&mut stage, 425.5);
    assert_eq!(asked(&stage), [&Request::ReadNode]);
    stage.answer(&Request::ReadNode, Outcome::Node(left(record)));
    assert_eq!(asked(&stage), [&all_of_it()]);
    assert_eq!(uncordoned(&stage), Vec::<&Fact>::new());
    stage.answer(&all_of_it(), Outcome::Node(node()));
    let told = Fact::NodeUncordoned {
        cordoned_by_us: true,
        already_cordoned: false,
        label_set: true,
        elapsed: Duration::from_secs_f64(stage.at - 125.0),
    };
    assert_eq!(uncordoned(&stage), [&told]);
    forward_without_notice(&mut stage, 1_000.0);
    assert_eq!(asked(&stage), Vec::<&Request>::new());
}

#[test]
fn a_notice_that_stays_is_not_outlived_and_one_that_slips_once_is_not_gone() {
    let (mut stage, _) = outlived(policy());
    while stage.at < 1_000.0 {
        // Two polls without it, then one with it or one that fails.
        for outcome in [
            Outcome::Notice(None),
            Outcome::Notice(None),
            silent(FailureKind::TimedOut),
        ] {
            stage.answer(&Request::ReadNotice, outcome);
            assert_eq!(asked(&stage), Vec::<&Request>::new());
            stage.forward_to(stage.at + 5.0);
        }
    }
}

#[test]
fn after_the_undoing_a_later_notice_is_a_fresh_interruption() {
    let (mut stage, record) = outlived(policy());
    forward_without_notice(&mut stage, 425.5);
    stage.answer(&Request::ReadNode, Outcome::Node(left(record)));
    stage.answer(&all_of_it(), Outcome::Node(node()));
    stage.forward_to(440.0);
    stage.answer(&Request::ReadNotice, stage.notice(120.0));
    let noticed = |fact: &Fact| matches!(fact, Fact::InterruptionNoticed(_));
    assert_eq!(stage.count(noticed), 2);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    assert!(asked(&stage).iter().any(|request| matches!(
        request,
        Request::Cordon(CordonPatch { record: Some(record), .. })
            if record.cordon == CordonOwner::Us && record.deadline == wall(560.0)
    )));
}

#[test]
fn a_notice_that_comes_while_the_node_is_read_ends_the_undoing() {
    let (mut stage, _) = outlived(policy());
    forward_without_notice(&mut stage, 425.5);
    assert_eq!(asked(&stage), [&Request::ReadNode]);
    stage.forward_to_without_limits(430.0);
    stage.answer(&Request::ReadNotice, stage.notice(120.0));
    let reads = asked(&stage)
        .into_iter()
        .filter(|request| **request == Request::ReadNode);
    assert_eq!(reads.count(), 1, "the cordon's");
}

#[test]
fn only_what_is_ours_and_as_we_left_it_is_undone() {
    let ours = record(-400.0);
    let (keep, uncordon) = (SchedulingUndo::Keep, SchedulingUndo::Uncordon);
    let restored = || LabelUndo::Restore("false".to_owned());
    let before = |value: &str| Some(value.to_owned());
    let cases = [
        (
            CordonOwner::Us,
            None,
            Some("true"),
            uncordon,
            LabelUndo::Remove,
        ),
        (
            CordonOwner::Another,
            None,
            Some("true"),
            keep,
            LabelUndo::Remove,
        ),
        (
            CordonOwner::Us,
            before("false"),
            Some("true"),
            uncordon,
            restored(),
        ),
        (
            CordonOwner::Us,
            before("true"),
            Some("true"),
            uncordon,
            LabelUndo::Keep,
        ),
        (
            CordonOwner::Us,
            before(""),
            Some("true"),
            uncordon,
            LabelUndo::Keep,
        ),
        (
            CordonOwner::Us,
            None,
            Some("yes"),
            uncordon,
            LabelUndo::Keep,
        ),
        (
            CordonOwner::Us,
            before("false"),
            None,
            uncordon,
            LabelUndo::Keep,
        ),
    ];
    for (cordon, label_before, label, scheduling, written) in cases {
        let view = NodeView {
            exclusion_label: label.map(str::to_owned),
            ..left(InterruptionRecord {
                cordon,
                label_before,
                ..ours.clone()
            })
        };
        let mut stage = started(policy(), view.clone());
        forward_without_notice(&mut stage, 14.0);
        stage.answer(&Request::ReadNode, Outcome::Node(view.clone()));
        assert_eq!(asked(&stage), [&undo(scheduling, written)], "{view:?}");
    }
}

#[test]
fn a_node_that_somebody_has_opened_meanwhile_only_loses_label_and_record() {
    let view = NodeView {
        scheduling: Scheduling::Open,
        ..left(InterruptionRecord {
            instance_id: Some(InstanceId::new("i-of-yesterday")),
            ..record(0.0)
        })
    };
    let stage = started(policy(), view);
    let patch = undo(SchedulingUndo::Keep, LabelUndo::Remove);
    assert_eq!(asked(&stage), [&patch]);
}

#[test]
fn beside_another_drainer_the_cordon_stays_and_an_observer_undoes_nothing() {
    let beside = Policy {
        mode: Mode::DeregisterOnly,
        ..policy()
    };
    let inherited = left(InterruptionRecord {
        instance_id: Some(InstanceId::new("i-of-yesterday")),
        ..record(0.0)
    });
    let stage = started(beside, inherited);
    let patch = undo(SchedulingUndo::Keep, LabelUndo::Remove);
    assert_eq!(asked(&stage), [&patch]);
    let observing = Policy {
        mode: Mode::Observe,
        ..policy()
    };
    let mut stage = Stage::new(observing);
    forward_without_notice(&mut stage, 1_000.0);
    assert_eq!(asked(&stage), Vec::<&Request>::new());
}

#[test]
fn the_annotation_of_an_older_instance_is_undone_at_the_first_sight() {
    let inherited = InterruptionRecord {
        instance_id: Some(InstanceId::new("i-of-yesterday")),
        ..record(80.0)
    };
    let mut stage = started(policy(), left(inherited));
    assert_eq!(asked(&stage), [&all_of_it()]);
    stage.answer(&all_of_it(), Outcome::Node(node()));
    assert_eq!(uncordoned(&stage).len(), 1);
}

#[test]
fn an_annotation_of_an_unknown_version_is_left_alone_and_told_once() {
    let view = NodeView {
        annotation: Annotation::Unknown("{\"v\":2}".to_owned()),
        ..left(record(0.0))
    };
    let mut stage = started(policy(), view);
    forward_without_notice(&mut stage, 1_000.0);
    assert_eq!(asked(&stage), Vec::<&Request>::new());
    let unknown = |fact: &Fact| matches!(fact, Fact::AnnotationUnknown { .. });
    assert_eq!(stage.count(unknown), 1);
}

#[test]
fn a_process_that_finds_an_own_record_waits_for_three_polls_and_for_five_minutes_past_its_time() {
    for (deadline, read_at) in [
        (-400.0, 10.0),
        (-300.0, 10.0),
        (-280.0, 20.0),
        (60.0, 360.0),
    ] {
        let mut stage = started(policy(), left(record(deadline)));
        forward_without_notice(&mut stage, read_at - 0.1);
        assert_eq!(asked(&stage), Vec::<&Request>::new(), "{deadline}");
        forward_without_notice(&mut stage, read_at + 0.1);
        assert_eq!(asked(&stage), [&Request::ReadNode], "{deadline}");
        stage.answer(&Request::ReadNode, Outcome::Node(left(record(deadline))));
        assert_eq!(asked(&stage), [&all_of_it()], "{deadline}");
    }
}

#[test]
fn a_record_of_an_earlier_boot_is_undone_after_three_polls_whatever_its_time() {
    let rebooted = NodeView {
        boot_id: Some(BootId::new("the next")),
        ..left(record(60.0))
    };
    let mut stage = started(policy(), rebooted.clone());
    forward_without_notice(&mut stage, 9.9);
    assert_eq!(asked(&stage), Vec::<&Request>::new());
    forward_without_notice(&mut stage, 10.1);
    stage.answer(&Request::ReadNode, Outcome::Node(rebooted));
    assert_eq!(asked(&stage), [&all_of_it()]);
}

#[test]
fn while_another_tool_takes_the_node_away_nothing_is_undone() {
    for taint in ["karpenter.sh/disrupted", "ToBeDeletedByClusterAutoscaler"] {
        let inherited = left(InterruptionRecord {
            instance_id: Some(InstanceId::new("i-of-yesterday")),
            ..record(0.0)
        });
        let tainted = NodeView {
            taints: vec!["example.com/other".to_owned(), taint.to_owned()],
            ..inherited.clone()
        };
        let mut stage = started(policy(), tainted.clone());
        assert_eq!(asked(&stage), Vec::<&Request>::new(), "{taint}");
        let looked_at = look_again(&mut stage);
        assert!((48.0..=72.0).contains(&looked_at), "{looked_at} s");
        stage.answer(&Request::ReadNode, Outcome::Node(tainted));
        assert_eq!(asked(&stage), Vec::<&Request>::new(), "{taint}");
        look_again(&mut stage);
        stage.answer(&Request::ReadNode, Outcome::Node(inherited));
        assert_eq!(asked(&stage), [&all_of_it()], "{taint}");
    }
}

#[test]
fn a_lost_race_is_read_and_decided_anew() {
    let ours = left(record(-400.0));
    let mut stage = started(policy(), ours.clone());
    forward_without_notice(&mut stage, 14.0);
    stage.answer(&Request::ReadNode, Outcome::Node(ours.clone()));
    stage.answer(&all_of_it(), failed(FailureKind::Conflict, 409));
    assert_eq!(asked(&stage), [&Request::ReadNode]);
    // Another process has taken up a new notice meanwhile.
    let renewed = InterruptionRecord {
        deadline: wall(100.0),
        time: Some(wall(100.0)),
        ..record(100.0)
    };
    stage.answer(&Request::ReadNode, Outcome::Node(left(renewed)));
    assert_eq!(asked(&stage), Vec::<&Request>::new());
}

#[test]
fn an_api_server_that_is_away_only_delays_it() {
    let ours = left(record(-400.0));
    let mut stage = Stage::new(policy());
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    for _ in 0..12 {
        stage.answer(&Request::ReadNode, silent(FailureKind::TimedOut));
        look_again(&mut stage);
    }
    assert!(stage.at > 900.0, "waits grow: {} s", stage.at);
    stage.answer(&Request::ReadNode, Outcome::Node(ours));
    assert_eq!(asked(&stage), [&all_of_it()]);
}

#[test]
fn a_patch_without_an_answer_that_took_effect_is_told_too() {
    let inherited = InterruptionRecord {
        instance_id: Some(InstanceId::new("i-of-yesterday")),
        ..record(0.0)
    };
    for (kind, told) in [(FailureKind::Lost, 1), (FailureKind::Forbidden, 0)] {
        let mut stage = started(policy(), left(inherited.clone()));
        stage.answer(&all_of_it(), failed(kind, 0));
        let at = stage.at + 2.0;
        forward_without_notice(&mut stage, at);
        stage.answer(&Request::ReadNode, Outcome::Node(node()));
        assert_eq!(uncordoned(&stage).len(), told, "{kind:?}");
        forward_without_notice(&mut stage, 100.0);
        assert_eq!(asked(&stage), Vec::<&Request>::new());
    }
}

#[test]
fn what_an_earlier_interruption_left_is_ours_in_the_next_one() {
    let (mut stage, record) = outlived(policy());
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    stage.forward_to(900.0);
    stage.answer(&Request::ReadNotice, stage.notice(120.0));
    stage.answer(&Request::ReadNode, Outcome::Node(left(record)));
    let owned = asked(&stage).into_iter().find_map(|request| match request {
        Request::Cordon(patch) => patch.record.clone(),
        _ => None,
    });
    let owned = owned.expect("a new record");
    assert_eq!((owned.cordon, owned.label_before), (CordonOwner::Us, None));
    assert!(stage.planner.interruption(now(stage.at).at).is_some());
}

#[test]
fn a_refused_undoing_is_told_at_first_and_at_every_doubling_and_its_waits_grow() {
    let ours = left(record(-400.0));
    let mut stage = started(policy(), ours.clone());
    let mut looked = Vec::new();
    for _ in 0..8 {
        looked.push(look_again(&mut stage));
        stage.answer(&Request::ReadNode, Outcome::Node(ours.clone()));
        stage.answer(&all_of_it(), failed(FailureKind::Forbidden, 403));
    }
    let told = stage.facts.iter().filter_map(|fact| match fact {
        Fact::UncordonFailed { attempt, .. } => Some(*attempt),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [1, 2, 4, 8]);
    let waits: Vec<f64> = looked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits[0] < 3.0 && waits[6] > 40.0, "{waits:?}");
}
