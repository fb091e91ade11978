//! What only `check` reads: more of the Node and its pods than a drain needs, budgets, and whether the admission policy is there.

use std::collections::BTreeMap;

use http::header::DATE;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource as _;
use kube::api::{GetParams, ListParams};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::object::{Node, Pod, PodSpec};
use super::{KubeCluster, LIST_LIMIT, OBJECT_LIMIT, all_pods, answer, node, nodes, pod};
use crate::plan::node::NodeView;
use crate::plan::pod::{PodProgress, PodView};
use crate::ports::{ClusterError, Refusal};

/// The policy that confines the agent's writes to its own node, as the manifests name it.
const POLICY: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/spot-interrupt-handler-nodes";

/// The readiness gates of the AWS Load Balancer Controller: who has one is an ip target.
const TARGET_HEALTH_GATE: &str = "target-health.";

/// The Node, and what else it says.
#[derive(Clone, Debug)]
pub struct ExaminedNode {
    /// As the drain sees it.
    pub view: NodeView,
    /// `spec.providerID`.
    pub provider_id: Option<String>,
    /// The `Date` header of the answer.
    pub date: Option<String>,
}

/// A pod, and what else it says.
#[derive(Clone, Debug)]
pub struct ExaminedPod {
    /// As the drain sees it.
    pub view: PodView,
    /// Whether a target group holds its own address.
    pub is_ip_target: bool,
    /// Whether a container of it has a preStop hook.
    pub has_pre_stop: bool,
}

/// A disruption budget.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// So many evictions it allows now.
    pub allowed: u32,
    /// Whether it never allows one, however healthy its pods are.
    pub never_allows: bool,
    /// Whether pods that are not ready may go whatever it allows.
    pub spares_unready: bool,
    selector: Option<LabelSelector>,
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

impl KubeCluster {
    /// GETs our Node.
    ///
    /// # Errors
    /// As every call's.
    pub async fn examine_node(&self) -> Result<ExaminedNode, ClusterError> {
        let request = nodes().get(self.node.as_str(), &GetParams::default());
        let response = self.send(request).await?;
        let date = response
            .headers()
            .get(DATE)
            .and_then(|date| date.to_str().ok())
            .map(str::to_owned);
        let body = answer::whole_body(response.into_body(), OBJECT_LIMIT).await?;
        let node: Node = answer::decode(&body)?;
        let provider_id = node.spec.as_ref().and_then(|spec| spec.provider_id.clone());
        let view = node::view(node)?;
        Ok(ExaminedNode {
            view,
            provider_id,
            date,
        })
    }

    /// LISTs the pods of our node.
    ///
    /// # Errors
    /// As every call's.
    pub async fn examine_pods(&self) -> Result<Vec<ExaminedPod>, ClusterError> {
        let params = ListParams::default().fields(&self.selector());
        let pods: Vec<Pod> = self.list(all_pods().list(&params)).await?;
        Ok(pods.into_iter().filter_map(examined).collect())
    }

    /// LISTs the disruption budgets of the cluster.
    ///
    /// # Errors
    /// As every call's; the shipped permissions do not allow this one.
    pub async fn budgets(&self) -> Result<Vec<Budget>, ClusterError> {
        let all = kube::core::Request::new(PodDisruptionBudget::url_path(&(), None));
        let budgets: Vec<PodDisruptionBudget> = self.list(all.list(&ListParams::default())).await?;
        Ok(budgets.into_iter().map(budget).collect())
    }

    /// Whether the admission policy is there that confines us to our node.
    ///
    /// # Errors
    /// As every call's; the shipped permissions do not allow this one.
    pub async fn has_admission_policy(&self) -> Result<bool, ClusterError> {
        let request = http::Request::get(POLICY)
            .body(Vec::new())
            .map_err(kube::core::request::Error::BuildRequest);
        match self.write(request).await {
            Ok(()) => Ok(true),
            Err(ClusterError::Refused {
                refusal: Refusal::NotFound,
                ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn list<T: DeserializeOwned>(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Vec<T>, ClusterError> {
        let list: List<T> = self.read(request, LIST_LIMIT).await?;
        Ok(list.items)
    }
}

fn examined(pod: Pod) -> Option<ExaminedPod> {
    let spec = pod.spec.as_ref();
    let is_ip_target = spec.is_some_and(is_ip_target);
    let has_pre_stop = spec.is_some_and(has_pre_stop);
    let view = pod::view(pod)?;
    Some(ExaminedPod {
        view,
        is_ip_target,
        has_pre_stop,
    })
}

fn is_ip_target(spec: &PodSpec) -> bool {
    let mut gates = spec.readiness_gates.iter().flatten();
    gates.any(|gate| {
        let kind = gate.condition_type.as_deref();
        kind.is_some_and(|kind| kind.starts_with(TARGET_HEALTH_GATE))
    })
}

fn has_pre_stop(spec: &PodSpec) -> bool {
    spec.containers.iter().flatten().any(|container| {
        container
            .lifecycle
            .as_ref()
            .is_some_and(|lifecycle| lifecycle.pre_stop.is_some())
    })
}

fn budget(budget: PodDisruptionBudget) -> Budget {
    let spec = budget.spec.unwrap_or_default();
    let status = budget.status.unwrap_or_default();
    let is_nought = match &spec.max_unavailable {
        Some(IntOrString::Int(number)) => *number == 0,
        Some(IntOrString::String(text)) => text == "0%" || text == "0",
        None => false,
    };
    let wants_all = status.expected_pods > 0 && status.desired_healthy >= status.expected_pods;
    Budget {
        namespace: budget.metadata.namespace.unwrap_or_default(),
        name: budget.metadata.name.unwrap_or_default(),
        allowed: status.disruptions_allowed.try_into().unwrap_or(0),
        never_allows: is_nought || wants_all,
        spares_unready: spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow")
            || status.desired_healthy > 0 && status.current_healthy >= status.desired_healthy,
        selector: spec.selector,
    }
}

impl Budget {
    /// Whether the eviction of this pod takes one of those it allows: a pod that has not begun to run, or that is not ready
    /// and not needed, goes unasked
    /// (<https://kubernetes.io/docs/tasks/run-application/configure-pdb/#unhealthy-pod-eviction-policy>).
    #[must_use]
    pub fn is_charged_for(&self, pod: &ExaminedPod) -> bool {
        let goes_unasked = match pod.view.progress {
            PodProgress::Pending | PodProgress::Finished => true,
            PodProgress::NotReady => self.spares_unready,
            PodProgress::Ready => false,
        };
        self.covers(pod) && !goes_unasked
    }

    /// Whether it covers this pod. An empty selector picks every pod of the namespace, none picks no pod.
    #[must_use]
    pub fn covers(&self, pod: &ExaminedPod) -> bool {
        self.namespace == pod.view.pod.namespace
            && self
                .selector
                .as_ref()
                .is_some_and(|selector| selects(selector, &pod.view.labels))
    }
}

fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let wanted = selector.match_labels.iter().flatten();
    let mut requirements = selector.match_expressions.iter().flatten();
    wanted
        .into_iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && requirements.all(|requirement| meets(requirement, labels))
}

fn meets(requirement: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let is_listed =
        value.is_some_and(|value| requirement.values.iter().flatten().any(|one| one == value));
    match requirement.operator.as_str() {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn budget_of(selector: &Value, status: &Value) -> Budget {
        let object = json!({"metadata": {"namespace": "shop", "name": "web"},
            "spec": {"selector": selector, "minAvailable": 2}, "status": status});
        budget(serde_json::from_value(object).expect("a budget"))
    }

    fn pod_labelled(namespace: &str, labels: &Value) -> ExaminedPod {
        let object = json!({"metadata": {"namespace": namespace, "name": "web-1", "uid": "1", "labels": labels},
            "spec": {"containers": []}});
        examined(serde_json::from_value(object).expect("a pod")).expect("a whole one")
    }

    fn status(allowed: i32, desired: i32, expected: i32) -> Value {
        json!({"disruptionsAllowed": allowed, "desiredHealthy": desired, "expectedPods": expected, "currentHealthy": expected})
    }

    #[test]
    fn a_budget_covers_what_its_selector_picks_in_its_namespace() {
        let web = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "tier", "operator": "NotIn", "values": ["back"]},
            {"key": "canary", "operator": "DoesNotExist"}]});
        let covers = |namespace, labels| {
            budget_of(&web, &status(1, 1, 2)).covers(&pod_labelled(namespace, &labels))
        };
        assert!(covers("shop", json!({"app": "web"})));
        assert!(covers("shop", json!({"app": "web", "tier": "front"})));
        assert!(!covers("other", json!({"app": "web"})));
        assert!(!covers("shop", json!({"app": "db"})));
        assert!(!covers("shop", json!({"app": "web", "tier": "back"})));
        assert!(!covers("shop", json!({"app": "web", "canary": "yes"})));
        let pod = pod_labelled("shop", &json!({}));
        assert!(budget_of(&json!({}), &status(1, 1, 2)).covers(&pod));
        assert!(!budget_of(&Value::Null, &status(1, 1, 2)).covers(&pod));
    }

    #[test]
    fn a_budget_that_wants_every_pod_never_allows_an_eviction() {
        let selector = json!({});
        assert!(budget_of(&selector, &status(0, 2, 2)).never_allows);
        assert!(!budget_of(&selector, &status(0, 2, 3)).never_allows);
        assert!(!budget_of(&selector, &status(0, 0, 0)).never_allows);
    }
}
