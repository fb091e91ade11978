//! The command `check`: what it finds, that it changes nothing, and that its plan comes true.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jsonschema::Validator;
use serde_json::{Value, json};
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::plan::binding::TargetId;
use spot_interrupt_handler::plan::id::{InstanceId, TargetGroupArn};
use spot_interrupt_handler::sim::balancer::{Group, Registration, TargetKey};
use spot_interrupt_handler::sim::loopback::Loopback;
use spot_interrupt_handler::sim::scenario::Scenario;
use spot_interrupt_handler::sim::stage::Stage as SimulatedStage;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::control_plane::{PodOnNode, create_budget, create_node, kubectl};
use crate::stage::Stage;

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(include_str!("../../docs/check.schema.json"))
        .expect("the schema is JSON");
    jsonschema::draft202012::new(&schema).expect("the schema is one")
});

const ARN: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/73e2d6bc24d8a067";

async fn check(kubeconfig: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spot-interrupt-handler"))
        .arg("check")
        .args(flags)
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .envs(variables.iter().copied())
        .output()
        .await
        .expect("the program starts")
}

/// What the check printed as JSON, which has to keep its contract.
fn read(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stdout);
    let value: Value = serde_json::from_str(&said).unwrap_or_else(|error| {
        panic!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr))
    });
    let breaches: Vec<String> = VALIDATOR
        .iter_errors(&value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(breaches.is_empty(), "{breaches:#?} in {value:#}");
    value
}

/// The findings of this level, as `section: text`.
fn findings(value: &Value, level: &str) -> Vec<String> {
    let all = value["findings"].as_array().expect("findings");
    all.iter()
        .filter(|finding| finding["level"] == level)
        .map(|finding| {
            let text = finding["text"].as_str().expect("a text");
            format!(
                "{}: {text}",
                finding["section"].as_str().expect("a section")
            )
        })
        .collect()
}

/// What would become of each pod of the stage's namespace.
fn fates(value: &Value, namespace: &str) -> BTreeMap<String, String> {
    let pods = value["pods"].as_array().expect("a plan");
    pods.iter()
        .filter(|pod| pod["namespace"] == namespace)
        .map(|pod| {
            let text = |field: &str| pod[field].as_str().expect("a text").to_owned();
            (text("pod"), text("fate"))
        })
        .collect()
}

/// A node with one pod of each kind that matters.
async fn furnish(stage: &Stage) {
    let admin = &stage.admin;
    create_budget(admin, &stage.namespace, "open", &[("app", "web")], 5).await;
    create_budget(admin, &stage.namespace, "closed", &[("app", "db")], 0).await;
    let pods = [
        stage
            .pod("web-0")
            .owner("apps/v1", "ReplicaSet", "web")
            .label("app", "web")
            .grace(20),
        stage
            .pod("web-1")
            .owner("apps/v1", "ReplicaSet", "web")
            .label("app", "web")
            .grace(20),
        stage
            .pod("db-0")
            .owner("apps/v1", "StatefulSet", "db")
            .label("app", "db")
            .grace(5),
        stage
            .pod("batch-0")
            .owner("batch/v1", "Job", "batch")
            .annotation("karpenter.sh/do-not-disrupt", "true")
            .grace(10),
        stage
            .pod("dns-0")
            .owner("apps/v1", "ReplicaSet", "dns")
            .critical()
            .grace(5),
        stage
            .pod("ledger-0")
            .owner("apps/v1", "ReplicaSet", "ledger")
            .grace(600),
        stage.pod("cni-0").owner("apps/v1", "DaemonSet", "cni"),
    ];
    for pod in pods {
        pod.create(admin).await;
    }
}

fn flags(stage: &Stage) -> Vec<&str> {
    vec![
        "--node-name",
        &stage.node,
        "--pod-uid",
        &stage.agent_uid,
        "--imds-endpoint",
        &stage.metadata.url,
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rehearsal_foretells_is_what_a_drain_then_does_and_it_changes_nothing() {
    let Some(stage) = Stage::set("foretold").await else {
        return;
    };
    furnish(&stage).await;
    let flags = [flags(&stage), vec!["--rehearse", "--output", "json"]].concat();
    let output = check(stage.kubeconfig(), &flags, &[]).await;
    let foretold = read(&output);
    assert_eq!(findings(&foretold, "error"), Vec::<String>::new());
    let namespace = &stage.namespace;
    assert_eq!(
        findings(&foretold, "warning"),
        [format!(
            "pods: {namespace}/ledger-0 has a grace period of 600 s: there are two minutes"
        )]
    );
    assert_eq!(output.status.code(), Some(3), "{foretold:#}");
    assert!(findings(&foretold, "ok").contains(&"permissions: all 12 are there".to_owned()));
    assert!(
        findings(&foretold, "ok")
            .contains(&"node: it is the instance i-0123456789abcdef0".to_owned())
    );
    assert!(foretold["rehearsed"] == true);
    let plan = fates(&foretold, namespace);
    let expected = [
        ("batch-0", "evicted"),
        ("cni-0", "left_alone"),
        ("db-0", "deleted"),
        ("dns-0", "evicted"),
        ("ledger-0", "evicted"),
        ("web-0", "evicted"),
        ("web-1", "evicted"),
    ];
    let expected: BTreeMap<String, String> = expected
        .iter()
        .map(|(pod, fate)| ((*pod).to_owned(), (*fate).to_owned()))
        .collect();
    assert_eq!(plan, expected);
    assert_the_answers_are_told(&foretold);
    assert_nothing_was_written(&stage).await;

    let mut agent = stage.start_agent();
    agent.line_of("agent.started").await;
    stage.metadata.announce(Duration::from_secs(35));
    agent.line_of("interruption.summary").await;
    let mut done: BTreeMap<String, String> = BTreeMap::new();
    for (event, fate) in [
        ("pod.evicted", "evicted"),
        ("pod.deleted", "deleted"),
        ("pod.left", "left"),
    ] {
        for line in agent.all(event) {
            let pod = line["pod"].as_str().expect("a name").to_owned();
            assert_eq!(done.insert(pod, fate.to_owned()), None, "{line}");
        }
    }
    let mut foretold = plan;
    foretold.retain(|_, fate| fate != "left_alone");
    assert_eq!(done, foretold);
    assert_eq!(stage.pods_left().await, ["cni-0"]);
    agent.kill().await;
}

/// What is wrong, and a part of the finding that has to name it.
type Fault = (&'static str, String);

/// Faults of the node and its pods, as one who may read everything is told them.
async fn faults_on_the_node(stage: &Stage) -> Vec<Fault> {
    let (admin, namespace) = (&stage.admin, &stage.namespace);
    let other = format!("{}-other", stage.node);
    create_node(admin, &other, "aws:///eu-west-1a/i-0ffffffffffffffff").await;
    let kubeconfig = stage.plane.admin_kubeconfig();
    let path = kubeconfig.to_str().expect("a path in UTF-8");
    let taint = "karpenter.sh/disrupted=:NoSchedule";
    let tainted = ["--kubeconfig", path, "taint", "node", &other, taint];
    kubectl(&tainted, None).await.expect("a taint");
    for name in ["never", "second"] {
        create_budget(admin, namespace, name, &[("app", "db")], 0).await;
    }
    let pod = |name: &str| PodOnNode::new(namespace, name, &other);
    pod("bare-0").create(admin).await;
    let owned = |pod: PodOnNode| pod.owner("apps/v1", "StatefulSet", "db");
    owned(pod("db-0").label("app", "db")).create(admin).await;
    owned(pod("slow-0").grace(600)).create(admin).await;
    stage.metadata.announce(Duration::from_secs(120));
    let flags = [
        "--node-name",
        &other,
        "--imds-endpoint",
        &stage.metadata.url,
        "--output",
        "json",
    ];
    let found = read(&check(&kubeconfig, &flags, &[]).await);
    let expected = [
        (
            "another machine's Node",
            "it is the instance i-0ffffffffffffffff, and this machine is i-0123456789abcdef0",
        ),
        ("another drainer", "taint karpenter.sh/disrupted"),
        ("a pod nobody puts back", "bare-0 has no controller"),
        (
            "two budgets",
            "db-0 is covered by two disruption budgets, never and second",
        ),
        (
            "a closed budget",
            "the disruption budget never never allows an eviction",
        ),
        ("a long grace period", "slow-0 has a grace period of 600 s"),
        ("a notice", "a notice is there"),
    ];
    unnamed(&found, &expected)
}

/// Faults of what is around it: each alone.
async fn faults_around_the_node(stage: &Stage) -> Vec<Fault> {
    let (name, url) = (stage.node.as_str(), stage.metadata.url.as_str());
    let away = "http://127.0.0.1:1";
    let folder = tempfile::tempdir().expect("a folder");
    let nobody = stage
        .plane
        .kubeconfig_for(&account_without_rights(stage).await);
    let gone = kubeconfig(folder.path(), away);
    let own = stage.kubeconfig();
    let balancer = [
        ("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", away),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let mut unnamed_faults = Vec::new();
    for (fault, kubeconfig, node, imds, expected) in [
        (
            "a missing permission",
            nobody.as_path(),
            name,
            url,
            "missing: create pods/eviction",
        ),
        (
            "no API server",
            gone.as_path(),
            name,
            url,
            "the API server does not answer",
        ),
        (
            "another node's name",
            own,
            "nowhere",
            url,
            "node nowhere cannot be read",
        ),
        ("no metadata service", own, name, away, "instance: "),
        ("no load balancer", own, name, url, "web cannot be asked"),
    ] {
        let mut flags = vec![
            "--node-name",
            node,
            "--imds-endpoint",
            imds,
            "--output",
            "json",
        ];
        if fault == "no load balancer" {
            flags.extend(["--target-group-arn", ARN]);
        }
        let output = check(kubeconfig, &flags, &balancer).await;
        assert_eq!(output.status.code(), Some(1), "{fault}");
        unnamed_faults.extend(unnamed(&read(&output), &[(fault, expected)]));
    }
    unnamed_faults
}

/// A token of an account that may do nothing.
async fn account_without_rights(stage: &Stage) -> String {
    let kubeconfig = stage.plane.admin_kubeconfig();
    let path = kubeconfig.to_str().expect("a path in UTF-8");
    let common = [
        "--kubeconfig",
        path,
        "--namespace",
        &stage.namespace,
        "create",
    ];
    let account = [&common[..], &["serviceaccount", "nobody"]].concat();
    kubectl(&account, None).await.expect("an account");
    let token = [&common[..], &["token", "nobody"]].concat();
    let token = kubectl(&token, None).await.expect("a token");
    String::from_utf8(token).expect("text").trim().to_owned()
}

fn unnamed(found: &Value, expected: &[(&'static str, &str)]) -> Vec<Fault> {
    let told = ["error", "warning"]
        .map(|level| findings(found, level))
        .concat();
    let is_unnamed = |(_, text): &&(&str, &str)| !told.iter().any(|finding| finding.contains(text));
    expected
        .iter()
        .filter(is_unnamed)
        .map(|(fault, text)| (*fault, format!("{text} is not among {told:#?}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dozen_deliberate_faults_are_named_each() {
    let Some(stage) = Stage::set("faulty").await else {
        return;
    };
    assert_eq!(faults_around_the_node(&stage).await, []);
    assert_eq!(faults_on_the_node(&stage).await, []);
}

/// A load balancer on loopback with two groups, of which one carries the tag and this instance.
async fn account() -> (Arc<SimulatedStage>, Loopback) {
    let clock = Clock::real();
    let mut world = Scenario::bare().expect("a scenario").world(clock.now().at);
    let target = TargetKey {
        id: TargetId::Instance(InstanceId::new("i-0123456789abcdef0")),
        port: 30_080,
    };
    for name in ["cart", "web"] {
        let group = Group {
            default_port: 80,
            deregistration_delay: Duration::from_secs(60),
            targets: [(target.clone(), Registration::Healthy)].into(),
        };
        world.balancer.add_group(group_named(name), group);
    }
    let tag = ("interrupt-handler/enabled", "true");
    world.balancer.tag(group_named("web"), tag.0, tag.1);
    let stage = SimulatedStage::new(world, clock);
    let servers = Loopback::serve(&stage).await.expect("free ports");
    (stage, servers)
}

fn group_named(name: &str) -> TargetGroupArn {
    let text = ARN.replace("/web/", &format!("/{name}/"));
    TargetGroupArn::parse(&text).expect("an ARN")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_carry_the_tag_are_shown_with_what_they_hold_of_this_instance() {
    let Some(stage) = Stage::set("tagged").await else {
        return;
    };
    let (_account, servers) = account().await;
    let url = format!("http://{}", servers.balancer);
    let variables = [
        ("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", url.as_str()),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "eu-west-1"),
    ];
    let flags = [flags(&stage), vec!["--discover", "tag", "--output", "json"]].concat();
    let found = read(&check(stage.kubeconfig(), &flags, &variables).await);
    let notes = findings(&found, "note");
    assert!(
        notes.contains(&"targets: found by their tags: web".to_owned()),
        "{found:#}"
    );
    let held = findings(&found, "ok");
    assert!(
        held.contains(&"targets: web: port 30080 registered".to_owned()),
        "{found:#}"
    );
    assert!(!held.iter().any(|text| text.contains("cart")), "{found:#}");
}

fn assert_the_answers_are_told(foretold: &Value) {
    let pods = foretold["pods"].as_array().expect("a plan");
    let pod = |name: &str| pods.iter().find(|pod| pod["pod"] == name).expect("the pod");
    assert_eq!(pod("web-0")["rehearsal"], json!({"answer": "accepted"}));
    let refused = &pod("db-0")["rehearsal"];
    assert_eq!(refused["answer"], "refused");
    let message = refused["message"].as_str().expect("a message");
    assert!(message.contains("disruption budget closed"), "{message}");
    assert_eq!(pod("batch-0")["start"], "late");
    assert_eq!(pod("dns-0")["start"], "second_wave");
    assert_eq!(pod("ledger-0")["grace_given_seconds"], 112);
    assert_eq!(pod("ledger-0")["is_cut"], true);
    // S = 112 s; L = S - 5 s, but not later than 20 s before the end.
    assert_eq!(pod("db-0")["last_start_seconds"], 100.0);
    assert_eq!(pod("db-0")["told_after_seconds"], 100.0);
}

async fn assert_nothing_was_written(stage: &Stage) {
    let calls = stage.all_agent_calls().await;
    let writes: Vec<_> = calls
        .iter()
        .filter(|call| !["get", "list", "watch"].contains(&call.verb.as_str()))
        .collect();
    let evictions = writes.iter().filter(|call| call.subresource == "eviction");
    assert_eq!(evictions.count(), 6, "each pod that is to go: {writes:#?}");
    for write in writes {
        assert!(write.uri.contains("dryRun=All"), "{write:#?}");
    }
    assert_eq!(stage.pods_left().await.len(), 7);
    assert_eq!(stage.record().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_read_budgets_is_told_of_those_that_never_open_without_a_rehearsal() {
    let Some(stage) = Stage::set("budgets").await else {
        return;
    };
    furnish(&stage).await;
    create_budget(
        &stage.admin,
        &stage.namespace,
        "second",
        &[("app", "web")],
        5,
    )
    .await;
    let flags = [flags(&stage), vec!["--output", "json"]].concat();
    let output = check(&stage.plane.admin_kubeconfig(), &flags, &[]).await;
    let found = read(&output);
    let warnings = findings(&found, "warning");
    let namespace = &stage.namespace;
    for expected in [
        format!("pods: {namespace}/db-0: the disruption budget closed never allows an eviction"),
        format!(
            "pods: {namespace}/web-1 is covered by two disruption budgets, open and second: the API server evicts no such pod"
        ),
    ] {
        assert!(warnings.contains(&expected), "{warnings:#?}");
    }
    let plan = fates(&found, namespace);
    assert_eq!(plan["db-0"], "deleted");
    assert_eq!(plan["web-1"], "deleted");
    assert_eq!(found["rehearsed"], false);
}

/// The text of a page between two fences, as it stands behind a heading line.
fn shown_after(page: &str, mark: &str) -> String {
    let behind = page.split(mark).nth(1).expect("the mark");
    let (_, block) = behind.split_once("```text\n").expect("a block");
    block.split("```").next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_about_operations_shows_what_a_rehearsal_and_a_node_say() {
    let Some(stage) = Stage::set("shop").await else {
        return;
    };
    furnish(&stage).await;
    let page = include_str!("../../docs/operations.md");
    let flags = [flags(&stage), vec!["--rehearse"]].concat();
    let output = check(stage.kubeconfig(), &flags, &[]).await;
    let said = String::from_utf8(output.stdout).expect("text");
    let shown = shown_after(page, "check --rehearse");
    let said = said.replace(&stage.namespace, "shop");
    assert_eq!(words(&shown), words(&said));

    let mut agent = stage.start_agent();
    agent.line_of("agent.started").await;
    stage.metadata.announce(Duration::from_secs(35));
    agent.line_of("interruption.summary").await;
    agent.terminate().await;
    agent.exit_code().await;
    let kubeconfig = format!("--kubeconfig={}", stage.plane.admin_kubeconfig().display());
    let described = kubectl(&["describe", "node", &stage.node, &kubeconfig], None)
        .await
        .expect("kubectl describes the node");
    let described = String::from_utf8(described).expect("text");
    assert_eq!(
        timeless(&shown_after(page, "kubectl describe node")),
        timeless(&described)
    );
}

/// The words of each line, however wide the columns are.
fn words(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// What stays the same from run to run of what kubectl says of a node.
fn timeless(described: &str) -> Vec<String> {
    let kept = ["Unschedulable", "Taints", "Labels", "exclude", "Spot"];
    let lines = described
        .lines()
        .filter(|line| kept.iter().any(|word| line.contains(word)));
    let words = lines.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.join(" ")
    });
    words
        .map(|line| match line.split_once("spot-interrupt-handler ") {
            // An event's age and seconds are those of its run.
            Some((before, after)) => {
                let kind: Vec<&str> = before.split(' ').take(2).collect();
                let stays: String = after.chars().filter(|one| !one.is_ascii_digit()).collect();
                format!("{} {stays}", kind.join(" "))
            }
            None => line,
        })
        .collect()
}

/// Takes connections, and says nothing on them.
async fn silence() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    (url, listener)
}

/// A kubeconfig without credentials.
fn kubeconfig(folder: &Path, url: &str) -> std::path::PathBuf {
    let file = folder.join("kubeconfig.json");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": url}}],
        "users": [{"name": "it", "user": {}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    std::fs::write(&file, text.to_string()).expect("a file");
    file
}

#[tokio::test]
async fn neighbours_that_hang_are_findings_and_not_a_hang() {
    let (url, _held) = silence().await;
    let folder = tempfile::tempdir().expect("a folder");
    let flags = [
        "--node-name",
        "node",
        "--imds-endpoint",
        &url,
        "--target-group-arn",
        ARN,
        "--output",
        "json",
    ];
    let variables = [
        ("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", url.as_str()),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let output = check(&kubeconfig(folder.path(), &url), &flags, &variables).await;
    let found = read(&output);
    assert_eq!(output.status.code(), Some(1));
    let errors = findings(&found, "error");
    let [permissions, instance, targets] =
        ["permissions: ", "instance: ", "targets: "].map(|section| {
            errors
                .iter()
                .find(|error| error.starts_with(section))
                .unwrap_or_else(|| panic!("nothing of {section} among {errors:#?}"))
        });
    assert!(
        permissions.contains("the API server does not answer"),
        "{permissions}"
    );
    assert!(instance.contains("gives no token"), "{instance}");
    assert!(
        targets.contains("com.amazonaws.eu-west-1.elasticloadbalancing"),
        "{targets}"
    );
    assert_eq!(found.get("pods"), None);
}
