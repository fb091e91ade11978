//! A control plane in which things happen by themselves: beside the API server the controllers and the scheduler of
//! Kubernetes, and kwok, which makes what is scheduled to its nodes run and stop (`whole_cluster/stages.yaml`).
//!
//! It is a server of its own: the tests that share the other one want nothing to happen that they did not ask for.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::control_plane::{ControlPlane, StartError, binaries, source};

const SETTLED_WITHIN: Duration = Duration::from_mins(1);
const ANSWERED_WITHIN: Duration = Duration::from_mins(3);

/// The namespaces that a server makes by itself.
const OWN_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// A running control plane with controllers, a scheduler and kubelets.
#[derive(Debug)]
pub struct WholeCluster {
    pub plane: ControlPlane,
    /// Its standard input is what keeps them alive.
    _controllers: Child,
}

impl WholeCluster {
    /// Builds what is missing, starts everything, and returns when the namespaces that are there from the start have what
    /// controllers give a namespace.
    pub async fn start() -> Result<Self, StartError> {
        let controllers = binaries("controllers").await?;
        let kubelets = binaries("kubelets").await?;
        let plane = ControlPlane::start(&[]).await?;
        let mut running = Command::new("bash")
            .arg(source("tests/it/whole_cluster/serve.sh"))
            .args([&controllers, &kubelets])
            .args([plane.directory(), &plane.admin_kubeconfig()])
            .arg(source("tests/it/whole_cluster/stages.yaml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // As with the server: of a signal to the tests only the end of standard input counts.
            .process_group(0)
            .spawn()
            .map_err(|error| StartError::Failed(format!("cannot run bash: {error}")))?;
        settled(&plane, &mut running)
            .await
            .map_err(StartError::Failed)?;
        Ok(Self {
            plane,
            _controllers: running,
        })
    }
}

/// Asks until there is an answer. What it is about takes its time in other processes, none of it minutes.
pub async fn until<T>(what: &str, ask: impl AsyncFn() -> Result<T, String>) -> T {
    let end = Instant::now() + ANSWERED_WITHIN;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(missing) => assert!(Instant::now() < end, "{what}: {missing}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn settled(plane: &ControlPlane, running: &mut Child) -> Result<(), String> {
    let admin = plane.admin().await;
    let until = Instant::now() + SETTLED_WITHIN;
    loop {
        let Some(missing) = missing(&admin).await.map_err(|error| error.to_string())? else {
            return Ok(());
        };
        let ended = running.try_wait().map_err(|error| error.to_string())?;
        if ended.is_some() || Instant::now() > until {
            return Err(format!("no {missing}; {}", last_words(plane.directory())));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// The first of what controllers and server make by themselves that is not there yet.
async fn missing(admin: &Client) -> kube::Result<Option<String>> {
    for namespace in OWN_NAMESPACES {
        let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
        let maps: Api<ConfigMap> = Api::namespaced(admin.clone(), namespace);
        if accounts.get_opt("default").await?.is_none() {
            return Ok(Some(format!("ServiceAccount in {namespace}")));
        }
        if maps.get_opt("kube-root-ca.crt").await?.is_none() {
            return Ok(Some(format!("certificate in {namespace}")));
        }
    }
    let maps: Api<ConfigMap> = Api::namespaced(admin.clone(), "kube-system");
    let last = "kube-apiserver-legacy-service-account-token-tracking";
    let is_there = maps.get_opt(last).await?.is_some();
    Ok((!is_there).then(|| last.to_owned()))
}

fn last_words(directory: &Path) -> String {
    let tail = |name| {
        let log = fs::read_to_string(directory.join(name)).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(3).collect();
        format!("{name}: {}", lines.join(" | "))
    };
    [
        "kube-controller-manager.log",
        "kube-scheduler.log",
        "kwok.log",
    ]
    .map(tail)
    .join("; ")
}

/// A node to create, which kwok makes ready and keeps so. It has room for eight processors' pods.
#[derive(Debug, Clone)]
pub struct FakeNode {
    name: String,
    labels: Vec<(String, String)>,
    taints: Vec<Value>,
    provider_id: Option<String>,
    is_cordoned: bool,
}

impl FakeNode {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            labels: vec![("kubernetes.io/hostname".to_owned(), name.to_owned())],
            taints: Vec::new(),
            provider_id: None,
            is_cordoned: false,
        }
    }

    pub fn labels(mut self, labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter();
        self.labels
            .extend(labels.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self
    }

    pub fn taint(mut self, key: &str, value: &str, effect: &str) -> Self {
        self.taints
            .push(json!({"key": key, "value": value, "effect": effect}));
        self
    }

    /// `spec.providerID` of an instance.
    #[allow(dead_code, reason = "the game day has instances")]
    pub fn instance(mut self, zone: &str, id: &str) -> Self {
        self.provider_id = Some(format!("aws:///{zone}/{id}"));
        self
    }

    pub fn cordoned(mut self, is_cordoned: bool) -> Self {
        self.is_cordoned = is_cordoned;
        self
    }

    pub async fn create(self, client: &Client) -> Node {
        let labels: serde_json::Map<_, _> = self
            .labels
            .into_iter()
            .map(|(key, value)| (key, json!(value)))
            .collect();
        let room = json!({"cpu": "8", "memory": "32Gi", "pods": "110"});
        let node = json!({
            "metadata": {
                "name": self.name,
                "labels": labels,
                "annotations": {"kwok.x-k8s.io/node": "fake"},
            },
            "spec": {
                "providerID": self.provider_id,
                "taints": self.taints,
                "unschedulable": self.is_cordoned,
            },
            "status": {
                "capacity": room,
                "allocatable": room,
                "nodeInfo": {
                    "bootID": format!("boot-of-{}", self.name), "machineID": self.name, "systemUUID": self.name,
                    "architecture": "amd64", "operatingSystem": "linux", "osImage": "Amazon Linux 2023",
                    "kernelVersion": "6.12", "containerRuntimeVersion": "containerd://2.1",
                    "kubeletVersion": "v1.36.4", "kubeProxyVersion": "",
                },
            },
        });
        let node: Node = serde_json::from_value(node).expect("a node");
        Api::all(client.clone())
            .create(&PostParams::default(), &node)
            .await
            .expect("a node")
    }
}
