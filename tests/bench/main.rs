//! The figures of `docs/performance.md` and the README, measured, printed and written there. Nothing is asserted: machines
//! differ.
//!
//! The agent is the binary of the image, built as the Dockerfile builds it, as a process, against a real kube-apiserver
//! with the permissions and policies that are shipped; beside it `kubectl drain`, and what no drainer can go below.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

mod drain;
mod drainer;
mod figure;
mod floor;
mod idle;
mod page;
mod picture;
mod place;
mod process;
mod relay;
mod throttle;

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

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use dockerfile::{Dockerfile, Profile};
use drain::{Contender, Course, Scene, Size};
use figure::Sizes;

/// Each quick drain is measured so often.
const RUNS: usize = 3;

const PODS: [usize; 3] = [10, 110, 250];
const ROUND_TRIPS: [u64; 3] = [0, 20, 100];

/// What has been measured of the drains of each size.
pub type Courses = BTreeMap<(Size, Contender), Vec<Course>>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(measure());
}

async fn measure() {
    let image = Dockerfile::read();
    eprintln!("building the image's binary …");
    let binary = image.build(Profile::Release);
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let bundle = bytes(Path::new(&image.copies[0].0));
    let sizes = Sizes {
        binary: mebibytes(bytes(&binary)),
        image: mebibytes(bytes(&binary) + bundle),
    };
    let load = process::load();
    eprintln!("watching an agent to which nothing happens …");
    let idle = idle::watch(&binary).await;
    if std::env::args().any(|argument| argument == "rest") {
        println!("{}", page::write_rest(&idle, &sizes));
        return;
    }
    let courses = drains(&binary).await;
    let tables = page::Tables::of(&courses, &idle, &sizes, &load);
    println!("{}\n{}", tables.drains, tables.rest);
    tables.write();
    picture::write(&courses);
}

/// The sizes of the drains.
pub fn sizes() -> impl Iterator<Item = Size> {
    PODS.into_iter().flat_map(|pods| {
        ROUND_TRIPS.into_iter().map(move |round_trip| Size {
            pods,
            round_trip: Duration::from_millis(round_trip),
            refused: 0,
        })
    })
}

/// A far server that is full now and then.
pub const FULL: Size = Size {
    pods: 110,
    round_trip: Duration::from_millis(300),
    refused: 10,
};

async fn drains(binary: &Path) -> Courses {
    let mut courses = Courses::new();
    for run in 0..RUNS {
        eprintln!("draining, {} of {RUNS} …", run + 1);
        for size in sizes().chain([FULL]) {
            if size.refused == 0 {
                let scene = Scene::set(size, Contender::Floor, run).await;
                let course = scene.by_floor().await;
                let all = courses.entry((size, Contender::Floor)).or_default();
                all.push(course);
            }
            let scene = Scene::set(size, Contender::Agent, run).await;
            let course = scene.by_agent(binary).await;
            let all = courses.entry((size, Contender::Agent)).or_default();
            all.push(course);
        }
    }
    eprintln!("the same by kubectl drain …");
    let scenes: Vec<Scene> = stream::iter(sizes())
        .then(|size| Scene::set(size, Contender::Kubectl, 0))
        .collect()
        .await;
    // All at once: each sends five evictions a second, whatever the others do.
    let drains = scenes.into_iter().map(Scene::by_kubectl);
    let drained = futures_util::future::join_all(drains).await;
    for (size, course) in sizes().zip(drained) {
        courses.insert((size, Contender::Kubectl), vec![course]);
    }
    courses
}

#[allow(clippy::cast_precision_loss)] // a few million bytes
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1_024.0 * 1_024.0)
}
