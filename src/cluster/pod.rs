//! Pods, read and evicted.

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    DeleteOptions, ObjectMeta, OwnerReference, Preconditions,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer;
use super::list::List;
use super::object::{ContainerStatus, Metadata, Pod, PodSpec, PodStatus};
use crate::annotation::{blocked_wish, start_wish};
use crate::plan::budget::Grace;
use crate::plan::id::{PodRef, PodUid, ResourceVersion};
use crate::plan::pod::{Owner, PodPort, PodProgress, PodView, Termination};
use crate::plan::time::WallTime;
use crate::ports::ClusterError;

/// The annotation the kubelet puts on the mirror of a static pod
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-config-mirror>).
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

#[derive(Deserialize)]
enum ListKind {
    PodList,
}

#[derive(Deserialize)]
#[serde(from = "Pod")]
struct Item(Option<PodView>);

impl From<Pod> for Item {
    fn from(pod: Pod) -> Self {
        Self(view(pod))
    }
}

/// The pods of a `PodList` that can be named, and where a watch goes on.
///
/// # Errors
/// [`ClusterError::Unreadable`] when the body is no such list.
pub fn read_pods(body: &[u8]) -> Result<(Vec<PodView>, ResourceVersion), ClusterError> {
    let list: List<ListKind, Item> = answer::decode(body)?;
    let (items, version) = list.into_parts();
    let pods = items.into_iter().filter_map(|Item(view)| view).collect();
    Ok((pods, ResourceVersion::new(version)))
}

/// What a pod says; none when it lacks its name, namespace or UID, without which nothing can be done about it.
pub(super) fn view(pod: Pod) -> Option<PodView> {
    let metadata = pod.metadata.unwrap_or_default();
    let spec = pod.spec.unwrap_or_default();
    let status = pod.status.unwrap_or_default();
    let grace = Grace::of_spec(spec.termination_grace_period_seconds);
    let termination = metadata
        .deletion_timestamp
        .as_ref()
        .map(|time| Termination {
            deletion_timestamp: WallTime::from_millis(time.0.as_millisecond()),
            grace: metadata
                .deletion_grace_period_seconds
                .map_or(grace, |seconds| Grace::of_spec(Some(seconds))),
        });
    let is_mirror = is_mirror(&metadata);
    let start = start_wish(metadata.annotations.as_ref());
    let when_blocked = blocked_wish(metadata.annotations.as_ref());
    let created = metadata
        .creation_timestamp
        .as_ref()
        .map(|time| WallTime::from_millis(time.0.as_millisecond()));
    let owners = metadata.owner_references.unwrap_or_default();
    Some(PodView {
        pod: PodRef {
            namespace: metadata.namespace?,
            name: metadata.name?,
            uid: PodUid::new(metadata.uid?),
        },
        owner: controller(owners),
        grace,
        progress: progress(&status, termination.is_some()),
        termination,
        mounts_claim: mounts_claim(&spec),
        priority: spec.priority.unwrap_or(0),
        is_mirror,
        start,
        when_blocked,
        created,
        labels: metadata.labels.unwrap_or_default(),
        address: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
        ports: ports(&spec),
    })
}

fn is_mirror(metadata: &Metadata) -> bool {
    let is_annotated = metadata
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key(MIRROR_ANNOTATION));
    let is_owned_by_node = metadata
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.kind == "Node");
    is_annotated || is_owned_by_node
}

fn controller(owners: Vec<OwnerReference>) -> Option<Owner> {
    let owner = owners
        .into_iter()
        .find(|owner| owner.controller == Some(true))?;
    Some(Owner {
        kind: owner.kind,
        name: owner.name,
    })
}

fn ports(spec: &PodSpec) -> Vec<PodPort> {
    let is_in_host_network = spec.host_network == Some(true);
    let containers = spec
        .containers
        .iter()
        .chain(&spec.init_containers)
        .flatten();
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let number = u16::try_from(port.number?).ok()?;
            let host = port.host_port.and_then(|host| u16::try_from(host).ok());
            Some(PodPort {
                name: port.name.clone(),
                number,
                host: host.or(is_in_host_network.then_some(number)),
            })
        })
        .collect()
}

/// A generic ephemeral volume is a claim made for this pod: its disk has to be let go as well.
fn mounts_claim(spec: &PodSpec) -> bool {
    spec.volumes
        .iter()
        .flatten()
        .any(|volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some())
}

fn progress(status: &PodStatus, is_terminating: bool) -> PodProgress {
    match status.phase.as_deref() {
        Some("Succeeded" | "Failed") => PodProgress::Finished,
        _ if is_terminating && has_stopped(status) => PodProgress::Finished,
        None | Some("Pending") => PodProgress::Pending,
        Some(_) if is_ready(status) => PodProgress::Ready,
        Some(_) => PodProgress::NotReady,
    }
}

/// Whether the kubelet says of every container that it has stopped. A sidecar is an init container that runs on, and
/// a container that somebody debugs with is an ephemeral one.
fn has_stopped(status: &PodStatus) -> bool {
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let beside = status
        .init_container_statuses
        .iter()
        .chain(&status.ephemeral_container_statuses)
        .flatten();
    !containers.is_empty()
        && containers.iter().all(is_terminated)
        && !beside.into_iter().any(is_running)
}

fn is_terminated(container: &ContainerStatus) -> bool {
    container
        .state
        .as_ref()
        .is_some_and(|state| state.terminated.is_some())
}

fn is_running(container: &ContainerStatus) -> bool {
    container
        .state
        .as_ref()
        .is_some_and(|state| state.running.is_some())
}

fn is_ready(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(|condition| {
        condition.kind.as_deref() == Some("Ready") && condition.status.as_deref() == Some("True")
    })
}

/// The body of a patch of a pod's status: why it is going to be deleted, as the node's own shutdown says it
/// (<https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions>).
pub(super) fn disruption_target(pod: &PodRef, since: WallTime) -> Value {
    let since = Timestamp::from_millisecond(since.millis()).unwrap_or(Timestamp::UNIX_EPOCH);
    json!({
        "metadata": { "uid": pod.uid.as_str() },
        "status": { "conditions": [{
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "TerminationBySpotInterruption",
            "message": "EC2 takes this node, and a disruption budget kept the pod from being evicted",
            "lastTransitionTime": format!("{since:.0}"),
        }]},
    })
}

/// The body of an eviction: of this very pod, with this grace period or its own.
///
/// # Errors
/// When it cannot be written as JSON, which no string prevents.
pub(super) fn eviction(pod: &PodRef, grace: Option<Grace>) -> Result<Vec<u8>, ClusterError> {
    let eviction = Eviction {
        metadata: ObjectMeta {
            namespace: Some(pod.namespace.clone()),
            name: Some(pod.name.clone()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            grace_period_seconds: grace.map(|grace| i64::from(grace.as_secs())),
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.as_str().to_owned()),
                resource_version: None,
            }),
            ..DeleteOptions::default()
        }),
    };
    serde_json::to_vec(&eviction).map_err(|cause| ClusterError::Unreachable(cause.into()))
}
