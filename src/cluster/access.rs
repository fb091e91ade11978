//! Permissions, asked for.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Resource as _;

use super::EVENT_NAMESPACE;
use crate::plan::id::NodeName;
use crate::plan::preflight::{Access, Permission, Reach};
use crate::ports::ClusterError;

/// Where reviews are posted to.
pub(super) fn reviews() -> kube::core::Request {
    kube::core::Request::new(SelfSubjectAccessReview::url_path(&(), None))
}

/// The body that asks for one permission. Without a namespace it is asked for in all of them.
///
/// # Errors
/// When it cannot be written as JSON, which no string prevents.
pub(super) fn question(permission: &Permission, node: &NodeName) -> Result<Vec<u8>, ClusterError> {
    let (name, namespace) = match permission.reach {
        Reach::Everywhere => (None, None),
        Reach::OwnNode => (Some(node.as_str().to_owned()), None),
        Reach::EventsOfNodes => (None, Some(EVENT_NAMESPACE.to_owned())),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some(permission.verb.to_owned()),
                group: Some(permission.group.to_owned()),
                resource: Some(permission.resource.to_owned()),
                subresource: permission.subresource.map(str::to_owned),
                name,
                namespace,
                ..ResourceAttributes::default()
            }),
            non_resource_attributes: None,
        },
        ..SelfSubjectAccessReview::default()
    };
    serde_json::to_vec(&review).map_err(|cause| ClusterError::Unreachable(cause.into()))
}

/// What a review says. One without a status has not been looked at: nobody has allowed anything.
pub(super) fn answer(review: SelfSubjectAccessReview) -> Access {
    match review.status {
        Some(status) if status.allowed => Access::Allowed,
        Some(status) => Access::Denied {
            reason: status
                .reason
                .or(status.evaluation_error)
                .filter(|reason| !reason.is_empty()),
        },
        None => Access::Denied { reason: None },
    }
}
