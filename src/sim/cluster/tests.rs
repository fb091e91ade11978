//! The API server of the world, case by case as the real one was measured.

use super::*;
use crate::plan::id::{BootId, InstanceId, NodeName};
use crate::plan::time::WallTime;

const NAMESPACE: &str = "shop";

fn after_millis(millis: u64) -> Now {
    let elapsed = Duration::from_millis(millis);
    Now {
        at: Moment::after_origin(elapsed),
        wall: WallTime::from_millis(1_800_000_000_000) + elapsed,
    }
}

fn after(seconds: u64) -> Now {
    after_millis(1_000 * seconds)
}

fn node() -> Node {
    Node {
        name: NodeName::new("node"),
        uid: "node-uid".to_owned(),
        version: 0,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        unschedulable: false,
        taints: Vec::new(),
        instance: InstanceId::new("i-1"),
        zone: "eu-west-1a".to_owned(),
        boot: BootId::new("boot"),
    }
}

fn cluster_of(names: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(node());
    for name in names {
        let uid = PodUid::new(format!("{name}-uid"));
        cluster.add_pod(Pod::new(NAMESPACE, name, uid, NodeName::new("node")));
    }
    cluster
}

fn with_budget(mut cluster: Cluster, allowed: i32) -> Cluster {
    cluster.add_budget(Budget::allowing(NAMESPACE, "budget", allowed));
    cluster
}

fn of(uid: &str) -> DeleteOptions {
    DeleteOptions {
        uid: Some(PodUid::new(uid)),
        ..DeleteOptions::default()
    }
}

fn code<T>(result: Result<T, Refused>) -> u16 {
    result.map_or_else(|refused| refused.code(), |_| 201)
}

#[test]
fn a_budget_is_charged_once_an_eviction_and_refuses_when_it_is_spent() {
    let mut cluster = with_budget(cluster_of(&["a", "b"]), 1);
    assert_eq!(
        code(cluster.evict(NAMESPACE, "a", &of("a-uid"), after(0))),
        201
    );
    assert_eq!(
        code(cluster.evict(NAMESPACE, "b", &of("b-uid"), after(0))),
        429
    );
    assert_eq!(cluster.budgets()[0].allowed, 0);
}

#[test]
fn a_budget_recovers_when_a_replacement_is_healthy() {
    let mut cluster = cluster_of(&["a", "b"]);
    let mut budget = Budget::allowing(NAMESPACE, "budget", 1);
    budget.recovers_after = Some(Duration::from_secs(10));
    cluster.add_budget(budget);
    assert_eq!(
        code(cluster.evict(NAMESPACE, "a", &of("a-uid"), after(0))),
        201
    );
    assert_eq!(
        code(cluster.evict(NAMESPACE, "b", &of("b-uid"), after(9))),
        429
    );
    assert_eq!(
        code(cluster.evict(NAMESPACE, "b", &of("b-uid"), after(10))),
        201
    );
}

#[test]
fn a_wrong_uid_spends_the_budget_before_it_is_refused() {
    let mut cluster = with_budget(cluster_of(&["a"]), 1);
    assert_eq!(
        code(cluster.evict(NAMESPACE, "a", &of("other"), after(0))),
        409
    );
    assert_eq!(cluster.budgets()[0].allowed, 0);
    assert!(cluster.pods().all(|pod| pod.deletion.is_none()));
}

#[test]
fn pods_that_do_not_run_or_are_terminating_need_no_budget() {
    let mut cluster = with_budget(cluster_of(&["terminating"]), 0);
    cluster
        .delete(
            NAMESPACE,
            "terminating",
            &DeleteOptions::default(),
            after(0),
        )
        .expect("a deletion asks no budget");
    let uid = PodUid::new("pending-uid");
    let mut pending = Pod::new(NAMESPACE, "pending", uid, NodeName::new("node"));
    pending.phase = Phase::Pending;
    cluster.add_pod(pending);
    for name in ["pending", "terminating"] {
        let options = of(&format!("{name}-uid"));
        assert_eq!(
            code(cluster.evict(NAMESPACE, name, &options, after(1))),
            201,
            "{name}"
        );
    }
}

#[test]
fn a_wrong_uid_takes_ten_seconds_where_no_budget_is_asked() {
    let mut cluster = cluster_of(&["running"]);
    let uid = PodUid::new("pending-uid");
    let mut pending = Pod::new(NAMESPACE, "pending", uid, NodeName::new("node"));
    pending.phase = Phase::Pending;
    cluster.add_pod(pending);
    let takes = |name, uid| cluster.eviction_takes(NAMESPACE, name, &of(uid));
    assert_eq!(takes("pending", "other"), Duration::from_secs(10));
    assert_eq!(takes("pending", "pending-uid"), Duration::from_millis(5));
    assert_eq!(takes("running", "other"), Duration::from_millis(100));
}

#[test]
fn two_budgets_over_one_pod_are_a_failure_of_the_server() {
    let mut cluster = with_budget(with_budget(cluster_of(&["a"]), 1), 1);
    let refused = cluster
        .evict(NAMESPACE, "a", &of("a-uid"), after(0))
        .expect_err("two budgets");
    assert_eq!(refused.code(), 500);
    assert_eq!(refused.status().get("reason"), None);
}

#[test]
fn an_unobserved_budget_asks_to_come_again_in_ten_seconds() {
    let mut cluster = cluster_of(&["a"]);
    let mut budget = Budget::allowing(NAMESPACE, "budget", 1);
    budget.observation = Observation::Lagging;
    cluster.add_budget(budget);
    let refused = cluster
        .evict(NAMESPACE, "a", &of("a-uid"), after(0))
        .expect_err("a budget");
    assert_eq!((refused.code(), refused.retry_after()), (429, Some(10)));
}

#[test]
fn a_pod_that_is_not_ready_goes_without_being_charged_as_long_as_enough_others_are_healthy() {
    let mut cluster = with_budget(Cluster::new(node()), 0);
    let mut pod = Pod::new(NAMESPACE, "a", PodUid::new("a-uid"), NodeName::new("node"));
    pod.phase = Phase::NotReady;
    cluster.add_pod(pod);
    let mut short = cluster.clone();
    short.budgets[0].healthy = 0;
    assert_eq!(
        code(cluster.evict(NAMESPACE, "a", &of("a-uid"), after(0))),
        201
    );
    assert_eq!(
        code(short.evict(NAMESPACE, "a", &of("a-uid"), after(0))),
        429
    );
}

#[test]
fn in_a_terminating_namespace_nothing_is_evicted_and_everything_deleted() {
    let mut cluster = cluster_of(&["a"]);
    cluster.terminate_namespace(NAMESPACE);
    let refused = cluster
        .evict(NAMESPACE, "a", &of("a-uid"), after(0))
        .expect_err("no eviction");
    assert_eq!(
        refused.status()["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    assert!(
        cluster
            .delete(NAMESPACE, "a", &of("a-uid"), after(0))
            .is_ok()
    );
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut cluster = with_budget(cluster_of(&["a"]), 1);
    let version = cluster.version();
    let options = DeleteOptions {
        writes: Writes::DryRun,
        ..of("a-uid")
    };
    assert_eq!(code(cluster.evict(NAMESPACE, "a", &options, after(0))), 201);
    assert!(cluster.delete(NAMESPACE, "a", &options, after(0)).is_ok());
    assert_eq!(
        (cluster.version(), cluster.budgets()[0].allowed),
        (version, 1)
    );
}

#[test]
fn a_negative_grace_becomes_one_second() {
    let mut cluster = cluster_of(&["a"]);
    let options = DeleteOptions {
        grace: Some(-1),
        ..of("a-uid")
    };
    cluster
        .evict(NAMESPACE, "a", &options, after(0))
        .expect("an eviction");
    let graces: Vec<u32> = cluster
        .pods()
        .filter_map(|pod| Some(pod.deletion?.grace))
        .collect();
    assert_eq!(graces, [1]);
}

#[test]
fn a_watch_sees_a_pod_marked_stopped_and_gone() {
    let mut cluster = cluster_of(&["a"]);
    let from = cluster.version();
    cluster
        .evict(NAMESPACE, "a", &of("a-uid"), after(0))
        .expect("an eviction");
    cluster.advance(after(5));
    let changes = cluster.changes_since(from).expect("a recent version");
    let seen: Vec<(ChangeKind, Option<u32>)> = changes
        .iter()
        .map(|change| {
            (
                change.kind,
                change.pod.deletion.map(|deletion| deletion.grace),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (ChangeKind::Modified, None),
            (ChangeKind::Modified, Some(30)),
            (ChangeKind::Modified, Some(30)),
            (ChangeKind::Modified, Some(0)),
            (ChangeKind::Deleted, Some(0)),
        ]
    );
    assert_eq!(cluster.pods().count(), 0);
    assert_eq!(cluster.everyone().count(), 1);
}

#[test]
fn a_finalizer_keeps_the_object_of_a_pod_that_has_stopped() {
    let mut cluster = cluster_of(&[]);
    let mut pod = Pod::new(NAMESPACE, "a", PodUid::new("a-uid"), NodeName::new("node"));
    pod.finalizers.insert("example.com/hold".to_owned());
    cluster.add_pod(pod);
    cluster
        .evict(NAMESPACE, "a", &of("a-uid"), after(0))
        .expect("an eviction");
    cluster.advance(after(60));
    let [pod] = cluster.pods().collect::<Vec<_>>()[..] else {
        panic!("one pod");
    };
    assert!(pod.is_finished());
    assert_eq!(cluster.next_change(), None);
}

#[test]
fn a_version_that_is_not_kept_any_more_is_refused() {
    let mut cluster = cluster_of(&["a"]);
    let old = cluster.version();
    cluster.forget_history();
    assert_eq!(
        cluster
            .changes_since(old)
            .map_err(|refused| refused.code())
            .err(),
        Some(410)
    );
    assert!(
        cluster
            .changes_since(cluster.version())
            .is_ok_and(<[Change]>::is_empty)
    );
}

#[test]
fn a_patch_with_a_stale_version_is_refused_and_one_that_changes_nothing_writes_nothing() {
    let mut cluster = cluster_of(&[]);
    let patch = |version: u64| -> NodePatch {
        serde_json::from_value(serde_json::json!({
            "metadata": {"resourceVersion": version.to_string(), "labels": {"a": "b"}},
            "spec": {"unschedulable": true},
        }))
        .expect("a patch")
    };
    let first = cluster.node().version;
    let patched = cluster
        .patch_node("node", &patch(first), Writes::Real)
        .expect("the version");
    assert!(patched.unschedulable);
    let stale = cluster.patch_node("node", &patch(first), Writes::Real);
    assert_eq!(code(stale), 409);
    let again = cluster.patch_node("node", &patch(patched.version), Writes::Real);
    assert_eq!(again.map(|node| node.version), Ok(patched.version));
}
