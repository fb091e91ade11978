//! Another client of the API server, of a namespace like any other: what it feels of a storm.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::control_plane::{ControlPlane, PodOnNode, create_namespace};
use crate::drainer;

/// Pods in the probe's namespace.
const PODS: usize = 50;

/// A GET begins so long after the one before, if that has been answered …
const GET_EVERY: Duration = Duration::from_millis(20);

/// … and a LIST.
const LIST_EVERY: Duration = Duration::from_millis(100);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// One ConfigMap.
    Get,
    /// The pods of a namespace.
    List,
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub question: Question,
    pub asked: Timestamp,
    /// In milliseconds.
    pub took: f64,
}

/// Asks on a thread of its own, until it is stopped.
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<Sample>>,
}

impl Probe {
    /// Makes its namespace and starts it.
    pub async fn start(plane: &'static ControlPlane) -> Self {
        let admin = plane.admin().await;
        let namespace = create_namespace(&admin, "probe").await;
        let map: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": "probe"}, "data": {"key": "value"},
        }))
        .expect("a ConfigMap");
        Api::namespaced(admin.clone(), &namespace)
            .create(&PostParams::default(), &map)
            .await
            .expect("a ConfigMap");
        for pod in 0..PODS {
            PodOnNode::new(&namespace, &format!("pod-{pod}"), "a-quiet-node")
                .create(&admin)
                .await;
        }
        let token = drainer::token(&admin, &namespace, &namespace).await;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            crate::precedence::step_forward();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let client = plane.client_with(&token).await;
                let get = ask(client.clone(), &namespace, Question::Get, &stopped);
                let list = ask(client, &namespace, Question::List, &stopped);
                let (gets, lists) = tokio::join!(get, list);
                [gets, lists].concat()
            })
        });
        Self { stop, thread }
    }

    /// Ends it, and returns what it felt.
    pub fn stop(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

async fn ask(
    client: Client,
    namespace: &str,
    question: Question,
    stop: &AtomicBool,
) -> Vec<Sample> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let every = match question {
        Question::Get => GET_EVERY,
        Question::List => LIST_EVERY,
    };
    let mut samples = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let (asked, begins) = (Timestamp::now(), Instant::now());
        match question {
            Question::Get => drop(maps.get("probe").await.expect("an answer")),
            Question::List => drop(pods.list(&ListParams::default()).await.expect("an answer")),
        }
        samples.push(Sample {
            question,
            asked,
            took: begins.elapsed().as_secs_f64() * 1e3,
        });
        tokio::time::sleep(every.saturating_sub(begins.elapsed())).await;
    }
    samples
}
