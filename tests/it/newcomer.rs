//! What a newcomer types after `docs/install.md` installs the agent, shows it healthy, and removes it without a trace, in a
//! cluster whose every controller is the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client};
use serde_json::Value;

use crate::control_plane::AGENT_NAMESPACE;
use crate::landing::{cluster, landed, meant_for};
use crate::manifests::chart::helm;
use crate::manifests::rendering::{folder_with_deploy, write_kustomization};
use crate::whole_cluster::{WholeCluster, until};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const INSTALL: &str = include_str!("../../docs/install.md");

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
    let folder = folder_with_deploy();
    let (_, block) = INSTALL.split_once("```yaml\n").expect("a kustomization");
    let block = block.split("```").next().unwrap_or_default();
    write_kustomization(folder.path(), "own", block);
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
