//! `deploy/builds-on-fargate` at work, on a server without Fargate and without the builder: what can be seen of it there.

use std::collections::BTreeSet;
use std::process::Stdio;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::rendering::Copy;
use super::{apply_namespace, dry_run};
use crate::control_plane::{ControlPlane, create_namespace, kubectl};

const BUILDS: &str = "deis-builder";

/// Runs kubectl as whoever this kubeconfig is for.
async fn kubectl_with(kubeconfig: &str, arguments: &[&str]) -> String {
    let mut all = vec!["--kubeconfig", kubeconfig];
    all.extend(arguments);
    let output = kubectl(&all, None).await;
    let output = output.unwrap_or_else(|complaint| panic!("{complaint}"));
    String::from_utf8(output).expect("text")
}

fn deploy(file: &str) -> String {
    format!(
        "{}/deploy/builds-on-fargate/{file}",
        env!("CARGO_MANIFEST_DIR")
    )
}

/// Applies it, and returns its objects.
async fn installed(plane: &ControlPlane) -> Vec<Value> {
    apply_namespace(plane, "deis").await;
    apply_namespace(plane, BUILDS).await;
    let rendered = Copy::new().render("builds-on-fargate").await;
    let rendered = rendered.expect("it can be rendered");
    let applied = plane.apply(&[], rendered.clone().into_bytes()).await;
    applied.unwrap_or_else(|complaint| panic!("{complaint}"));
    let objects = dry_run(plane, &rendered).await;
    objects.unwrap_or_else(|complaint| panic!("{complaint}"))
}

/// A pod as the builder makes it, with nothing said about resources unless asked.
fn build(name: &str, resources: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "slugbuilder", "image": "slugbuilder", "resources": resources}],
        },
    }))
    .expect("a pod")
}

#[tokio::test]
async fn the_builders_deployment_takes_the_patch() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let namespace = create_namespace(&plane.admin().await, "builder").await;
    // As Deis Workflow installs it, as far as it matters.
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "deis-builder", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "deis-builder"}},
            "template": {
                "metadata": {"labels": {"app": "deis-builder"}},
                "spec": {"containers": [{
                    "name": "deis-builder",
                    "image": "builder",
                    "env": [
                        {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                        {"name": "DEBUG", "value": "true"},
                    ],
                }]},
            },
        },
    });
    let applied = plane.apply(&[], deployment.to_string().into_bytes()).await;
    applied.unwrap_or_else(|complaint| panic!("{complaint}"));
    let kubeconfig = plane.admin_kubeconfig().display().to_string();
    let patch = format!("--patch-file={}", deploy("builder-patch.yaml"));

    let patched = kubectl_with(
        &kubeconfig,
        &[
            "patch",
            "deployment",
            "deis-builder",
            "--namespace",
            &namespace,
            &patch,
            "--output=json",
        ],
    )
    .await;

    let patched: Value = serde_json::from_str(&patched).expect("JSON");
    assert_eq!(
        patched["spec"]["template"]["spec"]["containers"][0]["env"],
        json!([{"name": "POD_NAMESPACE", "value": BUILDS}, {"name": "DEBUG", "value": "true"}])
    );
}

#[tokio::test]
async fn the_secrets_are_copied_and_copied_again() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let admin = plane.admin().await;
    let from = create_namespace(&admin, "secrets-from").await;
    let to = create_namespace(&admin, "secrets-to").await;
    let originals: Api<Secret> = Api::namespaced(admin.clone(), &from);
    let names = [
        "builder-key-auth",
        "builder-ssh-private-keys",
        "objectstorage-keyfile",
    ];
    for name in names {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "annotations": {"deis.io/objectstorage": "s3", "quoted": "a \"b\" c"},
                "labels": {"heritage": "deis"},
            },
            "type": "Opaque",
            "stringData": {"accesskey": format!("key of {name}"), "other": "\u{1}\n\"\\"},
        }))
        .expect("a secret");
        let created = originals.create(&PostParams::default(), &secret).await;
        created.expect("a secret");
    }
    let copy = async || {
        let output = tokio::process::Command::new(deploy("copy-secrets.sh"))
            .args([&from, &to])
            .env("KUBECONFIG", plane.admin_kubeconfig())
            .stdin(Stdio::null())
            .output()
            .await
            .expect("bash is installed");
        assert!(output.status.success(), "{output:?}");
    };
    let copies: Api<Secret> = Api::namespaced(admin, &to);

    copy().await;
    for name in names {
        let original = originals.get(name).await.expect("the original");
        let arrived = copies.get(name).await.expect("the copy");
        assert_eq!(arrived.data, original.data);
        assert_eq!(arrived.type_, original.type_);
        assert_eq!(arrived.metadata.annotations, original.metadata.annotations);
    }

    let changed = Patch::Merge(json!({"stringData": {"accesskey": "another"}}));
    let patched = originals
        .patch(names[0], &PatchParams::default(), &changed)
        .await;
    patched.expect("a changed secret");
    copy().await;
    let arrived = copies.get(names[0]).await.expect("the copy");
    assert_eq!(arrived.data.expect("data")["accesskey"].0, b"another");
}

/// How many MiB there are for so many processors.
fn fargate_sizes(processors: &str) -> Vec<u64> {
    let (least, most, step) = match processors {
        "4" => (8, 30, 1),
        "8" => (16, 60, 4),
        "16" => (32, 120, 8),
        other => panic!("no size of Fargate that is used here: {other}"),
    };
    (least..=most).step_by(step).map(|gib| gib * 1024).collect()
}

/// What Fargate adds for the kubelet, kube-proxy and containerd, in MiB.
const FARGATES_OWN: u64 = 256;

#[tokio::test]
async fn a_build_gets_a_size_that_fargate_has_and_none_that_it_has_not() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    installed(plane).await;
    let pods: Api<Pod> = Api::namespaced(plane.admin().await, BUILDS);
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let largest = json!({"cpu": "16", "memory": "122624Mi"});
    for asked in [json!({}), json!({"requests": largest, "limits": largest})] {
        let pod = pods.create(&dry_run, &build("sized", &asked)).await;
        let pod = pod.expect("an accepted pod");
        let spec = serde_json::to_value(pod.spec).expect("JSON");
        let resources = &spec["containers"][0]["resources"];
        assert_eq!(resources["requests"], resources["limits"]);
        let processors = resources["requests"]["cpu"].as_str().expect("processors");
        let memory = resources["requests"]["memory"].as_str().expect("memory");
        let memory = memory.strip_suffix("Mi").expect("MiB").parse::<u64>();
        let whole = memory.expect("a number") + FARGATES_OWN;
        assert!(fargate_sizes(processors).contains(&whole), "{resources}");
    }
    for more in [
        json!({"limits": {"cpu": "17"}}),
        json!({"limits": {"memory": "122625Mi"}}),
    ] {
        let refused = pods.create(&dry_run, &build("too-large", &more)).await;
        let refusal = refused.expect_err("no such size").to_string();
        assert!(refusal.contains("maximum"), "{refusal}");
    }
}

async fn finished(client: &Client, name: &str, phase: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), BUILDS);
    let created = pods
        .create(&PostParams::default(), &build(name, &json!({})))
        .await;
    created.expect("a pod");
    let status = Patch::Merge(json!({"status": {"phase": phase}}));
    let patched = pods
        .patch_status(name, &PatchParams::default(), &status)
        .await;
    patched.expect("a status");
}

#[tokio::test]
async fn the_cleanup_removes_what_has_ended_and_was_seen_to_have() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let objects = installed(plane).await;
    let admin = plane.admin().await;
    let kubeconfig = plane.admin_kubeconfig().display().to_string();
    let create_token = ["create", "token", "build-cleanup", "--namespace=deis"];
    let token = kubectl_with(&kubeconfig, &create_token).await;
    let cleaner = plane.kubeconfig_for(token.trim()).display().to_string();
    // One run: its containers' commands, in their order.
    let run = async |name: &str| {
        let mut named = objects
            .iter()
            .filter(|object| object["kind"] == "CronJob" && object["metadata"]["name"] == name);
        let spec = &named.next().expect(name)["spec"]["jobTemplate"]["spec"]["template"]["spec"];
        let containers = [&spec["initContainers"], &spec["containers"]];
        for container in containers
            .iter()
            .flat_map(|list| list.as_array().expect("a list"))
        {
            let arguments: Vec<_> = container["args"]
                .as_array()
                .expect("arguments")
                .iter()
                .collect();
            let arguments: Vec<_> = arguments
                .iter()
                .map(|text| text.as_str().expect("text"))
                .collect();
            kubectl_with(&cleaner, &arguments).await;
        }
    };
    let left = async || -> BTreeSet<String> {
        let pods: Api<Pod> = Api::namespaced(admin.clone(), BUILDS);
        let pods = pods.list(&ListParams::default()).await.expect("pods");
        pods.items
            .into_iter()
            .filter_map(|pod| pod.metadata.name)
            .collect()
    };
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    let (succeeded, failed) = ("cleanup-of-succeeded-builds", "cleanup-of-failed-builds");

    run(succeeded).await;
    for (name, phase) in [
        ("good", "Succeeded"),
        ("bad", "Failed"),
        ("busy", "Running"),
    ] {
        finished(&admin, name, phase).await;
    }
    run(succeeded).await;
    assert_eq!(left().await, names(&["bad", "busy", "good"]));
    finished(&admin, "better", "Succeeded").await;
    run(succeeded).await;
    assert_eq!(left().await, names(&["bad", "better", "busy"]));
    run(failed).await;
    assert_eq!(left().await, names(&["bad", "better", "busy"]));
    run(failed).await;
    assert_eq!(left().await, names(&["better", "busy"]));
}
