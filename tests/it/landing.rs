//! Where the shipped DaemonSets land, by the real DaemonSet controller and the real scheduler; and that what a newcomer
//! types installs the agent, shows it healthy, and removes it without a trace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio::time::{Instant, sleep};

use crate::control_plane::{
    AGENT, AGENT_NAMESPACE, StartError, create_namespace, or_a_loud_nothing,
};
use crate::manifests::chart::helm;
use crate::manifests::rendering::{Copy, split};
use crate::whole_cluster::{FakeNode, WholeCluster};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const INSTALL: &str = include_str!("../../docs/install.md");

/// Nothing here takes longer than some seconds on an idle machine.
const WITHIN: Duration = Duration::from_mins(2);

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
fn meant_for(overlay: &str) -> BTreeSet<&'static str> {
    let samples = SAMPLES.iter();
    samples
        .filter(|sample| sample.overlay == Some(overlay))
        .map(|sample| sample.name)
        .collect()
}

/// The cluster with the sample nodes, for one test at a time.
async fn cluster() -> Option<(&'static WholeCluster, MutexGuard<'static, ()>)> {
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

/// Asks until there is an answer. What it is about takes its time in other processes.
async fn until<T>(what: &str, ask: impl AsyncFn() -> Result<T, String>) -> T {
    let end = Instant::now() + WITHIN;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(missing) => assert!(Instant::now() < end, "{what}: {missing}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
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
async fn landed(admin: &Client, namespace: &str) -> BTreeSet<String> {
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

/// Every object that can be listed, by where it is, without what changes while nobody does anything.
async fn everything(admin: &Client) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let groups = kube::discovery::Discovery::new(admin.clone());
    let groups = groups.run().await.expect("what the server serves");
    for group in groups.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            // What happened is told for an hour, and kubelets renew their leases.
            let passes = ["events", "leases", "componentstatuses"];
            if passes.contains(&&*resource.plural) || !capabilities.supports_operation("list") {
                continue;
            }
            list(admin, &resource, &mut all).await;
        }
    }
    all
}

async fn list(admin: &Client, resource: &ApiResource, all: &mut BTreeMap<String, Value>) {
    let objects: Api<DynamicObject> = Api::all_with(admin.clone(), resource);
    let objects = objects.list(&ListParams::default()).await;
    for mut object in objects.expect("a list") {
        let metadata = &mut object.metadata;
        metadata.resource_version = None;
        metadata.managed_fields = None;
        let namespace = metadata.namespace.clone().unwrap_or_default();
        let name = metadata.name.clone().unwrap_or_default();
        if let Some(fields) = object.data.as_object_mut() {
            fields.remove("status");
        }
        let place = format!("{} {namespace}/{name}", resource.plural);
        all.insert(place, serde_json::to_value(&object).expect("JSON"));
    }
}

/// The commands of a section of the installation's page.
fn commands(section: &str) -> Vec<&'static str> {
    let (_, rest) = INSTALL.split_once(section).expect("the section");
    let rest = rest.split("\n## ").next().unwrap_or_default();
    rest.lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .collect()
}

/// What a command prints for somebody who types it in this folder.
fn typed(cluster: &WholeCluster, folder: &Path, command: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .env("KUBECONFIG", cluster.plane.admin_kubeconfig())
        .output()
        .expect("sh runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {complaint}");
    String::from_utf8(output.stdout).expect("text")
}

/// A folder with the kustomization of the page, whose sources are this checkout's: nothing is fetched.
fn newcomers_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    // kustomize follows no link out of a folder.
    let copied = Command::new("cp")
        .arg("-r")
        .arg(format!("{ROOT}/deploy"))
        .arg(folder.path().join("deploy"))
        .status();
    assert!(copied.expect("cp runs").success());
    let own = folder.path().join("own");
    fs::create_dir(&own).expect("a folder");
    let (_, block) = INSTALL.split_once("```yaml\n").expect("a kustomization");
    let block = block.split("```").next().unwrap_or_default();
    let here = block.replace("github.com/OWNER/spot-interrupt-handler//", "../");
    assert_ne!(here, block);
    fs::write(own.join("kustomization.yaml"), here).expect("a file");
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomers_three_commands_install_show_and_remove_and_leave_nothing_behind() {
    let Some((cluster, _turn)) = cluster().await else {
        return;
    };
    let admin = cluster.plane.admin().await;
    let folder = newcomers_folder();
    let own = folder.path().join("own");
    let three = commands("## In three commands");
    let [install, look, remove] = three[..] else {
        panic!("three commands, not {three:?}");
    };
    let before = everything(&admin).await;

    let installed = typed(cluster, &own, install);
    let created = "daemonset.apps/spot-interrupt-handler created";
    assert!(installed.contains(created), "{installed}");
    is_healthy(cluster, &own, look, &before).await;

    typed(cluster, &own, remove);
    nothing_is_left(&admin, &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_do_those_who_install_with_helm() {
    let Some((cluster, _turn)) = cluster().await else {
        return;
    };
    let Some(helm) = helm().await else {
        return;
    };
    let admin = cluster.plane.admin().await;
    let by_helm = |section, verb: &str| {
        let commands = commands(section);
        let command = commands.into_iter().find(|line| line.starts_with(verb));
        let command = command.expect("a command of helm");
        command.replacen("helm", &helm.display().to_string(), 1)
    };
    let before = everything(&admin).await;

    let root = Path::new(ROOT);
    typed(cluster, root, &by_helm("## With Helm", "helm install"));
    let look = commands("## In three commands")[1];
    is_healthy(cluster, root, look, &before).await;

    typed(cluster, root, &by_helm("## Uninstall", "helm uninstall"));
    nothing_is_left(&admin, &before).await;
}

/// The second command is content, and there is an agent on each node of a managed node group.
async fn is_healthy(
    cluster: &WholeCluster,
    folder: &Path,
    look: &str,
    before: &BTreeMap<String, Value>,
) {
    let admin = cluster.plane.admin().await;
    let seen = typed(cluster, folder, look);
    assert!(seen.contains("successfully rolled out"), "{seen}");
    let landed = landed(&admin, AGENT_NAMESPACE).await;
    let landed: BTreeSet<&str> = landed.iter().map(String::as_str).collect();
    assert_eq!(landed, meant_for("managed-node-group"));
    let during = everything(&admin).await;
    let made = during.keys().filter(|place| !before.contains_key(*place));
    assert!(made.count() > 10, "{:?}", during.keys());
}

/// Until everything is as before: pods go after what made them, when their kubelets have stopped them.
async fn nothing_is_left(admin: &Client, before: &BTreeMap<String, Value>) {
    until("all as before", async || {
        let after = everything(admin).await;
        if after == *before {
            return Ok(());
        }
        let places: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let different: Vec<_> = places
            .into_iter()
            .filter(|place| before.get(*place) != after.get(*place))
            .collect();
        Err(format!("not as before: {different:?}"))
    })
    .await;
}
