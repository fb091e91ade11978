//! A zone that is interrupted at once: two hundred agents against one real API server, and a thousand in virtual time.
//! `make storm` measures, prints, and writes the tables and pictures of `docs/performance.md`. Nothing is asserted: machines
//! differ.
//!
//! Agents, kubectl and the kubelets that are played are given the processor only when nobody else wants it, because in life
//! they run on other machines than the API server. So what the probe feels is the server's load.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

mod course;
mod crowd;
mod growth;
mod node;
mod picture;
mod precedence;
mod probe;
mod round;
mod server;
mod table;

#[allow(dead_code)]
#[path = "../drainer.rs"]
mod drainer;
#[allow(dead_code)]
#[path = "../figure.rs"]
mod figure;
#[allow(dead_code)]
#[path = "../place.rs"]
mod place;
#[allow(dead_code)]
#[path = "../process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../relay.rs"]
mod relay;

// The stage is the tests' own; not all of it is needed here.
#[allow(dead_code, unused_imports)]
#[path = "../../it"]
mod it {
    pub mod control_plane;
    pub mod dockerfile;
    pub mod metadata;
}
use it::{control_plane, dockerfile, metadata};

use std::path::PathBuf;

use control_plane::ControlPlane;
use course::Course;
use crowd::Crowd;
use dockerfile::{Dockerfile, Profile};
use round::Who;

/// Nodes that are interrupted within a second, unless a number is given.
const NODES: usize = 200;

fn main() {
    let asked_for = |part: &str| std::env::args().any(|argument| argument == part);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    // One column alone, to see what a change of the agent does; the page is left as it is.
    if asked_for("agents") {
        let course = runtime.block_on(agents(number()));
        println!("{}", table::storms(&[course]));
        return;
    }
    let crowded = Crowd {
        nodes: 1_000,
        pods: 30,
        namespaces: 50,
    }
    .play();
    tell("crowd", &table::crowd(&crowded));
    picture::crowd(&crowded);
    // The part that needs no server and no binary, alone.
    if asked_for("crowd") {
        return;
    }
    runtime.block_on(measure(number()));
}

/// The nodes that were asked for.
fn number() -> usize {
    let given = std::env::args().find_map(|argument| argument.parse().ok());
    given.unwrap_or(NODES)
}

/// The image's binary and a server.
async fn stage() -> (PathBuf, &'static ControlPlane) {
    eprintln!("building the image's binary …");
    let binary = Dockerfile::read().build(Profile::Release);
    let plane = ControlPlane::shared()
        .await
        .expect("Go, to build an API server");
    plane.apply_base().await;
    (binary, plane)
}

async fn agents(nodes: usize) -> Course {
    let (binary, plane) = stage().await;
    round::play(plane, &binary, Who::Agents, nodes).await
}

/// Prints a table, and puts it into the page.
fn tell(name: &str, table: &str) {
    println!("{table}");
    place::replace(place::PERFORMANCE, name, table);
}

async fn measure(nodes: usize) {
    let (binary, plane) = stage().await;
    let load = process::load();
    let mut courses = Vec::new();
    for who in [Who::Agents, Who::Kubectls] {
        courses.push(round::play(plane, &binary, who, nodes).await);
    }
    let said = format!("\nThe machine's load was {load} before this run.\n");
    tell("storms", &(table::storms(&courses) + &said));
    picture::storm(&courses);
    let growth = growth::measure(plane, &binary).await;
    tell("growth", &table::growth(&growth));
}
