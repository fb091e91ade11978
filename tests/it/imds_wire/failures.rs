//! Answers that say nothing, and answers that do not come. Each is an error with a name; none is a notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::imds::Imds;
use spot_interrupt_handler::ports::{Metadata, MetadataError};

use super::{asked, chain, imds, server, token};
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
async fn an_endless_body_is_given_up_and_not_held() {
    let written = Arc::new(AtomicUsize::new(0));
    let flood = Reply::Flood("\u{1b}[31mspot\n".repeat(100), written.clone());
    let error = failure(flood).await;
    let MetadataError::Body { body, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(body.len(), 200);
    assert!(!body.contains(char::is_control), "{body:?}");
    // What left the server beyond the 64 KiB filled the buffers of two sockets.
    let left = written.load(Ordering::Relaxed);
    assert!(left < 16 * 1024 * 1024, "{left} bytes");
}

#[tokio::test]
async fn a_length_that_is_announced_is_not_believed() {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
        u64::MAX - 2
    );
    let begun = format!("{head}{}", "x".repeat(70_000));
    let error = failure(Reply::Torn(begun)).await;
    assert!(matches!(error, MetadataError::Body { .. }), "{error:?}");
    let error = failure(Reply::Torn(head)).await;
    assert!(matches!(error, MetadataError::Lost(_)), "{error:?}");
}

#[tokio::test]
async fn an_endless_head_is_given_up() {
    let head = format!("HTTP/1.1 200 OK\r\nX-Long: {}", "x".repeat(1_000_000));
    let error = failure(Reply::Silent(head)).await;
    assert!(matches!(error, MetadataError::Lost(_)), "{error:?}");
}

#[tokio::test]
async fn a_body_that_is_no_utf_8_is_told_and_not_a_panic() {
    let body = &b"{\"action\":\"termin\xff\xfeate\"}\x00"[..];
    let error = failure(json(200, body)).await;
    let expected = "the metadata service answered a notice that cannot be read: \
                    {\"action\":\"termin\u{fffd}\u{fffd}ate\"} ";
    assert_eq!(error.to_string(), expected);
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
        imds.notice().await.expect_err("no answer");
    }
    assert_eq!(imds.notice().await.expect("an answer"), None);
}
