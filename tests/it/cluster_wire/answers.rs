//! What answers mean, with the bodies that API servers, and what stands before them, really send.

use std::time::Duration;

use spot_interrupt_handler::clock::{Clock, Elapsed};
use spot_interrupt_handler::plan::action::Freshness;
use spot_interrupt_handler::ports::{Cluster, ClusterError, Refusal};

use super::{chain, cluster_at, refusal, web_0};
use crate::scripted::{Reply, Server, json, typed};

async fn eviction_answered(reply: Reply) -> (Refusal, u16, String) {
    let server = Server::replying([reply]).await;
    refusal(cluster_at(&server.url).await.evict(&web_0(), None).await)
}

const BUDGET: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Cannot evict pod as it would violate the pod's disruption budget.","reason":"TooManyRequests","details":{"causes":[{"reason":"DisruptionBudget","message":"The disruption budget web needs 3 healthy pods and has 3 currently"}]},"code":429}"#;

#[tokio::test]
async fn a_429_with_a_disruption_budget_as_cause_is_the_budget_whatever_it_says_about_waiting() {
    let (refusal, status, message) = eviction_answered(json(429, BUDGET)).await;
    assert_eq!((refusal, status), (Refusal::Budget, 429));
    assert_eq!(
        message,
        "Cannot evict pod as it would violate the pod's disruption budget. \
         The disruption budget web needs 3 healthy pods and has 3 currently"
    );
    let unobserved = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Cannot evict pod as it would violate the pod's disruption budget.","reason":"TooManyRequests","details":{"causes":[{"reason":"DisruptionBudget","message":"The disruption budget web is still being processed by the server."}],"retryAfterSeconds":10},"code":429}"#;
    let reply = json(429, unobserved).with("Retry-After", "10");
    assert_eq!(eviction_answered(reply).await.0, Refusal::Budget);
}

#[tokio::test]
async fn any_other_429_is_a_full_server_with_its_retry_after_if_there_is_one() {
    let text = "Too many requests, please try again later.\n";
    let plain = || typed(429, "text/plain; charset=utf-8", text);
    let (refused, status, message) = eviction_answered(plain().with("Retry-After", "1")).await;
    let one_second = Refusal::Throttled(Some(Duration::from_secs(1)));
    assert_eq!((refused, status, message.as_str()), (one_second, 429, text));
    for reply in [
        plain(),
        plain().with("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"),
        plain().with("Retry-After", "-1"),
    ] {
        assert_eq!(eviction_answered(reply).await.0, Refusal::Throttled(None));
    }
    let status = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too many","reason":"TooManyRequests","details":{"retryAfterSeconds":4},"code":429}"#;
    let four_seconds = Refusal::Throttled(Some(Duration::from_secs(4)));
    assert_eq!(eviction_answered(json(429, status)).await.0, four_seconds);
    assert_eq!(
        eviction_answered(json(429, status).with("Retry-After", "1"))
            .await
            .0,
        one_second
    );
}

#[tokio::test]
async fn a_500_for_two_budgets_is_told_from_every_other_500_by_its_message() {
    let two = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.","code":500}"#;
    assert_eq!(
        eviction_answered(json(500, two)).await.0,
        Refusal::TwoBudgets
    );
    let other = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Internal error occurred: failed calling webhook","reason":"InternalError","code":500}"#;
    assert_eq!(
        eviction_answered(json(500, other)).await.0,
        Refusal::ServerError
    );
}

#[tokio::test]
async fn a_403_in_a_terminating_namespace_is_told_from_a_missing_permission() {
    let terminating = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"web-0\" is forbidden: unable to create new content in namespace shop because it is being terminated","reason":"Forbidden","details":{"name":"web-0","kind":"pods","causes":[{"reason":"NamespaceTerminating","message":"namespace shop is being terminated","field":"metadata.namespace"}]},"code":403}"#;
    assert_eq!(
        eviction_answered(json(403, terminating)).await.0,
        Refusal::NamespaceTerminating
    );
    let denied = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"web-0\" is forbidden: User \"x\" cannot create resource \"pods/eviction\"","reason":"Forbidden","details":{"name":"web-0","kind":"pods"},"code":403}"#;
    assert_eq!(
        eviction_answered(json(403, denied)).await.0,
        Refusal::Forbidden
    );
}

#[tokio::test]
async fn every_other_status_has_one_meaning() {
    for (code, reason, expected) in [
        (400, "BadRequest", Refusal::Invalid),
        (401, "Unauthorized", Refusal::Unauthenticated),
        (404, "NotFound", Refusal::NotFound),
        (405, "MethodNotAllowed", Refusal::Invalid),
        (409, "Conflict", Refusal::Conflict),
        (410, "Expired", Refusal::Expired),
        (413, "RequestEntityTooLarge", Refusal::Invalid),
        (422, "Invalid", Refusal::Invalid),
        (502, "", Refusal::ServerError),
        (503, "ServiceUnavailable", Refusal::ServerError),
        (504, "Timeout", Refusal::ServerError),
    ] {
        let body = format!(
            r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"no","reason":"{reason}","code":{code}}}"#
        );
        assert_eq!(
            eviction_answered(json(code, body)).await,
            (expected, code, "no".to_owned())
        );
    }
}

#[tokio::test]
async fn a_body_that_is_no_status_leaves_the_status_code_and_is_repeated_in_part() {
    let (refused, status, message) = eviction_answered(json(503, r#"{"error":"upstream"}"#)).await;
    assert_eq!((refused, status), (Refusal::ServerError, 503));
    assert_eq!(message, r#"{"error":"upstream"}"#);

    let page = format!("<html>{}</html>", "x".repeat(5_000));
    let (refused, status, message) = eviction_answered(typed(503, "text/html", page)).await;
    assert_eq!((refused, status), (Refusal::ServerError, 503));
    assert_eq!((&message[..6], message.len()), ("<html>", 200));

    // A Status in all but kind must not be believed.
    let (refused, ..) = eviction_answered(json(429, BUDGET.replace("Status", "Advice"))).await;
    assert_eq!(refused, Refusal::Throttled(None));
    assert_eq!(eviction_answered(json(404, "")).await.0, Refusal::NotFound);
    assert_eq!(
        eviction_answered(json(302, "")).await.0,
        Refusal::ServerError
    );
}

#[tokio::test]
async fn a_refusal_whose_body_breaks_off_is_still_that_refusal() {
    let torn = "HTTP/1.1 403 Forbidden\r\nContent-Length: 500\r\n\r\n{\"kind\":\"Sta";
    let (refused, status, message) = eviction_answered(Reply::Torn(torn.to_owned())).await;
    assert_eq!((refused, status), (Refusal::Forbidden, 403));
    assert_eq!(message, "{\"kind\":\"Sta");
}

#[tokio::test]
async fn an_eviction_answered_with_201_is_accepted_even_if_the_rest_never_comes() {
    let head = "HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{\"kind\":";
    for reply in [
        Reply::Torn(head.to_owned()),
        Reply::Reset(head.to_owned()),
        json(201, "not JSON"),
        json(201, ""),
    ] {
        let server = Server::replying([reply]).await;
        let cluster = cluster_at(&server.url).await;
        cluster.evict(&web_0(), None).await.expect("an eviction");
    }
}

#[tokio::test]
async fn silence_is_ended_by_the_caller_alone() {
    let server = Server::replying([Reply::Silent(String::new())]).await;
    let cluster = cluster_at(&server.url).await;
    let clock = Clock::real();
    let limit = clock.now().at + Duration::from_millis(300);
    let result = clock.until(limit, cluster.evict(&web_0(), None)).await;
    assert_eq!(result.err(), Some(Elapsed));
    assert_eq!(server.received().len(), 1, "no repetition");
}

#[tokio::test]
async fn a_connection_that_breaks_before_or_in_the_answer_is_a_lost_call() {
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"kind\":";
    for reply in [
        Reply::Torn(String::new()),
        Reply::Reset(String::new()),
        Reply::Torn("HTTP/1.1 20".to_owned()),
        Reply::Torn(begun.to_owned()),
        Reply::Reset(begun.to_owned()),
    ] {
        let server = Server::replying([reply]).await;
        let error = cluster_at(&server.url)
            .await
            .node()
            .await
            .expect_err("no answer");
        assert!(matches!(error, ClusterError::Lost(_)), "{error:?}");
        assert_eq!(server.received().len(), 1, "no repetition");
    }
}

#[tokio::test]
async fn what_is_not_http_is_a_lost_call() {
    let server = Server::replying([Reply::Torn("SSH-2.0-OpenSSH_9.6\r\n".to_owned())]).await;
    let error = cluster_at(&server.url)
        .await
        .node()
        .await
        .expect_err("no answer");
    assert!(matches!(error, ClusterError::Lost(_)), "{error:?}");
}

#[tokio::test]
async fn a_refused_connection_is_an_unreachable_server() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let cluster = cluster_at(&url).await;
    let error = cluster
        .evict(&web_0(), None)
        .await
        .expect_err("nobody there");
    assert!(matches!(error, ClusterError::Unreachable(_)), "{error:?}");
    let text = chain(&error);
    assert!(text.contains("Connection refused"), "{text}");
    assert_eq!(text.matches("Connection refused").count(), 1, "{text}");
}

#[tokio::test]
async fn a_success_that_cannot_be_read_is_unreadable_and_shows_its_beginning() {
    for body in [
        "",
        "nonsense",
        "<html>sign in</html>",
        "[]",
        "null",
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"}"#,
        r#"{"kind":"PodList","metadata":{},"items":[]}"#,
        r#"{"kind":"PodList","metadata":{"resourceVersion":"1"}}"#,
        r#"{"kind":"NodeList","metadata":{"resourceVersion":"1"},"items":[]}"#,
        r#"{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"#,
    ] {
        let server = Server::replying([json(200, body)]).await;
        let error = cluster_at(&server.url)
            .await
            .pods(&Freshness::Cached)
            .await
            .expect_err("no list");
        assert!(matches!(error, ClusterError::Unreadable(_)), "{body}");
        let beginning = format!("{:?}", &body[..body.len().min(200)]);
        assert!(chain(&error).contains(&beginning), "{error:?}");
    }
}

#[tokio::test]
async fn a_node_without_uid_or_version_is_unreadable() {
    for body in [
        r#"{"kind":"Node","apiVersion":"v1","metadata":{"name":"n","uid":"u"}}"#,
        r#"{"kind":"Node","apiVersion":"v1","metadata":{"name":"n","resourceVersion":"1"}}"#,
        r#"{"kind":"Pod","apiVersion":"v1","metadata":{"uid":"u","resourceVersion":"1"}}"#,
    ] {
        let server = Server::replying([json(200, body)]).await;
        let error = cluster_at(&server.url)
            .await
            .node()
            .await
            .expect_err("no node");
        assert!(matches!(error, ClusterError::Unreadable(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_body_without_end_is_refused_and_not_held() {
    let server = Server::replying([Reply::Flood(
        " ".repeat(64 * 1024),
        std::sync::Arc::default(),
    )])
    .await;
    let error = cluster_at(&server.url)
        .await
        .pods(&Freshness::Cached)
        .await
        .expect_err("too long");
    assert!(matches!(error, ClusterError::Unreadable(_)), "{error:?}");
    assert_eq!(
        chain(&error),
        "reading the answer of the API server: the body is longer than 16777216 bytes"
    );
}
