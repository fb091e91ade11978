//! What an interruption of one node costs while the cluster around it grows.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde_json::Value;

use crate::control_plane::{ControlPlane, PodOnNode, create_namespace};
use crate::{node, process, relay, round};

/// Pods on other nodes.
const OTHERS: [usize; 3] = [0, 1_000, 10_000];

/// They are spread over so many namespaces.
const NAMESPACES: usize = 20;

/// No drain of ten pods takes longer.
const AT_MOST: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What one interruption cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Pods on other nodes.
    pub others: usize,
    pub requests: usize,
    /// Over the wire, both ways, TLS included.
    pub bytes: usize,
    /// Processor time of the agent, in seconds.
    pub processor: f64,
    /// From the notice to the last eviction, in seconds.
    pub last: f64,
}

/// Interrupts a node in clusters of these sizes.
pub async fn measure(plane: &'static ControlPlane, binary: &Path) -> Vec<Cost> {
    let admin = plane.admin().await;
    let mut namespaces = Vec::new();
    for _ in 0..NAMESPACES {
        namespaces.push(create_namespace(&admin, "others").await);
    }
    let mut there = 0;
    let mut costs = Vec::new();
    for others in OTHERS {
        eprintln!("growth: {others} pods on other nodes …");
        stream::iter(there..others)
            .map(|index| {
                let namespace = &namespaces[index % NAMESPACES];
                let node = format!("other-{}", index / 30);
                PodOnNode::new(namespace, &format!("pod-{index}"), &node)
                    .owner("apps/v1", "ReplicaSet", "web")
                    .pending()
                    .create(&admin)
            })
            .buffer_unordered(16)
            .for_each(|_| async {})
            .await;
        there = others;
        costs.push(interrupt(plane, binary, others).await);
    }
    costs
}

async fn interrupt(plane: &'static ControlPlane, binary: &Path, others: usize) -> Cost {
    let node = node::make(plane, &format!("among-{others}"), 1).await;
    let node = &node[0];
    let server = plane.server_url().trim_start_matches("https://");
    let server: SocketAddr = server.parse().expect("an address");
    let (address, passed) = relay::counting_relay(server, Duration::ZERO).await;
    let kubeconfig = plane.kubeconfig_at(&format!("https://{address}"), &node.token);
    let directory = tempfile::tempdir().expect("a directory");
    let mut agent = round::start_agent(binary, node, &kubeconfig, directory.path());
    let log = round::log_of(node, directory.path());
    line_of("preflight.passed", &log).await;
    // What the start asks for is answered then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let id = agent.id().expect("it runs");
    let (bytes, before) = (passed.load(Ordering::Relaxed), process::processor_time(id));
    let mark = plane.audit_mark();
    node.metadata.announce(Duration::from_secs(120));
    let seen = line_of("interruption.notice", &log).await;
    let seen: Timestamp = seen["ts"]
        .as_str()
        .expect("a time")
        .parse()
        .expect("a time");
    line_of("interruption.summary", &log).await;
    let used = process::processor_time(id).saturating_sub(before);
    let bytes = passed.load(Ordering::Relaxed) - bytes;
    let mut calls = plane.audit_events(mark).await;
    calls.retain(|call| call.token_node.as_deref() == Some(&node.name));
    let evictions = calls.iter().filter(|call| call.subresource == "eviction");
    let last = evictions
        .map(|call| call.received)
        .max()
        .expect("evictions");
    agent.kill().await.expect("the agent can be killed");
    Cost {
        others,
        // Its WATCH goes on, and is not among those that were answered.
        requests: calls.len() + 1,
        bytes,
        processor: used.as_secs_f64(),
        last: (last - seen).total(jiff::Unit::Second).expect("a time"),
    }
}

/// Waits for a line of this event.
async fn line_of(event: &str, log: &Path) -> Value {
    let until = tokio::time::Instant::now() + AT_MOST;
    while tokio::time::Instant::now() < until {
        let text = std::fs::read_to_string(log).expect("a log");
        let mut lines = text
            .lines()
            .rev()
            .filter_map(|line| serde_json::from_str(line).ok());
        if let Some(line) = lines.find(|line: &Value| line["event"] == event) {
            return line;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    panic!("no {event} within {AT_MOST:?}")
}
