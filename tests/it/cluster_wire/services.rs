//! Services, and how either of the two lists of a whole cluster fails.

use std::time::Duration;

use serde_json::{Value, json as object};
use spot_interrupt_handler::clock::{Clock, Elapsed};
use spot_interrupt_handler::plan::binding::{
    BindingApi, Labels, NamespacedName, PortName, Selector, Service, ServicePort, TrafficPolicy,
};
use spot_interrupt_handler::ports::{Cluster, ClusterError, Refusal};

use super::views::merge;
use super::{chain, cluster_at, refusal};
use crate::scripted::{Reply, Server, json};

/// A Service of one node port, with these fields over it.
fn service(over: &Value) -> Value {
    let mut service = object!({
        "metadata": {
            "namespace": "shop", "name": "web", "uid": "u", "labels": {"team": "shop"},
            "managedFields": [{"manager": "helm", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {
            "type": "NodePort", "clusterIP": "172.20.0.17", "externalTrafficPolicy": "Cluster",
            "selector": {"app": "web"},
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web", "nodePort": 30_080}],
        },
        "status": {"loadBalancer": {}},
    });
    merge(&mut service, over);
    service
}

fn plain() -> Service {
    let app = Labels::from([("app".to_owned(), "web".to_owned())]);
    Service {
        name: NamespacedName {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
        },
        selector: Some(Selector::of_labels(&app)),
        traffic: TrafficPolicy::Cluster,
        ports: vec![ServicePort {
            name: Some("http".to_owned()),
            number: 80,
            node_port: Some(30_080),
            target: PortName::Name("web".to_owned()),
        }],
    }
}

fn list(services: &[Value]) -> String {
    let list = object!({
        "kind": "ServiceList", "apiVersion": "v1",
        "metadata": {"resourceVersion": "1"}, "items": services,
    });
    list.to_string()
}

async fn listed(services: &[Value]) -> Vec<Service> {
    let server = Server::replying([json(200, list(services))]).await;
    let cluster = cluster_at(&server.url).await;
    let services = cluster.services().await.expect("a list");
    let line = server.only().line;
    let query = line.strip_prefix("GET /api/v1/services?");
    assert_eq!(
        query.map(|query| query.trim_matches('&')),
        Some("resourceVersion=0"),
        "{line}"
    );
    services
}

async fn view(over: Value) -> Service {
    let mut services = listed(&[service(&over)]).await;
    assert_eq!(services.len(), 1, "{over}");
    services.remove(0)
}

#[tokio::test]
async fn a_service_is_seen_with_its_selector_policy_and_ports() {
    assert_eq!(view(object!({})).await, plain());
    for (policy, traffic) in [
        (object!("Local"), TrafficPolicy::Local),
        (object!("Cluster"), TrafficPolicy::Cluster),
        (object!(null), TrafficPolicy::Cluster),
        (object!("Nearby"), TrafficPolicy::Cluster),
    ] {
        let seen = view(object!({"spec": {"externalTrafficPolicy": policy}})).await;
        assert_eq!(seen.traffic, traffic, "{policy}");
    }
}

#[tokio::test]
async fn a_port_leads_where_it_says_and_to_its_own_number_when_it_does_not() {
    for (port, expected) in [
        (object!({"targetPort": 8080}), PortName::Number(8080)),
        (
            object!({"targetPort": "http"}),
            PortName::Name("http".to_owned()),
        ),
        (object!({"targetPort": null}), PortName::Number(80)),
        (object!({"targetPort": 0}), PortName::Number(80)),
    ] {
        let mut ports = service(&object!({}))["spec"]["ports"].clone();
        merge(&mut ports[0], &port);
        let seen = view(object!({"spec": {"ports": ports}})).await;
        assert_eq!(seen.ports[0].target, expected, "{port}");
    }
    let ports = object!([
        {"port": 80},
        {"name": "", "port": 81, "nodePort": 0, "targetPort": 8081},
        {"port": 70_000},
        {"name": "portless"},
    ]);
    let seen = view(object!({"spec": {"ports": ports}})).await;
    let port = |number, target| ServicePort {
        name: None,
        number,
        node_port: None,
        target: PortName::Number(target),
    };
    assert_eq!(seen.ports, [port(80, 80), port(81, 8081)]);
}

#[tokio::test]
async fn only_services_that_lead_from_outside_or_to_pods_are_kept() {
    let clusterwide = object!([{"port": 80, "targetPort": 8080}]);
    let named = |name: &str, spec: Value| {
        let mut service = service(&object!({"metadata": {"name": name}}));
        service["spec"] = spec;
        service
    };
    let node_port = object!([{"port": 80, "nodePort": 30_080}]);
    let kept = listed(&[
        named(
            "behind-addresses",
            object!({"selector": {"app": "web"}, "ports": clusterwide}),
        ),
        named("endpoints-by-hand", object!({"ports": node_port})),
        named("kubernetes", object!({"ports": clusterwide})),
        named(
            "selects-nothing",
            object!({"selector": {}, "ports": clusterwide}),
        ),
        named(
            "elsewhere",
            object!({"type": "ExternalName", "externalName": "example.com"}),
        ),
        named(
            "headless",
            object!({"selector": {"app": "web"}, "ports": []}),
        ),
        named("bare", object!(null)),
        object!({"metadata": {"namespace": "shop"}}),
        object!({"metadata": {"namespace": "shop", "name": "odd"}, "spec": "web"}),
        object!(7),
    ])
    .await;
    let left: Vec<&str> = kept
        .iter()
        .map(|service| service.name.name.as_str())
        .collect();
    assert_eq!(left, ["behind-addresses", "endpoints-by-hand"]);
    assert_eq!(kept[1].selector, None);
}

/// What becomes of this reply as a list of bindings, and as one of Services.
async fn both(reply: impl Fn() -> Reply) -> [ClusterError; 2] {
    let server = Server::replying([reply(), reply()]).await;
    let cluster = cluster_at(&server.url).await;
    let bindings = cluster.bindings(BindingApi::AutoMode).await;
    let services = cluster.services().await;
    assert_eq!(server.received().len(), 2, "one attempt each");
    [
        bindings.expect_err("no list"),
        services.expect_err("no list"),
    ]
}

#[tokio::test]
async fn an_api_that_is_not_installed_and_one_that_is_not_allowed_are_told_apart() {
    // What an API server answers for a group that it does not have.
    let missing =
        || crate::scripted::typed(404, "text/plain; charset=utf-8", "404 page not found\n");
    for error in both(missing).await {
        let (refusal, status, _) = refusal::<()>(Err(error));
        assert_eq!((refusal, status), (Refusal::NotFound, 404));
    }
    let denial = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"targetgroupbindings.elbv2.k8s.aws is forbidden: User \"x\" cannot list resource","reason":"Forbidden","details":{"group":"elbv2.k8s.aws","kind":"targetgroupbindings"},"code":403}"#;
    for error in both(|| json(403, denial)).await {
        let (refusal, _, message) = refusal::<()>(Err(error));
        assert_eq!(refusal, Refusal::Forbidden);
        assert!(message.contains("cannot list"), "{message}");
    }
}

#[tokio::test]
async fn what_is_no_list_of_the_kind_is_unreadable() {
    for body in [
        "",
        "nonsense",
        "null",
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"}"#,
        r#"{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[]}"#,
        r#"{"kind":"TargetGroupBindingList","metadata":{"resourceVersion":"1"}}"#,
        r#"{"kind":"ServiceList","metadata":{"resourceVersion":"1"}}"#,
        r#"{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":{}}"#,
        r#"{"kind":"TargetGroupBindingList","metadata":{"resourceVersion":"1"},"items":[{"#,
    ] {
        for error in both(|| json(200, body)).await {
            assert!(matches!(error, ClusterError::Unreadable(_)), "{body}");
        }
    }
}

#[tokio::test]
async fn a_list_without_end_is_refused_and_not_held() {
    let flood = || Reply::Flood(" ".repeat(64 * 1024), std::sync::Arc::default());
    for error in both(flood).await {
        let told = "reading the answer of the API server: the body is longer than 16777216 bytes";
        assert_eq!(chain(&error), told);
    }
}

#[tokio::test]
async fn a_list_that_does_not_come_is_ended_by_the_caller_alone() {
    let server = Server::replying([
        Reply::Silent(String::new()),
        Reply::Silent("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"kind\":".to_owned()),
    ])
    .await;
    let cluster = cluster_at(&server.url).await;
    let clock = Clock::real();
    let limit = || clock.now().at + Duration::from_millis(300);
    let bindings = cluster.bindings(BindingApi::Controller);
    assert_eq!(clock.until(limit(), bindings).await.err(), Some(Elapsed));
    let services = clock.until(limit(), cluster.services()).await;
    assert_eq!(services.err(), Some(Elapsed));
    assert_eq!(server.received().len(), 2, "no repetition");
}
