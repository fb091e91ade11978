//! The agent as a process, drained pods and all, against a real API server under the RBAC and the admission policy that
//! are shipped.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use spot_interrupt_handler::annotation::{EXCLUSION_LABEL, INTERRUPTION_ANNOTATION};
use spot_interrupt_handler::plan::Policy;
use spot_interrupt_handler::plan::preflight::permissions_needed;

use crate::agent_process::AgentProcess;
use crate::control_plane::{AuditEvent, create_budget};
use crate::stage::Stage;

fn number(line: &Value, field: &str) -> u64 {
    line[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no number {field} in {line}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_notice_the_api_server_is_asked_once_and_the_metadata_service_at_every_poll() {
    let Some(stage) = Stage::set("idle").await else {
        return;
    };
    let mut agent = stage.start_agent();
    agent.line_of("preflight.passed").await;
    let polls = |requests: &[String]| {
        requests
            .iter()
            .filter(|line| line.contains("spot/instance-action"))
            .count()
    };
    while polls(&stage.metadata.requests()) < 5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    agent.terminate().await;
    assert_eq!(agent.exit_code().await, Some(0));
    let requests = stage.metadata.requests();
    let others = requests.len() - polls(&requests);
    assert_eq!(
        others, 3,
        "one token, one identity document, one life cycle: {requests:?}"
    );
    let calls = calls_beside_discovery(&stage).await;
    let [look] = &calls[..] else {
        panic!("one look at the node, not {calls:#?}");
    };
    assert_eq!(
        (look.verb.as_str(), look.resource.as_str(), look.code),
        ("get", "nodes", 200)
    );
    let needed = permissions_needed(&Policy::default());
    let calls = stage.all_agent_calls().await;
    let reviews = calls
        .iter()
        .filter(|call| call.resource == "selfsubjectaccessreviews");
    assert_eq!(
        reviews.count(),
        needed.len(),
        "each permission once: {calls:#?}"
    );
}

/// What the agent asked of the API server but for what leads requests to the node, which it looks for within thirty
/// seconds of its start.
async fn calls_beside_discovery(stage: &Stage) -> Vec<AuditEvent> {
    let mut calls = stage.agent_calls().await;
    calls.retain(|call| !["targetgroupbindings", "services"].contains(&call.resource.as_str()));
    calls
}

/// What an agent wrote that cordoned an older node of this name, when the label said `false`.
const INHERITED: &str = concat!(
    r#"{"v":1,"noticeId":"9f2c0000aaaa5555","action":"terminate","time":"2026-01-15T08:02:00Z","#,
    r#""deadline":"2026-01-15T08:02:00Z","instanceId":"i-0fedcba9876543210","bootId":"another","#,
    r#""cordonedByUs":true,"labelBefore":"false"}"#
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_node_of_this_name_left_is_undone_in_one_patch_that_the_policies_let_pass() {
    let Some(stage) = Stage::set("inherited").await else {
        return;
    };
    let nodes: Api<Node> = Api::all(stage.admin.clone());
    let left = json!({
        "metadata": {
            "labels": {EXCLUSION_LABEL: "true"},
            "annotations": {INTERRUPTION_ANNOTATION: INHERITED, "example.com/note": "not ours"},
        },
        "spec": {"unschedulable": true},
    });
    nodes
        .patch(&stage.node, &PatchParams::default(), &Patch::Merge(left))
        .await
        .expect("the node as it was left");
    let mut agent = stage.start_agent();
    let told = agent.line_of("node.uncordoned").await;
    assert_eq!(told["cordoned_by_us"], true);
    assert_eq!(told["label_set"], true);
    agent.terminate().await;
    assert_eq!(agent.exit_code().await, Some(0));
    let node = nodes.get(&stage.node).await.expect("the node");
    assert_ne!(node.spec.and_then(|spec| spec.unschedulable), Some(true));
    let labels = node.metadata.labels.unwrap_or_default();
    assert_eq!(
        labels.get(EXCLUSION_LABEL).map(String::as_str),
        Some("false")
    );
    let annotations = node.metadata.annotations.unwrap_or_default();
    assert!(!annotations.contains_key(INTERRUPTION_ANNOTATION));
    assert!(annotations.contains_key("example.com/note"));
    let calls = calls_beside_discovery(&stage).await;
    let calls: Vec<_> = calls
        .iter()
        .map(|call| (call.verb.as_str(), call.resource.as_str(), call.code))
        .collect();
    assert_eq!(calls, [("get", "nodes", 200), ("patch", "nodes", 200)]);
}

/// An agent of another ServiceAccount, whose ClusterRole lacks what somebody forgot.
async fn lacking(stage: &Stage, name: &str, rules: Value) -> AgentProcess {
    let metadata = json!({"name": name, "namespace": stage.namespace});
    let subject = json!({"kind": "ServiceAccount", "name": name, "namespace": stage.namespace});
    let role =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    let manifests = [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": role, "subjects": [subject]}),
    ];
    let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
    stage
        .plane
        .apply(&[], list.to_string().into_bytes())
        .await
        .expect("it can be applied");
    let accounts: Api<ServiceAccount> = Api::namespaced(stage.admin.clone(), &stage.namespace);
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": [], "expirationSeconds": 3607}});
    let answer: Value = accounts
        .create_subresource("token", name, &PostParams::default(), &request)
        .await
        .expect("a token");
    let token = answer["status"]["token"].as_str().expect("a token");
    AgentProcess::start(
        &stage.plane.kubeconfig_for(token),
        &[
            "--node-name",
            &stage.node,
            "--imds-endpoint",
            &stage.metadata.url,
        ],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_that_is_missing_is_named_at_the_start() {
    let Some(stage) = Stage::set("lacking").await else {
        return;
    };
    let rules = json!([
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", "delete"]},
        {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["services"], "verbs": ["list"]},
        {"apiGroups": ["elbv2.k8s.aws", "eks.amazonaws.com"], "resources": ["targetgroupbindings"], "verbs": ["list"]},
    ]);
    let mut agent = lacking(&stage, "lacking-two", rules).await;
    let line = agent.line_of("preflight.failed").await;
    assert_eq!(
        line["missing"],
        json!(["create pods/eviction", "patch pods/status"]),
        "{line}"
    );
    agent.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_evicts_every_pod_once_within_the_budgeted_requests_and_is_refused_nothing() {
    let Some(stage) = Stage::set("whole").await else {
        return;
    };
    let mut uids = Vec::new();
    for index in 0..30 {
        let pod = stage
            .pod(&format!("web-{index}"))
            .owner("apps/v1", "ReplicaSet", "web");
        let pod = if index % 3 == 0 {
            pod.volume_claim("disk")
        } else {
            pod
        };
        let pod = if index % 5 == 0 { pod.pending() } else { pod };
        uids.push(pod.create(&stage.admin).await.metadata.uid.expect("a UID"));
    }
    stage
        .pod("cni")
        .owner("apps/v1", "DaemonSet", "cni")
        .create(&stage.admin)
        .await;
    let mut agent = stage.start_agent();
    agent.line_of("agent.started").await;
    stage.metadata.announce(Duration::from_secs(120));
    let summary = agent.line_of("interruption.summary").await;

    assert_eq!(summary["outcome"], "completed", "{summary}");
    assert_eq!(number(&summary, "pods_total"), 30);
    assert_eq!(number(&summary, "pods_gone"), 30);
    assert_eq!(
        number(&summary, "pods_ignored"),
        2,
        "the DaemonSet's pod and the agent: {summary}"
    );
    assert_eq!(stage.pods_left().await, ["cni"]);
    for uid in &uids {
        assert!(stage.kubelet.terminations(uid).len() <= 1, "{uid}");
    }
    let levels: BTreeMap<&str, usize> =
        agent.seen.iter().fold(BTreeMap::new(), |mut levels, line| {
            if line["event"] != "imds.overridden" {
                *levels
                    .entry(line["level"].as_str().unwrap_or_default())
                    .or_default() += 1;
            }
            levels
        });
    assert_eq!(
        levels.keys().collect::<Vec<_>>(),
        [&"info"],
        "a normal drain warns of nothing"
    );

    let annotation = stage.annotation().await;
    assert_eq!(annotation["cordonedByUs"], true);
    assert_eq!(annotation["instanceId"], "i-0123456789abcdef0");
    agent.terminate().await;
    assert_eq!(agent.exit_code().await, Some(0));
    assert_requests_are_within_the_budget(&stage, 30).await;
    assert_events_tell_the_story(&stage).await;
}

async fn assert_requests_are_within_the_budget(stage: &Stage, evictions: usize) {
    let calls = stage.agent_calls().await;
    let is_not_installed = |call: &AuditEvent| {
        call.code == 404 && call.verb == "list" && call.resource == "targetgroupbindings"
    };
    let refused: Vec<&AuditEvent> = calls
        .iter()
        .filter(|call| call.code >= 400 && !is_not_installed(call))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(
        !calls
            .iter()
            .any(|call| call.verb == "get" && call.resource == "pods"),
        "no single pod is read"
    );
    assert!(
        calls.len() <= evictions + 12,
        "{} requests for {evictions} evictions",
        calls.len()
    );
}

async fn assert_events_tell_the_story(stage: &Stage) {
    let events: Api<Event> = Api::namespaced(stage.admin.clone(), "default");
    let about = ListParams::default().fields(&format!("involvedObject.name={}", stage.node));
    let mut reasons: Vec<String> = events
        .list(&about)
        .await
        .expect("the events")
        .items
        .into_iter()
        .filter_map(|event| event.reason)
        .collect();
    reasons.sort();
    assert_eq!(reasons, ["SpotDrainCompleted", "SpotInterruption"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_closed_budget_a_pod_keeps_its_grace_and_is_deleted_at_the_last_useful_moment() {
    let Some(stage) = Stage::set("closed").await else {
        return;
    };
    create_budget(
        &stage.admin,
        &stage.namespace,
        "closed",
        &[("app", "db")],
        0,
    )
    .await;
    let mut uids = Vec::new();
    for index in 0..50 {
        let pod = stage
            .pod(&format!("db-{index}"))
            .label("app", "db")
            .grace(5);
        uids.push(pod.create(&stage.admin).await.metadata.uid.expect("a UID"));
    }
    let mut agent = stage.start_agent();
    agent.line_of("agent.started").await;
    // S is 8 s before the deadline, L 20 s before it.
    stage.metadata.announce(Duration::from_secs(32));
    let summary = agent.line_of("interruption.summary").await;
    assert_eq!(summary["outcome"], "completed", "{summary}");
    assert_eq!(number(&summary, "pods_blocked"), 50);
    assert_eq!(number(&summary, "pods_deleted"), 50);
    for uid in &uids {
        let terminations = stage.kubelet.terminations(uid);
        assert_eq!(terminations.len(), 1);
        assert_eq!(terminations[0].grace_seconds, 5, "the whole kept grace");
    }
    let deleted = agent.all("pod.deleted");
    assert_eq!(deleted.len(), 50);
    for line in deleted {
        let left = line["seconds_left"].as_f64().expect("a number");
        assert!(
            (19.0..=20.1).contains(&left),
            "not deleted at the last useful moment: {line}"
        );
        assert_eq!(line["reason"], "deadline");
    }
    let calls = stage.agent_calls().await;
    let of = |verb: &str, subresource: &str| {
        calls
            .iter()
            .filter(|call| call.verb == verb && call.subresource == subresource)
            .count()
    };
    assert_eq!(of("patch", "status"), 50, "each is told why");
    assert_eq!(of("delete", ""), 50);
    assert!(calls.iter().all(|call| call.code != 403), "{calls:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_to_stop_in_mid_drain_the_agent_finishes_and_exits_with_0() {
    let Some(stage) = Stage::set("sigterm").await else {
        return;
    };
    for index in 0..8 {
        let pod = stage.pod(&format!("web-{index}")).stops_after(3);
        pod.create(&stage.admin).await;
    }
    let mut agent = stage.start_agent();
    agent.line_of("agent.started").await;
    stage.metadata.announce(Duration::from_secs(120));
    agent.line_of("pod.evicted").await;
    agent.terminate().await;
    assert_eq!(agent.exit_code().await, Some(0));
    let [summary] = agent.all("interruption.summary")[..] else {
        panic!("one summary, not {:#?}", agent.seen);
    };
    assert_eq!(
        number(summary, "pods_gone"),
        8,
        "{}",
        agent
            .seen
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    );
    assert_eq!(
        agent.seen.last().map(|line| &line["event"]),
        Some(&Value::from("agent.stopping"))
    );
    assert_eq!(stage.pods_left().await, Vec::<String>::new());
}

/// The lines after which the agent is killed, counted from the notice: the cordon, the evictions, the ends.
const KILLED_AFTER_LINES: [usize; 10] = [1, 2, 3, 5, 7, 9, 11, 13, 15, 17];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point_and_started_again_every_pod_gets_exactly_one_graceful_termination() {
    for lines in KILLED_AFTER_LINES {
        let Some(stage) = Stage::set(&format!("kill-{lines}")).await else {
            return;
        };
        let mut uids = Vec::new();
        for index in 0..8 {
            let pod = stage.pod(&format!("web-{index}")).stops_after(2);
            // One that is capped: a second, smaller grace would be a second stop signal.
            let pod = if index == 0 { pod.grace(600) } else { pod };
            uids.push(pod.create(&stage.admin).await.metadata.uid.expect("a UID"));
        }
        let mut first = stage.start_agent();
        first.line_of("agent.started").await;
        stage.metadata.announce(Duration::from_secs(120));
        first.line_of("interruption.notice").await;
        for _ in 1..lines {
            first.next_line().await;
        }
        let had_annotated = !first.all("node.cordoned").is_empty();
        let had_given_verdict = !first.all("interruption.summary").is_empty();
        first.kill().await;

        let mut second = stage.start_agent();
        let summary = second.line_of("interruption.summary").await;
        assert_eq!(
            summary["outcome"], "completed",
            "after {lines} lines: {summary}"
        );
        assert_eq!(number(&summary, "pods_left"), 0);
        if had_annotated {
            assert_eq!(summary["resumed"], true, "after {lines} lines: {summary}");
            assert_eq!(second.all("interruption.notice").len(), 0);
        }
        assert!(!had_given_verdict || number(&summary, "pods_total") == 0);
        second.kill().await;
        assert_eq!(
            stage.annotation().await["cordonedByUs"],
            true,
            "after {lines} lines"
        );
        assert_eq!(
            stage.pods_left().await,
            Vec::<String>::new(),
            "after {lines} lines"
        );
        for uid in &uids {
            assert_eq!(
                stage.kubelet.terminations(uid).len(),
                1,
                "after {lines} lines: {uid}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_asks_for_everything_and_changes_nothing() {
    let Some(stage) = Stage::set("rehearsal").await else {
        return;
    };
    for index in 0..3 {
        stage
            .pod(&format!("web-{index}"))
            .create(&stage.admin)
            .await;
    }
    let mut agent = stage.start_agent_with(&["--dry-run"]);
    let started = agent.line_of("agent.started").await;
    assert_eq!(started["dry_run"], true);
    stage.metadata.announce(Duration::from_secs(60));
    let summary = agent.line_of("interruption.summary").await;
    assert_eq!(summary["outcome"], "completed", "{summary}");
    assert_eq!(summary["dry_run"], true);
    assert_eq!(number(&summary, "pods_stopping"), 3);
    assert_eq!(stage.pods_left().await.len(), 3);
    assert_eq!(stage.record().await, None);
    let calls = stage.agent_calls().await;
    let writes: Vec<_> = calls
        .iter()
        .filter(|call| !["get", "list", "watch"].contains(&call.verb.as_str()))
        .collect();
    assert!(writes.len() >= 5, "{writes:#?}");
    for write in writes {
        assert!(write.code < 300, "{write:#?}");
        assert!(write.uri.contains("dryRun=All"), "{write:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_another_drainer_the_agent_records_and_excludes_and_touches_no_pod() {
    let Some(stage) = Stage::set("beside").await else {
        return;
    };
    stage.pod("web").create(&stage.admin).await;
    let mut agent = stage.start_agent_with(&["--mode", "deregister-only"]);
    agent.line_of("agent.started").await;
    stage.metadata.announce(Duration::from_secs(60));
    let summary = agent.line_of("interruption.summary").await;
    assert_eq!(summary["mode"], "deregister-only");
    assert_eq!(number(&summary, "pods_total"), 0);
    assert_eq!(stage.pods_left().await.len(), 1);
    assert!(stage.record().await.is_some());
    let calls = stage.agent_calls().await;
    assert!(
        calls.iter().all(|call| call.resource != "pods"),
        "{calls:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_asks_the_api_server_nothing() {
    let Some(stage) = Stage::set("observer").await else {
        return;
    };
    let mut agent = stage.start_agent_with(&["--mode", "observe"]);
    agent.line_of("agent.started").await;
    stage.metadata.announce(Duration::from_secs(60));
    let summary = agent.line_of("interruption.summary").await;
    assert_eq!(summary["mode"], "observe");
    assert_eq!(number(&summary, "api_requests"), 0);
    assert!(stage.agent_calls().await.is_empty());
}
