//! Who goes when: ordinary pods at once, critical ones after them, late ones as late as they want.

use super::stage::{
    Stage, failed, first_list, gone, next_list, pod, pods, policy, seen, terminating, wall,
};
use crate::plan::Policy;
use crate::plan::action::{FailureKind, Outcome, Request};
use crate::plan::budget::Grace;
use crate::plan::drain::JobPods;
use crate::plan::fact::PodNews;
use crate::plan::notice::{AnnouncedAction, Announcement, InterruptionAction};
use crate::plan::pod::{Owner, PodProgress, PodView, StartWish, Wave};

fn critical(name: &str, grace: u32) -> PodView {
    PodView {
        priority: 2_000_000_000,
        ..pod(name, grace)
    }
}

fn late(name: &str) -> PodView {
    PodView {
        start: StartWish::Late,
        ..pod(name, 30)
    }
}

fn of_a_job(name: &str) -> PodView {
    PodView {
        owner: Some(Owner {
            kind: "Job".to_owned(),
            name: "report".to_owned(),
        }),
        ..pod(name, 30)
    }
}

#[test]
fn critical_pods_wait_until_the_others_are_gone() {
    let listed = vec![critical("dns", 30), pod("web", 30), pod("api", 30)];
    let mut stage = Stage::draining(policy(), 120.0, listed);
    assert_eq!(
        stage.pod_calls(),
        [("evict", "api", None), ("evict", "web", None)]
    );
    for name in ["api", "web"] {
        stage.answer_pod(name, Outcome::Done);
        stage.watch(seen(terminating(name, 30, 30, 5.0)));
    }
    stage.forward_to(9.0);
    stage.watch(gone("api"));
    assert_eq!(stage.pod_calls(), []);
    let stopped = PodView {
        progress: PodProgress::Finished,
        ..terminating("web", 30, 30, 5.0)
    };
    stage.watch(seen(stopped));
    assert_eq!(stage.pod_calls(), [("evict", "dns", None)]);
}

#[test]
fn a_pod_with_a_long_grace_period_starves_no_critical_pod() {
    let listed = vec![critical("dns", 30), critical("proxy", 5), pod("slow", 600)];
    let mut stage = Stage::draining(policy(), 120.0, listed);
    stage.answer_pod("slow", Outcome::Done);
    stage.watch(seen(terminating("slow", 600, 112, 5.0)));
    // D is at 125 s: L is 87 s for a grace period of 30 s, and the wave begins 20 s before that, with all of its pods.
    stage.forward_to(66.9);
    assert_eq!(stage.pod_calls(), []);
    stage.forward_to(67.0);
    assert_eq!(
        stage.pod_calls(),
        [("evict", "dns", None), ("evict", "proxy", None)]
    );
}

#[test]
fn a_termination_whose_time_is_over_holds_no_critical_pod_up() {
    let mut stage = Stage::draining(policy(), 120.0, vec![critical("dns", 30), pod("held", 10)]);
    stage.answer_pod("held", Outcome::Done);
    stage.watch(seen(terminating("held", 10, 10, 5.0)));
    stage.forward_to(14.9);
    assert_eq!(stage.pod_calls(), []);
    stage.forward_to(15.0);
    assert_eq!(stage.pod_calls(), [("evict", "dns", None)]);
}

#[test]
fn each_eviction_is_told_with_the_wave_it_belongs_to() {
    let listed = vec![critical("dns", 30), pod("web", 30)];
    let mut stage = Stage::draining(policy(), 120.0, listed);
    for (view, wave) in [
        (pod("web", 30), Wave::Ordinary),
        (critical("dns", 30), Wave::Critical),
    ] {
        let name = &*view.pod.name;
        stage.answer_pod(name, Outcome::Done);
        stage.watch(seen(PodView {
            priority: view.priority,
            ..terminating(name, 30, 30, 5.0)
        }));
        let expected = PodNews::Evicted {
            attempts: 1,
            grace_given: Grace::from_secs(30),
            wave,
        };
        assert_eq!(stage.news_of(name), [&expected]);
        stage.watch(gone(name));
    }
}

#[test]
fn critical_pods_alone_go_at_once() {
    let stage = Stage::draining(policy(), 120.0, vec![critical("dns", 30)]);
    assert_eq!(stage.pod_calls(), [("evict", "dns", None)]);
}

#[test]
fn a_late_pod_begins_twenty_seconds_before_its_last_useful_moment() {
    let mut stage = Stage::draining(policy(), 120.0, vec![late("batch"), pod("web", 30)]);
    assert_eq!(stage.pod_calls(), [("evict", "web", None)]);
    stage.answer_pod("web", Outcome::Done);
    stage.watch(gone("web"));
    stage.forward_to(66.9);
    assert_eq!(stage.pod_calls(), []);
    stage.forward_to(67.0);
    assert_eq!(stage.pod_calls(), [("evict", "batch", None)]);
}

#[test]
fn with_little_time_left_nobody_is_late() {
    let stage = Stage::draining(policy(), 30.0, vec![late("batch"), critical("dns", 30)]);
    assert_eq!(
        stage.pod_calls(),
        [("evict", "batch", Some(22)), ("evict", "dns", Some(22))]
    );
}

#[test]
fn pods_of_jobs_are_late_where_that_is_asked_for() {
    let listed = || vec![of_a_job("report")];
    let stage = Stage::draining(policy(), 120.0, listed());
    assert_eq!(stage.pod_calls(), [("evict", "report", None)]);
    let late = Policy {
        job_pods: JobPods::Late,
        ..policy()
    };
    let mut stage = Stage::draining(late, 120.0, listed());
    assert_eq!(stage.pod_calls(), []);
    stage.forward_to(67.0);
    assert_eq!(stage.pod_calls(), [("evict", "report", None)]);
}

#[test]
fn a_critical_pod_that_wants_to_be_late_waits_for_both() {
    let reluctant = PodView {
        start: StartWish::Late,
        ..critical("dns", 30)
    };
    let mut stage = Stage::draining(policy(), 120.0, vec![reluctant, pod("web", 30)]);
    stage.answer_pod("web", Outcome::Done);
    stage.watch(gone("web"));
    assert_eq!(stage.pod_calls(), []);
    stage.forward_to(67.0);
    assert_eq!(stage.pod_calls(), [("evict", "dns", None)]);
}

#[test]
fn a_termination_that_would_outlive_the_node_is_hurried_once_two_seconds_before_its_stop() {
    let foreign = terminating("slow", 600, 600, 0.0);
    let mut stage = Stage::draining(policy(), 120.0, vec![foreign]);
    assert_eq!(stage.pod_calls(), []);
    // S is at 117 s.
    stage.forward_to(114.9);
    assert_eq!(stage.pod_calls(), []);
    stage.forward_to(115.0);
    assert_eq!(stage.pod_calls(), [("evict", "slow", Some(1))]);
    stage.answer_pod("slow", Outcome::Done);
    let hurried = vec![terminating("slow", 600, 1, 115.0)];
    stage.answer(&next_list("100"), pods(hurried));
    stage.forward_to(124.0);
    assert_eq!(stage.pod_calls(), []);
}

#[test]
fn a_termination_that_ends_in_time_is_left_alone() {
    let mut stage = Stage::draining(policy(), 120.0, vec![terminating("web", 60, 60, 0.0)]);
    stage.forward_to(124.0);
    assert_eq!(stage.pod_calls(), []);
}

#[test]
fn a_hibernation_asks_everybody_to_leave_at_once_with_their_own_grace_and_forces_nothing() {
    let mut stage = Stage::new(policy());
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    stage.forward_to(5.0);
    stage.answer(
        &Request::ReadNotice,
        Outcome::Notice(Some(Announcement {
            action: AnnouncedAction::Known(InterruptionAction::Hibernate),
            time: Some(wall(5.0)),
            server_date: Some(wall(5.0)),
        })),
    );
    let listed = vec![critical("dns", 30), late("batch"), pod("slow", 600)];
    stage.answer(&first_list(), pods(listed));
    assert_eq!(
        stage.pod_calls(),
        [
            ("evict", "slow", None),
            ("evict", "batch", None),
            ("evict", "dns", None)
        ]
    );
    for name in ["batch", "dns"] {
        stage.answer_pod(name, Outcome::Done);
    }
    stage.watch(seen(terminating("batch", 30, 30, 5.0)));
    stage.watch(seen(terminating("dns", 30, 30, 5.0)));
    stage.answer_pod("slow", failed(FailureKind::BlockedByBudget, 429));
    // The verdict does not wait for a deadline that EC2 does not wait for.
    stage.forward_to(8.0);
    let told = stage.summary().pods;
    assert_eq!((told.stopping, told.cut, told.left), (2, 0, 1));
    stage.forward_to(24.0);
    let calls = stage.pod_calls();
    assert!(calls.iter().all(|(verb, ..)| *verb == "evict"), "{calls:?}");
}

#[test]
fn a_termination_that_ends_late_gives_back_the_slot_of_the_call_that_was_under_way() {
    let one_slot = Policy {
        max_in_flight: 1,
        ..policy()
    };
    let mut stage = Stage::draining(one_slot, 120.0, vec![pod("api", 30), pod("web", 30)]);
    assert_eq!(stage.pod_calls(), [("evict", "api", None)]);
    // Another drainer was faster, and gave it more time than there is.
    stage.watch(seen(terminating("api", 600, 600, 5.0)));
    stage.forward_to(30.0);
    assert_eq!(stage.pod_calls(), [("evict", "web", None)]);
}
