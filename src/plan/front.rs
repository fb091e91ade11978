//! Which pods serve requests that only come through this node, and so must not stop before its targets have settled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::binding::{NamespacedName, Selector, Service, TargetId, TrafficPolicy};
use super::discovery::Discovery;
use super::pod::PodView;
use super::targets::{Targets, WayIn};
use super::task::Agenda;
use super::time::Moment;

/// What is not known yet is waited for no longer than this: the answers take milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// A held pod is let go so long before its last useful moment: for one refusal, and one more try.
pub(super) const BEFORE_LAST_START: Duration = Duration::from_secs(2);

/// The ways in, as far as pods have to wait for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fronts {
    fronts: Vec<Front>,
    /// Whose pods are registered by their own addresses: they go first, and the controller deregisters them then.
    by_address: Vec<Selected>,
}

/// A way in, and whose pods it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Front {
    /// The place of its target group, if it belongs to one.
    group: Option<usize>,
    whom: Whom,
    /// When nothing comes through it any more; none as long as that cannot be told.
    closes: Option<Moment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Whom {
    /// The pods of a Service that keeps requests on the node.
    Selected(Selected),
    /// The pod that listens on this port of the node.
    HostPort(u16),
    /// Any pod that listens on the node: which port it is, is not known yet.
    AnyHostPort,
    /// Any pod: nothing is known yet.
    Anybody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Selected {
    namespace: String,
    selector: Selector,
}

/// How long a pod has to wait for its ways in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Not at all.
    Free,
    /// Until this moment, or its last useful one.
    Until(Moment),
    /// Until its last useful moment.
    ToTheLast,
}

impl Fronts {
    /// The ways in as they are known now, in an interruption that began at `begun`.
    pub(super) fn of(
        discovery: &Discovery,
        targets: Option<&Targets>,
        agenda: &Agenda,
        begun: Moment,
    ) -> Self {
        let mut fronts = Vec::new();
        if discovery.is_in_the_dark(agenda) {
            fronts.push(Front {
                group: None,
                whom: Whom::Anybody,
                closes: Some(begun + PATIENCE),
            });
        }
        let by_port = ByPort::of(discovery.services());
        for way in targets.into_iter().flat_map(Targets::ways_in) {
            let TargetId::Instance(_) = way.known.target else {
                continue;
            };
            let closes = match way.ports {
                Some(_) => way.closes,
                // Its ports are being looked at, unless it is left to its controller: then it is open for now.
                None if way.is_left => None,
                None => Some(way.closes.unwrap_or(begun + PATIENCE)),
            };
            let leads_to = by_port.behind(&way);
            fronts.extend(leads_to.into_iter().map(|whom| Front {
                group: Some(way.index),
                whom,
                closes,
            }));
        }
        let by_address = discovery.services_by_address().filter_map(Selected::by);
        Self {
            fronts,
            by_address: by_address.collect(),
        }
    }

    /// The target groups that one of these pods has to wait for.
    pub(super) fn groups_before(&self, pods: &[&PodView]) -> BTreeSet<usize> {
        self.fronts
            .iter()
            .filter(|front| pods.iter().any(|pod| front.leads_to(pod)))
            .filter_map(|front| front.group)
            .collect()
    }

    /// How long this pod has to wait.
    pub(super) fn hold(&self, pod: &PodView) -> Hold {
        self.fronts.iter().filter(|front| front.leads_to(pod)).fold(
            Hold::Free,
            |hold, front| match (hold, front.closes) {
                (Hold::ToTheLast, _) | (_, None) => Hold::ToTheLast,
                (Hold::Free, Some(closes)) => Hold::Until(closes),
                (Hold::Until(until), Some(closes)) => Hold::Until(until.max(closes)),
            },
        )
    }

    /// Whether this pod is registered by its own address.
    pub(super) fn registers_by_address(&self, pod: &PodView) -> bool {
        self.by_address.iter().any(|selected| selected.means(pod))
    }
}

/// The Services that keep requests on the node, by the node ports they listen on.
struct ByPort(BTreeMap<u16, Vec<Selected>>);

impl ByPort {
    fn of(services: &[Service]) -> Self {
        let mut by_port: BTreeMap<u16, Vec<Selected>> = BTreeMap::new();
        let local = services
            .iter()
            .filter(|service| service.traffic == TrafficPolicy::Local);
        for service in local {
            let node_ports: BTreeSet<u16> = service
                .ports
                .iter()
                .filter_map(|port| port.node_port)
                .collect();
            for port in node_ports {
                by_port
                    .entry(port)
                    .or_default()
                    .extend(Selected::by(service));
            }
        }
        Self(by_port)
    }

    /// Whom a way in leads to, if it is to pods of this node alone.
    fn behind(&self, way: &WayIn<'_>) -> Vec<Whom> {
        let Some(ports) = &way.ports else {
            // Which of the node's ports it leads to is being looked at.
            let selected = self.0.values().flatten().cloned().map(Whom::Selected);
            return selected.chain([Whom::AnyHostPort]).collect();
        };
        let selected = ports.iter().filter_map(|port| self.0.get(port)).flatten();
        selected
            .cloned()
            .map(Whom::Selected)
            .chain(ports.iter().copied().map(Whom::HostPort))
            .collect()
    }
}

impl Front {
    fn leads_to(&self, pod: &PodView) -> bool {
        match &self.whom {
            Whom::Selected(selected) => selected.means(pod),
            Whom::HostPort(port) => pod.ports.iter().any(|own| own.host == Some(*port)),
            Whom::AnyHostPort => pod.ports.iter().any(|own| own.host.is_some()),
            Whom::Anybody => true,
        }
    }
}

impl Selected {
    fn by(service: &Service) -> Option<Self> {
        let NamespacedName { namespace, .. } = &service.name;
        Some(Self {
            namespace: namespace.clone(),
            selector: service
                .selector
                .clone()
                .filter(|selector| !selector.is_empty())?,
        })
    }

    fn means(&self, pod: &PodView) -> bool {
        self.namespace == pod.pod.namespace && self.selector.matches(&pod.labels)
    }
}
