//! The Kubernetes API server as [`Cluster`]: one node's view of it, over one HTTP/2 connection.
//!
//! Requests are built by kube and sent raw, because kube's typed calls lose what the drain lives on: `Api::evict`
//! drops its options, and the `Retry-After` of a 429 and its plain text are gone before a caller sees them.

mod access;
mod answer;
mod binding;
mod client;
mod event;
mod examine;
mod list;
mod node;
mod object;
mod pod;
mod service;
mod source;
mod watch;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use http::{Response, StatusCode};
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod};
use kube::api::{
    DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchParams,
};
use kube::client::Body;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use answer::read_refusal;
pub use binding::read_bindings;
pub use examine::{Budget, ExaminedNode, ExaminedPod};
pub use pod::read_pods;
pub use service::read_services;
pub use source::{ConnectError, Source};
pub use watch::read_event;

use crate::annotation::blocked_wish;
use crate::clock::Clock;
use crate::plan::action::{Freshness, NodeEvent, WatchEvent};
use crate::plan::binding::{Binding, BindingApi, Service};
use crate::plan::budget::Grace;
use crate::plan::id::{NodeName, PodRef, ResourceVersion};
use crate::plan::node::{CordonPatch, NodeView, UndoPatch};
use crate::plan::pod::{BlockedWish, PodView};
use crate::plan::preflight::{Access, Permission};
use crate::plan::time::Moment;
use crate::ports::{Cluster, ClusterError, Refusal};

/// Who we are to the API server: field manager of our patches and component of our events.
const AGENT: &str = "spot-interrupt-handler";

/// The namespace in which events about Nodes live.
const EVENT_NAMESPACE: &str = "default";

/// Credentials are read again at most this often: a token that was revoked for good must not become a request storm.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(5);

/// A LIST of 242 pods was 1.4 MB, and a kubelet runs 250 at most by default settings; ten times that is no list of pods.
/// Of a whole cluster's Services or bindings, at 2 KB each, it is eight thousand.
const LIST_LIMIT: usize = 16 * 1024 * 1024;

/// One object: etcd takes 1.5 MiB by default, and no Node, Pod or Status comes near 1 MiB.
const OBJECT_LIMIT: usize = 1024 * 1024;

/// Whether writes take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// They do.
    Real,
    /// The server checks and answers them as if they did (`dryRun=All`).
    Rehearsed,
}

/// The API server, seen from one node.
#[derive(Debug)]
pub struct KubeCluster {
    node: NodeName,
    writes: Writes,
    clock: Clock,
    source: Source,
    connection: Mutex<Connection>,
}

/// The client in use, and when its credentials were last read again.
struct Connection {
    client: Client,
    renewed_at: Option<Moment>,
}

impl KubeCluster {
    /// Loads the configuration and assembles a client; connects to nobody yet. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// When there is no usable configuration, or its certificates or credentials cannot be read.
    pub async fn connect(
        source: Source,
        node: NodeName,
        writes: Writes,
        clock: Clock,
    ) -> Result<Self, ConnectError> {
        let client = source.client().await?;
        let connection = Mutex::new(Connection {
            client,
            renewed_at: None,
        });
        Ok(Self {
            node,
            writes,
            clock,
            source,
            connection,
        })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // Nothing can be half done under this lock: both fields are replaced whole.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_rehearsal(&self) -> bool {
        self.writes == Writes::Rehearsed
    }

    fn selector(&self) -> String {
        format!("spec.nodeName={}", self.node)
    }

    /// Sends one request; an answer that is no success is an error.
    async fn send(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Response<Body>, ClusterError> {
        let request = request.map_err(|cause| ClusterError::Unreachable(cause.into()))?;
        let client = self.connection().client.clone();
        let response = client
            .send(request.map(Body::from))
            .await
            .map_err(client::no_answer)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let is_unauthenticated = response.status() == StatusCode::UNAUTHORIZED;
        let mut refused = answer::refused(response, OBJECT_LIMIT).await;
        if is_unauthenticated
            && let Err(error) = self.renew().await
            && let ClusterError::Refused { message, .. } = &mut refused
        {
            *message = format!(
                "{message}; and reading the credentials again failed: {}",
                chain(&error)
            );
        }
        Err(refused)
    }

    /// Sends one request and reads what it asks for.
    async fn read<T: DeserializeOwned>(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
        limit: usize,
    ) -> Result<T, ClusterError> {
        let response = self.send(request).await?;
        answer::decode(&answer::whole_body(response.into_body(), limit).await?)
    }

    /// Sends one write whose status alone says that it was accepted: an answer of 201 that breaks off is an eviction all the same.
    async fn write(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<(), ClusterError> {
        let response = self.send(request).await?;
        // Read to its end, or every answer would cost a stream reset, which servers count against a connection.
        let _ = answer::whole_body(response.into_body(), OBJECT_LIMIT).await;
        Ok(())
    }

    /// Puts a client with freshly read credentials and no connection yet in place, at most every five seconds. If they cannot be read, the
    /// old client stays, and a later 401 tries again.
    async fn renew(&self) -> Result<(), ConnectError> {
        let now = self.clock.now().at;
        {
            let mut connection = self.connection();
            if connection
                .renewed_at
                .is_some_and(|last| now < last + RENEWAL_INTERVAL)
            {
                return Ok(());
            }
            connection.renewed_at = Some(now);
        }
        let client = self.source.client().await?;
        self.connection().client = client;
        Ok(())
    }
}

impl KubeCluster {
    async fn patch_node(&self, body: Value) -> Result<NodeView, ClusterError> {
        let params = PatchParams {
            dry_run: self.is_rehearsal(),
            field_manager: Some(AGENT.to_owned()),
            ..PatchParams::default()
        };
        let request = nodes().patch(self.node.as_str(), &params, &Patch::Merge(body));
        node::view(self.read(request, OBJECT_LIMIT).await?)
    }
}

impl Cluster for KubeCluster {
    async fn node(&self) -> Result<NodeView, ClusterError> {
        let request = nodes().get(self.node.as_str(), &GetParams::default());
        node::view(self.read(request, OBJECT_LIMIT).await?)
    }

    async fn cordon(&self, patch: &CordonPatch) -> Result<NodeView, ClusterError> {
        self.patch_node(node::patch_body(patch)).await
    }

    async fn undo(&self, patch: &UndoPatch) -> Result<NodeView, ClusterError> {
        self.patch_node(node::undo_body(patch)).await
    }

    async fn pods(
        &self,
        freshness: &Freshness,
    ) -> Result<(Vec<PodView>, ResourceVersion), ClusterError> {
        let version = match freshness {
            // From the server's watch cache: a consistent LIST would make it ask etcd, and wait for its own cache besides.
            Freshness::Cached => Some("0".to_owned()),
            Freshness::NotOlderThan(version) => Some(version.as_str().to_owned()),
            Freshness::Newest => None,
        };
        let params = ListParams {
            resource_version: version,
            ..ListParams::default().fields(&self.selector())
        };
        let response = self.send(all_pods().list(&params)).await?;
        read_pods(&answer::whole_body(response.into_body(), LIST_LIMIT).await?)
    }

    async fn watch(
        &self,
        from: &ResourceVersion,
    ) -> Result<impl Stream<Item = Result<WatchEvent, ClusterError>> + Send + 'static, ClusterError>
    {
        let params = WatchParams::default().fields(&self.selector());
        let response = self.send(all_pods().watch(&params, from.as_str())).await?;
        Ok(watch::events(response.into_body()))
    }

    async fn evict(&self, pod: &PodRef, grace: Option<Grace>) -> Result<(), ClusterError> {
        let params = PostParams {
            dry_run: self.is_rehearsal(),
            ..PostParams::default()
        };
        let body = pod::eviction(pod, grace)?;
        let request =
            pods_of(&pod.namespace).create_subresource("eviction", &pod.name, &params, body);
        self.write(request).await
    }

    async fn delete(&self, pod: &PodRef, grace: Option<Grace>) -> Result<(), ClusterError> {
        let params = DeleteParams {
            // kube puts it into the body, and only there does the API server heed it on a DELETE.
            dry_run: self.is_rehearsal(),
            grace_period_seconds: grace.map(Grace::as_secs),
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.as_str().to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        self.write(pods_of(&pod.namespace).delete(&pod.name, &params))
            .await
    }

    async fn mark_disruption(&self, pod: &PodRef) -> Result<(), ClusterError> {
        let params = PatchParams {
            dry_run: self.is_rehearsal(),
            field_manager: Some(AGENT.to_owned()),
            ..PatchParams::default()
        };
        let body = pod::disruption_target(pod, self.clock.now().wall);
        // Strategic: a merge patch would replace the other conditions.
        let patch = Patch::Strategic(body);
        self.write(pods_of(&pod.namespace).patch_subresource("status", &pod.name, &params, &patch))
            .await
    }

    async fn namespace(&self, name: &str) -> Result<BlockedWish, ClusterError> {
        let namespaces = kube::core::Request::new(Namespace::url_path(&(), None));
        let namespace: Namespace = self
            .read(namespaces.get(name, &GetParams::default()), OBJECT_LIMIT)
            .await?;
        Ok(blocked_wish(namespace.metadata.annotations.as_ref()))
    }

    async fn bindings(&self, api: BindingApi) -> Result<Vec<Binding>, ClusterError> {
        let bindings = kube::core::Request::new(binding::list_path(api));
        let response = self.send(bindings.list(&cached())).await?;
        read_bindings(&answer::whole_body(response.into_body(), LIST_LIMIT).await?)
    }

    async fn services(&self) -> Result<Vec<Service>, ClusterError> {
        let services =
            kube::core::Request::new(k8s_openapi::api::core::v1::Service::url_path(&(), None));
        let response = self.send(services.list(&cached())).await?;
        read_services(&answer::whole_body(response.into_body(), LIST_LIMIT).await?)
    }

    async fn change_connection(&self) {
        // A new client has a pool of its own. Without one the old connection is better than none.
        let _ = self.renew().await;
    }

    async fn review_access(&self, permission: &Permission) -> Result<Access, ClusterError> {
        let params = PostParams {
            dry_run: self.is_rehearsal(),
            ..PostParams::default()
        };
        let body = access::question(permission, &self.node)?;
        let request = access::reviews().create(&params, body);
        Ok(access::answer(self.read(request, OBJECT_LIMIT).await?))
    }

    async fn publish(&self, event: &NodeEvent) -> Result<(), ClusterError> {
        let params = PostParams {
            dry_run: self.is_rehearsal(),
            ..PostParams::default()
        };
        let body = event::body(event, &self.node, self.clock.now().wall)?;
        let events = kube::core::Request::new(Event::url_path(&(), Some(EVENT_NAMESPACE)));
        match self.write(events.create(&params, body)).await {
            // Names are made so that the same event has the same name: an earlier attempt has published it.
            Err(ClusterError::Refused {
                refusal: Refusal::Conflict,
                ..
            }) => Ok(()),
            result => result,
        }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

/// As the server's watch cache has it: of what a whole cluster has, the newest state is not worth a question to etcd.
fn cached() -> ListParams {
    ListParams {
        resource_version: Some("0".to_owned()),
        ..ListParams::default()
    }
}

fn nodes() -> kube::core::Request {
    kube::core::Request::new(Node::url_path(&(), None))
}

fn all_pods() -> kube::core::Request {
    kube::core::Request::new(Pod::url_path(&(), None))
}

fn pods_of(namespace: &str) -> kube::core::Request {
    kube::core::Request::new(Pod::url_path(&(), Some(namespace)))
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client holds credentials.
        f.debug_struct("Connection")
            .field("renewed_at", &self.renewed_at)
            .finish_non_exhaustive()
    }
}
