//! One storm: nodes are made, their drainers wait, and within one second all of them are to go.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use tokio::process::Child;
use tokio::time::sleep;

use crate::control_plane::{AGENT, AGENT_NAMESPACE, ControlPlane};
use crate::course::{self, Course};
use crate::drainer;
use crate::node::{self, Node};
use crate::precedence::{self, idle_class};
use crate::probe::Probe;
use crate::server::Looking;

/// Agents poll once in this time; they are started over as long.
const RHYTHM: Duration = Duration::from_secs(5);

/// What they do at their start is over then.
const SETTLES: Duration = Duration::from_secs(15);

/// The probe asks so long before the storm …
const QUIET: Duration = Duration::from_secs(10);

/// … in which all are interrupted.
const WITHIN: Duration = Duration::from_secs(1);

/// The slowest drain takes less.
const AT_MOST: Duration = Duration::from_secs(100);

/// Whatever the machine makes of it.
const MARGIN: Duration = Duration::from_secs(15);

/// Who drains the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Agents,
    Kubectls,
}

/// Plays it.
pub async fn play(plane: &'static ControlPlane, binary: &Path, who: Who, nodes: usize) -> Course {
    let prefix = match who {
        Who::Agents => "agents",
        Who::Kubectls => "kubectls",
    };
    eprintln!("{prefix}: making {nodes} nodes …");
    let nodes = node::make(plane, prefix, nodes).await;
    precedence::stand_back();
    let probe = Probe::start(plane).await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut drainers = Vec::new();
    let user = match who {
        Who::Agents => {
            eprintln!("{prefix}: starting …");
            for node in &nodes {
                drainers.push(start_agent(
                    binary,
                    node,
                    &node.kubeconfig,
                    directory.path(),
                ));
                sleep(RHYTHM.div_f64(crate::figure::count(nodes.len()))).await;
            }
            sleep(SETTLES).await;
            drainer::user(AGENT_NAMESPACE, AGENT)
        }
        Who::Kubectls => drainer::user(AGENT_NAMESPACE, prefix),
    };
    let kubeconfig = match who {
        Who::Agents => None,
        Who::Kubectls => {
            let admin = plane.admin().await;
            let token = drainer::token(&admin, AGENT_NAMESPACE, prefix).await;
            Some(plane.kubeconfig_for(&token))
        }
    };
    let looking = Looking::start(plane);
    sleep(QUIET).await;
    eprintln!("{prefix}: interrupting …");
    let mark = plane.audit_mark();
    let begins = Timestamp::now();
    for node in &nodes {
        match &kubeconfig {
            None => node.metadata.announce(Duration::from_secs(120)),
            Some(kubeconfig) => drainers.push(start_kubectl(kubeconfig, node, directory.path())),
        }
        sleep(WITHIN.div_f64(crate::figure::count(nodes.len()))).await;
    }
    wait(who, &mut drainers).await;
    let looks = looking.stop().await;
    let samples = probe.stop();
    let memory = drainers
        .iter()
        .filter_map(|child| crate::process::mebibytes(child.id()?, "VmHWM"))
        .sum::<f64>();
    for mut child in drainers {
        // A kubectl has ended by itself.
        let _ = child.kill().await;
    }
    let calls = plane.audit_events_of_all_stages(mark).await;
    let mut course = course::of(who, nodes.len(), begins, &user, &calls, &samples, &looks);
    course.clients_memory = Some(memory).filter(|memory| *memory > 0.0);
    course
}

/// Where a drainer writes.
pub fn log_of(node: &Node, directory: &Path) -> PathBuf {
    directory.join(format!("{}.log", node.name))
}

/// Starts the agent of a node.
pub fn start_agent(binary: &Path, node: &Node, kubeconfig: &Path, directory: &Path) -> Child {
    let log = File::create(log_of(node, directory)).expect("a file");
    idle_class(binary)
        .arg("run")
        .args(["--node-name", &node.name])
        .args(["--pod-uid", &node.agent_uid])
        .args(["--imds-endpoint", &node.metadata.url])
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .stdout(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the agent starts")
}

fn start_kubectl(kubeconfig: &Path, node: &Node, directory: &Path) -> Child {
    let log = File::create(log_of(node, directory)).expect("a file");
    idle_class(Path::new("kubectl"))
        .args(["drain", &node.name, "--ignore-daemonsets"])
        .args(["--delete-emptydir-data", "--force"])
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", directory)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("kubectl is installed")
}

/// Until every node's pods are gone.
async fn wait(who: Who, drainers: &mut [Child]) {
    let until = Timestamp::now() + AT_MOST;
    match who {
        Who::Kubectls => {
            for child in drainers {
                let left = (until - Timestamp::now()).total(jiff::Unit::Second);
                let left = Duration::from_secs_f64(left.unwrap_or(0.0).max(0.1));
                let _ = tokio::time::timeout(left, child.wait()).await;
            }
        }
        Who::Agents => {
            // All see their notice within a rhythm, and spread first calls over twenty seconds; then pods stop for five.
            sleep(RHYTHM + Duration::from_secs(20) + Duration::from_secs(5) + MARGIN).await;
        }
    }
}
