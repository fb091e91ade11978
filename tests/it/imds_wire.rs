//! The metadata service as the agent meets it: every answer, and every way in which an answer fails to come, against a
//! server on loopback.

mod answers;
mod failures;
mod surroundings;
mod tokens;
mod waits;

use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::imds::Imds;
use spot_interrupt_handler::ports::MetadataError;

use crate::scripted::{Reply, Server, typed};

const PUT: &str = "PUT /latest/api/token";
const NOTICE: &str = "GET /latest/meta-data/spot/instance-action";

/// What a token request is answered with.
fn token(text: &str) -> Reply {
    typed(200, "text/plain", text).with("X-aws-ec2-metadata-token-ttl-seconds", "21600")
}

fn imds(server: &Server) -> Imds {
    Imds::new(&server.url, Clock::real()).expect("a client")
}

/// A server that gives a token, and then these replies.
async fn server(replies: impl IntoIterator<Item = Reply>) -> Server {
    Server::replying([token("token-1")].into_iter().chain(replies)).await
}

/// The lines of what was asked.
fn asked(server: &Server) -> Vec<String> {
    let received = server.received();
    received.into_iter().map(|request| request.line).collect()
}

/// An error with its causes, as a log line would have it.
fn chain(error: &MetadataError) -> String {
    let first: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
