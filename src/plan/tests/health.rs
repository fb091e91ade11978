//! Signs of life, of the agent and of its neighbours.

use std::time::Duration;

use super::stage::{Stage, describe, failed, instance, pod, policy, silent, with_group};
use crate::plan::action::{ConnectFailure, FailureKind, MachineIdentity, Outcome, Ports, Request};
use crate::plan::fact::{AgentState, Fact, MetadataCause};

fn heartbeats(stage: &Stage) -> Vec<&Fact> {
    let facts = stage.facts.iter();
    facts
        .filter(|fact| matches!(fact, Fact::Heartbeat { .. }))
        .collect()
}

fn about_the_api_server(stage: &Stage) -> Vec<&Fact> {
    let facts = stage.facts.iter();
    facts
        .filter(|fact| {
            matches!(
                fact,
                Fact::ApiUnreachable { .. } | Fact::ApiRecovered { .. }
            )
        })
        .collect()
}

fn identity(life_cycle: Option<&str>) -> MachineIdentity {
    MachineIdentity {
        instance_id: instance(),
        instance_type: None,
        zone: None,
        life_cycle: life_cycle.map(str::to_owned),
    }
}

#[test]
fn polls_begin_an_interval_apart_however_long_the_answer_takes() {
    let mut stage = Stage::new(policy());
    assert_eq!(
        stage.limit_of(|request| *request == Request::ReadNotice),
        Some(2.0)
    );
    stage.forward_to(1.5);
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    assert_eq!(stage.due(), Some(5.0));
    stage.forward_to(5.0);
    assert_eq!(
        stage.limit_of(|request| *request == Request::ReadNotice),
        Some(7.0)
    );
    stage.forward_to(8.0);
    assert_eq!(stage.due(), Some(10.0));
}

/// When an agent that was started at `started` asks for the second time.
fn second_poll(started: f64) -> f64 {
    let mut stage = Stage::started(policy(), None, started);
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    stage.due().expect("a poll")
}

#[test]
fn all_agents_ask_at_the_same_seconds_of_the_day_whenever_they_were_started() {
    for (started, second) in [
        (0.0, 5.0),
        (3.2, 5.0),
        (4.8, 5.0),
        (4.95, 10.0),
        (7.0, 10.0),
    ] {
        let asked = second_poll(started);
        assert!((asked - second).abs() < 1e-3, "{started}: {asked}");
    }
}

#[test]
fn a_heartbeat_comes_every_minute_and_says_what_the_agent_does() {
    let mut stage = Stage::new(policy());
    for poll in 0..12 {
        stage.forward_to(f64::from(poll) * 5.0);
        let outcome = if poll < 9 {
            Outcome::Notice(None)
        } else {
            silent(FailureKind::TimedOut)
        };
        stage.answer(&Request::ReadNotice, outcome);
    }
    stage.forward_to(59.9);
    assert_eq!(heartbeats(&stage), Vec::<&Fact>::new());
    stage.forward_to(60.0);
    let expected = Fact::Heartbeat {
        state: AgentState::Idle,
        polls: 12,
        failures: 3,
        consecutive_failures: 3,
    };
    assert_eq!(heartbeats(&stage), [&expected]);
    stage.answer(&Request::ReadNotice, stage.notice(120.0));
    stage.forward_to(120.0);
    // The notice ended the failures; eleven polls at 65 s to 115 s timed out since, and the one at 120 s has just begun.
    let expected = Fact::Heartbeat {
        state: AgentState::Draining,
        polls: 24,
        failures: 14,
        consecutive_failures: 11,
    };
    assert_eq!(heartbeats(&stage).last(), Some(&&expected));
    stage.forward_to(240.0);
    let states: Vec<AgentState> = heartbeats(&stage)
        .into_iter()
        .filter_map(|fact| match fact {
            Fact::Heartbeat { state, .. } => Some(*state),
            _ => None,
        })
        .collect();
    assert_eq!(
        states,
        [
            AgentState::Idle,
            AgentState::Draining,
            AgentState::Draining,
            AgentState::After
        ]
    );
}

#[test]
fn a_metadata_service_that_fails_is_told_at_one_three_and_six_and_when_it_is_back() {
    let mut stage = Stage::new(policy());
    for poll in 0..7 {
        stage.forward_to(f64::from(poll) * 5.0);
        stage.answer(&Request::ReadNotice, failed(FailureKind::Forbidden, 403));
    }
    stage.forward_to(35.0);
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    stage.forward_to(40.0);
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    let unreachable = |consecutive_failures, seconds| Fact::MetadataUnreachable {
        consecutive_failures,
        since: Duration::from_secs(seconds),
        cause: MetadataCause::Disabled,
        http_status: Some(403),
        error: "refused".to_owned(),
    };
    let expected = [
        unreachable(1, 0),
        unreachable(3, 10),
        unreachable(6, 25),
        Fact::MetadataRecovered {
            failures: 7,
            since: Duration::from_secs(35),
        },
    ];
    let told: Vec<Fact> = stage
        .facts
        .into_iter()
        .filter(|fact| !matches!(fact, Fact::Started { .. }))
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn an_unreachable_metadata_service_has_a_likely_cause() {
    for (kind, likely) in [
        (FailureKind::Forbidden, MetadataCause::Disabled),
        (FailureKind::HopLimit, MetadataCause::HopLimit),
        (
            FailureKind::Unreachable(ConnectFailure::Refused),
            MetadataCause::Refused,
        ),
        (
            FailureKind::Unreachable(ConnectFailure::Other),
            MetadataCause::Timeout,
        ),
        (FailureKind::TimedOut, MetadataCause::Timeout),
        (FailureKind::Unreadable, MetadataCause::Body),
        (FailureKind::Lost, MetadataCause::Body),
        (FailureKind::ServerError, MetadataCause::Status),
    ] {
        let mut stage = Stage::new(policy());
        stage.answer(&Request::ReadNotice, silent(kind));
        let told = |fact: &Fact| matches!(fact, Fact::MetadataUnreachable { cause, .. } if *cause == likely);
        assert_eq!(stage.count(told), 1, "{kind:?}");
    }
}

#[test]
fn the_identity_is_asked_for_every_five_seconds_until_it_is_known() {
    let mut stage = Stage::knowing_nothing(policy());
    let open = |stage: &Stage| stage.open_requests().contains(&&Request::ReadIdentity);
    assert_eq!(
        stage.limit_of(|request| *request == Request::ReadIdentity),
        Some(2.0)
    );
    stage.forward_to(1.0);
    stage.answer(&Request::ReadIdentity, failed(FailureKind::NotFound, 404));
    stage.forward_to(5.9);
    assert!(!open(&stage));
    assert_eq!(stage.planner.identity(), None);
    stage.forward_to(6.0);
    stage.answer(
        &Request::ReadIdentity,
        Outcome::Identity(identity(Some("spot"))),
    );
    assert_eq!(stage.planner.identity(), Some(&identity(Some("spot"))));
    stage.forward_to(60.0);
    assert!(!open(&stage));
}

#[test]
fn only_an_instance_that_says_it_is_no_spot_instance_is_told_of() {
    for (life_cycle, told) in [
        (Some("on-demand"), vec!["on-demand"]),
        (Some("spot"), vec![]),
        (None, vec![]),
    ] {
        let mut stage = Stage::knowing_nothing(policy());
        stage.answer(
            &Request::ReadIdentity,
            Outcome::Identity(identity(life_cycle)),
        );
        let facts = stage.facts.iter();
        let found: Vec<&str> = facts
            .filter_map(|fact| match fact {
                Fact::NotSpot { life_cycle } => Some(life_cycle.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(found, told, "{life_cycle:?}");
    }
}

/// Four evictions under way, each of which may be answered when it suits the test.
fn four_evictions() -> Stage {
    let listed = ["a", "b", "c", "d"].map(|name| pod(name, 30)).to_vec();
    Stage::draining(policy(), 120.0, listed)
}

#[test]
fn an_api_server_is_told_silent_after_three_seconds_and_told_back_with_the_first_answer() {
    for kind in [
        FailureKind::Unreachable(ConnectFailure::Other),
        FailureKind::Lost,
        FailureKind::TimedOut,
        FailureKind::Panicked,
    ] {
        let mut stage = four_evictions();
        stage.answer_pod("a", silent(kind));
        stage.forward_to(7.9);
        stage.answer_pod("b", silent(kind));
        assert_eq!(about_the_api_server(&stage), Vec::<&Fact>::new());
        stage.forward_to(8.0);
        stage.answer_pod("c", silent(kind));
        let unreachable = Fact::ApiUnreachable {
            since: Duration::from_secs(3),
            error: "silence".to_owned(),
        };
        assert_eq!(about_the_api_server(&stage), [&unreachable], "{kind:?}");
        stage.forward_to(9.0);
        stage.answer_pod("d", Outcome::Done);
        let recovered = Fact::ApiRecovered {
            since: Duration::from_secs(4),
        };
        assert_eq!(about_the_api_server(&stage), [&unreachable, &recovered]);
    }
}

#[test]
fn an_answer_between_two_silences_and_be_it_an_error_parts_them() {
    for answer in [Outcome::Done, failed(FailureKind::ServerError, 503)] {
        let mut stage = four_evictions();
        stage.answer_pod("a", silent(FailureKind::Lost));
        stage.forward_to(7.0);
        stage.answer_pod("b", answer);
        stage.forward_to(9.0);
        stage.answer_pod("c", silent(FailureKind::Lost));
        assert_eq!(about_the_api_server(&stage), Vec::<&Fact>::new());
    }
}

#[test]
fn a_watch_event_is_an_answer_too() {
    let mut stage = four_evictions();
    stage.answer_pod("a", silent(FailureKind::Lost));
    stage.forward_to(8.0);
    stage.answer_pod("b", silent(FailureKind::Lost));
    assert_eq!(about_the_api_server(&stage).len(), 1);
    stage.watch(super::bookmark());
    assert_eq!(about_the_api_server(&stage).len(), 2);
}

#[test]
fn a_silent_load_balancer_is_not_the_api_server() {
    let mut stage = Stage::draining(with_group(Ports::All), 120.0, vec![pod("web", 30)]);
    let mut looks = 0;
    while stage.at < 14.0 {
        if stage.open_requests().contains(&&describe(Ports::All)) {
            looks += 1;
            stage.answer(&describe(Ports::All), silent(FailureKind::TimedOut));
        }
        stage.forward_to_next_due();
    }
    assert!(looks > 3, "{looks} looks");
    assert_eq!(about_the_api_server(&stage), Vec::<&Fact>::new());
}
