//! A server that has others to serve: pods that have time are evicted over some of it.

use std::time::Duration;

use super::stage::{Stage, first_list, node, pod, pods, policy};
use crate::plan::Policy;
use crate::plan::action::{Outcome, Request};
use crate::plan::fact::Fact;
use crate::plan::notice::{AnnouncedAction, Announcement, InterruptionAction};
use crate::plan::pod::PodView;
use crate::plan::preflight::Access;

/// An agent that was told its permissions, each after so many seconds, and hears of its interruption at 10 s.
fn interrupted(question_took: f64, action: InterruptionAction) -> Stage {
    let mut stage = Stage::new(Policy {
        max_in_flight: 64,
        ..policy()
    });
    stage.planner.look_over_permissions();
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    while stage.count(|fact| *fact == Fact::PreflightPassed) == 0 {
        stage.at += question_took;
        stage.answer_first(
            |request| matches!(request, Request::ReviewAccess(_)),
            Outcome::Access(Access::Allowed),
        );
    }
    stage.forward_to(10.0);
    let notice = Announcement {
        action: AnnouncedAction::Known(action),
        ..announcement(&stage.notice(120.0))
    };
    stage.answer(&Request::ReadNotice, Outcome::Notice(Some(notice)));
    stage
}

fn announcement(notice: &Outcome) -> Announcement {
    match notice {
        Outcome::Notice(Some(announcement)) => announcement.clone(),
        other => panic!("not a notice: {other:?}"),
    }
}

/// The same, with these pods listed after so many seconds.
fn listed_after(seconds: f64, question_took: f64, listed: Vec<PodView>) -> Stage {
    let mut stage = interrupted(question_took, InterruptionAction::Terminate);
    stage.forward_to(10.0 + seconds);
    stage.answer(&first_list(), pods(listed));
    stage
}

fn forty(grace: u32) -> Vec<PodView> {
    (0..40)
        .map(|index| pod(&format!("web-{index}"), grace))
        .collect()
}

/// How many calls have been made by each of these moments, in seconds after the start. Each is answered at once.
fn calls_by(stage: &mut Stage, moments: &[f64]) -> Vec<usize> {
    let mut made = 0;
    let mut by = Vec::new();
    for moment in moments {
        loop {
            let names: Vec<String> = stage
                .pod_calls()
                .iter()
                .map(|(_, name, _)| (*name).to_owned())
                .collect();
            made += names.len();
            for name in names {
                stage.answer_pod(&name, Outcome::Done);
            }
            match stage.due() {
                Some(due) if due <= *moment => stage.forward_to(due.max(stage.at)),
                Some(_) | None => break,
            }
        }
        stage.forward_to(*moment);
        by.push(made);
    }
    by
}

#[test]
fn a_server_that_is_slow_to_list_gets_first_calls_over_twenty_seconds_from_the_notice() {
    let mut stage = listed_after(1.0, 0.01, forty(30));
    assert_eq!(stage.pod_calls(), []);
    let told: Vec<&Fact> = stage
        .facts
        .iter()
        .filter(|fact| matches!(fact, Fact::DrainSpread { .. }))
        .collect();
    let spread = Fact::DrainSpread {
        listed_in: Duration::from_secs(1),
        over: Duration::from_secs(19),
    };
    assert_eq!(told, [&spread]);
    let calls = calls_by(&mut stage, &[15.0, 20.0, 25.0, 30.0]);
    assert_eq!(calls, [9, 22, 28, 40]);
}

#[test]
fn a_server_that_lists_as_soon_as_it_ever_answered_gets_them_at_once() {
    // Three round trips of 100 ms each, and a quarter of a second of the server's own.
    let stage = listed_after(0.55, 0.1, forty(30));
    assert_eq!(stage.pod_calls().len(), 32);
    assert_eq!(
        stage.count(|fact| matches!(fact, Fact::DrainSpread { .. })),
        0
    );
    let stage = listed_after(0.56, 0.1, forty(30));
    assert_eq!(stage.pod_calls(), []);
}

#[test]
fn a_server_that_hung_and_is_back_gets_them_at_once() {
    let stage = listed_after(2.9, 0.01, forty(30));
    assert_eq!(stage.pod_calls(), []);
    let stage = listed_after(3.0, 0.01, forty(30));
    assert_eq!(stage.pod_calls().len(), 32);
}

#[test]
fn a_pod_waits_for_a_quarter_of_the_time_that_it_can_spare_and_one_that_has_none_not_at_all() {
    // D is at 130 s, so pods have stopped by 122 s: with a grace period of 91 s 20 s can be spared at 11 s.
    let mut stage = listed_after(1.0, 0.01, forty(91));
    assert_eq!(calls_by(&mut stage, &[16.0]), [40]);
    let stage = listed_after(1.0, 0.01, forty(111));
    assert_eq!(stage.pod_calls().len(), 32);
}

#[test]
fn a_deadline_that_moves_closer_has_the_turns_drawn_again() {
    let mut stage = listed_after(1.0, 0.01, forty(30));
    assert_eq!(calls_by(&mut stage, &[15.0]), [9]);
    // Pods have to stop by 45 s, so nobody has any time left.
    stage.answer(&Request::ReadNotice, stage.notice(38.0));
    assert_eq!(stage.pod_calls().len(), 31);
}

#[test]
fn a_machine_that_is_about_to_hibernate_waits_for_nobody() {
    let mut stage = interrupted(0.01, InterruptionAction::Hibernate);
    stage.forward_to(11.0);
    stage.answer(&first_list(), pods(forty(30)));
    assert_eq!(stage.pod_calls().len(), 32);
}

#[test]
fn an_agent_that_never_heard_from_the_server_before_waits_for_nobody() {
    let mut stage = Stage::interrupted(policy(), 120.0);
    stage.forward_to(7.0);
    stage.answer(&first_list(), pods(forty(30)));
    assert_eq!(stage.pod_calls().len(), 32);
}
