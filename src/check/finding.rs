//! What a check found: the one thing that its text and its JSON are made of.

use std::time::Duration;

use serde::Serialize;

use super::forecast::{Fate, PodForecast, Start};
use crate::plan::budget::Grace;
use crate::plan::fact::{BlockReason, LeftReason};
use crate::plan::pod::Exemption;

/// Everything a check found out.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// The version of this form.
    pub v: u32,
    /// The program's version.
    pub version: &'static str,
    /// The node.
    pub node: String,
    /// The worst of the findings.
    pub outcome: Level,
    /// Whether the API server was asked about each eviction.
    pub rehearsed: bool,
    /// One by one, in the order in which they are read best.
    pub findings: Vec<Finding>,
    /// The plan, if this node were interrupted now. Absent when the pods could not be listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<Vec<PodRow>>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Good to know.
    Note,
    /// An interruption would go less well than it could.
    Warning,
    /// An interruption would go wrong.
    Error,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// What the API server allows.
    Permissions,
    /// The metadata service and the instance.
    Instance,
    /// The clocks.
    Clocks,
    /// The Node and who else looks after it.
    Node,
    /// The target groups.
    Targets,
    /// The pods.
    Pods,
}

impl Section {
    /// As a heading.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Permissions => "permissions",
            Self::Instance => "instance",
            Self::Clocks => "clocks",
            Self::Node => "node",
            Self::Targets => "targets",
            Self::Pods => "pods",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub section: Section,
    /// How bad it is.
    pub level: Level,
    /// A sentence.
    pub text: String,
}

/// A pod of the plan. Seconds are after the notice.
#[derive(Clone, Debug, Serialize)]
pub struct PodRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its UID.
    pub uid: String,
    /// Its controller's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_kind: Option<String>,
    /// Its controller's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its own grace period.
    pub grace_seconds: u32,
    /// When it begins to be moved.
    pub start: &'static str,
    /// L.
    pub last_start_seconds: f64,
    /// S.
    pub stop_by_seconds: f64,
    /// What would become of it.
    pub fate: &'static str,
    /// When it would be told to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told_after_seconds: Option<f64>,
    /// The grace it would be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_given_seconds: Option<u32>,
    /// Whether that is less than its own.
    pub is_cut: bool,
    /// Why.
    pub why: String,
    /// What the API server answered when it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<Rehearsal>,
}

/// What the API server answered to an eviction that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Rehearsal {
    /// It would evict the pod.
    Accepted,
    /// It would refuse.
    Refused {
        /// In its own words.
        message: String,
    },
    /// The pod is not there any more.
    Gone,
    /// It did not say.
    Unanswered {
        /// What happened instead.
        message: String,
    },
}

impl PodRow {
    /// A row of the table.
    #[must_use]
    pub fn of(forecast: &PodForecast, rehearsal: Option<Rehearsal>) -> Self {
        let view = &forecast.view;
        let given = forecast.fate.given();
        Self {
            namespace: view.pod.namespace.clone(),
            pod: view.pod.name.clone(),
            uid: view.pod.uid.to_string(),
            owner_kind: view.owner.as_ref().map(|owner| owner.kind.clone()),
            owner: view.owner.as_ref().map(|owner| owner.name.clone()),
            grace_seconds: view.grace.as_secs(),
            start: start_name(forecast.start),
            last_start_seconds: seconds(forecast.last_start),
            stop_by_seconds: seconds(forecast.stop_by),
            fate: fate_name(forecast.fate),
            told_after_seconds: told_after(forecast.fate).map(seconds),
            grace_given_seconds: given.map(Grace::as_secs),
            is_cut: given.is_some_and(|given| given < view.grace),
            why: why(forecast, rehearsal.as_ref()),
            rehearsal,
        }
    }
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

const fn start_name(start: Start) -> &'static str {
    match start {
        Start::AtOnce => "at_once",
        Start::Late => "late",
        Start::SecondWave => "second_wave",
    }
}

/// As the JSON has it.
const fn fate_name(fate: Fate) -> &'static str {
    match fate {
        Fate::Exempt(_) | Fate::NotOurs => "left_alone",
        Fate::Finished => "finished",
        Fate::Stopping => "stopping",
        Fate::Evicted { .. } => "evicted",
        Fate::Deleted { .. } => "deleted",
        Fate::Left(_) => "left",
    }
}

const fn told_after(fate: Fate) -> Option<Duration> {
    match fate {
        Fate::Evicted { after, .. } | Fate::Deleted { after, .. } => Some(after),
        Fate::Exempt(_) | Fate::NotOurs | Fate::Finished | Fate::Stopping | Fate::Left(_) => None,
    }
}

fn why(forecast: &PodForecast, rehearsal: Option<&Rehearsal>) -> String {
    let mut reasons = Vec::new();
    match forecast.fate {
        Fate::Exempt(exemption) => reasons.push(exemption_text(exemption).to_owned()),
        Fate::Finished => reasons.push("it has finished".to_owned()),
        Fate::NotOurs => reasons.push("pods are another's business in this mode".to_owned()),
        Fate::Stopping => reasons.push("it is stopping already".to_owned()),
        Fate::Left(LeftReason::Wait) => {
            reasons.push("its eviction is refused, and it is not to be deleted".to_owned());
        }
        Fate::Left(LeftReason::Forbidden) => reasons.push("it is not allowed".to_owned()),
        Fate::Left(LeftReason::Unreachable) => reasons.push("nobody answers for it".to_owned()),
        Fate::Evicted { .. } | Fate::Deleted { .. } => match forecast.start {
            Start::AtOnce => {}
            Start::Late => reasons.push("it begins as late as it can".to_owned()),
            Start::SecondWave => reasons.push("critical: after the others".to_owned()),
        },
    }
    match rehearsal {
        Some(Rehearsal::Refused { message } | Rehearsal::Unanswered { message }) => {
            reasons.push(briefly(message).to_owned());
        }
        Some(Rehearsal::Accepted | Rehearsal::Gone) | None => {
            reasons.extend(forecast.blocked.map(|reason| block_text(reason).to_owned()));
        }
    }
    if let Some(given) = forecast.fate.given()
        && given < forecast.view.grace
    {
        let own = forecast.view.grace.as_secs();
        reasons.push(format!("has {} of its {own} s", given.as_secs()));
    }
    reasons.join("; ")
}

/// The part of a refusal that says which budget it was, where it says so; the rest is always the same.
fn briefly(message: &str) -> &str {
    message
        .find("The disruption budget")
        .map_or(message, |begin| &message[begin..])
}

const fn exemption_text(exemption: Exemption) -> &'static str {
    match exemption {
        Exemption::DaemonSet => "of a DaemonSet",
        Exemption::Mirror => "static: only the kubelet can stop it",
        Exemption::Agent => "the agent itself",
        Exemption::Recreated => "put back again and again",
    }
}

const fn block_text(reason: BlockReason) -> &'static str {
    match reason {
        BlockReason::Budget => "a disruption budget refuses",
        BlockReason::TwoBudgets => {
            "two disruption budgets cover it: the API server evicts no such pod"
        }
        BlockReason::Unacknowledged => "accepted, and nothing happened",
        BlockReason::Forbidden => "evicting it is not allowed",
    }
}
