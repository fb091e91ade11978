//! Target group bindings of both APIs.

use serde_json::{Value, json as object};
use spot_interrupt_handler::plan::binding::{
    Account, BalancerKind, Binding, BindingApi, NamespacedName, PortName, Requirement, Selector,
    TargetType,
};
use spot_interrupt_handler::plan::id::TargetGroupArn;
use spot_interrupt_handler::plan::time::WallTime;
use spot_interrupt_handler::ports::Cluster;

use super::cluster_at;
use super::views::merge;
use crate::scripted::{Server, json};

const ARN: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/73e2d6bc24d8a067";

/// A binding as a controller leaves it, with these fields over it.
fn binding(over: &Value) -> Value {
    let mut binding = object!({
        "apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding",
        "metadata": {
            "namespace": "shop", "name": "k8s-shop-web-1", "uid": "u", "resourceVersion": "7",
            "finalizers": ["elbv2.k8s.aws/resources"],
            "managedFields": [{"manager": "controller", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {
            "ipAddressType": "ipv4",
            "networking": {"ingress": [{"from": [{"securityGroup": {"groupID": "sg-1"}}], "ports": [{"protocol": "TCP"}]}]},
            "serviceRef": {"name": "web", "port": 80},
            "targetGroupARN": ARN, "targetType": "instance", "vpcID": "vpc-1",
        },
        "status": {"observedGeneration": 1},
    });
    merge(&mut binding, over);
    binding
}

fn named(name: &str) -> NamespacedName {
    NamespacedName {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    }
}

fn plain() -> Binding {
    Binding {
        name: named("k8s-shop-web-1"),
        group: TargetGroupArn::parse(ARN).expect("an ARN"),
        target_type: TargetType::Instance,
        service: named("web"),
        port: PortName::Number(80),
        node_selector: Selector::default(),
        account: Account::Own,
        kind: None,
        checkpoint: None,
    }
}

async fn listed(bindings: &[Value]) -> Vec<Binding> {
    let list = object!({
        "kind": "TargetGroupBindingList", "apiVersion": "elbv2.k8s.aws/v1beta1",
        "metadata": {"resourceVersion": "1", "continue": ""}, "items": bindings,
    });
    let server = Server::replying([json(200, list.to_string())]).await;
    let cluster = cluster_at(&server.url).await;
    let bindings = cluster.bindings(BindingApi::Controller).await;
    bindings.expect("a list")
}

async fn view(over: Value) -> Binding {
    let mut bindings = listed(&[binding(&over)]).await;
    assert_eq!(bindings.len(), 1, "{over}");
    bindings.remove(0)
}

#[tokio::test]
async fn the_bindings_of_every_namespace_are_listed_from_the_servers_cache_in_either_api() {
    for (api, group) in [
        (BindingApi::Controller, "elbv2.k8s.aws/v1beta1"),
        (BindingApi::AutoMode, "eks.amazonaws.com/v1"),
    ] {
        let list = object!({
            "kind": "TargetGroupBindingList", "apiVersion": group,
            "metadata": {"resourceVersion": "1"}, "items": [binding(&object!({}))],
        });
        let server = Server::replying([json(200, list.to_string())]).await;
        let cluster = cluster_at(&server.url).await;
        let bindings = cluster.bindings(api).await.expect("a list");
        assert_eq!(bindings, [plain()]);
        let (path, query) = {
            let line = server.only().line;
            let (path, query) = line.split_once('?').expect("a query");
            (path.to_owned(), query.to_owned())
        };
        assert_eq!(path, format!("GET /apis/{group}/targetgroupbindings"));
        let query: Vec<&str> = query.split('&').filter(|field| !field.is_empty()).collect();
        assert_eq!(query, ["resourceVersion=0"]);
    }
}

#[tokio::test]
async fn type_kind_and_port_are_read_in_all_their_forms() {
    for (port, expected) in [
        (object!(443), PortName::Number(443)),
        (object!("443"), PortName::Number(443)),
        (object!("https"), PortName::Name("https".to_owned())),
    ] {
        let port_seen = view(object!({"spec": {"serviceRef": {"port": port}}})).await;
        assert_eq!(port_seen.port, expected);
    }
    let ip = view(object!({"spec": {"targetType": "ip"}})).await;
    assert_eq!(ip.target_type, TargetType::Ip);
    for (protocol, kind) in [
        (object!("HTTPS"), Some(BalancerKind::Application)),
        (object!("TCP_UDP"), Some(BalancerKind::Network)),
        (object!("TLS"), Some(BalancerKind::Network)),
        (object!("SCTP"), None),
        (object!(null), None),
    ] {
        let seen = view(object!({"spec": {"targetGroupProtocol": protocol}})).await;
        assert_eq!(seen.kind, kind, "{protocol}");
    }
}

#[tokio::test]
async fn a_role_to_take_is_another_account() {
    for (role, account) in [
        (
            object!("arn:aws:iam::444455556666:role/targets"),
            Account::Other,
        ),
        (object!(""), Account::Own),
        (object!(null), Account::Own),
    ] {
        let seen = view(object!({"spec": {"iamRoleArnToAssume": role}})).await;
        assert_eq!(seen.account, account, "{role}");
    }
}

#[tokio::test]
async fn every_operator_of_a_node_selector_is_read() {
    let selector = object!({
        "matchLabels": {"pool": "spot"},
        "matchExpressions": [
            {"key": "zone", "operator": "In", "values": ["a", "b"]},
            {"key": "size", "operator": "NotIn", "values": ["small"]},
            {"key": "web", "operator": "Exists"},
            {"key": "drained", "operator": "DoesNotExist", "values": null},
        ],
    });
    let seen = view(object!({"spec": {"nodeSelector": selector}})).await;
    let text = str::to_owned;
    let requirements = vec![
        Requirement::In(text("pool"), vec![text("spot")]),
        Requirement::In(text("zone"), vec![text("a"), text("b")]),
        Requirement::NotIn(text("size"), vec![text("small")]),
        Requirement::Exists(text("web")),
        Requirement::DoesNotExist(text("drained")),
    ];
    assert_eq!(seen.node_selector, Selector { requirements });
    for empty in [object!({}), object!(null)] {
        let seen = view(object!({"spec": {"nodeSelector": empty}})).await;
        assert!(seen.node_selector.is_empty());
    }
}

#[tokio::test]
async fn a_checkpoint_is_in_seconds_or_in_rfc_3339() {
    let at = |millis| Some(WallTime::from_millis(millis));
    for (text, checkpoint) in [
        ("1800000000", at(1_800_000_000_000)),
        ("2027-01-15T08:00:00Z", at(1_800_000_000_000)),
        ("2027-01-15T09:00:00.5+01:00", at(1_800_000_000_500)),
        ("9223372036854775807", None),
        ("yesterday", None),
        ("", None),
    ] {
        let annotations = object!({
            "elbv2.k8s.aws/checkpoint": "abc/def",
            "elbv2.k8s.aws/checkpoint-timestamp": text,
        });
        let seen = view(object!({"metadata": {"annotations": annotations}})).await;
        assert_eq!(seen.checkpoint, checkpoint, "{text:?}");
    }
}

#[tokio::test]
async fn a_binding_that_cannot_be_read_is_left_out_and_hides_no_other() {
    let mut bindings = Vec::new();
    for spec in [
        object!({"targetGroupARN": null}),
        object!({"targetGroupARN": ""}),
        object!({"targetGroupARN": "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/web/73e2"}),
        object!({"targetGroupARN": 7}),
        object!({"targetType": "lambda"}),
        // The controller itself works on none that has no type.
        object!({"targetType": null}),
        object!({"serviceRef": null}),
        object!({"serviceRef": {"name": null}}),
        object!({"serviceRef": {"port": 70_000}}),
        object!({"serviceRef": {"port": null}}),
        object!({"nodeSelector": {"matchExpressions": [{"key": "zone", "operator": "Near", "values": ["a"]}]}}),
        object!({"nodeSelector": ["pool"]}),
    ] {
        bindings.push(binding(&object!({ "spec": spec })));
    }
    bindings.push(object!({"metadata": {"namespace": "shop", "name": "bare"}}));
    bindings.push(object!({"spec": binding(&object!({}))["spec"]}));
    bindings.push(object!(null));
    bindings.push(object!("binding"));
    bindings.push(binding(&object!({})));
    assert_eq!(listed(&bindings).await, [plain()]);
    assert_eq!(listed(&[]).await, []);
}
