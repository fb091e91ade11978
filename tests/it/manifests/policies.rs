//! The opt-in policies at work. An accepted policy may still refuse nothing, so each has to be seen refusing, and letting
//! pass what it should.
//!
//! The other tests share the server, so these policies are applied for an agent in another namespace, whom the
//! administrator impersonates.

use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::rendering::{Copy, documents};
use crate::control_plane::{ControlPlane, PodOnNode, create_namespace, create_node};

/// A new policy is enforced up to 5 s after it was created.
const ENFORCED_WITHIN: Duration = Duration::from_secs(30);

/// An agent as the server sees it: its name, and the node that its token is bound to.
struct Agent {
    client: Client,
    namespace: String,
    node: Option<String>,
}

impl Agent {
    /// The code and the message of the answer; RBAC lets it do anything, so that only policies refuse.
    async fn send(&self, method: &str, uri: &str, body: &Value) -> (u16, String) {
        let mut request = http::Request::builder()
            .method(method)
            .uri(uri)
            .header(
                "Content-Type",
                match method {
                    "PATCH" => "application/merge-patch+json",
                    _ => "application/json",
                },
            )
            .header(
                "Impersonate-User",
                format!(
                    "system:serviceaccount:{}:spot-interrupt-handler",
                    self.namespace
                ),
            )
            .header("Impersonate-Group", "system:masters");
        if let Some(node) = &self.node {
            let extra = "Impersonate-Extra-authentication.kubernetes.io%2Fnode-name";
            request = request.header(extra, node);
        }
        let request = request
            .body(body.to_string().into_bytes())
            .expect("a request");
        match self.client.request::<Value>(request).await {
            Ok(_) => (200, String::new()),
            Err(kube::Error::Api(status)) => (status.code, status.message),
            Err(error) => panic!("{method} {uri}: {error}"),
        }
    }

    /// Asks until a policy of this name refuses.
    async fn until_refused(&self, policy: &str, method: &str, uri: &str, body: &Value) {
        let until = Instant::now() + ENFORCED_WITHIN;
        loop {
            let (code, message) = self.send(method, uri, body).await;
            if code == 403 && message.contains(policy) {
                return;
            }
            assert!(Instant::now() < until, "not refused: {code} {message}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The policy and the binding of a component, for an agent in this namespace.
async fn policy_of(component: &str, policy: &str, namespace: &str) -> String {
    let rendered = Copy::new()
        .combine("base", &[component], Some(namespace))
        .await;
    let rendered = rendered.expect("it can be rendered");
    let name = format!("  name: {policy}");
    let own: Vec<_> = documents(&rendered)
        .filter(|document| document.lines().any(|line| line == name))
        .collect();
    assert_eq!(own.len(), 2, "a policy and its binding");
    own.join("\n---\n")
}

#[tokio::test]
async fn the_dry_run_component_lets_only_dry_runs_pass() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let admin = plane.admin().await;
    let namespace = create_namespace(&admin, "rehearsal").await;
    let node = "node-of-the-rehearsal";
    create_node(&admin, node, "aws:///us-east-1a/i-00000000000000d17").await;
    PodOnNode::new(&namespace, "web", node).create(&admin).await;
    let policy = "spot-interrupt-handler-dry-run";
    let manifests = policy_of("dry-run", policy, &namespace).await;
    let applied = plane.apply(&[], manifests.into_bytes()).await;
    applied.unwrap_or_else(|complaint| panic!("{complaint}"));
    let agent = Agent {
        client: admin,
        namespace: namespace.clone(),
        node: Some(node.to_owned()),
    };
    let writes = [
        (
            "PATCH",
            format!("/api/v1/nodes/{node}"),
            json!({"spec": {"unschedulable": true}}),
        ),
        (
            "PATCH",
            format!("/api/v1/namespaces/{namespace}/pods/web/status"),
            json!({"status": {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}}),
        ),
        (
            "POST",
            "/api/v1/namespaces/default/events".to_owned(),
            json!({
                "metadata": {"name": "of-the-rehearsal"},
                "involvedObject": {"kind": "Node", "name": node},
            }),
        ),
        (
            "POST",
            format!("/api/v1/namespaces/{namespace}/pods/web/eviction"),
            json!({"metadata": {"name": "web"}, "apiVersion": "policy/v1", "kind": "Eviction"}),
        ),
        (
            "DELETE",
            format!("/api/v1/namespaces/{namespace}/pods/web"),
            json!({}),
        ),
    ];
    agent
        .until_refused(policy, writes[0].0, &writes[0].1, &writes[0].2)
        .await;
    for (method, uri, body) in &writes {
        let (code, message) = agent.send(method, uri, body).await;
        assert_eq!(code, 403, "{method} {uri}: {message}");
        assert!(message.contains("only dry runs are allowed"), "{message}");

        // Of a deletion that has a body, the server reads nothing else.
        let body = match *method {
            "DELETE" => &json!({"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]}),
            _ => body,
        };
        let rehearsed = agent.send(method, &format!("{uri}?dryRun=All"), body).await;

        assert_eq!(rehearsed, (200, String::new()), "{method} {uri}");
    }
}

#[tokio::test]
async fn confined_evictions_reach_pods_of_the_own_node_only() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let admin = plane.admin().await;
    let namespace = create_namespace(&admin, "confined").await;
    for node in ["node-confined-a", "node-confined-b"] {
        create_node(&admin, node, "aws:///us-east-1a/i-00000000000000c0f").await;
    }
    for (pod, node) in [("own", "node-confined-a"), ("other", "node-confined-b")] {
        PodOnNode::new(&namespace, pod, node).create(&admin).await;
    }
    let policy = "spot-interrupt-handler-own-evictions";
    let manifests = policy_of("confine-evictions", policy, &namespace).await;
    // Its price is paid by every caller, so here it is for this namespace alone.
    let within = "  matchResources:\n    namespaceSelector:\n      matchLabels:";
    let within = format!("{within} {{kubernetes.io/metadata.name: {namespace}}}\n  paramRef:");
    let manifests = manifests.replace("  paramRef:", &within);
    let applied = plane.apply(&[], manifests.into_bytes()).await;
    applied.unwrap_or_else(|complaint| panic!("{complaint}"));

    let agent = |node: Option<&str>| Agent {
        client: admin.clone(),
        namespace: namespace.clone(),
        node: node.map(str::to_owned),
    };
    let uri = |pod: &str| format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
    let eviction = |pod: &str| {
        json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod}, "deleteOptions": {"dryRun": ["All"]},
        })
    };
    let a = agent(Some("node-confined-a"));
    a.until_refused(policy, "POST", &uri("other"), &eviction("other"))
        .await;

    let (code, message) = a.send("POST", &uri("own"), &eviction("own")).await;
    assert_eq!(code, 200, "{message}");
    let (code, message) = agent(Some("node-confined-b"))
        .send("POST", &uri("own"), &eviction("own"))
        .await;
    assert_eq!(code, 403, "{message}");
    assert!(message.contains("may evict pods of its own node only"));
    let (code, message) = agent(None)
        .send("POST", &uri("own"), &eviction("own"))
        .await;
    assert_eq!(code, 403, "{message}");
}
