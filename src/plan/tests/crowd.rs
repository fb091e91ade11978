//! A server that has others to serve: pods that have time are evicted over some of it.

use std::time::Duration;

use super::stage::{Stage, failed, first_list, node, pod, pods, policy};
use crate::plan::Policy;
use crate::plan::action::{FailureKind, Outcome, Request};
use crate::plan::fact::Fact;
use crate::plan::notice::{AnnouncedAction, Announcement, InterruptionAction};
use crate::plan::pod::{PodProgress, PodView};
use crate::plan::preflight::Access;

/// An agent that was told its first permission after two seconds and the others after so many each, and that hears of its
/// interruption at 10 s.
fn interrupted(question_took: f64, action: InterruptionAction) -> Stage {
    let mut stage = Stage::new(Policy {
        max_in_flight: 64,
        ..policy()
    });
    stage.planner.look_over_permissions();
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    let mut took = 2.0;
    while stage.count(|fact| *fact == Fact::PreflightPassed) == 0 {
        stage.at += took;
        took = question_took;
        stage.answer_first(
            |request| matches!(request, Request::ReviewAccess(_)),
            Outcome::Access(Access::Allowed),
        );
    }
    stage.forward_to(10.0);
    let Outcome::Notice(Some(announcement)) = stage.notice(120.0) else {
        panic!("no notice");
    };
    let notice = Announcement {
        action: AnnouncedAction::Known(action),
        ..announcement
    };
    stage.answer(&Request::ReadNotice, Outcome::Notice(Some(notice)));
    stage
}

/// The same, with these pods listed after so many seconds.
fn listed_after(seconds: f64, question_took: f64, listed: Vec<PodView>) -> Stage {
    let mut stage = interrupted(question_took, InterruptionAction::Terminate);
    stage.forward_to(10.0 + seconds);
    stage.answer(&first_list(), pods(listed));
    stage
}

fn many(count: usize, name: &str, grace: u32) -> Vec<PodView> {
    (0..count)
        .map(|index| pod(&format!("{name}-{index}"), grace))
        .collect()
}

fn forty(grace: u32) -> Vec<PodView> {
    many(40, "web", grace)
}

fn spreads(stage: &Stage) -> Vec<&Fact> {
    let facts = stage.facts.iter();
    facts
        .filter(|fact| matches!(fact, Fact::DrainSpread { .. }))
        .collect()
}

/// Lets time pass, and answers each call at once: whom they were for, in their order.
fn called_until(stage: &mut Stage, seconds: f64) -> Vec<String> {
    let mut called = Vec::new();
    loop {
        let calls = stage.pod_calls();
        let names: Vec<String> = calls
            .iter()
            .map(|(_, name, _)| (*name).to_owned())
            .collect();
        for name in &names {
            stage.answer_pod(name, Outcome::Done);
        }
        called.extend(names);
        match stage.due() {
            Some(due) if due <= seconds => stage.forward_to(due.max(stage.at)),
            Some(_) | None => break,
        }
    }
    stage.forward_to(seconds);
    called
}

#[test]
fn a_server_that_is_slow_to_list_gets_first_calls_over_twenty_seconds_from_the_notice() {
    let mut stage = listed_after(1.0, 0.01, forty(30));
    let spread = Fact::DrainSpread {
        listed_in: Duration::from_secs(1),
        over: Duration::from_secs(19),
    };
    assert_eq!(spreads(&stage), [&spread]);
    let first_half = called_until(&mut stage, 20.0).len();
    assert!((12..=28).contains(&first_half), "{first_half}");
    let last_second = called_until(&mut stage, 29.0).len() + first_half;
    assert!((35..40).contains(&last_second), "{last_second}");
    assert_eq!(last_second + called_until(&mut stage, 30.0).len(), 40);
}

#[test]
fn a_server_that_lists_as_soon_as_it_ever_answered_gets_them_at_once() {
    // Nine round trips of 100 ms each, and a quarter of a second of the server's own.
    let stage = listed_after(1.149, 0.1, forty(30));
    assert_eq!(stage.pod_calls().len(), 32);
    assert_eq!(spreads(&stage), Vec::<&Fact>::new());
    let stage = listed_after(1.151, 0.1, forty(30));
    assert!(stage.pod_calls().len() < 5);
}

#[test]
fn a_list_that_was_refused_first_is_counted_from_the_first() {
    let mut stage = interrupted(0.01, InterruptionAction::Terminate);
    stage.answer(&first_list(), failed(FailureKind::Throttled(None), 429));
    stage.forward_to(10.3);
    stage.answer(&first_list(), pods(forty(30)));
    assert_eq!(stage.pod_calls().len(), 32);

    let mut stage = interrupted(0.01, InterruptionAction::Terminate);
    stage.answer(&first_list(), failed(FailureKind::Throttled(None), 429));
    stage.forward_to(10.4);
    stage.answer(&first_list(), pods(forty(30)));
    assert!(stage.pod_calls().len() < 5);
}

#[test]
fn a_server_that_hung_and_is_back_gets_them_at_once_whichever_list_it_answers() {
    let stage = listed_after(2.999, 0.01, forty(30));
    assert!(stage.pod_calls().len() < 5);
    let stage = listed_after(3.0, 0.01, forty(30));
    assert_eq!(stage.pod_calls().len(), 32);
    // The second was asked for at 13 s.
    let mut stage = interrupted(0.01, InterruptionAction::Terminate);
    stage.forward_to(13.6);
    stage.answer_youngest_list(pods(forty(30)));
    assert_eq!(stage.pod_calls().len(), 32);
}

#[test]
fn only_the_first_list_is_measured() {
    let mut stage = listed_after(0.1, 0.01, vec![]);
    stage.end_watch();
    stage.forward_to(11.5);
    stage.answer_first(
        |request| matches!(request, Request::ListPods(..)),
        pods(forty(30)),
    );
    assert_eq!(stage.pod_calls().len(), 32);
    assert_eq!(spreads(&stage), Vec::<&Fact>::new());
}

#[test]
fn a_pod_waits_for_a_quarter_of_the_time_that_it_can_spare_and_one_that_has_none_not_at_all() {
    // D is at 130 s, so pods have stopped by 122 s: with a grace period of 91 s 20 s can be spared at 11 s.
    let mut stage = listed_after(1.0, 0.01, forty(91));
    let first_half = called_until(&mut stage, 13.5).len();
    assert!((12..=28).contains(&first_half), "{first_half}");
    let but_the_last = first_half + called_until(&mut stage, 15.8).len();
    assert!((35..=40).contains(&but_the_last), "{but_the_last}");
    assert_eq!(but_the_last + called_until(&mut stage, 16.0).len(), 40);
    let stage = listed_after(1.0, 0.01, forty(111));
    assert_eq!(stage.pod_calls().len(), 32);
    assert_eq!(spreads(&stage), Vec::<&Fact>::new(), "nobody was put off");
}

#[test]
fn in_a_spread_the_most_urgent_go_first_and_who_does_not_serve_at_once() {
    let mut unready = many(5, "unready", 30);
    for pod in &mut unready {
        pod.progress = PodProgress::NotReady;
    }
    let listed = [many(20, "patient", 30), many(20, "slow", 60), unready].concat();
    let mut stage = listed_after(1.0, 0.01, listed);
    let at_once = stage.pod_calls();
    assert!(at_once.len() >= 5, "{at_once:?}");
    let called = called_until(&mut stage, 30.0);
    let kinds: Vec<&str> = called
        .iter()
        .filter_map(|name| name.split('-').next())
        .collect();
    let expected = [["unready"; 5].as_slice(), &["slow"; 20], &["patient"; 20]].concat();
    assert_eq!(kinds, expected);
}

#[test]
fn a_deadline_that_moves_closer_hastens_who_was_put_off() {
    let mut stage = listed_after(1.0, 0.01, forty(30));
    let before = called_until(&mut stage, 15.0).len();
    assert!(before < 20, "{before}");
    // Pods have to stop by 49 s, so one more second can be waited for.
    stage.answer(&Request::ReadNotice, stage.notice(42.0));
    assert_eq!(before + called_until(&mut stage, 16.0).len(), 40);
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
