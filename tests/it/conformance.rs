//! The simulated API server is held to the real one: the same exchanges with both, and the same answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Request;
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::{Namespace, Node as RealNode};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::plan::id::{NodeName, PodUid};
use spot_interrupt_handler::sim::budget::{Budget, Observation, UnreadyPolicy};
use spot_interrupt_handler::sim::loopback::Loopback;
use spot_interrupt_handler::sim::pod::{Phase, Pod};
use spot_interrupt_handler::sim::scenario::Scenario;
use spot_interrupt_handler::sim::stage::Stage;

use crate::control_plane::{ControlPlane, PodOnNode, create_budget, create_namespace, create_node};

/// The two servers, with the same objects in them.
struct Pair {
    real: Client,
    simulated: Client,
    namespace: String,
    node: String,
    stage: Arc<Stage>,
    /// Serves until it is dropped.
    _loopback: Loopback,
}

impl Pair {
    async fn set(name: &str) -> Option<Self> {
        let plane = ControlPlane::shared().await?;
        let real = plane.admin().await;
        let node = format!("node-{name}");
        create_node(&real, &node, "aws:///eu-west-1a/i-0123456789abcdef0").await;
        let namespace = create_namespace(&real, name).await;
        let mut scenario = Scenario::bare().expect("a scenario");
        scenario.node.name = NodeName::new(node.clone());
        let clock = Clock::real();
        let stage = Stage::new(scenario.world(clock.now().at), clock);
        let loopback = Loopback::serve(&stage).await.expect("loopback");
        let url = format!("http://{}", loopback.kubernetes);
        let mut config = Config::new(url.parse().expect("a URL"));
        config.default_retry = false;
        Some(Self {
            real,
            simulated: Client::try_from(config).expect("a client"),
            namespace,
            node,
            stage,
            _loopback: loopback,
        })
    }

    /// The same pod in both, with the same UID.
    async fn pod(&self, name: &str, grace: u32, phase: Phase) -> String {
        let pod = PodOnNode::new(&self.namespace, name, &self.node)
            .label("case", name)
            .grace(grace);
        let pod = match phase {
            Phase::Pending => pod.pending(),
            Phase::NotReady => pod.unready(),
            Phase::Ready | Phase::Succeeded | Phase::Failed => pod,
        };
        let created = pod.create(&self.real).await;
        let uid = created.metadata.uid.expect("a UID");
        let node = NodeName::new(self.node.clone());
        let mut pod = Pod::new(&self.namespace, name, PodUid::new(uid.clone()), node);
        pod.labels = BTreeMap::from([("case".to_owned(), name.to_owned())]);
        pod.grace = grace;
        pod.phase = phase;
        // Nobody stops the real ones either.
        pod.stops_after = std::time::Duration::from_secs(3_600);
        self.stage.with(|world, _| world.cluster.add_pod(pod));
        uid
    }

    /// The same budget in both, over the pods of one case.
    async fn budget(&self, name: &str, case: &str, allowed: i32) {
        create_budget(
            &self.real,
            &self.namespace,
            name,
            &[("case", case)],
            allowed,
        )
        .await;
        self.simulate_budget(name, case, allowed, Observation::Current);
    }

    /// A budget over one case that allows nothing, with so many healthy pods of ten.
    async fn closed_budget(&self, name: &str, healthy: u32, unready: UnreadyPolicy) {
        let policy = match unready {
            UnreadyPolicy::IfHealthyBudget => "IfHealthyBudget",
            UnreadyPolicy::AlwaysAllow => "AlwaysAllow",
        };
        self.real_budget(
            name,
            json!({"unhealthyPodEvictionPolicy": policy}),
            json!({"currentHealthy": healthy}),
        )
        .await;
        let mut budget = Budget::allowing(&self.namespace, name, 0);
        budget.selector = BTreeMap::from([("case".to_owned(), name.to_owned())]);
        budget.desired = 10;
        budget.healthy = healthy;
        budget.unready = unready;
        self.stage.with(|world, _| world.cluster.add_budget(budget));
    }

    /// A budget over the case of its name that allows nothing and wants ten pods, with this besides, at the real server
    /// alone.
    async fn real_budget(&self, name: &str, spec: Value, status: Value) {
        create_budget(&self.real, &self.namespace, name, &[("case", name)], 0).await;
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(self.real.clone(), &self.namespace);
        let params = PatchParams::default();
        let patch = Patch::Merge(json!({ "spec": spec }));
        let changed = budgets
            .patch(name, &params, &patch)
            .await
            .expect("a budget");
        let mut status = status;
        status["desiredHealthy"] = json!(10);
        status["observedGeneration"] = json!(changed.metadata.generation);
        let patch = Patch::Merge(json!({ "status": status }));
        let patched = budgets.patch_status(name, &params, &patch).await;
        patched.expect("the budget's status can be set");
    }

    /// A budget that no controller has looked at yet.
    async fn unobserved_budget(&self, name: &str, case: &str) {
        let budget: PodDisruptionBudget = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"case": case}}},
        }))
        .expect("a budget");
        Api::namespaced(self.real.clone(), &self.namespace)
            .create(&PostParams::default(), &budget)
            .await
            .expect("a budget");
        self.simulate_budget(name, case, 0, Observation::Lagging);
    }

    fn simulate_budget(&self, name: &str, case: &str, allowed: i32, observation: Observation) {
        let mut budget = Budget::allowing(&self.namespace, name, allowed);
        budget.selector = BTreeMap::from([("case".to_owned(), case.to_owned())]);
        budget.desired = 10;
        budget.healthy = 10 + u32::try_from(allowed).expect("a small number");
        budget.observation = observation;
        self.stage.with(|world, _| world.cluster.add_budget(budget));
    }

    /// Sends one request to both and compares the answers; returns the status.
    async fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> u16 {
        let real = send(&self.real, method, path, body).await;
        let simulated = send(&self.simulated, method, path, body).await;
        assert_eq!(simulated, real, "{method} {path} {body:?}");
        real.0
    }

    /// Evicts in both, and compares what became of the pod.
    async fn evict(&self, name: &str, options: Value) -> u16 {
        let body = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": name, "namespace": self.namespace},
            "deleteOptions": options,
        });
        let path = format!("{}/eviction", self.path_of(name));
        let status = self.exchange("POST", &path, Some(&body)).await;
        self.compare_pods(name).await;
        status
    }

    async fn delete(&self, name: &str, options: Value) -> u16 {
        let status = self
            .exchange("DELETE", &self.path_of(name), Some(&options))
            .await;
        self.compare_pods(name).await;
        status
    }

    fn path_of(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/pods/{name}", self.namespace)
    }

    /// What a LIST of the node says of this pod is the same in both.
    async fn compare_pods(&self, name: &str) {
        let real = self.seen(&self.real, name).await;
        let simulated = self.seen(&self.simulated, name).await;
        assert_eq!(simulated, real, "{name}");
    }

    async fn seen(&self, client: &Client, name: &str) -> Value {
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", self.node);
        let (status, list) = send_whole(client, "GET", &path, None).await;
        assert_eq!(status, 200);
        let items = list["items"].as_array().expect("a list");
        let pod = items.iter().find(|pod| pod["metadata"]["name"] == name);
        pod.map_or(Value::Null, summary)
    }
}

/// What an agent reads of a pod, without what differs from moment to moment.
fn summary(pod: &Value) -> Value {
    let conditions = pod["status"]["conditions"].as_array();
    let target = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "DisruptionTarget")
        .map(|condition| json!([condition["status"], condition["reason"]]));
    json!({
        "uid": pod["metadata"]["uid"],
        "terminating": pod["metadata"].get("deletionTimestamp").is_some(),
        "grace": pod["metadata"]["deletionGracePeriodSeconds"],
        "own grace": pod["spec"]["terminationGracePeriodSeconds"],
        "phase": pod["status"]["phase"],
        "node": pod["spec"]["nodeName"],
        "target": target,
    })
}

/// The status and what matters of the body: of a Status everything, of a pod what an agent reads.
async fn send(client: &Client, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let (status, answer) = send_whole(client, method, path, body).await;
    let answer = match answer["kind"].as_str() {
        Some("Pod") => summary(&answer),
        Some("Node") => json!({
            "unschedulable": answer["spec"]["unschedulable"],
            "label": answer["metadata"]["labels"]["example.com/case"],
        }),
        Some("Event") => json!({ "reason": answer["reason"] }),
        _ => answer,
    };
    (status, answer)
}

async fn send_whole(
    client: &Client,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> (u16, Value) {
    let content_type = if method == "PATCH" {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("Content-Type", content_type)
        .header("Accept", "application/json");
    let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    let request = request.body(Body::from(body)).expect("a request");
    let response = client.send(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body");
    let text = body.to_bytes();
    let answer = serde_json::from_slice(&text)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&text).into_owned()));
    (status, answer)
}

fn of(uid: &str) -> Value {
    json!({ "preconditions": { "uid": uid } })
}

fn with_grace(uid: &str, seconds: i64) -> Value {
    json!({ "preconditions": { "uid": uid }, "gracePeriodSeconds": seconds })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evictions_under_budgets_in_every_state_are_answered_alike() {
    let Some(pair) = Pair::set("alike-budgets").await else {
        return;
    };
    let uid = pair.pod("free", 30, Phase::Ready).await;
    assert_eq!(pair.evict("free", of("another-uid")).await, 409);
    assert_eq!(pair.evict("free", of(&uid)).await, 201);
    assert_eq!(
        pair.evict("free", of(&uid)).await,
        201,
        "terminating already"
    );

    let uid = pair.pod("closed", 30, Phase::Ready).await;
    pair.budget("closed", "closed", 0).await;
    assert_eq!(pair.evict("closed", of(&uid)).await, 429);
    assert_eq!(pair.delete("closed", of(&uid)).await, 200);
    assert_eq!(
        pair.evict("closed", with_grace(&uid, 5)).await,
        201,
        "no budget is asked any more"
    );

    let uid = pair.pod("once", 30, Phase::Ready).await;
    pair.budget("once", "once", 1).await;
    assert_eq!(pair.evict("once", of("another-uid")).await, 409);
    assert_eq!(
        pair.evict("once", of(&uid)).await,
        429,
        "the wrong UID has spent it"
    );

    let uid = pair.pod("rehearsed", 30, Phase::Ready).await;
    pair.budget("rehearsed", "rehearsed", 1).await;
    let rehearsal = json!({ "preconditions": { "uid": uid }, "dryRun": ["All"] });
    assert_eq!(pair.evict("rehearsed", rehearsal).await, 201);
    assert_eq!(
        pair.evict("rehearsed", of(&uid)).await,
        201,
        "a dry run spends nothing"
    );

    let uid = pair.pod("twice", 30, Phase::Ready).await;
    pair.budget("twice-a", "twice", 1).await;
    pair.budget("twice-b", "twice", 1).await;
    assert_eq!(pair.evict("twice", of(&uid)).await, 500);

    let uid = pair.pod("unobserved", 30, Phase::Ready).await;
    pair.unobserved_budget("unobserved", "unobserved").await;
    assert_eq!(pair.evict("unobserved", of(&uid)).await, 429);

    let uid = pair.pod("pending", 30, Phase::Pending).await;
    pair.budget("pending", "pending", 0).await;
    assert_eq!(pair.evict("pending", of(&uid)).await, 201);

    assert_eq!(pair.evict("missing", of("any")).await, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_not_ready_needs_a_budget_only_when_too_few_are_healthy_alike() {
    let Some(pair) = Pair::set("alike-unready").await else {
        return;
    };
    for (name, healthy, policy, status) in [
        ("enough", 10, UnreadyPolicy::IfHealthyBudget, 201),
        ("too-few", 9, UnreadyPolicy::IfHealthyBudget, 429),
        ("always", 9, UnreadyPolicy::AlwaysAllow, 201),
    ] {
        let uid = pair.pod(name, 30, Phase::NotReady).await;
        pair.closed_budget(name, healthy, policy).await;
        assert_eq!(pair.evict(name, of(&uid)).await, status, "{name}");
    }
}

/// The simulated controller keeps no entries of disrupted pods, so that only the real server is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_with_more_disrupted_pods_than_it_can_hold_is_a_403_that_no_namespace_explains() {
    let Some(pair) = Pair::set("crowded-budget").await else {
        return;
    };
    let uid = pair.pod("crowded", 30, Phase::Ready).await;
    let since = "2026-01-01T00:00:00Z";
    let entries = (0..=2_000).map(|index| (format!("web-{index}"), json!(since)));
    let disrupted: serde_json::Map<String, Value> = entries.collect();
    let status = json!({
        "currentHealthy": 11, "disruptionsAllowed": 1, "disruptedPods": disrupted,
    });
    pair.real_budget("crowded", json!({}), status).await;
    let body = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": "crowded", "namespace": pair.namespace},
        "deleteOptions": of(&uid),
    });
    let path = format!("{}/eviction", pair.path_of("crowded"));
    let (status, answer) = send(&pair.real, "POST", &path, Some(&body)).await;
    assert_eq!(status, 403, "{answer}");
    let causes = answer["details"]["causes"].to_string();
    assert!(!causes.contains("NamespaceTerminating"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grace_periods_are_taken_raised_shortened_and_ignored_alike() {
    let Some(pair) = Pair::set("alike-graces").await else {
        return;
    };
    for (name, own, asked) in [
        ("less", 30, 7),
        ("more", 5, 60),
        ("negative", 30, -1),
        ("same", 30, 30),
    ] {
        let uid = pair.pod(name, own, Phase::Ready).await;
        assert_eq!(
            pair.evict(name, with_grace(&uid, asked)).await,
            201,
            "{name}"
        );
    }
    let uid = pair.pod("shortened", 60, Phase::Ready).await;
    assert_eq!(pair.evict("shortened", of(&uid)).await, 201);
    assert_eq!(
        pair.evict("shortened", with_grace(&uid, 90)).await,
        201,
        "longer: ignored"
    );
    assert_eq!(pair.evict("shortened", with_grace(&uid, 20)).await, 201);
    assert_eq!(pair.delete("shortened", with_grace(&uid, 10)).await, 200);
    let uid = pair.pod("none", 0, Phase::Ready).await;
    assert_eq!(pair.evict("none", of(&uid)).await, 201);
    let uid = pair.pod("forced", 30, Phase::Ready).await;
    assert_eq!(pair.delete("forced", with_grace(&uid, 0)).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_are_answered_alike() {
    let Some(pair) = Pair::set("alike-deletions").await else {
        return;
    };
    let uid = pair.pod("web", 30, Phase::Ready).await;
    assert_eq!(pair.delete("web", of("another-uid")).await, 409);
    let rehearsal = json!({ "preconditions": { "uid": uid }, "dryRun": ["All"] });
    let path = pair.path_of("web");
    let (real, _) = send(&pair.real, "DELETE", &path, Some(&rehearsal)).await;
    let (simulated, _) = send(&pair.simulated, "DELETE", &path, Some(&rehearsal)).await;
    assert_eq!((real, simulated), (200, 200));
    pair.compare_pods("web").await;
    assert_eq!(pair.delete("web", with_grace(&uid, 10)).await, 200);
    assert_eq!(pair.delete("missing", of("any")).await, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_terminating_namespace_both_refuse_evictions_and_take_deletions() {
    let Some(pair) = Pair::set("alike-ending").await else {
        return;
    };
    let uid = pair.pod("web", 30, Phase::Ready).await;
    // Without a namespace controller it stays in that state.
    Api::<Namespace>::all(pair.real.clone())
        .delete(&pair.namespace, &DeleteParams::default())
        .await
        .expect("the namespace can be deleted");
    let namespace = pair.namespace.clone();
    pair.stage
        .with(|world, _| world.cluster.terminate_namespace(&namespace));
    assert_eq!(pair.evict("web", of(&uid)).await, 403);
    assert_eq!(pair.delete("web", of(&uid)).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_evictions_are_refused_alike() {
    let Some(pair) = Pair::set("alike-malformed").await else {
        return;
    };
    pair.pod("web", 30, Phase::Ready).await;
    let path = format!("{}/eviction", pair.path_of("web"));
    for body in [
        json!({}),
        json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "other", "namespace": pair.namespace } }),
    ] {
        let (real, _) = send(&pair.real, "POST", &path, Some(&body)).await;
        let (simulated, _) = send(&pair.simulated, "POST", &path, Some(&body)).await;
        assert_eq!((real, simulated), (400, 400), "{body}");
    }
    pair.compare_pods("web").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_patched_and_refused_alike() {
    let Some(pair) = Pair::set("alike-node").await else {
        return;
    };
    let path = format!("/api/v1/nodes/{}", pair.node);
    let version = |node: &Value| node["metadata"]["resourceVersion"].clone();
    let (_, real) = send_whole(&pair.real, "GET", &path, None).await;
    let (_, simulated) = send_whole(&pair.simulated, "GET", &path, None).await;
    let cordon = |version: Value| {
        json!({
            "metadata": { "resourceVersion": version, "labels": { "example.com/case": "alike" } },
            "spec": { "unschedulable": true },
        })
    };
    let (real_patch, simulated_patch) = (cordon(version(&real)), cordon(version(&simulated)));
    for expected in [200, 409] {
        let real = send(&pair.real, "PATCH", &path, Some(&real_patch)).await;
        let simulated = send(&pair.simulated, "PATCH", &path, Some(&simulated_patch)).await;
        assert_eq!(simulated, real);
        assert_eq!(real.0, expected);
    }
    let unversioned = json!({ "spec": { "unschedulable": null }, "metadata": { "labels": { "example.com/case": null } } });
    assert_eq!(pair.exchange("PATCH", &path, Some(&unversioned)).await, 200);
    // What changes nothing makes no new version.
    for client in [&pair.real, &pair.simulated] {
        let (_, before) = send_whole(client, "GET", &path, None).await;
        let (_, after) = send_whole(client, "PATCH", &path, Some(&unversioned)).await;
        assert_eq!(version(&before), version(&after));
    }
    let missing = "/api/v1/nodes/no-such-node";
    assert_eq!(pair.exchange("GET", missing, None).await, 404);
    assert_eq!(
        pair.exchange("PATCH", missing, Some(&unversioned)).await,
        404
    );
    Api::<RealNode>::all(pair.real.clone())
        .delete(&pair.node, &DeleteParams::default())
        .await
        .expect("the node can be deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_there_already_is_refused_alike() {
    let Some(pair) = Pair::set("alike-events").await else {
        return;
    };
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": { "name": pair.node, "namespace": "default" },
        "involvedObject": { "kind": "Node", "name": pair.node, "apiVersion": "v1" },
        "reason": "Tested", "message": "twice",
    });
    let path = "/api/v1/namespaces/default/events";
    assert_eq!(pair.exchange("POST", path, Some(&event)).await, 201);
    assert_eq!(pair.exchange("POST", path, Some(&event)).await, 409);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disruption_target_is_marked_alike() {
    let Some(pair) = Pair::set("alike-target").await else {
        return;
    };
    let uid = pair.pod("web", 30, Phase::Ready).await;
    let path = format!("{}/status", pair.path_of("web"));
    let condition = json!({ "type": "DisruptionTarget", "status": "True", "reason": "TerminationBySpotInterruption" });
    let marked = json!({ "metadata": { "uid": uid }, "status": { "conditions": [condition] } });
    assert_eq!(pair.exchange("PATCH", &path, Some(&marked)).await, 200);
    let wrong =
        json!({ "metadata": { "uid": "another-uid" }, "status": { "conditions": [condition] } });
    assert_eq!(pair.exchange("PATCH", &path, Some(&wrong)).await, 422);
    pair.compare_pods("web").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_asked_to_be_newer_than_anything_is_refused_alike() {
    let Some(pair) = Pair::set("alike-lists").await else {
        return;
    };
    let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", pair.node);
    for version in ["", "&resourceVersion=0", "&resourceVersion=1"] {
        let path = format!("{path}{version}");
        for client in [&pair.real, &pair.simulated] {
            let (status, list) = send_whole(client, "GET", &path, None).await;
            assert_eq!((status, &list["kind"]), (200, &json!("PodList")), "{path}");
        }
    }
    // Both have come to versions of their own.
    let too_new = format!("{path}&resourceVersion=999999999");
    let refusal = async |client| {
        let (status, mut body) = send_whole(client, "GET", &too_new, None).await;
        let message = body["message"].as_str().expect("a message").to_owned();
        let (said, current) = message.split_once(", current: ").expect("two versions");
        assert!(current.parse::<u64>().is_ok(), "{message}");
        body["message"] = json!(said);
        (status, body)
    };
    let real = refusal(&pair.real).await;
    assert_eq!(refusal(&pair.simulated).await, real);
    assert_eq!(real.0, 504);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_alike_what_becomes_of_a_pod() {
    let Some(pair) = Pair::set("alike-watches").await else {
        return;
    };
    let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", pair.node);
    let uid = pair.pod("web", 30, Phase::Ready).await;
    let mut versions = Vec::new();
    for client in [&pair.real, &pair.simulated] {
        let (_, list) = send_whole(client, "GET", &path, None).await;
        let version = list["metadata"]["resourceVersion"].as_str();
        versions.push(version.expect("a version").to_owned());
    }
    pair.evict("web", of(&uid)).await;
    pair.delete("web", with_grace(&uid, 0)).await;
    let mut told = Vec::new();
    for (client, version) in [&pair.real, &pair.simulated].into_iter().zip(&versions) {
        let mut events = watched(client, &path, version).await;
        // The real server writes the condition and the deletion one after the other.
        events.retain(|event| event["terminating"] == true);
        told.push(events);
    }
    assert_eq!(told[1], told[0]);
    let types: Vec<&Value> = told[0].iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["MODIFIED", "MODIFIED", "DELETED"]);
}

/// What a watch of one second tells: what an agent reads of each pod.
async fn watched(client: &Client, path: &str, version: &str) -> Vec<Value> {
    let path = format!("{path}&watch=true&timeoutSeconds=1&resourceVersion={version}");
    let (status, answer) = send_whole(client, "GET", &path, None).await;
    assert_eq!(status, 200, "{answer}");
    let Value::String(lines) = answer else {
        panic!("a single line: {answer}");
    };
    let events = lines.lines().map(|line| {
        let event: Value = serde_json::from_str(line).expect("an event");
        let mut told = summary(&event["object"]);
        told["type"] = event["type"].clone();
        told
    });
    events.filter(|event| event["type"] != "BOOKMARK").collect()
}
