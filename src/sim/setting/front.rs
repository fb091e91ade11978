//! What leads requests to the node of a setting: which of its target groups a controller keeps, and by which Services.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{APPS, Dice, NAMESPACES, NODE, Setting};
use crate::plan::binding::{
    Account, BalancerKind, Binding, NamespacedName, PortName, Selector, Service, ServicePort,
    TargetId, TargetType, TrafficPolicy,
};
use crate::plan::id::{NodeName, PodUid, TargetGroupArn};
use crate::plan::time::Moment;
use crate::sim::balancer::{Group, Registration, TargetKey};
use crate::sim::controller::Conduct;
use crate::sim::pod::{Controller as Owner, Pod};

/// The port on which the gateway's pods listen.
const GATEWAY_PORT: u16 = 8443;

/// What leads requests here.
#[derive(Clone, Debug, Default)]
pub struct FrontSetting {
    /// Which target groups have a binding.
    pub bound: Vec<Bound>,
    /// How the controller does its work.
    pub conduct: Conduct,
    /// A DaemonSet whose pods are registered by their own addresses.
    pub gateway: Option<Gateway>,
}

/// A target group with a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Which.
    pub group: TargetGroupArn,
    /// Its Service, by which the pods behind it are known.
    pub service: Service,
    /// What kind of balancer it serves.
    pub kind: Option<BalancerKind>,
}

/// The pod of a gateway on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The target group of all its pods.
    pub group: TargetGroupArn,
    /// The address of the one on this node.
    pub address: IpAddr,
}

impl Bound {
    fn binding(&self) -> Binding {
        Binding {
            name: self.service.name.clone(),
            group: self.group.clone(),
            target_type: TargetType::Instance,
            service: self.service.name.clone(),
            port: PortName::Number(80),
            node_selector: Selector::default(),
            account: Account::Own,
            kind: self.kind,
            checkpoint: None,
        }
    }

    /// How long its balancer may go on sending after the target began to drain.
    #[must_use]
    pub fn settling(&self, setting: &Setting) -> Duration {
        setting.policy().settling.of(self.kind)
    }

    /// Whether this pod serves what comes through the node alone.
    #[must_use]
    pub fn holds(&self, pod: &Pod) -> bool {
        self.service.traffic == TrafficPolicy::Local
            && self.service.selects(&pod.namespace, &pod.labels)
    }
}

impl Gateway {
    fn name() -> NamespacedName {
        NamespacedName {
            namespace: "shop".to_owned(),
            name: "gateway".to_owned(),
        }
    }

    /// Its pod on this node.
    #[must_use]
    pub fn pod(&self) -> Pod {
        let uid = PodUid::new("shop.gateway");
        let mut pod = Pod::new("shop", "gateway", uid, NodeName::new(NODE));
        pod.owner = Some(Owner {
            api_version: "apps/v1".to_owned(),
            kind: "DaemonSet".to_owned(),
            name: "gateway".to_owned(),
        });
        pod.labels = [("app".to_owned(), "gateway".to_owned())].into();
        pod.address = Some(self.address);
        pod
    }

    /// How it is registered.
    #[must_use]
    pub fn target(&self) -> TargetKey {
        TargetKey {
            id: TargetId::Address(self.address),
            port: GATEWAY_PORT,
        }
    }

    pub(super) fn registered(&self) -> Group {
        let elsewhere = TargetKey {
            id: TargetId::Address(IpAddr::V4(Ipv4Addr::new(10, 0, 9, 9))),
            port: GATEWAY_PORT,
        };
        Group {
            default_port: GATEWAY_PORT,
            deregistration_delay: Duration::from_secs(300),
            targets: [
                (self.target(), Registration::Healthy),
                (elsewhere, Registration::Healthy),
            ]
            .into(),
        }
    }

    fn binding(&self) -> Binding {
        Binding {
            name: Self::name(),
            group: self.group.clone(),
            target_type: TargetType::Ip,
            service: Self::name(),
            port: PortName::Number(443),
            node_selector: Selector::default(),
            account: Account::Own,
            kind: Some(BalancerKind::Network),
            checkpoint: None,
        }
    }

    fn service() -> Service {
        let labels = [("app".to_owned(), "gateway".to_owned())].into();
        Service {
            name: Self::name(),
            selector: Some(Selector::of_labels(&labels)),
            traffic: TrafficPolicy::Cluster,
            ports: vec![ServicePort {
                name: None,
                number: 443,
                node_port: None,
                target: PortName::Number(GATEWAY_PORT),
            }],
        }
    }
}

impl FrontSetting {
    /// The bindings: first those that the controller works through when the node goes.
    #[must_use]
    pub fn bindings(&self) -> Vec<Binding> {
        let bound = self.bound.iter().map(Bound::binding);
        bound
            .chain(self.gateway.iter().map(Gateway::binding))
            .collect()
    }

    /// The Services.
    #[must_use]
    pub fn services(&self) -> Vec<Service> {
        let bound = self.bound.iter().map(|bound| bound.service.clone());
        bound
            .chain(self.gateway.iter().map(|_| Gateway::service()))
            .collect()
    }

    /// The binding of this group.
    #[must_use]
    pub fn bound(&self, group: &TargetGroupArn) -> Option<&Bound> {
        self.bound.iter().find(|bound| bound.group == *group)
    }

    /// Whether the controller lives and is as quick as a controller is.
    #[must_use]
    pub fn is_kept_well(&self) -> bool {
        matches!(
            self.conduct,
            Conduct::Working { reaction, each, dies: None }
                if reaction <= Duration::from_millis(1_500) && each <= Duration::from_millis(250)
        )
    }
}

impl Dice {
    /// Whichever of these groups are kept by a controller, by the first of their ports alone.
    pub(super) fn front(
        &mut self,
        groups: &mut [(TargetGroupArn, Vec<u16>)],
        end: Moment,
    ) -> FrontSetting {
        let mut bound = Vec::new();
        for (index, (arn, ports)) in groups.iter_mut().enumerate() {
            if !self.chance(50) {
                continue;
            }
            ports.truncate(1);
            bound.push(Bound {
                group: arn.clone(),
                service: self.service(index, ports.first().copied()),
                kind: self.of(&[
                    Some(BalancerKind::Application),
                    Some(BalancerKind::Network),
                    None,
                ]),
            });
        }
        FrontSetting {
            conduct: self.conduct(end),
            gateway: self.chance(15).then(gateway),
            bound,
        }
    }

    fn service(&mut self, index: usize, port: Option<u16>) -> Service {
        let labels = [("app".to_owned(), self.of(&APPS).to_owned())].into();
        Service {
            name: NamespacedName {
                namespace: self.of(&NAMESPACES).to_owned(),
                name: format!("front-{index}"),
            },
            selector: Some(Selector::of_labels(&labels)),
            traffic: self.of(&[TrafficPolicy::Local, TrafficPolicy::Cluster]),
            ports: vec![ServicePort {
                name: None,
                number: 80,
                node_port: Some(port.unwrap_or(32_767)),
                target: PortName::Number(8080),
            }],
        }
    }

    fn conduct(&mut self, end: Moment) -> Conduct {
        if self.chance(30) {
            return Conduct::Absent;
        }
        Conduct::Working {
            reaction: self.of(&[
                Duration::from_millis(500),
                Duration::from_millis(1_500),
                Duration::from_secs(8),
            ]),
            each: self.of(&[Duration::from_millis(250), Duration::from_secs(4)]),
            dies: self.chance(30).then(|| self.moment(0, end)),
        }
    }
}

fn gateway() -> Gateway {
    let text =
        "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/gateway/0123456789abcdef";
    Gateway {
        // The form is fixed: it parses.
        group: TargetGroupArn::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")),
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 1, 77)),
    }
}
