//! Where the shipped DaemonSets land, by the real DaemonSet controller and the real scheduler.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::control_plane::{AGENT, StartError, create_namespace, or_a_loud_nothing};
use crate::manifests::rendering::{Copy, split};
use crate::whole_cluster::{FakeNode, WholeCluster, until};

const LINUX: (&str, &str) = ("kubernetes.io/os", "linux");
const WINDOWS: (&str, &str) = ("kubernetes.io/os", "windows");
const OWN_SPOT: (&str, &str) = ("lifecycle", "Ec2Spot");
const EKS_SPOT: (&str, &str) = ("eks.amazonaws.com/capacityType", "SPOT");
const KARPENTER_SPOT: (&str, &str) = ("karpenter.sh/capacity-type", "spot");
const LAPTOP: (&str, &str) = ("spot-interrupt-handler/mock", "true");
const COMPUTE: &str = "eks.amazonaws.com/compute-type";

/// A node: what it carries, and the one overlay that is for it.
#[derive(Clone, Copy)]
struct Sample {
    name: &'static str,
    labels: &'static [(&'static str, &'static str)],
    /// Key, value, effect.
    taint: Option<[&'static str; 3]>,
    is_cordoned: bool,
    overlay: Option<&'static str>,
}

const fn sample(
    name: &'static str,
    labels: &'static [(&'static str, &'static str)],
    overlay: Option<&'static str>,
) -> Sample {
    Sample {
        name,
        labels,
        taint: None,
        is_cordoned: false,
        overlay,
    }
}

const fn tainted(taint: [&'static str; 3], sample: Sample) -> Sample {
    Sample {
        taint: Some(taint),
        ..sample
    }
}

const fn cordoned(sample: Sample) -> Sample {
    Sample {
        is_cordoned: true,
        ..sample
    }
}

const OWN: Option<&str> = Some("spot-node-group");
const EKS: Option<&str> = Some("managed-node-group");
const KARPENTER: Option<&str> = Some("karpenter");

/// Nodes of every kind. Those of others carry the labels of spot nodes as well: the agent still has no business there.
const SAMPLES: [Sample; 22] = [
    sample("own-spot", &[LINUX, OWN_SPOT], OWN),
    sample(
        "own-spot-arm",
        &[LINUX, OWN_SPOT, ("kubernetes.io/arch", "arm64")],
        OWN,
    ),
    sample(
        "own-spot-said-so",
        &[LINUX, OWN_SPOT, (COMPUTE, "ec2")],
        OWN,
    ),
    sample("own-on-demand", &[LINUX, ("lifecycle", "OnDemand")], None),
    sample("eks-spot", &[LINUX, EKS_SPOT], EKS),
    sample(
        "eks-on-demand",
        &[LINUX, ("eks.amazonaws.com/capacityType", "ON_DEMAND")],
        None,
    ),
    sample("karpenter-spot", &[LINUX, KARPENTER_SPOT], KARPENTER),
    sample(
        "karpenter-on-demand",
        &[LINUX, ("karpenter.sh/capacity-type", "on-demand")],
        None,
    ),
    sample(
        "karpenter-reserved",
        &[LINUX, ("karpenter.sh/capacity-type", "reserved")],
        None,
    ),
    sample("laptop", &[LINUX, LAPTOP], Some("local-mock")),
    sample("unlabelled", &[LINUX], None),
    sample("windows-own", &[WINDOWS, OWN_SPOT], None),
    sample("windows-eks", &[WINDOWS, EKS_SPOT], None),
    sample("windows-karpenter", &[WINDOWS, KARPENTER_SPOT], None),
    tainted(
        [COMPUTE, "fargate", "NoSchedule"],
        sample(
            "fargate",
            &[
                LINUX,
                OWN_SPOT,
                EKS_SPOT,
                KARPENTER_SPOT,
                LAPTOP,
                (COMPUTE, "fargate"),
            ],
            None,
        ),
    ),
    sample(
        "auto-mode",
        &[
            LINUX,
            OWN_SPOT,
            EKS_SPOT,
            KARPENTER_SPOT,
            LAPTOP,
            (COMPUTE, "auto"),
        ],
        None,
    ),
    sample(
        "hybrid",
        &[
            LINUX,
            OWN_SPOT,
            EKS_SPOT,
            KARPENTER_SPOT,
            LAPTOP,
            (COMPUTE, "hybrid"),
        ],
        None,
    ),
    // A spot node that takes no pods, or few, is reclaimed like any other.
    cordoned(sample("own-spot-cordoned", &[LINUX, OWN_SPOT], OWN)),
    cordoned(sample("eks-spot-cordoned", &[LINUX, EKS_SPOT], EKS)),
    tainted(
        ["team", "search", "NoSchedule"],
        sample("own-spot-tainted", &[LINUX, OWN_SPOT], OWN),
    ),
    tainted(
        ["maintenance", "now", "NoExecute"],
        sample("eks-spot-emptied", &[LINUX, EKS_SPOT], EKS),
    ),
    tainted(
        ["karpenter.sh/disrupted", "", "NoSchedule"],
        sample(
            "karpenter-spot-disrupted",
            &[LINUX, KARPENTER_SPOT],
            KARPENTER,
        ),
    ),
];

/// The names of the nodes that are for this overlay.
pub fn meant_for(overlay: &str) -> BTreeSet<&'static str> {
    let samples = SAMPLES.iter();
    samples
        .filter(|sample| sample.overlay == Some(overlay))
        .map(|sample| sample.name)
        .collect()
}

/// The cluster with the sample nodes, for one test at a time.
pub async fn cluster() -> Option<(&'static WholeCluster, MutexGuard<'static, ()>)> {
    static CLUSTER: OnceCell<Result<WholeCluster, StartError>> = OnceCell::const_new();
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let started = CLUSTER
        .get_or_init(|| async {
            let cluster = WholeCluster::start().await?;
            let admin = cluster.plane.admin().await;
            for sample in &SAMPLES {
                let node = FakeNode::new(sample.name).labels(sample.labels);
                let node = node.cordoned(sample.is_cordoned);
                let node = match sample.taint {
                    Some([key, value, effect]) => node.taint(key, value, effect),
                    None => node,
                };
                node.create(&admin).await;
            }
            all_ready(&admin).await;
            Ok(cluster)
        })
        .await;
    Some((or_a_loud_nothing(started.as_ref())?, turn))
}

/// Until each node is ready, and carries no taint for not being so.
async fn all_ready(admin: &Client) {
    let nodes: Api<Node> = Api::all(admin.clone());
    until("nodes that are ready", async || {
        let nodes = nodes.list(&ListParams::default()).await.expect("nodes");
        for node in nodes {
            let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
            if taints.iter().any(|taint| taint.key.ends_with("/not-ready")) {
                return Err(format!("{:?} is not", node.metadata.name));
            }
        }
        Ok(())
    })
    .await;
}

/// The nodes on which a DaemonSet's pods are, when all it wants are ready.
pub async fn landed(admin: &Client, namespace: &str) -> BTreeSet<String> {
    let sets: Api<DaemonSet> = Api::namespaced(admin.clone(), namespace);
    until(namespace, async || {
        let set = sets.get(AGENT).await.expect("the DaemonSet");
        let status = set.status.unwrap_or_default();
        let is_seen = status.observed_generation == set.metadata.generation;
        let wanted = status.desired_number_scheduled;
        // Misscheduled pods would be ready as well.
        if is_seen && wanted > 0 && status.number_ready == wanted {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    let pods: Api<Pod> = Api::namespaced(admin.clone(), namespace);
    let pods = pods.list(&ListParams::default()).await.expect("pods");
    let nodes = pods
        .into_iter()
        .map(|pod| pod.spec.and_then(|spec| spec.node_name));
    nodes.map(|node| node.expect("a scheduled pod")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_set_of_each_overlay_lands_on_its_spot_nodes_and_nowhere_else() {
    let Some((cluster, _turn)) = cluster().await else {
        return;
    };
    let admin = cluster.plane.admin().await;
    let copy = Copy::new();
    let mut overlays = Vec::new();
    for overlay in copy.folders("kustomize/overlays") {
        let namespace = create_namespace(&admin, &overlay).await;
        let variant = format!("overlays/{overlay}");
        let rendered = copy.combine(&variant, &[], Some(&namespace)).await;
        let rendered = rendered.expect("it can be rendered");
        for kind in ["ServiceAccount", "DaemonSet"] {
            let (of_it, _) = split(&rendered, kind);
            let applied = cluster.plane.apply(&[], of_it.into_bytes()).await;
            applied.unwrap_or_else(|complaint| panic!("{overlay}: {complaint}"));
        }
        overlays.push((overlay, namespace));
    }
    for (overlay, namespace) in overlays {
        let landed = landed(&admin, &namespace).await;
        let landed: BTreeSet<&str> = landed.iter().map(String::as_str).collect();
        assert_eq!(landed, meant_for(&overlay), "{overlay}");
    }
}
