//! The Helm chart and the kustomizations say the same, or one of them would rot.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::process::Command;

use super::dry_run;
use super::rendering::Copy;
use crate::control_plane::{ControlPlane, create_namespace};

/// Exit code of `build.sh` for "no Go, and no `SIH_HELM`".
const NO_GO: i32 = 3;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The binary; none where it cannot be built, which under CI is a failure.
pub async fn helm() -> Option<PathBuf> {
    // Its progress goes past libtest, which would keep it back.
    let building = Command::new(format!("{ROOT}/tests/helm/build.sh"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("bash is installed");
    let output = building.wait_with_output().await.expect("build.sh ends");
    if output.status.code() == Some(NO_GO) {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(
            !ci,
            "no Go and no SIH_HELM: under CI the chart must be tested"
        );
        return None;
    }
    assert!(output.status.success(), "tests/helm/build.sh failed");
    let printed = String::from_utf8(output.stdout).expect("text");
    Some(PathBuf::from(printed.lines().last().expect("a path")))
}

pub(super) fn chart() -> String {
    format!("{ROOT}/deploy/helm/spot-interrupt-handler")
}

pub(super) async fn run(helm: &PathBuf, arguments: &[&str], values: &[&str]) -> Output {
    let mut command = Command::new(helm);
    command.args(arguments);
    for value in values {
        command.args(["--set", value]);
    }
    // Nothing of whoever runs the tests: no configuration, no cluster.
    let empty = tempfile::tempdir().expect("a directory");
    for variable in ["HELM_CONFIG_HOME", "HELM_DATA_HOME", "HELM_CACHE_HOME"] {
        command.env(variable, empty.path());
    }
    command.env_remove("KUBECONFIG");
    command.output().await.expect("helm runs")
}

async fn template(helm: &PathBuf, namespace: &str, values: &[&str]) -> Result<String, String> {
    let chart = chart();
    let arguments = [
        "template",
        "a-release",
        &chart,
        "--namespace",
        namespace,
        "--kube-version=1.36.4",
        "--skip-tests",
    ];
    let output = run(helm, &arguments, values).await;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).expect("text"))
    } else {
        Err(String::from_utf8(output.stderr).expect("text"))
    }
}

/// Without what the server adds anew to each answer, and with lists of named things in the order of their names.
fn comparable(mut value: Value) -> Value {
    fn sort(value: &mut Value) {
        match value {
            Value::Array(items) => {
                items.iter_mut().for_each(sort);
                if items.iter().all(|item| item["name"].is_string()) {
                    items.sort_by_key(|item| item["name"].as_str().map(str::to_owned));
                }
            }
            Value::Object(fields) => fields.values_mut().for_each(sort),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let metadata = value["metadata"].as_object_mut().expect("metadata");
    for field in [
        "managedFields",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
    ] {
        metadata.remove(field);
    }
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
    }
    sort(&mut value);
    value
}

pub(super) async fn objects(plane: &ControlPlane, manifests: &str) -> Vec<Value> {
    let objects = dry_run(plane, manifests).await;
    let objects = objects.unwrap_or_else(|complaint| panic!("{complaint}"));
    let mut objects: Vec<_> = objects.into_iter().map(comparable).collect();
    objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
    objects
}

#[tokio::test]
async fn the_chart_renders_what_kustomize_does() {
    let (Some(plane), Some(helm)) = (ControlPlane::shared().await, helm().await) else {
        return;
    };
    let namespace = create_namespace(&plane.admin().await, "charted").await;
    let elsewhere = Some(&*namespace);
    let role = "aws.roleArn=arn:aws:iam::111122223333:role/spot-interrupt-handler";
    let copy = Copy::new();
    for (values, variant, components, namespace) in [
        (vec![], "base", vec![], None),
        (vec![], "base", vec![], elsewhere),
        (
            vec!["targetGroups.discover=tag"],
            "overlays/spot-node-group",
            vec![],
            None,
        ),
        (
            vec!["nodeLabel=eks.amazonaws.com/capacityType=SPOT"],
            "overlays/managed-node-group",
            vec![],
            None,
        ),
        (
            vec![
                "nodeLabel=karpenter.sh/capacity-type=spot",
                "mode=deregister-only",
            ],
            "overlays/karpenter",
            vec![],
            None,
        ),
        (vec![role], "base", vec!["irsa"], None),
        (
            vec!["aws.podIdentity=true"],
            "base",
            vec!["pod-identity"],
            None,
        ),
        (vec!["hostNetwork=false"], "base", vec!["pod-network"], None),
        (
            vec![
                "nodeLabel=karpenter.sh/capacity-type=spot",
                "mode=deregister-only",
                "dryRun=true",
                "aws.podIdentity=true",
                "admissionPolicy.ownEvictions=true",
                "flowSchema=true",
            ],
            "overlays/karpenter",
            vec![
                "confine-evictions",
                "dry-run",
                "flow-schema",
                "pod-identity",
            ],
            elsewhere,
        ),
    ] {
        let rendered = template(&helm, namespace.unwrap_or("kube-system"), &values).await;
        let rendered = rendered.unwrap_or_else(|complaint| panic!("{values:?}: {complaint}"));
        let kustomized = copy.combine(variant, &components, namespace).await;
        let kustomized = kustomized.expect("it can be rendered");

        let ours = objects(plane, &rendered).await;
        let theirs = objects(plane, &kustomized).await;

        let names = |objects: &[Value]| -> Vec<String> {
            let name =
                |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
            objects.iter().map(name).collect()
        };
        assert_eq!(names(&ours), names(&theirs), "{values:?}");
        for (our, their) in ours.iter().zip(&theirs) {
            assert_eq!(our, their, "{values:?}");
        }
    }

    // And it would be seen if they did not.
    let another = template(&helm, "kube-system", &["terminationGracePeriodSeconds=149"]).await;
    let another = objects(plane, &another.expect("a valid value")).await;
    let kustomized = copy.combine("base", &[], None).await;
    let theirs = objects(plane, &kustomized.expect("it can be rendered")).await;
    let differing = another
        .iter()
        .zip(&theirs)
        .filter(|(our, their)| our != their);
    assert_eq!(differing.count(), 1);
}

#[tokio::test]
async fn the_other_values_arrive_and_are_accepted() {
    let (Some(plane), Some(helm)) = (ControlPlane::shared().await, helm().await) else {
        return;
    };
    let digest = format!("image.digest=sha256:{}", "0".repeat(64));
    let arn =
        "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/0123456789abcdef";
    let arns = format!("targetGroups.arns={{{arn},{arn}:8080}}");
    let values = [
        "image.repository=REGISTRY/agent",
        &digest,
        "image.pullSecrets[0].name=registry",
        &arns,
        "admissionPolicy.ownNode=false",
        "clusterName=spot",
        "logLevel=debug",
        "podLabels.team=platform",
        "podAnnotations.note=a note",
        "extraEnv[0].name=SIH_ON_BLOCKED",
        "extraEnv[0].value=wait",
    ];
    let rendered = template(&helm, "kube-system", &values).await;
    let objects = objects(plane, &rendered.expect("valid values")).await;
    assert!(
        objects
            .iter()
            .all(|object| object["kind"] != "ValidatingAdmissionPolicy")
    );
    let template = &super::named(&objects, "DaemonSet")["spec"]["template"];
    assert_eq!(template["metadata"]["labels"]["team"], "platform");
    assert_eq!(template["metadata"]["annotations"]["note"], "a note");
    let spec = &template["spec"];
    assert_eq!(spec["imagePullSecrets"][0]["name"], "registry");
    let container = &spec["containers"][0];
    let image = container["image"].as_str().expect("an image");
    assert!(image.starts_with("REGISTRY/agent@sha256:"), "{image}");
    for (name, value) in [
        ("SIH_TARGET_GROUP_ARN", format!("{arn},{arn}:8080")),
        ("SIH_CLUSTER_NAME", "spot".to_owned()),
        ("SIH_LOG_LEVEL", "debug".to_owned()),
        ("SIH_ON_BLOCKED", "wait".to_owned()),
    ] {
        let mut variables = container["env"].as_array().expect("variables").iter();
        let variable = variables.find(|variable| variable["name"] == name);
        assert_eq!(variable.expect(name)["value"], value);
    }
}

#[tokio::test]
async fn values_that_mean_nothing_are_refused() {
    let Some(helm) = helm().await else {
        return;
    };
    for wrong in [
        "nodeSelektor.lifecycle=Ec2Spot",
        "nodeLabel=lifecycle",
        "mode=drain",
        "dryRun=yes",
        "image.digest=sha256:0",
        "targetGroups.arns={web}",
        "targetGroups.arn=web",
        "targetGroups.discover=tags",
        "aws.roleArn=spot-interrupt-handler",
        "resources.limit.memory=1Gi",
        "terminationGracePeriodSeconds=0",
        "logLevel=verbose",
    ] {
        let refused = template(&helm, "kube-system", &[wrong]).await;
        let complaint = refused.expect_err(wrong);
        assert!(
            complaint.contains("meet the specifications of the schema"),
            "{wrong}: {complaint}"
        );
    }
    let both = [
        "aws.roleArn=arn:aws:iam::111122223333:role/spot-interrupt-handler",
        "aws.podIdentity=true",
    ];
    assert!(template(&helm, "kube-system", &both).await.is_err());
}

#[tokio::test]
async fn the_chart_is_as_helm_wants_it_and_its_page_names_every_value() {
    let Some(helm) = helm().await else {
        return;
    };
    let output = run(&helm, &["lint", "--strict", &chart()], &[]).await;
    assert!(output.status.success(), "{output:?}");

    let read = |name: &str| std::fs::read_to_string(format!("{}/{name}", chart())).expect(name);
    let schema: Value = serde_json::from_str(&read("values.schema.json")).expect("JSON");
    let page = read("README.md");
    let mut unnamed = Vec::new();
    for (name, value) in schema["properties"].as_object().expect("properties") {
        let nested = match (&**name, value["properties"].as_object()) {
            // Helm's own, and one that is Kubernetes' own.
            ("global", _) => continue,
            ("resources", _) | (_, None) => vec![name.clone()],
            (_, Some(nested)) => nested.keys().map(|key| format!("{name}.{key}")).collect(),
        };
        unnamed.extend(
            nested
                .into_iter()
                .filter(|value| !page.contains(&format!("| `{value}` |"))),
        );
    }
    assert_eq!(unnamed, Vec::<String>::new());
}

/// What a reader types to install it, on the pages that say so.
#[tokio::test]
async fn the_commands_that_install_the_chart_render() {
    let Some(helm) = helm().await else {
        return;
    };
    let pages = [
        include_str!("../../../docs/install.md"),
        include_str!("../../../deploy/helm/spot-interrupt-handler/README.md"),
    ];
    let pages = pages.concat().replace("\\\n", " ");
    let start = "$ helm install spot-interrupt-handler deploy/helm/spot-interrupt-handler --namespace kube-system ";
    let mut rendered = 0;
    for rest in pages.lines().filter_map(|line| line.strip_prefix(start)) {
        let mut words = rest.split_whitespace();
        let mut values = Vec::new();
        while let Some(word) = words.next() {
            assert_eq!(word, "--set", "{rest}");
            values.push(words.next().expect("a value"));
        }
        let manifests = template(&helm, "kube-system", &values).await;
        let manifests = manifests.unwrap_or_else(|complaint| panic!("{rest}: {complaint}"));
        assert!(manifests.contains("image: REGISTRY/spot-interrupt-handler:"));
        rendered += 1;
    }
    assert_eq!(rendered, 4);
}
