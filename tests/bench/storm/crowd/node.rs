//! One node of the crowd: a world of its own behind the queues of all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::Stream;

use spot_interrupt_handler::attempt::Ports;
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::plan::action::{Freshness, NodeEvent, WatchEvent};
use spot_interrupt_handler::plan::binding::{Binding, BindingApi, Service};
use spot_interrupt_handler::plan::budget::Grace;
use spot_interrupt_handler::plan::id::{
    BootId, InstanceId, NodeName, PodRef, PodUid, ResourceVersion,
};
use spot_interrupt_handler::plan::node::{CordonPatch, NodeView, UndoPatch};
use spot_interrupt_handler::plan::pod::{BlockedWish, PodView};
use spot_interrupt_handler::plan::preflight::{Access, Permission};
use spot_interrupt_handler::plan::time::Moment;
use spot_interrupt_handler::ports::{Cluster, ClusterError, Refusal};
use spot_interrupt_handler::sim::World;
use spot_interrupt_handler::sim::balancer::LoadBalancer;
use spot_interrupt_handler::sim::cluster::{Cluster as ApiServer, Writes};
use spot_interrupt_handler::sim::controller::Controller;
use spot_interrupt_handler::sim::faults::Weather;
use spot_interrupt_handler::sim::journal::Journal;
use spot_interrupt_handler::sim::metadata::{Instance, MetadataService, ScheduledNotice};
use spot_interrupt_handler::sim::node::Node;
use spot_interrupt_handler::sim::pod::Pod;
use spot_interrupt_handler::sim::ports::{Nobody, SimBalancer, SimCluster, SimMetadata, Way};
use spot_interrupt_handler::sim::stage::Stage;

use super::Crowd;
use super::queues::Queues;

/// The round trip to the API server.
const LATENCY: Duration = Duration::from_millis(20);

/// How long the server works on an eviction, whatever the load (measured) …
const EVICTION: Duration = Duration::from_millis(100);

/// … and on anything else.
const OTHER: Duration = Duration::from_millis(5);

/// The flow of what concerns no namespace.
const NO_NAMESPACE: &str = "";

pub fn name(index: usize) -> NodeName {
    NodeName::new(format!("node-{index}"))
}

/// The world of this node alone, with its notice to come.
pub fn stage(index: usize, crowd: Crowd, notice: Moment, clock: Clock) -> Arc<Stage> {
    let instance = InstanceId::new(format!("i-{index:017x}"));
    let mut cluster = ApiServer::new(Node {
        name: name(index),
        uid: format!("node-uid-{index}"),
        version: 1,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        unschedulable: false,
        taints: Vec::new(),
        instance: instance.clone(),
        zone: "eu-west-1a".to_owned(),
        boot: BootId::new("boot"),
    });
    for pod in 0..crowd.pods {
        let namespace = format!("team-{}", (index + pod) % crowd.namespaces);
        let name_of_pod = format!("web-{index}-{pod}");
        let uid = PodUid::new(format!("{namespace}.{name_of_pod}"));
        cluster.add_pod(Pod::new(&namespace, &name_of_pod, uid, name(index)));
    }
    let mut metadata = MetadataService::new(Instance {
        id: instance,
        kind: "m6i.large".to_owned(),
        zone: "eu-west-1a".to_owned(),
        account: "111122223333".to_owned(),
        address: "10.0.1.23".to_owned(),
    });
    metadata.schedule(ScheduledNotice::appearing_at(notice));
    let world = World {
        cluster,
        balancer: LoadBalancer::default(),
        controller: Controller::default(),
        services: Vec::new(),
        metadata,
        journal: Journal::default(),
    };
    Stage::new(world, clock)
}

/// The agent's ports on this node.
pub fn ports(
    index: usize,
    stage: Arc<Stage>,
    queues: Arc<Queues>,
) -> Ports<SimMetadata, CrowdedCluster, SimBalancer> {
    let weather = Arc::new(Mutex::new(Weather::new(Vec::new(), LATENCY, index as u64)));
    let clock = stage.clock().clone();
    let way = Way::new(1, stage, weather, Arc::new(Mutex::new(Nobody)));
    Ports {
        metadata: SimMetadata { way: way.clone() },
        balancer: SimBalancer { way: way.clone() },
        cluster: CrowdedCluster {
            own: SimCluster {
                way,
                node: name(index),
                writes: Writes::Real,
            },
            clock,
            queues,
        },
    }
}

/// The API server of the node's own world, behind the queues of all.
#[derive(Clone, Debug)]
pub struct CrowdedCluster {
    own: SimCluster,
    clock: Clock,
    queues: Arc<Queues>,
}

impl CrowdedCluster {
    /// Waits for its turn, and for as long as the server works on it.
    async fn turn(&self, flow: &str, works: Duration) -> Result<(), ClusterError> {
        let Some(_seat) = self.queues.enter(flow).await else {
            self.clock.sleep(LATENCY).await;
            return Err(ClusterError::Refused {
                refusal: Refusal::Throttled(Some(Duration::from_secs(1))),
                status: 429,
                message: "too many requests".to_owned(),
            });
        };
        self.clock.sleep(works).await;
        Ok(())
    }
}

impl Cluster for CrowdedCluster {
    async fn node(&self) -> Result<NodeView, ClusterError> {
        self.turn(NO_NAMESPACE, OTHER).await?;
        self.own.node().await
    }

    async fn cordon(&self, patch: &CordonPatch) -> Result<NodeView, ClusterError> {
        self.turn(NO_NAMESPACE, OTHER).await?;
        self.own.cordon(patch).await
    }

    async fn undo(&self, patch: &UndoPatch) -> Result<NodeView, ClusterError> {
        self.turn(NO_NAMESPACE, OTHER).await?;
        self.own.undo(patch).await
    }

    async fn pods(
        &self,
        freshness: &Freshness,
    ) -> Result<(Vec<PodView>, ResourceVersion), ClusterError> {
        self.turn(NO_NAMESPACE, OTHER).await?;
        self.own.pods(freshness).await
    }

    async fn watch(
        &self,
        from: &ResourceVersion,
    ) -> Result<impl Stream<Item = Result<WatchEvent, ClusterError>> + Send + 'static, ClusterError>
    {
        self.turn(NO_NAMESPACE, OTHER).await?;
        self.own.watch(from).await
    }

    async fn evict(&self, pod: &PodRef, grace: Option<Grace>) -> Result<(), ClusterError> {
        self.turn(&pod.namespace, EVICTION).await?;
        self.own.evict(pod, grace).await
    }

    async fn delete(&self, pod: &PodRef, grace: Option<Grace>) -> Result<(), ClusterError> {
        self.turn(&pod.namespace, OTHER).await?;
        self.own.delete(pod, grace).await
    }

    async fn mark_disruption(&self, pod: &PodRef) -> Result<(), ClusterError> {
        self.turn(&pod.namespace, OTHER).await?;
        self.own.mark_disruption(pod).await
    }

    async fn namespace(&self, name: &str) -> Result<BlockedWish, ClusterError> {
        self.turn(name, OTHER).await?;
        self.own.namespace(name).await
    }

    async fn bindings(&self, api: BindingApi) -> Result<Vec<Binding>, ClusterError> {
        self.turn(NO_NAMESPACE, OTHER).await?;
        self.own.bindings(api).await
    }

    async fn services(&self) -> Result<Vec<Service>, ClusterError> {
        self.turn(NO_NAMESPACE, OTHER).await?;
        self.own.services().await
    }

    async fn change_connection(&self) {
        self.own.change_connection().await;
    }

    async fn review_access(&self, permission: &Permission) -> Result<Access, ClusterError> {
        self.turn(NO_NAMESPACE, OTHER).await?;
        self.own.review_access(permission).await
    }

    async fn publish(&self, event: &NodeEvent) -> Result<(), ClusterError> {
        self.turn("default", OTHER).await?;
        self.own.publish(event).await
    }
}
