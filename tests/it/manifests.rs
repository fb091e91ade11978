//! Everything under `deploy/` that is meant for a cluster, held against a real API server.
//!
//! Each overlay is rendered with each component, each pair of them and all together, and so is each other kustomization;
//! the server then takes or refuses the result in a dry run with strict field validation. That finds removed versions,
//! unknown fields, wrong types, and broken expressions. What it cannot find has tests of its own: a patch that matches
//! nothing ([`nodes`]), and a policy that is valid and refuses nothing ([`policies`]).

mod builds;
pub mod chart;
mod definitions;
mod nodes;
mod policies;
pub mod rendering;
mod variants;

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, create_namespace};
use rendering::{COMPONENTS, Copy, documents, named};

/// The base and what is made of it for other nodes.
const VARIANTS: [&str; 5] = [
    "base",
    "overlays/spot-node-group",
    "overlays/managed-node-group",
    "overlays/karpenter",
    "overlays/local-mock",
];

/// No component, each, each pair, and all together. Two identities in one agent are no combination.
fn combinations() -> Vec<Vec<&'static str>> {
    let mut all = vec![vec![]];
    for (index, &one) in COMPONENTS.iter().enumerate() {
        all.push(vec![one]);
        for &other in &COMPONENTS[index + 1..] {
            all.push(vec![one, other]);
        }
    }
    for identity in ["irsa", "pod-identity"] {
        let others = COMPONENTS
            .iter()
            .filter(|name| !["irsa", "pod-identity"].contains(name));
        all.push([identity].iter().chain(others).copied().collect());
    }
    all.retain(|names| !(names.contains(&"irsa") && names.contains(&"pod-identity")));
    all
}

/// What the server makes of these manifests without keeping it, or why it refuses them.
async fn dry_run(plane: &ControlPlane, manifests: &str) -> Result<Vec<Value>, String> {
    let options = ["--dry-run=server", "--output=json"];
    let output = plane.apply(&options, manifests.as_bytes().to_vec()).await?;
    let output: Value = serde_json::from_slice(&output).expect("JSON from kubectl");
    Ok(match output["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![output],
    })
}

/// Namespaces that others make.
const OTHERS: [&str; 3] = ["deis", "flux-system", "instance-manager"];

/// A namespace that is there before what is tested, as part of something that others install.
async fn apply_namespace(plane: &ControlPlane, name: &str) {
    let manifest = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n");
    let applied = plane.apply(&[], manifest.into_bytes()).await;
    applied.unwrap_or_else(|complaint| panic!("{complaint}"));
}

#[tokio::test]
async fn every_overlay_with_every_component_is_accepted() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let namespace = create_namespace(&plane.admin().await, "elsewhere").await;
    let copy = Copy::new();
    assert_eq!(copy.folders("kustomize/components"), COMPONENTS);
    assert_eq!(
        copy.folders("kustomize/overlays"),
        [
            "karpenter",
            "local-mock",
            "managed-node-group",
            "spot-node-group"
        ]
    );

    let mut all = Vec::new();
    for variant in VARIANTS {
        for components in combinations() {
            // What another namespace changes does not depend on the pairs.
            if components.len() != 2 {
                all.push((variant, components.clone(), Some(&*namespace)));
            }
            all.push((variant, components, None));
        }
    }
    let rendered: Vec<_> = stream::iter(&all)
        .map(|(variant, components, namespace)| copy.combine(variant, components, *namespace))
        .buffer_unordered(4)
        .map(|rendered| rendered.expect("a combination that can be rendered"))
        .collect()
        .await;
    // Most documents are the same in most combinations, and the server need not see them again.
    let different: BTreeSet<_> = rendered.iter().flat_map(|all| documents(all)).collect();

    assert!(different.len() > 60, "{}", different.len());
    let together: Vec<_> = different.into_iter().collect();
    let accepted = dry_run(plane, &together.join("\n---\n")).await;
    let accepted = accepted.unwrap_or_else(|complaint| panic!("{complaint}"));
    assert_eq!(accepted.len(), together.len());
}

#[tokio::test]
async fn every_other_kustomization_is_accepted() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    for namespace in OTHERS {
        apply_namespace(plane, namespace).await;
    }
    let definitions = definitions::installed(plane).await;
    let copy = Copy::new();
    for folder in copy.kustomizations() {
        let custom = folder.starts_with("flux") || folder.starts_with("instance-manager");
        if folder.starts_with("kustomize/") || (custom && !definitions) {
            continue;
        }
        let rendered = copy.render(&folder).await;
        let rendered = rendered.unwrap_or_else(|complaint| panic!("{folder}: {complaint}"));

        // A dry run leaves nothing behind, a namespace for what follows neither.
        let (namespaces, _) = rendering::split(&rendered, "Namespace");
        if !namespaces.is_empty() {
            plane
                .apply(&[], namespaces.into_bytes())
                .await
                .unwrap_or_else(|complaint| panic!("{folder}: {complaint}"));
        }
        let accepted = dry_run(plane, &rendered).await;
        let accepted = accepted.unwrap_or_else(|complaint| panic!("{folder}: {complaint}"));
        assert_eq!(accepted.len(), documents(&rendered).count(), "{folder}");
    }
}

#[test]
fn the_agent_does_not_depend_on_what_it_evicts() {
    let daemon_set = include_str!("../../deploy/kustomize/base/daemonset.yaml");
    // The cluster's DNS may be on this node, and is evicted with the others; the pod network goes with its node.
    for setting in ["dnsPolicy: Default", "hostNetwork: true"] {
        assert!(daemon_set.contains(setting), "{setting}");
    }
}

/// A fault each, and a word of the answer to it.
const FAULTS: [(&str, &str, &str, &str); 6] = [
    (
        "kustomize/base/daemonset.yaml",
        "hostNetwork: true",
        "hostNetworks: true",
        "field not declared in schema",
    ),
    (
        "kustomize/base/daemonset.yaml",
        "apps/v1",
        "apps/v1beta2",
        "no matches for kind",
    ),
    (
        "kustomize/base/daemonset.yaml",
        "memory: 64Mi",
        "memory: 64 megabytes",
        "quantities must match",
    ),
    (
        "kustomize/base/admission-policy.yaml",
        "object.metadata.name == variables.tokenNode",
        "object.metadata.name == variables.tokenNodes",
        "undefined field 'tokenNodes'",
    ),
    (
        "kustomize/components/dry-run/admission-policy.yaml",
        "request.?dryRun",
        "request.?dryRuns",
        "undefined field 'dryRuns'",
    ),
    (
        "kustomize/components/flow-schema/flowschema.yaml",
        "type: ByNamespace",
        "type: ByNamespaces",
        "Unsupported value",
    ),
];

/// The test of the tests above.
#[tokio::test]
async fn a_broken_copy_is_refused() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    for (file, right, wrong, answer) in FAULTS {
        let copy = Copy::new();
        copy.replace(file, right, wrong);
        let everything = ["dry-run", "flow-schema"];
        let rendered = copy.combine("base", &everything, None).await;
        let rendered = rendered.expect("the fault is not one of kustomize's");

        let refused = dry_run(plane, &rendered).await;

        let complaint = refused.expect_err(wrong);
        assert!(complaint.contains(answer), "{wrong}: {complaint}");
    }
}

/// Flux finds out in the cluster that a path leads nowhere.
#[tokio::test]
async fn what_flux_is_to_apply_is_there_and_can_be_rendered() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    if !definitions::installed(plane).await {
        return;
    }
    apply_namespace(plane, "flux-system").await;
    let copy = Copy::new();
    let rendered = copy.render("flux/clusters/platform").await;
    let objects = dry_run(plane, &rendered.expect("it can be rendered")).await;
    let objects = objects.unwrap_or_else(|complaint| panic!("{complaint}"));
    let kustomizations = objects
        .iter()
        .filter(|object| object["kind"] == "Kustomization");
    let mut applied = Vec::new();
    for object in kustomizations {
        let path = object["spec"]["path"].as_str().expect("a path");
        let path = path.strip_prefix("./deploy/").expect("below deploy/");
        assert!(
            copy.kustomizations().iter().any(|own| own == path),
            "{path}"
        );
        applied.push(path.to_owned());
    }
    assert_eq!(
        applied,
        [
            "flux/apps/platform",
            "flux/infra/configs",
            "flux/infra/controllers",
            "flux/infra/spot-interrupt-handler"
        ]
    );
}

/// A folder, a file in it, a fault, and a word of the answer. All but the first three are how older designs have such
/// objects.
const OTHER_FAULTS: [(&str, &str, &str, &str, &str); 10] = [
    (
        "flux/infra/configs",
        "nodepool.yaml",
        "consolidateAfter: 5m",
        "consolidateAfter: 5 minutes",
        "should match",
    ),
    (
        "flux/infra/configs",
        "ec2nodeclass.yaml",
        "alias: al2023@latest",
        "alias: al2023",
        "Invalid value",
    ),
    (
        "flux/infra/spot-interrupt-handler",
        "release.yaml",
        "provider: cosign",
        "provider: gpg",
        "Unsupported value",
    ),
    (
        "flux/infra/controllers",
        "karpenter.yaml",
        "helm.toolkit.fluxcd.io/v2",
        "helm.toolkit.fluxcd.io/v2beta1",
        "no matches for kind",
    ),
    (
        "flux/clusters/platform",
        "source.yaml",
        "source.toolkit.fluxcd.io/v1",
        "source.toolkit.fluxcd.io/v1beta2",
        "no matches for kind",
    ),
    (
        "instance-manager",
        "builds-on-fargate.yaml",
        "- namespace: deis-builder",
        "- namespace1:",
        "field not declared in schema",
    ),
    (
        "instance-manager",
        "builds-on-fargate.yaml",
        "- team: platform",
        "  team: platform",
        "expected list",
    ),
    (
        "builds-on-fargate",
        "limitrange.yaml",
        "memory: 7936Mi",
        "memory: { defaultRequest: 7936Mi }",
        "expected any scalar",
    ),
    (
        "spot-node-group/kubernetes/httpbin",
        "autoscaling.yaml",
        "autoscaling/v2",
        "autoscaling/v2beta1",
        "no matches for kind",
    ),
    (
        "spot-node-group/kubernetes/cluster-autoscaler",
        "deployment.yaml",
        "apps/v1",
        "extensions/v1beta1",
        "no matches for kind",
    ),
];

#[tokio::test]
async fn a_broken_copy_of_each_other_kustomization_is_refused() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    if !definitions::installed(plane).await {
        return;
    }
    for namespace in OTHERS {
        apply_namespace(plane, namespace).await;
    }
    for (folder, file, right, wrong, answer) in OTHER_FAULTS {
        let copy = Copy::new();
        copy.replace(&format!("{folder}/{file}"), right, wrong);
        let rendered = copy.render(folder).await;
        let rendered = rendered.expect("the fault is not one of kustomize's");

        let refused = dry_run(plane, &rendered).await;

        let complaint = refused.expect_err(wrong);
        assert!(complaint.contains(answer), "{wrong}: {complaint}");
    }
}

#[tokio::test]
async fn another_namespace_reaches_everything_that_names_it() {
    let copy = Copy::new();
    let everything: Vec<_> = COMPONENTS
        .into_iter()
        .filter(|name| *name != "irsa")
        .collect();
    let rendered = copy.combine("base", &everything, Some("elsewhere")).await;
    let rendered = rendered.expect("it can be rendered");
    assert!(rendered.contains("system:serviceaccount:elsewhere:spot-interrupt-handler"));
    let left: Vec<_> = rendered
        .lines()
        .filter(|line| line.contains("kube-system"))
        .collect();
    assert_eq!(left, Vec::<&str>::new());
}

/// Pod Security judges pods, and lets a DaemonSet pass whose pods it will refuse: so the pod is what has to be tried.
#[tokio::test]
async fn the_strictest_pod_security_takes_the_agent_on_the_pod_network_alone() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let admin = plane.admin().await;
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {
        "name": "restricted",
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
    }}))
    .expect("a namespace");
    let created = Api::all(admin.clone())
        .create(&PostParams::default(), &namespace)
        .await;
    created.expect("a namespace");
    let pods: Api<Pod> = Api::namespaced(admin, "restricted");
    let copy = Copy::new();
    for (components, accepted) in [
        (vec!["pod-network"], true),
        (vec!["pod-network", "pod-identity", "dry-run"], true),
        (vec![], false),
    ] {
        let rendered = copy.combine("base", &components, Some("restricted")).await;
        let objects = dry_run(plane, &rendered.expect("it can be rendered")).await;
        let objects = objects.unwrap_or_else(|complaint| panic!("{complaint}"));
        let template = &named(&objects, "DaemonSet")["spec"]["template"];
        let pod = json!({"metadata": {"name": "agent"}, "spec": template["spec"]});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };

        let answer = pods.create(&dry_run, &pod).await;

        assert_eq!(answer.is_ok(), accepted, "{components:?}: {answer:?}");
        if let Err(refusal) = answer {
            assert!(refusal.to_string().contains("host namespaces"), "{refusal}");
        }
    }
}
