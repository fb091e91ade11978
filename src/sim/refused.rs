//! How the API server of the world says no, in the words of the real one.

use serde_json::{Value, json};

use crate::plan::id::PodUid;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// 404: no such pod.
    NoPod(String),
    /// 404: no such node.
    NoNode(String),
    /// 404: the server does not serve this path.
    NoResource,
    /// 405: it serves the path, but not this method on it.
    NoMethod,
    /// 409: the pod of that name has another UID.
    WrongUid {
        /// The pod's name.
        name: String,
        /// The UID that was meant.
        expected: PodUid,
        /// The UID that was found.
        found: PodUid,
    },
    /// 422: a patch may not change a pod's UID.
    ImmutableUid {
        /// The pod's name.
        name: String,
        /// The UID in the patch.
        patched: PodUid,
    },
    /// 409: the node has changed since it was read.
    StaleNode(String),
    /// 409: an event of that name is there.
    EventExists(String),
    /// 429: the budget allows no disruption now.
    Budget {
        /// Its name.
        budget: String,
        /// The healthy pods it needs.
        needs: u32,
        /// The healthy pods there are.
        has: u32,
    },
    /// 429, to be repeated after 10 s: nobody has worked the budget's newest version out yet.
    BudgetUnobserved(String),
    /// 403: the budget's status allows a negative number.
    BudgetNegative {
        /// Its name.
        budget: String,
        /// The pod's name.
        pod: String,
    },
    /// 500: more than one budget covers the pod.
    TwoBudgets,
    /// 403: nothing may be created in a namespace that is being deleted.
    NamespaceTerminating {
        /// The namespace.
        namespace: String,
        /// The pod's name.
        pod: String,
    },
    /// 410: the version to watch from is not kept any more.
    Expired {
        /// The version that was asked for.
        asked: u64,
        /// The oldest that is kept.
        oldest: u64,
    },
    /// 504: the cache has not come as far as the version that was asked for.
    VersionTooLarge {
        /// The version that was asked for.
        asked: u64,
        /// The one it has come to.
        current: u64,
    },
    /// 400: the request cannot be understood.
    Malformed(String),
}

impl Refused {
    /// The HTTP status.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::NamespaceTerminating { .. } | Self::BudgetNegative { .. } => 403,
            Self::NoPod(_) | Self::NoNode(_) | Self::NoResource => 404,
            Self::NoMethod => 405,
            Self::WrongUid { .. } | Self::StaleNode(_) | Self::EventExists(_) => 409,
            Self::Expired { .. } => 410,
            Self::ImmutableUid { .. } => 422,
            Self::Budget { .. } | Self::BudgetUnobserved(_) => 429,
            Self::TwoBudgets => 500,
            Self::VersionTooLarge { .. } => 504,
        }
    }

    /// The seconds of the answer's `Retry-After`.
    #[must_use]
    pub const fn retry_after(&self) -> Option<u32> {
        match self {
            Self::BudgetUnobserved(_) => Some(10),
            Self::VersionTooLarge { .. } => Some(1),
            Self::NoPod(_)
            | Self::NoNode(_)
            | Self::NoResource
            | Self::NoMethod
            | Self::WrongUid { .. }
            | Self::ImmutableUid { .. }
            | Self::StaleNode(_)
            | Self::EventExists(_)
            | Self::Budget { .. }
            | Self::BudgetNegative { .. }
            | Self::TwoBudgets
            | Self::NamespaceTerminating { .. }
            | Self::Expired { .. }
            | Self::Malformed(_) => None,
        }
    }

    /// The body: a `Status`.
    #[must_use]
    pub fn status(&self) -> Value {
        let (reason, message, details) = self.wording();
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
        });
        if let Some(reason) = reason {
            status["reason"] = json!(reason);
        }
        if let Some(details) = details {
            status["details"] = details;
        }
        status["code"] = json!(self.code());
        status
    }

    #[allow(clippy::too_many_lines)] // one arm per refusal of a closed list
    fn wording(&self) -> (Option<&'static str>, String, Option<Value>) {
        match self {
            Self::NoPod(name) => not_found("pods", name),
            Self::NoNode(name) => not_found("nodes", name),
            Self::NoResource => (
                Some("NotFound"),
                "the server could not find the requested resource".to_owned(),
                Some(json!({})),
            ),
            Self::NoMethod => (
                Some("MethodNotAllowed"),
                "the server does not allow this method on the requested resource".to_owned(),
                Some(json!({})),
            ),
            Self::WrongUid {
                name,
                expected,
                found,
            } => (
                Some("Conflict"),
                format!(
                    "Operation cannot be fulfilled on Pod \"{name}\": the UID in the precondition ({expected}) does not match \
                     the UID in record ({found}). The object might have been deleted and then recreated"
                ),
                Some(json!({"name": name, "kind": "Pod"})),
            ),
            Self::ImmutableUid { name, patched } => {
                let cause = format!("Invalid value: \"{patched}\": field is immutable");
                let invalid = json!({
                    "reason": "FieldValueInvalid",
                    "message": cause,
                    "field": "metadata.uid",
                });
                // The real one says it twice (measured).
                let causes = [&invalid, &invalid];
                (
                    Some("Invalid"),
                    format!("Pod \"{name}\" is invalid: metadata.uid: {cause}"),
                    Some(json!({"name": name, "kind": "Pod", "causes": causes})),
                )
            }
            Self::StaleNode(name) => (
                Some("Conflict"),
                format!(
                    "Operation cannot be fulfilled on nodes \"{name}\": the object has been modified; please apply your changes \
                     to the latest version and try again"
                ),
                Some(json!({"name": name, "kind": "nodes"})),
            ),
            Self::EventExists(name) => (
                Some("AlreadyExists"),
                format!("events \"{name}\" already exists"),
                Some(json!({"name": name, "kind": "events"})),
            ),
            Self::Budget {
                budget,
                needs,
                has,
            } => (
                Some("TooManyRequests"),
                "Cannot evict pod as it would violate the pod's disruption budget.".to_owned(),
                Some(budget_cause(&if has > needs {
                    format!("The disruption budget {budget} does not allow evicting pods currently")
                } else {
                    format!("The disruption budget {budget} needs {needs} healthy pods and has {has} currently")
                })),
            ),
            Self::BudgetUnobserved(budget) => {
                let mut details = budget_cause(&format!(
                    "The disruption budget {budget} is still being processed by the server."
                ));
                details["retryAfterSeconds"] = json!(10);
                (
                    Some("TooManyRequests"),
                    "Cannot evict pod as it would violate the pod's disruption budget.".to_owned(),
                    Some(details),
                )
            }
            Self::BudgetNegative { budget, pod } => (
                Some("Forbidden"),
                format!("pods \"{pod}\" is forbidden: pdb disruptions allowed is negative"),
                Some(json!({"name": budget, "kind": "poddisruptionbudgets"})),
            ),
            Self::TwoBudgets => (
                None,
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.".to_owned(),
                None,
            ),
            Self::NamespaceTerminating { namespace, pod } => (
                Some("Forbidden"),
                format!(
                    "pods \"{pod}\" is forbidden: unable to create new content in namespace {namespace} because it is being terminated"
                ),
                Some(json!({
                    "name": pod,
                    "kind": "pods",
                    "causes": [{
                        "reason": "NamespaceTerminating",
                        "message": format!("namespace {namespace} is being terminated"),
                        "field": "metadata.namespace",
                    }],
                })),
            ),
            Self::Expired { asked, oldest } => (
                Some("Expired"),
                format!("too old resource version: {asked} ({oldest})"),
                None,
            ),
            Self::VersionTooLarge { asked, current } => (
                Some("Timeout"),
                format!("Timeout: Too large resource version: {asked}, current: {current}"),
                Some(json!({
                    "causes": [{
                        "reason": "ResourceVersionTooLarge",
                        "message": "Too large resource version",
                    }],
                    "retryAfterSeconds": 1,
                })),
            ),
            Self::Malformed(message) => (Some("BadRequest"), message.clone(), None),
        }
    }
}

fn not_found(kind: &str, name: &str) -> (Option<&'static str>, String, Option<Value>) {
    (
        Some("NotFound"),
        format!("{kind} \"{name}\" not found"),
        Some(json!({"name": name, "kind": kind})),
    )
}

fn budget_cause(message: &str) -> Value {
    json!({ "causes": [{ "reason": "DisruptionBudget", "message": message }] })
}
