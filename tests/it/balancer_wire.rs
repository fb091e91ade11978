//! Elastic Load Balancing as the agent meets it: both calls, and every answer that is none, against a server on loopback.

use std::collections::BTreeMap;

use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::plan::action::{Ports, Target, TargetState};
use spot_interrupt_handler::plan::id::{InstanceId, TargetGroupArn};
use spot_interrupt_handler::ports::{Balancer, BalancerError};

use crate::scripted::{Received, Reply, Server, typed};

const ARN: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/73e2d6bc24d8a067";
const INSTANCE: &str = "i-0123456789abcdef0";

fn group() -> TargetGroupArn {
    TargetGroupArn::parse(ARN).expect("an ARN")
}

fn instance() -> InstanceId {
    InstanceId::new(INSTANCE)
}

fn health(members: &str) -> Reply {
    let body = format!(
        r#"<DescribeTargetHealthResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">
  <DescribeTargetHealthResult><TargetHealthDescriptions>{members}</TargetHealthDescriptions></DescribeTargetHealthResult>
  <ResponseMetadata><RequestId>c534f810-f389-11e5-9192-3fff33344cfa</RequestId></ResponseMetadata>
</DescribeTargetHealthResponse>"#
    );
    typed(200, "text/xml", body)
}

fn member(id: &str, port: &str, state: &str) -> String {
    format!(
        "<member><HealthCheckPort>80</HealthCheckPort><TargetHealth>{state}</TargetHealth>\
         <Target><Id>{id}</Id>{port}</Target></member>"
    )
}

fn deregistered() -> Reply {
    let body = r#"<DeregisterTargetsResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">
  <DeregisterTargetsResult/>
  <ResponseMetadata><RequestId>42d33edc-f399-11e5-8f09-5f3f4f4a2e2c</RequestId></ResponseMetadata>
</DeregisterTargetsResponse>"#;
    typed(200, "text/xml", body)
}

fn refused(status: u16, code: &str) -> Reply {
    let body = format!(
        r#"<ErrorResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">
  <Error><Type>Sender</Type><Code>{code}</Code><Message>because of {code}</Message></Error>
  <RequestId>24a4b3b1-f397-11e5-8f09-5f3f4f4a2e2c</RequestId>
</ErrorResponse>"#
    );
    typed(status, "text/xml", body)
}

fn form(request: &Received) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(request.body.as_bytes())
        .into_owned()
        .collect()
}

async fn described(members: &str, ports: Ports) -> (Vec<Target>, BTreeMap<String, String>) {
    let server = Server::replying([health(members)]).await;
    let balancer = Elbv2::at(&server.url);
    let targets = balancer.targets(&group(), &instance(), ports).await;
    (targets.expect("targets"), form(&server.only()))
}

/// The error that this reply to a deregistration is, after exactly one request.
async fn failure(reply: Reply) -> BalancerError {
    let server = Server::replying([reply]).await;
    let balancer = Elbv2::at(&server.url);
    let result = balancer.deregister(&group(), &instance(), &[80]).await;
    server.only();
    result.expect_err("no success")
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
    assert_eq!(
        form.get("Action").map(String::as_str),
        Some("DescribeTargetHealth")
    );
    assert_eq!(form.get("TargetGroupArn").map(String::as_str), Some(ARN));
    assert!(
        !form.keys().any(|key| key.starts_with("Targets")),
        "{form:?}"
    );
}

#[tokio::test]
async fn a_group_without_this_instance_has_no_targets_of_it() {
    assert_eq!(described("", Ports::All).await.0, []);
}

#[tokio::test]
async fn one_port_is_asked_for_by_id_and_number() {
    let unused = "<State>unused</State><Reason>Target.NotRegistered</Reason>";
    let member = member(INSTANCE, "<Port>8080</Port>", unused);
    let (targets, form) = described(&member, Ports::Only(8080)).await;
    let expected = Target {
        port: 8080,
        state: TargetState::NotRegistered,
    };
    assert_eq!(targets, [expected]);
    assert_eq!(
        form.get("Targets.member.1.Id").map(String::as_str),
        Some(INSTANCE)
    );
    assert_eq!(
        form.get("Targets.member.1.Port").map(String::as_str),
        Some("8080")
    );
    assert!(!form.contains_key("Targets.member.2.Id"));
}

#[tokio::test]
async fn a_deregistration_names_the_instance_with_each_port_in_one_signed_request_to_the_groups_region()
 {
    let server = Server::replying([deregistered()]).await;
    let balancer = Elbv2::at(&server.url);
    let result = balancer
        .deregister(&group(), &instance(), &[30_443, 30_444])
        .await;
    assert!(result.is_ok(), "{result:?}");
    let request = server.only();
    let form = form(&request);
    let targets: Vec<(&str, &str)> = form
        .iter()
        .filter(|(key, _)| key.starts_with("Targets"))
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        targets,
        [
            ("Targets.member.1.Id", INSTANCE),
            ("Targets.member.1.Port", "30443"),
            ("Targets.member.2.Id", INSTANCE),
            ("Targets.member.2.Port", "30444"),
        ]
    );
    assert_eq!(
        form.get("Action").map(String::as_str),
        Some("DeregisterTargets")
    );
    let signature = request.header("authorization").expect("a signature");
    assert!(
        signature.starts_with("AWS4-HMAC-SHA256 Credential="),
        "{signature}"
    );
    assert!(
        signature.contains("/eu-west-1/elasticloadbalancing/aws4_request"),
        "{signature}"
    );
}

#[tokio::test]
async fn a_target_that_is_not_there_is_success_also_where_it_is_called_invalid() {
    let server = Server::replying([refused(400, "InvalidTarget")]).await;
    let balancer = Elbv2::at(&server.url);
    let result = balancer.deregister(&group(), &instance(), &[80]).await;
    assert!(result.is_ok(), "{result:?}");
}

#[tokio::test]
async fn throttling_is_known_by_all_its_names_and_not_retried_here() {
    for (status, code) in [
        (400, "Throttling"),
        (400, "ThrottlingException"),
        (503, "RequestLimitExceeded"),
        (429, "TooManyRequestsException"),
        (429, "SomethingElse"),
    ] {
        let error = failure(refused(status, code)).await;
        assert!(
            matches!(error, BalancerError::Throttled { .. }),
            "{code}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_denial_is_told_with_the_services_message() {
    for (status, code) in [
        (403, "AccessDenied"),
        (400, "AccessDeniedException"),
        (403, "SignatureDoesNotMatch"),
        (403, "InvalidClientTokenId"),
        (400, "OptInRequired"),
    ] {
        let error = failure(refused(status, code)).await;
        assert_eq!(
            error.to_string(),
            format!("Elastic Load Balancing denies the call: because of {code}")
        );
    }
}

#[tokio::test]
async fn a_group_that_does_not_exist_is_gone_and_an_arn_that_makes_no_sense_is_invalid() {
    let error = failure(refused(400, "TargetGroupNotFound")).await;
    assert!(matches!(error, BalancerError::GroupGone), "{error:?}");
    let error = failure(refused(400, "ValidationError")).await;
    assert!(matches!(error, BalancerError::Invalid { .. }), "{error:?}");
}

#[tokio::test]
async fn after_an_expired_token_the_next_call_starts_with_a_new_client() {
    let server = Server::replying([refused(403, "ExpiredToken"), deregistered()]).await;
    let balancer = Elbv2::at(&server.url);
    let error = balancer
        .deregister(&group(), &instance(), &[80])
        .await
        .expect_err("expired");
    assert!(
        matches!(error, BalancerError::ExpiredToken { .. }),
        "{error:?}"
    );
    assert!(
        balancer
            .deregister(&group(), &instance(), &[80])
            .await
            .is_ok()
    );
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn a_failing_service_is_told_with_its_status_and_not_retried_here() {
    for reply in [
        refused(500, "InternalFailure"),
        typed(
            503,
            "text/html",
            "<html><body>Service Unavailable</body></html>",
        ),
        typed(502, "text/plain", ""),
    ] {
        let error = failure(reply).await;
        assert!(
            matches!(
                error,
                BalancerError::ServerError {
                    status: 500..=503,
                    ..
                }
            ),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_no_list_of_targets() {
    for body in [
        "<html><body>It works!</body></html>",
        "<DescribeTargetHealthResponse><DescribeTargetHealth",
        "{}",
        "",
    ] {
        let server = Server::replying([typed(200, "text/xml", body)]).await;
        let balancer = Elbv2::at(&server.url);
        let result = balancer.targets(&group(), &instance(), Ports::All).await;
        assert!(result.is_err(), "{body}: {result:?}");
        server.only();
    }
}

#[tokio::test]
async fn a_lost_connection_is_one_attempt_that_failed() {
    for reply in [
        Reply::Torn(String::new()),
        Reply::Reset(String::new()),
        Reply::Torn("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n<Dereg".to_owned()),
        Reply::Torn("SSH-2.0-OpenSSH_9.6\r\n".to_owned()),
    ] {
        let error = failure(reply).await;
        let is_transport = matches!(
            error,
            BalancerError::Lost(_)
                | BalancerError::Unreachable(_)
                | BalancerError::ServerError { .. }
        );
        assert!(is_transport, "{error:?}");
    }
}

#[tokio::test]
async fn silence_ends_with_the_attempts_own_time_limit() {
    let error = failure(Reply::Silent(String::new())).await;
    assert!(matches!(error, BalancerError::Lost(_)), "{error:?}");
}

#[tokio::test]
async fn a_service_that_cannot_be_connected_to_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let balancer = Elbv2::at(url);
    let error = balancer
        .deregister(&group(), &instance(), &[80])
        .await
        .expect_err("nobody");
    assert!(matches!(error, BalancerError::Unreachable(_)), "{error:?}");
}
