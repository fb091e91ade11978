//! The Node: whose instance it is, what confines the agent to it, and who else looks after it.

use super::finding::Section;
use super::{Check, instance_of};
use crate::cluster::ExaminedNode;
use crate::imds;
use crate::plan::Mode;
use crate::plan::action::{FailureKind, MachineIdentity};
use crate::plan::node::{Annotation, Scheduling};

/// Taints that say that another tool is at work on the node right now.
const TAINTS_OF_DRAINERS: [&str; 3] = [
    "karpenter.sh/disrupted",
    "ToBeDeletedByClusterAutoscaler",
    "aws-node-termination-handler/spot-itn",
];

/// Labels of nodes that something else drains too when a notice comes, and what that is.
const LABELS_OF_DRAINERS: [(&str, &str); 2] = [
    (
        "karpenter.sh/nodepool",
        "Karpenter drains it too where it has an interruption queue",
    ),
    (
        "eks.amazonaws.com/nodegroup",
        "its managed node group drains it too where it is of capacity type SPOT",
    ),
];

impl Check<'_> {
    /// The Node, if it can be read.
    pub(super) async fn node(
        &mut self,
        identity: Option<&MachineIdentity>,
    ) -> Option<ExaminedNode> {
        let ports = self.ports;
        let node = match self.within(ports.cluster.examine_node()).await {
            Ok(node) => node,
            Err(failure) => {
                let name = &self.subject.node;
                let text = format!("node {name} cannot be read: {failure}");
                self.fail(Section::Node, text);
                return None;
            }
        };
        self.compare_instances(&node, identity);
        self.compare_clocks(
            "the API server",
            node.date.as_deref().and_then(imds::read_date),
        );
        if node.view.scheduling == Scheduling::Cordoned {
            self.note(Section::Node, "it is cordoned");
        }
        if let Annotation::Unknown(_) = node.view.annotation {
            let text = "it carries an annotation of another version, which would be left alone";
            self.warn(Section::Node, text);
        }
        self.other_drainers(&node);
        self.admission_policy().await;
        Some(node)
    }

    fn compare_instances(&mut self, node: &ExaminedNode, identity: Option<&MachineIdentity>) {
        match (instance_of(node), identity) {
            (Some(found), Some(identity)) if found == identity.instance_id.as_str() => {
                self.ok(Section::Node, format!("it is the instance {found}"));
            }
            (Some(found), Some(identity)) => {
                let text = format!(
                    "it is the instance {found}, and this machine is {}",
                    identity.instance_id
                );
                self.fail(Section::Node, text);
            }
            (None, _) => self.note(Section::Node, "its provider id names no instance"),
            (Some(found), None) => {
                let text =
                    format!("it is the instance {found}; which one this machine is, is not known");
                self.note(Section::Node, text);
            }
        }
    }

    fn other_drainers(&mut self, node: &ExaminedNode) {
        for taint in &node.view.taints {
            if TAINTS_OF_DRAINERS.contains(&taint.as_str()) {
                let text = format!("something else drains it now: taint {taint}");
                self.warn(Section::Node, text);
            }
        }
        if self.subject.policy.mode != Mode::Full {
            return;
        }
        for (label, what) in LABELS_OF_DRAINERS {
            if node.view.labels.contains_key(label) {
                let text =
                    format!("label {label}: {what}; then --mode deregister-only fits beside it");
                self.note(Section::Node, text);
            }
        }
    }

    async fn admission_policy(&mut self) {
        let ports = self.ports;
        match self.within(ports.cluster.has_admission_policy()).await {
            Ok(true) => self.ok(
                Section::Node,
                "an admission policy confines the agent's writes to its own node",
            ),
            Ok(false) => self.warn(
                Section::Node,
                "no admission policy confines the agent's writes to its own node",
            ),
            Err(failure) if failure.kind == FailureKind::Forbidden => self.note(
                Section::Node,
                "whether the admission policy is there, this account may not read",
            ),
            Err(failure) => {
                let text = format!("whether the admission policy is there, nobody says: {failure}");
                self.note(Section::Node, text);
            }
        }
    }
}
