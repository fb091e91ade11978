//! What is foretold of a pod is what the planner would do.

use super::*;
use crate::plan::Policy;
use crate::plan::discovery::Front;
use crate::plan::drain::OnBlocked;
use crate::plan::id::{NodeName, PodRef};
use crate::plan::node::{NodeView, Scheduling};
use crate::plan::pod::{BlockedWish, Exemption, Owner, StartWish};
use crate::plan::time::WallTime;

fn pod(name: &str, grace: u32) -> PodView {
    PodView {
        pod: PodRef {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            uid: PodUid::new(format!("uid-{name}")),
        },
        owner: Some(Owner {
            kind: "ReplicaSet".to_owned(),
            name: "web".to_owned(),
        }),
        grace: Grace::from_secs(grace),
        progress: PodProgress::Ready,
        termination: None,
        mounts_claim: false,
        priority: 0,
        is_mirror: false,
        start: StartWish::AtOnce,
        when_blocked: BlockedWish::AsConfigured,
        created: None,
        labels: BTreeMap::new(),
        address: None,
        ports: Vec::new(),
    }
}

fn question(pods: Vec<PodView>) -> Question {
    Question {
        policy: Policy::default(),
        node: NodeName::new("node"),
        agent: Some(PodUid::new("uid-agent")),
        identity: None,
        view: NodeView {
            uid: "uid-node".to_owned(),
            resource_version: ResourceVersion::new("1"),
            scheduling: Scheduling::Open,
            exclusion_label: None,
            annotation: Annotation::Absent,
            boot_id: None,
            taints: Vec::new(),
            provider: None,
            labels: BTreeMap::new(),
        },
        pods,
        refusals: BTreeMap::new(),
        allowances: Vec::new(),
        namespaces: BTreeMap::new(),
        targets: BTreeMap::new(),
        front: Front::default(),
        wall: WallTime::from_millis(1_800_000_000_000),
    }
}

fn behind_a_closed_budget(name: &str) -> Question {
    let mut question = question(vec![pod(name, 30)]);
    let refused = failure(FailureKind::BlockedByBudget, None);
    question
        .refusals
        .insert(PodUid::new(format!("uid-{name}")), refused);
    question
}

/// The fates by name, times in whole seconds.
fn fates(question: Question) -> Vec<(String, Fate)> {
    forecast(question)
        .into_iter()
        .map(|forecast| (forecast.view.pod.name, forecast.fate))
        .collect()
}

fn evicted(after: u64, given: u32) -> Fate {
    Fate::Evicted {
        after: Duration::from_secs(after),
        given: Grace::from_secs(given),
    }
}

fn deleted(after: u64, given: u32) -> Fate {
    Fate::Deleted {
        after: Duration::from_secs(after),
        given: Grace::from_secs(given),
    }
}

#[test]
fn each_pod_has_the_fate_and_the_time_that_the_planner_gives_it() {
    let late = PodView {
        start: StartWish::Late,
        ..pod("late", 10)
    };
    let critical = PodView {
        priority: 2_000_000_000,
        ..pod("critical", 10)
    };
    let mirror = PodView {
        is_mirror: true,
        ..pod("mirror", 30)
    };
    let finished = PodView {
        progress: PodProgress::Finished,
        ..pod("finished", 30)
    };
    let pods = vec![
        pod("web", 30),
        pod("ledger", 600),
        late,
        critical,
        mirror,
        finished,
        pod("agent", 30),
    ];
    let fates: Vec<Fate> = fates(question(pods))
        .into_iter()
        .map(|(_, fate)| fate)
        .collect();
    assert_eq!(
        fates,
        [
            evicted(0, 30),
            evicted(0, 112),
            evicted(80, 10),
            evicted(80, 10),
            Fate::Exempt(Exemption::Mirror),
            Fate::Finished,
            Fate::Exempt(Exemption::Agent),
        ]
    );
}

#[test]
fn behind_a_closed_budget_a_pod_is_deleted_at_l_or_left_where_that_is_asked_for() {
    let question = behind_a_closed_budget("db");
    assert_eq!(fates(question.clone())[0].1, deleted(82, 30));
    assert_eq!(
        forecast(question.clone())[0].blocked,
        Some(BlockReason::Budget)
    );
    let mut told_to_wait = question.clone();
    told_to_wait.policy.on_blocked = OnBlocked::Wait;
    assert_eq!(fates(told_to_wait)[0].1, Fate::Left(LeftReason::Wait));
    let mut namespace_waits = question;
    namespace_waits
        .namespaces
        .insert("shop".to_owned(), BlockedWish::Wait);
    assert_eq!(fates(namespace_waits)[0].1, Fate::Left(LeftReason::Wait));
}

#[test]
fn of_two_pods_behind_a_budget_that_allows_one_the_second_is_deleted() {
    let mut question = question(vec![pod("web-0", 30), pod("web-1", 30)]);
    question.allowances.push(Allowance {
        budget: "shop/web".to_owned(),
        allowed: 1,
        pods: ["uid-web-0", "uid-web-1"].map(PodUid::new).into(),
    });
    let fates: Vec<Fate> = fates(question).into_iter().map(|(_, fate)| fate).collect();
    assert_eq!(fates, [evicted(0, 30), deleted(82, 30)]);
}

#[test]
fn beside_another_drainer_every_pod_is_anothers() {
    let mut question = question(vec![pod("web", 30)]);
    question.policy.mode = Mode::DeregisterOnly;
    assert_eq!(fates(question)[0].1, Fate::NotOurs);
}

#[test]
fn a_record_of_an_earlier_interruption_changes_nothing() {
    let mut question = question(vec![pod("web", 30)]);
    question.view.annotation = Annotation::Unknown("{}".to_owned());
    assert_eq!(fates(question)[0].1, evicted(0, 30));
}
