//! Services, read.

use serde::Deserialize;

use super::answer;
use super::binding::Port;
use super::list::{List, Readable};
use crate::plan::binding::{
    Labels, NamespacedName, PortName, Selector, Service, ServicePort, TrafficPolicy,
};
use crate::ports::ClusterError;

#[derive(Deserialize)]
enum ListKind {
    ServiceList,
}

/// A Service, as far as requests from outside come through it: a cluster may have ten thousand, and what else they
/// carry is not kept.
#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Spec {
    selector: Option<Labels>,
    external_traffic_policy: Option<String>,
    ports: Option<Vec<Readable<SpecPort>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecPort {
    name: Option<String>,
    port: u16,
    node_port: Option<u16>,
    target_port: Option<Port>,
}

/// The Services of a `ServiceList` that can send something to a pod or are listened for on every node.
///
/// # Errors
/// [`ClusterError::Unreadable`] when the body is no such list.
pub fn read_services(body: &[u8]) -> Result<Vec<Service>, ClusterError> {
    let list: List<ListKind, Readable<Object>> = answer::decode(body)?;
    let (items, _) = list.into_parts();
    let objects = items.into_iter().filter_map(|Readable(object)| object);
    Ok(objects.map(view).filter(leads_somewhere).collect())
}

fn leads_somewhere(service: &Service) -> bool {
    let has_node_port = service.ports.iter().any(|port| port.node_port.is_some());
    let selects = service
        .selector
        .as_ref()
        .is_some_and(|selector| !selector.is_empty());
    has_node_port || selects && !service.ports.is_empty()
}

fn view(Object { metadata, spec }: Object) -> Service {
    let ports = spec.ports.unwrap_or_default();
    Service {
        name: NamespacedName {
            namespace: metadata.namespace,
            name: metadata.name,
        },
        selector: spec.selector.as_ref().map(Selector::of_labels),
        traffic: match spec.external_traffic_policy.as_deref() {
            Some("Local") => TrafficPolicy::Local,
            // The default, and what any word of later years has to be compatible with.
            Some(_) | None => TrafficPolicy::Cluster,
        },
        ports: ports
            .into_iter()
            .filter_map(|Readable(port)| port.map(port_view))
            .collect(),
    }
}

fn port_view(port: SpecPort) -> ServicePort {
    ServicePort {
        name: port.name.filter(|name| !name.is_empty()),
        number: port.port,
        node_port: port.node_port.filter(|port| *port > 0),
        // An absent one, and one of 0, is the Service's own port.
        target: match port.target_port.map(PortName::from) {
            None | Some(PortName::Number(0)) => PortName::Number(port.port),
            Some(target) => target,
        },
    }
}
