//! Answers that are awaited in vain: the SDK would wait for ever, so an attempt ends itself. The clock is stopped once
//! there is nothing to do but wait, and then jumps to whatever ends the wait.

use std::time::Duration;

use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::ports::{Balancer, BalancerError};
use tokio::sync::mpsc::unbounded_channel;

use super::{group, instance};
use crate::scripted::{Reply, Server, Unmet};

/// The limit of an attempt.
const ATTEMPT: Duration = Duration::from_millis(2_500);

/// What a deregistration ends with that is answered so, within the time of an attempt.
async fn ended(reply: Reply) -> BalancerError {
    let server = Server::replying([reply]).await;
    let balancer = Elbv2::at(&server.url);
    let (group, instance) = (group(), instance());
    let mut deregistering = Box::pin(balancer.deregister(&group, &instance, &[80]));
    let clock = Clock::real();
    tokio::select! {
        result = &mut deregistering => panic!("{result:?}"),
        () = server.until_received(1) => {}
    }
    tokio::time::pause();
    let result = clock.until(clock.now().at + ATTEMPT, deregistering).await;
    server.only();
    result.expect("an end of its own").expect_err("no success")
}

#[tokio::test]
async fn silence_ends_with_the_attempts_own_time_limit() {
    let error = ended(Reply::Silent(String::new())).await;
    assert!(matches!(error, BalancerError::Lost(_)), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_stops_half_way_ends_with_the_attempts_own_time_limit() {
    let (pieces, slow) = unbounded_channel();
    pieces.send("<Deregister".to_owned()).expect("a reader");
    let error = ended(Reply::Pieces(slow)).await;
    assert!(matches!(error, BalancerError::Lost(_)), "{error:?}");
    drop(pieces);
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_is_unreachable() {
    let unmet = Unmet::new();
    let balancer = Elbv2::at(&unmet.url);
    let (group, instance) = (group(), instance());
    let deregistering = Box::pin(balancer.deregister(&group, &instance, &[80]));
    let clock = Clock::real();
    tokio::time::pause();
    let result = clock.until(clock.now().at + ATTEMPT, deregistering).await;
    assert!(
        matches!(result, Ok(Err(BalancerError::Unreachable(_)))),
        "{result:?}"
    );
}
