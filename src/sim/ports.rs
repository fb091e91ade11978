//! The world as the agent's three ports, driven directly: no sockets, and whatever the weather does to a request.
//!
//! A request that has left takes effect whether or not its sender still waits, or still lives.

mod answers;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::oneshot;

use self::answers::{
    balancer_refusal, cluster_refusal, node_patch, node_view, pod_view, target_state, undo_patch,
};
use super::World;
use super::balancer::NamedTarget;
use super::cluster::{AtLeast, CACHE_WAIT, Cluster as ApiServer, DeleteOptions, Event, Writes};
use super::faults::{Fate, Trouble, Weather};
use super::journal::{Call, Service};
use super::node::{Node, NodePatch};
use super::pod::Pod;
use super::refused::Refused;
use super::stage::Stage;
use crate::annotation::blocked_wish;
use crate::clock::Clock;
use crate::plan::action::{
    Freshness, MachineIdentity, NodeEvent, Ports as TargetPorts, Target, WatchEvent,
};
use crate::plan::binding::{
    Binding, BindingApi, GroupTag, ListedGroup, Marker, Service as FrontService, TargetId,
};
use crate::plan::budget::Grace;
use crate::plan::id::{NodeName, PodRef, PodUid, ResourceVersion, TargetGroupArn};
use crate::plan::node::{CordonPatch, NodeView, UndoPatch};
use crate::plan::notice::{AnnouncedAction, Announcement};
use crate::plan::pod::{BlockedWish, PodView};
use crate::plan::preflight::{Access, Permission};
use crate::plan::time::{Moment, Now, WallTime};
use crate::ports::{Balancer, BalancerError, Cluster, ClusterError, Metadata, MetadataError};

/// An unreachable server is noticed after this: connecting takes at most so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The SDK's own limit of an attempt, which the agent leaves to it.
const BALANCER_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Somebody who is told of every write, as it leaves and as it arrives.
pub trait Witness: Send {
    /// A call about a pod leaves the agent.
    fn pod_call_leaves(&mut self, call: &PodCall, world: &World, now: Now);

    /// The agent does not wait for it any more, for whatever reason.
    fn pod_call_ends(&mut self, call: &PodCall);

    /// It takes effect, or is refused.
    fn pod_call_arrives(
        &mut self,
        call: &PodCall,
        answer: Result<(), &Refused>,
        world: &World,
        now: Now,
    );

    /// A patch of the node has taken effect.
    fn node_patched(&mut self, before: &Node, world: &World, now: Now);

    /// A call to the load balancer leaves the agent.
    fn balancer_call_leaves(
        &mut self,
        group: &TargetGroupArn,
        target: &TargetId,
        deregisters: &[u16],
        now: Now,
    );
}

/// A call about one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodCall {
    /// Which process makes it.
    pub process: u32,
    /// What it does.
    pub verb: PodVerb,
    /// To which pod.
    pub pod: PodRef,
    /// Whether it says which pod of that name is meant.
    pub precondition: Option<PodUid>,
    /// The grace period it asks for.
    pub grace: Option<i64>,
    /// Whether it is to take effect.
    pub writes: Writes,
}

/// What a call does about a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodVerb {
    /// It evicts it.
    Evict,
    /// It deletes it.
    Delete,
}

/// A witness who looks away.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Witness for Nobody {
    fn pod_call_leaves(&mut self, _: &PodCall, _: &World, _: Now) {}
    fn pod_call_ends(&mut self, _: &PodCall) {}
    fn pod_call_arrives(&mut self, _: &PodCall, _: Result<(), &Refused>, _: &World, _: Now) {}
    fn node_patched(&mut self, _: &Node, _: &World, _: Now) {}
    fn balancer_call_leaves(&mut self, _: &TargetGroupArn, _: &TargetId, _: &[u16], _: Now) {}
}

/// The way from one agent process to the world.
#[derive(Clone)]
pub struct Way {
    process: u32,
    stage: Arc<Stage>,
    weather: Arc<Mutex<Weather>>,
    witness: Arc<Mutex<dyn Witness>>,
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Way")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

/// How a request came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    Unreachable,
    Lost,
    Status(u16),
    Throttled,
    Garbage,
}

/// What went wrong, for errors that have a cause.
#[derive(Debug, thiserror::Error)]
#[error("the simulated network {0}")]
struct Cause(&'static str);

impl Way {
    /// The way of this process.
    #[must_use]
    pub fn new(
        process: u32,
        stage: Arc<Stage>,
        weather: Arc<Mutex<Weather>>,
        witness: Arc<Mutex<dyn Witness>>,
    ) -> Self {
        Self {
            process,
            stage,
            weather,
            witness,
        }
    }

    /// The clock of the world.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.stage.clock().clone()
    }

    fn witness(&self) -> MutexGuard<'_, dyn Witness + 'static> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fate(&self, service: Service) -> Fate {
        let now = self.stage.clock().now().at;
        self.weather
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fate(service, now)
    }

    /// Sends one request and waits for its answer.
    async fn exchange<T: Send + 'static>(
        &self,
        service: Service,
        verb: &'static str,
        takes: Duration,
        act: impl FnOnce(&mut World, Now) -> T + Send + 'static,
    ) -> Result<T, Failed> {
        let fate = self.fate(service);
        let clock = self.stage.clock().clone();
        let act = move |stage: &Stage| {
            stage.with(|world, now| {
                world.journal.record(Call {
                    at: now.at,
                    service,
                    verb,
                    object: String::new(),
                    status: 0,
                    from: None,
                });
                act(world, now)
            })
        };
        // The server's part goes on without its client.
        let (sender, answer) = oneshot::channel();
        let has_effect = match fate.trouble {
            None
            | Some(
                Trouble::MuteAnswer
                | Trouble::LostAnswer
                | Trouble::GatewayAfterEffect(_)
                | Trouble::Garbage
                | Trouble::Slow(_),
            ) => true,
            Some(
                Trouble::Partition
                | Trouble::Silence
                | Trouble::LostRequest
                | Trouble::Status(_)
                | Trouble::Throttled,
            ) => false,
        };
        let slow = match fate.trouble {
            Some(Trouble::Slow(by)) => by,
            _ => Duration::ZERO,
        };
        if has_effect {
            let stage = self.stage.clone();
            tokio::spawn(async move {
                stage.clock().sleep(fate.there + takes + slow).await;
                let _ = sender.send(act(&stage));
            });
        }
        match fate.trouble {
            None | Some(Trouble::Slow(_)) => {
                let answer = answer.await.map_err(|_| Failed::Lost)?;
                clock.sleep(fate.back).await;
                Ok(answer)
            }
            Some(Trouble::Partition) => {
                clock.sleep(CONNECT_TIMEOUT).await;
                Err(Failed::Unreachable)
            }
            Some(Trouble::Silence | Trouble::MuteAnswer) => std::future::pending().await,
            Some(Trouble::LostRequest) => {
                clock.sleep(fate.there).await;
                Err(Failed::Lost)
            }
            Some(Trouble::LostAnswer) => {
                let _ = answer.await;
                Err(Failed::Lost)
            }
            Some(Trouble::Garbage) => {
                let _ = answer.await;
                clock.sleep(fate.back).await;
                Err(Failed::Garbage)
            }
            Some(Trouble::Status(status)) => {
                clock.sleep(fate.there + fate.back).await;
                Err(Failed::Status(status))
            }
            Some(Trouble::GatewayAfterEffect(status)) => {
                let _ = answer.await;
                clock.sleep(fate.back).await;
                Err(Failed::Status(status))
            }
            Some(Trouble::Throttled) => {
                clock.sleep(fate.there + fate.back).await;
                Err(Failed::Throttled)
            }
        }
    }

    async fn ask_cluster<T: Send + 'static>(
        &self,
        verb: &'static str,
        takes: Duration,
        act: impl FnOnce(&mut World, Now) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, ClusterError> {
        match self.exchange(Service::Kubernetes, verb, takes, act).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(refused)) => Err(cluster_refusal(&refused)),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Makes a call about a pod, under the eyes of the witness.
    async fn call_pod(&self, call: PodCall) -> Result<(), ClusterError> {
        let options = DeleteOptions {
            uid: call.precondition.clone(),
            grace: call.grace,
            writes: call.writes,
        };
        self.stage.look(|world| {
            let now = self.stage.clock().now();
            self.witness().pod_call_leaves(&call, world, now);
        });
        let _until_it_ends = Attention {
            way: self,
            call: &call,
        };
        let (verb, takes) = match call.verb {
            PodVerb::Evict => {
                let (namespace, name) = (&call.pod.namespace, &call.pod.name);
                let takes = |world: &World| world.cluster.eviction_takes(namespace, name, &options);
                ("evict", self.stage.look(takes))
            }
            PodVerb::Delete => ("delete", ApiServer::deletion_takes()),
        };
        let (witness, arriving) = (self.witness.clone(), call.clone());
        self.ask_cluster(verb, takes, move |world, now| {
            let PodRef {
                namespace, name, ..
            } = &arriving.pod;
            let result = match arriving.verb {
                PodVerb::Evict => world.cluster.evict(namespace, name, &options, now),
                PodVerb::Delete => world
                    .cluster
                    .delete(namespace, name, &options, now)
                    .map(|_| ()),
            };
            witness
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pod_call_arrives(&arriving, result.as_ref().copied(), world, now);
            result
        })
        .await
    }
}

/// Tells the witness that a call has ended, also when its future is dropped.
struct Attention<'a> {
    way: &'a Way,
    call: &'a PodCall,
}

impl Drop for Attention<'_> {
    fn drop(&mut self) {
        self.way.witness().pod_call_ends(self.call);
    }
}

/// The metadata service of the world.
#[derive(Clone, Debug)]
pub struct SimMetadata {
    /// The way to it.
    pub way: Way,
}

impl Metadata for SimMetadata {
    async fn notice(&self) -> Result<Option<Announcement>, MetadataError> {
        let act = |world: &mut World, now: Now| {
            let notice = world.metadata.visible_notice(now)?;
            let date = now.wall.millis().div_euclid(1_000) * 1_000;
            Some(Announcement {
                action: AnnouncedAction::Known(notice.action),
                time: Some(notice.time(now)),
                server_date: Some(WallTime::from_millis(date)),
            })
        };
        let answer = self
            .way
            .exchange(Service::Metadata, "notice", Duration::ZERO, act);
        answer.await.map_err(Into::into)
    }

    async fn identity(&self) -> Result<MachineIdentity, MetadataError> {
        let act = |world: &mut World, _: Now| {
            let instance = world.metadata.instance();
            MachineIdentity {
                instance_id: instance.id.clone(),
                instance_type: Some(instance.kind.clone()),
                zone: Some(instance.zone.clone()),
                life_cycle: Some("spot".to_owned()),
            }
        };
        let answer = self
            .way
            .exchange(Service::Metadata, "identity", Duration::ZERO, act);
        answer.await.map_err(Into::into)
    }
}

/// The API server of the world, seen from one node.
#[derive(Clone, Debug)]
pub struct SimCluster {
    /// The way to it.
    pub way: Way,
    /// The node.
    pub node: NodeName,
    /// Whether its writes take effect.
    pub writes: Writes,
}

/// Small reads and writes take this long inside the server.
const SMALL_CALL: Duration = Duration::from_millis(3);

impl Cluster for SimCluster {
    async fn node(&self) -> Result<NodeView, ClusterError> {
        let name = self.node.clone();
        self.way
            .ask_cluster("get node", SMALL_CALL, move |world, _| {
                world.cluster.get_node(name.as_str()).map(node_view)
            })
            .await
    }

    async fn cordon(&self, patch: &CordonPatch) -> Result<NodeView, ClusterError> {
        self.patch(node_patch(patch)).await
    }

    async fn undo(&self, patch: &UndoPatch) -> Result<NodeView, ClusterError> {
        self.patch(undo_patch(patch)).await
    }

    async fn pods(
        &self,
        freshness: &Freshness,
    ) -> Result<(Vec<PodView>, ResourceVersion), ClusterError> {
        let node = self.node.clone();
        self.list(freshness, move |pod| pod.node == node).await
    }

    async fn watch(
        &self,
        from: &ResourceVersion,
    ) -> Result<impl Stream<Item = Result<WatchEvent, ClusterError>> + Send + 'static, ClusterError>
    {
        let version = from.as_str().parse().unwrap_or(0);
        self.way
            .ask_cluster("watch pods", Duration::ZERO, move |world, _| {
                world.cluster.changes_since(version).map(|_| ())
            })
            .await?;
        Ok(watch::stream(
            self.way.stage.clone(),
            self.way.weather.clone(),
            self.node.clone(),
            version,
        ))
    }

    async fn evict(&self, pod: &PodRef, grace: Option<Grace>) -> Result<(), ClusterError> {
        let call = self.pod_call(PodVerb::Evict, pod, grace);
        self.way.call_pod(call).await
    }

    async fn delete(&self, pod: &PodRef, grace: Option<Grace>) -> Result<(), ClusterError> {
        let call = self.pod_call(PodVerb::Delete, pod, grace);
        self.way.call_pod(call).await
    }

    async fn mark_disruption(&self, pod: &PodRef) -> Result<(), ClusterError> {
        let (pod, writes) = (pod.clone(), self.writes);
        self.way
            .ask_cluster("patch pod status", SMALL_CALL, move |world, _| {
                if writes == Writes::DryRun {
                    return Ok(());
                }
                let reason = "TerminationBySpotInterruption";
                world
                    .cluster
                    .mark_disruption_target(&pod.namespace, &pod.name, Some(&pod.uid), reason)
                    .map(|_| ())
            })
            .await
    }

    async fn review_access(&self, _: &Permission) -> Result<Access, ClusterError> {
        self.way
            .ask_cluster("review access", SMALL_CALL, |_, _| Ok(Access::Allowed))
            .await
    }

    async fn namespace(&self, name: &str) -> Result<BlockedWish, ClusterError> {
        let name = name.to_owned();
        self.way
            .ask_cluster("get namespace", SMALL_CALL, move |world, _| {
                Ok(blocked_wish(Some(
                    &world.cluster.namespace_annotations(&name),
                )))
            })
            .await
    }

    async fn bindings(&self, api: BindingApi) -> Result<Vec<Binding>, ClusterError> {
        self.way
            .ask_cluster("list bindings", SMALL_CALL, move |world, _| {
                let bindings = world.controller.bindings();
                // Who has no bindings has no API for them either.
                match api {
                    BindingApi::Controller if !bindings.is_empty() => Ok(bindings.to_vec()),
                    BindingApi::Controller | BindingApi::AutoMode => Err(Refused::NoResource),
                }
            })
            .await
    }

    async fn services(&self) -> Result<Vec<FrontService>, ClusterError> {
        self.way
            .ask_cluster("list services", SMALL_CALL, move |world, _| {
                Ok(world.services.clone())
            })
            .await
    }

    async fn change_connection(&self) {
        // One connection is like another here: it is the weather that is bad.
    }

    async fn publish(&self, event: &NodeEvent) -> Result<(), ClusterError> {
        let (name, published) = (
            event.name.clone(),
            Event {
                reason: event.kind.reason().to_owned(),
                message: event.note.clone(),
            },
        );
        let writes = self.writes;
        self.way
            .ask_cluster("create event", SMALL_CALL, move |world, _| {
                if writes == Writes::DryRun {
                    return Ok(());
                }
                match world.cluster.publish("default", &name, published) {
                    // As the port has it: one that is there is success.
                    Err(Refused::EventExists(_)) => Ok(()),
                    result => result,
                }
            })
            .await
    }
}

impl SimCluster {
    /// The call about this pod that carries all it should.
    #[must_use]
    pub fn pod_call(&self, verb: PodVerb, pod: &PodRef, grace: Option<Grace>) -> PodCall {
        PodCall {
            process: self.way.process,
            verb,
            pod: pod.clone(),
            precondition: Some(pod.uid.clone()),
            grace: grace.map(|grace| grace.as_secs().into()),
            writes: self.writes,
        }
    }

    /// Makes any call about a pod.
    ///
    /// # Errors
    /// When it is refused, or the weather lets it through in no good way.
    pub async fn call(&self, call: PodCall) -> Result<(), ClusterError> {
        self.way.call_pod(call).await
    }

    /// Makes any patch of the node.
    ///
    /// # Errors
    /// When it is refused, or the weather lets it through in no good way.
    pub async fn patch(&self, patch: NodePatch) -> Result<NodeView, ClusterError> {
        let (name, witness) = (self.node.clone(), self.way.witness.clone());
        let writes = self.writes;
        self.way
            .ask_cluster("patch node", SMALL_CALL, move |world, now| {
                let before = world.cluster.node().clone();
                let patched = world.cluster.patch_node(name.as_str(), &patch, writes);
                if patched.is_ok() && writes == Writes::Real {
                    witness
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .node_patched(&before, world, now);
                }
                patched.map(|node| node_view(&node))
            })
            .await
    }

    /// Lists the pods of every node.
    ///
    /// # Errors
    /// When the weather lets it through in no good way.
    pub async fn all_pods(&self) -> Result<(Vec<PodView>, ResourceVersion), ClusterError> {
        self.list(&Freshness::Newest, |_| true).await
    }

    async fn list(
        &self,
        freshness: &Freshness,
        is_wanted: impl Fn(&Pod) -> bool + Send + 'static,
    ) -> Result<(Vec<PodView>, ResourceVersion), ClusterError> {
        let at_least = match freshness {
            Freshness::Cached => AtLeast::Cached,
            Freshness::NotOlderThan(version) => {
                AtLeast::Version(version.as_str().parse().unwrap_or_default())
            }
            Freshness::Newest => AtLeast::Newest,
        };
        let is_behind = self
            .way
            .stage
            .look(|world| world.cluster.reaches(at_least).is_err());
        let takes = if is_behind { CACHE_WAIT } else { SMALL_CALL };
        self.way
            .ask_cluster("list pods", takes, move |world, _| {
                let (pods, version) = world.cluster.listed(at_least)?;
                let wanted = pods.iter().filter(|pod| is_wanted(pod));
                let version = ResourceVersion::new(version.to_string());
                Ok((wanted.map(pod_view).collect(), version))
            })
            .await
    }
}

/// The load balancer of the world.
#[derive(Clone, Debug)]
pub struct SimBalancer {
    /// The way to it.
    pub way: Way,
}

impl SimBalancer {
    async fn ask<T: Send + 'static>(
        &self,
        verb: &'static str,
        act: impl FnOnce(&mut World, Moment) -> Result<T, super::balancer::NoGroup> + Send + 'static,
    ) -> Result<T, BalancerError> {
        let clock = self.way.stage.clock().clone();
        let exchange = self.way.exchange(
            Service::Balancer,
            verb,
            Duration::from_millis(20),
            move |world, now| act(world, now.at),
        );
        let give_up = clock.now().at + BALANCER_TIMEOUT;
        match clock.until(give_up, exchange).await {
            Ok(Ok(answer)) => answer.map_err(|_| BalancerError::GroupGone),
            Ok(Err(failed)) => Err(balancer_refusal(failed)),
            Err(elapsed) => Err(BalancerError::Lost(elapsed.into())),
        }
    }
}

impl Balancer for SimBalancer {
    async fn warm(&self) -> Result<(), BalancerError> {
        Ok(())
    }

    async fn groups(
        &self,
        _from: Option<&Marker>,
    ) -> Result<(Vec<ListedGroup>, Option<Marker>), BalancerError> {
        Ok((Vec::new(), None))
    }

    async fn tags(
        &self,
        _groups: &[TargetGroupArn],
    ) -> Result<Vec<(TargetGroupArn, Vec<GroupTag>)>, BalancerError> {
        Ok(Vec::new())
    }

    async fn targets(
        &self,
        group: &TargetGroupArn,
        target: &TargetId,
        ports: TargetPorts,
    ) -> Result<Vec<Target>, BalancerError> {
        let now = self.way.stage.clock().now();
        self.way
            .witness()
            .balancer_call_leaves(group, target, &[], now);
        let (group, target) = (group.clone(), target.clone());
        let named = match ports {
            TargetPorts::All => Vec::new(),
            TargetPorts::Only(port) => vec![named(&target, port)],
        };
        self.ask("DescribeTargetHealth", move |world, _| {
            let healths = world.balancer.describe(&group, &named)?;
            let own = healths.iter().filter(|health| health.target.id == target);
            Ok(own.map(target_state).collect())
        })
        .await
    }

    async fn deregister(
        &self,
        group: &TargetGroupArn,
        target: &TargetId,
        ports: &[u16],
    ) -> Result<(), BalancerError> {
        let now = self.way.stage.clock().now();
        self.way
            .witness()
            .balancer_call_leaves(group, target, ports, now);
        let group = group.clone();
        let named: Vec<NamedTarget> = ports.iter().map(|port| named(target, *port)).collect();
        self.ask("DeregisterTargets", move |world, now| {
            world.balancer.deregister(&group, &named, now)
        })
        .await
    }
}

fn named(target: &TargetId, port: u16) -> NamedTarget {
    NamedTarget {
        id: target.clone(),
        port: Some(port),
    }
}
