//! The command `check`: whether everything is in place for an interruption, and what one would do to each pod now.
//!
//! Nothing is changed: whatever looks like a write is a question about permissions or carries `dryRun=All`. Every request
//! has its time limit, so that a neighbour that hangs is a finding.

pub mod finding;
pub mod forecast;
mod instance;
mod node;
mod pods;
mod targets;
mod text;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use self::finding::{Finding, Findings, Level, Section};
pub use self::text::text;
use crate::attempt::Ports;
use crate::balancer::Elbv2;
use crate::clock::Clock;
use crate::cluster::{ExaminedNode, KubeCluster};
use crate::imds::Imds;
use crate::plan::action::{Failure, FailureKind, MachineIdentity, Target};
use crate::plan::discovery::Front;
use crate::plan::id::{NodeName, PodUid, TargetGroupArn};
use crate::plan::preflight::{Access, permissions_needed};
use crate::plan::{Mode, Policy};
use crate::ports::Cluster as _;

/// No request waits longer.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// The version of the form of [`Findings`].
const FORM: u32 = 1;

/// What is to be checked.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The node.
    pub node: NodeName,
    /// The pod the agent runs in.
    pub agent: Option<PodUid>,
    /// What the operator decided.
    pub policy: Policy,
    /// Whether the API server is asked about each eviction.
    pub rehearsal: Asking,
}

/// Whether the API server is asked what it would answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// It is, by evictions that change nothing.
    Asked,
    /// It is not.
    Unasked,
}

/// What is found, one after the other.
struct Check<'a> {
    subject: &'a Subject,
    ports: &'a Ports<Imds, KubeCluster, Elbv2>,
    clock: &'a Clock,
    findings: Vec<Finding>,
}

/// Checks everything. The cluster must be one whose writes are rehearsed.
pub async fn check(
    subject: &Subject,
    ports: &Ports<Imds, KubeCluster, Elbv2>,
    clock: &Clock,
) -> Findings {
    let mut check = Check {
        subject,
        ports,
        clock,
        findings: Vec::new(),
    };
    let identity = check.instance().await;
    let mut pods = None;
    match subject.policy.mode {
        Mode::Observe => check.note(
            Section::Node,
            "observing: no cluster and no load balancer is asked",
        ),
        Mode::Full | Mode::DeregisterOnly => {
            if check.permissions().await {
                let node = check.node(identity.as_ref()).await;
                let front = check.front(node.as_ref().map(|node| &node.view)).await;
                let targets = check.targets(identity.as_ref(), &front).await;
                if let Some(node) = node {
                    let front = (front, targets);
                    pods = check.pods(node, identity, front).await;
                }
            } else {
                check.targets(identity.as_ref(), &Front::default()).await;
            }
        }
    }
    let worst = check.findings.iter().map(|finding| finding.level).max();
    Findings {
        v: FORM,
        version: env!("CARGO_PKG_VERSION"),
        node: subject.node.to_string(),
        outcome: worst.unwrap_or(Level::Ok),
        rehearsed: subject.rehearsal == Asking::Asked && pods.is_some(),
        findings: check.findings,
        pods,
    }
}

impl Check<'_> {
    fn find(&mut self, section: Section, level: Level, text: impl Into<String>) {
        self.findings.push(Finding {
            section,
            level,
            text: text.into(),
        });
    }

    fn ok(&mut self, section: Section, text: impl Into<String>) {
        self.find(section, Level::Ok, text);
    }

    fn note(&mut self, section: Section, text: impl Into<String>) {
        self.find(section, Level::Note, text);
    }

    fn warn(&mut self, section: Section, text: impl Into<String>) {
        self.find(section, Level::Warning, text);
    }

    fn fail(&mut self, section: Section, text: impl Into<String>) {
        self.find(section, Level::Error, text);
    }

    /// What became of a request within its time.
    fn within<T, E: Into<Failure>>(
        &self,
        request: impl Future<Output = Result<T, E>>,
    ) -> impl Future<Output = Result<T, Failure>> {
        // Boxed, because those of the AWS SDK are large.
        let request = Box::pin(request);
        async {
            let limit = self.clock.now().at + REQUEST_LIMIT;
            match self.clock.until(limit, request).await {
                Ok(result) => result.map_err(Into::into),
                Err(_) => Err(Failure {
                    kind: FailureKind::TimedOut,
                    http_status: None,
                    text: format!("no answer within {} s", REQUEST_LIMIT.as_secs()),
                }),
            }
        }
    }

    /// Whether the API server answers; and if it does, what it allows.
    async fn permissions(&mut self) -> bool {
        let needed = permissions_needed(&self.subject.policy);
        let mut missing = Vec::new();
        for permission in &needed {
            let ports = self.ports;
            match self.within(ports.cluster.review_access(permission)).await {
                Ok(Access::Allowed) => {}
                Ok(Access::Denied { .. }) => missing.push(permission),
                Err(failure) if failure.was_answered() => {
                    let text = format!("permissions cannot be asked for: {failure}");
                    self.warn(Section::Permissions, text);
                    return true;
                }
                Err(failure) => {
                    let text = format!("the API server does not answer: {failure}");
                    self.fail(Section::Permissions, text);
                    return false;
                }
            }
        }
        if missing.is_empty() {
            let text = format!("all {} are there", needed.len());
            self.ok(Section::Permissions, text);
        }
        for permission in missing {
            self.fail(Section::Permissions, format!("missing: {permission}"));
        }
        true
    }
}

/// The registrations of the instance, as far as they are known.
type Registrations = BTreeMap<TargetGroupArn, Vec<Target>>;

/// The instance that a Node's provider id names: the last part of `aws:///ZONE/INSTANCE`.
fn instance_of(node: &ExaminedNode) -> Option<&str> {
    let provider_id = node.provider_id.as_deref()?;
    provider_id
        .strip_prefix("aws://")?
        .rsplit('/')
        .next()
        .filter(|instance| !instance.is_empty())
}

/// What a machine is called in a sentence.
fn machine(identity: &MachineIdentity) -> String {
    let mut words = vec![identity.instance_id.to_string()];
    words.extend(identity.instance_type.clone());
    words.extend(identity.zone.clone());
    words.join(", ")
}
