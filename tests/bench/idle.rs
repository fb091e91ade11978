//! The agent to which nothing happens.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::process;
use crate::stage::Stage;

/// How long it is watched. Its processor time is counted in nanoseconds.
const WATCHED: Duration = Duration::from_secs(90);

/// What the start has cost is not what idling costs: bindings are asked for at any second of the first thirty.
const SETTLES: Duration = Duration::from_secs(35);

const POLL: Duration = Duration::from_secs(5);
/// As many as the agent makes meanwhile, but for the last, which might come too late.
const BARE_POLLS: usize = 17;

const DAY: Duration = Duration::from_secs(86_400);

/// So many starts are measured.
const STARTS: usize = 5;

/// What an agent takes while nothing happens.
#[derive(Clone, Debug)]
pub struct Idle {
    /// From its start to the answer of its first poll, in milliseconds, each.
    pub starts: Vec<f64>,
    /// Requests to the API server.
    pub requests: usize,
    /// Requests to the metadata service, of one poll.
    pub asked: f64,
    /// Resident, in MiB.
    pub memory: f64,
    pub threads: usize,
    /// Processor time of a day, in seconds.
    pub processor: f64,
    /// The same of bare sockets in its place.
    pub bare: f64,
}

/// Watches one.
pub async fn watch(binary: &Path) -> Idle {
    let stage = Stage::set("figures-idle")
        .await
        .expect("Go, to build an API server");
    let mut starts = Vec::new();
    for _ in 1..STARTS {
        let begins = Instant::now();
        let mut agent = stage.start_build(binary, stage.plane.server_url());
        agent.line_of("agent.started").await;
        starts.push(begins.elapsed().as_secs_f64() * 1e3);
        agent.kill().await;
    }
    let begins = Instant::now();
    let mut agent = stage.start_build(binary, stage.plane.server_url());
    agent.line_of("agent.started").await;
    starts.push(begins.elapsed().as_secs_f64() * 1e3);
    agent.line_of("preflight.passed").await;
    tokio::time::sleep(SETTLES).await;
    // Beside it, so that both find the same machine.
    let address = stage.metadata.url.trim_start_matches("http://");
    let address: SocketAddr = address.parse().expect("an address");
    let bare = tokio::task::spawn_blocking(move || process::bare_poll(address, POLL, BARE_POLLS));
    let calls = stage.agent_calls().await.len();
    let asked = stage.metadata.requests().len();
    let before = process::processor_time(agent.id());
    tokio::time::sleep(WATCHED).await;
    let used = process::processor_time(agent.id()).saturating_sub(before);
    let asked = stage.metadata.requests().len() - asked;
    let bare = bare.await.expect("no panic").as_secs_f64();
    let requests = stage.agent_calls().await.len() - calls;
    let memory = process::mebibytes(agent.id(), "VmRSS").expect("it runs");
    let threads = std::fs::read_dir(format!("/proc/{}/task", agent.id()));
    let threads = threads.expect("it runs").count();
    agent.kill().await;
    Idle {
        starts,
        requests,
        asked: crate::figure::count(asked - BARE_POLLS)
            / (WATCHED.as_secs_f64() / POLL.as_secs_f64()),
        memory,
        threads,
        processor: used.as_secs_f64() * DAY.as_secs_f64() / WATCHED.as_secs_f64(),
        bare: bare * DAY.as_secs_f64() / POLL.as_secs_f64(),
    }
}
