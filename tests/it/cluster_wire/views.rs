//! What a Pod and a Node say to the drain.

use serde_json::{Value, json as object};
use spot_interrupt_handler::plan::action::Freshness;
use spot_interrupt_handler::plan::binding::{Labels, PortName};
use spot_interrupt_handler::plan::budget::Grace;
use spot_interrupt_handler::plan::id::InstanceId;
use spot_interrupt_handler::plan::node::{Annotation, Scheduling};
use spot_interrupt_handler::plan::pod::{
    BlockedWish, Owner, PodPort, PodProgress, PodView, StartWish, Termination,
};
use spot_interrupt_handler::plan::time::WallTime;
use spot_interrupt_handler::ports::Cluster;

use super::{cluster_at, web_0};
use crate::scripted::{Server, json};

/// A running, ready pod with these fields over it.
fn pod(over: &Value) -> Value {
    let mut pod = object!({
        "metadata": {
            "namespace": "shop", "name": "web-0", "uid": "5d1e7a3c-0001",
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
        },
        "spec": {"containers": [{"name": "main"}], "terminationGracePeriodSeconds": 30},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [container("main", "running")],
        },
    });
    merge(&mut pod, over);
    pod
}

fn container(name: &str, state: &str) -> Value {
    let detail = match state {
        "running" => object!({"startedAt": "2027-01-15T08:00:00Z"}),
        "terminated" => object!({"exitCode": 0}),
        _ => object!({"reason": "ContainerCreating"}),
    };
    object!({
        "name": name, "image": "x", "imageID": "", "ready": false, "restartCount": 0,
        "state": {state: detail},
    })
}

/// RFC 7386.
pub fn merge(into: &mut Value, over: &Value) {
    match over {
        Value::Object(fields) => {
            if !into.is_object() {
                *into = object!({});
            }
            for (key, value) in fields {
                merge(&mut into[key], value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            *into = over.clone();
        }
    }
}

async fn listed(pods: &[Value]) -> Vec<PodView> {
    let list = object!({
        "kind": "PodList", "apiVersion": "v1",
        "metadata": {"resourceVersion": "1"}, "items": pods,
    });
    let server = Server::replying([json(200, list.to_string())]).await;
    cluster_at(&server.url)
        .await
        .pods(&Freshness::Cached)
        .await
        .expect("a list")
        .0
}

async fn view(over: Value) -> PodView {
    let mut pods = listed(&[pod(&over)]).await;
    assert_eq!(pods.len(), 1);
    pods.remove(0)
}

fn plain() -> PodView {
    PodView {
        pod: web_0(),
        owner: None,
        grace: Grace::from_secs(30),
        progress: PodProgress::Ready,
        termination: None,
        mounts_claim: false,
        priority: 0,
        is_mirror: false,
        start: StartWish::AtOnce,
        when_blocked: BlockedWish::AsConfigured,
        created: None,
        labels: Labels::new(),
        address: None,
        ports: Vec::new(),
    }
}

#[tokio::test]
async fn what_a_drain_has_no_business_with_may_say_anything() {
    let odd = object!({
        "metadata": {"managedFields": "none", "finalizers": 5},
        "spec": {
            "nodeName": {}, "affinity": [], "restartPolicy": 1, "somethingNew": true,
            "volumes": [{"name": 1, "configMap": "not an object"}],
            "containers": [{"name": {}, "image": [], "resources": null, "env": 3}],
        },
        "status": {"qosClass": 0, "startTime": "yesterday", "podIPs": {}},
    });
    let nameless = object!({"metadata": null, "spec": {"readinessGates": [{}],
        "containers": [{"ports": [{"containerPort": null}]}]}, "status": {"conditions": [{}]}});
    let plain = pod(&object!({}));
    assert_eq!(listed(&[nameless, pod(&odd)]).await, listed(&[plain]).await);
}

#[tokio::test]
async fn a_plain_pod_is_seen_as_it_is() {
    assert_eq!(view(object!({})).await, plain());
}

#[tokio::test]
async fn the_owner_is_the_controller_of_whatever_group() {
    let owners = object!([
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1"},
        {"apiVersion": "apps.kruise.io/v1alpha1", "kind": "DaemonSet", "name": "d", "uid": "2", "controller": true},
    ]);
    let seen = view(object!({"metadata": {"ownerReferences": owners}})).await;
    let owner = Some(Owner {
        kind: "DaemonSet".to_owned(),
        name: "d".to_owned(),
    });
    assert_eq!(seen, PodView { owner, ..plain() });
}

#[tokio::test]
async fn a_mirror_pod_is_known_by_its_annotation_and_by_its_node() {
    let annotated = object!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "abc"}}});
    assert!(view(annotated).await.is_mirror);
    let owned = object!({"metadata": {"ownerReferences":
        [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "1", "controller": true}]}});
    assert!(view(owned).await.is_mirror);
}

#[tokio::test]
async fn grace_priority_and_claims_come_from_the_spec() {
    for (spec, grace) in [
        (object!({"terminationGracePeriodSeconds": 600}), 600),
        (object!({"terminationGracePeriodSeconds": null}), 30),
        (object!({"terminationGracePeriodSeconds": 0}), 0),
        (object!({"terminationGracePeriodSeconds": -1}), 1),
    ] {
        let seen = view(object!({ "spec": spec })).await;
        assert_eq!(seen.grace, Grace::from_secs(grace));
    }
    let critical = view(object!({"spec": {"priority": 2_000_001_000}})).await;
    assert_eq!(critical.priority, 2_000_001_000);
    for (volume, mounts_claim) in [
        (
            object!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}}),
            true,
        ),
        (
            object!({"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}),
            true,
        ),
        (object!({"name": "v", "emptyDir": {}}), false),
    ] {
        let seen = view(object!({"spec": {"volumes": [volume]}})).await;
        assert_eq!(seen.mounts_claim, mounts_claim);
    }
}

#[tokio::test]
async fn progress_comes_from_phase_and_readiness() {
    for (status, progress) in [
        (object!({"phase": "Pending"}), PodProgress::Pending),
        (object!({"phase": null}), PodProgress::Pending),
        (object!({"phase": "Succeeded"}), PodProgress::Finished),
        (object!({"phase": "Failed"}), PodProgress::Finished),
        (
            object!({"phase": "Unknown", "conditions": []}),
            PodProgress::NotReady,
        ),
        (
            object!({"conditions": [{"type": "Ready", "status": "False"}]}),
            PodProgress::NotReady,
        ),
        // Containers that have all stopped are restarted, unless the pod is being deleted.
        (
            object!({"containerStatuses": [container("main", "terminated")]}),
            PodProgress::Ready,
        ),
    ] {
        let seen = view(object!({"status": status.clone()})).await;
        assert_eq!(seen.progress, progress, "{status}");
    }
}

#[tokio::test]
async fn a_terminating_pod_is_finished_when_the_kubelet_says_so_of_every_container() {
    let deleted =
        object!({"deletionTimestamp": "2027-01-15T08:00:30Z", "deletionGracePeriodSeconds": 25});
    let running = container("main", "running");
    let stopped = container("main", "terminated");
    for (status, is_finished) in [
        (object!({}), false),
        (object!({"containerStatuses": [stopped, running]}), false),
        (object!({"containerStatuses": [stopped, stopped]}), true),
        (object!({"containerStatuses": []}), false),
        (object!({"containerStatuses": null}), false),
        (
            object!({"containerStatuses": [container("main", "waiting")]}),
            false,
        ),
        (
            object!({"containerStatuses": [stopped], "initContainerStatuses": [stopped]}),
            true,
        ),
        (
            object!({"containerStatuses": [stopped], "initContainerStatuses": [stopped, running]}),
            false,
        ),
        (
            object!({"containerStatuses": [stopped], "ephemeralContainerStatuses": [running]}),
            false,
        ),
    ] {
        let seen = view(object!({"metadata": deleted.clone(), "status": status.clone()})).await;
        let termination = Termination {
            deletion_timestamp: WallTime::from_millis(1_800_000_030_000),
            grace: Grace::from_secs(25),
        };
        assert_eq!(seen.termination, Some(termination));
        assert_eq!(
            seen.progress == PodProgress::Finished,
            is_finished,
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_pod_that_cannot_be_named_is_passed_over_and_hides_no_other() {
    let mut pods = Vec::new();
    for field in ["name", "namespace", "uid"] {
        pods.push(pod(&object!({"metadata": {field: null}})));
    }
    pods.push(object!({}));
    pods.push(pod(&object!({})));
    assert_eq!(listed(&pods).await, [plain()]);
}

#[tokio::test]
async fn a_list_of_null_is_an_empty_list() {
    let list =
        r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":null}"#;
    let server = Server::replying([json(200, list)]).await;
    assert_eq!(
        cluster_at(&server.url)
            .await
            .pods(&Freshness::Cached)
            .await
            .expect("a list")
            .0,
        []
    );
}

#[tokio::test]
async fn a_bare_node_is_open_and_carries_nothing_of_ours() {
    let node = r#"{"kind":"Node","apiVersion":"v1","metadata":{"uid":"u","resourceVersion":"1"}}"#;
    let foreign = r#"{"kind":"Node","apiVersion":"v1","metadata":{"uid":"u","resourceVersion":"1","annotations":{"spot-interrupt-handler/interruption":"{\"v\":2}"}},"spec":{"unschedulable":false}}"#;
    let server = Server::replying([json(200, node), json(200, foreign)]).await;
    let cluster = cluster_at(&server.url).await;
    let seen = cluster.node().await.expect("a node");
    assert_eq!(seen.scheduling, Scheduling::Open);
    assert_eq!(
        (seen.exclusion_label, seen.annotation, seen.boot_id),
        (None, Annotation::Absent, None)
    );
    let seen = cluster.node().await.expect("a node");
    assert_eq!(
        (seen.scheduling, seen.annotation),
        (
            Scheduling::Open,
            Annotation::Unknown("{\"v\":2}".to_owned())
        )
    );
}

#[tokio::test]
async fn what_services_find_a_pod_by_is_seen() {
    let labels = object!({"metadata": {"labels": {"app": "web", "tier": ""}}});
    let seen = view(labels).await;
    let expected = [("app", "web"), ("tier", "")];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(seen.labels, Labels::from(expected));
    for (ip, address) in [
        (object!("10.0.3.17"), Some("10.0.3.17")),
        (object!("2001:db8::17"), Some("2001:db8::17")),
        (object!(""), None),
        (object!("web-0"), None),
        (object!(null), None),
    ] {
        let seen = view(object!({"status": {"podIP": ip}})).await;
        let address = address.map(|text| text.parse().expect("an address"));
        assert_eq!(seen.address, address);
    }
}

#[tokio::test]
async fn a_pods_ports_are_those_of_its_containers_and_of_its_sidecars() {
    let spec = object!({
        "containers": [
            {"name": "main", "ports": [
                {"name": "http", "containerPort": 8080},
                {"containerPort": 9000, "hostPort": 9001, "protocol": "UDP"},
                {"containerPort": 70_000},
            ]},
            {"name": "silent"},
        ],
        "initContainers": [{"name": "mesh", "restartPolicy": "Always", "ports": [{"name": "mesh", "containerPort": 15_001}]}],
    });
    let port = |name: Option<&str>, number, host| PodPort {
        name: name.map(str::to_owned),
        number,
        host,
    };
    let seen = view(object!({ "spec": spec.clone() })).await;
    let own = [
        port(Some("http"), 8080, None),
        port(None, 9000, Some(9001)),
        port(Some("mesh"), 15_001, None),
    ];
    assert_eq!(seen.ports, own);
    assert_eq!(seen.port(&PortName::Name("mesh".to_owned())), Some(15_001));
    let mut spec = spec;
    spec["hostNetwork"] = object!(true);
    let seen = view(object!({ "spec": spec })).await;
    let of_the_node = [
        port(Some("http"), 8080, Some(8080)),
        port(None, 9000, Some(9001)),
        port(Some("mesh"), 15_001, Some(15_001)),
    ];
    assert_eq!(seen.ports, of_the_node);
}

#[tokio::test]
async fn a_node_says_which_instance_it_is_and_what_selectors_find_it_by() {
    for (provider, instance) in [
        (object!("aws:///eu-west-1a/i-0abc"), Some("i-0abc")),
        (object!("aws:///i-0abc"), Some("i-0abc")),
        (object!("aws://i-0abc"), Some("i-0abc")),
        (object!("aws:///eu-west-1a/fargate-ip-10-0-0-7"), None),
        (object!("aws:///eu-west-1a/"), None),
        (object!("gce://project/zone/i-0abc"), None),
        (object!(""), None),
        (object!(null), None),
    ] {
        let node = object!({
            "kind": "Node", "apiVersion": "v1",
            "metadata": {"uid": "u", "resourceVersion": "1", "labels": {"pool": "spot"}},
            "spec": {"providerID": provider},
        });
        let server = Server::replying([json(200, node.to_string())]).await;
        let seen = cluster_at(&server.url).await.node().await;
        let seen = seen.expect("a node");
        assert_eq!(seen.provider, instance.map(InstanceId::new), "{provider}");
        let labels = Labels::from([("pool".to_owned(), "spot".to_owned())]);
        assert_eq!(seen.labels, labels);
    }
}
