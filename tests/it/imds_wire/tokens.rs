//! Tokens: had once, used for long, renewed in time, replaced when they are refused.

use std::time::Duration;

use spot_interrupt_handler::ports::{Metadata, MetadataError};

use super::{NOTICE, PUT, asked, imds, server, token};
use crate::scripted::{Reply, Server, typed};

fn nothing() -> Reply {
    typed(404, "text/html", "")
}

fn unauthorized() -> Reply {
    typed(401, "text/html", "<html>401 - Unauthorized</html>")
}

#[tokio::test]
async fn one_token_serves_many_polls() {
    let server = server([nothing(), nothing(), nothing()]).await;
    let imds = imds(&server);
    for _ in 0..3 {
        assert_eq!(imds.notice().await.expect("an answer"), None);
    }
    assert_eq!(asked(&server), [PUT, NOTICE, NOTICE, NOTICE]);
    for request in &server.received()[1..] {
        assert_eq!(request.header("x-aws-ec2-metadata-token"), Some("token-1"));
    }
}

#[tokio::test]
async fn polling_goes_on_over_connections_that_are_closed_after_each_reply() {
    // EC2 says so beforehand; a connection that ends without a word must do no more harm.
    for connection in ["Connection: close\r\n", ""] {
        let closing = |status: &str, body: &str| {
            let length = body.len();
            Reply::Torn(format!(
                "HTTP/1.1 {status}\r\n{connection}Content-Length: {length}\r\n\r\n{body}"
            ))
        };
        let gone = || closing("404 Not Found", "no");
        let server = Server::replying([closing("200 OK", "token-1"), gone(), gone(), gone()]).await;
        let imds = imds(&server);
        for _ in 0..3 {
            assert_eq!(imds.notice().await.expect("an answer"), None);
        }
        assert_eq!(asked(&server), [PUT, NOTICE, NOTICE, NOTICE]);
    }
}

#[tokio::test]
async fn no_connection_is_used_twice_although_the_service_would_allow_it() {
    let server = server([nothing(), nothing()]).await;
    let imds = imds(&server);
    for _ in 0..2 {
        assert_eq!(imds.notice().await.expect("an answer"), None);
    }
    let connections: Vec<usize> = server
        .received()
        .iter()
        .map(|request| request.connection)
        .collect();
    assert_eq!(connections, [0, 1, 2]);
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let server = Server::replying([
        token("old"),
        unauthorized(),
        token("new"),
        nothing(),
        nothing(),
    ])
    .await;
    let imds = imds(&server);
    assert_eq!(imds.notice().await.expect("an answer"), None);
    assert_eq!(imds.notice().await.expect("an answer"), None);
    assert_eq!(asked(&server), [PUT, NOTICE, PUT, NOTICE, NOTICE]);
    let used = server.received();
    assert_eq!(used[3].header("x-aws-ec2-metadata-token"), Some("new"));
    assert_eq!(used[4].header("x-aws-ec2-metadata-token"), Some("new"));
}

#[tokio::test]
async fn a_service_that_refuses_every_token_is_asked_twice_and_no_more() {
    let server =
        Server::replying([token("one"), unauthorized(), token("two"), unauthorized()]).await;
    let error = imds(&server).notice().await.expect_err("no notice");
    assert!(matches!(error, MetadataError::TokenRefused), "{error:?}");
    assert_eq!(asked(&server), [PUT, NOTICE, PUT, NOTICE]);
}

/// Lets time pass that nobody has to wait for.
async fn pass(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_token_is_used_for_half_of_its_life_and_then_renewed() {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    for (life, half) in [
        (Some("3600"), 30),
        (Some("21600"), 180),
        // What the header does not say, or says and cannot mean, is six hours.
        (Some("999999999"), 180),
        (Some("18446744073709551615"), 180),
        (Some("99999999999999999999"), 180),
        (Some("-1"), 180),
        (Some("long"), 180),
        (None, 180),
    ] {
        let token = |text| {
            let reply = typed(200, "text/plain", text);
            match life {
                Some(life) => reply.with("X-aws-ec2-metadata-token-ttl-seconds", life),
                None => reply,
            }
        };
        let replies = [
            token("first"),
            nothing(),
            nothing(),
            token("second"),
            nothing(),
        ];
        let server = Server::replying(replies).await;
        let imds = imds(&server);
        assert_eq!(imds.notice().await.expect("an answer"), None);
        pass(minutes(half - 1)).await;
        assert_eq!(imds.notice().await.expect("an answer"), None);
        pass(minutes(1)).await;
        assert_eq!(imds.notice().await.expect("an answer"), None);
        let asked = asked(&server);
        assert_eq!(asked, [PUT, NOTICE, NOTICE, PUT, NOTICE], "{life:?}");
        let last = server.received().pop().expect("five requests");
        assert_eq!(last.header("x-aws-ec2-metadata-token"), Some("second"));
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_serves_for_the_rest_of_its_life() {
    let hour = Duration::from_secs(3_600);
    let refused = || typed(503, "text/plain", "busy");
    let replies = [
        token("old"),
        nothing(),
        refused(),
        nothing(),
        nothing(),
        refused(),
        nothing(),
        refused(),
    ];
    let server = Server::replying(replies).await;
    let imds = imds(&server);
    assert_eq!(imds.notice().await.expect("an answer"), None);
    pass(3 * hour).await;
    assert_eq!(imds.notice().await.expect("with the old token"), None);
    // Not at every poll is it tried again.
    assert_eq!(imds.notice().await.expect("with the old token"), None);
    pass(hour).await;
    assert_eq!(imds.notice().await.expect("with the old token"), None);
    pass(2 * hour).await;
    imds.notice().await.expect_err("no token is left");
    let expected = [PUT, NOTICE, PUT, NOTICE, NOTICE, PUT, NOTICE, PUT];
    assert_eq!(asked(&server), expected);
}

#[tokio::test]
async fn a_token_without_a_life_is_had_anew_for_every_poll() {
    let brief =
        |text| typed(200, "text/plain", text).with("X-aws-ec2-metadata-token-ttl-seconds", "0");
    let server = Server::replying([brief("first"), nothing(), brief("second"), nothing()]).await;
    let imds = imds(&server);
    for _ in 0..2 {
        assert_eq!(imds.notice().await.expect("an answer"), None);
    }
    assert_eq!(asked(&server), [PUT, NOTICE, PUT, NOTICE]);
}

#[tokio::test]
async fn two_calls_at_once_fetch_one_token() {
    let server = server([nothing(), nothing()]).await;
    let imds = imds(&server);
    let (one, other) = tokio::join!(imds.notice(), imds.notice());
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(asked(&server), [PUT, NOTICE, NOTICE]);
}

#[tokio::test]
async fn two_calls_whose_token_is_refused_share_the_new_one() {
    let server = Server::replying([
        token("old"),
        nothing(),
        unauthorized(),
        unauthorized(),
        token("new"),
        nothing(),
        nothing(),
    ])
    .await;
    let imds = imds(&server);
    assert_eq!(imds.notice().await.expect("an answer"), None);
    let (one, other) = tokio::join!(imds.notice(), imds.notice());
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    assert_eq!(asked(&server)[2..], [NOTICE, NOTICE, PUT, NOTICE, NOTICE]);
}

#[tokio::test]
async fn what_is_no_token_is_not_sent_back() {
    for body in [
        &b""[..],
        b"  \n",
        b"two words",
        b"caf\xe9",
        "caf\u{e9}".as_bytes(),
        b"a\r\nX-Other: b",
        b"<html>\r\n</html>",
    ] {
        let server = Server::replying([typed(200, "text/html", body)]).await;
        let error = imds(&server).notice().await.expect_err("no token");
        assert!(
            matches!(
                error,
                MetadataError::Body {
                    what: "a token",
                    ..
                }
            ),
            "{body:?}: {error:?}"
        );
        assert_eq!(asked(&server), [PUT]);
    }
}

#[tokio::test]
async fn a_token_request_that_is_refused_says_so() {
    let server = Server::replying([typed(403, "text/html", "")]).await;
    let error = imds(&server).notice().await.expect_err("no token");
    assert!(matches!(error, MetadataError::Disabled), "{error:?}");
    // A 404 among them: of a token it does not mean that there is no notice.
    for status in [400, 401, 404, 500, 503] {
        let server = Server::replying([typed(status, "text/html", "oops")]).await;
        let error = imds(&server).notice().await.expect_err("no token");
        let expected = format!("the metadata service answered HTTP {status}: oops");
        assert_eq!(error.to_string(), expected);
        assert_eq!(asked(&server), [PUT]);
    }
}
