//! What the load balancer's answers mean.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_elasticloadbalancingv2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_elasticloadbalancingv2::types::{
    ProtocolEnum, TagDescription, TargetGroup, TargetHealth, TargetHealthReasonEnum,
    TargetHealthStateEnum, TargetTypeEnum,
};

use crate::plan::action::TargetState;
use crate::plan::binding::{BalancerKind, GroupTag, ListedGroup, TargetType};
use crate::plan::id::TargetGroupArn;
use crate::ports::BalancerError;

/// A group of a listing; none when its ARN is none.
pub(super) fn listed(group: &TargetGroup) -> Option<ListedGroup> {
    let protocol = group.protocol().map(ProtocolEnum::as_str);
    Some(ListedGroup {
        arn: TargetGroupArn::parse(group.target_group_arn()?).ok()?,
        target_type: match group.target_type() {
            Some(TargetTypeEnum::Instance) => TargetType::Instance,
            Some(TargetTypeEnum::Ip) => TargetType::Ip,
            // Lambda functions, other balancers, and what may come: nothing that is on this node.
            Some(_) | None => TargetType::Elsewhere,
        },
        kind: protocol.and_then(BalancerKind::of_protocol),
    })
}

/// The tags of a group; none when its ARN is none.
pub(super) fn tagged(described: &TagDescription) -> Option<(TargetGroupArn, Vec<GroupTag>)> {
    let arn = TargetGroupArn::parse(described.resource_arn()?).ok()?;
    let tags = described.tags().iter().filter_map(|tag| {
        Some(GroupTag {
            key: tag.key()?.to_owned(),
            value: tag.value().unwrap_or_default().to_owned(),
        })
    });
    Some((arn, tags.collect()))
}

/// The states are an open list: one that is not known is taken for registered.
pub(super) fn state(health: Option<&TargetHealth>) -> TargetState {
    let state = health.and_then(TargetHealth::state);
    let reason = health.and_then(TargetHealth::reason);
    match (state, reason) {
        (_, Some(TargetHealthReasonEnum::NotRegistered)) => TargetState::NotRegistered,
        (Some(TargetHealthStateEnum::Draining), _) => TargetState::Draining,
        (Some(_) | None, _) => TargetState::Registered,
    }
}

/// Names what happened. The codes of Query services are not modelled one by one, so they are read as
/// text.
pub(super) fn error<E>(error: SdkError<E>) -> BalancerError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(refused) => {
            let status = refused.raw().status().as_u16();
            let message = refused.err().message().unwrap_or_default().to_owned();
            refusal(refused.err().code(), status, message)
        }
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => not_answered(error),
        // A reply that did not come in time, or whose body did not come whole.
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => {
            BalancerError::Lost(Box::new(error))
        }
        other => BalancerError::Lost(Box::new(other)),
    }
}

/// The SDK calls everything a failed dispatch that happens before a reply has begun, credentials
/// that cannot be had among it.
fn not_answered(error: impl Error + Send + Sync + 'static) -> BalancerError {
    if cause::<CredentialsError>(&error).is_some() {
        return BalancerError::NoCredentials(Box::new(error));
    }
    match cause::<hyper_util::client::legacy::Error>(&error) {
        Some(sending) if !sending.is_connect() => BalancerError::Lost(Box::new(error)),
        Some(_) | None => BalancerError::Unreachable(Box::new(error)),
    }
}

/// The cause of this type, if there is one.
pub(super) fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source())
        .find_map(|error| error.downcast_ref())
}

fn refusal(code: Option<&str>, status: u16, message: String) -> BalancerError {
    match (code.unwrap_or_default(), status) {
        (
            "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "TooManyRequestsException",
            _,
        )
        | (_, 429) => BalancerError::Throttled { message },
        ("ExpiredToken" | "ExpiredTokenException" | "RequestExpired", _) => {
            BalancerError::ExpiredToken { message }
        }
        (
            "AccessDenied"
            | "AccessDeniedException"
            | "UnauthorizedOperation"
            | "OptInRequired"
            | "SignatureDoesNotMatch"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "MissingAuthenticationToken",
            _,
        )
        | (_, 401 | 403) => BalancerError::Denied { message },
        ("TargetGroupNotFound" | "TargetGroupNotFoundException", _) => BalancerError::GroupGone,
        (_, 400..=499) => BalancerError::Invalid { message },
        (_, status) => BalancerError::ServerError { status, message },
    }
}
