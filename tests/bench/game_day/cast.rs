//! The nodes and what runs on them, all as it is shipped but for the workloads beside httpbin (`workloads.yaml`).

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use crate::control_plane::{kubectl, source};
use crate::instance::Instance;
use crate::whole_cluster::{FakeNode, WholeCluster};

/// The zones of the spot nodes, as they are at first.
pub const SPOT: [&str; 8] = [
    "eu-west-1a",
    "eu-west-1a",
    "eu-west-1a",
    "eu-west-1b",
    "eu-west-1b",
    "eu-west-1b",
    "eu-west-1c",
    "eu-west-1c",
];

/// Where builds run.
pub const BUILDS: &str = "deis-builder";

/// The instance of the on-demand node.
pub const ON_DEMAND: &str = "i-0d000000000000001";

const FARGATE: [&str; 2] = ["fargate-ip-10-0-4-11", "fargate-ip-10-0-4-12"];
const COMPUTE: &str = "eks.amazonaws.com/compute-type";
const LINUX: (&str, &str) = ("kubernetes.io/os", "linux");
const ZONE: &str = "topology.kubernetes.io/zone";

/// The nodes that stay.
pub async fn create_others(admin: &Client) {
    let on_demand = [LINUX, ("lifecycle", "OnDemand"), (ZONE, "eu-west-1c")];
    let zone = "eu-west-1c";
    FakeNode::new("on-demand-1")
        .labels(&on_demand)
        // As nodes.yaml has them: for what finds no room on spot.
        .taint("onDemandInstance", "true", "PreferNoSchedule")
        .instance(zone, ON_DEMAND)
        .create(admin)
        .await;
    FakeNode::new("windows-1")
        .labels(&[("kubernetes.io/os", "windows"), ("lifecycle", "Ec2Spot")])
        .taint("os", "windows", "NoSchedule")
        .create(admin)
        .await;
    for name in FARGATE {
        FakeNode::new(name)
            .labels(&[LINUX, (COMPUTE, "fargate"), (ZONE, zone)])
            .taint(COMPUTE, "fargate", "NoSchedule")
            .create(admin)
            .await;
    }
}

/// The Auto Scaling group launches an instance, which joins as a node that has labelled itself.
pub async fn launch(admin: &Client, number: u32, zone: &'static str, folder: &Path) -> Instance {
    let node = format!("spot-{number:02}");
    let id = format!("i-05{number:015x}");
    let instance = Instance::launch(&node, &id, zone, folder).await;
    FakeNode::new(&node)
        .labels(&[LINUX, ("lifecycle", "Ec2Spot"), (ZONE, zone)])
        .instance(zone, &id)
        .create(admin)
        .await;
    instance
}

/// Applies what is shipped, as a user would, and the workloads.
pub async fn install(cluster: &WholeCluster) {
    // Deis is installed by others.
    for namespace in ["deis", "httpbin"] {
        let text = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n");
        apply(cluster, text.into_bytes()).await;
    }
    for folder in [
        "deploy/builds-on-fargate",
        "deploy/spot-node-group/kubernetes/spot-interrupt-handler",
        "deploy/spot-node-group/kubernetes/httpbin",
    ] {
        let folder = source(folder);
        let rendered = kubectl(&["kustomize", &folder.to_string_lossy()], None).await;
        let rendered = rendered.unwrap_or_else(|complaint| panic!("{complaint}"));
        apply(cluster, rendered).await;
    }
    apply(cluster, include_bytes!("workloads.yaml").to_vec()).await;
    // There are no metrics for its autoscaler to go by.
    let kubeconfig = format!(
        "--kubeconfig={}",
        cluster.plane.admin_kubeconfig().display()
    );
    let scale = [
        "scale",
        "deployment/httpbin",
        "--namespace=httpbin",
        "--replicas=8",
        &kubeconfig,
    ];
    kubectl(&scale, None)
        .await
        .unwrap_or_else(|complaint| panic!("{complaint}"));
}

async fn apply(cluster: &WholeCluster, manifests: Vec<u8>) {
    // Namespaces come first in what kustomize renders.
    let applied = cluster.plane.apply(&[], manifests).await;
    applied.unwrap_or_else(|complaint| panic!("{complaint}"));
}

/// Two builds, as the builder makes them and Fargate's scheduler binds them, each to a node of its own.
pub async fn build(admin: &Client) {
    let pods: Api<Pod> = Api::namespaced(admin.clone(), BUILDS);
    for (number, node) in FARGATE.iter().enumerate() {
        let pod = json!({
            "metadata": {"name": format!("slugbuild-{number}"), "labels": {"heritage": "deis"}},
            "spec": {
                "nodeName": node,
                "restartPolicy": "Never",
                "tolerations": [{"key": COMPUTE, "operator": "Exists"}],
                "containers": [{"name": "slugbuild", "image": "example.invalid/slugbuilder:1"}],
            },
        });
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let created = pods.create(&PostParams::default(), &pod).await;
        created.expect("a build");
    }
}
