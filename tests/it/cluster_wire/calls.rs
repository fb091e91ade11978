//! What leaves the agent: request line, headers and body of every call.

use serde_json::{Value, json as object};
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::cluster::{KubeCluster, Source, Writes};
use spot_interrupt_handler::plan::action::{Freshness, NodeEvent, NodeEventKind};
use spot_interrupt_handler::plan::budget::Grace;
use spot_interrupt_handler::plan::id::{InstanceId, NodeName, NoticeId, ResourceVersion};
use spot_interrupt_handler::plan::node::SchedulingWrite;
use spot_interrupt_handler::plan::node::{
    Annotation, CordonOwner, CordonPatch, InterruptionRecord, LabelUndo, LabelWrite, Scheduling,
    SchedulingUndo, UndoPatch,
};
use spot_interrupt_handler::plan::notice::InterruptionAction;
use spot_interrupt_handler::plan::time::WallTime;
use spot_interrupt_handler::ports::Cluster;

use super::{NODE, cluster_at, web_0};
use crate::scripted::{Reply, Server, json};

fn created() -> Reply {
    json(
        201,
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}"#,
    )
}

fn node_answer() -> Reply {
    json(
        200,
        object!({
            "kind": "Node", "apiVersion": "v1",
            "metadata": {
                "name": NODE, "uid": "8f3f", "resourceVersion": "4242",
                "labels": {"node.kubernetes.io/exclude-from-external-load-balancers": "true"},
            },
            "spec": {
                "unschedulable": true,
                "taints": [{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}],
            },
            "status": {"nodeInfo": {"bootID": "boot-1"}},
        })
        .to_string(),
    )
}

fn record() -> InterruptionRecord {
    InterruptionRecord {
        notice_id: NoticeId::new("9f2c0000aaaa5555"),
        action: InterruptionAction::Terminate,
        time: Some(WallTime::from_millis(1_800_000_120_000)),
        deadline: WallTime::from_millis(1_800_000_119_250),
        instance_id: Some(InstanceId::new("i-0abc")),
        boot_id: None,
        cordon: CordonOwner::Us,
        label_before: None,
    }
}

#[tokio::test]
async fn an_eviction_carries_the_uid_and_no_grace_period_when_the_pods_own_holds() {
    let server = Server::replying([created()]).await;
    cluster_at(&server.url)
        .await
        .evict(&web_0(), None)
        .await
        .expect("an eviction");
    let request = server.only();
    assert_eq!(
        request.line.trim_end_matches('?'),
        "POST /api/v1/namespaces/shop/pods/web-0/eviction"
    );
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("authorization"), None);
    assert_eq!(
        request.json(),
        object!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"namespace": "shop", "name": "web-0"},
            "deleteOptions": {"preconditions": {"uid": "5d1e7a3c-0001"}},
        })
    );
}

#[tokio::test]
async fn an_eviction_carries_the_grace_period_that_is_left() {
    let server = Server::replying([created()]).await;
    let cluster = cluster_at(&server.url).await;
    cluster
        .evict(&web_0(), Some(Grace::from_secs(112)))
        .await
        .expect("an eviction");
    assert_eq!(
        server.only().json()["deleteOptions"],
        object!({"gracePeriodSeconds": 112, "preconditions": {"uid": "5d1e7a3c-0001"}})
    );
}

#[tokio::test]
async fn a_delete_carries_uid_and_grace_period_and_is_done_with_200_and_202_alike() {
    let server = Server::replying([json(200, "{}"), json(202, "{}")]).await;
    let cluster = cluster_at(&server.url).await;
    for grace in [Some(Grace::from_secs(7)), None] {
        cluster.delete(&web_0(), grace).await.expect("a deletion");
    }
    let received = server.received();
    assert_eq!(
        received[0].line.trim_end_matches('?'),
        "DELETE /api/v1/namespaces/shop/pods/web-0"
    );
    assert_eq!(
        received[0].json(),
        object!({"gracePeriodSeconds": 7, "preconditions": {"uid": "5d1e7a3c-0001"}})
    );
    assert_eq!(
        received[1].json(),
        object!({"preconditions": {"uid": "5d1e7a3c-0001"}})
    );
}

#[tokio::test]
async fn a_cordon_is_one_merge_patch_under_the_version_that_was_read() {
    let server = Server::replying([node_answer()]).await;
    let patch = CordonPatch {
        scheduling: SchedulingWrite::Cordon,
        expected: Some(ResourceVersion::new("4241")),
        label: LabelWrite::Set,
        record: Some(record()),
    };
    let node = cluster_at(&server.url)
        .await
        .cordon(&patch)
        .await
        .expect("the node");
    assert_eq!(node.resource_version, ResourceVersion::new("4242"));
    assert_eq!(node.scheduling, Scheduling::Cordoned);
    let request = server.only();
    assert_eq!(
        request.line.replace("?&", "?"),
        format!("PATCH /api/v1/nodes/{NODE}?fieldManager=spot-interrupt-handler")
    );
    assert_eq!(
        request.header("content-type"),
        Some("application/merge-patch+json")
    );
    let annotation = concat!(
        r#"{"v":1,"noticeId":"9f2c0000aaaa5555","action":"terminate","time":"2027-01-15T08:02:00Z","#,
        r#""deadline":"2027-01-15T08:01:59.250Z","instanceId":"i-0abc","bootId":null,"cordonedByUs":true,"#,
        r#""labelBefore":null}"#
    );
    assert_eq!(
        request.json(),
        object!({
            "metadata": {
                "resourceVersion": "4241",
                "labels": {"node.kubernetes.io/exclude-from-external-load-balancers": "true"},
                "annotations": {"spot-interrupt-handler/interruption": annotation},
            },
            "spec": {"unschedulable": true},
        })
    );
}

#[tokio::test]
async fn an_undoing_is_one_merge_patch_under_the_version_that_was_read_and_removes_the_record() {
    let label = "node.kubernetes.io/exclude-from-external-load-balancers";
    let cases = [
        (
            SchedulingUndo::Uncordon,
            LabelUndo::Remove,
            object!({
                "metadata": {
                    "resourceVersion": "4241",
                    "labels": {label: null},
                    "annotations": {"spot-interrupt-handler/interruption": null},
                },
                "spec": {"unschedulable": false},
            }),
        ),
        (
            SchedulingUndo::Keep,
            LabelUndo::Restore("false".to_owned()),
            object!({
                "metadata": {
                    "resourceVersion": "4241",
                    "labels": {label: "false"},
                    "annotations": {"spot-interrupt-handler/interruption": null},
                },
            }),
        ),
        (
            SchedulingUndo::Keep,
            LabelUndo::Keep,
            object!({
                "metadata": {
                    "resourceVersion": "4241",
                    "annotations": {"spot-interrupt-handler/interruption": null},
                },
            }),
        ),
    ];
    for (scheduling, label, body) in cases {
        let server = Server::replying([node_answer()]).await;
        let patch = UndoPatch {
            expected: ResourceVersion::new("4241"),
            scheduling,
            label,
        };
        let cluster = cluster_at(&server.url).await;
        let node = cluster.undo(&patch).await.expect("the node");
        assert_eq!(node.taints, ["karpenter.sh/disrupted"]);
        let request = server.only();
        assert_eq!(
            request.header("content-type"),
            Some("application/merge-patch+json")
        );
        assert_eq!(request.json(), body);
    }
}

#[tokio::test]
async fn a_cordon_without_version_label_and_record_touches_nothing_else() {
    let server = Server::replying([node_answer()]).await;
    let patch = CordonPatch {
        scheduling: SchedulingWrite::Cordon,
        expected: None,
        label: LabelWrite::Keep,
        record: None,
    };
    cluster_at(&server.url)
        .await
        .cordon(&patch)
        .await
        .expect("the node");
    assert_eq!(
        server.only().json(),
        object!({"spec": {"unschedulable": true}})
    );
}

#[tokio::test]
async fn the_node_is_read_by_name() {
    let server = Server::replying([node_answer()]).await;
    let node = cluster_at(&server.url)
        .await
        .node()
        .await
        .expect("the node");
    assert_eq!(server.only().line, format!("GET /api/v1/nodes/{NODE}"));
    assert_eq!(node.uid, "8f3f");
    assert_eq!(node.exclusion_label.as_deref(), Some("true"));
    assert_eq!(node.annotation, Annotation::Absent);
    assert_eq!(
        node.boot_id.map(|id| id.to_string()),
        Some("boot-1".to_owned())
    );
}

#[tokio::test]
async fn pods_are_listed_for_this_node_without_pages_and_as_new_as_they_have_to_be() {
    let list =
        r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"77"},"items":[]}"#;
    for (freshness, version) in [
        (Freshness::Cached, "&resourceVersion=0"),
        (
            Freshness::NotOlderThan(ResourceVersion::new("76")),
            "&resourceVersion=76",
        ),
        (Freshness::Newest, ""),
    ] {
        let server = Server::replying([json(200, list)]).await;
        let cluster = cluster_at(&server.url).await;
        let (pods, newest) = cluster.pods(&freshness).await.expect("a list");
        assert_eq!((pods, newest), (vec![], ResourceVersion::new("77")));
        assert_eq!(
            server.only().line.replace("?&", "?"),
            format!("GET /api/v1/pods?fieldSelector=spec.nodeName%3D{NODE}{version}")
        );
    }
}

#[tokio::test]
async fn a_watch_goes_on_from_a_version_with_bookmarks_and_the_same_selector() {
    let server = Server::replying([json(200, "")]).await;
    let cluster = cluster_at(&server.url).await;
    let _ = cluster
        .watch(&ResourceVersion::new("77"))
        .await
        .expect("a watch");
    let line = server.only().line;
    let (path, query) = line.split_once('?').expect("a query");
    assert_eq!(path, "GET /api/v1/pods");
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_unstable();
    assert_eq!(
        pairs,
        [
            "allowWatchBookmarks=true",
            &format!("fieldSelector=spec.nodeName%3D{NODE}"),
            "resourceVersion=77",
            "timeoutSeconds=290",
            "watch=true",
        ]
    );
}

fn drained(node_uid: Option<&str>) -> NodeEvent {
    NodeEvent {
        kind: NodeEventKind::SpotDrainCompleted,
        note: "29 of 29 pods are gone".to_owned(),
        name: "ip-10-0-0-7.9f2c.completed".to_owned(),
        node_uid: node_uid.map(str::to_owned),
    }
}

#[tokio::test]
async fn an_event_about_the_node_is_posted_where_node_events_live() {
    let server = Server::replying([json(201, "{}"), json(201, "{}")]).await;
    let cluster = cluster_at(&server.url).await;
    cluster
        .publish(&drained(Some("8f3f")))
        .await
        .expect("an event");
    cluster.publish(&drained(None)).await.expect("an event");
    let received = server.received();
    assert_eq!(
        received[0].line.trim_end_matches('?'),
        "POST /api/v1/namespaces/default/events"
    );
    let mut body = received[0].json();
    for field in ["firstTimestamp", "lastTimestamp"] {
        let time = body[field].take();
        let time: jiff::Timestamp = time.as_str().expect("a time").parse().expect("RFC 3339");
        assert!(is_about_now(time), "{time}");
    }
    assert_eq!(
        body,
        object!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"namespace": "default", "name": "ip-10-0-0-7.9f2c.completed"},
            "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": NODE, "uid": "8f3f"},
            "type": "Normal", "reason": "SpotDrainCompleted", "action": "SpotDrainCompleted",
            "message": "29 of 29 pods are gone",
            "source": {"component": "spot-interrupt-handler", "host": NODE},
            "reportingComponent": "spot-interrupt-handler", "reportingInstance": NODE,
            "firstTimestamp": Value::Null, "lastTimestamp": Value::Null, "count": 1,
        })
    );
    assert_eq!(received[1].json()["involvedObject"]["uid"], NODE);
}

fn is_about_now(time: jiff::Timestamp) -> bool {
    let now = Clock::real().now().wall.millis();
    (now - time.as_millisecond()).abs() < 60_000
}

#[tokio::test]
async fn an_event_that_is_there_already_is_published() {
    let body = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"events \"x\" already exists","reason":"AlreadyExists","code":409}"#;
    let server = Server::replying([json(409, body)]).await;
    cluster_at(&server.url)
        .await
        .publish(&drained(None))
        .await
        .expect("success");
}

#[tokio::test]
async fn rehearsed_writes_say_so_where_the_server_heeds_it() {
    let server = Server::replying([created(), json(200, "{}"), node_answer(), created()]).await;
    let source = Source::Plain(server.url.parse().expect("a URL"));
    let node = NodeName::new(NODE);
    let cluster = KubeCluster::connect(source, node, Writes::Rehearsed, Clock::real())
        .await
        .expect("a client");
    cluster.evict(&web_0(), None).await.expect("an eviction");
    cluster.delete(&web_0(), None).await.expect("a deletion");
    let patch = CordonPatch {
        scheduling: SchedulingWrite::Cordon,
        expected: None,
        label: LabelWrite::Keep,
        record: None,
    };
    cluster.cordon(&patch).await.expect("the node");
    cluster.publish(&drained(None)).await.expect("an event");
    let received = server.received();
    for index in [0, 2, 3] {
        assert!(received[index].line.contains("dryRun=All"), "{received:?}");
    }
    assert_eq!(received[1].json()["dryRun"], object!(["All"]));
}
