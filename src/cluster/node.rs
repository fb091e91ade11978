//! The Node, read and patched.

use serde_json::{Map, Value, json};

use super::object::Node;
use crate::annotation::{
    EXCLUSION_LABEL, INTERRUPTION_ANNOTATION, read_annotation, write_annotation,
};
use crate::plan::id::{BootId, InstanceId, ResourceVersion};
use crate::plan::node::{
    Annotation, CordonPatch, LabelUndo, LabelWrite, NodeView, Scheduling, SchedulingUndo,
    SchedulingWrite, UndoPatch,
};
use crate::ports::ClusterError;

#[derive(Debug, thiserror::Error)]
#[error("the Node has no metadata.{0}")]
struct Incomplete(&'static str);

/// What a Node says.
///
/// # Errors
/// When it lacks its UID or its version, which every stored object has.
pub(super) fn view(node: Node) -> Result<NodeView, ClusterError> {
    let missing = |field| ClusterError::Unreadable(Box::new(Incomplete(field)));
    let metadata = node.metadata.unwrap_or_default();
    let spec = node.spec.unwrap_or_default();
    let is_unschedulable = spec.unschedulable == Some(true);
    let labels = metadata.labels.unwrap_or_default();
    let taints = spec.taints.unwrap_or_default();
    let annotation = metadata
        .annotations
        .unwrap_or_default()
        .remove(INTERRUPTION_ANNOTATION);
    Ok(NodeView {
        uid: metadata.uid.ok_or_else(|| missing("uid"))?,
        resource_version: metadata
            .resource_version
            .map(ResourceVersion::new)
            .ok_or_else(|| missing("resourceVersion"))?,
        scheduling: if is_unschedulable {
            Scheduling::Cordoned
        } else {
            Scheduling::Open
        },
        exclusion_label: labels.get(EXCLUSION_LABEL).cloned(),
        annotation: annotation.map_or(Annotation::Absent, |text| read_annotation(&text)),
        taints: taints.into_iter().filter_map(|taint| taint.key).collect(),
        boot_id: node
            .status
            .and_then(|status| status.node_info)
            .and_then(|info| info.boot_id)
            .filter(|id| !id.is_empty())
            .map(BootId::new),
        provider: spec.provider_id.as_deref().and_then(provider_instance),
        labels,
    })
}

/// The instance of a provider id like `aws:///eu-west-1a/i-0123456789abcdef0`.
fn provider_instance(id: &str) -> Option<InstanceId> {
    let path = id.strip_prefix("aws://")?;
    let instance = path.rsplit('/').next()?;
    instance
        .starts_with("i-")
        .then(|| InstanceId::new(instance))
}

/// The merge patch (RFC 7386) that takes the node out of service.
pub(super) fn patch_body(patch: &CordonPatch) -> Value {
    let mut metadata = Map::new();
    if let Some(version) = &patch.expected {
        metadata.insert("resourceVersion".to_owned(), json!(version.as_str()));
    }
    if patch.label == LabelWrite::Set {
        metadata.insert("labels".to_owned(), json!({ EXCLUSION_LABEL: "true" }));
    }
    if let Some(record) = &patch.record {
        metadata.insert(
            "annotations".to_owned(),
            json!({ INTERRUPTION_ANNOTATION: write_annotation(record) }),
        );
    }
    let mut body = match patch.scheduling {
        SchedulingWrite::Cordon => json!({ "spec": { "unschedulable": true } }),
        SchedulingWrite::Keep => json!({}),
    };
    if !metadata.is_empty() {
        body["metadata"] = Value::Object(metadata);
    }
    body
}

/// The merge patch that takes back what an interruption left. `null` removes.
pub(super) fn undo_body(patch: &UndoPatch) -> Value {
    let mut metadata = json!({
        "resourceVersion": patch.expected.as_str(),
        "annotations": { INTERRUPTION_ANNOTATION: null },
    });
    match &patch.label {
        LabelUndo::Remove => metadata["labels"] = json!({ EXCLUSION_LABEL: null }),
        LabelUndo::Restore(value) => metadata["labels"] = json!({ EXCLUSION_LABEL: value }),
        LabelUndo::Keep => {}
    }
    match patch.scheduling {
        SchedulingUndo::Uncordon => {
            json!({ "metadata": metadata, "spec": { "unschedulable": false } })
        }
        SchedulingUndo::Keep => json!({ "metadata": metadata }),
    }
}
