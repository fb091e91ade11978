//! What a kubelet does with the agent's pods: runs the program that they say with the environment that they say, and
//! gives it a token that is bound to the pod.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::control_plane::ControlPlane;
use crate::instance::{Instance, PROGRAM};
use crate::log_schema;

/// Every line of every agent, in the order in which they were read.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// All lines of an event, of all nodes.
    pub fn all(&self, event: &str) -> Vec<Value> {
        let lines = self.lines();
        let lines = lines
            .iter()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        lines
            .filter(|line: &Value| line["event"] == event)
            .collect()
    }

    /// The lines themselves.
    pub fn lines(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes a line, which has to keep the contract.
    fn take(&self, line: String) {
        log_schema::read(&line);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }
}

/// The agents that run, by node.
#[derive(Debug)]
pub struct Agents {
    pub log: Log,
    /// Where the load balancer's API is.
    balancer: String,
    /// Overrides the mode that the manifest says.
    mode: Option<&'static str>,
    running: BTreeMap<String, Child>,
}

impl Agents {
    pub fn new(balancer: String, mode: Option<&'static str>) -> Self {
        Self {
            log: Log::default(),
            balancer,
            mode,
            running: BTreeMap::new(),
        }
    }

    /// Runs the agent's container of this pod on this instance.
    pub async fn run(&mut self, plane: &ControlPlane, pod: &Pod, instance: &Instance) {
        let name = pod.metadata.name.as_deref().expect("a name");
        let uid = pod.metadata.uid.as_deref().expect("a UID");
        let token = plane.token_of_agent_pod(name, uid).await;
        let spec = pod.spec.as_ref().expect("a spec");
        let container = &spec.containers[0];
        let arguments = container.args.clone().unwrap_or_default();
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .env_clear()
            .envs(environment(pod))
            // In the place of what is at fixed addresses and paths of a real node.
            .env("KUBECONFIG", plane.kubeconfig_for(&token))
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &instance.metadata)
            .env("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", &self.balancer)
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "game")
            .env("AWS_SECRET_ACCESS_KEY", "day");
        if let Some(mode) = self.mode {
            command.env("SIH_MODE", mode);
        }
        let mut agent = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the agent starts");
        let output = agent.stdout.take().expect("its output is piped");
        let log = self.log.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                log.take(line);
            }
        });
        self.running.insert(instance.node.clone(), agent);
    }

    /// Whether there is one on this node.
    pub fn runs(&self, node: &str) -> bool {
        self.running.contains_key(node)
    }

    /// The instance is gone, and what ran there with it.
    pub async fn lose(&mut self, node: &str) {
        if let Some(mut agent) = self.running.remove(node) {
            agent.kill().await.expect("the agent can be killed");
        }
    }

    /// Asks all that still run to stop, and returns the exit codes.
    pub async fn stop(&mut self) -> Vec<Option<i32>> {
        let mut codes = Vec::new();
        for agent in self.running.values() {
            let id = agent.id().expect("the agent runs");
            let killed = Command::new("kill")
                .args(["-TERM", &id.to_string()])
                .status();
            assert!(killed.await.expect("kill runs").success());
        }
        for (_, mut agent) in std::mem::take(&mut self.running) {
            codes.push(agent.wait().await.expect("a status").code());
        }
        codes
    }
}

/// The variables of the first container, with what the kubelet fills in.
fn environment(pod: &Pod) -> Vec<(String, String)> {
    let spec = pod.spec.as_ref().expect("a spec");
    let variables = spec.containers[0].env.iter().flatten();
    let value = |path: &str| {
        let value = match path {
            "spec.nodeName" => spec.node_name.clone(),
            "metadata.name" => pod.metadata.name.clone(),
            "metadata.namespace" => pod.metadata.namespace.clone(),
            "metadata.uid" => pod.metadata.uid.clone(),
            other => panic!("no kubelet here fills in {other}"),
        };
        value.expect("a bound pod has it")
    };
    let filled = variables.map(|variable| {
        let source = variable.value_from.as_ref();
        let field = source.and_then(|source| source.field_ref.as_ref());
        let value = match field {
            Some(field) => value(&field.field_path),
            None => variable.value.clone().unwrap_or_default(),
        };
        (variable.name.clone(), value)
    });
    filled.collect()
}
