//! Answers that are awaited in vain. The clock is stopped once there is nothing to do but wait, and then jumps to
//! whatever ends the wait.

use std::time::Duration;

use spot_interrupt_handler::clock::{Clock, Elapsed};
use spot_interrupt_handler::imds::Imds;
use spot_interrupt_handler::ports::{Metadata, MetadataError};
use tokio::sync::mpsc::unbounded_channel;

use super::{NOTICE, PUT, asked, chain, imds, server, token};
use crate::scripted::{Reply, Server, Unmet, typed};

/// What the agent allows a poll.
const POLL: Duration = Duration::from_secs(2);

/// A poll whose last request is the one of this number; from then on time jumps.
async fn polled(server: &Server, requests: usize) -> Result<Result<(), MetadataError>, Elapsed> {
    let clock = Clock::real();
    let imds = Imds::new(&server.url, clock.clone()).expect("a client");
    let (polled, ()) = tokio::join!(clock.until(clock.now().at + POLL, imds.notice()), async {
        server.until_received(requests).await;
        tokio::time::pause();
    });
    Ok(polled?.map(|notice| assert_eq!(notice, None)))
}

#[tokio::test]
async fn silence_ends_when_the_caller_says_so() {
    let server = server([Reply::Silent(String::new())]).await;
    assert!(matches!(polled(&server, 2).await, Err(Elapsed)));
    assert_eq!(asked(&server), [PUT, NOTICE]);
}

#[tokio::test]
async fn a_head_without_an_end_ends_when_the_caller_says_so() {
    let server = server([Reply::Silent("HTTP/1.1 200 OK\r\nDate: ".to_owned())]).await;
    assert!(matches!(polled(&server, 2).await, Err(Elapsed)));
}

#[tokio::test]
async fn a_body_without_an_end_ends_when_the_caller_says_so() {
    let (pieces, slow) = unbounded_channel();
    pieces.send("{\"action\":".to_owned()).expect("a reader");
    let server = server([Reply::Pieces(slow)]).await;
    assert!(matches!(polled(&server, 2).await, Err(Elapsed)));
    drop(pieces);
}

#[tokio::test]
async fn a_call_that_was_given_up_does_not_harm_the_next() {
    let replies = [Reply::Silent(String::new()), typed(404, "text/html", "")];
    let server = server(replies).await;
    let imds = Imds::new(&server.url, Clock::real()).expect("a client");
    tokio::select! {
        answer = imds.notice() => panic!("{answer:?}"),
        () = server.until_received(2) => {}
    }
    assert_eq!(imds.notice().await.expect("an answer"), None);
    assert_eq!(asked(&server), [PUT, NOTICE, NOTICE]);
}

#[tokio::test]
async fn a_token_that_was_given_up_does_not_harm_the_next_call() {
    let replies = [
        Reply::Silent(String::new()),
        token("token-1"),
        typed(404, "text/html", ""),
    ];
    let server = Server::replying(replies).await;
    let imds = Imds::new(&server.url, Clock::real()).expect("a client");
    tokio::select! {
        answer = imds.notice() => panic!("{answer:?}"),
        () = server.until_received(1) => {}
    }
    assert_eq!(imds.notice().await.expect("an answer"), None);
    assert_eq!(asked(&server), [PUT, PUT, NOTICE]);
}

#[tokio::test]
async fn a_token_request_without_an_answer_names_the_hop_limit_before_the_poll_is_over() {
    let (pieces, slow) = unbounded_channel();
    pieces.send("tok".to_owned()).expect("a reader");
    for reply in [Reply::Silent(String::new()), Reply::Pieces(slow)] {
        let server = Server::replying([reply]).await;
        let polled = polled(&server, 1).await.expect("an end of its own");
        tokio::time::resume();
        let error = polled.expect_err("no token");
        assert!(
            matches!(error, MetadataError::TokenUnanswered(_)),
            "{error:?}"
        );
        assert!(error.to_string().contains("hop limit"), "{error}");
        assert_eq!(asked(&server), [PUT]);
    }
    drop(pieces);
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_is_unreachable_and_not_the_hop_limit() {
    let unmet = Unmet::new();
    // By what passes between the start of a call and that of its connection, the caller's clock is ahead.
    let clock = Clock::at_speed(1.02);
    let imds = Imds::new(&unmet.url, clock.clone()).expect("a client");
    tokio::time::pause();
    let error = clock
        .until(clock.now().at + POLL, imds.notice())
        .await
        .expect("an end of its own")
        .expect_err("no connection");
    assert!(matches!(error, MetadataError::Unreachable(_)), "{error:?}");
    let text = chain(&error);
    assert!(text.contains("the time allowed for it ran out"), "{text}");
}

#[tokio::test]
async fn a_life_cycle_that_is_not_answered_does_not_take_the_identity_with_it() {
    let document = typed(200, "text/plain", r#"{"instanceId":"i-1"}"#);
    let server = Server::replying([token("token"), document, Reply::Silent(String::new())]).await;
    let imds = imds(&server);
    let identity = imds.identity();
    let paused = async {
        server.until_received(3).await;
        tokio::time::pause();
    };
    let (identity, ()) = tokio::join!(identity, paused);
    let identity = identity.expect("an identity");
    assert_eq!(identity.instance_id.as_str(), "i-1");
    assert_eq!(identity.life_cycle, None);
}
