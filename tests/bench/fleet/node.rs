//! One node of a fleet: its own world, behind which stands the account of all.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::Stream;

use spot_interrupt_handler::attempt::Ports;
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::plan::action::{
    Freshness, NodeEvent, Ports as TargetPorts, Target, TargetState, WatchEvent,
};
use spot_interrupt_handler::plan::binding::{
    Binding, BindingApi, GroupTag, ListedGroup, Marker, Service, TargetId,
};
use spot_interrupt_handler::plan::budget::Grace;
use spot_interrupt_handler::plan::id::{
    BootId, InstanceId, NodeName, PodRef, ResourceVersion, TargetGroupArn,
};
use spot_interrupt_handler::plan::node::{CordonPatch, NodeView, UndoPatch};
use spot_interrupt_handler::plan::pod::{BlockedWish, PodView};
use spot_interrupt_handler::plan::preflight::{Access, Permission};
use spot_interrupt_handler::plan::time::Moment;
use spot_interrupt_handler::ports::{Balancer, BalancerError, Cluster, ClusterError, Refusal};
use spot_interrupt_handler::sim::World;
use spot_interrupt_handler::sim::balancer::{LoadBalancer, NamedTarget, Registration};
use spot_interrupt_handler::sim::cluster::{Cluster as ApiServer, Writes};
use spot_interrupt_handler::sim::controller::Controller as NoController;
use spot_interrupt_handler::sim::faults::Weather;
use spot_interrupt_handler::sim::journal::Journal;
use spot_interrupt_handler::sim::metadata::{Instance, MetadataService, ScheduledNotice};
use spot_interrupt_handler::sim::node::Node;
use spot_interrupt_handler::sim::pod::Pod;
use spot_interrupt_handler::sim::ports::{Nobody, SimCluster, SimMetadata, Way};
use spot_interrupt_handler::sim::stage::Stage;

use super::account::{self, Account};
use super::controller::Controller;

/// The round trip to the API server.
const LATENCY: Duration = Duration::from_millis(10);

pub fn instance(index: usize) -> InstanceId {
    InstanceId::new(format!("i-{index:017x}"))
}

pub fn name(index: usize) -> NodeName {
    NodeName::new(format!("node-{index}"))
}

/// The world of this node alone, with its notice to come.
pub fn stage(index: usize, pods: Vec<Pod>, notice: Moment, clock: Clock) -> Arc<Stage> {
    let mut cluster = ApiServer::new(Node {
        name: name(index),
        uid: format!("node-uid-{index}"),
        version: 1,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        unschedulable: false,
        taints: Vec::new(),
        instance: instance(index),
        zone: "eu-west-1a".to_owned(),
        boot: BootId::new("boot"),
    });
    for pod in pods {
        cluster.add_pod(pod);
    }
    let mut metadata = MetadataService::new(Instance {
        id: instance(index),
        kind: "m6i.large".to_owned(),
        zone: "eu-west-1a".to_owned(),
        account: "111122223333".to_owned(),
        address: "10.0.1.23".to_owned(),
    });
    metadata.schedule(ScheduledNotice::appearing_at(notice));
    let world = World {
        cluster,
        balancer: LoadBalancer::default(),
        controller: NoController::default(),
        services: Vec::new(),
        metadata,
        journal: Journal::default(),
    };
    Stage::new(world, clock)
}

/// What leads to the nodes, as an API server tells it.
#[derive(Clone, Debug)]
pub struct Front {
    pub account: Arc<Account>,
    pub controller: Arc<Controller>,
    pub services: Arc<Vec<Service>>,
}

/// The agent's ports on this node.
pub fn ports(
    index: usize,
    stage: Arc<Stage>,
    front: &Front,
) -> Ports<SimMetadata, FleetCluster, FleetBalancer> {
    let weather = Weather::new(Vec::new(), LATENCY, index as u64);
    let weather = Arc::new(Mutex::new(weather));
    let way = Way::new(1, stage, weather, Arc::new(Mutex::new(Nobody)));
    Ports {
        metadata: SimMetadata { way: way.clone() },
        cluster: FleetCluster {
            own: SimCluster {
                way,
                node: name(index),
                writes: Writes::Real,
            },
            front: front.clone(),
            instance: instance(index),
        },
        balancer: FleetBalancer {
            account: front.account.clone(),
        },
    }
}

/// The API server of the node's own world, but for what leads to all nodes.
#[derive(Clone, Debug)]
pub struct FleetCluster {
    own: SimCluster,
    front: Front,
    instance: InstanceId,
}

impl Cluster for FleetCluster {
    async fn node(&self) -> Result<NodeView, ClusterError> {
        self.own.node().await
    }

    async fn cordon(&self, patch: &CordonPatch) -> Result<NodeView, ClusterError> {
        let view = self.own.cordon(patch).await?;
        if view.exclusion_label.is_some() {
            self.front.controller.labelled(&self.instance);
        }
        Ok(view)
    }

    async fn undo(&self, patch: &UndoPatch) -> Result<NodeView, ClusterError> {
        self.own.undo(patch).await
    }

    async fn pods(
        &self,
        freshness: &Freshness,
    ) -> Result<(Vec<PodView>, ResourceVersion), ClusterError> {
        self.own.pods(freshness).await
    }

    fn watch(
        &self,
        from: &ResourceVersion,
    ) -> impl Future<
        Output = Result<
            impl Stream<Item = Result<WatchEvent, ClusterError>> + Send + 'static,
            ClusterError,
        >,
    > + Send {
        self.own.watch(from)
    }

    async fn evict(&self, pod: &PodRef, grace: Option<Grace>) -> Result<(), ClusterError> {
        self.own.evict(pod, grace).await
    }

    async fn delete(&self, pod: &PodRef, grace: Option<Grace>) -> Result<(), ClusterError> {
        self.own.delete(pod, grace).await
    }

    async fn mark_disruption(&self, pod: &PodRef) -> Result<(), ClusterError> {
        self.own.mark_disruption(pod).await
    }

    async fn namespace(&self, name: &str) -> Result<BlockedWish, ClusterError> {
        self.own.namespace(name).await
    }

    async fn bindings(&self, api: BindingApi) -> Result<Vec<Binding>, ClusterError> {
        self.front.account.clock().sleep(LATENCY).await;
        let bindings = self.front.controller.bindings();
        match api {
            BindingApi::Controller if !bindings.is_empty() => Ok(bindings),
            BindingApi::Controller | BindingApi::AutoMode => Err(ClusterError::Refused {
                refusal: Refusal::NotFound,
                status: 404,
                message: "no such API".to_owned(),
            }),
        }
    }

    async fn services(&self) -> Result<Vec<Service>, ClusterError> {
        self.front.account.clock().sleep(LATENCY).await;
        Ok(self.front.services.to_vec())
    }

    async fn change_connection(&self) {
        self.own.change_connection().await;
    }

    async fn review_access(&self, permission: &Permission) -> Result<Access, ClusterError> {
        self.own.review_access(permission).await
    }

    async fn publish(&self, event: &NodeEvent) -> Result<(), ClusterError> {
        self.own.publish(event).await
    }
}

/// The load balancers of the account.
#[derive(Clone, Debug)]
pub struct FleetBalancer {
    account: Arc<Account>,
}

fn refused(refusal: account::Refusal) -> BalancerError {
    match refusal {
        account::Refusal::Throttled => BalancerError::Throttled {
            message: "Rate exceeded".to_owned(),
        },
        account::Refusal::NoGroup => BalancerError::GroupGone,
    }
}

pub fn named(target: &TargetId, port: Option<u16>) -> NamedTarget {
    NamedTarget {
        id: target.clone(),
        port,
    }
}

impl Balancer for FleetBalancer {
    async fn warm(&self) -> Result<(), BalancerError> {
        Ok(())
    }

    async fn groups(
        &self,
        _: Option<&Marker>,
    ) -> Result<(Vec<ListedGroup>, Option<Marker>), BalancerError> {
        Ok((Vec::new(), None))
    }

    async fn tags(
        &self,
        _: &[TargetGroupArn],
    ) -> Result<Vec<(TargetGroupArn, Vec<GroupTag>)>, BalancerError> {
        Ok(Vec::new())
    }

    async fn targets(
        &self,
        group: &TargetGroupArn,
        target: &TargetId,
        ports: TargetPorts,
    ) -> Result<Vec<Target>, BalancerError> {
        let asked = match ports {
            TargetPorts::All => Vec::new(),
            TargetPorts::Only(port) => vec![named(target, Some(port))],
        };
        let healths = self
            .account
            .describe(group, &asked)
            .await
            .map_err(refused)?;
        let own = healths.iter().filter(|health| health.target.id == *target);
        let states = own.map(|health| Target {
            port: health.target.port,
            state: match health.registration {
                Some(Registration::Healthy) => TargetState::Registered,
                Some(Registration::Draining { .. }) => TargetState::Draining,
                None => TargetState::NotRegistered,
            },
        });
        Ok(states.collect())
    }

    async fn deregister(
        &self,
        group: &TargetGroupArn,
        target: &TargetId,
        ports: &[u16],
    ) -> Result<(), BalancerError> {
        let named: Vec<NamedTarget> = ports
            .iter()
            .map(|port| named(target, Some(*port)))
            .collect();
        self.account
            .deregister(group, &named)
            .await
            .map_err(refused)
    }
}
