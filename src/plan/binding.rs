//! What leads requests to this node: target groups, the bindings that a controller keeps them by, and the Services behind.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::id::{InstanceId, TargetGroupArn};
use super::time::WallTime;

/// What is registered in a target group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TargetId {
    /// The instance, on one of its ports.
    Instance(InstanceId),
    /// A pod of this node, by its own address.
    Address(IpAddr),
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(id) => id.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A name in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamespacedName {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The two APIs that have bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BindingApi {
    /// `elbv2.k8s.aws/v1beta1`, of the AWS Load Balancer Controller.
    Controller,
    /// `eks.amazonaws.com/v1`, of EKS Auto Mode.
    AutoMode,
}

impl BindingApi {
    /// The API group.
    #[must_use]
    pub const fn group(self) -> &'static str {
        match self {
            Self::Controller => "elbv2.k8s.aws",
            Self::AutoMode => "eks.amazonaws.com",
        }
    }

    /// Both.
    pub const ALL: [Self; 2] = [Self::Controller, Self::AutoMode];
}

/// A `TargetGroupBinding`: whose targets a controller registers and deregisters
/// (<https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/targetgroupbinding/targetgroupbinding/>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its name.
    pub name: NamespacedName,
    /// `spec.targetGroupARN`.
    pub group: TargetGroupArn,
    /// `spec.targetType`.
    pub target_type: TargetType,
    /// `spec.serviceRef.name`, in the binding's own namespace.
    pub service: NamespacedName,
    /// `spec.serviceRef.port`.
    pub port: PortName,
    /// `spec.nodeSelector`: only the nodes it matches are registered.
    pub node_selector: Selector,
    /// `spec.iamRoleArnToAssume`: whether the group lives in this account.
    pub account: Account,
    /// What kind of balancer `spec.targetGroupProtocol` belongs to, where it is told.
    pub kind: Option<BalancerKind>,
    /// The annotation `elbv2.k8s.aws/checkpoint-timestamp`: when the controller last brought the group up to date.
    pub checkpoint: Option<WallTime>,
}

/// What a target group's targets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetType {
    /// Nodes, by instance id and node port.
    Instance,
    /// Pods, by their own addresses.
    Ip,
    /// A Lambda function or another load balancer: nothing that lives on a node.
    Elsewhere,
}

/// Whose account a target group lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// The cluster's own.
    Own,
    /// Another's, by a role that only the controller may take.
    Other,
}

/// The kinds of load balancers, which take their time differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalancerKind {
    /// An Application Load Balancer.
    Application,
    /// A Network or a Gateway Load Balancer.
    Network,
}

impl BalancerKind {
    /// The kind whose target groups have this protocol
    /// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroup.html>); none for one that is not known.
    #[must_use]
    pub fn of_protocol(protocol: &str) -> Option<Self> {
        match protocol {
            "HTTP" | "HTTPS" => Some(Self::Application),
            "TCP" | "TLS" | "UDP" | "TCP_UDP" | "QUIC" | "TCP_QUIC" | "GENEVE" => {
                Some(Self::Network)
            }
            _ => None,
        }
    }
}

/// How long after a target began to drain its balancer still sends it something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settling {
    /// For an Application Load Balancer.
    pub application: Duration,
    /// For a Network Load Balancer, and for what is not known.
    pub network: Duration,
}

impl Settling {
    /// For a group of this kind.
    #[must_use]
    pub const fn of(&self, kind: Option<BalancerKind>) -> Duration {
        match kind {
            Some(BalancerKind::Application) => self.application,
            Some(BalancerKind::Network) | None => self.network,
        }
    }
}

/// A port of a Service or of a pod, by number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortName {
    /// Its number.
    Number(u16),
    /// Its name.
    Name(String),
}

/// A Kubernetes label selector
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>). An empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// All of which must hold.
    pub requirements: Vec<Requirement>,
}

/// One condition of a selector, about the label of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Its value is one of these.
    In(String, Vec<String>),
    /// It is absent, or its value is none of these.
    NotIn(String, Vec<String>),
    /// It is there.
    Exists(String),
    /// It is not there.
    DoesNotExist(String),
}

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

impl Selector {
    /// The selector of `matchLabels`, and of a Service.
    #[must_use]
    pub fn of_labels(labels: &Labels) -> Self {
        let equal =
            |(key, value): (&String, &String)| Requirement::In(key.clone(), vec![value.clone()]);
        Self {
            requirements: labels.iter().map(equal).collect(),
        }
    }

    /// Whether it matches everything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object with these labels is meant.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
        }
    }
}

/// A Service, as far as requests from outside come through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: NamespacedName,
    /// `spec.selector`; none for a Service without one, whose endpoints somebody else writes.
    pub selector: Option<Selector>,
    /// `spec.externalTrafficPolicy`.
    pub traffic: TrafficPolicy,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
}

/// Where a node sends what comes to its node port
/// (<https://kubernetes.io/docs/reference/networking/virtual-ips/#external-traffic-policy>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// To any ready pod of the cluster.
    Cluster,
    /// To its own pods only: without one, requests are dropped.
    Local,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; none where the Service has only one.
    pub name: Option<String>,
    /// Its number.
    pub number: u16,
    /// The port that every node listens on for it.
    pub node_port: Option<u16>,
    /// The pods' port.
    pub target: PortName,
}

impl Service {
    /// The port that is meant by a binding.
    #[must_use]
    pub fn port(&self, name: &PortName) -> Option<&ServicePort> {
        self.ports.iter().find(|port| match name {
            PortName::Number(number) => port.number == *number,
            PortName::Name(name) => port.name.as_ref() == Some(name),
        })
    }

    /// Whether it sends requests to a pod with these labels.
    #[must_use]
    pub fn selects(&self, namespace: &str, labels: &Labels) -> bool {
        self.name.namespace == namespace
            && self
                .selector
                .as_ref()
                .is_some_and(|selector| !selector.is_empty() && selector.matches(labels))
    }
}

/// A target group as the load balancer's own listing has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its ARN.
    pub arn: TargetGroupArn,
    /// What its targets are.
    pub target_type: TargetType,
    /// The kind of balancer it serves.
    pub kind: Option<BalancerKind>,
}

/// A tag of a target group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupTag {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Where a listing of target groups goes on; opaque, only ever given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_selector_holds_when_each_of_its_requirements_does() {
        let zones = vec!["a".to_owned(), "b".to_owned()];
        let selector = Selector {
            requirements: vec![
                Requirement::In("zone".to_owned(), zones.clone()),
                Requirement::Exists("spot".to_owned()),
                Requirement::DoesNotExist("drained".to_owned()),
                Requirement::NotIn("size".to_owned(), vec!["small".to_owned()]),
            ],
        };
        assert!(selector.matches(&labels(&[("zone", "b"), ("spot", "")])));
        for unmatched in [
            labels(&[("zone", "c"), ("spot", "")]),
            labels(&[("zone", "a")]),
            labels(&[("zone", "a"), ("spot", ""), ("drained", "no")]),
            labels(&[("zone", "a"), ("spot", ""), ("size", "small")]),
        ] {
            assert!(!selector.matches(&unmatched), "{unmatched:?}");
        }
        assert!(Selector::default().matches(&Labels::new()));
    }

    #[test]
    fn a_service_without_a_selector_sends_to_no_pod_by_its_labels() {
        let service = |selector: Option<Selector>| Service {
            name: NamespacedName {
                namespace: "shop".to_owned(),
                name: "web".to_owned(),
            },
            selector,
            traffic: TrafficPolicy::Local,
            ports: Vec::new(),
        };
        let web = labels(&[("app", "web")]);
        assert!(service(Some(Selector::of_labels(&web))).selects("shop", &web));
        assert!(!service(Some(Selector::of_labels(&web))).selects("batch", &web));
        assert!(!service(Some(Selector::default())).selects("shop", &web));
        assert!(!service(None).selects("shop", &web));
    }
}
