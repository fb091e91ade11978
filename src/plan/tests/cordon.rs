//! Taking the node out of service: its calls, and what is told when they fail.

use std::time::Duration;

use super::stage::{Stage, failed, node, policy, silent, wall};
use crate::plan::action::{FailureKind, Outcome, Request};
use crate::plan::fact::Fact;
use crate::plan::node::{Annotation, CordonPatch, LabelWrite, NodeView, Scheduling};

fn is_patch(request: &Request) -> bool {
    matches!(request, Request::Cordon(_))
}

fn failures(stage: &Stage) -> Vec<(u32, Option<u16>)> {
    let facts = stage.facts.iter();
    facts
        .filter_map(|fact| match fact {
            Fact::CordonFailed {
                attempt,
                http_status,
                ..
            } => Some((*attempt, *http_status)),
            _ => None,
        })
        .collect()
}

fn calls(stage: &Stage) -> usize {
    let requests = stage.open_requests().into_iter();
    requests
        .filter(|request| **request == Request::ReadNode || is_patch(request))
        .count()
}

#[test]
fn a_reading_and_a_patch_have_five_seconds_each() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    let limit = stage.limit_of(|request| *request == Request::ReadNode);
    assert_eq!(limit, Some(10.0));
    stage.forward_to(7.0);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    assert_eq!(stage.limit_of(is_patch), Some(12.0));
}

#[test]
fn a_node_that_cannot_be_read_is_read_again_after_half_a_second_and_then_ever_later() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    for wait in [0.5, 1.0, 2.0, 4.0, 5.0, 5.0] {
        let before = stage.at;
        stage.answer(&Request::ReadNode, failed(FailureKind::ServerError, 500));
        while calls(&stage) == 0 {
            stage.forward_to_next_due();
        }
        let waited = (stage.at - before) / wait;
        assert!((0.8..=1.2).contains(&waited), "{waited} of {wait} s");
    }
    assert_eq!(
        failures(&stage),
        [(1, Some(500)), (2, Some(500)), (4, Some(500))]
    );
}

#[test]
fn two_lost_races_are_read_again_at_once_and_a_third_one_is_a_failure() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    for _ in 0..2 {
        stage.answer(&Request::ReadNode, Outcome::Node(node()));
        stage.answer_first(is_patch, failed(FailureKind::Conflict, 409));
        assert_eq!(failures(&stage), []);
    }
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    stage.answer_first(is_patch, failed(FailureKind::Conflict, 409));
    assert_eq!(failures(&stage), [(1, Some(409))]);
    assert_eq!(calls(&stage), 0);
}

#[test]
fn a_failure_that_is_no_lost_race_is_not_read_again_at_once() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    stage.answer_first(is_patch, silent(FailureKind::Lost));
    assert_eq!(failures(&stage), [(1, None)]);
    assert_eq!(calls(&stage), 0);
}

#[test]
fn the_verdict_waits_for_the_cordon_and_says_when_it_was() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    stage.answer(&super::first_list(), super::pods(vec![]));
    stage.forward_to(8.0);
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 0);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 0);
    stage.forward_to(9.0);
    stage.answer_first(is_patch, Outcome::Node(node()));
    assert_eq!(stage.summary().cordoned_after, Some(Duration::from_secs(4)));
}

#[test]
fn a_node_that_is_not_out_of_service_at_the_verdict_has_no_time_of_it() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    stage.forward_to(110.0);
    assert_eq!(stage.summary().cordoned_after, None);
}

#[test]
fn a_label_that_is_there_is_left_alone_unless_it_says_false() {
    for (before, written) in [
        (None, LabelWrite::Set),
        (Some("false"), LabelWrite::Set),
        (Some("true"), LabelWrite::Keep),
        (Some("karpenter"), LabelWrite::Keep),
        (Some(""), LabelWrite::Keep),
    ] {
        let mut stage = Stage::interrupted(policy(), 120.0);
        let view = NodeView {
            exclusion_label: before.map(str::to_owned),
            ..node()
        };
        stage.answer(&Request::ReadNode, Outcome::Node(view));
        let patches: Vec<_> = stage
            .open_requests()
            .into_iter()
            .filter_map(|request| match request {
                Request::Cordon(patch) => Some(patch),
                _ => None,
            })
            .collect();
        assert_eq!(patches.len(), 1, "{before:?}");
        assert_eq!(patches[0].label, written, "{before:?}");
        let recorded = patches[0]
            .record
            .as_ref()
            .map(|record| &record.label_before);
        assert_eq!(recorded, Some(&before.map(str::to_owned)), "{before:?}");
    }
}

/// The patch that is under way.
fn patch(stage: &Stage) -> CordonPatch {
    let requests = stage.open_requests().into_iter();
    let mut patches = requests.filter_map(|request| match request {
        Request::Cordon(patch) => Some(patch.clone()),
        _ => None,
    });
    patches.next().expect("a patch is under way")
}

/// The node as this patch leaves it.
fn patched(patch: &CordonPatch) -> NodeView {
    NodeView {
        scheduling: Scheduling::Cordoned,
        exclusion_label: Some("true".to_owned()),
        annotation: Annotation::Record(patch.record.clone().expect("a record")),
        ..node()
    }
}

#[test]
fn a_deadline_that_moves_closer_is_written_into_the_annotation_and_nothing_else_changes() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    let first = patch(&stage);
    let record = first.record.clone().expect("a record");
    assert_eq!(record.deadline, wall(125.0));
    let cordoned = patched(&first);
    stage.answer_first(is_patch, Outcome::Node(cordoned.clone()));
    stage.forward_to(10.0);
    assert_eq!(calls(&stage), 0);
    stage.answer(&Request::ReadNotice, stage.notice(60.0));
    // One that fails is tried again, and is nobody's worry: the node is out of service.
    stage.answer(&Request::ReadNode, failed(FailureKind::ServerError, 500));
    while calls(&stage) == 0 {
        stage.forward_to_next_due();
    }
    stage.answer(&Request::ReadNode, Outcome::Node(cordoned));
    let second = patch(&stage);
    let mut expected = record;
    expected.deadline = wall(70.0);
    assert_eq!(second.record, Some(expected));
    assert_eq!(second.label, LabelWrite::Keep);
    let node = patched(&second);
    stage.answer_first(is_patch, Outcome::Node(node));
    assert_eq!(calls(&stage), 0);
    assert_eq!(failures(&stage), []);
    let cordoned = |fact: &Fact| matches!(fact, Fact::NodeCordoned { .. });
    assert_eq!(stage.count(cordoned), 1);
}

#[test]
fn a_deadline_that_moves_closer_while_the_node_is_patched_is_written_after_it() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    stage.forward_to(9.0);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    let first = patch(&stage);
    stage.forward_to(10.0);
    stage.answer(&Request::ReadNotice, stage.notice(60.0));
    let cordoned = patched(&first);
    stage.answer_first(is_patch, Outcome::Node(cordoned.clone()));
    stage.answer(&Request::ReadNode, Outcome::Node(cordoned));
    let second = patch(&stage).record.expect("a record");
    assert_eq!(second.deadline, wall(70.0));
}
