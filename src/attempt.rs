//! One attempt: a request of the core goes through its port, bounded in time, and comes back as an outcome.

use std::error::Error;
use std::sync::Arc;

use futures_util::{StreamExt, pin_mut};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::plan::action::{
    AttemptId, ConnectFailure, Failure, FailureKind, Finding, Inquiry, Outcome, Request, Route,
    WatchEvent,
};
use crate::plan::id::ResourceVersion;
use crate::plan::time::Moment;
use crate::ports::{
    Balancer, BalancerError, Cause, Cluster, ClusterError, Metadata, MetadataError, Refusal,
};

/// The three neighbours of an agent.
#[derive(Debug)]
pub struct Ports<M, C, B> {
    /// The instance metadata service.
    pub metadata: M,
    /// The Kubernetes API server.
    pub cluster: C,
    /// Elastic Load Balancing.
    pub balancer: B,
}

/// Where watch events go, each with the attempt that brought it. Bounded: a watch that brings more than the loop takes waits.
pub type WatchEvents = mpsc::Sender<(AttemptId, WatchEvent)>;

/// Makes the attempt, at most until `give_up_at`.
pub async fn run<M: Metadata, C: Cluster, B: Balancer>(
    ports: Arc<Ports<M, C, B>>,
    clock: Clock,
    attempt: AttemptId,
    request: Request,
    give_up_at: Option<Moment>,
    events: WatchEvents,
) -> Outcome {
    let trying = attempt_once(&ports, attempt, &request, &events);
    match give_up_at {
        None => trying.await,
        Some(moment) => clock.until(moment, trying).await.unwrap_or_else(|elapsed| {
            Outcome::Failed(Failure {
                kind: FailureKind::TimedOut,
                http_status: None,
                text: elapsed.to_string(),
            })
        }),
    }
}

async fn attempt_once<M: Metadata, C: Cluster, B: Balancer>(
    ports: &Ports<M, C, B>,
    attempt: AttemptId,
    request: &Request,
    events: &WatchEvents,
) -> Outcome {
    let Ports {
        metadata,
        cluster,
        balancer,
    } = ports;
    match request {
        Request::ReadNotice => outcome(metadata.notice().await, Outcome::Notice),
        Request::ReadIdentity => outcome(metadata.identity().await, Outcome::Identity),
        Request::ReadNode => outcome(cluster.node().await, Outcome::Node),
        Request::Cordon(patch) => outcome(cluster.cordon(patch).await, Outcome::Node),
        Request::Undo(patch) => outcome(cluster.undo(patch).await, Outcome::Node),
        Request::ListPods(freshness, route) => {
            match route {
                Route::Shared => {}
                Route::New => cluster.change_connection().await,
            }
            outcome(cluster.pods(freshness).await, |(pods, version)| {
                Outcome::Pods { pods, version }
            })
        }
        Request::WatchPods(from) => watch(cluster, attempt, from, events).await,
        Request::Evict(pod, grace) => outcome(cluster.evict(pod, *grace).await, done),
        Request::Delete(pod, grace) => outcome(cluster.delete(pod, *grace).await, done),
        Request::MarkDisruption(pod) => outcome(cluster.mark_disruption(pod).await, done),
        Request::ReadNamespace(name) => outcome(cluster.namespace(name).await, Outcome::Namespace),
        Request::ReviewAccess(permission) => {
            outcome(cluster.review_access(permission).await, Outcome::Access)
        }
        Request::PublishEvent(event) => outcome(cluster.publish(event).await, done),
        Request::Find(inquiry) => find(cluster, balancer, inquiry).await,
        Request::WarmBalancer => outcome(balancer.warm().await, done),
        Request::DescribeTargets(group, target, ports) => outcome(
            balancer.targets(group, target, *ports).await,
            Outcome::Targets,
        ),
        Request::DeregisterTargets(group, target, ports) => {
            outcome(balancer.deregister(group, target, ports).await, done)
        }
    }
}

async fn find<C: Cluster, B: Balancer>(cluster: &C, balancer: &B, inquiry: &Inquiry) -> Outcome {
    match inquiry {
        Inquiry::Bindings(api) => outcome(cluster.bindings(*api).await, |bindings| {
            Outcome::Found(Finding::Bindings(bindings))
        }),
        Inquiry::Services => outcome(cluster.services().await, |services| {
            Outcome::Found(Finding::Services(services))
        }),
        Inquiry::Groups(from) => outcome(balancer.groups(from.as_ref()).await, |(groups, next)| {
            Outcome::Found(Finding::Groups(groups, next))
        }),
        Inquiry::Tags(groups) => outcome(balancer.tags(groups).await, |tags| {
            Outcome::Found(Finding::Tags(tags))
        }),
    }
}

/// Hands on what the watch brings until it ends.
async fn watch<C: Cluster>(
    cluster: &C,
    attempt: AttemptId,
    from: &ResourceVersion,
    events: &WatchEvents,
) -> Outcome {
    let stream = match cluster.watch(from).await {
        Ok(stream) => stream,
        Err(error) => return Outcome::Failed(error.into()),
    };
    pin_mut!(stream);
    if events.send((attempt, WatchEvent::Opened)).await.is_err() {
        return Outcome::Done;
    }
    while let Some(item) = stream.next().await {
        match item {
            Ok(event) => {
                if events.send((attempt, event)).await.is_err() {
                    // The loop has ended.
                    break;
                }
            }
            Err(error) => return Outcome::Failed(error.into()),
        }
    }
    Outcome::Done
}

fn outcome<T, E: Into<Failure>>(
    result: Result<T, E>,
    success: impl FnOnce(T) -> Outcome,
) -> Outcome {
    match result {
        Ok(value) => success(value),
        Err(error) => Outcome::Failed(error.into()),
    }
}

fn done((): ()) -> Outcome {
    Outcome::Done
}

/// An error and its causes on one line. `Display` of an error never repeats its source, so this does not either.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let below = error.to_string();
        // Libraries that print their source in their own text would say everything twice.
        if !text.contains(&below) {
            text.push_str(": ");
            text.push_str(&below);
        }
        cause = error.source();
    }
    text
}

fn connect_failure(cause: &Cause) -> FailureKind {
    let mut error: Option<&(dyn Error + 'static)> = Some(cause.as_ref());
    while let Some(current) = error {
        if let Some(io) = current.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return FailureKind::Unreachable(ConnectFailure::Refused);
        }
        error = current.source();
    }
    FailureKind::Unreachable(ConnectFailure::Other)
}

impl From<MetadataError> for Failure {
    fn from(error: MetadataError) -> Self {
        let (kind, http_status) = match &error {
            MetadataError::Unreachable(cause) => (connect_failure(cause), None),
            MetadataError::Lost(_) => (FailureKind::Lost, None),
            MetadataError::Disabled => (FailureKind::Forbidden, Some(403)),
            MetadataError::TokenRefused => (FailureKind::Unauthenticated, Some(401)),
            MetadataError::TokenUnanswered(_) => (FailureKind::HopLimit, None),
            MetadataError::Status { status, .. } => (FailureKind::ServerError, Some(*status)),
            MetadataError::Body { .. } => (FailureKind::Unreadable, Some(200)),
        };
        Self {
            kind,
            http_status,
            text: chain(&error),
        }
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        let (kind, http_status) = match &error {
            ClusterError::Unreachable(cause) => (connect_failure(cause), None),
            ClusterError::Lost(_) => (FailureKind::Lost, None),
            ClusterError::Refused {
                refusal, status, ..
            } => (refused(*refusal), Some(*status)),
            ClusterError::Unreadable(_) => (FailureKind::Unreadable, None),
        };
        Self {
            kind,
            http_status,
            text: chain(&error),
        }
    }
}

fn refused(refusal: Refusal) -> FailureKind {
    match refusal {
        Refusal::Budget => FailureKind::BlockedByBudget,
        Refusal::TwoBudgets => FailureKind::TwoBudgets,
        Refusal::Throttled(wait) => FailureKind::Throttled(wait),
        Refusal::Unauthenticated => FailureKind::Unauthenticated,
        Refusal::NamespaceTerminating => FailureKind::NamespaceTerminating,
        Refusal::Forbidden => FailureKind::Forbidden,
        Refusal::NotFound => FailureKind::NotFound,
        Refusal::Conflict => FailureKind::Conflict,
        Refusal::Expired => FailureKind::Expired,
        Refusal::Invalid => FailureKind::Invalid,
        Refusal::ServerError => FailureKind::ServerError,
    }
}

impl From<BalancerError> for Failure {
    fn from(error: BalancerError) -> Self {
        let (kind, http_status) = match &error {
            BalancerError::Unreachable(cause) => (connect_failure(cause), None),
            BalancerError::NoCredentials(_) | BalancerError::NoRegion => {
                (FailureKind::Unreachable(ConnectFailure::Other), None)
            }
            BalancerError::Lost(_) => (FailureKind::Lost, None),
            BalancerError::Throttled { .. } => (FailureKind::Throttled(None), None),
            BalancerError::Denied { .. } => (FailureKind::Forbidden, None),
            BalancerError::ExpiredToken { .. } => (FailureKind::Unauthenticated, None),
            BalancerError::GroupGone => (FailureKind::NotFound, None),
            BalancerError::Invalid { .. } => (FailureKind::Invalid, None),
            BalancerError::ServerError { status, .. } => (FailureKind::ServerError, Some(*status)),
        };
        Self {
            kind,
            http_status,
            text: chain(&error),
        }
    }
}
