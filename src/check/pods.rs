//! The pods: what an interruption would do to each, asked of the planner and, in a rehearsal, of the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::finding::{PodRow, Rehearsal, Section};
use super::forecast::{Allowance, Fate, PodForecast, Question, forecast};
use super::{Asking, Check, Registrations};
use crate::cluster::{Budget, ExaminedNode, ExaminedPod};
use crate::plan::Mode;
use crate::plan::action::{Failure, FailureKind, MachineIdentity};
use crate::plan::budget::{LONGEST_NOTICE, Window};
use crate::plan::discovery::Front;
use crate::plan::id::PodUid;
use crate::plan::pod::{BlockedWish, PodProgress, PodView};
use crate::plan::time::Moment;
use crate::ports::Cluster as _;

/// Two minutes, less the end margin and what detection takes: who wants longer is cut.
const LONGEST_GRACE: Duration = Duration::from_secs(110);

/// The DaemonSet of the handler that most clusters had before.
const OTHER_HANDLER: &str = "aws-node-termination-handler";

/// What the API server would answer to each eviction.
type Rehearsals = BTreeMap<PodUid, (Rehearsal, Option<Failure>)>;

impl Check<'_> {
    /// The plan for every pod, if they can be listed.
    pub(super) async fn pods(
        &mut self,
        node: ExaminedNode,
        identity: Option<MachineIdentity>,
        front: (Front, Registrations),
    ) -> Option<Vec<PodRow>> {
        let ports = self.ports;
        let pods = match self.within(ports.cluster.examine_pods()).await {
            Ok(pods) => pods,
            Err(failure) => {
                let text = format!("the pods cannot be listed: {failure}");
                self.fail(Section::Pods, text);
                return None;
            }
        };
        self.other_handler(&pods);
        let budgets = self.budgets().await;
        let rehearsals = match self.subject.rehearsal {
            Asking::Asked => self.rehearse(&pods).await,
            Asking::Unasked => Rehearsals::new(),
        };
        let question = self
            .question(node, identity, front, &pods, &budgets, &rehearsals)
            .await;
        let forecasts = forecast(question);
        self.warn_owners(&pods, &forecasts, &budgets);
        let rows = forecasts.iter().map(|forecast| {
            let rehearsal = rehearsals.get(&forecast.view.pod.uid);
            PodRow::of(forecast, rehearsal.map(|(answer, _)| answer.clone()))
        });
        Some(rows.collect())
    }

    fn other_handler(&mut self, pods: &[ExaminedPod]) {
        for pod in pods {
            let owner = pod.view.owner.as_ref();
            if owner.is_some_and(|owner| owner.name.contains(OTHER_HANDLER)) {
                let text = format!(
                    "{}/{} drains this node too: one of the two has to go",
                    pod.view.pod.namespace, pod.view.pod.name
                );
                self.warn(Section::Node, text);
            }
        }
    }

    async fn budgets(&mut self) -> Vec<Budget> {
        let ports = self.ports;
        match self.within(ports.cluster.budgets()).await {
            Ok(budgets) => budgets,
            Err(failure) => {
                let what = if failure.kind == FailureKind::Forbidden {
                    "disruption budgets are not readable with this account".to_owned()
                } else {
                    format!("disruption budgets cannot be read: {failure}")
                };
                let text = match self.subject.rehearsal {
                    Asking::Asked => format!("{what}: each eviction was asked about alone"),
                    Asking::Unasked => {
                        format!(
                            "{what}: the plan takes them for open; --rehearse asks about each eviction"
                        )
                    }
                };
                self.note(Section::Pods, text);
                Vec::new()
            }
        }
    }

    /// Asks the API server about the eviction of each pod that would be evicted.
    async fn rehearse(&mut self, pods: &[ExaminedPod]) -> Rehearsals {
        let mut rehearsals = Rehearsals::new();
        if self.subject.policy.mode != Mode::Full {
            return rehearsals;
        }
        let ports = self.ports;
        let mut unanswered = 0;
        for pod in pods
            .iter()
            .map(|pod| &pod.view)
            .filter(|pod| self.is_to_go(pod))
        {
            let deadline = Moment::ORIGIN + LONGEST_NOTICE;
            let margins = &self.subject.policy.margins;
            let window = Window::before(deadline, pod.grace, pod.mounts_claim, margins);
            let grace = window.grace_to_send(Moment::ORIGIN);
            let answer = self.within(ports.cluster.evict(&pod.pod, grace)).await;
            let answer = match answer {
                Ok(()) => (Rehearsal::Accepted, None),
                Err(failure) => refused(failure),
            };
            if let Rehearsal::Unanswered { .. } = answer.0 {
                unanswered += 1;
            }
            rehearsals.insert(pod.pod.uid.clone(), answer);
        }
        if unanswered > 0 {
            let text = format!("{unanswered} evictions got no answer that says anything");
            self.warn(Section::Pods, text);
        }
        rehearsals
    }

    fn is_to_go(&self, pod: &PodView) -> bool {
        pod.exemption(self.subject.agent.as_ref()).is_none()
            && pod.progress != PodProgress::Finished
            && pod.termination.is_none()
    }

    async fn question(
        &self,
        node: ExaminedNode,
        identity: Option<MachineIdentity>,
        front: (Front, Registrations),
        pods: &[ExaminedPod],
        budgets: &[Budget],
        rehearsals: &Rehearsals,
    ) -> Question {
        let refusals: BTreeMap<PodUid, Failure> = rehearsals
            .iter()
            .filter_map(|(uid, (_, failure))| Some((uid.clone(), failure.clone()?)))
            .collect();
        let mut refusals = refusals;
        for pod in pods {
            let is_asked_for = pod.view.progress != PodProgress::Pending;
            if is_asked_for && covering(budgets, pod).len() > 1 {
                refusals
                    .entry(pod.view.pod.uid.clone())
                    .or_insert_with(two_budgets);
            }
        }
        Question {
            policy: self.subject.policy.clone(),
            node: self.subject.node.clone(),
            agent: self.subject.agent.clone(),
            identity,
            view: node.view,
            pods: pods.iter().map(|pod| pod.view.clone()).collect(),
            refusals,
            allowances: budgets
                .iter()
                .map(|budget| Allowance {
                    budget: format!("{}/{}", budget.namespace, budget.name),
                    allowed: budget.allowed,
                    pods: pods
                        .iter()
                        .filter(|pod| budget.is_charged_for(pod))
                        .map(|pod| pod.view.pod.uid.clone())
                        .collect(),
                })
                .collect(),
            namespaces: self.namespaces(pods).await,
            targets: front.1,
            front: front.0,
            wall: self.clock.now().wall,
        }
    }

    /// What the namespaces want done about pods that are refused to the end.
    async fn namespaces(&self, pods: &[ExaminedPod]) -> BTreeMap<String, BlockedWish> {
        let names: BTreeSet<&str> = pods
            .iter()
            .filter(|pod| self.is_to_go(&pod.view))
            .map(|pod| pod.view.pod.namespace.as_str())
            .collect();
        let mut wishes = BTreeMap::new();
        for name in names {
            match self.within(self.ports.cluster.namespace(name)).await {
                Ok(wish) => {
                    wishes.insert(name.to_owned(), wish);
                }
                Err(failure) if failure.was_answered() => {}
                // Who does not answer for one will not for the next.
                Err(_) => break,
            }
        }
        wishes
    }

    /// What the owners of pods can do something about.
    fn warn_owners(&mut self, pods: &[ExaminedPod], forecasts: &[PodForecast], budgets: &[Budget]) {
        for (pod, forecast) in pods.iter().zip(forecasts) {
            if matches!(
                forecast.fate,
                Fate::Exempt(_) | Fate::Finished | Fate::NotOurs
            ) {
                continue;
            }
            let name = format!("{}/{}", pod.view.pod.namespace, pod.view.pod.name);
            let grace = pod.view.grace;
            if grace.duration() > LONGEST_GRACE {
                let text = format!(
                    "{name} has a grace period of {} s: there are two minutes",
                    grace.as_secs()
                );
                self.warn(Section::Pods, text);
            }
            if pod.view.owner.is_none() {
                let text = format!("{name} has no controller: nobody puts it back");
                self.warn(Section::Pods, text);
            }
            if pod.is_ip_target && !pod.has_pre_stop {
                let text = format!(
                    "{name} is an ip target without a preStop hook: it stops while it is still sent requests"
                );
                self.warn(Section::Pods, text);
            }
            self.warn_of_budgets(&name, &covering(budgets, pod));
            if let Fate::Left(_) = forecast.fate {
                self.warn(Section::Pods, format!("{name} would get no stop signal"));
            }
        }
    }

    fn warn_of_budgets(&mut self, name: &str, budgets: &[&Budget]) {
        if let [first, second, ..] = budgets {
            let text = format!(
                "{name} is covered by two disruption budgets, {} and {}: the API server evicts no such pod",
                first.name, second.name
            );
            self.warn(Section::Pods, text);
        }
        for budget in budgets.iter().filter(|budget| budget.never_allows) {
            let text = format!(
                "{name}: the disruption budget {} never allows an eviction",
                budget.name
            );
            self.warn(Section::Pods, text);
        }
    }
}

fn covering<'a>(budgets: &'a [Budget], pod: &ExaminedPod) -> Vec<&'a Budget> {
    let covering = budgets.iter().filter(|budget| budget.covers(pod));
    covering.collect()
}

/// What the refusal of a rehearsed eviction means, and what the planner would meet with.
fn refused(failure: Failure) -> (Rehearsal, Option<Failure>) {
    let message = failure.text.clone();
    match failure.kind {
        FailureKind::BlockedByBudget
        | FailureKind::TwoBudgets
        | FailureKind::NamespaceTerminating
        | FailureKind::Forbidden => (Rehearsal::Refused { message }, Some(failure)),
        FailureKind::NotFound | FailureKind::Conflict => (Rehearsal::Gone, None),
        FailureKind::Unreachable(_)
        | FailureKind::Lost
        | FailureKind::TimedOut
        | FailureKind::Throttled(_)
        | FailureKind::Unauthenticated
        | FailureKind::Expired
        | FailureKind::Invalid
        | FailureKind::ServerError
        | FailureKind::Unreadable
        | FailureKind::HopLimit
        | FailureKind::Panicked => (Rehearsal::Unanswered { message }, None),
    }
}

fn two_budgets() -> Failure {
    Failure {
        kind: FailureKind::TwoBudgets,
        http_status: Some(500),
        text: "more than one disruption budget covers it".to_owned(),
    }
}
