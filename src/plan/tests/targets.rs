//! The target groups: who is asked when, what is told of each port, and how they are counted.

use std::time::Duration;

use super::stage::{Stage, describe, failed, group, own, policy, silent, target, with_group};
use crate::plan::Policy;
use crate::plan::action::{FailureKind, Outcome, Ports, Request, TargetState};
use crate::plan::fact::{Fact, TargetErrorKind, TargetNews, TargetTally};
use crate::plan::id::TargetGroupArn;
use crate::plan::targets::ConfiguredGroup;

/// What was told of ports that could not be ended: which, why, after how many deregistrations.
fn failures(stage: &Stage) -> Vec<(Option<u16>, TargetErrorKind, u32)> {
    let facts = stage.facts.iter();
    facts
        .filter_map(|fact| match fact {
            Fact::Target(target, TargetNews::Failed { kind, attempts, .. }) => {
                Some((target.port, *kind, *attempts))
            }
            _ => None,
        })
        .collect()
}

/// The calls to the load balancer under way.
fn calls(stage: &Stage) -> Vec<&Request> {
    let requests = stage.open_requests().into_iter();
    requests
        .filter(|request| {
            matches!(
                request,
                Request::DescribeTargets(..) | Request::DeregisterTargets(..)
            )
        })
        .collect()
}

fn named(name: &str) -> TargetGroupArn {
    let arn = format!(
        "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/{name}/0123456789abcdef"
    );
    TargetGroupArn::parse(&arn).expect("a well-formed ARN")
}

fn with_groups(groups: &[(&str, Ports)]) -> Policy {
    let configured = groups.iter().map(|(name, ports)| ConfiguredGroup {
        arn: named(name),
        ports: *ports,
    });
    Policy {
        groups: configured.collect(),
        ..policy()
    }
}

fn deregister(ports: &[u16]) -> Request {
    Request::DeregisterTargets(group(), own(), ports.to_vec())
}

fn throttled() -> Outcome {
    failed(FailureKind::Throttled(None), 400)
}

/// Lets time pass until the load balancer is asked something.
fn forward_to_next_call(stage: &mut Stage) {
    while calls(stage).is_empty() {
        stage.forward_to_next_due();
    }
}

#[test]
fn four_groups_are_asked_at_once_and_the_fifth_when_one_has_answered() {
    let groups = ["a", "b", "c", "d", "e"].map(|name| (name, Ports::All));
    let mut stage = Stage::interrupted(with_groups(&groups), 120.0);
    assert_eq!(calls(&stage).len(), 4);
    let before: Vec<Request> = calls(&stage).into_iter().cloned().collect();
    stage.answer(&before[1], Outcome::Targets(vec![]));
    assert_eq!(calls(&stage).len(), 4);
    assert_eq!(calls(&stage)[..3], [&before[0], &before[2], &before[3]]);
    assert!(!before.contains(calls(&stage)[3]));
}

#[test]
fn a_group_is_looked_at_again_until_what_was_asked_for_has_happened() {
    let mut stage = Stage::interrupted(with_group(Ports::Only(31080)), 120.0);
    let look = describe(Ports::Only(31080));
    let registered = || Outcome::Targets(vec![target(31080, TargetState::Registered)]);
    for _ in 0..2 {
        stage.answer(&look, registered());
        stage.answer(&deregister(&[31080]), Outcome::Done);
        assert_eq!(calls(&stage), Vec::<&Request>::new());
        forward_to_next_call(&mut stage);
    }
    let draining = Outcome::Targets(vec![target(31080, TargetState::Draining)]);
    stage.answer(&look, draining);
    let told = |fact: &Fact| {
        matches!(
            fact,
            Fact::Target(_, TargetNews::Deregistered { attempts: 2, .. })
        )
    };
    assert_eq!(stage.count(told), 1);
    stage.forward_to(120.0);
    assert_eq!(calls(&stage), Vec::<&Request>::new());
}

#[test]
fn a_failed_deregistration_is_followed_by_a_look_unless_nobody_may_look() {
    let look = describe(Ports::Only(31080));
    let mut stage = Stage::interrupted(with_group(Ports::Only(31080)), 120.0);
    let registered = Outcome::Targets(vec![target(31080, TargetState::Registered)]);
    stage.answer(&look, registered);
    stage.answer(&deregister(&[31080]), throttled());
    forward_to_next_call(&mut stage);
    assert_eq!(calls(&stage), [&look]);

    let mut stage = Stage::interrupted(with_group(Ports::Only(31080)), 120.0);
    stage.answer(&look, failed(FailureKind::Forbidden, 403));
    for _ in 0..2 {
        stage.answer(&deregister(&[31080]), throttled());
        forward_to_next_call(&mut stage);
        assert_eq!(calls(&stage), [&deregister(&[31080])]);
    }
}

#[test]
fn a_named_port_whose_deregistration_is_denied_is_given_up_at_once() {
    let look = describe(Ports::Only(31080));
    let registered = || Outcome::Targets(vec![target(31080, TargetState::Registered)]);
    // Denied after a look.
    let mut stage = Stage::interrupted(with_group(Ports::Only(31080)), 120.0);
    stage.answer(&look, registered());
    stage.answer(&deregister(&[31080]), failed(FailureKind::Forbidden, 403));
    let denied = [(Some(31080), TargetErrorKind::Denied, 1)];
    assert_eq!(failures(&stage), denied);
    // Denied where looking was denied before.
    let mut stage = Stage::interrupted(with_group(Ports::Only(31080)), 120.0);
    stage.answer(&look, failed(FailureKind::Forbidden, 403));
    stage.answer(&deregister(&[31080]), failed(FailureKind::Forbidden, 403));
    assert_eq!(failures(&stage), denied);
    // The look after the deregistration is denied.
    let mut stage = Stage::interrupted(with_group(Ports::Only(31080)), 120.0);
    stage.answer(&look, registered());
    stage.answer(&deregister(&[31080]), Outcome::Done);
    forward_to_next_call(&mut stage);
    stage.answer(&look, failed(FailureKind::Forbidden, 403));
    assert_eq!(failures(&stage), denied);
}

#[test]
fn what_has_not_let_go_at_the_deadline_is_told_port_by_port_and_what_has_is_not() {
    let groups = [
        ("half", Ports::All),
        ("done", Ports::All),
        ("denied", Ports::All),
    ];
    let mut stage = Stage::interrupted(with_groups(&groups), 20.0);
    let ask = |name: &str| Request::DescribeTargets(named(name), own(), Ports::All);
    let draining = Outcome::Targets(vec![target(31083, TargetState::Draining)]);
    stage.answer(&ask("done"), draining);
    stage.answer(&ask("denied"), failed(FailureKind::Forbidden, 403));
    let denied = (None, TargetErrorKind::Denied, 0);
    assert_eq!(failures(&stage), [denied]);
    // Two looks time out, and the answer to the third comes so late that the deregistration hangs at the deadline.
    stage.forward_to(19.95);
    let half = Outcome::Targets(vec![
        target(31080, TargetState::Registered),
        target(31081, TargetState::Registered),
        target(31082, TargetState::Draining),
    ]);
    stage.answer(&ask("half"), half);
    stage.forward_to(24.9);
    assert_eq!(calls(&stage).len(), 1);
    assert_eq!(failures(&stage), [denied]);
    stage.forward_to(25.0);
    let expected = [
        denied,
        (Some(31080), TargetErrorKind::Unreachable, 1),
        (Some(31081), TargetErrorKind::Unreachable, 1),
    ];
    assert_eq!(failures(&stage), expected);
}

#[test]
fn a_registration_that_outlives_its_deregistrations_is_told_so() {
    let mut stage = Stage::draining(with_group(Ports::All), 20.0, vec![]);
    let registered = || Outcome::Targets(vec![target(31080, TargetState::Registered)]);
    while failures(&stage).is_empty() {
        if calls(&stage) == [&describe(Ports::All)] {
            stage.answer(&describe(Ports::All), registered());
        } else if calls(&stage) == [&deregister(&[31080])] {
            stage.answer(&deregister(&[31080]), Outcome::Done);
        } else {
            stage.forward_to_next_due();
        }
    }
    let told = |fact: &Fact| {
        matches!(fact, Fact::Target(_, TargetNews::Failed { error, .. })
            if error == "the registration is still there after its deregistration")
    };
    assert_eq!(stage.count(told), 1);
    assert!((15.0..=25.0).contains(&stage.at), "{} s", stage.at);
}

#[test]
fn a_throttled_group_has_its_last_turn_within_the_last_quarter_of_a_second() {
    let look = describe(Ports::All);
    let mut stage = Stage::draining(with_group(Ports::All), 20.0, vec![]);
    let mut last = stage.at;
    while failures(&stage).is_empty() {
        if calls(&stage) == [&look] {
            last = stage.at;
            stage.answer(&look, throttled());
        } else {
            stage.forward_to_next_due();
        }
    }
    // The deadline is at 25 s.
    assert!((19.75..=20.0).contains(&last), "{last} s");
    assert_eq!(failures(&stage), [(None, TargetErrorKind::Throttled, 0)]);
}

#[test]
fn an_accepted_deregistration_whose_look_is_throttled_is_looked_at_to_the_end_and_has_not_failed() {
    let look = describe(Ports::Only(31080));
    let mut stage = Stage::interrupted(with_group(Ports::Only(31080)), 20.0);
    stage.answer(
        &look,
        Outcome::Targets(vec![target(31080, TargetState::Registered)]),
    );
    stage.answer(&deregister(&[31080]), Outcome::Done);
    let mut looks = 0;
    // The deadline is at 25 s, and no deregistration begins after 20 s.
    while stage.at < 21.0 {
        if calls(&stage) == [&look] {
            looks += 1;
            stage.answer(&look, throttled());
        } else {
            stage.forward_to_next_due();
        }
    }
    assert!(looks > 2, "{looks}");
    assert_eq!(failures(&stage), []);
    forward_to_next_call(&mut stage);
    stage.answer(
        &look,
        Outcome::Targets(vec![target(31080, TargetState::Draining)]),
    );
    assert_eq!(stage.summary().targets.failed, 0);
}

#[test]
fn a_group_that_is_named_with_two_ports_is_asked_for_all_of_them() {
    let mut policy = with_group(Ports::Only(31080));
    let other = ConfiguredGroup {
        ports: Ports::Only(31443),
        ..policy.groups[0].clone()
    };
    policy.groups.push(other);
    let stage = Stage::interrupted(policy, 120.0);
    assert_eq!(calls(&stage), [&describe(Ports::All)]);
}

#[test]
fn who_was_throttled_asks_for_one_group_after_the_other() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let groups = names.map(|name| (name, Ports::Only(30_001)));
    let mut stage = Stage::draining(with_groups(&groups), 120.0, vec![]);
    let registered = || Outcome::Targets(vec![target(30_001, TargetState::Registered)]);
    let first = |stage: &Stage| calls(stage).first().map(|call| (*call).clone());
    for _ in 0..2 {
        // Four looks, and then four deregistrations that are throttled together.
        for call in calls(&stage).into_iter().cloned().collect::<Vec<_>>() {
            let outcome = match call {
                Request::DescribeTargets(..) => registered(),
                _ => throttled(),
            };
            stage.answer(&call, outcome);
        }
    }
    assert_eq!(calls(&stage), Vec::<&Request>::new());
    let mut turns = Vec::new();
    for _ in 0..4 {
        forward_to_next_call(&mut stage);
        turns.push(stage.at);
        // Each turn is a look and what follows from it, at once.
        for outcome in [registered(), throttled()] {
            assert_eq!(calls(&stage).len(), 1);
            let call = first(&stage).expect("a call");
            stage.answer(&call, outcome);
        }
        assert_eq!(calls(&stage), Vec::<&Request>::new());
    }
    // Full jitter over 0.25 s, and half as long again each time.
    let mut before = 5.0;
    for (turn, longest) in turns.into_iter().zip([0.25, 0.375, 0.5625, 0.843_75]) {
        assert!((0.0..longest).contains(&(turn - before)), "{turn} s");
        before = turn;
    }
}

#[test]
fn who_is_let_through_again_waits_no_longer() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let groups = names.map(|name| (name, Ports::Only(30_001)));
    let mut stage = Stage::draining(with_groups(&groups), 120.0, vec![]);
    let look = calls(&stage)[0].clone();
    stage.answer(&look, throttled());
    for call in calls(&stage).into_iter().cloned().collect::<Vec<_>>() {
        stage.answer(
            &call,
            Outcome::Targets(vec![target(30_001, TargetState::Registered)]),
        );
    }
    assert_eq!(calls(&stage).len(), 3);
    let call = calls(&stage)[0].clone();
    assert!(matches!(call, Request::DeregisterTargets(..)), "{call:?}");
    stage.answer(&call, Outcome::Done);
    // As many as may be under way are.
    assert_eq!(calls(&stage).len(), 4);
}

#[test]
fn a_deadline_that_comes_closer_ends_the_calls_earlier() {
    let mut stage = Stage::draining(with_group(Ports::All), 120.0, vec![]);
    let look = describe(Ports::All);
    while failures(&stage).is_empty() && stage.at < 119.0 {
        if calls(&stage) == [&look] {
            stage.answer(&look, throttled());
        } else if stage.open_requests().contains(&&Request::ReadNotice) {
            let notice = stage.notice(40.0 - stage.at);
            stage.answer(&Request::ReadNotice, notice);
        } else {
            stage.forward_to_next_due();
        }
    }
    assert_eq!(
        failures(&stage).first(),
        Some(&(None, TargetErrorKind::Throttled, 0))
    );
    // The notice said 40 s; a turn comes every five seconds at least.
    assert!((30.0..=35.0).contains(&stage.at), "{} s", stage.at);
}

#[test]
fn the_verdict_waits_for_the_groups_and_says_when_the_last_one_let_go() {
    let mut stage = Stage::draining(with_group(Ports::All), 120.0, vec![]);
    stage.forward_to(8.0);
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 0);
    let registered = Outcome::Targets(vec![target(31080, TargetState::Registered)]);
    stage.answer(&describe(Ports::All), registered);
    stage.answer(&deregister(&[31080]), Outcome::Done);
    stage.forward_to(9.0);
    assert_eq!(stage.count(|fact| matches!(fact, Fact::Verdict(..))), 0);
    let draining = Outcome::Targets(vec![target(31080, TargetState::Draining)]);
    stage.answer(&describe(Ports::All), draining);
    let summary = stage.summary();
    assert_eq!(summary.last_target_after, Some(Duration::from_secs(4)));
    assert_eq!(
        summary.targets,
        TargetTally {
            draining: 1,
            ..TargetTally::default()
        }
    );
}

#[test]
fn the_receipt_counts_every_registration_once() {
    let groups = [
        ("draining", Ports::All),
        ("gone", Ports::All),
        ("denied", Ports::All),
        ("open", Ports::All),
    ];
    let mut stage = Stage::draining(with_groups(&groups), 20.0, vec![]);
    let ask = |name: &str| Request::DescribeTargets(named(name), own(), Ports::All);
    let of = |ports: &[u16], state| {
        Outcome::Targets(ports.iter().map(|port| target(*port, state)).collect())
    };
    stage.answer(&ask("draining"), of(&[1, 2, 3], TargetState::Draining));
    stage.answer(&ask("gone"), of(&[4, 5], TargetState::NotRegistered));
    stage.answer(&ask("open"), of(&[6, 7, 8, 9], TargetState::Registered));
    stage.answer(&ask("denied"), of(&[10, 11], TargetState::Registered));
    let forbidden = |request: &Request| matches!(request, Request::DeregisterTargets(arn, ..) if *arn == named("denied"));
    stage.answer_first(forbidden, failed(FailureKind::Forbidden, 403));
    stage.forward_to(10.0);
    let summary = stage.summary();
    assert_eq!(
        summary.targets,
        TargetTally {
            draining: 3,
            gone: 2,
            failed: 2,
            pending: 4,
            reregistered: 0,
        }
    );
    assert_eq!(summary.last_target_after, None);
}

#[test]
fn groups_that_wait_for_the_instances_id_are_pending() {
    let groups = [("a", Ports::All), ("b", Ports::All)];
    let mut stage = Stage::knowing_nothing(with_groups(&groups));
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    stage.forward_to(5.0);
    stage.answer(&Request::ReadNotice, stage.notice(20.0));
    stage.forward_to(10.0);
    assert_eq!(
        stage.summary().targets,
        TargetTally {
            pending: 2,
            ..TargetTally::default()
        }
    );
    assert_eq!(stage.summary().last_target_after, None);
}

#[test]
fn a_silent_load_balancer_is_given_up_as_unreachable() {
    let mut stage = Stage::draining(with_group(Ports::Only(80)), 20.0, vec![]);
    while failures(&stage).is_empty() {
        if calls(&stage).is_empty() {
            stage.forward_to_next_due();
        } else {
            stage.answer(&describe(Ports::Only(80)), silent(FailureKind::Lost));
        }
    }
    assert_eq!(
        failures(&stage),
        [(Some(80), TargetErrorKind::Unreachable, 0)]
    );
    assert!(stage.at <= 20.0, "{} s", stage.at);
}
