//! Scenario files: a world in TOML, and what is to come of it.
//!
//! `docs/simulation.md` describes the format.

mod file;

use std::fmt;
use std::time::Duration;

use super::World;
use super::balancer::{Group, LoadBalancer, Registration, TargetKey};
use super::budget::Budget;
use super::cluster::Cluster;
use super::controller::Controller;
use super::journal::Journal;
use super::metadata::{Instance, MetadataService, ScheduledNotice};
use super::node::Node;
use super::pod::Pod;
use crate::plan::binding::TargetId;
use crate::plan::id::{InstanceId, NodeName, PodUid, TargetGroupArn};
use crate::plan::notice::InterruptionAction;
use crate::plan::time::Moment;

/// The scenarios that come with the program: name and text.
const BUILT_IN: [(&str, &str); 1] = [("default", include_str!("scenario/default.toml"))];

/// A world before anything has happened in it, and the outcome it is to have.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it shows, for people.
    pub description: String,
    /// The node.
    pub node: Node,
    /// The instance it is.
    pub instance: Instance,
    /// How long after the start the notice appears.
    pub notice_after: Duration,
    /// How long after that EC2 takes the instance.
    pub warning: Duration,
    /// What EC2 does with it.
    pub action: InterruptionAction,
    /// The pods, each with what is to become of it.
    pub pods: Vec<(Pod, PodOutcome)>,
    /// The budgets.
    pub budgets: Vec<Budget>,
    /// The target groups.
    pub groups: Vec<ScenarioGroup>,
    /// The agent's own pod.
    pub agent: Option<PodUid>,
    /// What the agent is to say in the end.
    pub verdict: Verdict,
}

/// A target group, with the ports that this instance is registered on.
#[derive(Clone, Debug)]
pub struct ScenarioGroup {
    /// The group.
    pub arn: TargetGroupArn,
    /// The ports.
    pub ports: Vec<u16>,
    /// How long a deregistered target stays `draining`.
    pub deregistration_delay: Duration,
}

/// What becomes of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodOutcome {
    /// It was evicted with its own grace period.
    Evicted,
    /// It was evicted with less than its own grace period, because there was not so much time.
    Cut,
    /// It was deleted over its disruption budget, at the last useful moment.
    Deleted,
    /// It was not to be touched, and was not.
    Ignored,
    /// It got no stop signal before EC2 took the node.
    Left,
}

impl fmt::Display for PodOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evicted => "evicted",
            Self::Cut => "cut",
            Self::Deleted => "deleted",
            Self::Ignored => "ignored",
            Self::Left => "left",
        })
    }
}

/// The agent's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every pod got its stop signal.
    Completed,
    /// Some did not.
    Incomplete,
}

impl Verdict {
    /// As the agent's lines have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
        }
    }
}

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It is neither built in nor a file that can be read.
    #[error(
        "scenario {name:?}: no built-in scenario has this name ({}), and no such file can be read",
        built_in_names()
    )]
    Unreadable {
        /// What was asked for.
        name: String,
        /// Why the file cannot be read.
        #[source]
        cause: std::io::Error,
    },
    /// Its text is not a scenario. The message has line, column and field.
    #[error("scenario {name}: {message}")]
    Invalid {
        /// Which one.
        name: String,
        /// What is wrong, and where.
        message: String,
    },
}

fn built_in_names() -> String {
    let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

impl Scenario {
    /// The built-in scenario of that name, or the one in that file.
    ///
    /// # Errors
    /// When there is neither, or what is there is no scenario.
    pub fn load(name: &str) -> Result<Self, ScenarioError> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Self::parse(name, text);
        }
        let text = std::fs::read_to_string(name).map_err(|cause| ScenarioError::Unreadable {
            name: name.to_owned(),
            cause,
        })?;
        Self::parse(name, &text)
    }

    /// A spot instance and its node, and nothing else.
    ///
    /// # Errors
    /// Never: its text comes with the program, and a test reads it.
    pub fn bare() -> Result<Self, ScenarioError> {
        Self::parse("bare", include_str!("scenario/bare.toml"))
    }

    /// Reads a scenario from its text; `name` is for messages.
    ///
    /// # Errors
    /// When it is none: with the line, the field and what is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScenarioError> {
        file::read(text).map_err(|message| ScenarioError::Invalid {
            name: name.to_owned(),
            message,
        })
    }

    /// The node's name.
    #[must_use]
    pub const fn node_name(&self) -> &NodeName {
        &self.node.name
    }

    /// The world of it, as it begins at `start`.
    #[must_use]
    pub fn world(&self, start: Moment) -> World {
        let mut cluster = Cluster::new(self.node.clone());
        for (pod, _) in &self.pods {
            cluster.add_pod(pod.clone());
        }
        for budget in &self.budgets {
            cluster.add_budget(budget.clone());
        }
        let mut balancer = LoadBalancer::default();
        for group in &self.groups {
            balancer.add_group(group.arn.clone(), group.registering(&self.instance.id));
        }
        let mut metadata = MetadataService::new(self.instance.clone());
        metadata.schedule(ScheduledNotice {
            appears: start + self.notice_after,
            warning: self.warning,
            action: self.action,
        });
        World {
            cluster,
            balancer,
            controller: Controller::default(),
            services: Vec::new(),
            metadata,
            journal: Journal::default(),
        }
    }
}

impl ScenarioGroup {
    /// The group's name, from its ARN.
    #[must_use]
    pub fn name(&self) -> &str {
        let mut resource = self.arn.as_str().split('/');
        resource.nth(1).unwrap_or_default()
    }

    fn registering(&self, instance: &InstanceId) -> Group {
        let target = |port: &u16| TargetKey {
            id: TargetId::Instance(instance.clone()),
            port: *port,
        };
        Group {
            default_port: self.ports.first().copied().unwrap_or(80),
            deregistration_delay: self.deregistration_delay,
            targets: self
                .ports
                .iter()
                .map(|port| (target(port), Registration::Healthy))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests;
