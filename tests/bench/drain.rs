//! One drain of a node of the real API server: by the agent, by `kubectl drain`, or by nobody but the wire.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::control_plane::{AGENT, AGENT_NAMESPACE, AuditEvent, AuditMark};
use crate::floor::{self, Named};
use crate::stage::Stage;
use crate::throttle::Throttle;
use crate::{drainer, process, relay};

/// Pods of a DaemonSet on each node besides.
const DAEMONS: usize = 8;

/// How long a pod takes to stop, so that a drainer has something to wait for.
const STOPS_AFTER: u32 = 5;

/// How long kubectl is looked at between two readings of what it uses.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Who drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    Agent,
    Kubectl,
    Floor,
}

/// A node and the way to its API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    pub pods: usize,
    /// Added to each round trip.
    pub round_trip: Duration,
    /// So many of a hundred requests are answered 429.
    pub refused: u8,
}

/// What one drain took.
#[derive(Clone, Debug)]
pub struct Course {
    /// From the notice, or from being asked, to the cordon.
    pub cordon: Option<f64>,
    /// When each eviction arrived at the server, in seconds after the notice, in order.
    pub evictions: Vec<f64>,
    /// What the server was asked for.
    pub requests: usize,
    /// Processor time, in seconds.
    pub processor: Option<f64>,
    /// Resident at the most, in MiB.
    pub memory: Option<f64>,
}

/// A node with its pods, ready to be drained.
pub struct Scene {
    stage: Stage,
    size: Size,
    name: String,
    pods: Vec<Named>,
}

impl Scene {
    /// Sets it. A floor's pods stop sooner, since nobody waits for them.
    pub async fn set(size: Size, contender: Contender, run: usize) -> Self {
        let who = match contender {
            Contender::Agent => "agent",
            Contender::Kubectl => "kubectl",
            Contender::Floor => "floor",
        };
        let millis = size.round_trip.as_millis();
        let name = format!("{who}-{}-{millis}-{}-{run}", size.pods, size.refused);
        let stage = Stage::set(&name).await.expect("Go, to build an API server");
        let stops = match contender {
            Contender::Agent | Contender::Kubectl => STOPS_AFTER,
            Contender::Floor => 1,
        };
        let daemon_set = daemon_set(&stage).await;
        let daemons = (0..DAEMONS).map(|index| {
            let pod = stage.pod(&format!("daemon-{index}"));
            pod.owner_with_uid("apps/v1", "DaemonSet", "daemon", &daemon_set)
        });
        let webs = (0..size.pods).map(|index| {
            let pod = stage.pod(&format!("web-{index}"));
            pod.owner("apps/v1", "ReplicaSet", "web").stops_after(stops)
        });
        let created: Vec<_> = stream::iter(daemons.chain(webs))
            .map(|pod| pod.create(&stage.admin))
            .buffer_unordered(16)
            .collect()
            .await;
        let named = created.into_iter().map(|pod| Named {
            namespace: stage.namespace.clone(),
            name: pod.metadata.name.expect("a name"),
            uid: pod.metadata.uid.expect("a UID"),
        });
        Self {
            pods: named.filter(|pod| pod.name.starts_with("web-")).collect(),
            stage,
            size,
            name,
        }
    }

    fn server(&self) -> SocketAddr {
        let url = self.stage.plane.server_url();
        let address = url.trim_start_matches("https://").parse();
        address.expect("an address")
    }

    /// The agent drains it.
    pub async fn by_agent(self, binary: &Path) -> Course {
        let stage = &self.stage;
        let flags = ["--poll-interval", "1s"];
        let (throttle, url);
        let kubeconfig = if self.size.refused == 0 {
            throttle = None;
            url = relay_url(self.server(), self.size.round_trip).await;
            stage.plane.kubeconfig_at(&url, stage.token())
        } else {
            let authority = stage.plane.ca_path();
            let before = Throttle::before(self.server(), &authority, self.size.refused).await;
            url = relay_url(before.address, self.size.round_trip).await;
            let directory = authority.parent().expect("a directory");
            let kubeconfig = before.kubeconfig(directory, &url, stage.token());
            throttle = Some(before);
            kubeconfig
        };
        let mut agent = stage.start_build_at(binary, &kubeconfig, &flags);
        agent.line_of("agent.started").await;
        if throttle.is_none() {
            // The last of what it asks at its start.
            agent.line_of("preflight.passed").await;
        }
        let mark = stage.plane.audit_mark();
        let refused_before = throttle.as_ref().map_or(0, Throttle::refused);
        let before = process::processor_time(agent.id());
        stage.metadata.announce(Duration::from_secs(120));
        let seen = time(&agent.line_of("interruption.notice").await);
        let summary = agent.line_of("interruption.summary").await;
        let used = process::processor_time(agent.id()).saturating_sub(before);
        let memory = process::mebibytes(agent.id(), "VmHWM");
        agent.kill().await;
        assert_eq!(summary["pods_gone"], self.size.pods, "{summary}");
        let node = stage.node.clone();
        let calls = self
            .calls(mark, |call| {
                call.user.ends_with(AGENT) && call.token_node.as_deref() == Some(&node)
            })
            .await;
        let refused = throttle.map_or(0, |throttle| throttle.refused() - refused_before);
        Course {
            processor: Some(used.as_secs_f64()),
            memory,
            requests: calls.len() + refused,
            ..course(&calls, seen)
        }
    }

    /// `kubectl drain` drains it.
    pub async fn by_kubectl(self) -> Course {
        let token = drainer::token(&self.stage.admin, AGENT_NAMESPACE, &self.name).await;
        let url = relay_url(self.server(), self.size.round_trip).await;
        let kubeconfig = self.stage.plane.kubeconfig_at(&url, &token);
        let home = tempfile::tempdir().expect("a directory");
        let mark = self.stage.plane.audit_mark();
        let asked = Timestamp::now();
        let mut kubectl = Command::new("kubectl")
            .args(["drain", &self.stage.node, "--ignore-daemonsets"])
            .args(["--delete-emptydir-data", "--force"])
            .env("KUBECONFIG", kubeconfig)
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // It tells of every eviction that it keeps waiting.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl is installed");
        let id = kubectl.id().expect("it has begun");
        let (mut memory, mut processor) = (None, None);
        let status = loop {
            memory = process::mebibytes(id, "VmHWM").or(memory);
            processor = process::processor_ticks(id).or(processor);
            if let Ok(status) = tokio::time::timeout(LOOK_EVERY, kubectl.wait()).await {
                break status.expect("a status");
            }
        };
        assert!(status.success(), "{}: {status}", self.name);
        let user = drainer::user(AGENT_NAMESPACE, &self.name);
        let calls = self.calls(mark, |call| call.user == user).await;
        Course {
            processor: processor.map(|time| time.as_secs_f64()),
            memory,
            requests: calls.len(),
            ..course(&calls, asked)
        }
    }

    /// Nobody does but the wire.
    pub async fn by_floor(self) -> Course {
        let stage = &self.stage;
        let address = relay::relay(self.server(), self.size.round_trip).await;
        let mark = stage.plane.audit_mark();
        let begins = Timestamp::now();
        floor::evict_all(address, &stage.plane.ca_path(), stage.token(), &self.pods).await;
        let node = stage.node.clone();
        let calls = self
            .calls(mark, |call| call.token_node.as_deref() == Some(&node))
            .await;
        // Its pods stop while nothing is measured.
        while stage.pods_left().await.len() > DAEMONS {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        course(&calls, begins)
    }

    /// The calls of this drain.
    async fn calls(
        &self,
        mark: AuditMark,
        belongs: impl Fn(&AuditEvent) -> bool,
    ) -> Vec<AuditEvent> {
        let plane = self.stage.plane;
        let mut calls = plane.audit_events_of_all_stages(mark).await;
        calls.retain(|call| {
            let is_counted = call.stage == "ResponseComplete"
                || call.verb == "watch" && call.stage == "ResponseStarted";
            is_counted && call.resource != "selfsubjectaccessreviews" && belongs(call)
        });
        // A watch that has ended is logged twice.
        let mut watches = std::collections::BTreeSet::new();
        calls.retain(|call| call.verb != "watch" || watches.insert(call.received));
        calls
    }
}

async fn relay_url(server: SocketAddr, round_trip: Duration) -> String {
    format!("https://{}", relay::relay(server, round_trip).await)
}

async fn daemon_set(stage: &Stage) -> String {
    let labels = json!({"app": "daemon"});
    let daemon_set: DaemonSet = serde_json::from_value(json!({
        "metadata": {"name": "daemon"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "example.invalid/main:1"}]},
            },
        },
    }))
    .expect("a DaemonSet");
    let created = Api::<DaemonSet>::namespaced(stage.admin.clone(), &stage.namespace)
        .create(&PostParams::default(), &daemon_set)
        .await
        .expect("a DaemonSet");
    created.metadata.uid.expect("a UID")
}

/// What the calls say.
fn course(calls: &[AuditEvent], begins: Timestamp) -> Course {
    let after = |call: &AuditEvent| (call.received - begins).total(jiff::Unit::Second);
    let times = |belongs: fn(&AuditEvent) -> bool| {
        let times = calls.iter().filter(|call| belongs(call)).map(after);
        let mut times: Vec<f64> = times.map(|time| time.expect("a time")).collect();
        times.sort_by(f64::total_cmp);
        times
    };
    Course {
        cordon: times(|call| call.verb == "patch" && call.resource == "nodes")
            .first()
            .copied(),
        evictions: times(|call| call.verb == "create" && call.subresource == "eviction"),
        requests: calls.len(),
        processor: None,
        memory: None,
    }
}

fn time(line: &Value) -> Timestamp {
    let text = line["ts"].as_str().expect("a time");
    text.parse().expect("a time")
}
