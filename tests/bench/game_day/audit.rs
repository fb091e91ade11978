//! What the API server's own log says of the agents: which calls, and whether any went beyond their node.

use std::collections::BTreeMap;

use crate::control_plane::{AGENT, AuditEvent};
use crate::witness::PodSeen;

/// The agents' calls.
#[derive(Debug, Default)]
pub struct Account {
    pub calls: usize,
    pub evictions: usize,
    /// Evictions that a budget refused.
    pub refused_by_budgets: usize,
    /// By the UID of the pod: how many evictions were accepted.
    pub accepted: BTreeMap<String, usize>,
    /// What should not have been: a refusal, or a write beyond the own node.
    pub strange: Vec<String>,
}

impl Account {
    pub fn of(events: &[AuditEvent], pods: &BTreeMap<String, PodSeen>, untouchable: &str) -> Self {
        let mut account = Self::default();
        for event in events
            .iter()
            .filter(|event| event.user.ends_with(&format!(":{AGENT}")))
        {
            account.take(event, pods, untouchable);
        }
        account
    }

    fn take(&mut self, event: &AuditEvent, pods: &BTreeMap<String, PodSeen>, untouchable: &str) {
        self.calls += 1;
        let own = event.token_node.as_deref().unwrap_or_default();
        let is_eviction = event.subresource == "eviction";
        let uid = event.request.as_ref().map(|request| {
            let field = [
                "/deleteOptions/preconditions/uid",
                "/preconditions/uid",
                "/metadata/uid",
            ];
            let mut uids = field
                .iter()
                .filter_map(|path| request.pointer(path)?.as_str());
            uids.next().unwrap_or_default().to_owned()
        });
        let uid = uid.unwrap_or_default();
        let is_usual = match (event.resource.as_str(), event.code) {
            // The bindings' API is not installed here; a pod was gone, or another of its name was there.
            (_, 200..300) | ("targetgroupbindings", 404) | ("pods", 404 | 409) => true,
            // A call about a pod that went meanwhile is given up, and the server writes down that it was not done in time.
            ("pods", 429 | 504) => is_eviction,
            _ => false,
        };
        let is_write = !["get", "list", "watch"].contains(&event.verb.as_str());
        let is_own = match event.resource.as_str() {
            "nodes" => event.name == own,
            "pods" => pods.get(&uid).is_some_and(|pod| pod.node == own),
            _ => true,
        };
        if !is_usual || (is_write && !is_own) || event.namespace == untouchable {
            self.strange.push(format!(
                "{} of {own}: {} {}/{} {}/{}: {}",
                event.user,
                event.verb,
                event.resource,
                event.subresource,
                event.namespace,
                event.name,
                event.code
            ));
        }
        if is_eviction {
            self.evictions += 1;
            self.refused_by_budgets += usize::from(event.code == 429);
            if (200..300).contains(&event.code) {
                *self.accepted.entry(uid).or_default() += 1;
            }
        }
    }
}
