//! Where the way to the API server is found.

use std::path::{Path, PathBuf};

use http::Uri;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::client;
use crate::ports::Cause;

/// Where address and credentials come from; asked again when the credentials are no longer accepted.
#[derive(Clone, Debug)]
pub enum Source {
    /// In a pod its service account, elsewhere the kubeconfig, as [`Source::Kubeconfig`] without a file. A context that
    /// is asked for by name is always one of the kubeconfig.
    Surroundings {
        /// The context to use; the kubeconfig's current one when absent.
        context: Option<String>,
    },
    /// A kubeconfig.
    Kubeconfig {
        /// Which file; `KUBECONFIG`, else `~/.kube/config`, when absent.
        file: Option<PathBuf>,
        /// The context to use; the file's current one when absent.
        context: Option<String>,
    },
    /// An address without credentials, for the simulation.
    Plain(Uri),
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a service account nor a kubeconfig can be used.
    #[error(
        "finding the API server: no service account of a pod ({no_service_account}), and no usable kubeconfig \
         (KUBECONFIG, else ~/.kube/config)"
    )]
    Nowhere {
        /// What is missing of a service account.
        no_service_account: String,
        /// What is wrong with the kubeconfig.
        #[source]
        kubeconfig: Cause,
    },
    /// The kubeconfig that was asked for cannot be used.
    #[error("reading the kubeconfig")]
    Kubeconfig(#[source] Cause),
    /// The kubeconfig wants a proxy.
    #[error(
        "the kubeconfig names a proxy (proxy-url: {proxy}) for cluster {cluster}: the API server is reached directly \
         only; remove proxy-url or use another context"
    )]
    Proxy {
        /// The cluster's name in the kubeconfig.
        cluster: String,
        /// The proxy.
        proxy: String,
    },
    /// The configuration is there, and what it points to is not.
    #[error("preparing the connection to the API server at {url}")]
    Client {
        /// The API server's address.
        url: Uri,
        /// What cannot be read.
        #[source]
        cause: Cause,
    },
}

impl Source {
    /// Reads the configuration, and the token and certificates that it points to, and assembles a client.
    pub(super) async fn client(&self) -> Result<Client, ConnectError> {
        let config = self.config().await?;
        client::assemble(&config).map_err(|cause| ConnectError::Client {
            url: config.cluster_url,
            cause,
        })
    }

    async fn config(&self) -> Result<Config, ConnectError> {
        match self {
            Self::Surroundings { context: None } => match service_account() {
                Ok(config) => Ok(config),
                Err(no_service_account) => kubeconfig(None, None)
                    .await
                    .map_err(|error| error.where_there_is_no_service_account(no_service_account)),
            },
            Self::Surroundings { context } => kubeconfig(None, context.as_deref()).await,
            Self::Kubeconfig { file, context } => {
                kubeconfig(file.as_deref(), context.as_deref()).await
            }
            Self::Plain(url) => Ok(Config::new(url.clone())),
        }
    }
}

impl ConnectError {
    fn where_there_is_no_service_account(self, no_service_account: String) -> Self {
        match self {
            Self::Kubeconfig(kubeconfig) => Self::Nowhere {
                no_service_account,
                kubeconfig,
            },
            other @ (Self::Nowhere { .. } | Self::Proxy { .. } | Self::Client { .. }) => other,
        }
    }
}

/// The service account of the pod we run in. `Config::infer` would prefer a kubeconfig, which an image or a volume may
/// carry for other purposes.
fn service_account() -> Result<Config, String> {
    let config = Config::incluster().map_err(|error| error.to_string())?;
    match &config.auth_info.token_file {
        Some(token) if Path::new(token).is_file() => Ok(config),
        token => Err(format!(
            "no token at {}",
            token.as_deref().unwrap_or("its place")
        )),
    }
}

async fn kubeconfig(file: Option<&Path>, context: Option<&str>) -> Result<Config, ConnectError> {
    let kubeconfig = match file {
        Some(file) => Kubeconfig::read_from(file),
        None => Kubeconfig::read(),
    }
    .map_err(|cause| ConnectError::Kubeconfig(cause.into()))?;
    refuse_proxy(&kubeconfig, context)?;
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|cause| ConnectError::Kubeconfig(cause.into()))?;
    // What is still there comes from HTTPS_PROXY, which is meant for AWS.
    config.proxy_url = None;
    Ok(config)
}

/// A proxy that the file itself asks for cannot be left out silently: the server may not be reachable without it.
fn refuse_proxy(kubeconfig: &Kubeconfig, context: Option<&str>) -> Result<(), ConnectError> {
    let context = context.or(kubeconfig.current_context.as_deref());
    let cluster_name = kubeconfig
        .contexts
        .iter()
        .find(|named| Some(named.name.as_str()) == context)
        .and_then(|named| named.context.as_ref())
        .map(|context| &context.cluster);
    let named_cluster = kubeconfig
        .clusters
        .iter()
        .find(|named| Some(&named.name) == cluster_name);
    let proxy = named_cluster
        .and_then(|named| named.cluster.as_ref())
        .and_then(|cluster| cluster.proxy_url.as_deref())
        .filter(|proxy| !proxy.is_empty());
    match (named_cluster, proxy) {
        (Some(named), Some(proxy)) => Err(ConnectError::Proxy {
            cluster: named.name.clone(),
            proxy: proxy.to_owned(),
        }),
        _ => Ok(()),
    }
}
