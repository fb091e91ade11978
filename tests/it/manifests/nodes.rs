//! Which nodes each overlay runs on, by the scheduler's rules for a node selector and a required affinity.

use serde_json::Value;

use super::rendering::{Copy, named};
use super::{VARIANTS, dry_run};
use crate::control_plane::ControlPlane;

/// A node's name, its labels, and the one overlay that is for it.
type Sample = (
    &'static str,
    &'static [(&'static str, &'static str)],
    Option<&'static str>,
);

const LINUX: (&str, &str) = ("kubernetes.io/os", "linux");
const WINDOWS: (&str, &str) = ("kubernetes.io/os", "windows");
const OWN_SPOT: (&str, &str) = ("lifecycle", "Ec2Spot");
const EKS_SPOT: (&str, &str) = ("eks.amazonaws.com/capacityType", "SPOT");
const KARPENTER_SPOT: (&str, &str) = ("karpenter.sh/capacity-type", "spot");
const COMPUTE: &str = "eks.amazonaws.com/compute-type";

const SAMPLES: [Sample; 17] = [
    ("own spot", &[LINUX, OWN_SPOT], Some("spot-node-group")),
    ("own on-demand", &[LINUX, ("lifecycle", "OnDemand")], None),
    ("EKS spot", &[LINUX, EKS_SPOT], Some("managed-node-group")),
    (
        "EKS on-demand",
        &[LINUX, ("eks.amazonaws.com/capacityType", "ON_DEMAND")],
        None,
    ),
    (
        "Karpenter spot",
        &[LINUX, KARPENTER_SPOT],
        Some("karpenter"),
    ),
    (
        "Karpenter on-demand",
        &[LINUX, ("karpenter.sh/capacity-type", "on-demand")],
        None,
    ),
    (
        "Karpenter reserved",
        &[LINUX, ("karpenter.sh/capacity-type", "reserved")],
        None,
    ),
    (
        "laptop",
        &[LINUX, ("spot-interrupt-handler/mock", "true")],
        Some("local-mock"),
    ),
    ("unlabelled", &[LINUX], None),
    ("Windows own spot", &[WINDOWS, OWN_SPOT], None),
    ("Windows EKS spot", &[WINDOWS, EKS_SPOT], None),
    ("Windows Karpenter spot", &[WINDOWS, KARPENTER_SPOT], None),
    // The labels of others may be on these as well; the agent still has no business there.
    (
        "Fargate",
        &[
            LINUX,
            OWN_SPOT,
            EKS_SPOT,
            KARPENTER_SPOT,
            (COMPUTE, "fargate"),
        ],
        None,
    ),
    (
        "Auto Mode",
        &[LINUX, OWN_SPOT, EKS_SPOT, KARPENTER_SPOT, (COMPUTE, "auto")],
        None,
    ),
    (
        "hybrid",
        &[
            LINUX,
            OWN_SPOT,
            EKS_SPOT,
            KARPENTER_SPOT,
            (COMPUTE, "hybrid"),
        ],
        None,
    ),
    (
        "EC2, said so",
        &[LINUX, OWN_SPOT, (COMPUTE, "ec2")],
        Some("spot-node-group"),
    ),
    ("no system", &[OWN_SPOT, EKS_SPOT, KARPENTER_SPOT], None),
];

fn label<'l>(labels: &'l [(&str, &str)], key: &str) -> Option<&'l str> {
    let mut values = labels.iter().filter(|(name, _)| *name == key);
    values.next().map(|(_, value)| *value)
}

/// Whether the scheduler lets a pod of this spec onto a node with these labels.
fn fits(spec: &Value, labels: &[(&str, &str)]) -> bool {
    let selector = spec["nodeSelector"].as_object().expect("a selector");
    let selected = selector
        .iter()
        .all(|(key, value)| label(labels, key) == value.as_str());
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = spec["affinity"]["nodeAffinity"][required]["nodeSelectorTerms"]
        .as_array()
        .expect("terms");
    // Terms are alternatives: one that says less opens what the others close.
    let affine = terms.iter().any(|term| {
        let expressions = term["matchExpressions"].as_array().expect("expressions");
        expressions.iter().all(|expression| {
            assert_eq!(expression["operator"], "NotIn");
            let values = expression["values"].as_array().expect("values");
            let key = expression["key"].as_str().expect("a key");
            label(labels, key).is_none_or(|value| values.iter().all(|other| other != value))
        })
    });
    selected && affine
}

#[tokio::test]
async fn each_overlay_runs_on_its_spot_nodes_and_nowhere_else() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let copy = Copy::new();
    for variant in VARIANTS {
        let rendered = copy.combine(variant, &[], None).await;
        let objects = dry_run(plane, &rendered.expect("it can be rendered")).await;
        let objects = objects.unwrap_or_else(|complaint| panic!("{complaint}"));
        let spec = &named(&objects, "DaemonSet")["spec"]["template"]["spec"];

        let fitting: Vec<_> = SAMPLES
            .iter()
            .filter(|(_, labels, _)| fits(spec, labels))
            .map(|(name, ..)| *name)
            .collect();

        let own = variant.rsplit('/').next().expect("a name");
        // The base is made for the nodes of the first overlay.
        let own = if own == "base" {
            "spot-node-group"
        } else {
            own
        };
        let expected: Vec<_> = SAMPLES
            .iter()
            .filter(|(.., overlay)| *overlay == Some(own))
            .map(|(name, ..)| *name)
            .collect();
        assert_eq!(fitting, expected, "{variant}");
        // Whatever the taint, of a dying node too.
        let tolerations = spec["tolerations"].as_array().expect("tolerations");
        assert_eq!(tolerations.len(), 1, "{variant}");
        assert_eq!(tolerations[0]["operator"], "Exists", "{variant}");
        assert!(tolerations[0].get("key").is_none() && tolerations[0].get("effect").is_none());
    }
}

#[tokio::test]
async fn what_an_overlay_or_component_sets_arrives_in_the_agent() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let copy = Copy::new();
    for (variant, components, name, value) in [
        ("overlays/karpenter", vec![], "SIH_MODE", "deregister-only"),
        ("overlays/spot-node-group", vec![], "SIH_DISCOVER", "tag"),
        (
            "overlays/managed-node-group",
            vec!["dry-run"],
            "SIH_DRY_RUN",
            "true",
        ),
        (
            "overlays/local-mock",
            vec![],
            "SIH_IMDS_ENDPOINT",
            "http://127.0.0.1:1338",
        ),
        (
            "base",
            vec!["pod-identity"],
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://169.254.170.23/v1/credentials",
        ),
    ] {
        let rendered = copy.combine(variant, &components, None).await;
        let objects = dry_run(plane, &rendered.expect("it can be rendered")).await;
        let objects = objects.unwrap_or_else(|complaint| panic!("{complaint}"));
        let containers = &named(&objects, "DaemonSet")["spec"]["template"]["spec"]["containers"];
        let variables = containers[0]["env"].as_array().expect("variables");
        let mut values = variables
            .iter()
            .filter(|variable| variable["name"] == name)
            .map(|variable| variable["value"].as_str());
        assert_eq!(values.next(), Some(Some(value)), "{variant}: {name}");
        assert_eq!(values.next(), None, "{variant}: {name}");
        // What the base gives stays.
        assert!(
            variables
                .iter()
                .any(|variable| variable["name"] == "NODE_NAME")
        );
    }
    let rendered = copy.combine("base", &["irsa"], None).await;
    assert!(
        rendered
            .expect("it can be rendered")
            .contains("eks.amazonaws.com/role-arn: arn:aws:iam::")
    );
}

#[tokio::test]
async fn the_metadata_service_of_a_laptop_takes_its_arguments() {
    let copy = Copy::new();
    let Ok(rendered) = copy.combine("overlays/local-mock", &[], None).await else {
        // Without kubectl the tests above say so.
        return;
    };
    let line = rendered
        .lines()
        .position(|line| line.trim() == "- mock-imds");
    let arguments = rendered.lines().skip(line.expect("the command"));
    let arguments = arguments.map_while(|line| line.trim().strip_prefix("- "));
    let command = std::iter::once("spot-interrupt-handler").chain(arguments);
    let command = command.map(std::ffi::OsString::from);
    match spot_interrupt_handler::args::parse(command, |_| None) {
        Ok(spot_interrupt_handler::args::Command::MockImds(config)) => {
            assert_eq!(config.address.to_string(), "127.0.0.1:1338");
            assert_eq!(config.control_port, 1339);
        }
        other => panic!("{other:?}"),
    }
}
