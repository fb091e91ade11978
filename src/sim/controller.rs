//! The controller that keeps target groups by their bindings: it sees the node's exclusion label, deregisters the node from
//! one group after the other, and leaves a checkpoint at each.

use std::time::Duration;

use super::balancer::LoadBalancer;
use super::node::Node;
use crate::annotation::EXCLUSION_LABEL;
use crate::plan::binding::{Binding, TargetId};
use crate::plan::id::TargetGroupArn;
use crate::plan::time::{Moment, Now, WallTime};

/// A controller and its bindings.
#[derive(Clone, Debug, Default)]
pub struct Controller {
    bindings: Vec<Binding>,
    conduct: Conduct,
    noticed: Option<Moment>,
    done: usize,
}

/// How it does its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conduct {
    /// Not at all: it is down, or was on this node.
    #[default]
    Absent,
    /// One group after the other.
    Working {
        /// From the label to the first group.
        reaction: Duration,
        /// What each takes.
        each: Duration,
        /// When it dies, if it does.
        dies: Option<Moment>,
    },
}

impl Controller {
    /// A controller that keeps these bindings.
    #[must_use]
    pub const fn new(bindings: Vec<Binding>, conduct: Conduct) -> Self {
        Self {
            bindings,
            conduct,
            noticed: None,
            done: 0,
        }
    }

    /// Its bindings.
    #[must_use]
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// Lets it do what it has had the time for.
    pub fn advance(&mut self, node: &Node, balancer: &mut LoadBalancer, now: Now) {
        // Whatever its value: the controller's selector asks for the key alone.
        if self.noticed.is_none() && node.labels.contains_key(EXCLUSION_LABEL) {
            self.noticed = Some(now.at);
        }
        while let Some(due) = self.next_due()
            && due <= now.at
        {
            let Some(binding) = self.bindings.get_mut(self.done) else {
                return;
            };
            self.done += 1;
            balancer.deregister_everywhere(
                &binding.group,
                &TargetId::Instance(node.instance.clone()),
                due,
            );
            // It is written in whole seconds.
            let seconds = (now.wall - now.at.since(due)).millis().div_euclid(1_000);
            binding.checkpoint = Some(WallTime::from_millis(seconds * 1_000));
        }
    }

    /// When it does something next.
    #[must_use]
    pub fn next_change(&self, node: &Node) -> Option<Moment> {
        let has_to_notice = self.conduct != Conduct::Absent
            && self.noticed.is_none()
            && node.labels.contains_key(EXCLUSION_LABEL);
        if has_to_notice {
            return Some(Moment::ORIGIN);
        }
        self.next_due()
    }

    fn next_due(&self) -> Option<Moment> {
        let Conduct::Working {
            reaction,
            each,
            dies,
        } = self.conduct
        else {
            return None;
        };
        let place = u32::try_from(self.done).ok()?;
        self.bindings.get(self.done)?;
        let due = self.noticed? + reaction + each * place;
        dies.is_none_or(|dies| due < dies).then_some(due)
    }

    /// It acts by what it knew before it saw the label: the node is registered again, as if the label were not there.
    pub fn registers_again(group: &TargetGroupArn, node: &Node, balancer: &mut LoadBalancer) {
        balancer.register_again(group, &TargetId::Instance(node.instance.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::binding::{Account, NamespacedName, PortName, Selector, TargetType};
    use crate::plan::id::{BootId, InstanceId, NodeName};
    use crate::sim::balancer::{Group, Registration, TargetKey};

    fn arn(index: usize) -> TargetGroupArn {
        let text = format!(
            "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web-{index}/0123456789abcdef"
        );
        TargetGroupArn::parse(&text).expect("an ARN")
    }

    fn binding(index: usize) -> Binding {
        let name = NamespacedName {
            namespace: "shop".to_owned(),
            name: format!("web-{index}"),
        };
        Binding {
            name: name.clone(),
            group: arn(index),
            target_type: TargetType::Instance,
            service: name,
            port: PortName::Number(80),
            node_selector: Selector::default(),
            account: Account::Own,
            kind: None,
            checkpoint: None,
        }
    }

    fn node() -> Node {
        Node {
            name: NodeName::new("node-1"),
            uid: "node-uid".to_owned(),
            version: 1,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            unschedulable: false,
            taints: Vec::new(),
            instance: InstanceId::new("i-1"),
            zone: "eu-west-1a".to_owned(),
            boot: BootId::new("boot"),
        }
    }

    fn now(seconds: u64) -> Now {
        Now {
            at: Moment::after_origin(Duration::from_secs(seconds)),
            wall: WallTime::from_millis(1_000_000) + Duration::from_secs(seconds),
        }
    }

    /// Which of the two groups still send requests here, second by second.
    fn healthy(dies: Option<Moment>) -> Vec<usize> {
        let mut balancer = LoadBalancer::default();
        for index in 0..2 {
            let target = TargetKey {
                id: TargetId::Instance(InstanceId::new("i-1")),
                port: 31080,
            };
            let group = Group {
                default_port: 80,
                deregistration_delay: Duration::from_secs(300),
                targets: BTreeMap::from([(target, Registration::Healthy)]),
            };
            balancer.add_group(arn(index), group);
        }
        let conduct = Conduct::Working {
            reaction: Duration::from_secs(2),
            each: Duration::from_secs(1),
            dies,
        };
        let mut controller = Controller::new(vec![binding(0), binding(1)], conduct);
        let mut node = node();
        let mut left = Vec::new();
        for second in 0..6 {
            if second == 1 {
                node.labels
                    .insert(EXCLUSION_LABEL.to_owned(), "true".to_owned());
            }
            controller.advance(&node, &mut balancer, now(second));
            let registered = balancer
                .groups()
                .flat_map(|(_, group)| group.targets.values())
                .filter(|registration| **registration == Registration::Healthy);
            left.push(registered.count());
        }
        left
    }

    #[test]
    fn a_controller_that_sees_the_label_deregisters_group_by_group() {
        assert_eq!(healthy(None), [2, 2, 2, 1, 0, 0]);
    }

    #[test]
    fn a_controller_that_dies_leaves_the_rest() {
        let dies = Some(Moment::at_secs(4));
        assert_eq!(healthy(dies), [2, 2, 2, 1, 1, 1]);
    }
}
