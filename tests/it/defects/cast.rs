//! Agents that do one thing wrong: the honest planner and loop, with ports, lines or a clock that are not honest.

// Each of these is honest but for one or two of the defects.
#![allow(clippy::wildcard_enum_match_arm)]

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join;
use futures_util::{Stream, StreamExt};
use spot_interrupt_handler::attempt::Ports;
use spot_interrupt_handler::plan::action::{
    Freshness, MachineIdentity, NodeEvent, Ports as TargetPorts, Target, TargetState, WatchEvent,
};
use spot_interrupt_handler::plan::binding::{
    Binding, BindingApi, GroupTag, ListedGroup, Marker, NamespacedName, Service, TargetId,
    TargetType, TrafficPolicy,
};
use spot_interrupt_handler::plan::budget::Grace;
use spot_interrupt_handler::plan::id::{
    BootId, InstanceId, PodRef, PodUid, ResourceVersion, TargetGroupArn,
};
use spot_interrupt_handler::plan::node::{
    Annotation, CordonOwner, CordonPatch, LabelWrite, NodeView, SchedulingWrite, UndoPatch,
};
use spot_interrupt_handler::plan::notice::{AnnouncedAction, Announcement, InterruptionAction};
use spot_interrupt_handler::plan::pod::{BlockedWish, PodView, StartWish};
use spot_interrupt_handler::plan::preflight::{Access, Permission};
use spot_interrupt_handler::ports::{
    Balancer, BalancerError, Cluster, ClusterError, Metadata, MetadataError, Refusal,
};
use spot_interrupt_handler::report::{Level, Line, Outlet};
use spot_interrupt_handler::sim::cluster::Writes;
use spot_interrupt_handler::sim::node::NodePatch;
use spot_interrupt_handler::sim::ports::{PodVerb, SimBalancer, SimCluster, SimMetadata, Way};
use spot_interrupt_handler::sim::setting::Setting;
use spot_interrupt_handler::simulate::interruption::{Cast, Honest};

/// What is wrong with an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    ForgetsTheUid,
    GivesNoGrace,
    RaisesTheGrace,
    ShortensTheGrace,
    EvictsDaemonSets,
    EvictsMirrors,
    EvictsItself,
    EvictsElsewhere,
    ForgetsAPodAfterAFailure,
    CallsTwiceAtOnce,
    BreaksBudgets,
    HammersClosedBudgets,
    ActsAfterTheDeadline,
    ListsAllTheTime,
    BelievesItsOwnClock,
    UncordonsTheNode,
    ForgetsTheCordon,
    ForgetsTheLabel,
    ClaimsEveryCordon,
    ForgetsItsCordon,
    ForgetsOtherPorts,
    NamesAnotherInstance,
    WaitsForUnused,
    SeesNoPods,
    SaysNoVerdict,
    GivesTwoVerdicts,
    GivesALateVerdict,
    CriesWolf,
    DisturbsTheReluctant,
    EvictsCriticalPodsAtOnce,
    TakesItselfForACrowd,
    DeletesWhatWaits,
    DeletesWithoutAWord,
    FightsControllers,
    TakesHibernationsForTerminations,
    TakesLocalServicesForOthers,
    LeavesNothingToControllers,
    WaitsForDeadControllers,
    BelievesTheFirstLook,
    LooksForNoBindings,
    ForgetsTheGateway,
    UncordonsForOthers,
    UncordonsBesideOthers,
    GivesBackTooSoon,
    NeverGivesBack,
    DrainsOnAfterItsSleep,
    LooksThoughItObserves,
    RehearsesForGood,
    DrainsBesideAnother,
    CordonsBesideAnother,
}

const ONE_SIGNAL: &str = "a pod gets one stop signal";
const EVICTABLE: &str = "only own, evictable pods are touched";
const GRACE: &str = "a grace period is neither 0 nor raised";
const STOP_SIGNAL: &str = "a pod gets its stop signal as soon as the weather allows";
const CORDON: &str = "the node is cordoned and excluded as soon as the weather allows";
const OWNER: &str = "the annotation says whose the cordon is";
const BOUNDED: &str = "the number of calls is bounded";
const DRAINING: &str = "every registered port is draining as soon as the weather allows";
const FOREIGN: &str = "nothing foreign is undone";
const ONE_VERDICT: &str = "there is one verdict for each process";

/// Every defect, and the rule that notices it.
pub const DEFECTS: [(Defect, &str); 50] = [
    (
        Defect::ForgetsTheUid,
        "every call about a pod carries its UID",
    ),
    (Defect::GivesNoGrace, GRACE),
    (Defect::RaisesTheGrace, GRACE),
    (Defect::ShortensTheGrace, ONE_SIGNAL),
    (Defect::EvictsDaemonSets, EVICTABLE),
    (Defect::EvictsMirrors, EVICTABLE),
    (Defect::EvictsItself, EVICTABLE),
    (Defect::EvictsElsewhere, EVICTABLE),
    (Defect::ForgetsAPodAfterAFailure, STOP_SIGNAL),
    (
        Defect::CallsTwiceAtOnce,
        "there are never two calls for one pod at once",
    ),
    (
        Defect::BreaksBudgets,
        "a budget is broken only when the last useful moment has come",
    ),
    (Defect::HammersClosedBudgets, BOUNDED),
    (
        Defect::ActsAfterTheDeadline,
        "nothing is done to pods after the deadline",
    ),
    (
        Defect::ListsAllTheTime,
        "calls that are not about pods are few",
    ),
    (Defect::BelievesItsOwnClock, "the deadline is EC2's"),
    (
        Defect::UncordonsTheNode,
        "what others wrote on the node stays",
    ),
    (Defect::ForgetsTheCordon, CORDON),
    (Defect::ForgetsTheLabel, CORDON),
    (Defect::ClaimsEveryCordon, OWNER),
    (Defect::ForgetsItsCordon, OWNER),
    (Defect::ForgetsOtherPorts, DRAINING),
    (
        Defect::TakesLocalServicesForOthers,
        "a pod stops only when the ways in to it have settled",
    ),
    (
        Defect::LeavesNothingToControllers,
        "the groups of a working controller are left to it",
    ),
    (
        Defect::WaitsForDeadControllers,
        "the part of a dead controller is taken over",
    ),
    (Defect::BelievesTheFirstLook, DRAINING),
    (Defect::LooksForNoBindings, DRAINING),
    (Defect::ForgetsTheGateway, DRAINING),
    (
        Defect::NamesAnotherInstance,
        "only the own instance is ever named to a load balancer",
    ),
    (Defect::WaitsForUnused, BOUNDED),
    (Defect::SeesNoPods, "a verdict of completion is true"),
    (
        Defect::SaysNoVerdict,
        "a process that lives gives its verdict",
    ),
    (Defect::GivesTwoVerdicts, ONE_VERDICT),
    (
        Defect::GivesALateVerdict,
        "the verdict is given in time to leave the node",
    ),
    (
        Defect::CriesWolf,
        "a calm interruption has neither warnings nor errors",
    ),
    (
        Defect::DisturbsTheReluctant,
        "a late pod is left alone until it is time",
    ),
    (
        Defect::EvictsCriticalPodsAtOnce,
        "critical pods follow the others",
    ),
    (
        Defect::TakesItselfForACrowd,
        "nobody waits for a server that is quick",
    ),
    (
        Defect::DeletesWhatWaits,
        "a budget is broken only when the last useful moment has come",
    ),
    (
        Defect::DeletesWithoutAWord,
        "a pod that is deleted says why",
    ),
    (
        Defect::FightsControllers,
        "a controller that puts its pods back is not fought",
    ),
    (
        Defect::TakesHibernationsForTerminations,
        "a hibernation cuts no grace period",
    ),
    (Defect::UncordonsForOthers, FOREIGN),
    (Defect::UncordonsBesideOthers, FOREIGN),
    (
        Defect::GivesBackTooSoon,
        "a node is given back only when it has outlived its notice",
    ),
    (
        Defect::NeverGivesBack,
        "what was ours is undone when the node lives on",
    ),
    (
        Defect::DrainsOnAfterItsSleep,
        "after a wake past the deadline no pod is called",
    ),
    (
        Defect::LooksThoughItObserves,
        "an observer asks nobody but the metadata service",
    ),
    (Defect::RehearsesForGood, "a rehearsal changes nothing"),
    (
        Defect::DrainsBesideAnother,
        "who leaves the pods to another calls none",
    ),
    (
        Defect::CordonsBesideAnother,
        "who leaves the pods to another cordons nothing",
    ),
];

impl Defect {
    /// What the agent does.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::ForgetsTheUid => "evicts by name alone",
            Self::GivesNoGrace => "asks for a grace period of 0",
            Self::RaisesTheGrace => "asks for more grace than the pod's own",
            Self::ShortensTheGrace => "evicts again with less grace",
            Self::EvictsDaemonSets => "takes DaemonSet pods for others",
            Self::EvictsMirrors => "takes static pods for others",
            Self::EvictsItself => "evicts its own pod",
            Self::EvictsElsewhere => "sees the pods of all nodes",
            Self::ForgetsAPodAfterAFailure => "gives a pod up after one failure",
            Self::CallsTwiceAtOnce => "makes every call twice at once",
            Self::BreaksBudgets => "deletes what a budget protects",
            Self::HammersClosedBudgets => "asks a closed budget without a pause",
            Self::ActsAfterTheDeadline => "evicts again after the deadline",
            Self::ListsAllTheTime => "lists the pods all the time",
            Self::BelievesItsOwnClock => "plans by the node's own clock",
            Self::UncordonsTheNode => "uncordons the node and drops others' annotations",
            Self::ForgetsTheCordon => "does not cordon the node",
            Self::ForgetsTheLabel => "does not exclude the node from load balancers",
            Self::ClaimsEveryCordon => "claims every cordon as its own",
            Self::ForgetsItsCordon => "forgets in a restart that the cordon is its own",
            Self::ForgetsOtherPorts => "deregisters one port of several",
            Self::NamesAnotherInstance => "names another instance",
            Self::WaitsForUnused => "waits until a target is unused",
            Self::SeesNoPods => "takes an empty list for the truth",
            Self::SaysNoVerdict => "says nothing in the end",
            Self::GivesTwoVerdicts => "gives its verdict twice",
            Self::GivesALateVerdict => "gives its verdict when the deadline has come",
            Self::CriesWolf => "warns of what is as it should be",
            Self::DisturbsTheReluctant => "evicts at once who asks to be left alone",
            Self::EvictsCriticalPodsAtOnce => "takes critical pods for others",
            Self::TakesItselfForACrowd => "takes its own slowness for the server's",
            Self::DeletesWhatWaits => "deletes pods whose owner forbids it",
            Self::DeletesWithoutAWord => "deletes pods without the condition",
            Self::FightsControllers => "evicts what comes back for ever",
            Self::TakesHibernationsForTerminations => "takes a hibernation for a termination",
            Self::TakesLocalServicesForOthers => {
                "takes a Service that stays on the node for any other"
            }
            Self::LeavesNothingToControllers => "deregisters what a controller would",
            Self::WaitsForDeadControllers => "takes a controller that stands still for one at work",
            Self::BelievesTheFirstLook => "never sees a registration that comes back",
            Self::LooksForNoBindings => "finds no bindings",
            Self::ForgetsTheGateway => "forgets the pods of DaemonSets behind a load balancer",
            Self::UncordonsForOthers => "gives back what others cordoned",
            Self::UncordonsBesideOthers => "gives back a node that another tool takes",
            Self::GivesBackTooSoon => "takes every record for one of an earlier boot",
            Self::NeverGivesBack => "says that it gives the node back, and does not",
            Self::DrainsOnAfterItsSleep => "does not see that the notice is gone",
            Self::LooksThoughItObserves => "looks at the node although it only observes",
            Self::RehearsesForGood => "forgets that it only rehearses",
            Self::DrainsBesideAnother => "evicts pods that are another's business",
            Self::CordonsBesideAnother => "cordons a node that is another's business",
        }
    }
}

/// A cast with one defect.
#[derive(Clone, Copy, Debug)]
pub struct Crooked(pub Defect);

impl Cast for Crooked {
    type Metadata = CrookedMetadata;
    type Cluster = CrookedCluster;
    type Balancer = CrookedBalancer;

    fn ports(
        &self,
        way: &Way,
        setting: &Setting,
    ) -> Ports<CrookedMetadata, CrookedCluster, CrookedBalancer> {
        let honest = Honest.ports(way, setting);
        let mut cluster = honest.cluster;
        if self.0 == Defect::RehearsesForGood {
            cluster.writes = Writes::Real;
        }
        Ports {
            metadata: CrookedMetadata {
                honest: honest.metadata,
                cluster: cluster.clone(),
                defect: self.0,
                seen: Mutex::default(),
            },
            cluster: CrookedCluster {
                honest: cluster,
                defect: self.0,
                given_up: Mutex::default(),
            },
            balancer: CrookedBalancer {
                honest: honest.balancer,
                defect: self.0,
                drained: Mutex::default(),
            },
        }
    }

    fn outlet(&self, outlet: Box<dyn Outlet>) -> Box<dyn Outlet> {
        Box::new(CrookedOutlet {
            honest: outlet,
            defect: self.0,
            held: Mutex::default(),
        })
    }
}

pub struct CrookedMetadata {
    honest: SimMetadata,
    cluster: SimCluster,
    defect: Defect,
    seen: Mutex<Option<Announcement>>,
}

impl Metadata for CrookedMetadata {
    async fn notice(&self) -> Result<Option<Announcement>, MetadataError> {
        let notice = self.honest.notice().await?;
        if self.defect == Defect::DrainsOnAfterItsSleep {
            let mut seen = self.seen.lock().expect("no panic");
            if let Some(notice) = notice {
                *seen = Some(Announcement {
                    server_date: notice.server_date.filter(|_| seen.is_none()),
                    ..notice
                });
            }
            let current = seen.clone();
            if let Some(seen) = seen.as_mut() {
                seen.server_date = None;
            }
            return Ok(current);
        }
        if self.defect == Defect::LooksThoughItObserves && notice.is_some() {
            // Whatever comes of it.
            let _ = self.cluster.node().await;
        }
        Ok(notice.map(|notice| match self.defect {
            Defect::TakesHibernationsForTerminations => Announcement {
                action: AnnouncedAction::Known(InterruptionAction::Terminate),
                ..notice
            },
            Defect::BelievesItsOwnClock => Announcement {
                server_date: None,
                ..notice
            },
            _ => notice,
        }))
    }

    async fn identity(&self) -> Result<MachineIdentity, MetadataError> {
        self.honest.identity().await
    }
}

pub struct CrookedCluster {
    honest: SimCluster,
    defect: Defect,
    given_up: Mutex<BTreeSet<PodUid>>,
}

impl CrookedCluster {
    fn view(defect: Defect, mut view: PodView) -> PodView {
        match defect {
            Defect::EvictsDaemonSets => view.owner = None,
            Defect::EvictsMirrors => view.is_mirror = false,
            Defect::DisturbsTheReluctant => view.start = StartWish::AtOnce,
            Defect::EvictsCriticalPodsAtOnce => view.priority = 0,
            Defect::DeletesWhatWaits => view.when_blocked = BlockedWish::AsConfigured,
            Defect::FightsControllers => view.created = None,
            _ => {}
        }
        view
    }

    fn moving(&self, binding: &Binding) -> Binding {
        let name = NamespacedName {
            namespace: "elsewhere".to_owned(),
            name: "moving".to_owned(),
        };
        Binding {
            service: name.clone(),
            name,
            target_type: TargetType::Ip,
            checkpoint: Some(self.honest.way.clock().now().wall),
            ..binding.clone()
        }
    }

    fn has_given_up(&self, pod: &PodRef) -> bool {
        self.given_up.lock().expect("no panic").contains(&pod.uid)
    }

    async fn evict_crookedly(
        &self,
        pod: &PodRef,
        grace: Option<Grace>,
    ) -> Result<(), ClusterError> {
        let mut call = self.honest.pod_call(PodVerb::Evict, pod, grace);
        match self.defect {
            Defect::ForgetsTheUid => call.precondition = None,
            Defect::GivesNoGrace => call.grace = Some(0),
            Defect::RaisesTheGrace => call.grace = Some(86_400),
            Defect::EvictsItself => call.pod.uid = Setting::agent_uid(),
            Defect::ForgetsAPodAfterAFailure if self.has_given_up(pod) => {
                return std::future::pending().await;
            }
            _ => {}
        }
        let result = self.honest.call(call.clone()).await;
        match (self.defect, &result) {
            (Defect::ShortensTheGrace, Ok(())) => {
                call.grace = Some(1);
                self.honest.call(call).await
            }
            (Defect::ForgetsAPodAfterAFailure, Err(ClusterError::Lost(_))) => {
                let mut given_up = self.given_up.lock().expect("no panic");
                given_up.insert(pod.uid.clone());
                result
            }
            (Defect::BreaksBudgets, Err(ClusterError::Refused { refusal, .. }))
                if *refusal == Refusal::Budget =>
            {
                self.honest.delete(pod, grace).await
            }
            (Defect::HammersClosedBudgets, Err(ClusterError::Refused { refusal, .. }))
                if *refusal == Refusal::Budget =>
            {
                for _ in 0..50 {
                    // It is asked whatever it answers.
                    let _ = self.honest.call(call.clone()).await;
                }
                result
            }
            (Defect::ActsAfterTheDeadline, Ok(())) => {
                let (honest, clock) = (self.honest.clone(), self.honest.way.clock());
                tokio::spawn(async move {
                    clock.sleep(Duration::from_secs(122)).await;
                    honest.call(call).await
                });
                result
            }
            _ => result,
        }
    }
}

impl Cluster for CrookedCluster {
    async fn undo(&self, patch: &UndoPatch) -> Result<NodeView, ClusterError> {
        match self.defect {
            Defect::NeverGivesBack => self.honest.node().await,
            _ => self.honest.undo(patch).await,
        }
    }

    async fn node(&self) -> Result<NodeView, ClusterError> {
        let mut view = self.honest.node().await?;
        match (self.defect, &mut view.annotation) {
            (Defect::UncordonsForOthers, Annotation::Record(record)) => {
                record.cordon = CordonOwner::Us;
            }
            (Defect::GivesBackTooSoon, Annotation::Record(record)) => {
                record.boot_id = Some(BootId::new("earlier"));
            }
            (Defect::UncordonsBesideOthers, _) => view.taints.clear(),
            _ => {}
        }
        Ok(view)
    }

    async fn cordon(&self, patch: &CordonPatch) -> Result<NodeView, ClusterError> {
        let mut patch = patch.clone();
        if self.defect == Defect::ForgetsItsCordon {
            // As if the annotation had not been read afterwards: the node is cordoned, and so somebody else's.
            self.honest.cordon(&patch).await?;
            patch.expected = None;
        }
        match (self.defect, &mut patch.record) {
            (Defect::ForgetsTheCordon, _) => return self.honest.node().await,
            (Defect::CordonsBesideAnother, _) => patch.scheduling = SchedulingWrite::Cordon,
            (Defect::DrainsBesideAnother, _) => {
                let (pods, _) = self.honest.pods(&Freshness::Cached).await?;
                if let Some(view) = pods.first() {
                    self.honest.evict(&view.pod, None).await?;
                }
            }
            (Defect::ForgetsTheLabel, _) => patch.label = LabelWrite::Keep,
            (Defect::ClaimsEveryCordon, Some(record)) => record.cordon = CordonOwner::Us,
            (Defect::ForgetsItsCordon, Some(record)) => {
                record.cordon = CordonOwner::Another;
            }
            _ => {}
        }
        let view = self.honest.cordon(&patch).await?;
        if self.defect == Defect::UncordonsTheNode {
            return self
                .honest
                .patch(NodePatch::dropping("example.com/note"))
                .await;
        }
        Ok(view)
    }

    async fn pods(
        &self,
        freshness: &Freshness,
    ) -> Result<(Vec<PodView>, ResourceVersion), ClusterError> {
        let (mut pods, version) = match self.defect {
            Defect::EvictsElsewhere => self.honest.all_pods().await?,
            Defect::ListsAllTheTime => {
                for _ in 0..1_500 {
                    self.honest.pods(freshness).await?;
                }
                self.honest.pods(freshness).await?
            }
            Defect::TakesItselfForACrowd => {
                let listed = self.honest.pods(freshness).await?;
                self.honest.way.clock().sleep(Duration::from_secs(1)).await;
                listed
            }
            _ => self.honest.pods(freshness).await?,
        };
        if self.defect == Defect::SeesNoPods {
            pods.clear();
        }
        Ok((
            pods.into_iter()
                .map(|view| Self::view(self.defect, view))
                .collect(),
            version,
        ))
    }

    async fn watch(
        &self,
        from: &ResourceVersion,
    ) -> Result<impl Stream<Item = Result<WatchEvent, ClusterError>> + Send + 'static, ClusterError>
    {
        let defect = self.defect;
        let events = self.honest.watch(from).await?;
        Ok(events.map(move |event| match event {
            Ok(WatchEvent::Seen(view, version)) => {
                Ok(WatchEvent::Seen(Self::view(defect, view), version))
            }
            other => other,
        }))
    }

    async fn evict(&self, pod: &PodRef, grace: Option<Grace>) -> Result<(), ClusterError> {
        if self.defect == Defect::CallsTwiceAtOnce {
            let (one, _) = join(self.honest.evict(pod, grace), self.honest.evict(pod, grace)).await;
            return one;
        }
        self.evict_crookedly(pod, grace).await
    }

    async fn delete(&self, pod: &PodRef, grace: Option<Grace>) -> Result<(), ClusterError> {
        self.honest.delete(pod, grace).await
    }

    async fn mark_disruption(&self, pod: &PodRef) -> Result<(), ClusterError> {
        if self.defect == Defect::DeletesWithoutAWord {
            return Ok(());
        }
        self.honest.mark_disruption(pod).await
    }

    async fn review_access(&self, permission: &Permission) -> Result<Access, ClusterError> {
        self.honest.review_access(permission).await
    }

    async fn namespace(&self, name: &str) -> Result<BlockedWish, ClusterError> {
        let wish = self.honest.namespace(name).await?;
        Ok(match self.defect {
            Defect::DeletesWhatWaits => BlockedWish::AsConfigured,
            _ => wish,
        })
    }

    async fn bindings(&self, api: BindingApi) -> Result<Vec<Binding>, ClusterError> {
        match self.defect {
            Defect::LooksForNoBindings => Ok(Vec::new()),
            Defect::WaitsForDeadControllers => {
                let mut bindings = self.honest.bindings(api).await?;
                // One that is no concern of this node's moves all the time.
                let other = bindings.first().map(|first| self.moving(first));
                bindings.extend(other);
                Ok(bindings)
            }
            _ => self.honest.bindings(api).await,
        }
    }

    async fn services(&self) -> Result<Vec<Service>, ClusterError> {
        let mut services = self.honest.services().await?;
        match self.defect {
            Defect::TakesLocalServicesForOthers => {
                for service in &mut services {
                    service.traffic = TrafficPolicy::Cluster;
                }
            }
            Defect::ForgetsTheGateway => services.retain(|service| service.name.name != "gateway"),
            _ => {}
        }
        Ok(services)
    }

    async fn change_connection(&self) {
        self.honest.change_connection().await;
    }

    async fn publish(&self, event: &NodeEvent) -> Result<(), ClusterError> {
        self.honest.publish(event).await
    }
}

pub struct CrookedBalancer {
    honest: SimBalancer,
    defect: Defect,
    /// Groups that were once seen to have let go.
    drained: Mutex<BTreeSet<TargetGroupArn>>,
}

impl CrookedBalancer {
    fn named(&self, target: &TargetId) -> TargetId {
        match self.defect {
            Defect::NamesAnotherInstance => {
                TargetId::Instance(InstanceId::new("i-0fedcba9876543210"))
            }
            _ => target.clone(),
        }
    }

    /// What the first look that was good said of a group.
    fn as_first_seen(&self, group: &TargetGroupArn, targets: &mut [Target]) {
        let mut drained = self.drained.lock().expect("no panic");
        let has_let_go = |target: &Target| target.state != TargetState::Registered;
        if targets.iter().all(has_let_go) {
            drained.insert(group.clone());
        } else if drained.contains(group) {
            for target in targets {
                target.state = TargetState::Draining;
            }
        }
    }
}

impl Balancer for CrookedBalancer {
    async fn warm(&self) -> Result<(), BalancerError> {
        self.honest.warm().await
    }

    async fn groups(
        &self,
        from: Option<&Marker>,
    ) -> Result<(Vec<ListedGroup>, Option<Marker>), BalancerError> {
        self.honest.groups(from).await
    }

    async fn tags(
        &self,
        groups: &[TargetGroupArn],
    ) -> Result<Vec<(TargetGroupArn, Vec<GroupTag>)>, BalancerError> {
        self.honest.tags(groups).await
    }

    async fn targets(
        &self,
        group: &TargetGroupArn,
        target: &TargetId,
        ports: TargetPorts,
    ) -> Result<Vec<Target>, BalancerError> {
        if let (Defect::LeavesNothingToControllers, TargetPorts::Only(port)) = (self.defect, ports)
        {
            self.honest.deregister(group, target, &[port]).await?;
        }
        let mut targets = self.honest.targets(group, target, ports).await?;
        match self.defect {
            Defect::BelievesTheFirstLook => self.as_first_seen(group, &mut targets),
            Defect::ForgetsOtherPorts => targets.truncate(1),
            Defect::WaitsForUnused => {
                while targets
                    .iter()
                    .any(|target| target.state == TargetState::Draining)
                {
                    self.honest
                        .way
                        .clock()
                        .sleep(Duration::from_millis(500))
                        .await;
                    targets = self.honest.targets(group, target, ports).await?;
                }
            }
            _ => {}
        }
        Ok(targets)
    }

    async fn deregister(
        &self,
        group: &TargetGroupArn,
        target: &TargetId,
        ports: &[u16],
    ) -> Result<(), BalancerError> {
        let target = self.named(target);
        self.honest.deregister(group, &target, ports).await
    }
}

struct CrookedOutlet {
    honest: Box<dyn Outlet>,
    defect: Defect,
    held: Mutex<Option<Line>>,
}

impl Outlet for CrookedOutlet {
    fn put(&self, line: &Line) {
        let is_verdict = line.event.starts_with("drain.") && line.event != "drain.progress";
        match self.defect {
            Defect::SaysNoVerdict if is_verdict => {}
            Defect::GivesTwoVerdicts if is_verdict => {
                self.honest.put(line);
                self.honest.put(line);
            }
            // It is said with the first sign of life after the deadline, as of then.
            Defect::GivesALateVerdict if is_verdict => {
                *self.held.lock().expect("no panic") = Some(line.clone());
            }
            Defect::GivesALateVerdict if line.event == "agent.heartbeat" => {
                if let Some(mut held) = self.held.lock().expect("no panic").take() {
                    if let Some(left) = line.get("seconds_left") {
                        held.add("seconds_left", left.clone());
                    }
                    self.honest.put(&held);
                }
                self.honest.put(line);
            }
            Defect::CriesWolf if line.event == "node.cordoned" => {
                let mut line = line.clone();
                line.level = Level::Warn;
                self.honest.put(&line);
            }
            _ => self.honest.put(line),
        }
    }

    fn dropped(&self) -> u64 {
        self.honest.dropped()
    }
}
