//! The nodes that are interrupted, each with its pods, its kubelet, its metadata service and the credentials of its agent.

use std::path::PathBuf;

use futures_util::{StreamExt, stream};
use kube::Client;

use crate::control_plane::{ControlPlane, FakeKubelet, PodOnNode, create_namespace, create_node};
use crate::metadata::MetadataService;

/// Pods of each node, but for its agent.
pub const PODS: usize = 10;

/// How long each takes to stop.
const STOPS_AFTER: u32 = 5;

/// So many nodes are made at once.
const AT_ONCE: usize = 8;

/// One of them.
pub struct Node {
    pub name: String,
    pub kubeconfig: PathBuf,
    pub token: String,
    pub agent_uid: String,
    pub metadata: MetadataService,
    _kubelet: FakeKubelet,
}

/// Makes so many.
pub async fn make(plane: &ControlPlane, prefix: &str, nodes: usize) -> Vec<Node> {
    let admin = plane.admin().await;
    stream::iter(0..nodes)
        .map(|index| make_one(plane, &admin, format!("{prefix}-{index}"), index))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

async fn make_one(plane: &ControlPlane, admin: &Client, name: String, index: usize) -> Node {
    let instance = format!("i-{index:017x}");
    create_node(admin, &name, &format!("aws:///eu-west-1a/{instance}")).await;
    let namespace = create_namespace(admin, &name).await;
    for pod in 0..PODS {
        PodOnNode::new(&namespace, &format!("web-{pod}"), &name)
            .owner("apps/v1", "ReplicaSet", "web")
            .stops_after(STOPS_AFTER)
            .create(admin)
            .await;
    }
    let agent = plane.agent_token(&name, &format!("agent-{name}")).await;
    Node {
        kubeconfig: plane.kubeconfig_for(&agent.token),
        agent_uid: agent.pod_uid,
        token: agent.token,
        metadata: MetadataService::start(&instance).await,
        _kubelet: FakeKubelet::start(admin.clone(), &name),
        name,
    }
}
