//! A real API server for the tests: kube-apiserver and etcd, started once per test binary, without controllers.
//!
//! What controllers, scheduler and kubelet would do is done by the tests themselves, so that nothing happens that a test
//! did not ask for: [`objects`] binds pods to nodes and fills in statuses, [`FakeKubelet`] stops terminating pods. Tests
//! share the server, so each takes a namespace and a node of its own.
//!
//! ```ignore
//! let Some(plane) = ControlPlane::shared().await else { return };
//! ```
//!
//! Without Go and without `KUBEBUILDER_ASSETS` there is no server, a loud line says so, and such a test passes without
//! having tested anything; under `CI=true` it fails instead.

#![allow(
    clippy::disallowed_methods,
    reason = "a real server answers on the machine's clock, and CI is an environment variable"
)]

mod audit;
mod kubelet;
mod objects;
mod server;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use k8s_openapi::api::policy::v1::Eviction;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

pub use audit::{AuditEvent, AuditMark};
pub use kubelet::FakeKubelet;
pub use objects::{PodOnNode, create_budget, create_namespace, create_node};
use server::Server;
pub use server::{StartError, binaries, source};

/// Name of the agent's DaemonSet, ServiceAccount and container, and the beginning of its policies' names.
pub const AGENT: &str = "spot-interrupt-handler";
/// Where the base puts it.
pub const AGENT_NAMESPACE: &str = "kube-system";

/// A new policy is enforced up to 5 s after it was created.
const ENFORCED_WITHIN: Duration = Duration::from_secs(30);

/// The one server of this test binary, and its administrator.
#[derive(Debug)]
pub struct ControlPlane {
    server: Server,
    /// Filled by the first [`Self::apply_base`]; later ones have nothing to do.
    base: OnceCell<()>,
    kubeconfigs: AtomicU64,
}

/// What an agent's pod is given: a token that names its pod and node, and its own UID.
#[derive(Debug, Clone)]
pub struct AgentToken {
    pub token: String,
    pub pod_uid: String,
}

impl ControlPlane {
    /// The server, started by whoever asks first; none where it cannot be built.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Result<ControlPlane, StartError>> = OnceCell::const_new();
        // Without controllers nobody makes the ServiceAccounts that it would ask for.
        let alone = ["--disable-admission-plugins=ServiceAccount"];
        let started = SHARED.get_or_init(|| Self::start(&alone)).await;
        or_a_loud_nothing(started.as_ref())
    }

    /// A server of its own, with these flags more.
    pub async fn start(flags: &[&str]) -> Result<Self, StartError> {
        Ok(Self {
            server: Server::start(flags).await?,
            base: OnceCell::new(),
            kubeconfigs: AtomicU64::new(0),
        })
    }

    /// Where the server's files are.
    pub fn directory(&self) -> &Path {
        &self.server.directory
    }

    /// `https://127.0.0.1:PORT`.
    pub fn server_url(&self) -> &str {
        &self.server.url
    }

    /// The certificate to trust.
    pub fn ca_path(&self) -> PathBuf {
        ca_in(&self.server.directory)
    }

    /// The administrator's client. Each test makes its own: a client's connections belong to the runtime that made it.
    pub async fn admin(&self) -> Client {
        self.client_with(&self.server.token).await
    }

    /// A client that presents this bearer token.
    pub async fn client_with(&self, token: &str) -> Client {
        client_for(&kubeconfig(self.server_url(), &self.ca_path(), token))
            .await
            .expect("a client for the server")
    }

    /// A kubeconfig file with this bearer token, for programs that want one. It goes away with the server.
    pub fn kubeconfig_for(&self, token: &str) -> PathBuf {
        self.kubeconfig_at(self.server_url(), token)
    }

    /// The administrator's.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.kubeconfig_for(&self.server.token)
    }

    /// The same for a server that is reached at another address.
    pub fn kubeconfig_at(&self, url: &str, token: &str) -> PathBuf {
        let number = self.kubeconfigs.fetch_add(1, Ordering::Relaxed);
        let path = self
            .server
            .directory
            .join(format!("kubeconfig-{number}.json"));
        let content = kubeconfig(url, &self.ca_path(), token).to_string();
        std::fs::write(&path, content).expect("the server's directory can be written");
        path
    }

    /// Applies `deploy/kustomize/base` as a user would, once, and returns when its policies refuse.
    pub async fn apply_base(&self) {
        self.base
            .get_or_init(|| async {
                let base = source("deploy/kustomize/base");
                let rendered = kubectl(&["kustomize", &base.to_string_lossy()], None)
                    .await
                    .unwrap_or_else(|complaint| panic!("{complaint}"));
                self.apply(&[], rendered)
                    .await
                    .unwrap_or_else(|complaint| panic!("{complaint}"));
                self.policies_enforced().await;
            })
            .await;
    }

    /// Applies manifests as the administrator, as strictly as the server can: an unknown field is an error. Returns what
    /// kubectl printed, or its complaint.
    pub async fn apply(&self, options: &[&str], manifests: Vec<u8>) -> Result<Vec<u8>, String> {
        let kubeconfig = format!("--kubeconfig={}", self.admin_kubeconfig().display());
        let mut apply = vec![
            "apply",
            "--server-side",
            "--validate=strict",
            "--filename=-",
            &kubeconfig,
        ];
        apply.extend(options);
        kubectl(&apply, Some(manifests)).await
    }

    /// Creates an agent's pod on `node` and asks for a token bound to it, as the kubelet does for the projected volume.
    /// Needs the base applied and the node created.
    pub async fn agent_token(&self, node: &str, pod: &str) -> AgentToken {
        let client = self.admin().await;
        let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), AGENT_NAMESPACE);
        let daemon_set = daemon_sets.get(AGENT).await.expect("the base is applied");
        let uid = daemon_set.metadata.uid.expect("a stored object has a UID");
        let agent = PodOnNode::new(AGENT_NAMESPACE, pod, node)
            .owner_with_uid("apps/v1", "DaemonSet", AGENT, &uid)
            .label("app.kubernetes.io/name", AGENT)
            .grace(150)
            .service_account(AGENT)
            .critical()
            .create(&client)
            .await;
        let pod_uid = agent.metadata.uid.expect("a stored object has a UID");
        let token = self.token_of_agent_pod(pod, &pod_uid).await;
        AgentToken { token, pod_uid }
    }

    /// A token bound to this pod of the agent.
    pub async fn token_of_agent_pod(&self, pod: &str, uid: &str) -> String {
        let bound_to = json!({"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": uid});
        self.service_account_token(Some(&bound_to)).await
    }

    /// A token of the agent's ServiceAccount that is bound to nothing, as `kubectl create token` makes one.
    pub async fn unbound_token(&self) -> String {
        self.service_account_token(None).await
    }

    async fn service_account_token(&self, bound_to: Option<&Value>) -> String {
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": 3607, "boundObjectRef": bound_to},
        });
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin().await, AGENT_NAMESPACE);

        let answer: Value = accounts
            .create_subresource("token", AGENT, &PostParams::default(), &request)
            .await
            .expect("a token");
        answer["status"]["token"]
            .as_str()
            .expect("a token in the answer")
            .to_owned()
    }

    /// Asks, without effect, for one thing that each policy refuses, until each has refused.
    async fn policies_enforced(&self) {
        let admin = self.admin().await;
        let node = "node-to-see-the-policies-refuse";
        create_node(&admin, node, "aws:///us-east-1a/i-00000000000000000").await;
        PodOnNode::new("default", node, node).create(&admin).await;

        let agent = self.client_with(&self.unbound_token().await).await;
        let nodes: Api<Node> = Api::all(agent.clone());
        let pods: Api<Pod> = Api::namespaced(agent, "default");
        let cordon = Patch::Merge(json!({"spec": {"unschedulable": true}}));
        let phase = Patch::Merge(json!({"status": {"phase": "Failed"}}));
        let eviction: Eviction =
            serde_json::from_value(json!({"metadata": {"name": node}})).expect("an eviction");
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let until = Instant::now() + ENFORCED_WITHIN;
        loop {
            let answers = [
                nodes
                    .patch(
                        node,
                        &PatchParams {
                            dry_run: true,
                            ..PatchParams::default()
                        },
                        &cordon,
                    )
                    .await
                    .err(),
                pods.delete(node, &DeleteParams::default().dry_run())
                    .await
                    .err(),
                pods.create_subresource::<_, Value>("eviction", node, &dry_run, &eviction)
                    .await
                    .err(),
                pods.patch_status(
                    node,
                    &PatchParams {
                        dry_run: true,
                        ..PatchParams::default()
                    },
                    &phase,
                )
                .await
                .err(),
            ];
            if answers
                .iter()
                .flatten()
                .filter(|error| refused_by_policy(error))
                .count()
                == answers.len()
            {
                break;
            }
            assert!(
                Instant::now() < until,
                "not refused within {ENFORCED_WITHIN:?}: {answers:?}"
            );
            sleep(Duration::from_millis(100)).await;
        }
        let pods: Api<Pod> = Api::namespaced(admin.clone(), "default");
        pods.delete(node, &DeleteParams::default().grace_period(0))
            .await
            .expect("the pod can be deleted");
        Api::<Node>::all(admin)
            .delete(node, &DeleteParams::default())
            .await
            .expect("the node can be deleted");
    }
}

/// What was started; none where it cannot be built.
pub fn or_a_loud_nothing<T>(started: Result<T, &StartError>) -> Option<T> {
    match started {
        Ok(started) => Some(started),
        Err(StartError::NoGo) => {
            let ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(
                !ci,
                "no Go and no KUBEBUILDER_ASSETS: under CI the tests against a real API server must run"
            );
            None
        }
        Err(StartError::Failed(why)) => panic!("the control plane did not start: {why}"),
    }
}

/// Whether the server refused because of one of the agent's own policies.
pub fn refused_by_policy(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403
        && status.message.contains(&format!("ValidatingAdmissionPolicy '{AGENT}-")))
}

fn ca_in(directory: &Path) -> PathBuf {
    directory.join("apiserver.crt")
}

fn kubeconfig(url: &str, ca: &Path, token: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": {"server": url, "certificate-authority": ca}}],
        "users": [{"name": "it", "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "current-context": "it",
    })
}

async fn client_for(kubeconfig: &Value) -> Result<Client, Box<dyn std::error::Error>> {
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig.clone())?;
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // A test wants to see a 429, not to wait it out.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// Runs kubectl and returns what it printed, or its complaint.
pub async fn kubectl(arguments: &[&str], input: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
    use tokio::io::AsyncWriteExt as _;

    let mut child = tokio::process::Command::new("kubectl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl is installed");
    let mut stdin = child.stdin.take().expect("a piped standard input");
    // Beside the reading: it prints while it still reads, and both pipes are finite.
    let feed = async move {
        // It need not read to the end of what it refuses.
        let _ = stdin.write_all(&input.unwrap_or_default()).await;
        drop(stdin);
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.expect("kubectl ends");
    if output.status.success() {
        return Ok(output.stdout);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!("kubectl {}: {complaint}", arguments.join(" ")))
}
