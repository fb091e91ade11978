//! The server that the tests use, and what the shipped RBAC and policies let an agent do there.

mod scene;

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::control_plane::{AuditEvent, FakeKubelet, PodOnNode, create_budget, refused_by_policy};
use scene::{ANNOTATION, LABEL, Scene, cordon, only, scene, with_uid};

fn in_a_line(event: &AuditEvent) -> String {
    let object = format!("{}/{}", event.namespace, event.name);
    let resource = format!("{}/{}", event.resource, event.subresource);
    format!("{} {resource} {object} {}", event.verb, event.code)
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(what: &str, answer: kube::Result<T>, because: &str) {
    let error = answer.expect_err(what);
    assert!(
        refused_by_policy(&error),
        "{what}: not by a policy of ours: {error}"
    );
    assert!(
        error.to_string().contains(because),
        "{what}: not because of {because:?}: {error}"
    );
}

#[tokio::test]
async fn an_agent_may_do_on_its_own_node_what_a_drain_needs() {
    let Some(scene) = scene("may").await else {
        return;
    };
    let mark = scene.plane.audit_mark();
    let node = scene
        .patch(&scene.own, cordon())
        .await
        .expect("cordon, label and annotation in one patch");
    assert_eq!(node.spec.and_then(|spec| spec.unschedulable), Some(true));
    let undo = json!({
        "metadata": {
            "resourceVersion": node.metadata.resource_version,
            "labels": {LABEL: null},
            "annotations": {ANNOTATION: null},
        },
        "spec": {"unschedulable": false},
    });
    scene
        .patch(&scene.own, undo)
        .await
        .expect("all three taken back");

    let evicted = scene.pod("evicted", &scene.own).await;
    scene
        .evict("evicted", Some(with_uid(&evicted)))
        .await
        .expect("an eviction with the UID");
    let deleted = scene.pod("deleted", &scene.own).await;
    scene
        .pods()
        .delete("deleted", &only(&deleted))
        .await
        .expect("the deletion of an own pod");

    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": "may.1", "namespace": "default"},
        "involvedObject": {"kind": "Node", "name": scene.own, "apiVersion": "v1"},
        "type": "Warning", "reason": "SpotInterruption", "message": "seen",
    }))
    .expect("an event");
    let events: Api<Event> = Api::namespaced(scene.agent.clone(), "default");
    events
        .create(&PostParams::default(), &event)
        .await
        .expect("an event about the node");

    let mut mine = scene.plane.audit_events(mark).await;
    mine.retain(|event| event.token_node.as_ref() == Some(&scene.own));
    let agent = "system:serviceaccount:kube-system:spot-interrupt-handler";
    assert!(mine.iter().all(|event| event.user == agent), "{mine:?}");
    assert!(mine.is_sorted_by_key(|event| event.received), "{mine:?}");
    let body = mine[2].request.as_ref().expect("the eviction's body");
    assert_eq!(
        body["deleteOptions"]["preconditions"]["uid"],
        json!(evicted)
    );
    let mine: Vec<_> = mine.iter().map(in_a_line).collect();
    let expected = [
        format!("patch nodes/ /{} 200", scene.own),
        format!("patch nodes/ /{} 200", scene.own),
        format!("create pods/eviction {}/evicted 201", scene.namespace),
        format!("delete pods/ {}/deleted 200", scene.namespace),
        "create events/ default/may.1 201".to_owned(),
    ];
    assert_eq!(mine, expected);
}

#[tokio::test]
async fn a_policy_refuses_whatever_else_an_agent_could_write_to_a_node() {
    let Some(scene) = scene("node").await else {
        return;
    };
    assert_refused(
        "another node",
        scene.patch(&scene.other, cordon()).await,
        "own node only",
    );
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": scene.other, "uid": "1"}]);
    let taint = json!([{"key": "mine", "effect": "NoExecute"}]);
    let refused = [
        (
            "a foreign label",
            json!({"metadata": {"labels": {"foreign": "1"}}}),
            "labels",
        ),
        (
            "a label taken away",
            json!({"metadata": {"labels": {"lifecycle": null}}}),
            "labels",
        ),
        (
            "a label changed",
            json!({"metadata": {"labels": {"lifecycle": "OnDemand"}}}),
            "labels",
        ),
        (
            "a foreign annotation",
            json!({"metadata": {"annotations": {"foreign": "1"}}}),
            "annotations",
        ),
        (
            "a finalizer",
            json!({"metadata": {"finalizers": ["mine.example/hold"]}}),
            "finalizers",
        ),
        (
            "an owner",
            json!({"metadata": {"ownerReferences": owner}}),
            "ownerReferences",
        ),
        (
            "a generateName",
            json!({"metadata": {"generateName": "x"}}),
            "metadata",
        ),
        ("a taint", json!({"spec": {"taints": taint}}), "taints"),
        (
            "a pod CIDR",
            json!({"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]}}),
            "podCIDR",
        ),
    ];
    for (what, patch, because) in refused {
        assert_refused(what, scene.patch(&scene.own, patch).await, because);
    }
}

#[tokio::test]
async fn a_policy_refuses_deletions_elsewhere_evictions_without_a_uid_and_tokens_without_a_node() {
    let Some(scene) = scene("pods").await else {
        return;
    };
    let elsewhere = scene.pod("elsewhere", &scene.other).await;
    let own = scene.pod("here", &scene.own).await;
    let deleted = scene
        .pods()
        .delete("elsewhere", &only(&elsewhere))
        .await
        .map(|_| ());
    assert_refused("a pod of another node", deleted, "pods of its own node");
    let evicted = scene
        .evict("here", Some(json!({"gracePeriodSeconds": 5})))
        .await;
    assert_refused("an eviction without UID", evicted, "UID");
    let evicted = scene.evict("here", None).await;
    assert_refused("an eviction without options", evicted, "UID");

    let unbound = Scene {
        agent: scene
            .plane
            .client_with(&scene.plane.unbound_token().await)
            .await,
        ..scene
    };
    assert_refused(
        "a cordon",
        unbound.patch(&unbound.own, cordon()).await,
        "names no node",
    );
    let evicted = unbound.evict("here", Some(with_uid(&own))).await;
    assert_refused("an eviction", evicted, "names no node");
    let deleted = unbound.pods().delete("here", &only(&own)).await.map(|_| ());
    assert_refused("a deletion", deleted, "names no node");
}

#[tokio::test]
async fn a_policy_lets_an_agent_say_why_a_pod_is_deleted_and_nothing_else_of_its_status() {
    let Some(scene) = scene("status").await else {
        return;
    };
    let own = scene.pod("here", &scene.own).await;
    scene.pod("elsewhere", &scene.other).await;
    let patch = async |name: &str, body: Value| {
        let pods = scene.pods();
        let (params, patch) = (PatchParams::default(), Patch::Strategic(body));
        pods.patch_status(name, &params, &patch).await
    };
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": "TerminationBySpotInterruption",
            "lastTransitionTime": "2027-01-30T09:22:00Z",
        })
    };
    let marking = json!({
        "metadata": {"uid": own},
        "status": {"conditions": [condition("DisruptionTarget")]},
    });
    let marked = patch("here", marking.clone()).await.expect("the condition");
    let conditions = marked.status.and_then(|status| status.conditions);
    let kinds: Vec<String> = conditions
        .into_iter()
        .flatten()
        .map(|condition| condition.type_)
        .collect();
    assert!(kinds.contains(&"DisruptionTarget".to_owned()), "{kinds:?}");
    assert!(kinds.contains(&"Ready".to_owned()), "{kinds:?}");

    let refused = async |what: &str, name: &str, body: Value, because: &str| {
        assert_refused(what, patch(name, body).await.map(|_| ()), because);
    };
    let elsewhere = json!({"status": {"conditions": [condition("DisruptionTarget")]}});
    refused("a pod of another node", "elsewhere", elsewhere, "own node").await;
    let ready = json!({"status": {"conditions": [condition("Ready")]}});
    refused("another condition", "here", ready, "DisruptionTarget only").await;
    let phase = json!({"status": {"phase": "Failed"}});
    refused("the phase", "here", phase, "conditions only").await;
    let label = json!({"metadata": {"labels": {"app": "another"}}});
    refused("a label", "here", label, "no label").await;
}

#[tokio::test]
async fn a_budget_counts_down_and_the_kubelet_stops_what_it_let_go() {
    let Some(scene) = scene("budget").await else {
        return;
    };
    create_budget(&scene.admin, &scene.namespace, "one", &[("app", "web")], 1).await;
    let web = |name: &str| PodOnNode::new(&scene.namespace, name, &scene.own).label("app", "web");
    let first = web("web-0")
        .owner("apps/v1", "StatefulSet", "web")
        .volume_claim("data")
        .stops_after(60)
        .grace(40);
    let first = first
        .create(&scene.admin)
        .await
        .metadata
        .uid
        .expect("a stored object has a UID");
    let second = web("web-1")
        .create(&scene.admin)
        .await
        .metadata
        .uid
        .expect("a stored object has a UID");
    let waiting = PodOnNode::new(&scene.namespace, "waiting", &scene.own)
        .pending()
        .create(&scene.admin)
        .await;
    assert_eq!(
        waiting.status.and_then(|status| status.phase).as_deref(),
        Some("Pending")
    );

    let mark = scene.plane.audit_mark();
    let kubelet = FakeKubelet::start(scene.admin.clone(), &scene.own);
    scene
        .evict("web-0", Some(with_uid(&first)))
        .await
        .expect("the budget allows one");
    let refused = scene
        .evict("web-1", Some(with_uid(&second)))
        .await
        .expect_err("and no second");
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 429),
        "{refused}"
    );

    // A shorter grace acts on a pod that is stopping already; the kubelet was told twice, and obeys the second.
    scene
        .pods()
        .delete("web-0", &only(&first).grace_period(1))
        .await
        .expect("a shorter grace");
    scene.gone("web-0").await;
    let told: Vec<_> = kubelet
        .terminations(&first)
        .iter()
        .map(|told| told.grace_seconds)
        .collect();
    assert_eq!(told, [1, 40]);
    assert_eq!(kubelet.terminations(&second), []);
    let calls = scene.plane.audit_events_of_all_stages(mark).await;
    let watches = calls
        .iter()
        .filter(|call| call.verb == "watch" && call.uri.contains(&scene.own));
    assert_eq!(
        watches.map(|call| &*call.stage).collect::<Vec<_>>(),
        ["ResponseStarted"]
    );
}

#[tokio::test]
async fn a_program_with_an_agents_kubeconfig_is_that_agent_and_may_no_more_than_it() {
    let Some(scene) = scene("kubeconfig").await else {
        return;
    };
    let agent = scene
        .plane
        .agent_token(&scene.own, "agent-of-a-program")
        .await;
    let kubeconfig = scene.plane.kubeconfig_for(&agent.token);
    let kubectl = async |arguments: &[&str]| {
        let mut kubectl = tokio::process::Command::new("kubectl");
        let output = kubectl
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .args(arguments)
            .output()
            .await;
        String::from_utf8(output.expect("kubectl is installed").stdout).expect("text")
    };
    let whoami = kubectl(&["auth", "whoami", "--output=json"]).await;
    let whoami: Value = serde_json::from_str(&whoami).expect("JSON");
    let extra = &whoami["status"]["userInfo"]["extra"];
    assert_eq!(
        extra["authentication.kubernetes.io/node-name"],
        json!([scene.own])
    );
    assert_eq!(
        extra["authentication.kubernetes.io/pod-uid"],
        json!([agent.pod_uid])
    );
    for (may, what) in [
        ("yes", "patch nodes"),
        ("no", "update nodes"),
        ("no", "get pods"),
        ("no", "list secrets"),
    ] {
        let (verb, resource) = what.split_once(' ').expect("a verb and a resource");
        let answer = kubectl(&["auth", "can-i", verb, resource, "--all-namespaces"]).await;
        assert_eq!(answer.trim(), may, "{what}");
    }
}
