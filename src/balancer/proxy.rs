//! The proxy that stands between a private network and AWS.

use aws_smithy_http_client::proxy::ProxyConfig;
use http::Uri;

/// The way to whatever of AWS is reached over TLS, by `CONNECT`. What is plain HTTP never takes it: the metadata
/// service and the agents that give credentials are on this machine, and an endpoint that somebody named is where they
/// said.
#[derive(Clone)]
pub struct Proxy {
    config: ProxyConfig,
}

/// A proxy that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the URL of an HTTP proxy, such as http://proxy.internal:3128")]
pub struct UnusableProxy;

impl Proxy {
    /// Takes the values of `HTTPS_PROXY` and `NO_PROXY`. As with curl, a URL without a scheme is plain HTTP, and
    /// exceptions are names (with all below them), addresses, ranges of addresses or `*`, with commas between.
    ///
    /// # Errors
    /// When the URL is none, or of something else than HTTP.
    pub fn parse(url: &str, exceptions: Option<&str>) -> Result<Self, UnusableProxy> {
        let whole = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        let url: Uri = whole.parse().map_err(|_| UnusableProxy)?;
        let config = ProxyConfig::https(url).map_err(|_| UnusableProxy)?;
        Ok(Self {
            config: match exceptions {
                Some(exceptions) => config.no_proxy(exceptions),
                None => config,
            },
        })
    }

    pub(super) const fn config(&self) -> &ProxyConfig {
        &self.config
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its URL may hold a password.
        f.debug_struct("Proxy").finish_non_exhaustive()
    }
}
