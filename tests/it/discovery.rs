//! What the shipped permissions let an agent find out on a real API server about who sends requests to its node.

use serde_json::{Value, json};
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::cluster::{KubeCluster, Source, Writes};
use spot_interrupt_handler::plan::binding::{
    Account, Binding, BindingApi, Labels, NamespacedName, PortName, Requirement, Selector, Service,
    ServicePort, TargetType, TrafficPolicy,
};
use spot_interrupt_handler::plan::id::{NodeName, TargetGroupArn};
use spot_interrupt_handler::plan::time::WallTime;
use spot_interrupt_handler::ports::{Cluster, ClusterError, Refusal};

use crate::control_plane::{ControlPlane, create_namespace, create_node, kubectl};

const CRD: &str = include_str!("../crds/targetgroupbindings.yaml");
const ARN: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/73e2d6bc24d8a067";

async fn agent_on(plane: &ControlPlane, node: &str) -> KubeCluster {
    plane.apply_base().await;
    create_node(
        &plane.admin().await,
        node,
        "aws:///eu-west-1a/i-0123456789abcdef0",
    )
    .await;
    let token = plane
        .agent_token(node, &format!("agent-{node}"))
        .await
        .token;
    let source = Source::Kubeconfig {
        file: Some(plane.kubeconfig_for(&token)),
        context: None,
    };
    let cluster = KubeCluster::connect(source, NodeName::new(node), Writes::Real, Clock::real());
    cluster.await.expect("a client")
}

async fn install_bindings(plane: &ControlPlane) {
    let applied = plane.apply(&[], CRD.as_bytes().to_vec()).await;
    applied.unwrap_or_else(|complaint| panic!("{complaint}"));
    let kubeconfig = format!("--kubeconfig={}", plane.admin_kubeconfig().display());
    let definition = "crd/targetgroupbindings.elbv2.k8s.aws";
    let wait = [
        "wait",
        "--for=condition=Established",
        definition,
        "--timeout=60s",
        &kubeconfig,
    ];
    let waited = kubectl(&wait, None).await;
    waited.unwrap_or_else(|complaint| panic!("{complaint}"));
}

/// Creates them, and returns when the server's watch cache has them.
async fn create(plane: &ControlPlane, manifests: &Value) {
    let manifests = manifests.to_string().into_bytes();
    let applied = plane.apply(&["--output=json"], manifests).await;
    let applied = applied.unwrap_or_else(|complaint| panic!("{complaint}"));
    let applied: Value = serde_json::from_slice(&applied).expect("JSON from kubectl");
    let kubeconfig = format!("--kubeconfig={}", plane.admin_kubeconfig().display());
    let lists = [
        "/apis/elbv2.k8s.aws/v1beta1/targetgroupbindings",
        "/api/v1/services",
    ];
    for (list, item) in lists.iter().zip(applied["items"].as_array().expect("both")) {
        let version = item["metadata"]["resourceVersion"].as_str().expect("one");
        let not_older =
            format!("{list}?resourceVersion={version}&resourceVersionMatch=NotOlderThan");
        let listed = kubectl(&["get", "--raw", &not_older, &kubeconfig], None).await;
        listed.unwrap_or_else(|complaint| panic!("{complaint}"));
    }
}

fn is_missing<T: std::fmt::Debug>(answer: &Result<T, ClusterError>) -> bool {
    let missing = Refusal::NotFound;
    matches!(answer, Err(ClusterError::Refused { refusal, .. }) if *refusal == missing)
}

/// The server is shared with agents that drain: a binding of another account is none of theirs.
#[tokio::test]
async fn the_shipped_permissions_reach_bindings_and_services_of_every_namespace() {
    let Some(plane) = ControlPlane::shared().await else {
        return;
    };
    let cluster = agent_on(plane, "finds-bindings").await;
    for api in BindingApi::ALL {
        let answer = cluster.bindings(api).await;
        assert!(is_missing(&answer), "{api:?}: {answer:?}");
    }

    install_bindings(plane).await;
    let namespace = create_namespace(&plane.admin().await, "bound").await;
    let binding = json!({
        "apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding",
        "metadata": {
            "name": "web", "namespace": namespace,
            "annotations": {"elbv2.k8s.aws/checkpoint-timestamp": "1800000000"},
        },
        "spec": {
            "targetGroupARN": ARN, "targetType": "ip", "serviceRef": {"name": "web", "port": "http"},
            "iamRoleArnToAssume": "arn:aws:iam::444455556666:role/targets",
            "nodeSelector": {"matchExpressions": [{"key": "pool", "operator": "Exists"}]},
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "type": "NodePort", "externalTrafficPolicy": "Local", "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "web", "nodePort": 30_917}],
        },
    });
    let both = json!({"apiVersion": "v1", "kind": "List", "items": [binding, service]});
    create(plane, &both).await;

    let web = NamespacedName {
        namespace,
        name: "web".to_owned(),
    };
    let bindings = cluster.bindings(BindingApi::Controller).await;
    let bound = Binding {
        name: web.clone(),
        group: TargetGroupArn::parse(ARN).expect("an ARN"),
        target_type: TargetType::Ip,
        service: web.clone(),
        port: PortName::Name("http".to_owned()),
        node_selector: Selector {
            requirements: vec![Requirement::Exists("pool".to_owned())],
        },
        account: Account::Other,
        kind: None,
        checkpoint: Some(WallTime::from_millis(1_800_000_000_000)),
    };
    assert_eq!(bindings.expect("a list"), [bound]);
    let auto_mode = cluster.bindings(BindingApi::AutoMode).await;
    assert!(is_missing(&auto_mode), "{auto_mode:?}");

    let mut services = cluster.services().await.expect("a list");
    services.retain(|service| service.name == web);
    let app = Labels::from([("app".to_owned(), "web".to_owned())]);
    let served = Service {
        name: web,
        selector: Some(Selector::of_labels(&app)),
        traffic: TrafficPolicy::Local,
        ports: vec![ServicePort {
            name: Some("http".to_owned()),
            number: 80,
            node_port: Some(30_917),
            target: PortName::Name("web".to_owned()),
        }],
    };
    assert_eq!(services, [served]);
}
