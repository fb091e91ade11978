//! The world's answers in the vocabulary of the ports.

use std::time::Duration;

use super::{Cause, Failed};
use crate::annotation::{
    EXCLUSION_LABEL, INTERRUPTION_ANNOTATION, blocked_wish, read_annotation, start_wish,
    write_annotation,
};
use crate::plan::action::{Target, TargetState};
use crate::plan::budget::Grace;
use crate::plan::id::{PodRef, ResourceVersion};
use crate::plan::node::{
    Annotation, CordonPatch, LabelUndo, LabelWrite, NodeView, Scheduling, SchedulingUndo,
    SchedulingWrite, UndoPatch,
};
use crate::plan::pod::{Owner, PodProgress, PodView, Termination};
use crate::ports::{BalancerError, ClusterError, MetadataError, Refusal};
use crate::sim::balancer::{Health, Registration};
use crate::sim::node::{Node, NodePatch};
use crate::sim::pod::{Phase, Pod, Volume};
use crate::sim::refused::Refused;

impl From<Failed> for ClusterError {
    fn from(failed: Failed) -> Self {
        let refused = |refusal, status| Self::Refused {
            refusal,
            status,
            message: "simulated".to_owned(),
        };
        match failed {
            Failed::Unreachable => Self::Unreachable(Box::new(Cause("has no route"))),
            Failed::Lost => Self::Lost(Box::new(Cause("broke the connection"))),
            Failed::Garbage => Self::Unreadable(Box::new(Cause("mixed up an answer"))),
            Failed::Throttled => refused(Refusal::Throttled(Some(Duration::from_secs(1))), 429),
            Failed::Status(401) => refused(Refusal::Unauthenticated, 401),
            Failed::Status(403) => refused(Refusal::Forbidden, 403),
            Failed::Status(status) => refused(Refusal::ServerError, status),
        }
    }
}

impl From<Failed> for MetadataError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Unreachable => Self::Unreachable(Box::new(Cause("has no route"))),
            Failed::Lost => Self::Lost(Box::new(Cause("broke the connection"))),
            Failed::Garbage => Self::Body {
                what: "a notice",
                body: "<html>".to_owned(),
            },
            Failed::Throttled => Self::Status {
                status: 429,
                body: String::new(),
            },
            Failed::Status(401) => Self::TokenRefused,
            Failed::Status(403) => Self::Disabled,
            Failed::Status(status) => Self::Status {
                status,
                body: String::new(),
            },
        }
    }
}

pub(super) fn balancer_refusal(failed: Failed) -> BalancerError {
    let message = "simulated".to_owned();
    match failed {
        Failed::Unreachable => BalancerError::Unreachable(Box::new(Cause("has no route"))),
        Failed::Lost | Failed::Garbage => {
            BalancerError::Lost(Box::new(Cause("broke the connection")))
        }
        Failed::Throttled => BalancerError::Throttled { message },
        Failed::Status(401) => BalancerError::ExpiredToken { message },
        Failed::Status(403) => BalancerError::Denied { message },
        Failed::Status(status) => BalancerError::ServerError { status, message },
    }
}

pub(super) fn cluster_refusal(refused: &Refused) -> ClusterError {
    let refusal = match refused {
        Refused::NoPod(_) | Refused::NoNode(_) | Refused::NoResource => Refusal::NotFound,
        Refused::NoMethod | Refused::Malformed(_) | Refused::ImmutableUid { .. } => {
            Refusal::Invalid
        }
        Refused::WrongUid { .. } | Refused::StaleNode(_) | Refused::EventExists(_) => {
            Refusal::Conflict
        }
        Refused::Budget { .. } | Refused::BudgetUnobserved(_) => Refusal::Budget,
        Refused::BudgetNegative { .. } => Refusal::Forbidden,
        Refused::TwoBudgets => Refusal::TwoBudgets,
        Refused::NamespaceTerminating { .. } => Refusal::NamespaceTerminating,
        Refused::Expired { .. } => Refusal::Expired,
        Refused::VersionTooLarge { .. } => Refusal::ServerError,
    };
    ClusterError::Refused {
        refusal,
        status: refused.code(),
        message: "simulated".to_owned(),
    }
}

pub(super) fn node_view(node: &Node) -> NodeView {
    NodeView {
        uid: node.uid.clone(),
        resource_version: ResourceVersion::new(node.version.to_string()),
        scheduling: if node.unschedulable {
            Scheduling::Cordoned
        } else {
            Scheduling::Open
        },
        exclusion_label: node.labels.get(EXCLUSION_LABEL).cloned(),
        annotation: node
            .annotations
            .get(INTERRUPTION_ANNOTATION)
            .map_or(Annotation::Absent, |text| read_annotation(text)),
        taints: node.taints.iter().map(|(key, _, _)| key.clone()).collect(),
        boot_id: Some(node.boot.clone()),
        provider: Some(node.instance.clone()),
        labels: node.labels.clone(),
    }
}

pub(super) fn node_patch(patch: &CordonPatch) -> NodePatch {
    NodePatch::cordoning(
        patch.expected.as_ref().map(ResourceVersion::as_str),
        patch.scheduling == SchedulingWrite::Cordon,
        (patch.label == LabelWrite::Set).then_some((EXCLUSION_LABEL, "true")),
        patch
            .record
            .as_ref()
            .map(|record| (INTERRUPTION_ANNOTATION, write_annotation(record))),
    )
}

pub(super) fn undo_patch(patch: &UndoPatch) -> NodePatch {
    let label = match &patch.label {
        LabelUndo::Remove => Some((EXCLUSION_LABEL, None)),
        LabelUndo::Restore(value) => Some((EXCLUSION_LABEL, Some(value.as_str()))),
        LabelUndo::Keep => None,
    };
    NodePatch::undoing(
        patch.expected.as_str(),
        patch.scheduling == SchedulingUndo::Uncordon,
        label,
        INTERRUPTION_ANNOTATION,
    )
}

pub(super) fn pod_view(pod: &Pod) -> PodView {
    let has_stopped = pod.is_finished();
    PodView {
        pod: PodRef {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        },
        owner: pod.owner.as_ref().map(|owner| Owner {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
        }),
        grace: Grace::of_spec(Some(pod.grace.into())),
        progress: match pod.phase {
            _ if has_stopped => PodProgress::Finished,
            Phase::Pending => PodProgress::Pending,
            Phase::Ready => PodProgress::Ready,
            Phase::NotReady | Phase::Succeeded | Phase::Failed => PodProgress::NotReady,
        },
        termination: pod.deletion.map(|deletion| Termination {
            deletion_timestamp: deletion.timestamp,
            grace: Grace::from_secs(deletion.grace),
        }),
        mounts_claim: pod.volume == Volume::Claim,
        priority: pod.priority,
        is_mirror: pod.is_mirror(),
        start: start_wish(Some(&pod.annotations)),
        when_blocked: blocked_wish(Some(&pod.annotations)),
        created: pod.created,
        labels: pod.labels.clone(),
        address: pod.address,
        ports: pod.ports.clone(),
    }
}

pub(super) fn target_state(health: &Health) -> Target {
    Target {
        port: health.target.port,
        state: match health.registration {
            Some(Registration::Healthy) => TargetState::Registered,
            Some(Registration::Draining { .. }) => TargetState::Draining,
            None => TargetState::NotRegistered,
        },
    }
}
