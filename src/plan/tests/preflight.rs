//! Permissions: asked for one by one while there is no notice, and told once.

use super::stage::{Stage, failed, node, now, policy, silent};
use crate::plan::action::{FailureKind, Outcome, Request};
use crate::plan::fact::Fact;
use crate::plan::preflight::{Access, Permission, permissions_needed};
use crate::plan::{Mode, Policy};

fn names(policy: &Policy) -> Vec<String> {
    let needed = permissions_needed(policy);
    needed.iter().map(ToString::to_string).collect()
}

fn arrived() -> Stage {
    let mut stage = Stage::new(policy());
    stage.planner.look_over_permissions();
    stage
}

fn question(stage: &Stage) -> Option<Permission> {
    let requests = stage.open_requests();
    let mut questions = requests.into_iter().filter_map(|request| match request {
        Request::ReviewAccess(permission) => Some(*permission),
        _ => None,
    });
    let question = questions.next();
    assert_eq!(questions.next(), None, "one question at a time");
    question
}

fn answer(stage: &mut Stage, outcome: Outcome) {
    stage.answer_first(
        |request| matches!(request, Request::ReviewAccess(_)),
        outcome,
    );
}

fn told(stage: &Stage) -> Vec<&Fact> {
    let facts = stage.facts.iter();
    facts
        .filter(|fact| matches!(fact, Fact::PreflightPassed | Fact::PreflightFailed { .. }))
        .collect()
}

/// Answers every question, with a denial of those that `denies` picks.
fn answer_all(stage: &mut Stage, denies: impl Fn(&Permission) -> bool) -> Vec<Permission> {
    let mut asked = Vec::new();
    while let Some(permission) = question(stage) {
        asked.push(permission);
        let access = if denies(&permission) {
            Access::Denied { reason: None }
        } else {
            Access::Allowed
        };
        answer(stage, Outcome::Access(access));
    }
    asked
}

#[test]
fn what_is_asked_for_is_what_the_mode_takes() {
    assert_eq!(
        names(&policy()),
        [
            "get nodes",
            "patch nodes",
            "create events",
            "list pods",
            "watch pods",
            "delete pods",
            "create pods/eviction",
            "patch pods/status",
            "get namespaces",
        ]
    );
    let beside = Policy {
        mode: Mode::DeregisterOnly,
        ..policy()
    };
    assert_eq!(
        names(&beside),
        ["get nodes", "patch nodes", "create events"]
    );
    let watching = Policy {
        mode: Mode::Observe,
        ..policy()
    };
    assert_eq!(names(&watching), Vec::<String>::new());
}

#[test]
fn the_first_poll_is_answered_before_anything_is_asked_and_each_permission_is_asked_for_once() {
    let mut stage = arrived();
    stage.forward_to(1.0);
    assert_eq!(question(&stage), None);
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    assert_eq!(
        answer_all(&mut stage, |_| false),
        permissions_needed(&policy())
    );
    assert_eq!(told(&stage), [&Fact::PreflightPassed]);
    for poll in 1..20 {
        stage.forward_to(f64::from(poll) * 5.0);
        stage.answer(&Request::ReadNotice, Outcome::Notice(None));
        assert_eq!(question(&stage), None);
    }
    assert_eq!(told(&stage).len(), 1);
}

#[test]
fn a_metadata_service_that_is_away_keeps_no_permission_from_being_looked_over() {
    let mut stage = arrived();
    stage.answer(&Request::ReadNotice, silent(FailureKind::TimedOut));
    answer_all(&mut stage, |_| false);
    assert_eq!(told(&stage), [&Fact::PreflightPassed]);
}

#[test]
fn what_is_missing_is_named_exactly() {
    let mut stage = arrived();
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    answer_all(&mut stage, |permission| {
        ["create pods/eviction", "get nodes"].contains(&permission.to_string().as_str())
    });
    let [Fact::PreflightFailed { missing, reason }] = told(&stage)[..] else {
        panic!("{:?}", told(&stage));
    };
    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
    assert_eq!(missing, ["get nodes", "create pods/eviction"]);
    assert_eq!(*reason, None);
}

#[test]
fn a_server_that_is_away_is_asked_again_ever_later_and_nothing_is_said_meanwhile() {
    let mut stage = arrived();
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    let first = question(&stage);
    let before = stage.facts.len();
    let mut waits = Vec::new();
    for _ in 0..9 {
        answer(&mut stage, silent(FailureKind::TimedOut));
        let since = stage.at;
        while question(&stage).is_none() {
            stage.forward_to_next_due();
        }
        assert_eq!(question(&stage), first);
        waits.push(stage.at - since);
    }
    for (wait, expected) in waits
        .iter()
        .zip([5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0])
    {
        assert!((0.8..=1.2).contains(&(wait / expected)), "{waits:?}");
    }
    let said: Vec<&Fact> = stage.facts[before..]
        .iter()
        .filter(|fact| {
            !matches!(
                fact,
                Fact::Heartbeat { .. } | Fact::MetadataUnreachable { .. }
            )
        })
        .collect();
    assert_eq!(said, Vec::<&Fact>::new());
    answer_all(&mut stage, |_| false);
    assert_eq!(told(&stage), [&Fact::PreflightPassed]);
}

#[test]
fn who_may_not_even_ask_is_told_so_once() {
    let mut stage = arrived();
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    answer(&mut stage, failed(FailureKind::Forbidden, 403));
    let [Fact::PreflightFailed { missing, reason }] = told(&stage)[..] else {
        panic!("{:?}", told(&stage));
    };
    assert!(missing.is_empty() && reason.is_some());
    assert_eq!(question(&stage), None);
}

#[test]
fn a_notice_ends_the_questions_and_they_go_on_when_it_is_over() {
    let mut stage = arrived();
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    answer(&mut stage, Outcome::Access(Access::Allowed));
    let open = question(&stage);
    stage.forward_to(5.0);
    stage.answer(&Request::ReadNotice, stage.notice(30.0));
    assert_eq!(question(&stage), None);
    for poll in 2..8 {
        stage.forward_to(f64::from(poll) * 5.0);
        stage.answer(&Request::ReadNotice, stage.notice(0.0));
        assert_eq!(question(&stage), None, "at {} s", stage.at);
    }
    stage.forward_to(45.0);
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    assert_eq!(question(&stage), open);
    answer_all(&mut stage, |_| false);
    assert_eq!(told(&stage), [&Fact::PreflightPassed]);
}

#[test]
fn nobody_waits_for_the_questions_when_the_agent_is_asked_to_stop() {
    let mut stage = arrived();
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    assert!(question(&stage).is_some());
    stage.planner.handle_stop();
    stage.planner.handle_timeout(now(stage.at));
    assert!(stage.planner.is_stopped());
}
