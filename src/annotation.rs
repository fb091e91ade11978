//! What is written on the Node: the label that load balancers heed, and the record of an interruption as an annotation's text.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::plan::id::{BootId, InstanceId, NoticeId};
use crate::plan::node::{Annotation, CordonOwner, InterruptionRecord};
use crate::plan::notice::InterruptionAction;
use crate::plan::pod::{BlockedWish, StartWish};
use crate::plan::time::WallTime;

/// The label by which load balancer controllers leave a node out
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/#node-kubernetes-io-exclude-from-external-load-balancers>).
pub const EXCLUSION_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// The key of the annotation.
pub const INTERRUPTION_ANNOTATION: &str = "spot-interrupt-handler/interruption";

/// On a pod or a namespace: `wait` forbids the deletion of pods whose eviction is refused to the end.
pub const ON_BLOCKED_ANNOTATION: &str = "spot-interrupt-handler/on-blocked";

/// `"true"` on a pod asks Karpenter not to disrupt it by choice
/// (<https://karpenter.sh/docs/concepts/disruption/#pod-level-controls>).
pub const DO_NOT_DISRUPT_ANNOTATION: &str = "karpenter.sh/do-not-disrupt";

/// `"false"` on a pod asks the cluster autoscaler the same
/// (<https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md>).
pub const SAFE_TO_EVICT_ANNOTATION: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

/// What the annotations of a pod or a namespace say about blocked pods.
#[must_use]
pub fn blocked_wish(annotations: Option<&BTreeMap<String, String>>) -> BlockedWish {
    match value(annotations, ON_BLOCKED_ANNOTATION) {
        Some("wait") => BlockedWish::Wait,
        Some(_) | None => BlockedWish::AsConfigured,
    }
}

/// What the annotations of a pod say about when its eviction should begin.
#[must_use]
pub fn start_wish(annotations: Option<&BTreeMap<String, String>>) -> StartWish {
    let is_late = value(annotations, DO_NOT_DISRUPT_ANNOTATION) == Some("true")
        || value(annotations, SAFE_TO_EVICT_ANNOTATION) == Some("false");
    if is_late {
        StartWish::Late
    } else {
        StartWish::AtOnce
    }
}

fn value<'a>(annotations: Option<&'a BTreeMap<String, String>>, key: &str) -> Option<&'a str> {
    annotations?.get(key).map(String::as_str)
}

/// The version written, and the only one understood.
const VERSION: u64 = 1;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    v: u64,
    notice_id: String,
    action: String,
    time: Option<String>,
    deadline: String,
    instance_id: Option<String>,
    boot_id: Option<String>,
    cordoned_by_us: bool,
    // Without `deserialize_with` a missing field would read as null, which says that the label was absent.
    #[serde(deserialize_with = "Option::deserialize")]
    label_before: Option<String>,
}

/// Writes a record as the annotation's text: JSON, times in RFC 3339 UTC with milliseconds where they are not whole seconds.
#[must_use]
pub fn write_annotation(record: &InterruptionRecord) -> String {
    let record = Record {
        v: VERSION,
        notice_id: record.notice_id.as_str().to_owned(),
        action: record.action.as_str().to_owned(),
        time: record.time.map(rfc3339),
        deadline: rfc3339(record.deadline),
        instance_id: record.instance_id.as_ref().map(|id| id.as_str().to_owned()),
        boot_id: record.boot_id.as_ref().map(|id| id.as_str().to_owned()),
        cordoned_by_us: record.cordon == CordonOwner::Us,
        label_before: record.label_before.clone(),
    };
    // Strings, numbers and nulls under string keys: serde_json has no way to fail on them.
    serde_json::to_string(&record).unwrap_or_default()
}

/// Reads the annotation's text; whatever this version does not understand whole is [`Annotation::Unknown`].
#[must_use]
pub fn read_annotation(text: &str) -> Annotation {
    serde_json::from_str::<Record>(text)
        .ok()
        .and_then(understood)
        .map_or_else(|| Annotation::Unknown(text.to_owned()), Annotation::Record)
}

fn understood(record: Record) -> Option<InterruptionRecord> {
    if record.v != VERSION {
        return None;
    }
    let time = match record.time {
        Some(text) => Some(wall_time(&text)?),
        None => None,
    };
    Some(InterruptionRecord {
        notice_id: NoticeId::new(record.notice_id),
        action: InterruptionAction::named(&record.action)?,
        time,
        deadline: wall_time(&record.deadline)?,
        instance_id: record.instance_id.map(InstanceId::new),
        boot_id: record.boot_id.map(BootId::new),
        cordon: if record.cordoned_by_us {
            CordonOwner::Us
        } else {
            CordonOwner::Another
        },
        label_before: record.label_before,
    })
}

fn rfc3339(time: WallTime) -> String {
    // Beyond the year 9999 nobody is interrupted; the last representable instant stands for it.
    let timestamp = Timestamp::from_millisecond(time.millis()).unwrap_or(Timestamp::MAX);
    if timestamp.subsec_millisecond() == 0 {
        format!("{timestamp:.0}")
    } else {
        format!("{timestamp:.3}")
    }
}

fn wall_time(text: &str) -> Option<WallTime> {
    let timestamp: Timestamp = text.parse().ok()?;
    Some(WallTime::from_millis(timestamp.as_millisecond()))
}
