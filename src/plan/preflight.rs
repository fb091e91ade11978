//! Whether the agent has the permissions that an interruption would take: asked once, while there is none.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::action::{Failure, FailureKind, Outcome, Request};
use super::binding::BindingApi;
use super::cordon::CALL_TIMEOUT;
use super::fact::Fact;
use super::policy::{Discover, Mode, Policy};
use super::task::{Agenda, Task, doubled};
use super::time::Moment;

/// An API server that is away is no finding; it is asked again after 5, 10, 20 … s, and at last every five minutes.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// Something the agent must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// `get`, `patch`, ….
    pub verb: &'static str,
    /// The API group, empty for the core's.
    pub group: &'static str,
    /// The resource, `pods`.
    pub resource: &'static str,
    /// And of it, `eviction`.
    pub subresource: Option<&'static str>,
    /// Where.
    pub reach: Reach,
}

/// Where a permission is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// In the whole cluster.
    Everywhere,
    /// On the agent's own node.
    OwnNode,
    /// In the namespace in which events about Nodes live.
    EventsOfNodes,
}

/// As the log has it: `verb resource`, in the way of a ClusterRole.
impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if let Some(subresource) = self.subresource {
            write!(f, "/{subresource}")?;
        }
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

impl Permission {
    const fn core(verb: &'static str, resource: &'static str, reach: Reach) -> Self {
        Self {
            verb,
            group: "",
            resource,
            subresource: None,
            reach,
        }
    }

    const fn of(self, subresource: &'static str) -> Self {
        Self {
            subresource: Some(subresource),
            ..self
        }
    }
}

/// What the API server says about a permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is there.
    Allowed,
    /// It is not.
    Denied {
        /// Why, where the server says so.
        reason: Option<String>,
    },
}

/// The permissions that an interruption takes under this policy: those of the calls that are made, and no others.
#[must_use]
pub fn permissions_needed(policy: &Policy) -> Vec<Permission> {
    let node_and_events = [
        Permission::core("get", "nodes", Reach::OwnNode),
        Permission::core("patch", "nodes", Reach::OwnNode),
        Permission::core("create", "events", Reach::EventsOfNodes),
    ];
    let pods = [
        Permission::core("list", "pods", Reach::Everywhere),
        Permission::core("watch", "pods", Reach::Everywhere),
        Permission::core("delete", "pods", Reach::Everywhere),
        Permission::core("create", "pods", Reach::Everywhere).of("eviction"),
        Permission::core("patch", "pods", Reach::Everywhere).of("status"),
        Permission::core("get", "namespaces", Reach::Everywhere),
    ];
    let services = Permission::core("list", "services", Reach::Everywhere);
    let front: Vec<Permission> = if policy.discover.contains(&Discover::Bindings) {
        let bindings = BindingApi::ALL.map(|api| Permission {
            group: api.group(),
            ..Permission::core("list", "targetgroupbindings", Reach::Everywhere)
        });
        [&[services][..], &bindings[..]].concat()
    } else if policy.groups.is_empty() && policy.discover.is_empty() {
        Vec::new()
    } else {
        vec![services]
    };
    match policy.mode {
        Mode::Full => [&node_and_events[..], &pods[..], &front[..]].concat(),
        Mode::DeregisterOnly => [&node_and_events[..], &front[..]].concat(),
        Mode::Observe => Vec::new(),
    }
}

/// The questions that are left, and what the answers so far add up to.
#[derive(Debug, Default)]
pub(super) struct Preflight {
    questions: VecDeque<Permission>,
    missing: Vec<Permission>,
    reason: Option<String>,
    failures: u32,
    asked: Option<Moment>,
    quickest_answer: Option<Duration>,
}

impl Preflight {
    /// The questions about these permissions.
    pub(super) fn about(permissions: Vec<Permission>) -> Self {
        Self {
            questions: permissions.into(),
            ..Self::default()
        }
    }

    /// No notice is there: the next question may be asked, unless one is under way or waits for its time.
    pub(super) fn carry_on(&mut self, agenda: &mut Agenda, now: Moment) {
        if !agenda.is_open(&Task::Preflight) {
            self.ask(agenda, now);
        }
    }

    /// Asks the next question, if there is one.
    pub(super) fn ask(&mut self, agenda: &mut Agenda, now: Moment) {
        if let Some(permission) = self.questions.front() {
            self.asked = Some(now);
            agenda.attempt(
                Task::Preflight,
                Request::ReviewAccess(*permission),
                Some(now + CALL_TIMEOUT),
            );
        }
    }

    /// Takes an answer, or that there was none.
    pub(super) fn handle_outcome(&mut self, outcome: Outcome, agenda: &mut Agenda, now: Moment) {
        match outcome {
            Outcome::Access(access) => {
                let took = self.asked.map(|asked| now.since(asked));
                self.quickest_answer = self.quickest_answer.into_iter().chain(took).min();
                self.note(access);
            }
            Outcome::Failed(failure) if is_final(&failure) => {
                self.questions.clear();
                self.reason = Some(failure.text);
            }
            Outcome::Failed(_)
            | Outcome::Notice(_)
            | Outcome::Identity(_)
            | Outcome::Node(_)
            | Outcome::Namespace(_)
            | Outcome::Pods { .. }
            | Outcome::Found(_)
            | Outcome::Targets(_)
            | Outcome::Done => {
                self.failures += 1;
                let wait = doubled(FIRST_WAIT, self.failures, LONGEST_WAIT);
                let wait = agenda.jitter().around(wait);
                agenda.wait(Task::Preflight, now + wait);
                return;
            }
        }
        if self.questions.is_empty() {
            agenda.tell(self.verdict());
        } else {
            self.ask(agenda, now);
        }
    }

    /// How soon the server answered a question, at the best.
    pub(super) const fn quickest_answer(&self) -> Option<Duration> {
        self.quickest_answer
    }

    fn note(&mut self, access: Access) {
        let Some(permission) = self.questions.pop_front() else {
            return;
        };
        match access {
            Access::Allowed => {}
            Access::Denied { reason } => {
                self.missing.push(permission);
                self.reason = self.reason.take().or(reason);
            }
        }
    }

    fn verdict(&mut self) -> Fact {
        let missing = std::mem::take(&mut self.missing);
        let reason = self.reason.take();
        if missing.is_empty() && reason.is_none() {
            Fact::PreflightPassed
        } else {
            Fact::PreflightFailed { missing, reason }
        }
    }
}

/// Whether asking again would bring the same: nobody may ask, or there is nothing to ask.
const fn is_final(failure: &Failure) -> bool {
    matches!(
        failure.kind,
        FailureKind::Forbidden | FailureKind::NotFound | FailureKind::Invalid
    )
}
