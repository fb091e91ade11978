//! What the API server tells of pods and disruption budgets, as it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{Api, Client};

use crate::follow::{Change, follow};

/// A pod as it was seen.
#[derive(Clone, Debug)]
pub struct PodSeen {
    pub namespace: String,
    pub name: String,
    pub node: String,
    /// The kind of its controller.
    pub owner: Option<String>,
    labels: BTreeMap<String, String>,
    is_ready: bool,
    /// It ran to its end.
    pub is_done: bool,
    /// When it was first seen to be terminating.
    pub told: Option<Timestamp>,
    /// When it was gone.
    pub gone: Option<Timestamp>,
}

impl PodSeen {
    /// Whether it is of a kind that an interruption has to move.
    pub fn is_to_go(&self) -> bool {
        self.owner.as_deref() != Some("DaemonSet") && !self.is_done
    }
}

/// A budget, and how near it came to its limit.
#[derive(Clone, Debug)]
pub struct BudgetSeen {
    selector: BTreeMap<String, String>,
    pub expected: i32,
    pub desired: i32,
    /// The fewest `currentHealthy` that the disruption controller said.
    pub least_healthy: i32,
    /// How often it said that no disruption is allowed.
    pub closed: u32,
    /// The fewest ready pods that were not terminating, as they were counted here.
    pub least_counted: i32,
}

#[derive(Debug, Default)]
struct Seen {
    /// By UID.
    pods: BTreeMap<String, PodSeen>,
    /// By namespace and name.
    budgets: BTreeMap<(String, String), BudgetSeen>,
    lost: BTreeSet<String>,
    /// Before, the workloads are still growing.
    counts: bool,
}

/// It watches from its start to the end of the program.
#[derive(Clone, Debug, Default)]
pub struct Witness(Arc<Mutex<Seen>>);

impl Witness {
    pub fn start(client: &Client) -> Self {
        let witness = Self::default();
        let of_pods = witness.clone();
        let pods: Api<Pod> = Api::all(client.clone());
        tokio::spawn(follow(pods, move |change| of_pods.see_pods(change)));
        let of_budgets = witness.clone();
        let budgets: Api<PodDisruptionBudget> = Api::all(client.clone());
        tokio::spawn(follow(budgets, move |change| {
            of_budgets.see_budgets(change);
        }));
        witness
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node is gone: nothing there is ready, whatever the API server still says.
    pub fn lose(&self, node: &str) {
        let mut seen = self.seen();
        seen.lost.insert(node.to_owned());
        seen.take_count();
    }

    /// From now on the budgets count.
    pub fn count(&self) {
        let mut seen = self.seen();
        seen.counts = true;
        seen.take_count();
    }

    /// All pods that were ever seen, by UID.
    pub fn pods(&self) -> BTreeMap<String, PodSeen> {
        self.seen().pods.clone()
    }

    /// All budgets.
    pub fn budgets(&self) -> BTreeMap<(String, String), BudgetSeen> {
        self.seen().budgets.clone()
    }

    /// Whether every workload with a budget has all its pods, ready, or which one has not.
    pub fn full_strength(&self) -> Result<(), String> {
        let seen = self.seen();
        for ((namespace, name), budget) in &seen.budgets {
            let counted = seen.counted(namespace, budget);
            if counted < budget.expected || budget.expected == 0 {
                return Err(format!(
                    "{namespace}/{name}: {counted} of {}",
                    budget.expected
                ));
            }
        }
        Ok(())
    }

    /// Whether nothing is left on these nodes that an interruption has to move.
    pub fn are_empty(&self, nodes: &[String]) -> bool {
        let seen = self.seen();
        let mut pods = seen.pods.values();
        !pods.any(|pod| pod.gone.is_none() && pod.is_to_go() && nodes.contains(&pod.node))
    }

    fn see_pods(&self, change: Change<Pod>) {
        let mut seen = self.seen();
        match change {
            Change::All(pods) => {
                let there: Vec<_> = pods
                    .iter()
                    .filter_map(|pod| pod.metadata.uid.clone())
                    .collect();
                let gone = seen.pods.iter_mut().filter(|(uid, _)| !there.contains(uid));
                for (_, pod) in gone {
                    pod.gone.get_or_insert(Timestamp::now());
                }
                for pod in pods {
                    seen.see(pod);
                }
            }
            Change::Applied(pod) => seen.see(pod),
            Change::Deleted(pod) => {
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                seen.see(pod);
                if let Some(pod) = seen.pods.get_mut(&uid) {
                    pod.told.get_or_insert(Timestamp::now());
                    pod.gone.get_or_insert(Timestamp::now());
                }
            }
        }
        seen.take_count();
    }

    fn see_budgets(&self, change: Change<PodDisruptionBudget>) {
        let budgets = match change {
            Change::All(budgets) => budgets,
            Change::Applied(budget) | Change::Deleted(budget) => vec![budget],
        };
        let mut seen = self.seen();
        let counts = seen.counts;
        for budget in budgets {
            let key = (
                budget.metadata.namespace.unwrap_or_default(),
                budget.metadata.name.unwrap_or_default(),
            );
            let selector = budget.spec.and_then(|spec| spec.selector);
            let Some(status) = budget.status else {
                continue;
            };
            let known = seen.budgets.entry(key).or_insert(BudgetSeen {
                selector: selector
                    .and_then(|all| all.match_labels)
                    .unwrap_or_default(),
                expected: 0,
                desired: 0,
                least_healthy: i32::MAX,
                closed: 0,
                least_counted: i32::MAX,
            });
            known.expected = status.expected_pods;
            known.desired = status.desired_healthy;
            if counts {
                known.least_healthy = known.least_healthy.min(status.current_healthy);
                known.closed += u32::from(status.disruptions_allowed == 0);
            }
        }
    }
}

impl Seen {
    fn see(&mut self, pod: Pod) {
        let metadata = pod.metadata;
        let owners = metadata.owner_references.unwrap_or_default();
        let status = pod.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let known = self
            .pods
            .entry(metadata.uid.unwrap_or_default())
            .or_insert(PodSeen {
                namespace: metadata.namespace.unwrap_or_default(),
                name: metadata.name.unwrap_or_default(),
                node: String::new(),
                owner: owners.into_iter().next().map(|owner| owner.kind),
                labels: metadata.labels.unwrap_or_default(),
                is_ready: false,
                is_done: false,
                told: None,
                gone: None,
            });
        known.node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
        known.is_ready = conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        // A pod whose node is gone is said to have failed: it has not run to its end.
        known.is_done |= status.phase.as_deref() == Some("Succeeded");
        if metadata.deletion_timestamp.is_some() {
            known.told.get_or_insert(Timestamp::now());
        }
    }

    fn counted(&self, namespace: &str, budget: &BudgetSeen) -> i32 {
        let of_it = self.pods.values().filter(|pod| {
            let mut labels = budget.selector.iter();
            pod.namespace == namespace
                && pod.is_ready
                && pod.told.is_none()
                && pod.gone.is_none()
                && !self.lost.contains(&pod.node)
                && labels.all(|(key, value)| pod.labels.get(key) == Some(value))
        });
        i32::try_from(of_it.count()).expect("a few pods")
    }

    fn take_count(&mut self) {
        if !self.counts {
            return;
        }
        let mut budgets = std::mem::take(&mut self.budgets);
        for ((namespace, _), budget) in &mut budgets {
            budget.least_counted = budget.least_counted.min(self.counted(namespace, budget));
        }
        self.budgets = budgets;
    }
}
