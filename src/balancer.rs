//! Elastic Load Balancing, version 2, as [`Balancer`]: one attempt a call over the AWS SDK.
//!
//! Nothing of AWS is touched before the first call: no configuration is read, no certificate parsed.

use std::error::Error;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::config::{self, Credentials};
use aws_sdk_elasticloadbalancingv2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_elasticloadbalancingv2::types::{
    TargetDescription, TargetHealth, TargetHealthReasonEnum, TargetHealthStateEnum,
};
use aws_smithy_http_client::tls;
use tokio::sync::Mutex;

use crate::plan::action::{Ports, Target, TargetState};
use crate::plan::id::{InstanceId, TargetGroupArn};
use crate::ports::{Balancer, BalancerError};

/// The service answers in tens of milliseconds; the SDK itself would wait for ever (measured).
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2_500);

/// A SYN is sent again after one second: this allows for one loss.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How long a registration drains
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html>).
const DELAY_ATTRIBUTE: &str = "deregistration_delay.timeout_seconds";

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
    /// The SDK's ordinary chain.
    Chain,
    /// An endpoint that takes any credentials, for the simulation.
    Endpoint(String),
}

impl Elbv2 {
    /// The service as the SDK finds it: environment, profile, web identity, Pod Identity, instance
    /// role. Reads nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            origin: Origin::Chain,
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

    /// The client; the first call decides where it looks for credentials.
    async fn client(&self, group: &TargetGroupArn) -> Client {
        let mut kept = self.client.lock().await;
        if let Some(client) = kept.as_ref() {
            return client.clone();
        }
        let client = self.connect(group.region()).await;
        *kept = Some(client.clone());
        client
    }

    async fn connect(&self, region: &str) -> Client {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(
                tls::rustls_provider::CryptoMode::Ring,
            ))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .build();
        // A call goes to its target group's own region. This one is where credentials are asked for, and
        // a group of the same partition is the best guess: us-east-1 has no STS for China.
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .region(Region::new(region.to_owned()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let loader = match &self.origin {
            Origin::Chain => loader,
            Origin::Endpoint(endpoint) => {
                loader
                    .endpoint_url(endpoint)
                    .credentials_provider(Credentials::new(
                        "simulated",
                        "simulated",
                        None,
                        None,
                        "simulation",
                    ))
            }
        };
        Client::new(&loader.load().await)
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

/// What a target group is, for `check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Which kind of load balancer it belongs to.
    pub kind: BalancerKind,
    /// `instance`, `ip`, `lambda`, `alb`.
    pub target_type: String,
    /// So long a registration drains.
    pub deregistration_delay: Option<Duration>,
}

/// The kinds of load balancers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalancerKind {
    /// HTTP and HTTPS.
    Application,
    /// TCP, TLS, UDP and QUIC.
    Network,
    /// GENEVE.
    Gateway,
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
        let client = self.client(group).await;
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
        let protocol = described
            .protocol()
            .map_or("", |protocol| protocol.as_str());
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
            kind: match protocol {
                "HTTP" | "HTTPS" => BalancerKind::Application,
                "GENEVE" => BalancerKind::Gateway,
                _ => BalancerKind::Network,
            },
            target_type: described
                .target_type()
                .map_or("instance", |kind| kind.as_str())
                .to_owned(),
            deregistration_delay: delay,
        })
    }
}

impl Default for Elbv2 {
    fn default() -> Self {
        Self::new()
    }
}

impl Balancer for Elbv2 {
    async fn targets(
        &self,
        group: &TargetGroupArn,
        instance: &InstanceId,
        ports: Ports,
    ) -> Result<Vec<Target>, BalancerError> {
        // Without targets the group lists all it has, in one reply: there is no paging.
        let asked = match ports {
            Ports::All => None,
            Ports::Only(port) => Some(vec![description(instance, port)]),
        };
        let result = self
            .client(group)
            .await
            .describe_target_health()
            .target_group_arn(group.as_str())
            .set_targets(asked)
            .customize()
            .config_override(in_region_of(group))
            .send()
            .await
            .map_err(error);
        let output = self.renew_if_expired(result).await?;
        Ok(output
            .target_health_descriptions()
            .iter()
            .filter_map(|description| {
                let target = description.target()?;
                let port = u16::try_from(target.port()?).ok()?;
                let is_ours = target.id() == Some(instance.as_str());
                let is_asked = match ports {
                    Ports::All => true,
                    Ports::Only(only) => port == only,
                };
                (is_ours && is_asked).then(|| Target {
                    port,
                    state: state(description.target_health()),
                })
            })
            .collect())
    }

    async fn deregister(
        &self,
        group: &TargetGroupArn,
        instance: &InstanceId,
        ports: &[u16],
    ) -> Result<(), BalancerError> {
        let targets = ports
            .iter()
            .map(|port| description(instance, *port))
            .collect();
        let result = self
            .client(group)
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
            Err(failed) => self.renew_if_expired(Err(error(failed))).await,
        }
    }
}

/// Id and port: an id alone misses registrations whose port is not the group's own
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeregisterTargets.html>).
fn description(instance: &InstanceId, port: u16) -> TargetDescription {
    TargetDescription::builder()
        .id(instance.as_str())
        .port(port.into())
        .build()
}

fn in_region_of(group: &TargetGroupArn) -> config::Builder {
    config::Builder::new().region(Region::new(group.region().to_owned()))
}

/// The states are an open list: one that is not known is taken for registered.
fn state(health: Option<&TargetHealth>) -> TargetState {
    let state = health.and_then(TargetHealth::state);
    let reason = health.and_then(TargetHealth::reason);
    match (state, reason) {
        (Some(TargetHealthStateEnum::Draining), _) => TargetState::Draining,
        (Some(TargetHealthStateEnum::Unused), Some(TargetHealthReasonEnum::NotRegistered)) => {
            TargetState::NotRegistered
        }
        (Some(_) | None, _) => TargetState::Registered,
    }
}

/// Names what happened. The codes of Query services are not modelled one by one, so they are read as
/// text.
fn error<E>(error: SdkError<E>) -> BalancerError
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

fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
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
