//! Pods of the world as the API server shows them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::plan::time::WallTime;
use crate::sim::cluster::{Change, ChangeKind, Cluster};
use crate::sim::pod::{Phase, Pod, Volume};

/// A `PodList`.
pub(super) fn list<'a>(pods: impl Iterator<Item = &'a Pod>, version: u64) -> Value {
    json!({
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": { "resourceVersion": version.to_string() },
        "items": pods.map(listed).collect::<Vec<_>>(),
    })
}

/// In a list, the items do not repeat their kind.
/// A namespace.
pub(super) fn namespace(name: &str, annotations: &BTreeMap<String, String>) -> Value {
    json!({
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": { "name": name, "annotations": annotations },
        "spec": { "finalizers": ["kubernetes"] },
        "status": { "phase": "Active" },
    })
}

fn listed(pod: &Pod) -> Value {
    let mut pod = self::pod(pod);
    if let Some(fields) = pod.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    pod
}

/// A `Pod`.
pub(super) fn pod(pod: &Pod) -> Value {
    let mut metadata = json!({
        "name": pod.name,
        "namespace": pod.namespace,
        "uid": pod.uid.as_str(),
        "resourceVersion": pod.version.to_string(),
        "labels": pod.labels,
        "annotations": pod.annotations,
    });
    if !pod.finalizers.is_empty() {
        metadata["finalizers"] = json!(pod.finalizers);
    }
    if let Some(deletion) = pod.deletion {
        metadata["deletionTimestamp"] = json!(rfc3339(deletion.timestamp));
        metadata["deletionGracePeriodSeconds"] = json!(deletion.grace);
    }
    if let Some(owner) = &pod.owner {
        metadata["ownerReferences"] = json!([{
            "apiVersion": owner.api_version,
            "kind": owner.kind,
            "name": owner.name,
            "uid": format!("{}.{}", owner.kind, owner.name),
            "controller": true,
            "blockOwnerDeletion": true,
        }]);
    }
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": metadata,
        "spec": spec(pod),
        "status": status(pod),
    })
}

fn spec(pod: &Pod) -> Value {
    let volumes = match pod.volume {
        Volume::None => json!([]),
        Volume::Claim => json!([{
            "name": "data",
            "persistentVolumeClaim": { "claimName": format!("data-{}", pod.name) },
        }]),
    };
    json!({
        "nodeName": pod.node.as_str(),
        "terminationGracePeriodSeconds": pod.grace,
        "priority": pod.priority,
        "volumes": volumes,
        "containers": [{ "name": "main", "image": "registry.example/main:1" }],
    })
}

fn status(pod: &Pod) -> Value {
    let (phase, state) = match pod.phase {
        Phase::Pending => (
            "Pending",
            json!({ "waiting": { "reason": "ContainerCreating" } }),
        ),
        Phase::Ready | Phase::NotReady => ("Running", json!({ "running": {} })),
        Phase::Succeeded => ("Succeeded", json!({ "terminated": { "exitCode": 0 } })),
        Phase::Failed => ("Failed", json!({ "terminated": { "exitCode": 137 } })),
    };
    let is_ready = pod.phase == Phase::Ready;
    let mut conditions = vec![json!({
        "type": "Ready",
        "status": if is_ready { "True" } else { "False" },
    })];
    if let Some(reason) = &pod.disruption_target {
        conditions.push(json!({ "type": "DisruptionTarget", "status": "True", "reason": reason }));
    }
    json!({
        "phase": phase,
        "conditions": conditions,
        "containerStatuses": [{
            "name": "main",
            "image": "registry.example/main:1",
            "imageID": "",
            "ready": is_ready,
            "restartCount": 0,
            "state": state,
        }],
    })
}

/// One line of a watch.
pub(super) fn change(change: &Change) -> String {
    let kind = match change.kind {
        ChangeKind::Added => "ADDED",
        ChangeKind::Modified => "MODIFIED",
        ChangeKind::Deleted => "DELETED",
    };
    line(kind, &pod(&change.pod))
}

/// The line that says how far a watch is although nothing of it has changed.
pub(super) fn bookmark(cluster: &Cluster) -> String {
    let object = json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": { "resourceVersion": cluster.version().to_string() },
    });
    line("BOOKMARK", &object)
}

/// One line of a watch: `type` comes first, as the real server writes it.
pub(super) fn line(kind: &str, object: &Value) -> String {
    let mut line = json!({ "type": kind, "object": object }).to_string();
    line.push('\n');
    line
}

fn rfc3339(time: WallTime) -> String {
    let timestamp = Timestamp::from_millisecond(time.millis()).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{timestamp:.0}")
}
