//! The HTTP client under kube: HTTP/2 with pings, so that a dead connection is found in five seconds and not in two minutes.

use std::error::Error as _;
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, Write};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt;
use kube::{Client, Config};
use tower::{BoxError, Service, ServiceBuilder};

use super::answer::below_kube;
use crate::ports::{Cause, ClusterError};

/// Connecting takes at most this long, TLS included: a node in its last two minutes tries another address of the API
/// server rather than wait.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// A silent connection is asked for a sign of life this often …
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// … and is given up when there is none for this long. Without pings a dead HTTP/2 connection stays pooled for ever:
/// a call that times out only resets its own stream.
const PING_LIMIT: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// For the simulation, whose server on loopback is plain.
    Http1,
    /// For every API server. Only this is offered: with a fall-back to HTTP/1.1 a reset opens dozens of connections.
    Http2,
}

/// Assembles a client from a configuration. kube's own stack speaks HTTP/1.1 only, and repeats refused requests by
/// itself; here there is no retry layer at all, so that the planner alone decides.
///
/// # Errors
/// When certificates or credentials cannot be read.
pub(super) fn assemble(config: &Config) -> Result<Client, Cause> {
    if config.cluster_url.scheme_str() == Some("https") {
        over(tls(config)?, Protocol::Http2, config)
    } else {
        over(tcp(), Protocol::Http1, config)
    }
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector
}

fn tls(config: &Config) -> Result<HttpsConnector<HttpConnector>, Cause> {
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_or_http();
    let builder = match config.tls_server_name.clone() {
        Some(name) => {
            builder.with_server_name_resolver(FixedServerNameResolver::new(name.try_into()?))
        }
        None => builder,
    };
    Ok(builder.enable_http2().wrap_connector(tcp()))
}

fn over<C>(connector: C, protocol: Protocol, config: &Config) -> Result<Client, Cause>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    let mut connector = TimeoutConnector::new(connector);
    connector.set_connect_timeout(Some(CONNECT_LIMIT));
    let client: legacy::Client<_, kube::client::Body> =
        legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            // Lets go of a connection that nobody has used for 90 s, and with it of the pings.
            .pool_timer(TokioTimer::new())
            .http2_only(protocol == Protocol::Http2)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_LIMIT)
            .http2_keep_alive_while_idle(true)
            .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// What it means that a request got no answer: it never left, or nobody knows whether it arrived.
pub(super) fn no_answer(error: kube::Error) -> ClusterError {
    let never_left = never_left(&error);
    let cause = below_kube(error);
    if never_left {
        ClusterError::Unreachable(cause)
    } else {
        ClusterError::Lost(cause)
    }
}

fn never_left(error: &kube::Error) -> bool {
    if matches!(error, kube::Error::Auth(_) | kube::Error::HttpError(_)) {
        return true;
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        if error
            .downcast_ref::<legacy::Error>()
            .is_some_and(legacy::Error::is_connect)
        {
            return true;
        }
        // hyper calls a request canceled when it hands it back unsent (`new_canceled` comes with the message only).
        if error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_canceled)
        {
            return true;
        }
        cause = error.source();
    }
    false
}
