//! Target group bindings, read. They are custom resources of two APIs with the same fields, as far as they are read here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::answer;
use super::list::{List, Readable};
use crate::plan::binding::{
    Account, BalancerKind, Binding, BindingApi, Labels, NamespacedName, PortName, Requirement,
    Selector, TargetType,
};
use crate::plan::id::TargetGroupArn;
use crate::plan::time::WallTime;
use crate::ports::ClusterError;

/// Where the AWS Load Balancer Controller notes when it last brought a group up to date: the seconds of the Unix epoch
/// (`SaveTGBReconcileCheckpoint` in its `pkg/targetgroupbinding/utils.go`, version 3.5).
const CHECKPOINT_ANNOTATION: &str = "elbv2.k8s.aws/checkpoint-timestamp";

/// Where the bindings of every namespace are listed.
pub(super) const fn list_path(api: BindingApi) -> &'static str {
    match api {
        BindingApi::Controller => "/apis/elbv2.k8s.aws/v1beta1/targetgroupbindings",
        BindingApi::AutoMode => "/apis/eks.amazonaws.com/v1/targetgroupbindings",
    }
}

#[derive(Deserialize)]
enum ListKind {
    TargetGroupBindingList,
}

/// A binding as the API has it. What may be wrong in one is a text here and refused by [`view`].
#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    namespace: String,
    name: String,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "targetGroupARN")]
    target_group_arn: String,
    target_type: Option<String>,
    target_group_protocol: Option<String>,
    service_ref: ServiceRef,
    node_selector: Option<NodeSelector>,
    iam_role_arn_to_assume: Option<String>,
}

#[derive(Deserialize)]
struct ServiceRef {
    name: String,
    port: Port,
}

/// An `IntOrString`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Port {
    Number(u16),
    Text(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeSelector {
    match_labels: Option<Labels>,
    match_expressions: Option<Vec<Expression>>,
}

#[derive(Deserialize)]
struct Expression {
    key: String,
    operator: Operator,
    values: Option<Vec<String>>,
}

#[derive(Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// The bindings of a list that can be read.
///
/// # Errors
/// [`ClusterError::Unreadable`] when the body is no such list.
pub fn read_bindings(body: &[u8]) -> Result<Vec<Binding>, ClusterError> {
    let list: List<ListKind, Readable<Object>> = answer::decode(body)?;
    let (items, _) = list.into_parts();
    let objects = items.into_iter().filter_map(|Readable(object)| object);
    Ok(objects.filter_map(view).collect())
}

/// What a binding says; none when its group or the type of its targets is not told in words that are known. The
/// controller's webhook fills both in; a binding that still has no type is none that the controller works on
/// (`Reconcile` in its `pkg/targetgroupbinding/resource_manager.go`).
fn view(object: Object) -> Option<Binding> {
    let Object { metadata, spec } = object;
    let protocol = spec.target_group_protocol.as_deref();
    let checkpoint = metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(CHECKPOINT_ANNOTATION));
    Some(Binding {
        group: TargetGroupArn::parse(&spec.target_group_arn).ok()?,
        target_type: target_type(spec.target_type.as_deref()?)?,
        service: NamespacedName {
            namespace: metadata.namespace.clone(),
            name: spec.service_ref.name,
        },
        port: spec.service_ref.port.into(),
        node_selector: spec.node_selector.map(selector).unwrap_or_default(),
        account: account(spec.iam_role_arn_to_assume.as_deref()),
        kind: protocol.and_then(BalancerKind::of_protocol),
        checkpoint: checkpoint.and_then(|text| time(text)),
        name: NamespacedName {
            namespace: metadata.namespace,
            name: metadata.name,
        },
    })
}

fn target_type(text: &str) -> Option<TargetType> {
    match text {
        "instance" => Some(TargetType::Instance),
        "ip" => Some(TargetType::Ip),
        _ => None,
    }
}

fn account(role: Option<&str>) -> Account {
    match role {
        None | Some("") => Account::Own,
        Some(_) => Account::Other,
    }
}

fn selector(selector: NodeSelector) -> Selector {
    let mut requirements = selector
        .match_labels
        .map(|labels| Selector::of_labels(&labels).requirements)
        .unwrap_or_default();
    let expressions = selector.match_expressions.unwrap_or_default();
    requirements.extend(expressions.into_iter().map(Requirement::from));
    Selector { requirements }
}

impl From<Expression> for Requirement {
    fn from(
        Expression {
            key,
            operator,
            values,
        }: Expression,
    ) -> Self {
        let values = values.unwrap_or_default();
        match operator {
            Operator::In => Self::In(key, values),
            Operator::NotIn => Self::NotIn(key, values),
            Operator::Exists => Self::Exists(key),
            Operator::DoesNotExist => Self::DoesNotExist(key),
        }
    }
}

impl From<Port> for PortName {
    fn from(port: Port) -> Self {
        match port {
            Port::Number(number) => Self::Number(number),
            // A number that was written as a text is no name: names have a letter.
            Port::Text(text) => match text.parse() {
                Ok(number) => Self::Number(number),
                Err(_) => Self::Name(text),
            },
        }
    }
}

/// A time in seconds, or in RFC 3339 where somebody else writes it.
fn time(text: &str) -> Option<WallTime> {
    let millis = match text.parse::<i64>() {
        Ok(seconds) => seconds.checked_mul(1_000)?,
        Err(_) => text.parse::<Timestamp>().ok()?.as_millisecond(),
    };
    Some(WallTime::from_millis(millis))
}
