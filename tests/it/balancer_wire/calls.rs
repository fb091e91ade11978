//! What is asked, and what answers say.

use std::collections::BTreeMap;

use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::plan::action::{Ports, Target, TargetState};
use spot_interrupt_handler::plan::binding::TargetId;
use spot_interrupt_handler::plan::id::TargetGroupArn;
use spot_interrupt_handler::ports::Balancer;

use super::{ARN, INSTANCE, answered, deregistered, form, group, instance, refused};
use crate::scripted::{Reply, Server, typed};

const CHINESE_ARN: &str =
    "arn:aws-cn:elasticloadbalancing:cn-north-1:111122223333:targetgroup/web/73e2d6bc24d8a067";

fn health(members: &str) -> Reply {
    let list = format!("<TargetHealthDescriptions>{members}</TargetHealthDescriptions>");
    answered("DescribeTargetHealth", &list)
}

fn member(id: &str, port: &str, state: &str) -> String {
    format!(
        "<member><HealthCheckPort>80</HealthCheckPort><TargetHealth>{state}</TargetHealth>\
         <Target><Id>{id}</Id>{port}</Target></member>"
    )
}

/// The form of a request about the group, with this in it besides.
fn expected(action: &str, targets: &[(&str, &str)]) -> BTreeMap<String, String> {
    [
        ("Action", action),
        ("Version", "2015-12-01"),
        ("TargetGroupArn", ARN),
    ]
    .iter()
    .chain(targets)
    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
    .collect()
}

async fn described(members: &str, ports: Ports) -> (Vec<Target>, BTreeMap<String, String>) {
    described_of(&instance(), members, ports).await
}

async fn described_of(
    target: &TargetId,
    members: &str,
    ports: Ports,
) -> (Vec<Target>, BTreeMap<String, String>) {
    let server = Server::replying([health(members)]).await;
    let balancer = Elbv2::at(&server.url);
    let targets = balancer.targets(&group(), target, ports).await;
    (targets.expect("targets"), form(&server.only()))
}

#[tokio::test]
async fn every_port_of_the_own_instance_comes_back_with_its_state_and_no_other_instance_does() {
    let port = |port: u16| format!("<Port>{port}</Port>");
    let members = [
        member(INSTANCE, &port(80), "<State>healthy</State>"),
        member(
            INSTANCE,
            &port(81),
            "<State>draining</State><Reason>Target.DeregistrationInProgress</Reason>",
        ),
        member("i-0fedcba9876543210", &port(80), "<State>healthy</State>"),
        member(
            INSTANCE,
            &port(82),
            "<State>unhealthy</State><Reason>Target.Timeout</Reason>",
        ),
        member(
            INSTANCE,
            &port(83),
            "<State>unused</State><Reason>Target.NotRegistered</Reason>",
        ),
        member(
            INSTANCE,
            &port(84),
            "<State>unused</State><Reason>Target.NotInUse</Reason>",
        ),
        member(INSTANCE, &port(85), "<State>a-state-of-next-year</State>"),
        member(INSTANCE, &port(86), ""),
        member(INSTANCE, "", "<State>healthy</State>"),
        member(INSTANCE, "<Port>70000</Port>", "<State>healthy</State>"),
    ]
    .concat();
    let (targets, form) = described(&members, Ports::All).await;
    let expected = [
        (80, TargetState::Registered),
        (81, TargetState::Draining),
        (82, TargetState::Registered),
        (83, TargetState::NotRegistered),
        (84, TargetState::Registered),
        (85, TargetState::Registered),
        (86, TargetState::Registered),
    ]
    .map(|(port, state)| Target { port, state });
    assert_eq!(targets, expected);
    assert_eq!(form, self::expected("DescribeTargetHealth", &[]));
}

#[tokio::test]
async fn a_group_without_this_instance_has_no_targets_of_it() {
    assert_eq!(described("", Ports::All).await.0, []);
}

#[tokio::test]
async fn one_port_is_asked_for_by_id_and_number_and_no_other_comes_back() {
    let unused = "<State>unused</State><Reason>Target.NotRegistered</Reason>";
    let asked_for = member(INSTANCE, "<Port>8080</Port>", unused);
    let besides = member(INSTANCE, "<Port>80</Port>", "<State>healthy</State>");
    let answer = [asked_for, besides].concat();
    let (targets, form) = described(&answer, Ports::Only(8080)).await;
    let unregistered = Target {
        port: 8080,
        state: TargetState::NotRegistered,
    };
    assert_eq!(targets, [unregistered]);
    let asked = [
        ("Targets.member.1.Id", INSTANCE),
        ("Targets.member.1.Port", "8080"),
    ];
    assert_eq!(form, expected("DescribeTargetHealth", &asked));
}

/// Not every implementation calls such a target unused.
#[tokio::test]
async fn a_target_is_not_registered_when_that_is_the_reason_whatever_the_state() {
    let reason = "<State>unavailable</State><Reason>Target.NotRegistered</Reason>";
    let answer = member(INSTANCE, "<Port>80</Port>", reason);
    let state = TargetState::NotRegistered;
    let targets = described(&answer, Ports::Only(80)).await.0;
    assert_eq!(targets, [Target { port: 80, state }]);
}

#[tokio::test]
async fn a_pod_is_known_by_its_address_in_whatever_form_it_is_written() {
    let healthy = "<State>healthy</State>";
    let port = "<Port>8080</Port>";
    for (own, listed, other) in [
        ("10.0.3.17", "10.0.3.17", "10.0.3.1"),
        ("2001:db8::17", "2001:0DB8:0:0:0:0:0:17", "2001:db8::1"),
    ] {
        let target = TargetId::Address(own.parse().expect("an address"));
        let answer = [
            member(listed, port, healthy),
            member(other, port, healthy),
            member(INSTANCE, port, healthy),
        ]
        .concat();
        let registered = Target {
            port: 8080,
            state: TargetState::Registered,
        };
        let (targets, _) = described_of(&target, &answer, Ports::All).await;
        assert_eq!(targets, [registered]);
        let (targets, form) = described_of(&target, &answer, Ports::Only(8080)).await;
        assert_eq!(targets, [registered]);
        let asked = [
            ("Targets.member.1.Id", own),
            ("Targets.member.1.Port", "8080"),
        ];
        assert_eq!(form, expected("DescribeTargetHealth", &asked));
        let server = Server::replying([deregistered()]).await;
        let result = Elbv2::at(&server.url)
            .deregister(&group(), &target, &[8080])
            .await;
        assert!(result.is_ok(), "{result:?}");
        let form = self::form(&server.only());
        assert_eq!(form, expected("DeregisterTargets", &asked));
    }
}

#[tokio::test]
async fn a_deregistration_names_the_instance_with_each_port_in_one_request() {
    let server = Server::replying([deregistered()]).await;
    let balancer = Elbv2::at(&server.url);
    let result = balancer
        .deregister(&group(), &instance(), &[30_443, 65_535])
        .await;
    assert!(result.is_ok(), "{result:?}");
    let request = server.only();
    assert_eq!(request.line, "POST /");
    assert_eq!(
        request.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    let named = [
        ("Targets.member.1.Id", INSTANCE),
        ("Targets.member.1.Port", "30443"),
        ("Targets.member.2.Id", INSTANCE),
        ("Targets.member.2.Port", "65535"),
    ];
    assert_eq!(form(&request), expected("DeregisterTargets", &named));
}

#[tokio::test]
async fn both_calls_are_signed_for_the_region_of_the_group() {
    let server = Server::replying([health(""), deregistered()]).await;
    let balancer = Elbv2::at(&server.url);
    for (arn, region) in [(ARN, "eu-west-1"), (CHINESE_ARN, "cn-north-1")] {
        let group = TargetGroupArn::parse(arn).expect("an ARN");
        if region == "eu-west-1" {
            let targets = balancer.targets(&group, &instance(), Ports::All).await;
            assert_eq!(targets.expect("targets"), []);
        } else {
            let result = balancer.deregister(&group, &instance(), &[80]).await;
            assert!(result.is_ok(), "{result:?}");
        }
        let request = server.received().pop().expect("a request");
        let signature = request.header("authorization").expect("a signature");
        let (credential, rest) = signature.split_once(", ").expect("parts");
        let scope = format!("/{region}/elasticloadbalancing/aws4_request");
        assert!(
            credential.starts_with("AWS4-HMAC-SHA256 Credential=") && credential.ends_with(&scope),
            "{signature}"
        );
        assert!(rest.contains("Signature="), "{signature}");
        assert!(request.header("x-amz-date").is_some());
    }
}

#[tokio::test]
async fn a_target_that_is_not_there_is_success_also_where_it_is_called_invalid() {
    let server = Server::replying([refused(400, "InvalidTarget")]).await;
    let balancer = Elbv2::at(&server.url);
    let result = balancer.deregister(&group(), &instance(), &[80]).await;
    assert!(result.is_ok(), "{result:?}");
}

/// There is nothing in it to be read, and what it did is looked up afterwards anyway.
#[tokio::test]
async fn a_deregistration_that_is_answered_with_200_is_accepted_whatever_the_answer_reads() {
    for body in ["<html><body>It works!</body></html>", "{}", ""] {
        let server = Server::replying([typed(200, "text/xml", body)]).await;
        let balancer = Elbv2::at(&server.url);
        let result = balancer.deregister(&group(), &instance(), &[80]).await;
        assert!(result.is_ok(), "{body}: {result:?}");
        server.only();
    }
}

#[tokio::test]
async fn calls_share_a_connection_and_a_closed_one_is_replaced() {
    let closing = || deregistered().with("Connection", "close");
    let server = Server::replying([deregistered(), closing(), deregistered()]).await;
    let balancer = Elbv2::at(&server.url);
    for _ in 0..3 {
        let result = balancer.deregister(&group(), &instance(), &[80]).await;
        assert!(result.is_ok(), "{result:?}");
    }
    let connections: Vec<usize> = server
        .received()
        .iter()
        .map(|request| request.connection)
        .collect();
    assert_eq!(connections, [0, 0, 1]);
}
