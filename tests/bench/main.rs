//! The figures of the README, measured and printed. Nothing is asserted: machines differ.
//!
//! The agent is the binary of the image, built as the Dockerfile builds it, as a process, against a real kube-apiserver
//! with the permissions and policies that are shipped.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

mod process;
mod relay;

// The stage is the tests' own; not all of it is needed here.
#[allow(dead_code, unused_imports)]
#[path = "../it"]
mod it {
    pub mod agent_process;
    pub mod control_plane;
    pub mod dockerfile;
    pub mod log_schema;
    pub mod metadata;
    pub mod stage;
}
use it::{agent_process, control_plane, dockerfile, log_schema, metadata, stage};

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use dockerfile::{Dockerfile, Profile};
use stage::Stage;

/// Each drain is measured so often; the table has the median and the extremes.
const RUNS: usize = 5;

/// How long an idle agent is watched. Its processor time is counted in hundredths of a second.
const IDLE: Duration = Duration::from_secs(120);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(print_figures());
}

async fn print_figures() {
    let image = Dockerfile::read();
    eprintln!("building the image's binary …");
    let binary = image.build(Profile::Release);
    row("figure", "minimum", "median", "maximum", "aim");
    let size = mebibytes(std::fs::metadata(&binary).expect("the binary").len());
    one("binary, MiB", size, "");
    let bundle = std::fs::metadata(&image.copies[0].0).map_or(0, |bundle| bundle.len());
    one(
        "image (binary and CA bundle), MiB",
        size + mebibytes(bundle),
        "12",
    );
    for (pods, round_trip) in [(110, 20), (110, 0), (250, 20)] {
        drain(&binary, pods, Duration::from_millis(round_trip)).await;
    }
    idle(&binary).await;
}

/// Drains a node of this many pods, several times, with this much added to each round trip.
async fn drain(binary: &Path, pods: usize, round_trip: Duration) {
    let mut figures = Figures::default();
    for run in 0..RUNS {
        let name = format!("figures-{pods}-{}-{run}", round_trip.as_millis());
        drain_once(binary, pods, round_trip, &name, &mut figures).await;
    }
    let what = format!("{pods} pods, {} ms:", round_trip.as_millis());
    let aim = match (pods, round_trip.as_millis()) {
        (110, 20) => "0.7",
        (250, 20) => "1",
        _ => "",
    };
    many(
        &format!("{what} notice seen to cordon, s"),
        &figures.cordon,
        "",
    );
    many(
        &format!("{what} notice seen to last eviction, s"),
        &figures.evictions,
        aim,
    );
    let most = format!("{}", pods + 12);
    many(
        &format!("{what} requests to the API server"),
        &figures.requests,
        &most,
    );
    many(&format!("{what} peak RSS, MiB"), &figures.memory, "");
}

#[derive(Default)]
struct Figures {
    cordon: Vec<f64>,
    evictions: Vec<f64>,
    requests: Vec<f64>,
    memory: Vec<f64>,
}

async fn drain_once(
    binary: &Path,
    pods: usize,
    round_trip: Duration,
    name: &str,
    figures: &mut Figures,
) {
    let stage = Stage::set(name).await.expect("Go, to build an API server");
    for index in 0..pods {
        let pod = stage.pod(&format!("web-{index}"));
        pod.owner("apps/v1", "ReplicaSet", "web")
            .create(&stage.admin)
            .await;
    }
    let server: SocketAddr = stage
        .plane
        .server_url()
        .trim_start_matches("https://")
        .parse()
        .expect("an address");
    let relay = relay::relay(server, round_trip).await;
    let mut agent = stage.start_build(binary, &format!("https://{relay}"));
    agent.line_of("agent.started").await;
    stage.metadata.announce(Duration::from_secs(120));
    let seen = time(&agent.line_of("interruption.notice").await);
    let summary = agent.line_of("interruption.summary").await;
    figures.memory.push(process::mebibytes(agent.id(), "VmHWM"));
    agent.kill().await;
    assert_eq!(summary["pods_gone"], pods, "{summary}");
    let calls = stage.agent_calls().await;
    let last = |resource: &str, verb: &str| {
        let calls = calls.iter();
        let times = calls
            .filter(|call| call.verb == verb && call.resource == resource)
            .map(|call| call.received.as_millisecond());
        seconds(times.max().expect("a call") - seen.as_millisecond())
    };
    figures.cordon.push(last("nodes", "patch"));
    figures.evictions.push(last("pods", "create"));
    figures.requests.push(count(calls.len()));
}

/// An agent to which nothing happens.
async fn idle(binary: &Path) {
    let stage = Stage::set("figures-idle")
        .await
        .expect("Go, to build an API server");
    let begins = Instant::now();
    let mut agent = stage.start_build(binary, stage.plane.server_url());
    agent.line_of("agent.started").await;
    one(
        "start to first poll answered, ms",
        begins.elapsed().as_secs_f64() * 1e3,
        "",
    );
    // What the start has cost is not what idling costs.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let requests = stage.metadata.requests().len();
    let used = process::processor_time(agent.id());
    tokio::time::sleep(IDLE).await;
    let used = process::processor_time(agent.id()) - used;
    let requests = stage.metadata.requests().len() - requests;
    let polls = IDLE.as_secs_f64() / 5.0;
    one(
        "idle: requests to the API server",
        count(stage.agent_calls().await.len()),
        "0",
    );
    one(
        "idle: requests to the metadata service per poll",
        count(requests) / polls,
        "1",
    );
    one(
        "idle: RSS, MiB",
        process::mebibytes(agent.id(), "VmRSS"),
        "10",
    );
    let day = Duration::from_secs(86_400).as_secs_f64() / IDLE.as_secs_f64();
    one(
        "idle: processor time in a day, s",
        used.as_secs_f64() * day,
        "2",
    );
    agent.kill().await;
    let address = stage.metadata.url.trim_start_matches("http://");
    let address: SocketAddr = address.parse().expect("an address");
    let bare = tokio::task::spawn_blocking(move || process::bare_poll(address, 24));
    let bare = bare.await.expect("no panic").as_secs_f64() * 86_400.0 / 5.0;
    one("bare sockets in the agent's place: the same, s", bare, "");
}

fn time(line: &Value) -> Timestamp {
    line["ts"]
        .as_str()
        .expect("a time")
        .parse()
        .expect("a time")
}

#[allow(clippy::cast_precision_loss)] // a few seconds in milliseconds
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1e3
}

#[allow(clippy::cast_precision_loss)] // a few hundred
fn count(number: usize) -> f64 {
    number as f64
}

#[allow(clippy::cast_precision_loss)] // a few million bytes
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1_024.0 * 1_024.0)
}

fn one(figure: &str, value: f64, aim: &str) {
    row(figure, "", &number(value), "", aim);
}

fn many(figure: &str, values: &[f64], aim: &str) {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let [first, .., last] = values[..] else {
        panic!("several runs");
    };
    let median = values[values.len() / 2];
    row(figure, &number(first), &number(median), &number(last), aim);
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value}")
    } else {
        format!("{value:.2}")
    }
}

fn row(figure: &str, minimum: &str, median: &str, maximum: &str, aim: &str) {
    println!("| {figure:<52} | {minimum:>7} | {median:>7} | {maximum:>7} | {aim:>4} |");
    if figure == "figure" {
        println!(
            "|{:-<54}|{:->9}|{:->9}|{:->9}|{:->6}|",
            "", ":", ":", ":", ":"
        );
    }
}
