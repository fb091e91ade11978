//! What a target group is: two calls that `check` makes and no agent does.

use std::time::Duration;

use super::answer::error;
use super::{Elbv2, in_region_of};
use crate::plan::binding::BalancerKind;
use crate::plan::id::TargetGroupArn;
use crate::ports::BalancerError;

/// The attribute that says how long a registration drains, in seconds
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html>).
const DELAY_ATTRIBUTE: &str = "deregistration_delay.timeout_seconds";

/// What a target group is, for `check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Which kind of load balancer it belongs to, where its protocol tells.
    pub kind: Option<BalancerKind>,
    /// `instance`, `ip`, `lambda`, `alb`.
    pub target_type: String,
    /// So long a registration drains.
    pub deregistration_delay: Option<Duration>,
}

impl Elbv2 {
    /// Reads what a group is, in two calls that no agent makes.
    ///
    /// # Errors
    /// As every call's; the agent's own policy does not allow these.
    pub async fn describe(
        &self,
        group: &TargetGroupArn,
    ) -> Result<GroupDescription, BalancerError> {
        let client = self.client(Some(group)).await;
        let groups = client
            .describe_target_groups()
            .target_group_arns(group.as_str())
            .customize()
            .config_override(in_region_of(group))
            .send()
            .await
            .map_err(error)?;
        let described = groups
            .target_groups()
            .first()
            .ok_or(BalancerError::GroupGone)?;
        let attributes = client
            .describe_target_group_attributes()
            .target_group_arn(group.as_str())
            .customize()
            .config_override(in_region_of(group))
            .send()
            .await
            .map_err(error)?;
        let delay = attributes
            .attributes()
            .iter()
            .find(|attribute| attribute.key() == Some(DELAY_ATTRIBUTE))
            .and_then(|attribute| attribute.value()?.parse().ok())
            .map(Duration::from_secs);
        Ok(GroupDescription {
            kind: described
                .protocol()
                .and_then(|protocol| BalancerKind::of_protocol(protocol.as_str())),
            target_type: described
                .target_type()
                .map_or("instance", |kind| kind.as_str())
                .to_owned(),
            deregistration_delay: delay,
        })
    }
}
