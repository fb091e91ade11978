//! What the pages tell a reader to type, name or look for is there: paths, flags, variables, values of the chart, events,
//! permissions and tests. The commands of `docs/install.md` that need no AWS are run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, kubectl};
use crate::log_schema::schema;
use crate::manifests::rendering::{folder_with_deploy, write_kustomization};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const INSTALL: &str = include_str!("../../docs/install.md");
const ENVIRONMENTS: &str = include_str!("../../docs/environments.md");
const SECURITY: &str = include_str!("../../SECURITY.md");
const COEXISTENCE: &str = include_str!("../../docs/coexistence.md");

/// The pages that tell how the agent is deployed.
const PAGES: [(&str, &str); 8] = [
    ("README.md", include_str!("../../README.md")),
    ("SECURITY.md", SECURITY),
    ("deploy/README.md", include_str!("../../deploy/README.md")),
    (
        "deploy/helm/spot-interrupt-handler/README.md",
        include_str!("../../deploy/helm/spot-interrupt-handler/README.md"),
    ),
    ("docs/coexistence.md", COEXISTENCE),
    ("docs/environments.md", ENVIRONMENTS),
    ("docs/install.md", INSTALL),
    (
        "docs/operations.md",
        include_str!("../../docs/operations.md"),
    ),
];

/// Every word of the pages, with the page it is on, stripped of what surrounds it in a sentence, a table or a command.
fn words() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAGES.into_iter().flat_map(|(page, text)| {
        let borders = |mark: char| mark.is_whitespace() || "`|()[]\"'".contains(mark);
        let words = text.split(borders);
        words.map(move |word| (page, word.trim_end_matches(['.', ',', ';', ':'])))
    })
}

/// What the program says of a subcommand.
fn help(command: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_spot-interrupt-handler"))
        .args([command, "--help"])
        .output();
    String::from_utf8(output.expect("it runs").stdout).expect("text")
}

fn all_help() -> String {
    ["run", "check", "simulate", "mock-imds", "report"]
        .map(help)
        .concat()
}

/// Flags of other programs that the pages use.
const OTHERS_FLAGS: [&str; 24] = [
    "--addon-name",
    "--bundle",
    "--capabilities",
    "--certificate-identity-regexp",
    "--certificate-oidc-issuer",
    "--check",
    "--experiment-template-id",
    "--follow",
    "--format",
    "--ignore-missing",
    "--logs",
    "--namespace",
    "--query",
    "--resources",
    "--role-arn",
    "--selector",
    "--service-account",
    "--set",
    "--stack-name",
    "--tags",
    "--tail",
    "--targets",
    "--template-file",
    "--timeout",
];

#[test]
fn every_flag_and_variable_of_the_agent_that_a_page_names_exists() {
    let help = all_help();
    let mut unknown = BTreeSet::new();
    let mut others = BTreeSet::new();
    let mut known = 0;
    for (page, word) in words() {
        let name = word.split('=').next().unwrap_or_default();
        let is_variable = name.starts_with("SIH_") && name.len() > "SIH_".len();
        // The caches and programs of the tests are variables as well, and no page for users has them.
        let is_flag = name
            .strip_prefix("--")
            .is_some_and(|name| name.starts_with(|first: char| first.is_ascii_lowercase()));
        if OTHERS_FLAGS.contains(&name) {
            others.insert(name);
            continue;
        }
        if is_variable || is_flag {
            let ends = |rest: &str| {
                !rest.starts_with(|mark: char| mark.is_ascii_alphanumeric() || "-_".contains(mark))
            };
            if help
                .match_indices(name)
                .any(|(at, _)| ends(&help[at + name.len()..]))
            {
                known += 1;
            } else {
                unknown.insert(format!("{page}: {name}"));
            }
        }
    }
    assert_eq!(unknown, BTreeSet::new());
    assert_eq!(others, BTreeSet::from(OTHERS_FLAGS));
    assert!(known > 40, "{known} flags and variables are named");
}

#[test]
fn every_path_of_the_repository_that_a_page_names_exists() {
    let mut missing = BTreeSet::new();
    let mut found = 0;
    for (page, word) in words() {
        let path = word
            .strip_prefix("github.com/OWNER/spot-interrupt-handler//")
            .unwrap_or(word);
        let tops = ["deploy/", "docs/", "src/", "tests/", ".github/"];
        if tops.iter().any(|top| path.starts_with(top)) {
            let path = path.split('#').next().unwrap_or_default();
            // A link in deploy/ or docs/ is followed by the test of the layout.
            if Path::new(ROOT).join(path).exists() {
                found += 1;
            } else {
                missing.insert(format!("{page}: {path}"));
            }
        }
    }
    assert_eq!(missing, BTreeSet::new());
    assert!(found > 15, "{found} paths are named");
}

/// The names of all values, `a.b`.
fn values_of(value: &Value, before: &str, names: &mut BTreeSet<String>) {
    for (name, inner) in value.as_object().into_iter().flatten() {
        let name = format!("{before}{name}");
        values_of(inner, &format!("{name}."), names);
        names.insert(name);
    }
}

#[test]
fn every_value_of_the_chart_that_a_page_sets_exists() {
    let values = include_str!("../../deploy/helm/spot-interrupt-handler/values.yaml");
    let values: Value = serde_saphyr::from_str(values).expect("YAML");
    let mut names = BTreeSet::new();
    values_of(&values, "", &mut names);
    let mut set = 0;
    for (page, text) in PAGES {
        for value in text.split("--set ").skip(1) {
            let name = value.split('=').next().unwrap_or_default();
            assert!(names.contains(name), "{page}: {name}");
            set += 1;
        }
        // A value in backticks, `mode=full`.
        for code in text.split('`').skip(1).step_by(2) {
            let Some((name, _)) = code.split_once('=') else {
                continue;
            };
            let is_value = name.starts_with(|first: char| first.is_ascii_lowercase())
                && name.contains(|mark: char| mark.is_ascii_uppercase())
                && name
                    .chars()
                    .all(|mark| mark.is_ascii_alphanumeric() || mark == '.');
            assert!(!is_value || names.contains(name), "{page}: {name}");
        }
    }
    assert!(set >= 9, "{set}");
}

#[test]
fn every_event_that_the_pages_of_the_installation_name_is_one() {
    let branches = schema()["oneOf"].as_array().expect("branches");
    let events: BTreeSet<&str> = branches
        .iter()
        .filter_map(|branch| branch["title"].as_str())
        .collect();
    let families: BTreeSet<&str> = events
        .iter()
        .filter_map(|event| event.split('.').next())
        .collect();
    let mut named = 0;
    for (page, text) in [
        ("install", INSTALL),
        ("environments", ENVIRONMENTS),
        ("security", SECURITY),
        ("coexistence", COEXISTENCE),
    ] {
        for code in text.split('`').skip(1).step_by(2) {
            let is_event = code.split_once('.').is_some_and(|(family, name)| {
                families.contains(family)
                    && name
                        .chars()
                        .all(|mark| mark.is_ascii_lowercase() || mark == '_')
            });
            assert!(!is_event || events.contains(code), "{page}: {code}");
            named += usize::from(is_event);
        }
    }
    assert!(named > 15, "{named}");
}

#[test]
fn every_test_that_the_pages_of_the_deployment_name_is_there() {
    let mut sources = String::new();
    let mut folders = vec![
        Path::new(ROOT).join("src"),
        Path::new(ROOT).join("tests/it"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry of that folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&fs::read_to_string(path).expect("a source file"));
            }
        }
    }
    let mut named = 0;
    for (page, text) in [
        ("environments", ENVIRONMENTS),
        ("security", SECURITY),
        ("install", INSTALL),
        ("coexistence", COEXISTENCE),
    ] {
        for code in text.split('`').skip(1).step_by(2) {
            let is_test = code.matches('_').count() >= 3
                && code
                    .chars()
                    .all(|mark| mark.is_ascii_lowercase() || mark.is_ascii_digit() || mark == '_');
            let is_there = sources.contains(&format!("fn {code}("));
            assert!(!is_test || is_there, "{page}: {code}");
            named += usize::from(is_test);
        }
    }
    assert!(named > 30, "{named}");
}

/// The fenced blocks of a kind on a page.
fn blocks<'p>(page: &'p str, kind: &str) -> Vec<&'p str> {
    let fence = format!("```{kind}\n");
    let starts = page.split(&fence).skip(1);
    starts
        .map(|rest| rest.split("\n```").next().unwrap_or_default())
        .collect()
}

#[test]
fn the_policy_on_the_page_is_what_the_terraform_module_gives() {
    let policy: Value = serde_json::from_str(blocks(INSTALL, "json")[0]).expect("JSON");
    let statements = policy["Statement"].as_array().expect("statements");
    let mut actions: BTreeSet<&str> = statements
        .iter()
        .map(|statement| statement["Action"].as_str().expect("one action"))
        .collect();
    // With discovery by tag.
    actions.extend([
        "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DescribeTags",
    ]);
    for action in &actions {
        assert!(INSTALL.contains(action), "{action}");
    }
    let folder = Path::new(ROOT).join("deploy/terraform/modules/spot-interrupt-handler");
    let module: String = fs::read_dir(folder)
        .expect("the module")
        .map(|entry| entry.expect("an entry of that folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "tf"))
        .map(|path| fs::read_to_string(path).expect("a file of the module"))
        .collect();
    let given: BTreeSet<&str> = module
        .split('"')
        .filter(|text| text.starts_with("elasticloadbalancing:"))
        .collect();
    assert_eq!(actions, given);
}

#[tokio::test]
async fn the_kustomizations_on_the_pages_can_be_rendered_and_name_the_image() {
    let folder = folder_with_deploy();
    let image = format!(
        "image: REGISTRY/spot-interrupt-handler:{}",
        env!("CARGO_PKG_VERSION")
    );
    let mut rendered = 0;
    for (page, text) in PAGES {
        for block in blocks(text, "yaml") {
            if !block.contains("resources: [github.com") {
                continue;
            }
            let own = write_kustomization(folder.path(), &format!("own-{rendered}"), block);
            let output = kubectl(&["kustomize", &own.to_string_lossy()], None).await;
            let output = output.unwrap_or_else(|complaint| panic!("{page}: {complaint}"));
            let output = String::from_utf8(output).expect("text");
            assert!(output.contains(&image), "{page}: {output}");
            rendered += 1;
        }
    }
    assert_eq!(rendered, 4);
}

/// The commands of a page that begin so.
fn commands(page: &str, start: &str) -> Vec<String> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("$ "));
    lines
        .filter(|line| line.starts_with(start))
        .map(str::to_owned)
        .collect()
}

/// What a command of a page prints for the administrator of a cluster.
fn run(plane: &ControlPlane, command: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", command])
        .env("KUBECONFIG", plane.admin_kubeconfig())
        .output()
        .expect("sh runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {complaint}");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn what_an_uninstalled_agent_leaves_is_shown_and_removed_by_the_commands_on_the_page() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let nodes: Api<Node> = Api::all(plane.admin().await);
    let label = "node.kubernetes.io/exclude-from-external-load-balancers";
    let record = r#"{"v":1,"cordonedByUs":true,"labelBefore":null}"#;
    let node = json!({
        "metadata": {
            "name": "left-behind",
            "labels": {label: "true"},
            "annotations": {"spot-interrupt-handler/interruption": record},
        },
        "spec": {"unschedulable": true},
    });
    let node: Node = serde_json::from_value(node).expect("a node");
    let created = nodes.create(&PostParams::default(), &node).await;
    created.expect("a node");

    let shown = run(plane, &commands(INSTALL, "kubectl get nodes --output")[0]);
    let row = shown.lines().find(|line| line.starts_with("left-behind"));
    let row: Vec<&str> = row.expect("a row").split_whitespace().collect();
    assert_eq!(row, ["left-behind", "true", "true", record]);

    for start in [
        "kubectl uncordon",
        "kubectl label node",
        "kubectl annotate node",
    ] {
        let command = commands(INSTALL, start)
            .concat()
            .replace("NODE", "left-behind");
        run(plane, &command);
    }
    let node = nodes.get("left-behind").await.expect("a node");
    assert_eq!(node.spec.and_then(|spec| spec.unschedulable), None);
    assert!(!node.metadata.labels.unwrap_or_default().contains_key(label));
    let annotations = node.metadata.annotations.unwrap_or_default();
    assert!(!annotations.contains_key("spot-interrupt-handler/interruption"));
}
