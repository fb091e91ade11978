//! The notice read again: what tightens the deadline, what changes nothing, and what a restarted agent believes.

use super::stage::{
    Stage, bookmark, failed, first_list, node, now, pod, policy, seen, terminating, wall,
};
use super::{cordoned_by_an_earlier_process, record};
use crate::plan::action::{FailureKind, Outcome, Request};
use crate::plan::fact::{Fact, NoticeChange, PodNews};
use crate::plan::node::{Annotation, NodeView};
use crate::plan::notice::{AnnouncedAction, Announcement, InterruptionAction};
use crate::plan::pod::BlockedWish;
use crate::plan::time::WallTime;

fn changes(stage: &Stage) -> Vec<(&NoticeChange, Option<WallTime>)> {
    let facts = stage.facts.iter();
    facts
        .filter_map(|fact| match fact {
            Fact::InterruptionChanged {
                reason,
                notice_time,
            } => Some((reason, *notice_time)),
            _ => None,
        })
        .collect()
}

/// The deadline in force: in the server's time, and in seconds from now.
fn deadline(stage: &Stage) -> (WallTime, f64) {
    let context = stage.planner.interruption(now(stage.at).at);
    let context = context.expect("an interruption is under way");
    (context.deadline, context.seconds_left)
}

/// The next poll finds this notice.
fn read(stage: &mut Stage, time: Option<WallTime>, server_date: Option<WallTime>) {
    let announcement = Announcement {
        action: AnnouncedAction::Known(InterruptionAction::Terminate),
        time,
        server_date,
    };
    stage.answer(&Request::ReadNotice, Outcome::Notice(Some(announcement)));
}

#[test]
fn a_time_that_is_two_seconds_earlier_tightens_and_one_that_is_less_does_not() {
    for (earlier, tightens) in [(1.0, false), (1.9, false), (2.0, true), (30.0, true)] {
        let mut stage = Stage::interrupted(policy(), 120.0);
        assert_eq!(deadline(&stage), (wall(125.0), 120.0));
        stage.forward_to(10.0);
        read(&mut stage, Some(wall(125.0 - earlier)), Some(wall(10.0)));
        let (expected, told) = if tightens {
            let time = wall(125.0 - earlier);
            (
                (time, 115.0 - earlier),
                vec![(&NoticeChange::Tightened, Some(time))],
            )
        } else {
            ((wall(125.0), 115.0), vec![])
        };
        let (in_servers_time, left) = deadline(&stage);
        assert_eq!(in_servers_time, expected.0, "{earlier} s earlier");
        assert!((left - expected.1).abs() < 1e-6, "{left} s left");
        assert_eq!(changes(&stage), told, "{earlier} s earlier");
    }
}

#[test]
fn a_notice_that_loses_its_time_or_tells_no_earlier_one_changes_nothing() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    stage.forward_to(10.0);
    read(&mut stage, None, Some(wall(10.0)));
    stage.forward_to(15.0);
    // The same and a later time; by the server's clock, which has jumped, there would be less left.
    read(&mut stage, Some(wall(125.0)), Some(wall(80.0)));
    stage.forward_to(20.0);
    read(&mut stage, Some(wall(130.0)), Some(wall(90.0)));
    assert_eq!(deadline(&stage), (wall(125.0), 105.0));
    assert_eq!(changes(&stage), []);
}

#[test]
fn a_tightened_deadline_sends_the_pods_that_wait_and_leaves_the_others_alone() {
    let listed = vec![pod("waiting", 600), pod("calling", 30), pod("stopping", 30)];
    let mut stage = Stage::draining(policy(), 120.0, listed);
    stage.answer_pod("stopping", Outcome::Done);
    stage.watch(seen(terminating("stopping", 30, 30, 5.0)));
    stage.forward_to(7.5);
    // Another call would not be due before five seconds have passed.
    stage.answer_pod("waiting", failed(FailureKind::TwoBudgets, 500));
    stage.forward_to(10.0);
    assert_eq!(stage.pod_calls(), [("evict", "calling", None)]);
    stage.answer(&Request::ReadNotice, stage.notice(100.0));
    let calls = [("evict", "calling", None), ("evict", "waiting", Some(92))];
    assert_eq!(stage.pod_calls(), calls);
    stage.forward_to(10.4);
    assert_eq!(stage.pod_calls(), calls);
}

#[test]
fn a_tightened_deadline_brings_deletion_verdict_and_end_closer() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 30)]);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    stage.forward_to(10.0);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    stage.answer(&Request::ReadNotice, stage.notice(60.0));
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    while stage.at < 32.0 {
        stage.watch(bookmark());
        stage.forward_to_next_pod_call();
        if stage.at < 32.0 {
            stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
        }
    }
    // 70 - 8 - 30
    assert!((stage.at - 32.0).abs() < 1e-6, "{} s", stage.at);
    assert_eq!(stage.pod_calls(), [("delete", "web", None)]);
    stage.answer_pod("web", Outcome::Done);
    stage.watch(seen(terminating("web", 30, 30, 32.0)));
    stage.forward_to(54.9);
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 0);
    stage.forward_to(55.0);
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 1);
    stage.planner.handle_stop();
    stage.forward_to(69.9);
    stage.answer_first(
        |request| matches!(request, Request::PublishEvent(_)),
        failed(FailureKind::Forbidden, 403),
    );
    assert!(!stage.planner.is_stopped());
    stage.forward_to(70.0);
    assert!(stage.planner.is_stopped());
}

#[test]
fn the_beginning_tells_what_is_odd_about_a_notice() {
    let mut stage = Stage::new(policy());
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    stage.forward_to(5.0);
    let announcement = Announcement {
        action: AnnouncedAction::Unknown("rebalance".to_owned()),
        time: None,
        server_date: None,
    };
    stage.answer(&Request::ReadNotice, Outcome::Notice(Some(announcement)));
    let unknown = NoticeChange::UnknownAction("rebalance".to_owned());
    assert_eq!(
        changes(&stage),
        [(&unknown, None), (&NoticeChange::BadTime, None)]
    );
}

#[test]
fn a_restarted_agent_waits_three_seconds_for_the_node_and_not_less() {
    let mut stage = Stage::new(policy());
    stage.answer(&Request::ReadNotice, stage.notice(90.0));
    let limit = stage.limit_of(|request| *request == Request::ReadNode);
    assert_eq!(limit, Some(3.0));
    stage.forward_to(2.99);
    assert_eq!(stage.open_requests(), [&Request::ReadNode]);
    stage.forward_to(3.0);
    assert!(stage.open_requests().contains(&&first_list()));
}

#[test]
fn a_restarted_agent_that_lacks_its_identity_waits_three_seconds_for_that_too() {
    let mut stage = Stage::knowing_nothing(policy());
    stage.answer(&Request::ReadNotice, stage.notice(90.0));
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    stage.forward_to(2.99);
    assert!(!stage.open_requests().contains(&&first_list()));
    stage.forward_to(3.0);
    assert!(stage.open_requests().contains(&&first_list()));
}

#[test]
fn what_is_left_of_a_recorded_deadline_counts_from_when_the_notice_was_read() {
    let mut stage = Stage::new(policy());
    stage.answer(&Request::ReadNotice, stage.notice(90.0));
    stage.forward_to(2.0);
    stage.answer(&Request::ReadNode, cordoned_by_an_earlier_process(80.0));
    assert!(stage.planner.is_resumed());
    assert_eq!(deadline(&stage), (wall(80.0), 78.0));
}

#[test]
fn a_record_is_believed_until_five_minutes_after_its_deadline() {
    for (deadline, believed) in [(-299.999, true), (-300.0, false)] {
        let mut stage = Stage::new(policy());
        stage.answer(&Request::ReadNotice, stage.notice(90.0));
        let view = NodeView {
            annotation: Annotation::Record(record(deadline)),
            ..node()
        };
        stage.answer(&Request::ReadNode, Outcome::Node(view));
        assert_eq!(stage.planner.is_resumed(), believed, "{deadline}");
    }
}

#[test]
fn a_stale_notice_breaks_no_budget() {
    for (left, delete_in) in [(-300.0, Some(0.0)), (-301.0, None)] {
        let mut stage = Stage::draining(policy(), left, vec![pod("web", 30)]);
        stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
        let told: Vec<Option<f64>> = stage
            .news_of("web")
            .into_iter()
            .filter_map(|news| match news {
                PodNews::Blocked { delete_in, .. } => Some(*delete_in),
                _ => None,
            })
            .collect();
        assert_eq!(told, [delete_in], "{left} s left");
    }
}

#[test]
fn a_call_under_way_is_given_up_when_a_deadline_that_moved_closer_says_so() {
    let mut stage = Stage::draining(policy(), 120.0, vec![pod("web", 600)]);
    stage.forward_to(7.0);
    stage.answer_pod("web", failed(FailureKind::BlockedByBudget, 429));
    let namespace = Request::ReadNamespace("shop".to_owned());
    stage.answer(&namespace, Outcome::Namespace(BlockedWish::AsConfigured));
    stage.forward_to_next_pod_call();
    let sent = stage.at;
    assert!((7.8..8.3).contains(&sent), "{sent} s");
    let [("evict", "web", Some(grace))] = stage.pod_calls()[..] else {
        panic!("{:?}", stage.pod_calls());
    };
    stage.forward_to(10.0);
    // L is 78 - 8 - 60 = 10 s, two seconds after that call was sent: it has until then, and what follows repeats its grace.
    stage.answer(&Request::ReadNotice, stage.notice(68.0));
    assert_eq!(stage.pod_calls(), [("evict", "web", Some(grace))]);
    stage.forward_to(sent + 2.0 - 0.01);
    assert_eq!(stage.pod_calls(), [("evict", "web", Some(grace))]);
    stage.forward_to_next_due();
    stage.forward_to_next_pod_call();
    assert!(stage.at < sent + 2.3, "{} s", stage.at);
    assert_eq!(stage.pod_calls(), [("delete", "web", Some(grace))]);
}
