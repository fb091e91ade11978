//! The target groups: whether they can be asked, what of this instance they hold, and how long a registration drains.

use std::time::Duration;

use super::finding::Section;
use super::{Check, Registrations};
use crate::balancer::GroupDescription;
use crate::plan::Discover;
use crate::plan::action::{
    Failure, FailureKind, Finding, Inquiry, MachineIdentity, Ports, Target, TargetState,
};
use crate::plan::binding::{BalancerKind, BindingApi, ListedGroup, TargetId};
use crate::plan::discovery::{Front, TagSearch, groups_behind};
use crate::plan::id::{InstanceId, TargetGroupArn};
use crate::plan::node::NodeView;
use crate::plan::targets::ConfiguredGroup;
use crate::ports::{Balancer as _, BalancerError, Cluster as _};

/// The two minutes, less what detection takes.
const LONGEST_DELAY: Duration = Duration::from_secs(110);

impl Check<'_> {
    /// What the groups hold of this instance.
    pub(super) async fn targets(
        &mut self,
        identity: Option<&MachineIdentity>,
        front: &Front,
    ) -> Registrations {
        let mut registrations = Registrations::new();
        let groups = groups_behind(&self.subject.policy, front);
        if groups.is_empty() {
            self.note(Section::Targets, "no target group is named or found");
        }
        for group in groups {
            let Some(targets) = self.registrations(&group, identity).await else {
                continue;
            };
            registrations.insert(group.arn.clone(), targets);
            self.describe(&group.arn).await;
        }
        registrations
    }

    /// What leads requests to this node, as the API server has it.
    pub(super) async fn front(&mut self, node: Option<&NodeView>) -> Front {
        let mut front = Front {
            node_labels: node.map(|node| node.labels.clone()),
            ..Front::default()
        };
        let policy = &self.subject.policy;
        let looks_for_bindings = policy.discover.contains(&Discover::Bindings);
        let has_groups = !policy.groups.is_empty();
        let ports = self.ports;
        for api in BindingApi::ALL.into_iter().filter(|_| looks_for_bindings) {
            match self.within(ports.cluster.bindings(api)).await {
                Ok(bindings) => {
                    front.bindings.insert(api, bindings);
                }
                // Nobody keeps bindings of this kind here.
                Err(failure) if failure.kind == FailureKind::NotFound => {}
                Err(failure) => {
                    let text = format!("target group bindings cannot be listed: {failure}");
                    self.warn(Section::Targets, text);
                }
            }
        }
        if policy.discover.contains(&Discover::Tag) {
            front.tagged = self.tagged().await;
            front.group_tags.clone_from(&self.subject.policy.group_tags);
        }
        let has_groups = has_groups || !front.tagged.is_empty();
        if has_groups || front.bindings.values().any(|bindings| !bindings.is_empty()) {
            match self.within(ports.cluster.services()).await {
                Ok(services) => front.services = services,
                Err(failure) => {
                    let text = format!("Services cannot be listed: {failure}");
                    self.warn(Section::Targets, text);
                }
            }
        }
        front
    }

    /// The groups of the account that carry a tag.
    async fn tagged(&mut self) -> Vec<ListedGroup> {
        let mut search = TagSearch::of(&self.subject.policy);
        let ports = self.ports;
        while let Some(inquiry) = search.next_inquiry() {
            let answer = match &inquiry {
                Inquiry::Groups(from) => {
                    let page = self.within(ports.balancer.groups(from.as_ref())).await;
                    page.map(|(groups, next)| Finding::Groups(groups, next))
                }
                Inquiry::Tags(groups) => {
                    let tags = self.within(ports.balancer.tags(groups)).await;
                    tags.map(Finding::Tags)
                }
                Inquiry::Bindings(_) | Inquiry::Services => break,
            };
            match answer {
                Ok(finding) => search.take(&finding),
                Err(failure) if failure.kind == FailureKind::NotFound && search.is_reading() => {
                    search.take_absence();
                }
                Err(failure) => {
                    let text = format!("groups with a tag cannot be looked for: {failure}");
                    self.warn(Section::Targets, text);
                    break;
                }
            }
        }
        let found = search.found().to_vec();
        let names: Vec<&str> = found.iter().map(|group| short(&group.arn)).collect();
        let text = match names[..] {
            [] if search.next_inquiry().is_some() => return found,
            [] => "no target group carries a tag that is looked for".to_owned(),
            _ => format!("found by their tags: {}", names.join(", ")),
        };
        self.note(Section::Targets, text);
        found
    }

    async fn registrations(
        &mut self,
        group: &ConfiguredGroup,
        identity: Option<&MachineIdentity>,
    ) -> Option<Vec<Target>> {
        let ports = self.ports;
        // Where it is not known whose registrations are meant, all are listed and none is taken for ours.
        let nobody = InstanceId::new("");
        let (instance, which) = identity.map_or((nobody, Ports::All), |identity| {
            (identity.instance_id.clone(), group.ports)
        });
        let target = TargetId::Instance(instance);
        let asked = ports.balancer.targets(&group.arn, &target, which);
        let limit = self.clock.now().at + super::REQUEST_LIMIT;
        let name = short(&group.arn);
        let result = match self.clock.until(limit, Box::pin(asked)).await {
            Ok(result) => result,
            Err(elapsed) => Err(BalancerError::Lost(elapsed.into())),
        };
        match result {
            Ok(targets) => {
                let text = match identity {
                    Some(_) => format!("{name}: {}", registered(&targets)),
                    None => format!("{name} can be asked"),
                };
                self.ok(Section::Targets, text);
                Some(targets)
            }
            Err(error) => {
                let advice = advice(&error, group.arn.region());
                let failure = Failure::from(error);
                let text = format!("{name} cannot be asked: {failure}{advice}");
                if failure.kind == FailureKind::NotFound {
                    self.warn(Section::Targets, format!("{name} does not exist"));
                } else {
                    self.fail(Section::Targets, text);
                }
                None
            }
        }
    }

    async fn describe(&mut self, group: &TargetGroupArn) {
        let ports = self.ports;
        let name = short(group);
        match self.within(ports.balancer.describe(group)).await {
            Ok(description) => self.delay(name, &description),
            Err(failure) => {
                let text = format!("{name}: its deregistration delay cannot be read: {failure}");
                self.note(Section::Targets, text);
            }
        }
    }

    fn delay(&mut self, name: &str, group: &GroupDescription) {
        let kind = group.target_type.as_str();
        let delay = group.deregistration_delay;
        let told = delay.map_or_else(String::new, |delay| {
            format!(", deregistration delay {} s", delay.as_secs())
        });
        match group.kind {
            Some(BalancerKind::Application) if delay.is_some_and(|delay| delay > LONGEST_DELAY) => {
                let text = format!(
                    "{name}: {kind} targets{told}: requests that take longer than the two minutes are cut; \
                     set it to {} s or less",
                    LONGEST_DELAY.as_secs()
                );
                self.warn(Section::Targets, text);
            }
            Some(BalancerKind::Application) | None => {
                self.ok(Section::Targets, format!("{name}: {kind} targets{told}"));
            }
            Some(BalancerKind::Network) => {
                let text = format!(
                    "{name}: {kind} targets{told}: a network load balancer needs 90 to 200 s to stop sending, \
                     whatever its settings; two minutes may not be enough"
                );
                self.note(Section::Targets, text);
            }
        }
    }
}

fn registered(targets: &[Target]) -> String {
    if targets.is_empty() {
        return "this instance is not registered in it".to_owned();
    }
    let ports: Vec<String> = targets
        .iter()
        .map(|target| format!("port {} {}", target.port, state(target.state)))
        .collect();
    ports.join(", ")
}

const fn state(state: TargetState) -> &'static str {
    match state {
        TargetState::Registered => "registered",
        TargetState::Draining => "draining",
        TargetState::NotRegistered => "not registered",
    }
}

/// A group's name, which is the part of its ARN that people know.
fn short(group: &TargetGroupArn) -> &str {
    group.as_str().split('/').nth(1).unwrap_or_default()
}

/// What is likely to be missing where nobody answers.
fn advice(error: &BalancerError, region: &str) -> String {
    match error {
        BalancerError::NoCredentials(_) => format!(
            "; credentials come from the pod's identity or the instance's role, with a web identity through STS: \
             in a subnet without a way out that needs the VPC endpoint com.amazonaws.{region}.sts"
        ),
        BalancerError::Unreachable(_) | BalancerError::Lost(_) => format!(
            "; in a subnet without a way out this needs the VPC endpoint com.amazonaws.{region}.elasticloadbalancing"
        ),
        BalancerError::Denied { .. } => {
            "; the policy needs elasticloadbalancing:DescribeTargetHealth and elasticloadbalancing:DeregisterTargets"
                .to_owned()
        }
        BalancerError::Throttled { .. }
        | BalancerError::ExpiredToken { .. }
        | BalancerError::GroupGone
        | BalancerError::NoRegion
        | BalancerError::Invalid { .. }
        | BalancerError::ServerError { .. } => String::new(),
    }
}
