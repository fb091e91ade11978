//! What leads requests to the node: how it is found out, what its controller is left to do, and who waits for it.

mod controller;
mod finding;
mod holds;

use std::collections::BTreeSet;

use super::stage::{Front, Stage, group, own, policy};
use crate::plan::action::{Outcome, Ports, Request, Target, TargetState};
use crate::plan::binding::{
    Account, BalancerKind, Binding, Labels, NamespacedName, PortName, Selector, Service,
    ServicePort, TargetType, TrafficPolicy,
};
use crate::plan::fact::{Fact, TargetFact, TargetNews};
use crate::plan::id::TargetGroupArn;
use crate::plan::pod::PodView;
use crate::plan::time::WallTime;
use crate::plan::{Discover, Policy};

fn named(name: &str) -> NamespacedName {
    NamespacedName {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// The node port of the Service `web`.
const NODE_PORT: u16 = 31080;

/// The binding of the target group that all tests know, to the Service `web`.
fn binding() -> Binding {
    Binding {
        name: named("web"),
        group: group(),
        target_type: TargetType::Instance,
        service: named("web"),
        port: PortName::Number(80),
        node_selector: Selector::default(),
        account: Account::Own,
        kind: Some(BalancerKind::Application),
        checkpoint: None,
    }
}

/// A binding of a target group of its own, which its controller touched at `checkpoint`.
fn numbered(index: usize, checkpoint: WallTime) -> Binding {
    Binding {
        name: named(&format!("web-{index}")),
        group: arn(&format!("web-{index}")),
        checkpoint: Some(checkpoint),
        ..binding()
    }
}

fn arn(name: &str) -> TargetGroupArn {
    let arn = format!(
        "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/{name}/0123456789abcdef"
    );
    TargetGroupArn::parse(&arn).expect("a well-formed ARN")
}

/// The Service `web`: its pods listen on port 8080, and every node on [`NODE_PORT`].
fn service(traffic: TrafficPolicy) -> Service {
    Service {
        name: named("web"),
        selector: Some(Selector::of_labels(&labels(&[("app", "web")]))),
        traffic,
        ports: vec![ServicePort {
            name: None,
            number: 80,
            node_port: Some(NODE_PORT),
            target: PortName::Number(8080),
        }],
    }
}

fn front(bindings: Vec<Binding>, traffic: TrafficPolicy) -> Front {
    Front {
        bindings,
        services: vec![service(traffic)],
    }
}

/// A policy that looks for bindings and for nothing else.
fn by_bindings() -> Policy {
    Policy {
        discover: BTreeSet::from([Discover::Bindings]),
        ..policy()
    }
}

/// A pod of the Service `web`.
fn web(name: &str, grace: u32) -> PodView {
    PodView {
        labels: labels(&[("app", "web")]),
        ..super::stage::pod(name, grace)
    }
}

fn look(group: &TargetGroupArn) -> Request {
    Request::DescribeTargets(group.clone(), own(), Ports::Only(NODE_PORT))
}

fn deregister(group: &TargetGroupArn) -> Request {
    Request::DeregisterTargets(group.clone(), own(), vec![NODE_PORT])
}

fn found(state: TargetState) -> Outcome {
    Outcome::Targets(vec![Target {
        port: NODE_PORT,
        state,
    }])
}

/// The calls to the load balancer under way.
fn calls(stage: &Stage) -> Vec<Request> {
    let requests = stage.open_requests().into_iter();
    requests
        .filter(|request| {
            matches!(
                request,
                Request::DescribeTargets(..) | Request::DeregisterTargets(..)
            )
        })
        .cloned()
        .collect()
}

/// What was told of target groups.
fn news(stage: &Stage) -> Vec<(&TargetFact, &TargetNews)> {
    let facts = stage.facts.iter();
    facts
        .filter_map(|fact| match fact {
            Fact::Target(target, news) => Some((target, news)),
            _ => None,
        })
        .collect()
}
