//! The Node of the world, and the merge patches it takes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::plan::id::{BootId, InstanceId, NodeName};

/// A Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`.
    pub name: NodeName,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub version: u64,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// `spec.taints`: key, value, effect.
    pub taints: Vec<(String, String, String)>,
    /// The instance that `spec.providerID` names.
    pub instance: InstanceId,
    /// The zone in it.
    pub zone: String,
    /// `status.nodeInfo.bootID`.
    pub boot: BootId,
}

/// A merge patch (RFC 7386) of the fields that an agent has a reason to change. The world takes no other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodePatch {
    metadata: MetadataPatch,
    spec: SpecPatch,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct MetadataPatch {
    resource_version: Option<String>,
    labels: BTreeMap<String, Option<String>>,
    annotations: BTreeMap<String, Option<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SpecPatch {
    unschedulable: Change,
}

/// What a merge patch says about a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Change {
    /// Nothing: it is not in the patch.
    #[default]
    None,
    /// `null`: it is removed.
    Removed,
    /// Its new value.
    Set(bool),
}

impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::deserialize(deserializer)?;
        Ok(value.map_or(Self::Removed, Self::Set))
    }
}

impl NodePatch {
    /// A patch that cordons the node, on this version of it, with a label and an annotation.
    #[must_use]
    pub fn cordoning(
        version: Option<&str>,
        cordons: bool,
        label: Option<(&str, &str)>,
        annotation: Option<(&str, String)>,
    ) -> Self {
        let labels = label.map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
        let annotations = annotation.map(|(key, value)| (key.to_owned(), Some(value)));
        Self {
            metadata: MetadataPatch {
                resource_version: version.map(str::to_owned),
                labels: labels.into_iter().collect(),
                annotations: annotations.into_iter().collect(),
            },
            spec: SpecPatch {
                unschedulable: if cordons {
                    Change::Set(true)
                } else {
                    Change::None
                },
            },
        }
    }

    /// A patch that takes back what a cordoning one did, on this version of the node; a label without a value is removed.
    #[must_use]
    pub fn undoing(
        version: &str,
        uncordons: bool,
        label: Option<(&str, Option<&str>)>,
        annotation: &str,
    ) -> Self {
        let labels = label.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        Self {
            metadata: MetadataPatch {
                resource_version: Some(version.to_owned()),
                labels: labels.into_iter().collect(),
                annotations: BTreeMap::from([(annotation.to_owned(), None)]),
            },
            spec: SpecPatch {
                unschedulable: if uncordons {
                    Change::Set(false)
                } else {
                    Change::None
                },
            },
        }
    }

    /// A patch that makes the node schedulable, and removes this annotation.
    #[must_use]
    pub fn dropping(annotation: &str) -> Self {
        Self {
            metadata: MetadataPatch {
                annotations: BTreeMap::from([(annotation.to_owned(), None)]),
                ..MetadataPatch::default()
            },
            spec: SpecPatch {
                unschedulable: Change::Removed,
            },
        }
    }

    /// The version it insists on.
    #[must_use]
    pub fn expected_version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }
}

impl Node {
    /// Applies the patch; whether anything changed by it.
    pub fn apply(&mut self, patch: &NodePatch) -> bool {
        let before = self.clone();
        merge(&mut self.labels, &patch.metadata.labels);
        merge(&mut self.annotations, &patch.metadata.annotations);
        match patch.spec.unschedulable {
            Change::None => {}
            Change::Removed => self.unschedulable = false,
            Change::Set(unschedulable) => self.unschedulable = unschedulable,
        }
        *self != before
    }

    /// As the API server shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut spec = json!({
            "providerID": format!("aws:///{}/{}", self.zone, self.instance)
        });
        if self.unschedulable {
            spec["unschedulable"] = json!(true);
        }
        if !self.taints.is_empty() {
            spec["taints"] = self
                .taints
                .iter()
                .map(|(key, value, effect)| json!({"key": key, "value": value, "effect": effect}))
                .collect();
        }
        json!({
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {
                "name": self.name.as_str(),
                "uid": self.uid,
                "resourceVersion": self.version.to_string(),
                "labels": self.labels,
                "annotations": self.annotations,
            },
            "spec": spec,
            "status": { "nodeInfo": { "bootID": self.boot.as_str() } },
        })
    }
}

fn merge(fields: &mut BTreeMap<String, String>, changes: &BTreeMap<String, Option<String>>) {
    for (key, value) in changes {
        match value {
            Some(value) => fields.insert(key.clone(), value.clone()),
            None => fields.remove(key),
        };
    }
}
