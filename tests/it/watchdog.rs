//! A loop that stands still ends its process, with one line that keeps the log's contract.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use serde_json::Value;
use spot_interrupt_handler::agent::Agent;
use spot_interrupt_handler::attempt::Ports;
use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::clock::{self, Clock};
use spot_interrupt_handler::cluster::{KubeCluster, Source, Writes};
use spot_interrupt_handler::plan::action::MachineIdentity;
use spot_interrupt_handler::plan::id::NodeName;
use spot_interrupt_handler::plan::notice::Announcement;
use spot_interrupt_handler::plan::{Effect, Mode, Planner, Policy};
use spot_interrupt_handler::ports::{Metadata, MetadataError};
use spot_interrupt_handler::report::{Base, Configuration, Level, Reporter};
use spot_interrupt_handler::telemetry::{LogFormat, Stdout};
use spot_interrupt_handler::watchdog::{self, Patience};
use tokio::sync::mpsc;

use crate::log_schema;

/// Names this test's process as the one whose loop is to stand still.
const STANDS_STILL: &str = "SIH_TEST_STANDS_STILL";

/// Longer than the watchdog of this test has patience, and an end all the same where there is none.
const STANDSTILL: Duration = Duration::from_secs(60);

/// What a process that aborts dies of.
const SIGABRT: i32 = 6;

/// A metadata service that takes the thread of whoever asks it, as a defect of the agent would.
struct Standstill;

impl Metadata for Standstill {
    async fn notice(&self) -> Result<Option<Announcement>, MetadataError> {
        clock::block_for(STANDSTILL);
        Ok(None)
    }

    async fn identity(&self) -> Result<MachineIdentity, MetadataError> {
        Err(MetadataError::Disabled)
    }
}

/// The process that is ended is one of its own: this test, run once more.
#[test]
fn a_loop_that_stands_still_ends_its_process_with_one_line() {
    if std::env::var_os(STANDS_STILL).is_some() {
        stand_still();
        return;
    }
    let this = "watchdog::a_loop_that_stands_still_ends_its_process_with_one_line";
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", this, "--nocapture"])
        .env(STANDS_STILL, "yes")
        .output()
        .expect("this test starts");
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
    let lines: Vec<Value> = said
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(log_schema::read)
        .collect();
    let [line] = &lines[..] else {
        panic!("one line, not {said}");
    };
    assert_eq!(line["event"], "agent.panicked");
    assert_eq!(line["level"], "error");
    assert_eq!(line["where"], "watchdog");
    assert_eq!(line["node"], "node");
}

fn stand_still() {
    // The name of a test that libtest has begun to print stands on a line that has not ended.
    std::io::stdout().write_all(b"\n").expect("an output");
    let clock = Clock::real();
    let (outlet, _flushed_on_drop) = Stdout::start(LogFormat::Json);
    let base = Base {
        node: "node".to_owned(),
        cluster: None,
        configuration: Configuration {
            mode: Mode::Full,
            effect: Effect::Real,
            poll_interval_seconds: 5.0,
            imds_endpoint: String::new(),
            discover: BTreeSet::default(),
            target_groups: 0,
        },
    };
    let reporter = Arc::new(Reporter::new(
        base,
        Level::Info,
        Box::new(outlet),
        clock.now().at,
    ));
    let patience = Patience {
        look_every: Duration::from_millis(20),
        looks: 5,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let node = NodeName::new("node");
        let nobody = Source::Plain(Uri::from_static("http://127.0.0.1:1"));
        let cluster = KubeCluster::connect(nobody, node.clone(), Writes::Real, clock.clone());
        let ports = Ports {
            metadata: Standstill,
            cluster: cluster.await.expect("a client of nobody"),
            balancer: Elbv2::new(None),
        };
        let planner = Planner::new(Policy::default(), node, None, 0, clock.now());
        let agent = Agent::new(planner, ports, clock.clone(), reporter.clone());
        watchdog::watch(agent.pulse(), patience, reporter, clock).expect("a thread");
        let (_stop, stops) = mpsc::channel(1);
        agent.run(stops).await;
    });
}
