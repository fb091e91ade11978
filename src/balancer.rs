//! Elastic Load Balancing, version 2, as [`Balancer`]: one attempt a call over the AWS SDK.
//!
//! Nothing of AWS is touched before the first call: no configuration is read, no certificate parsed.

mod answer;
mod client;
mod description;
mod proxy;

use std::net::IpAddr;

use aws_config::Region;
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::config;
use aws_sdk_elasticloadbalancingv2::error::SdkError;
use aws_sdk_elasticloadbalancingv2::types::TargetDescription;
use tokio::sync::Mutex;

pub use description::GroupDescription;
pub use proxy::{Proxy, UnusableProxy};

use crate::plan::action::{Ports, Target};
use crate::plan::binding::{GroupTag, ListedGroup, Marker, TargetId};
use crate::plan::id::TargetGroupArn;
use crate::ports::{Balancer, BalancerError};

/// As many groups as a page may have
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetGroups.html>).
const PAGE_SIZE: i32 = 400;

/// The load balancers of this account.
#[derive(Debug)]
pub struct Elbv2 {
    origin: Origin,
    /// Made at the first call, and again after the credentials have expired.
    client: Mutex<Option<Client>>,
}

/// Where endpoint and credentials come from.
#[derive(Debug)]
enum Origin {
    /// The SDK's ordinary chain, by way of a proxy if there is one.
    Chain(Option<Proxy>),
    /// An endpoint that takes any credentials, for the simulation.
    Endpoint(String),
}

impl Elbv2 {
    /// The service as the SDK finds it: environment, profile, web identity, Pod Identity, instance
    /// role. What of AWS is reached over TLS is reached through the proxy. Reads nothing yet.
    #[must_use]
    pub const fn new(proxy: Option<Proxy>) -> Self {
        Self {
            origin: Origin::Chain(proxy),
            client: Mutex::const_new(None),
        }
    }

    /// The service at this endpoint, with credentials that mean nothing.
    #[must_use]
    pub fn at(endpoint: impl Into<String>) -> Self {
        Self {
            origin: Origin::Endpoint(endpoint.into()),
            client: Mutex::new(None),
        }
    }

    /// The client. The first call decides where it looks for credentials: in the region of the group that it is
    /// about, or where the SDK's chain says that we are.
    async fn client(&self, group: Option<&TargetGroupArn>) -> Client {
        let mut kept = self.client.lock().await;
        if let Some(client) = kept.as_ref() {
            return client.clone();
        }
        let client = client::connect(&self.origin, group.map(TargetGroupArn::region)).await;
        // Without a region it is good for nothing, and the next call may know one.
        if client.config().region().is_some() {
            *kept = Some(client.clone());
        }
        client
    }

    /// The client for what is about a whole region.
    async fn client_of_region(&self) -> Result<Client, BalancerError> {
        let client = self.client(None).await;
        match client.config().region() {
            Some(_) => Ok(client),
            None => Err(BalancerError::NoRegion),
        }
    }

    /// Makes the next call start with a new client, and so with new credentials, when these have
    /// expired.
    async fn renew_if_expired<T>(
        &self,
        result: Result<T, BalancerError>,
    ) -> Result<T, BalancerError> {
        if matches!(result, Err(BalancerError::ExpiredToken { .. })) {
            *self.client.lock().await = None;
        }
        result
    }
}

impl Balancer for Elbv2 {
    async fn warm(&self) -> Result<(), BalancerError> {
        client::warm(&self.client_of_region().await?).await
    }

    async fn groups(
        &self,
        from: Option<&Marker>,
    ) -> Result<(Vec<ListedGroup>, Option<Marker>), BalancerError> {
        let result = self
            .client_of_region()
            .await?
            .describe_target_groups()
            .page_size(PAGE_SIZE)
            .set_marker(from.map(|Marker(marker)| marker.clone()))
            .send()
            .await
            .map_err(answer::error);
        let page = self.renew_if_expired(result).await?;
        let groups = page.target_groups().iter().filter_map(answer::listed);
        let next = page.next_marker().filter(|marker| !marker.is_empty());
        Ok((
            groups.collect(),
            next.map(|marker| Marker(marker.to_owned())),
        ))
    }

    async fn tags(
        &self,
        groups: &[TargetGroupArn],
    ) -> Result<Vec<(TargetGroupArn, Vec<GroupTag>)>, BalancerError> {
        let Some(first) = groups.first() else {
            return Ok(Vec::new());
        };
        let arns = groups.iter().map(|group| group.as_str().to_owned());
        let result = self
            .client(Some(first))
            .await
            .describe_tags()
            .set_resource_arns(Some(arns.collect()))
            .customize()
            .config_override(in_region_of(first))
            .send()
            .await
            .map_err(answer::error);
        let output = self.renew_if_expired(result).await?;
        let described = output.tag_descriptions().iter();
        Ok(described.filter_map(answer::tagged).collect())
    }

    async fn targets(
        &self,
        group: &TargetGroupArn,
        target: &TargetId,
        ports: Ports,
    ) -> Result<Vec<Target>, BalancerError> {
        // Without targets the group lists all it has, in one reply: there is no paging.
        let asked = match ports {
            Ports::All => None,
            Ports::Only(port) => Some(vec![description(target, port)]),
        };
        let result = self
            .client(Some(group))
            .await
            .describe_target_health()
            .target_group_arn(group.as_str())
            .set_targets(asked)
            .customize()
            .config_override(in_region_of(group))
            .send()
            .await;
        let result = match result {
            // As with a deregistration: what cannot be a target is not registered.
            Err(SdkError::ServiceError(refused)) if refused.err().is_invalid_target_exception() => {
                return Ok(Vec::new());
            }
            result => result.map_err(answer::error),
        };
        let output = self.renew_if_expired(result).await?;
        Ok(output
            .target_health_descriptions()
            .iter()
            .filter_map(|description| {
                let described = description.target()?;
                let port = u16::try_from(described.port()?).ok()?;
                let is_ours = described.id().is_some_and(|id| names(id, target));
                let is_asked = match ports {
                    Ports::All => true,
                    Ports::Only(only) => port == only,
                };
                (is_ours && is_asked).then(|| Target {
                    port,
                    state: answer::state(description.target_health()),
                })
            })
            .collect())
    }

    async fn deregister(
        &self,
        group: &TargetGroupArn,
        target: &TargetId,
        ports: &[u16],
    ) -> Result<(), BalancerError> {
        let targets = ports
            .iter()
            .map(|port| description(target, *port))
            .collect();
        let result = self
            .client(Some(group))
            .await
            .deregister_targets()
            .target_group_arn(group.as_str())
            .set_targets(Some(targets))
            .customize()
            .config_override(in_region_of(group))
            .send()
            .await;
        match result {
            Ok(_) => Ok(()),
            // Real ELB says success where the target is not there; other implementations say this.
            Err(SdkError::ServiceError(refused)) if refused.err().is_invalid_target_exception() => {
                Ok(())
            }
            Err(failed) => self.renew_if_expired(Err(answer::error(failed))).await,
        }
    }
}

/// Id and port: an id alone misses registrations whose port is not the group's own
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeregisterTargets.html>).
fn description(target: &TargetId, port: u16) -> TargetDescription {
    TargetDescription::builder()
        .id(target.to_string())
        .port(port.into())
        .build()
}

/// Whether this is how the load balancer writes it: an IPv6 address has more than one form.
fn names(id: &str, target: &TargetId) -> bool {
    match target {
        TargetId::Instance(instance) => id == instance.as_str(),
        TargetId::Address(address) => id.parse::<IpAddr>().is_ok_and(|id| id == *address),
    }
}

fn in_region_of(group: &TargetGroupArn) -> config::Builder {
    config::Builder::new().region(Region::new(group.region().to_owned()))
}
