//! One agent with the token the kubelet would give it, and what it asks the server.

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::Eviction;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, PodOnNode, create_namespace, create_node};

/// What keeps a load balancer of the AWS Load Balancer Controller off a node.
pub const LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
pub const ANNOTATION: &str = "spot-interrupt-handler/interruption";

/// An agent on its node, in a cluster with a neighbour.
pub struct Scene {
    pub plane: &'static ControlPlane,
    pub admin: Client,
    pub agent: Client,
    pub namespace: String,
    pub own: String,
    pub other: String,
}

pub async fn scene(test: &str) -> Option<Scene> {
    let plane = ControlPlane::shared().await?;
    plane.apply_base().await;
    let admin = plane.admin().await;
    let [own, other] = ["own", "other"].map(|which| format!("{test}-{which}.ec2.internal"));
    create_node(&admin, &own, "aws:///us-east-1a/i-0123456789abcdef0").await;
    create_node(&admin, &other, "aws:///us-east-1b/i-0fedcba9876543210").await;
    let identity = plane.agent_token(&own, &format!("agent-{test}")).await;
    let agent = plane.client_with(&identity.token).await;
    let namespace = create_namespace(&admin, test).await;
    Some(Scene {
        plane,
        admin,
        agent,
        namespace,
        own,
        other,
    })
}

impl Scene {
    pub async fn patch(&self, node: &str, patch: Value) -> kube::Result<Node> {
        let nodes: Api<Node> = Api::all(self.agent.clone());
        nodes
            .patch(node, &PatchParams::default(), &Patch::Merge(patch))
            .await
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.agent.clone(), &self.namespace)
    }

    /// Not `Api::evict`, which misspells `deleteOptions`, so that the server ignores them.
    pub async fn evict(&self, name: &str, delete_options: Option<Value>) -> kube::Result<Value> {
        let eviction = json!({"metadata": {"name": name}, "deleteOptions": delete_options});
        let eviction: Eviction = serde_json::from_value(eviction).expect("an eviction");
        self.pods()
            .create_subresource("eviction", name, &PostParams::default(), &eviction)
            .await
    }

    pub async fn pod(&self, name: &str, node: &str) -> String {
        let pod = PodOnNode::new(&self.namespace, name, node)
            .label("app", name)
            .create(&self.admin)
            .await;
        pod.metadata.uid.expect("a stored object has a UID")
    }

    /// Waits until no pod of this name is there.
    pub async fn gone(&self, name: &str) {
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), &self.namespace);
        for _ in 0..200 {
            if pods
                .get_opt(name)
                .await
                .expect("the server answers")
                .is_none()
            {
                return;
            }
            #[allow(
                clippy::disallowed_methods,
                reason = "a real server, on the machine's clock"
            )]
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{name} is still there after 10 s");
    }
}

pub fn only(uid: &str) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: None,
    })
}

pub fn with_uid(uid: &str) -> Value {
    json!({"preconditions": {"uid": uid}})
}

pub fn cordon() -> Value {
    json!({
        "metadata": {"labels": {LABEL: "true"}, "annotations": {ANNOTATION: "{\"v\":1}"}},
        "spec": {"unschedulable": true},
    })
}
