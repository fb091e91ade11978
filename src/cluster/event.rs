//! Events about our Node, for `kubectl describe node`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::{AGENT, EVENT_NAMESPACE};
use crate::plan::action::NodeEvent;
use crate::plan::id::NodeName;
use crate::plan::time::WallTime;
use crate::ports::ClusterError;

/// The body that publishes an event, seen once, now.
///
/// # Errors
/// When it cannot be written as JSON, which no string prevents.
pub(super) fn body(
    event: &NodeEvent,
    node: &NodeName,
    now: WallTime,
) -> Result<Vec<u8>, ClusterError> {
    let time = Timestamp::from_millisecond(now.millis()).ok().map(Time);
    let reason = event.kind.reason().to_owned();
    let event = Event {
        metadata: ObjectMeta {
            namespace: Some(EVENT_NAMESPACE.to_owned()),
            name: Some(event.name.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.as_str().to_owned()),
            // Without its UID a Node's events are found under its name, where the kubelet's own are.
            uid: Some(
                event
                    .node_uid
                    .clone()
                    .unwrap_or_else(|| node.as_str().to_owned()),
            ),
            ..ObjectReference::default()
        },
        type_: Some(event.kind.severity().to_owned()),
        action: Some(reason.clone()),
        reason: Some(reason),
        message: Some(event.note.clone()),
        source: Some(EventSource {
            component: Some(AGENT.to_owned()),
            host: Some(node.as_str().to_owned()),
        }),
        reporting_component: Some(AGENT.to_owned()),
        reporting_instance: Some(node.as_str().to_owned()),
        first_timestamp: time.clone(),
        last_timestamp: time,
        count: Some(1),
        ..Event::default()
    };
    serde_json::to_vec(&event).map_err(|cause| ClusterError::Unreachable(cause.into()))
}
