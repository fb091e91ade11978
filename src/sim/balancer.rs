//! Target groups, keyed by instance and port, with the state that a real load balancer keeps.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::binding::TargetId;
use crate::plan::id::TargetGroupArn;
use crate::plan::time::Moment;

/// The target groups of an account.
#[derive(Clone, Debug, Default)]
pub struct LoadBalancer {
    groups: BTreeMap<TargetGroupArn, Group>,
    tags: BTreeMap<TargetGroupArn, BTreeMap<String, String>>,
}

/// A target group.
#[derive(Clone, Debug)]
pub struct Group {
    /// The port of a registration that names none.
    pub default_port: u16,
    /// `deregistration_delay.timeout_seconds`: so long a target stays `draining`, whatever its connections do.
    pub deregistration_delay: Duration,
    /// What is registered.
    pub targets: BTreeMap<TargetKey, Registration>,
}

/// A target: the same instance may be registered on several ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetKey {
    /// The instance or the address.
    pub id: TargetId,
    /// The port.
    pub port: u16,
}

/// A target as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTarget {
    /// The instance or the address.
    pub id: TargetId,
    /// The port; the group's own when absent, and only that.
    pub port: Option<u16>,
}

/// How a registration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// It gets requests.
    Healthy,
    /// It gets no new ones since `since`, and is forgotten at `until`.
    Draining {
        /// When it was deregistered.
        since: Moment,
        /// When the deregistration delay is over.
        until: Moment,
    },
}

/// What a description says of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Which target.
    pub target: TargetKey,
    /// How it stands; none when it is not registered.
    pub registration: Option<Registration>,
}

/// 400: the group does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoGroup;

impl LoadBalancer {
    /// Adds a group.
    pub fn add_group(&mut self, arn: TargetGroupArn, group: Group) {
        self.groups.insert(arn, group);
    }

    /// Tags a group.
    pub fn tag(&mut self, arn: TargetGroupArn, key: &str, value: &str) {
        let tags = self.tags.entry(arn).or_default();
        tags.insert(key.to_owned(), value.to_owned());
    }

    /// The tags of a group, if there is such a group.
    #[must_use]
    pub fn tags(&self, arn: &TargetGroupArn) -> Option<impl Iterator<Item = (&str, &str)>> {
        self.groups.get(arn)?;
        let tags = self.tags.get(arn).into_iter().flatten();
        Some(tags.map(|(key, value)| (key.as_str(), value.as_str())))
    }

    /// `RegisterTargets`: it gets requests, whatever it got before.
    ///
    /// # Errors
    /// When the group does not exist.
    pub fn register(&mut self, arn: &TargetGroupArn, target: &NamedTarget) -> Result<(), NoGroup> {
        let group = self.groups.get_mut(arn).ok_or(NoGroup)?;
        let key = group.key(target);
        group.targets.insert(key, Registration::Healthy);
        Ok(())
    }

    /// All groups.
    pub fn groups(&self) -> impl Iterator<Item = (&TargetGroupArn, &Group)> {
        self.groups.iter()
    }

    /// Forgets the targets whose delay is over.
    pub fn advance(&mut self, now: Moment) {
        for group in self.groups.values_mut() {
            group
                .targets
                .retain(|_, registration| registration.ends().is_none_or(|until| until > now));
        }
    }

    /// When the next target is forgotten.
    #[must_use]
    pub fn next_change(&self) -> Option<Moment> {
        self.groups
            .values()
            .flat_map(|group| group.targets.values())
            .filter_map(Registration::ends)
            .min()
    }

    /// `DescribeTargetHealth`: of all targets, or of these, registered or not.
    ///
    /// # Errors
    /// When the group does not exist.
    pub fn describe(
        &self,
        arn: &TargetGroupArn,
        named: &[NamedTarget],
    ) -> Result<Vec<Health>, NoGroup> {
        let group = self.groups.get(arn).ok_or(NoGroup)?;
        if named.is_empty() {
            return Ok(group
                .targets
                .iter()
                .map(|(target, registration)| Health {
                    target: target.clone(),
                    registration: Some(*registration),
                })
                .collect());
        }
        Ok(named
            .iter()
            .map(|named| {
                let target = group.key(named);
                Health {
                    registration: group.targets.get(&target).copied(),
                    target,
                }
            })
            .collect())
    }

    /// `DeregisterTargets`. What is not registered is success
    /// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeregisterTargets.html>).
    ///
    /// # Errors
    /// When the group does not exist.
    pub fn deregister(
        &mut self,
        arn: &TargetGroupArn,
        named: &[NamedTarget],
        now: Moment,
    ) -> Result<(), NoGroup> {
        let group = self.groups.get_mut(arn).ok_or(NoGroup)?;
        let until = now + group.deregistration_delay;
        for named in named {
            let target = group.key(named);
            if let Some(registration @ Registration::Healthy) = group.targets.get_mut(&target) {
                *registration = Registration::Draining { since: now, until };
            }
        }
        Ok(())
    }
}

impl LoadBalancer {
    /// Every registration of `id` in a group begins to drain, whatever its port.
    pub fn deregister_everywhere(&mut self, arn: &TargetGroupArn, id: &TargetId, now: Moment) {
        let Some(group) = self.groups.get_mut(arn) else {
            return;
        };
        let until = now + group.deregistration_delay;
        for (_, registration) in group.targets.iter_mut().filter(|(key, _)| key.id == *id) {
            if *registration == Registration::Healthy {
                *registration = Registration::Draining { since: now, until };
            }
        }
    }

    /// Every registration of `id` in a group that drains gets requests again: somebody has registered it anew.
    pub fn register_again(&mut self, arn: &TargetGroupArn, id: &TargetId) {
        let Some(group) = self.groups.get_mut(arn) else {
            return;
        };
        for (_, registration) in group.targets.iter_mut().filter(|(key, _)| key.id == *id) {
            *registration = Registration::Healthy;
        }
    }
}

impl Group {
    fn key(&self, named: &NamedTarget) -> TargetKey {
        TargetKey {
            id: named.id.clone(),
            port: named.port.unwrap_or(self.default_port),
        }
    }
}

impl Registration {
    const fn ends(&self) -> Option<Moment> {
        match self {
            Self::Healthy => None,
            Self::Draining { until, .. } => Some(*until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::id::InstanceId;

    const ARN: &str =
        "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/0123456789abcdef";

    fn balancer() -> (LoadBalancer, TargetGroupArn) {
        let arn = TargetGroupArn::parse(ARN).expect("an ARN");
        let target = |port| TargetKey {
            id: TargetId::Instance(InstanceId::new("i-1")),
            port,
        };
        let group = Group {
            default_port: 80,
            deregistration_delay: Duration::from_secs(300),
            targets: [80, 443]
                .map(|port| (target(port), Registration::Healthy))
                .into(),
        };
        let mut balancer = LoadBalancer::default();
        balancer.add_group(arn.clone(), group);
        (balancer, arn)
    }

    fn named(id: &str, port: Option<u16>) -> NamedTarget {
        NamedTarget {
            id: TargetId::Instance(InstanceId::new(id)),
            port,
        }
    }

    fn draining(balancer: &LoadBalancer, arn: &TargetGroupArn) -> Vec<u16> {
        let healths = balancer.describe(arn, &[]).expect("the group");
        healths
            .into_iter()
            .filter(|health| matches!(health.registration, Some(Registration::Draining { .. })))
            .map(|health| health.target.port)
            .collect()
    }

    #[test]
    fn an_id_alone_means_the_port_of_the_group_and_no_other() {
        let (mut balancer, arn) = balancer();
        let id_only = [named("i-1", None)];
        balancer
            .deregister(&arn, &id_only, Moment::ORIGIN)
            .expect("the group");
        assert_eq!(draining(&balancer, &arn), [80]);
    }

    #[test]
    fn what_is_not_registered_deregisters_successfully_and_changes_nothing() {
        let (mut balancer, arn) = balancer();
        let absent = [named("i-2", Some(80)), named("i-1", Some(8080))];
        assert_eq!(balancer.deregister(&arn, &absent, Moment::ORIGIN), Ok(()));
        assert_eq!(draining(&balancer, &arn), [0_u16; 0]);
        let healths = balancer.describe(&arn, &absent).expect("the group");
        assert!(healths.iter().all(|health| health.registration.is_none()));
    }

    #[test]
    fn a_target_stays_draining_for_the_whole_delay_and_is_forgotten_then() {
        let (mut balancer, arn) = balancer();
        let target = [named("i-1", Some(443))];
        balancer
            .deregister(&arn, &target, Moment::at_secs(10))
            .expect("the group");
        // Asked again, it does not begin anew.
        balancer
            .deregister(&arn, &target, Moment::at_secs(100))
            .expect("the group");
        assert_eq!(balancer.next_change(), Some(Moment::at_secs(310)));
        balancer.advance(Moment::at_secs(309));
        assert_eq!(draining(&balancer, &arn), [443]);
        balancer.advance(Moment::at_secs(310));
        assert_eq!(balancer.describe(&arn, &[]).map(|all| all.len()), Ok(1));
    }
}
