//! The one-page contract between the agent and its three neighbours.
//!
//! Each call is one attempt: no sleep, no retry, no time limit of its own (the caller sets it). Errors name what happened; what to do
//! about it is the planner's to decide.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use futures_util::Stream;

use crate::plan::action::{Freshness, MachineIdentity, NodeEvent, Ports, Target, WatchEvent};
use crate::plan::binding::{Binding, BindingApi, GroupTag, ListedGroup, Marker, Service, TargetId};
use crate::plan::budget::Grace;
use crate::plan::id::{PodRef, ResourceVersion, TargetGroupArn};
use crate::plan::node::{CordonPatch, NodeView, UndoPatch};
use crate::plan::notice::Announcement;
use crate::plan::pod::{BlockedWish, PodView};
use crate::plan::preflight::{Access, Permission};

/// The cause of an error, as the library below put it.
pub type Cause = Box<dyn Error + Send + Sync>;

/// The instance metadata service.
pub trait Metadata: Send + Sync + 'static {
    /// Reads `spot/instance-action`; none means that there is no notice.
    fn notice(&self) -> impl Future<Output = Result<Option<Announcement>, MetadataError>> + Send;

    /// Reads the identity document and `instance-life-cycle`.
    fn identity(&self) -> impl Future<Output = Result<MachineIdentity, MetadataError>> + Send;
}

/// The Kubernetes API server, seen from one node.
pub trait Cluster: Send + Sync + 'static {
    /// GETs our Node.
    fn node(&self) -> impl Future<Output = Result<NodeView, ClusterError>> + Send;

    /// PATCHes our Node, and returns it as it then is.
    fn cordon(
        &self,
        patch: &CordonPatch,
    ) -> impl Future<Output = Result<NodeView, ClusterError>> + Send;

    /// PATCHes our Node to take back what an interruption left, its annotation included, and returns it as it then is.
    fn undo(
        &self,
        patch: &UndoPatch,
    ) -> impl Future<Output = Result<NodeView, ClusterError>> + Send;

    /// LISTs the pods of our node.
    fn pods(
        &self,
        freshness: &Freshness,
    ) -> impl Future<Output = Result<(Vec<PodView>, ResourceVersion), ClusterError>> + Send;

    /// WATCHes the pods of our node. The stream ends when the server ends it; an error is its last item.
    fn watch(
        &self,
        from: &ResourceVersion,
    ) -> impl Future<
        Output = Result<
            impl Stream<Item = Result<WatchEvent, ClusterError>> + Send + 'static,
            ClusterError,
        >,
    > + Send;

    /// POSTs an Eviction with the pod's UID as precondition.
    fn evict(
        &self,
        pod: &PodRef,
        grace: Option<Grace>,
    ) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// DELETEs a pod with its UID as precondition.
    fn delete(
        &self,
        pod: &PodRef,
        grace: Option<Grace>,
    ) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// PATCHes the condition `DisruptionTarget` into a pod's status, with its UID.
    fn mark_disruption(
        &self,
        pod: &PodRef,
    ) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// GETs a namespace: what it wants done about pods whose eviction is refused to the end.
    fn namespace(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<BlockedWish, ClusterError>> + Send;

    /// LISTs the target group bindings of every namespace. An API that is not installed is [`Refusal::NotFound`]; a
    /// binding that cannot be read is left out.
    fn bindings(
        &self,
        api: BindingApi,
    ) -> impl Future<Output = Result<Vec<Binding>, ClusterError>> + Send;

    /// LISTs the Services of every namespace.
    fn services(&self) -> impl Future<Output = Result<Vec<Service>, ClusterError>> + Send;
    /// Lets later calls go over a new connection; those under way keep theirs. At most every five seconds, and in vain
    /// when there is no client to be had: then all stays as it is.
    fn change_connection(&self) -> impl Future<Output = ()> + Send;
    /// POSTs a SelfSubjectAccessReview: whether we are allowed to do this.
    fn review_access(
        &self,
        permission: &Permission,
    ) -> impl Future<Output = Result<Access, ClusterError>> + Send;

    /// POSTs an event about our Node. One that is there already is success.
    fn publish(&self, event: &NodeEvent) -> impl Future<Output = Result<(), ClusterError>> + Send;
}

/// Elastic Load Balancing, version 2.
pub trait Balancer: Send + Sync + 'static {
    /// Gets credentials, so that the next call does not have to wait for them.
    fn warm(&self) -> impl Future<Output = Result<(), BalancerError>> + Send;

    /// Reads a page of the account's target groups, and where the next one begins, if there is one.
    fn groups(
        &self,
        from: Option<&Marker>,
    ) -> impl Future<Output = Result<(Vec<ListedGroup>, Option<Marker>), BalancerError>> + Send;

    /// Reads the tags of these groups.
    fn tags(
        &self,
        groups: &[TargetGroupArn],
    ) -> impl Future<Output = Result<Vec<(TargetGroupArn, Vec<GroupTag>)>, BalancerError>> + Send;

    /// Reads which ports of this target the group holds. A port that is asked for by number and is not registered
    /// comes back as such; with [`Ports::All`] only what the group lists comes back.
    fn targets(
        &self,
        group: &TargetGroupArn,
        target: &TargetId,
        ports: Ports,
    ) -> impl Future<Output = Result<Vec<Target>, BalancerError>> + Send;

    /// Deregisters these ports of this target in one call. Ports that are not registered are success.
    fn deregister(
        &self,
        group: &TargetGroupArn,
        target: &TargetId,
        ports: &[u16],
    ) -> impl Future<Output = Result<(), BalancerError>> + Send;
}

/// Why the metadata service could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// No connection could be made.
    #[error("connecting to the metadata service")]
    Unreachable(#[source] Cause),
    /// The connection broke before the whole reply was there.
    #[error("reading the reply of the metadata service")]
    Lost(#[source] Cause),
    /// The service is there and refuses (403): it is switched off for this instance, or a proxy stands between.
    #[error("the metadata service refuses: it is disabled for this instance (HTTP 403)")]
    Disabled,
    /// The token was refused twice in a row.
    #[error("the metadata service does not accept its own token (HTTP 401)")]
    TokenRefused,
    /// The token could not be had although the service answers other things: a reply lost to the hop limit looks like this.
    #[error(
        "no reply to the token request: the hop limit of this instance may be 1 while the agent runs in a pod network"
    )]
    TokenUnanswered(#[source] Cause),
    /// A status nobody expects.
    #[error("the metadata service answered HTTP {status}: {body}")]
    Status {
        /// The status.
        status: u16,
        /// The first 200 bytes of the body.
        body: String,
    },
    /// A body that is not what the path promises.
    #[error("the metadata service answered {what} that cannot be read: {body}")]
    Body {
        /// What it should be: "a notice", "an identity document", "a token".
        what: &'static str,
        /// The first 200 bytes of the body.
        body: String,
    },
}

/// Why a call to the API server did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No connection could be made: the request never left.
    #[error("connecting to the API server")]
    Unreachable(#[source] Cause),
    /// The connection broke before the answer was there: the request may have taken effect.
    #[error("waiting for the answer of the API server")]
    Lost(#[source] Cause),
    /// The server refused or failed.
    #[error("the API server answered HTTP {status}: {message}")]
    Refused {
        /// Which refusal.
        refusal: Refusal,
        /// The status code.
        status: u16,
        /// The server's message, or the first 200 bytes of a body that is no Status.
        message: String,
    },
    /// The answer was a success that cannot be read.
    #[error("reading the answer of the API server")]
    Unreadable(#[source] Cause),
}

/// How the API server said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 429 with the cause `DisruptionBudget`.
    Budget,
    /// 500 because more than one PodDisruptionBudget covers the pod.
    TwoBudgets,
    /// 429 of API priority and fairness, with its `Retry-After` if there was one.
    Throttled(Option<Duration>),
    /// 401.
    Unauthenticated,
    /// 403 with the cause `NamespaceTerminating`.
    NamespaceTerminating,
    /// 403 otherwise.
    Forbidden,
    /// 404.
    NotFound,
    /// 409.
    Conflict,
    /// 410.
    Expired,
    /// 400, 422 and the rest of the 4xx.
    Invalid,
    /// 5xx, and anything that is no answer of an API server.
    ServerError,
}

/// Why a call to the load balancer did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError {
    /// No connection could be made.
    #[error("connecting to Elastic Load Balancing")]
    Unreachable(#[source] Cause),
    /// No credentials could be had.
    #[error("getting AWS credentials")]
    NoCredentials(#[source] Cause),
    /// Nobody says which region this is, and the call is about no target group that would.
    #[error("finding out which region this is")]
    NoRegion,
    /// The connection broke before the answer was there, or the SDK's own time limit ended the attempt.
    #[error("waiting for the answer of Elastic Load Balancing")]
    Lost(#[source] Cause),
    /// The account's request bucket is empty.
    #[error("Elastic Load Balancing throttles: {message}")]
    Throttled {
        /// The service's message.
        message: String,
    },
    /// The policy does not allow the call.
    #[error("Elastic Load Balancing denies the call: {message}")]
    Denied {
        /// The service's message.
        message: String,
    },
    /// The credentials have expired.
    #[error("the AWS credentials have expired: {message}")]
    ExpiredToken {
        /// The service's message.
        message: String,
    },
    /// The group does not exist.
    #[error("the target group does not exist")]
    GroupGone,
    /// The service cannot make sense of the ARN or a parameter.
    #[error("Elastic Load Balancing does not accept the request: {message}")]
    Invalid {
        /// The service's message.
        message: String,
    },
    /// The service, or something before it, failed.
    #[error("Elastic Load Balancing answered HTTP {status}: {message}")]
    ServerError {
        /// The status.
        status: u16,
        /// The service's message, empty when the body was no answer of the service.
        message: String,
    },
}
