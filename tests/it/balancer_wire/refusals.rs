//! Answers that say no, and answers that say nothing. Each is one attempt.

use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::plan::action::Ports;
use spot_interrupt_handler::ports::{Balancer, BalancerError};

use super::{deregistered, failure, group, instance, refused};
use crate::scripted::{Reply, Server, typed};

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
async fn a_call_that_is_throttled_to_read_is_throttled_too() {
    let server = Server::replying([refused(400, "Throttling")]).await;
    let balancer = Elbv2::at(&server.url);
    let result = balancer.targets(&group(), &instance(), Ports::All).await;
    assert!(
        matches!(&result, Err(BalancerError::Throttled { message }) if message == "because of Throttling"),
        "{result:?}"
    );
    server.only();
}

#[tokio::test]
async fn a_denial_is_told_with_the_services_message() {
    for (status, code) in [
        (403, "AccessDenied"),
        (400, "AccessDeniedException"),
        (403, "SignatureDoesNotMatch"),
        (403, "InvalidClientTokenId"),
        (400, "OptInRequired"),
        (403, "SomethingElse"),
        (401, "SomethingElse"),
    ] {
        let error = failure(refused(status, code)).await;
        assert_eq!(
            error.to_string(),
            format!("Elastic Load Balancing denies the call: because of {code}")
        );
    }
}

#[tokio::test]
async fn a_page_that_denies_is_a_denial_without_a_message() {
    let error = failure(typed(403, "text/html", "<html>blocked</html>")).await;
    assert!(
        matches!(&error, BalancerError::Denied { message } if message.is_empty()),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_group_that_does_not_exist_is_gone() {
    let error = failure(refused(400, "TargetGroupNotFound")).await;
    assert!(matches!(error, BalancerError::GroupGone), "{error:?}");
}

#[tokio::test]
async fn an_arn_that_makes_no_sense_to_the_service_is_invalid() {
    let error = failure(refused(400, "ValidationError")).await;
    assert_eq!(
        error.to_string(),
        "Elastic Load Balancing does not accept the request: because of ValidationError"
    );
}

#[tokio::test]
async fn after_an_expired_token_the_next_call_starts_with_a_new_client() {
    let server =
        Server::replying([deregistered(), refused(403, "ExpiredToken"), deregistered()]).await;
    let balancer = Elbv2::at(&server.url);
    let mut results = Vec::new();
    for _ in 0..3 {
        results.push(balancer.deregister(&group(), &instance(), &[80]).await);
    }
    assert!(
        matches!(
            results[..],
            [Ok(()), Err(BalancerError::ExpiredToken { .. }), Ok(())]
        ),
        "{results:?}"
    );
    let connections: Vec<usize> = server
        .received()
        .iter()
        .map(|request| request.connection)
        .collect();
    assert_eq!(connections, [0, 0, 1]);
}

#[tokio::test]
async fn credentials_that_expire_while_targets_are_read_are_renewed_too() {
    let server = Server::replying([refused(403, "ExpiredToken"), deregistered()]).await;
    let balancer = Elbv2::at(&server.url);
    let result = balancer.targets(&group(), &instance(), Ports::All).await;
    assert!(
        matches!(result, Err(BalancerError::ExpiredToken { .. })),
        "{result:?}"
    );
    let result = balancer.deregister(&group(), &instance(), &[80]).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(server.received()[1].connection, 1);
}

#[tokio::test]
async fn a_failing_service_is_told_with_its_status_and_not_retried_here() {
    let page = "<html><body>Service Unavailable</body></html>";
    for (reply, status, message) in [
        (
            refused(500, "InternalFailure"),
            500,
            "because of InternalFailure",
        ),
        (
            refused(503, "ServiceUnavailable"),
            503,
            "because of ServiceUnavailable",
        ),
        (typed(503, "text/html", page), 503, ""),
        (typed(502, "text/plain", ""), 502, ""),
        (typed(302, "text/html", "").with("Location", "/"), 302, ""),
    ] {
        let error = failure(reply).await;
        let expected = format!("Elastic Load Balancing answered HTTP {status}: {message}");
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_list_of_targets_that_cannot_be_read_is_no_list_of_targets() {
    for body in [
        &b"<html><body>It works!</body></html>"[..],
        b"<DescribeTargetHealthResponse><DescribeTargetHealth",
        b"<DescribeTargetHealthResponse/>",
        b"<DescribeTargetHealthResponse>\xff\xfe</DescribeTargetHealthResponse>",
        b"<?xml version=\"1.0\"?>",
        b"{}",
        b"\0",
        b"",
    ] {
        let server = Server::replying([typed(200, "text/xml", body)]).await;
        let balancer = Elbv2::at(&server.url);
        let result = balancer.targets(&group(), &instance(), Ports::All).await;
        assert!(
            matches!(result, Err(BalancerError::ServerError { status: 200, .. })),
            "{}: {result:?}",
            body.escape_ascii()
        );
        server.only();
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_or_in_the_answer_is_a_lost_call() {
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n<Dereg".to_owned();
    for reply in [
        Reply::Torn(String::new()),
        Reply::Reset(String::new()),
        Reply::Torn("HTTP/1.1 20".to_owned()),
        Reply::Torn(begun.clone()),
        Reply::Reset(begun),
        Reply::Torn("SSH-2.0-OpenSSH_9.6\r\n".to_owned()),
    ] {
        let error = failure(reply).await;
        assert!(matches!(error, BalancerError::Lost(_)), "{error:?}");
    }
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
