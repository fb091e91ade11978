//! A node of the real API server with everything an agent needs: credentials, a kubelet, a metadata service.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use crate::agent_process::AgentProcess;
use crate::control_plane::{
    AGENT, AuditEvent, AuditMark, ControlPlane, FakeKubelet, PodOnNode, create_namespace,
    create_node,
};
use crate::metadata::MetadataService;

/// A node with an agent's credentials, a kubelet and a metadata service.
pub struct Stage {
    pub plane: &'static ControlPlane,
    pub admin: kube::Client,
    pub node: String,
    pub namespace: String,
    pub agent_uid: String,
    kubeconfig: PathBuf,
    token: String,
    pub metadata: MetadataService,
    pub kubelet: FakeKubelet,
    mark: AuditMark,
}

impl Stage {
    pub async fn set(name: &str) -> Option<Self> {
        let plane = ControlPlane::shared().await?;
        plane.apply_base().await;
        let admin = plane.admin().await;
        let node = format!("node-{name}");
        let instance = "i-0123456789abcdef0";
        create_node(&admin, &node, &format!("aws:///eu-west-1a/{instance}")).await;
        let namespace = create_namespace(&admin, name).await;
        let agent = plane.agent_token(&node, &format!("agent-{name}")).await;
        Some(Self {
            plane,
            node: node.clone(),
            namespace,
            agent_uid: agent.pod_uid,
            kubeconfig: plane.kubeconfig_for(&agent.token),
            token: agent.token,
            metadata: MetadataService::start(instance).await,
            kubelet: FakeKubelet::start(admin.clone(), &node),
            mark: plane.audit_mark(),
            admin,
        })
    }

    pub fn pod(&self, name: &str) -> PodOnNode {
        PodOnNode::new(&self.namespace, name, &self.node)
    }

    /// Starts the agent on this node.
    pub fn start_agent(&self) -> AgentProcess {
        self.start_agent_with(&[])
    }

    /// The same with more flags.
    pub fn start_agent_with(&self, flags: &[&str]) -> AgentProcess {
        AgentProcess::start(
            &self.kubeconfig,
            &[&self.flags()[..], &["--poll-interval", "1s"], flags].concat(),
        )
    }

    /// Starts this build of the agent with its defaults, against the API server at `url`.
    pub fn start_build(&self, program: &Path, url: &str) -> AgentProcess {
        let kubeconfig = self.plane.kubeconfig_at(url, &self.token);
        AgentProcess::start_build(program, &kubeconfig, &self.flags())
    }

    /// The same with a kubeconfig of its own, and more flags.
    pub fn start_build_at(
        &self,
        program: &Path,
        kubeconfig: &Path,
        flags: &[&str],
    ) -> AgentProcess {
        AgentProcess::start_build(program, kubeconfig, &[&self.flags()[..], flags].concat())
    }

    /// The bearer token of the agent.
    pub fn token(&self) -> &str {
        &self.token
    }

    fn flags(&self) -> [&str; 6] {
        [
            "--node-name",
            &self.node,
            "--pod-uid",
            &self.agent_uid,
            "--imds-endpoint",
            &self.metadata.url,
        ]
    }

    /// What the agent asked the API server for, as the server's own log has it, but for its permissions.
    pub async fn agent_calls(&self) -> Vec<AuditEvent> {
        let mut calls = self.all_agent_calls().await;
        calls.retain(|call| call.resource != "selfsubjectaccessreviews");
        calls
    }

    /// The same with the questions about permissions.
    pub async fn all_agent_calls(&self) -> Vec<AuditEvent> {
        let mut calls = self.plane.audit_events_of_all_stages(self.mark).await;
        calls.retain(|call| {
            call.token_node.as_deref() == Some(&self.node)
                && call.user.ends_with(AGENT)
                && (call.stage == "ResponseComplete"
                    || call.verb == "watch" && call.stage == "ResponseStarted")
        });
        // A watch that has ended is logged twice.
        let mut watches = std::collections::BTreeSet::new();
        calls.retain(|call| call.verb != "watch" || watches.insert(call.received));
        calls
    }

    pub async fn pods_left(&self) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), &self.namespace);
        let listed = pods.list(&ListParams::default()).await.expect("the pods");
        listed
            .items
            .into_iter()
            .filter_map(|pod| pod.metadata.name)
            .collect()
    }

    pub async fn annotation(&self) -> Value {
        let record = self.record().await;
        record.expect("the node carries a record")
    }

    /// The credentials of the agent.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The record on the node, if there is one.
    pub async fn record(&self) -> Option<Value> {
        let node = Api::<Node>::all(self.admin.clone())
            .get(&self.node)
            .await
            .expect("the node");
        let annotations = node.metadata.annotations.unwrap_or_default();
        let text = annotations.get("spot-interrupt-handler/interruption")?;
        Some(serde_json::from_str(text).expect("the annotation is JSON"))
    }
}
