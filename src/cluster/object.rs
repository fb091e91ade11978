//! What is read of a Pod and of a Node: what is acted upon, and nothing else.
//!
//! A pod is some kilobytes of JSON, most of it about things that a drain has no business with. What is not named here is
//! passed over, takes no memory, and cannot keep a list from being read, whatever a later API puts there.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// `metadata` of either.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
    pub(super) owner_references: Option<Vec<OwnerReference>>,
    pub(super) creation_timestamp: Option<Time>,
    pub(super) deletion_timestamp: Option<Time>,
    pub(super) deletion_grace_period_seconds: Option<i64>,
}

/// The items of a list are without it.
#[derive(Debug, Deserialize)]
enum PodKind {
    Pod,
}

#[derive(Debug, Deserialize)]
enum NodeKind {
    Node,
}

#[derive(Debug, Deserialize)]
pub(super) struct Pod {
    #[serde(rename = "kind")]
    _kind: Option<PodKind>,
    pub(super) metadata: Option<Metadata>,
    pub(super) spec: Option<PodSpec>,
    pub(super) status: Option<PodStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSpec {
    pub(super) termination_grace_period_seconds: Option<i64>,
    pub(super) priority: Option<i32>,
    pub(super) host_network: Option<bool>,
    pub(super) volumes: Option<Vec<Volume>>,
    pub(super) containers: Option<Vec<Container>>,
    pub(super) init_containers: Option<Vec<Container>>,
    pub(super) readiness_gates: Option<Vec<ReadinessGate>>,
}

/// Only what a claim stands behind is told from the rest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Volume {
    pub(super) persistent_volume_claim: Option<IgnoredAny>,
    pub(super) ephemeral: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Container {
    pub(super) ports: Option<Vec<ContainerPort>>,
    pub(super) lifecycle: Option<Lifecycle>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerPort {
    pub(super) name: Option<String>,
    #[serde(rename = "containerPort")]
    pub(super) number: Option<i32>,
    pub(super) host_port: Option<i32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Lifecycle {
    pub(super) pre_stop: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReadinessGate {
    pub(super) condition_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodStatus {
    pub(super) phase: Option<String>,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Option<String>,
    pub(super) conditions: Option<Vec<Condition>>,
    pub(super) container_statuses: Option<Vec<ContainerStatus>>,
    pub(super) init_container_statuses: Option<Vec<ContainerStatus>>,
    pub(super) ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) status: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ContainerStatus {
    pub(super) state: Option<ContainerState>,
}

/// At most one of them is there.
#[derive(Debug, Deserialize)]
pub(super) struct ContainerState {
    pub(super) running: Option<IgnoredAny>,
    pub(super) terminated: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Node {
    #[serde(rename = "kind")]
    _kind: Option<NodeKind>,
    pub(super) metadata: Option<Metadata>,
    pub(super) spec: Option<NodeSpec>,
    pub(super) status: Option<NodeStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeSpec {
    pub(super) unschedulable: Option<bool>,
    #[serde(rename = "providerID")]
    pub(super) provider_id: Option<String>,
    pub(super) taints: Option<Vec<Taint>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Taint {
    pub(super) key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeStatus {
    pub(super) node_info: Option<NodeInfo>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NodeInfo {
    #[serde(rename = "bootID")]
    pub(super) boot_id: Option<String>,
}
