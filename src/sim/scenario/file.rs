//! The form of a scenario file. Every mistake is told with its line.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use toml::Spanned;

use super::{PodOutcome, Scenario, ScenarioGroup, Verdict};
use crate::duration;
use crate::plan::id::{BootId, InstanceId, NodeName, PodUid, TargetGroupArn};
use crate::plan::notice::InterruptionAction;
use crate::sim::budget::{Budget, Observation, UnreadyPolicy};
use crate::sim::metadata::Instance;
use crate::sim::node::Node;
use crate::sim::pod::{Controller, MIRROR_ANNOTATION, Phase, Pod, Volume};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    description: String,
    #[serde(default)]
    node: NodeTable,
    #[serde(default)]
    notice: NoticeTable,
    expect: Expectation,
    #[serde(default, rename = "pod")]
    pods: Vec<PodTable>,
    #[serde(default, rename = "budget")]
    budgets: Vec<BudgetTable>,
    #[serde(default, rename = "target_group")]
    groups: Vec<GroupTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NodeTable {
    name: String,
    instance_id: String,
    instance_type: String,
    zone: String,
    account: String,
    address: String,
    labels: BTreeMap<String, String>,
    cordoned: bool,
}

impl Default for NodeTable {
    fn default() -> Self {
        Self {
            name: "ip-10-0-1-23.eu-west-1.compute.internal".to_owned(),
            instance_id: "i-0123456789abcdef0".to_owned(),
            instance_type: "m6i.large".to_owned(),
            zone: "eu-west-1a".to_owned(),
            account: "111122223333".to_owned(),
            address: "10.0.1.23".to_owned(),
            labels: BTreeMap::from([("lifecycle".to_owned(), "Ec2Spot".to_owned())]),
            cordoned: false,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NoticeTable {
    #[serde(deserialize_with = "duration")]
    after: Duration,
    #[serde(deserialize_with = "duration")]
    warning: Duration,
    #[serde(deserialize_with = "action")]
    action: InterruptionAction,
}

impl Default for NoticeTable {
    fn default() -> Self {
        Self {
            after: Duration::from_secs(2),
            warning: Duration::from_secs(120),
            action: InterruptionAction::Terminate,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    verdict: Verdict,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PodTable {
    name: Spanned<String>,
    #[serde(default = "default_namespace")]
    namespace: String,
    owner: Option<Owner>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    finalizers: BTreeSet<String>,
    #[serde(default = "default_grace", deserialize_with = "duration")]
    grace: Duration,
    #[serde(default = "default_stops_after", deserialize_with = "duration")]
    stops_after: Duration,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    claim: bool,
    #[serde(default)]
    mirror: bool,
    #[serde(default)]
    agent: bool,
    #[serde(default)]
    phase: PhaseName,
    expect: PodOutcome,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PhaseName {
    Pending,
    #[default]
    Ready,
    NotReady,
    Succeeded,
    Failed,
}

struct Owner(Controller);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetTable {
    name: Spanned<String>,
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(default)]
    select: BTreeMap<String, String>,
    allowed: i32,
    #[serde(default = "one")]
    healthy: u32,
    #[serde(default = "one")]
    desired: u32,
    #[serde(default)]
    unobserved: bool,
    #[serde(default)]
    always_allow_unready: bool,
    #[serde(default, deserialize_with = "maybe_duration")]
    recovers_after: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupTable {
    #[serde(deserialize_with = "arn")]
    arn: TargetGroupArn,
    ports: Vec<u16>,
    #[serde(default = "default_delay", deserialize_with = "duration")]
    deregistration_delay: Duration,
}

fn default_namespace() -> String {
    "default".to_owned()
}

const fn default_grace() -> Duration {
    Duration::from_secs(30)
}

const fn default_stops_after() -> Duration {
    Duration::from_secs(3)
}

/// What a target group has unless somebody changes it.
const fn default_delay() -> Duration {
    Duration::from_secs(300)
}

const fn one() -> u32 {
    1
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration::parse(&text).map_err(D::Error::custom)
}

fn maybe_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn action<'de, D: Deserializer<'de>>(deserializer: D) -> Result<InterruptionAction, D::Error> {
    let text = String::deserialize(deserializer)?;
    InterruptionAction::named(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "{text:?} is not an action: write terminate, stop or hibernate"
        ))
    })
}

fn arn<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TargetGroupArn, D::Error> {
    let text = String::deserialize(deserializer)?;
    TargetGroupArn::parse(&text).map_err(|error| D::Error::custom(format!("{text:?} is {error}")))
}

impl<'de> Deserialize<'de> for Owner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || {
            D::Error::custom(format!(
                "{text:?} is not an owner: write KIND/NAME or GROUP/VERSION/KIND/NAME"
            ))
        };
        let fields: Vec<&str> = text.split('/').collect();
        if fields.iter().any(|field| field.is_empty()) {
            return Err(wrong());
        }
        let (api_version, kind, name) = match fields[..] {
            [kind @ "Job", name] => ("batch/v1".to_owned(), kind, name),
            [kind @ ("Node" | "ReplicationController"), name] => ("v1".to_owned(), kind, name),
            [kind, name] => ("apps/v1".to_owned(), kind, name),
            [group, version, kind, name] => (format!("{group}/{version}"), kind, name),
            _ => return Err(wrong()),
        };
        Ok(Self(Controller {
            api_version,
            kind: kind.to_owned(),
            name: name.to_owned(),
        }))
    }
}

/// Reads a scenario; the error has line, column and what is wrong there.
pub(super) fn read(text: &str) -> Result<Scenario, String> {
    let file: File =
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    refuse_twins(text, &file)?;
    let name = NodeName::new(file.node.name.clone());
    let agents: Vec<&PodTable> = file.pods.iter().filter(|pod| pod.agent).collect();
    if let [_, second, ..] = agents[..] {
        return Err(at(text, &second.name, "a second pod is the agent"));
    }
    let agent = agents.first().map(|pod| uid(pod));
    Ok(Scenario {
        description: file.description,
        notice_after: file.notice.after,
        warning: file.notice.warning,
        action: file.notice.action,
        pods: file
            .pods
            .into_iter()
            .map(|table| (table.expect, table.into_pod(&name)))
            .map(|(expect, pod)| (pod, expect))
            .collect(),
        budgets: file
            .budgets
            .into_iter()
            .map(BudgetTable::into_budget)
            .collect(),
        groups: file
            .groups
            .into_iter()
            .map(|table| ScenarioGroup {
                arn: table.arn,
                ports: table.ports,
                deregistration_delay: table.deregistration_delay,
            })
            .collect(),
        agent,
        verdict: file.expect.verdict,
        instance: file.node.instance(),
        node: file.node.into_node(name),
    })
}

fn refuse_twins(text: &str, file: &File) -> Result<(), String> {
    let mut pods = BTreeSet::new();
    for pod in &file.pods {
        if !pods.insert((&pod.namespace, pod.name.get_ref())) {
            return Err(at(
                text,
                &pod.name,
                "a second pod of this name and namespace",
            ));
        }
    }
    let mut budgets = BTreeSet::new();
    for budget in &file.budgets {
        if !budgets.insert((&budget.namespace, budget.name.get_ref())) {
            return Err(at(
                text,
                &budget.name,
                "a second budget of this name and namespace",
            ));
        }
    }
    Ok(())
}

/// A mistake that only the whole file shows, told like those of a single field.
fn at(text: &str, place: &Spanned<String>, mistake: &str) -> String {
    let line = 1 + text[..place.span().start].matches('\n').count();
    format!("line {line}, name = {:?}: {mistake}", place.get_ref())
}

/// The same at every reading, so that two runs of a scenario can be compared.
fn uid(pod: &PodTable) -> PodUid {
    PodUid::new(format!("{}.{}", pod.namespace, pod.name.get_ref()))
}

impl NodeTable {
    fn instance(&self) -> Instance {
        Instance {
            id: InstanceId::new(self.instance_id.clone()),
            kind: self.instance_type.clone(),
            zone: self.zone.clone(),
            account: self.account.clone(),
            address: self.address.clone(),
        }
    }

    fn into_node(self, name: NodeName) -> Node {
        Node {
            uid: format!("node.{name}"),
            name,
            version: 0,
            labels: self.labels,
            annotations: BTreeMap::new(),
            unschedulable: self.cordoned,
            taints: Vec::new(),
            instance: InstanceId::new(self.instance_id),
            zone: self.zone,
            boot: BootId::new("b0070000-0000-4000-8000-000000000000"),
        }
    }
}

impl PodTable {
    fn into_pod(self, node: &NodeName) -> Pod {
        let uid = uid(&self);
        let name = self.name.into_inner();
        let mut pod = Pod::new(&self.namespace, &name, uid, node.clone());
        pod.owner = self.owner.map(|Owner(controller)| controller);
        pod.labels = self.labels;
        pod.annotations = self.annotations;
        if self.mirror {
            // The kubelet's mark on the mirror of a static pod: the hash of its manifest.
            let key = MIRROR_ANNOTATION.to_owned();
            pod.annotations.insert(key, "4ad1c3a5".to_owned());
        }
        pod.finalizers = self.finalizers;
        pod.grace = self.grace.as_secs().try_into().unwrap_or(u32::MAX);
        pod.stops_after = self.stops_after;
        pod.priority = self.priority;
        pod.volume = if self.claim {
            Volume::Claim
        } else {
            Volume::None
        };
        pod.phase = match self.phase {
            PhaseName::Pending => Phase::Pending,
            PhaseName::Ready => Phase::Ready,
            PhaseName::NotReady => Phase::NotReady,
            PhaseName::Succeeded => Phase::Succeeded,
            PhaseName::Failed => Phase::Failed,
        };
        pod
    }
}

impl BudgetTable {
    fn into_budget(self) -> Budget {
        let mut budget = Budget::allowing(&self.namespace, self.name.get_ref(), self.allowed);
        budget.selector = self.select;
        budget.healthy = self.healthy;
        budget.desired = self.desired;
        budget.recovers_after = self.recovers_after;
        if self.unobserved {
            budget.observation = Observation::Lagging;
        }
        if self.always_allow_unready {
            budget.unready = UnreadyPolicy::AlwaysAllow;
        }
        budget
    }
}
