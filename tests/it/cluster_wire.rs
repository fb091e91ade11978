//! The API server as the agent meets it: every call, every answer and every way in which an answer fails to come,
//! against servers on loopback.

mod annotations;
mod answers;
mod bindings;
mod calls;
mod connections;
mod credentials;
mod services;
mod views;
mod watching;

use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::cluster::{KubeCluster, Source, Writes};
use spot_interrupt_handler::plan::id::{NodeName, PodRef, PodUid};
use spot_interrupt_handler::ports::{ClusterError, Refusal};

const NODE: &str = "ip-10-0-0-7.ec2.internal";

/// The adapter against a server at `url`, on a real clock.
async fn cluster_at(url: &str) -> KubeCluster {
    cluster_from(Source::Plain(url.parse().expect("a URL")), Clock::real()).await
}

async fn cluster_from(source: Source, clock: Clock) -> KubeCluster {
    KubeCluster::connect(source, NodeName::new(NODE), Writes::Real, clock)
        .await
        .expect("a client")
}

fn web_0() -> PodRef {
    PodRef {
        namespace: "shop".to_owned(),
        name: "web-0".to_owned(),
        uid: PodUid::new("5d1e7a3c-0001"),
    }
}

/// What a refused call was refused with, and what the server said.
fn refusal<T: std::fmt::Debug>(result: Result<T, ClusterError>) -> (Refusal, u16, String) {
    match result {
        Err(ClusterError::Refused {
            refusal,
            status,
            message,
        }) => (refusal, status, message),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// An error with its causes, as a log line would have it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
