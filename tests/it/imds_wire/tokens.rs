//! Tokens: had once, used for long, renewed in time, replaced when they are refused.

use std::time::Duration;

use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::imds::Imds;
use spot_interrupt_handler::ports::{Metadata, MetadataError};

use super::{NOTICE, asked, imds, server, token};
use crate::scripted::{Reply, Server, typed};

const PUT: &str = "PUT /latest/api/token";

fn nothing() -> Reply {
    typed(404, "text/html", "")
}

fn unauthorized() -> Reply {
    typed(401, "text/html", "<html>401 - Unauthorized</html>")
}

#[tokio::test]
async fn one_token_serves_many_polls_over_connections_that_all_close() {
    let closing = || nothing().with("Connection", "close");
    let server = server([closing(), closing(), closing()]).await;
    let imds = imds(&server);
    for _ in 0..3 {
        assert_eq!(imds.notice().await.expect("an answer"), None);
    }
    assert_eq!(asked(&server), [PUT, NOTICE, NOTICE, NOTICE]);
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

#[tokio::test]
async fn a_token_is_renewed_when_half_of_its_life_is_over() {
    let short =
        |text| typed(200, "text/plain", text).with("X-aws-ec2-metadata-token-ttl-seconds", "60");
    let server = Server::replying([
        short("first"),
        nothing(),
        nothing(),
        short("second"),
        nothing(),
    ])
    .await;
    let clock = Clock::at_speed(1_000.0);
    let imds = Imds::new(&server.url, clock.clone()).expect("a client");
    let begins = clock.now().at;
    assert_eq!(imds.notice().await.expect("an answer"), None);
    // Whether this one is before the half is the machine's to decide; the next is after it on any.
    let is_before_half = clock.now().at < begins + Duration::from_secs(25);
    if is_before_half {
        assert_eq!(imds.notice().await.expect("an answer"), None);
    }
    clock.sleep(Duration::from_secs(31)).await;
    let before = asked(&server).len();
    assert_eq!(imds.notice().await.expect("an answer"), None);
    assert_eq!(asked(&server)[before..], [PUT, NOTICE]);
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
async fn what_is_no_token_is_not_sent_back() {
    for body in ["", "  \n", "two words", "caf\u{e9}", "<html>\r\n</html>"] {
        let server = Server::replying([typed(200, "text/html", body)]).await;
        let error = imds(&server).notice().await.expect_err(body);
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
    let server = Server::replying([typed(500, "text/html", "oops")]).await;
    let error = imds(&server).notice().await.expect_err("no token");
    assert!(
        matches!(error, MetadataError::Status { status: 500, .. }),
        "{error:?}"
    );
}
