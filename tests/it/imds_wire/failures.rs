//! Answers that say nothing, and answers that do not come. Each is an error with a name; none is a notice.

use std::time::Duration;

use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::imds::Imds;
use spot_interrupt_handler::ports::{Metadata, MetadataError};

use super::{ATTEMPT, asked, chain, imds, server, token};
use crate::scripted::{Reply, Server, json, typed};

/// The error that this reply to the notice request is.
async fn failure(reply: Reply) -> MetadataError {
    let server = server([reply]).await;
    let error = imds(&server).notice().await.expect_err("no notice");
    assert_eq!(asked(&server).len(), 2, "one attempt");
    error
}

#[tokio::test]
async fn a_status_that_nobody_expects_is_told_with_the_start_of_its_body() {
    for status in [301, 400, 418, 500, 502, 503] {
        let error = failure(typed(status, "text/html", "<html>oops</html>")).await;
        let expected = format!("the metadata service answered HTTP {status}: <html>oops</html>");
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::replying([]).await;
    let error = failure(typed(302, "text/html", "").with("Location", &elsewhere.url)).await;
    assert!(
        matches!(error, MetadataError::Status { status: 302, .. }),
        "{error:?}"
    );
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn a_403_means_that_the_service_is_switched_off() {
    let error = failure(typed(403, "text/html", "<html>403 - Forbidden</html>")).await;
    assert!(matches!(error, MetadataError::Disabled), "{error:?}");
}

#[tokio::test]
async fn what_is_not_a_json_object_with_a_text_as_action_is_no_notice() {
    for body in [
        "",
        "<html><body>It works!</body></html>",
        r#"{"action":"terminate","time":"2027-01-1"#,
        r#""terminate""#,
        "null",
        "[]",
        r#"[{"action":"terminate"}]"#,
        "{}",
        r#"{"action":null}"#,
        r#"{"action":7}"#,
        r#"{"Action":"terminate"}"#,
    ] {
        let error = failure(json(200, body)).await;
        assert!(
            matches!(&error, MetadataError::Body { what: "a notice", body: shown } if shown == body),
            "{body}: {error:?}"
        );
    }
}

#[tokio::test]
async fn an_endless_body_is_given_up_and_its_first_200_bytes_are_told_without_control_characters() {
    let written = std::sync::Arc::default();
    let flood = Reply::Flood("\u{1b}[31mspot\n".repeat(100), written);
    let error = failure(flood).await;
    let MetadataError::Body { body, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(body.len(), 200);
    assert!(!body.contains(char::is_control), "{body:?}");
}

#[tokio::test]
async fn a_body_that_is_no_utf_8_is_told_and_not_a_panic() {
    let torn = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\u{80}\u{7f}".to_owned();
    let error = failure(Reply::Torn(torn)).await;
    assert!(matches!(error, MetadataError::Body { .. }), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_as_lost() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n{\"action\":".to_owned();
    for reply in [
        Reply::Torn(String::new()),
        Reply::Reset(String::new()),
        Reply::Torn(head.clone()),
        Reply::Reset(head),
        Reply::Torn("SSH-2.0-OpenSSH_9.6\r\n".to_owned()),
    ] {
        let error = failure(reply).await;
        assert!(matches!(error, MetadataError::Lost(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_told_with_its_cause() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let imds = Imds::new(&url, Clock::real()).expect("a client");
    let error = imds.notice().await.expect_err("nobody listens");
    assert!(matches!(error, MetadataError::Unreachable(_)), "{error:?}");
    assert!(chain(&error).contains("refused"), "{}", chain(&error));
}

/// Silence is the caller's to end: the agent gives an attempt two seconds, here of a clock that runs faster.
#[tokio::test]
async fn silence_and_a_slow_body_end_when_the_caller_says_so() {
    let (pieces, slow) = tokio::sync::mpsc::unbounded_channel();
    pieces.send("{\"action\":".to_owned()).expect("a reader");
    for reply in [Reply::Silence, Reply::Pieces(slow)] {
        let server = server([reply]).await;
        let clock = Clock::at_speed(60.0);
        let imds = Imds::new(&server.url, clock.clone()).expect("a client");
        let give_up = clock.now().at + ATTEMPT;
        assert!(clock.until(give_up, imds.notice()).await.is_err());
        assert_eq!(asked(&server).len(), 2);
    }
    drop(pieces);
}

#[tokio::test]
async fn a_token_request_without_an_answer_names_the_hop_limit() {
    let server = Server::replying([Reply::Silence]).await;
    let imds = Imds::new(&server.url, Clock::at_speed(20.0)).expect("a client");
    let error = imds.notice().await.expect_err("no token");
    assert!(
        matches!(error, MetadataError::TokenUnanswered(_)),
        "{error:?}"
    );
    assert!(error.to_string().contains("hop limit"), "{error}");
}

#[tokio::test]
async fn a_failed_call_does_not_harm_the_next() {
    let server = Server::replying([
        Reply::Reset(String::new()),
        token("token-1"),
        Reply::Reset(String::new()),
        typed(503, "text/plain", ""),
        typed(404, "text/html", ""),
    ])
    .await;
    let imds = imds(&server);
    for _ in 0..3 {
        let failed = tokio::time::timeout(Duration::from_secs(30), imds.notice()).await;
        assert!(failed.expect("an answer").is_err());
    }
    assert_eq!(imds.notice().await.expect("an answer"), None);
}
