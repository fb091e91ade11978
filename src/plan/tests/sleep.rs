//! A machine whose clocks part: it slept, or its clock was set.

use super::stage::{Stage, failed, node, now, pod, policy, seen, silent, terminating, wall};
use crate::plan::action::{FailureKind, Outcome, Request};
use crate::plan::fact::{Fact, NoticeChange};
use crate::plan::node::{Annotation, NodeView, Scheduling};
use crate::plan::notice::{AnnouncedAction, Announcement, InterruptionAction};

/// A drain of one pod that a budget has just refused, to be tried again before six seconds; D is at 125 s.
fn refused() -> Stage {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    stage.forward_to(5.5);
    stage
}

/// The node with the record of that drain.
fn recorded() -> Outcome {
    Outcome::Node(NodeView {
        scheduling: Scheduling::Cordoned,
        annotation: Annotation::Record(super::record(125.0)),
        ..node()
    })
}

/// The notice of [`Stage::draining`], read `date` seconds after the start by the server's clock.
fn still_there(date: f64) -> Outcome {
    Outcome::Notice(Some(Announcement {
        action: AnnouncedAction::Known(InterruptionAction::Terminate),
        time: Some(wall(125.0)),
        server_date: Some(wall(date)),
    }))
}

fn seconds_left(stage: &Stage) -> f64 {
    let context = stage.planner.interruption(now(stage.at).at);
    context.expect("an interruption is under way").seconds_left
}

fn is_idle(stage: &Stage) -> bool {
    stage.planner.interruption(now(stage.at).at).is_none()
}

#[test]
fn after_a_jump_nothing_is_written_before_notice_and_annotation_are_read() {
    let mut stage = refused();
    stage.ahead = 30.0;
    // The next try of the eviction is due a second after the refusal.
    stage.forward_to(9.0);
    assert_eq!(stage.pod_calls(), []);
    stage.answer(&Request::ReadNotice, still_there(9.0));
    assert_eq!(stage.pod_calls(), []);
    stage.answer(&Request::ReadNode, recorded());
    stage.forward_to(stage.at);
    assert_eq!(stage.pod_calls(), [("evict", "web", None)]);
}

#[test]
fn a_clock_that_was_only_set_changes_no_deadline() {
    for ahead in [-3_600.0, -6.0, 4.9, 5.1, 60.0, 86_400.0] {
        let mut stage = refused();
        stage.ahead = ahead;
        stage.forward_to(9.0);
        if stage.open_requests().contains(&&Request::ReadNode) {
            stage.answer(&Request::ReadNotice, still_there(9.0));
            stage.answer(&Request::ReadNode, recorded());
        }
        assert!((seconds_left(&stage) - 116.0).abs() < 1e-6, "{ahead}");
        let changed = |fact: &Fact| matches!(fact, Fact::InterruptionChanged { .. });
        assert_eq!(stage.count(changed), 0, "{ahead}");
        stage.forward_to(9.1);
        assert_eq!(stage.pod_calls().len(), 1, "{ahead}");
    }
}

#[test]
fn the_clocks_part_by_more_than_five_seconds_between_two_readings_and_not_by_less() {
    for (ahead, reads) in [(4.9, 0), (5.0, 0), (5.1, 1)] {
        let mut stage = refused();
        stage.ahead = ahead;
        stage.forward_to(7.5);
        let rereads = stage.open_requests().into_iter();
        let rereads = rereads.filter(|request| **request == Request::ReadNode);
        assert_eq!(rereads.count(), reads, "{ahead}");
    }
}

#[test]
fn who_slept_has_so_much_less_left() {
    let mut stage = refused();
    stage.ahead = 40.0;
    stage.forward_to(9.0);
    stage.answer(&Request::ReadNode, recorded());
    stage.answer(&Request::ReadNotice, still_there(49.0));
    assert!((seconds_left(&stage) - 76.0).abs() < 1e-6);
    let tightened = Fact::InterruptionChanged {
        reason: NoticeChange::Tightened,
        notice_time: Some(wall(125.0)),
    };
    assert!(stage.facts.contains(&tightened));
    assert_eq!(
        stage
            .planner
            .interruption(now(9.0).at)
            .map(|context| context.deadline),
        Some(wall(125.0)),
        "the deadline itself has not moved"
    );
}

#[test]
fn after_a_wake_past_the_deadline_no_pod_is_called() {
    let gone = Outcome::Notice(None);
    for notice in [gone, still_there(126.0), still_there(4_000.0)] {
        let mut stage = refused();
        stage.ahead = 4_000.0;
        stage.forward_to(9.0);
        stage.answer(&Request::ReadNode, recorded());
        stage.answer(&Request::ReadNotice, notice);
        assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 1);
        assert!(seconds_left(&stage) <= 0.0, "{} s", seconds_left(&stage));
        stage.forward_to(130.0);
        assert_eq!(stage.pod_calls(), []);
    }
}

#[test]
fn a_notice_that_is_gone_after_a_short_jump_changes_nothing() {
    let mut stage = refused();
    stage.ahead = 30.0;
    stage.forward_to(9.0);
    stage.answer(&Request::ReadNode, recorded());
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    assert!((seconds_left(&stage) - 116.0).abs() < 1e-6);
}

#[test]
fn an_interruption_whose_notice_and_record_are_gone_after_a_jump_is_over() {
    let mut stage = refused();
    stage.ahead = 30.0;
    stage.forward_to(9.0);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 1);
    assert_eq!(stage.pod_calls(), []);
    assert!(
        !is_idle(&stage),
        "the verdict is told as of the interruption"
    );
    stage.forward_to(10.01);
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    assert!(is_idle(&stage));
}

#[test]
fn who_gets_no_answers_goes_on_after_five_seconds_and_judges_the_notice_when_it_comes() {
    let mut stage = refused();
    stage.ahead = 4_000.0;
    while !stage.open_requests().contains(&&Request::ReadNode) {
        stage.forward_to_next_due();
    }
    let begun = stage.at;
    stage.forward_to(begun + 4.9);
    assert_eq!(stage.pod_calls(), []);
    stage.forward_to(begun + 5.0);
    assert_eq!(stage.pod_calls(), [("evict", "web", None)]);
    while !stage.open_requests().contains(&&Request::ReadNotice) {
        stage.forward_to_next_due();
    }
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    assert_eq!(stage.pod_calls(), []);
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 1);
}

#[test]
fn what_comes_while_the_writes_wait_is_heard_afterwards() {
    let listed = vec![pod("web", 600), pod("db", 30)];
    let mut stage = Stage::draining(policy(), 120.0, listed);
    stage.forward_to(9.0);
    stage.ahead = 40.0;
    // This reading shows the jump: the answer itself has to wait, and so does the retry that it asks for.
    stage.answer_pod("web", silent(FailureKind::Lost));
    stage.watch(seen(terminating("db", 30, 30, 9.0)));
    stage.forward_to(10.0);
    assert_eq!(stage.pod_calls(), [("evict", "db", None)]);
    stage.answer(&Request::ReadNode, recorded());
    stage.answer(&Request::ReadNotice, still_there(50.0));
    stage.forward_to(11.0);
    // What may have taken effect is repeated as it was, although less is left now: it had 600 s or what was left of it.
    let calls = stage.pod_calls();
    let web = calls.iter().find(|(_, name, _)| *name == "web");
    assert_eq!(web, Some(&("evict", "web", Some(112))));
}

#[test]
fn a_verdict_is_given_in_time_although_the_writes_wait_and_its_event_waits_with_them() {
    let mut stage = refused();
    stage.forward_to(109.5);
    let open = stage.events().len();
    stage.ahead = 30.0;
    stage.forward_to(110.0);
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 1);
    assert_eq!(stage.events().len(), open);
    stage.forward_to(116.0);
    assert_eq!(stage.events().len(), open + 1);
}

#[test]
fn a_machine_that_wakes_from_its_hibernation_is_given_back_after_three_polls() {
    let mut stage = refused();
    stage.ahead = 4_000.0;
    stage.forward_to(9.0);
    stage.answer(&Request::ReadNode, recorded());
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    for poll in [10.01, 15.01] {
        let reads = stage.open_requests().into_iter();
        assert_eq!(
            reads
                .filter(|request| **request == Request::ReadNode)
                .count(),
            0
        );
        stage.forward_to(poll);
        stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    }
    stage.answer(&Request::ReadNode, recorded());
    let undoes = stage.open_requests().into_iter();
    assert_eq!(
        undoes
            .filter(|request| matches!(request, Request::Undo(_)))
            .count(),
        1
    );
}

#[test]
fn a_clock_that_jumps_while_nothing_is_ours_asks_for_the_notice_and_nothing_else() {
    let mut stage = Stage::watching(policy());
    stage.ahead = 4_000.0;
    stage.forward_to(5.0);
    assert_eq!(stage.open_requests(), [&Request::ReadNotice]);
}

#[test]
fn a_notice_that_was_read_before_the_sleep_is_read_again_before_it_is_answered() {
    let mut stage = Stage::new(policy());
    stage.answer(&Request::ReadNotice, stage.notice(90.0));
    stage.ahead = 60.0;
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    assert!(stage.open_requests().contains(&&Request::ReadNotice));
    stage.forward_to(1.0);
    assert!(is_idle(&stage));
    stage.answer(&Request::ReadNotice, still_there(61.0));
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    assert!((seconds_left(&stage) - 64.0).abs() < 1e-6);
}
