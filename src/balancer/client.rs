//! The SDK's client, with everything off that would wait or try again by itself.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_elasticloadbalancingv2::config::{
    self, ConfigBag, Credentials, Intercept, RuntimeComponents, SharedHttpClient,
};
use aws_sdk_elasticloadbalancingv2::error::BoxError;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder, Connector, tls};

use super::{Origin, answer};
use crate::ports::BalancerError;

/// The service answers in tens of milliseconds; the SDK itself would wait for ever (measured).
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2_500);

/// A SYN is sent again after one second: this allows for one loss.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// What requests to an [`Origin::Endpoint`] are signed for that are not about a target group.
const NO_REGION: Region = Region::from_static("us-east-1");

/// A client that looks for credentials in this region, or in the one that the SDK's chain names: `AWS_REGION`, the
/// profile, the metadata service. It may name none. A call about a target group goes to the group's own region
/// whatever this one is, but a region of the same partition is where credentials can be had: us-east-1 has no STS for
/// China.
pub(super) async fn connect(origin: &Origin, region: Option<&str>) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    let region = region.map(|region| Region::new(region.to_owned()));
    if let Some(region) = region.clone() {
        loader = loader.region(region);
    }
    let loader = match origin {
        Origin::Chain(proxy) => {
            let proxy = proxy.as_ref().map(|proxy| proxy.config().clone());
            loader.http_client(http_client(proxy.unwrap_or_else(ProxyConfig::disabled)))
        }
        Origin::Endpoint(endpoint) => loader
            .http_client(http_client(ProxyConfig::disabled()))
            .region(region.unwrap_or(NO_REGION))
            .endpoint_url(endpoint)
            .credentials_provider(Credentials::new(
                "simulated",
                "simulated",
                None,
                None,
                "simulation",
            )),
    };
    Client::new(&loader.load().await)
}

fn http_client(proxy: ProxyConfig) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector
            .tls_provider(tls::Provider::Rustls(
                tls::rustls_provider::CryptoMode::Ring,
            ))
            .build()
    })
}

/// Has the client get its credentials, or see whether they are still good, by a call that is stopped when nothing is
/// missing but to send it. The client has no other way to be asked for them, and its provider would not remember.
pub(super) async fn warm(client: &Client) -> Result<(), BalancerError> {
    // Asking for credentials has its own limit of time, as has the one who asks for this.
    let patience = config::Builder::new().timeout_config(TimeoutConfig::disabled());
    let stopped = client
        .describe_target_groups()
        .customize()
        .config_override(patience)
        .interceptor(StopBeforeSending)
        .send()
        .await;
    match stopped {
        Err(error) if answer::cause::<Stopped>(&error).is_none() => Err(answer::error(error)),
        Err(_) | Ok(_) => Ok(()),
    }
}

#[derive(Debug)]
struct StopBeforeSending;

#[derive(Debug, thiserror::Error)]
#[error("the request is ready, and is not sent")]
struct Stopped;

impl Intercept for StopBeforeSending {
    fn name(&self) -> &'static str {
        "StopBeforeSending"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        Err(Box::new(Stopped))
    }
}
