//! Nodes, pods and budgets as their controllers, the scheduler and the kubelet would have left them.

use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Creates a namespace with a name that no other test has, and returns it.
pub async fn create_namespace(client: &Client, prefix: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = format!("{prefix}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let namespace: Namespace = typed(json!({"metadata": {"name": name}}));
    Api::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
        .expect("a namespace");
    name
}

/// Creates a spot node that is ready and carries no taint.
pub async fn create_node(client: &Client, name: &str, provider_id: &str) -> Node {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = typed(json!({
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "lifecycle": "Ec2Spot"},
        },
        "spec": {"providerID": provider_id},
    }));
    nodes
        .create(&PostParams::default(), &node)
        .await
        .expect("a node");
    // The server taints each new node as not ready, for a controller to remove.
    let untainted = Patch::Merge(json!({"spec": {"taints": null}}));
    nodes
        .patch(name, &PatchParams::default(), &untainted)
        .await
        .expect("the taint can be removed");
    let status = Patch::Merge(json!({"status": {
        "capacity": {"cpu": "8", "memory": "32Gi", "pods": "250"},
        "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "250"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        "nodeInfo": {
            "bootID": format!("boot-of-{name}"), "machineID": name, "systemUUID": name, "architecture": "amd64",
            "operatingSystem": "linux", "osImage": "Amazon Linux 2023", "kernelVersion": "6.12",
            "containerRuntimeVersion": "containerd://2.1", "kubeletVersion": "v1.36.4", "kubeProxyVersion": "",
        },
    }}));
    nodes
        .patch_status(name, &PatchParams::default(), &status)
        .await
        .expect("the node's status can be set")
}

/// Creates a budget with the status its controller would have given it: so many evictions, then 429.
pub async fn create_budget(
    client: &Client,
    namespace: &str,
    name: &str,
    selector: &[(&str, &str)],
    allowed: i32,
) {
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), namespace);
    let budget = typed(json!({
        "metadata": {"name": name},
        "spec": {"maxUnavailable": allowed, "selector": {"matchLabels": map(selector)}},
    }));
    let created = budgets
        .create(&PostParams::default(), &budget)
        .await
        .expect("a budget");
    let pods = allowed + 10;
    let status = Patch::Merge(json!({"status": {
        "observedGeneration": created.metadata.generation,
        "disruptionsAllowed": allowed, "currentHealthy": pods, "desiredHealthy": pods - allowed, "expectedPods": pods,
    }}));
    budgets
        .patch_status(name, &PatchParams::default(), &status)
        .await
        .expect("the budget's status can be set");
}

/// A pod to create: bound to its node, running and ready, with a grace period of 30 s, unless said otherwise.
#[derive(Debug, Clone)]
pub struct PodOnNode {
    namespace: String,
    name: String,
    metadata: Map<String, Value>,
    spec: Map<String, Value>,
    running: bool,
    ready: &'static str,
}

impl PodOnNode {
    pub fn new(namespace: &str, name: &str, node: &str) -> Self {
        let spec = json!({
            "nodeName": node,
            "terminationGracePeriodSeconds": 30,
            "containers": [{"name": "main", "image": "example.invalid/main:1"}],
            "tolerations": [{"operator": "Exists"}],
        });
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            metadata: map(&[]),
            spec: typed(spec),
            running: true,
            ready: "True",
        }
    }

    pub fn label(self, key: &str, value: &str) -> Self {
        self.entry("labels", key, value)
    }

    pub fn annotation(self, key: &str, value: &str) -> Self {
        self.entry("annotations", key, value)
    }

    /// `terminationGracePeriodSeconds`.
    pub fn grace(mut self, seconds: u32) -> Self {
        self.spec
            .insert("terminationGracePeriodSeconds".to_owned(), json!(seconds));
        self
    }

    /// Its controller. No garbage collector runs, so the owner need not exist.
    pub fn owner(self, api_version: &str, kind: &str, name: &str) -> Self {
        self.owner_with_uid(api_version, kind, name, &format!("uid-of-{name}"))
    }

    /// Its controller, one that exists.
    pub fn owner_with_uid(mut self, api_version: &str, kind: &str, name: &str, uid: &str) -> Self {
        let owner = json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true}]);
        self.metadata.insert("ownerReferences".to_owned(), owner);
        self
    }

    /// Mounts a PersistentVolumeClaim of this name.
    pub fn volume_claim(mut self, claim: &str) -> Self {
        let volumes = json!([{"name": "claim", "persistentVolumeClaim": {"claimName": claim}}]);
        self.spec.insert("volumes".to_owned(), volumes);
        self
    }

    /// Of the priority class `system-cluster-critical`, the lowest the agent takes for critical.
    pub fn critical(mut self) -> Self {
        self.spec.insert(
            "priorityClassName".to_owned(),
            json!("system-cluster-critical"),
        );
        self
    }

    pub fn service_account(mut self, name: &str) -> Self {
        self.spec
            .insert("serviceAccountName".to_owned(), json!(name));
        self
    }

    /// Bound to its node and no further: the kubelet has not started it.
    pub fn pending(mut self) -> Self {
        self.running = false;
        self
    }

    /// Running, and not ready to serve.
    pub fn unready(mut self) -> Self {
        self.ready = "False";
        self
    }

    /// How long it takes to stop, at most its grace: what [`super::FakeKubelet`] waits before it is gone.
    pub fn stops_after(self, seconds: u32) -> Self {
        self.annotation(super::kubelet::TERMINATE_SECONDS, &seconds.to_string())
    }

    pub async fn create(self, client: &Client) -> Pod {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &self.namespace);
        let mut pod: Pod = typed(json!({"metadata": self.metadata, "spec": self.spec}));
        pod.metadata.name = Some(self.name.clone());
        let created = pods
            .create(&PostParams::default(), &pod)
            .await
            .expect("a pod");
        if !self.running {
            return created;
        }
        let status = Patch::Merge(json!({"status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": self.ready}, {"type": "ContainersReady", "status": self.ready}],
            "containerStatuses": [{
                "name": "main", "image": "example.invalid/main:1", "imageID": "", "ready": self.ready == "True", "restartCount": 0,
                "state": {"running": {"startedAt": created.metadata.creation_timestamp}},
            }],
        }}));
        pods.patch_status(&self.name, &PatchParams::default(), &status)
            .await
            .expect("the pod's status can be set")
    }

    fn entry(mut self, field: &str, key: &str, value: &str) -> Self {
        let entries = self.metadata.entry(field).or_insert_with(|| json!({}));
        entries[key] = json!(value);
        self
    }
}

fn map(entries: &[(&str, &str)]) -> Map<String, Value> {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect()
}

fn typed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the JSON above has this type")
}
