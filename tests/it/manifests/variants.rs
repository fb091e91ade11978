//! The chart with the values of each kind of cluster that its `ci/` has, and with those that Flux is given.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::chart::{chart, helm, objects, run};
use super::rendering::{Copy, documents};
use super::{dry_run, named};
use crate::control_plane::ControlPlane;

/// The chart inside a copy of `deploy/`.
const CHART: &str = "helm/spot-interrupt-handler";

/// The files of values of a chart.
fn variants(chart: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(chart.join("ci")).expect("values");
    let mut found: Vec<_> = entries
        .map(|entry| entry.expect("an entry of that folder").path())
        .collect();
    found.sort();
    assert!(found.len() >= 7, "{found:?}");
    found
}

/// What helm says to the chart with these values.
async fn say(
    helm: &PathBuf,
    chart: &Path,
    values: &Path,
    command: &[&str],
) -> Result<String, String> {
    let (chart, values) = (chart.to_string_lossy(), values.to_string_lossy());
    let mut arguments = command.to_vec();
    arguments.extend([&*chart, "--values", &values]);
    let output = run(helm, &arguments, &[]).await;
    let said = String::from_utf8(output.stdout).expect("text");
    if output.status.success() {
        Ok(said)
    } else {
        Err(said + &String::from_utf8_lossy(&output.stderr))
    }
}

const LINT: [&str; 2] = ["lint", "--strict"];
const TEMPLATE: [&str; 5] = [
    "template",
    "a-release",
    "--namespace",
    "kube-system",
    "--kube-version=1.36.4",
];
const INSTALL: [&str; 5] = [
    "install",
    "a-release",
    "--namespace",
    "kube-system",
    "--dry-run=client",
];

#[tokio::test]
async fn the_chart_of_every_kind_of_cluster_is_linted_and_accepted_with_its_test() {
    let (Some(plane), Some(helm)) = (ControlPlane::shared().await, helm().await) else {
        return;
    };
    let chart = PathBuf::from(chart());
    for values in variants(&chart) {
        let linted = say(&helm, &chart, &values, &LINT).await;
        linted.unwrap_or_else(|complaint| panic!("{values:?}: {complaint}"));
        let rendered = say(&helm, &chart, &values, &TEMPLATE).await;
        let rendered = rendered.unwrap_or_else(|complaint| panic!("{values:?}: {complaint}"));
        let accepted = dry_run(plane, &rendered).await;
        let accepted = accepted.unwrap_or_else(|complaint| panic!("{values:?}: {complaint}"));
        assert_eq!(accepted.len(), documents(&rendered).count(), "{values:?}");

        let test = named(&accepted, "Pod");
        let hook = &test["metadata"]["annotations"]["helm.sh/hook"];
        assert_eq!(hook, "test", "{values:?}");
        let agents = named(&accepted, "DaemonSet");
        // The DaemonSet takes a pod that it would select for its own, and removes it.
        let selector = &agents["spec"]["selector"]["matchLabels"];
        assert_ne!(&test["metadata"]["labels"], selector, "{values:?}");
        // It looks with what the agent has: but for the command they are one pod.
        let mut spec = test["spec"].clone();
        let mut agent = agents["spec"]["template"]["spec"].clone();
        assert_eq!(spec["containers"][0]["args"], json!(["check"]));
        for differing in [&mut spec, &mut agent] {
            differing["containers"][0]["args"] = Value::Null;
            for field in ["restartPolicy", "priority", "preemptionPolicy"] {
                differing.as_object_mut().expect("a spec").remove(field);
            }
            // What the server adds to a pod's own account, and not to a template's.
            differing
                .as_object_mut()
                .expect("a spec")
                .remove("serviceAccount");
        }
        let tolerated = &mut spec["tolerations"];
        *tolerated = json!([tolerated[0]]);
        assert_eq!(spec, agent, "{values:?}");
    }
}

/// Values, and what the notes after an installation then say and do not say.
const NOTES: [(&str, &[&str], &[&str]); 5] = [
    (
        "own-nodes-irsa",
        &[
            "nodes with the label lifecycle=Ec2Spot",
            "has to be `privileged`",
            "helm test a-release --namespace kube-system --logs",
        ],
        &["no AWS role", "knows no target groups", "only rehearses"],
    ),
    (
        "own-nodes-listed",
        &["It has no AWS role of its own"],
        &["knows no target groups"],
    ),
    (
        "karpenter",
        &["nodes with the label karpenter.sh/capacity-type=spot"],
        &["lifecycle=Ec2Spot", "no AWS role"],
    ),
    (
        "observer",
        &["It knows no target groups, and deregisters nothing"],
        &["no AWS role"],
    ),
    (
        "rehearsal",
        &["HttpPutResponseHopLimit: 2", "It only rehearses"],
        &["has to be `privileged`"],
    ),
];

#[tokio::test]
async fn the_notes_say_what_follows_from_the_values() {
    let Some(helm) = helm().await else {
        return;
    };
    let chart = PathBuf::from(chart());
    for (name, said, unsaid) in NOTES {
        let values = chart.join(format!("ci/{name}-values.yaml"));
        let installed = say(&helm, &chart, &values, &INSTALL).await;
        let installed = installed.unwrap_or_else(|complaint| panic!("{name}: {complaint}"));
        let (_, notes) = installed.split_once("NOTES:").expect("notes");
        for text in said {
            assert!(notes.contains(text), "{name}: {text}: {notes}");
        }
        for text in unsaid {
            assert!(!notes.contains(text), "{name}: {text}: {notes}");
        }
    }
}

/// A file of the chart, a fault, what is asked about it, and a word of the answer.
const FAULTS: [(&str, &str, &str, &[&str], &str); 5] = [
    (
        "ci/karpenter-values.yaml",
        "mode: deregister-only",
        "mode: deregister",
        &LINT,
        "value must be one of",
    ),
    (
        "Chart.yaml",
        "version: 0.1.0",
        "version: first",
        &LINT,
        "SemVer",
    ),
    (
        "templates/daemonset.yaml",
        "maxUnavailable: 10%",
        "maxUnavailable: {{ .Values.atOnce.most }}",
        &LINT,
        "nil pointer",
    ),
    (
        "templates/NOTES.txt",
        "{{- if .Values.dryRun }}",
        "{{- iff .Values.dryRun }}",
        &INSTALL,
        "iff",
    ),
    (
        "templates/tests/check.yaml",
        "spot-interrupt-handler.pod",
        "spot-interrupt-handler.pods",
        &TEMPLATE,
        "no template",
    ),
];

#[tokio::test]
async fn a_broken_copy_of_the_chart_is_refused() {
    let Some(helm) = helm().await else {
        return;
    };
    for (file, right, wrong, command, answer) in FAULTS {
        let copy = Copy::new();
        copy.replace(&format!("{CHART}/{file}"), right, wrong);
        let chart = copy.path().join(CHART);
        let values = chart.join("ci/karpenter-values.yaml");
        let refused = say(&helm, &chart, &values, command).await;
        let complaint = refused.expect_err(wrong);
        assert!(complaint.contains(answer), "{wrong}: {complaint}");
    }
}

/// Flux installs the chart, kustomize an overlay: beside Karpenter both are the same agent.
#[tokio::test]
async fn the_release_that_flux_installs_is_the_overlay_for_karpenter() {
    let (Some(plane), Some(helm)) = (ControlPlane::shared().await, helm().await) else {
        return;
    };
    let release = include_str!("../../../deploy/flux/infra/spot-interrupt-handler/release.yaml");
    let release = release.split("\n---\n").last().expect("the release");
    let release: Value = serde_saphyr::from_str(release).expect("YAML");
    assert_eq!(release["kind"], "HelmRelease");
    let folder = tempfile::tempdir().expect("a folder");
    let values = folder.path().join("values.json");
    fs::write(&values, release["spec"]["values"].to_string()).expect("a file");
    let command = [&TEMPLATE[..], &["--skip-tests"]].concat();
    let rendered = say(&helm, Path::new(&chart()), &values, &command).await;
    let ours = objects(plane, &rendered.expect("valid values")).await;

    let copy = Copy::new();
    let overlay = copy.combine("overlays/karpenter", &["pod-identity"], None);
    let theirs = objects(plane, &overlay.await.expect("it can be rendered")).await;

    assert_eq!(ours, theirs);
}
