//! The controller that keeps the bindings: what is left to it, and for how long.

use super::super::stage::{Stage, failed, first_list, node, pods, wall};
use super::{
    NODE_PORT, arn, binding, by_bindings, calls, deregister, found, front, look, news, numbered,
};
use crate::plan::action::{FailureKind, Inquiry, Outcome, Request, TargetState};
use crate::plan::binding::{Binding, BindingApi, TrafficPolicy};
use crate::plan::fact::{DeregisteredState, Deregistrar, TargetNews};
use crate::plan::id::TargetGroupArn;
use crate::plan::node::CordonPatch;

/// An agent before these bindings that sees a notice five seconds after its start, and whose node then carries the label.
fn labelled(bindings: Vec<Binding>, left: f64) -> Stage {
    let mut stage = unlabelled(bindings, left);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    stage.answer_first(is_cordon, Outcome::Node(node()));
    stage.answer(&first_list(), pods(vec![]));
    stage
}

fn unlabelled(bindings: Vec<Binding>, left: f64) -> Stage {
    noticed(unidentified(bindings).identified(), left)
}

fn unidentified(bindings: Vec<Binding>) -> Stage {
    let front = front(bindings, TrafficPolicy::Cluster);
    Stage::before(by_bindings(), Some(front))
}

fn noticed(mut stage: Stage, left: f64) -> Stage {
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    // The bindings are listed within thirty seconds.
    for _ in 0..7 {
        stage.forward_to(stage.at + 5.0);
        stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    }
    stage.forward_to(40.0);
    let notice = stage.notice(left);
    stage.answer(&Request::ReadNotice, notice);
    stage
}

fn is_cordon(request: &Request) -> bool {
    matches!(request, Request::Cordon(CordonPatch { .. }))
}

/// Bindings whose controller touched them an hour ago.
fn untouched(count: usize) -> Vec<Binding> {
    (0..count)
        .map(|index| numbered(index, wall(-3600.0)))
        .collect()
}

/// When the first call to the load balancer is made, in seconds after the notice.
fn first_call(stage: &mut Stage) -> f64 {
    while calls(stage).is_empty() {
        stage.forward_to_next_due();
    }
    stage.at - 40.0
}

/// Whose doing each deregistration was, and how many calls it took.
fn doers(stage: &Stage) -> Vec<(Deregistrar, u32)> {
    news(stage)
        .into_iter()
        .filter_map(|(_, news)| match news {
            TargetNews::Deregistered { by, attempts, .. } => Some((*by, *attempts)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_group_of_a_controller_is_looked_at_when_that_has_had_two_seconds_and_three_tenths_a_group() {
    let mut stage = labelled(vec![binding()], 120.0);
    assert!((first_call(&mut stage) - 2.3).abs() < 1e-6, "{}", stage.at);
    assert_eq!(calls(&stage), [look(&binding().group)]);
    stage.answer(&look(&binding().group), found(TargetState::Draining));
    assert_eq!(doers(&stage), [(Deregistrar::Controller, 0)]);

    let mut stage = labelled(untouched(10), 120.0);
    assert!((first_call(&mut stage) - 5.0).abs() < 1e-6, "{}", stage.at);
}

#[test]
fn a_group_that_its_controller_leaves_registered_is_deregistered_directly() {
    let mut stage = labelled(vec![binding()], 120.0);
    first_call(&mut stage);
    stage.answer(&look(&binding().group), found(TargetState::Registered));
    stage.answer(&deregister(&binding().group), Outcome::Done);
    first_call(&mut stage);
    stage.answer(&look(&binding().group), found(TargetState::Draining));
    assert_eq!(doers(&stage), [(Deregistrar::Us, 1)]);
}

#[test]
fn a_controller_whose_bindings_do_not_move_is_waited_for_ten_seconds_however_many_groups_it_has() {
    let mut stage = labelled(untouched(100), 120.0);
    assert!((first_call(&mut stage) - 10.0).abs() < 1e-6, "{}", stage.at);
    assert_eq!(calls(&stage).len(), 4);
}

#[test]
fn as_long_as_a_controller_moves_it_is_left_alone_and_twenty_groups_are_looked_at() {
    let mut stage = labelled(untouched(100), 120.0);
    let mut done = 0;
    let mut looked = 0;
    let mut looked_at = Vec::new();
    while stage.at < 85.0 {
        stage.forward_to(stage.at + 0.25);
        if let Some(Request::ReadNotice) = stage
            .open_requests()
            .into_iter()
            .find(|request| **request == Request::ReadNotice)
        {
            let notice = stage.notice(160.0 - stage.at);
            stage.answer(&Request::ReadNotice, notice);
        }
        // Four groups a second.
        if let Some(front) = &mut stage.front
            && done < 100
        {
            front.bindings[done].checkpoint = Some(wall(stage.at));
            done += 1;
        }
        for call in calls(&stage) {
            assert!(matches!(call, Request::DescribeTargets(..)), "{call:?}");
            looked += 1;
            looked_at.push(call.clone());
            stage.answer(&call, found(TargetState::Draining));
        }
    }
    assert_eq!(doers(&stage), vec![(Deregistrar::Controller, 0); 100]);
    // Twenty were looked at, and again three times at most; the rest is the controller's word.
    assert!((20..=20 + 3 * 20).contains(&looked), "{looked}");
}

#[test]
fn of_more_groups_than_twenty_that_are_done_at_once_the_others_are_believed() {
    let mut stage = labelled(untouched(50), 120.0);
    if let Some(front) = &mut stage.front {
        for binding in &mut front.bindings {
            binding.checkpoint = Some(wall(43.0));
        }
    }
    stage.forward_to(45.0);
    assert_eq!(doers(&stage), vec![(Deregistrar::Controller, 0); 30]);
    let mut looks = 0;
    while let Some(call) = calls(&stage).first().cloned() {
        looks += 1;
        stage.answer(&call, found(TargetState::Draining));
    }
    assert_eq!(looks, 20);
    assert_eq!(doers(&stage).len(), 50);
}

#[test]
fn a_controller_that_stops_in_the_middle_is_waited_for_ten_seconds_from_its_last_movement() {
    let mut stage = labelled(untouched(100), 120.0);
    if let Some(front) = &mut stage.front {
        front.bindings[7].checkpoint = Some(wall(43.0));
    }
    stage.forward_to(45.0);
    let done = look(&arn("web-7"));
    assert_eq!(calls(&stage), std::slice::from_ref(&done));
    stage.answer(&done, found(TargetState::Draining));
    // It is looked at again five seconds later; the others come ten after the listing that showed it.
    stage.forward_to(54.9);
    let others = |stage: &Stage| {
        calls(stage)
            .into_iter()
            .filter(|call| *call != done)
            .count()
    };
    assert_eq!(others(&stage), 0);
    stage.forward_to(55.0);
    assert!(others(&stage) > 0);
}

#[test]
fn with_less_than_forty_seconds_left_nothing_is_left_to_a_controller() {
    let stage = labelled(vec![binding()], 39.0);
    assert_eq!(calls(&stage), [look(&binding().group)]);
    let stage = labelled(vec![binding()], 41.0);
    assert_eq!(calls(&stage), []);
}

#[test]
fn a_node_that_cannot_be_labelled_is_deregistered_directly_at_once() {
    let mut stage = unlabelled(vec![binding()], 120.0);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    assert_eq!(calls(&stage), []);
    stage.answer_first(is_cordon, failed(FailureKind::Forbidden, 403));
    assert_eq!(calls(&stage), [look(&binding().group)]);
}

#[test]
fn a_conflict_over_the_label_changes_nothing_for_the_controller() {
    let mut stage = unlabelled(vec![binding()], 120.0);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    stage.answer_first(is_cordon, failed(FailureKind::Conflict, 409));
    assert_eq!(calls(&stage), []);
}

/// Plays on until the group is looked at again, and says how many seconds after `since` that was.
fn next_look(stage: &mut Stage, group: &TargetGroupArn, since: f64) -> f64 {
    while !calls(stage).contains(&look(group)) {
        stage.forward_to_next_due();
    }
    stage.at - since
}

#[test]
fn a_group_that_let_go_is_looked_at_again_after_five_twenty_and_fifty_seconds() {
    let mut stage = labelled(vec![binding()], 120.0);
    let group = binding().group;
    first_call(&mut stage);
    let since = stage.at;
    stage.answer(&look(&group), found(TargetState::Draining));
    for after in [5.0, 20.0, 50.0] {
        let looked = next_look(&mut stage, &group, since);
        assert!((looked - after).abs() < 1e-6, "{looked} s");
        stage.answer(&look(&group), found(TargetState::Draining));
    }
    stage.forward_to(159.0);
    assert_eq!(calls(&stage), []);
    assert_eq!(doers(&stage).len(), 1);
}

#[test]
fn a_registration_that_comes_back_is_told_and_ended_again() {
    let mut stage = labelled(vec![binding()], 120.0);
    let group = binding().group;
    first_call(&mut stage);
    stage.answer(&look(&group), found(TargetState::Draining));
    next_look(&mut stage, &group, 0.0);
    stage.answer(&look(&group), found(TargetState::Registered));
    let (target, told) = news(&stage).pop().expect("news");
    assert_eq!(target.port, Some(NODE_PORT));
    assert_eq!(*told, TargetNews::Reregistered { count: 1 });
    stage.answer(&deregister(&group), Outcome::Done);
    next_look(&mut stage, &group, 0.0);
    stage.answer(&look(&group), found(TargetState::Draining));
    // That it drains has been told once.
    assert_eq!(doers(&stage), [(Deregistrar::Controller, 0)]);
    let is_draining = |news: &TargetNews| {
        matches!(
            news,
            TargetNews::Deregistered {
                state: DeregisteredState::Draining,
                ..
            }
        )
    };
    let told = news(&stage)
        .into_iter()
        .filter(|(_, news)| is_draining(news));
    assert_eq!(told.count(), 1);
    stage.forward_to(160.0);
    assert!(
        !news(&stage)
            .iter()
            .any(|(_, news)| matches!(news, TargetNews::Failed { .. }))
    );
}

#[test]
fn a_listing_that_fails_is_no_news_of_the_controller() {
    // Touched after the agent's start, and long before the notice.
    let mut stage = labelled(untouched(30), 120.0);
    assert_eq!(calls(&stage), []);
    stage.front = None;
    stage.forward_to(45.0);
    let lists = Request::Find(Inquiry::Bindings(BindingApi::Controller));
    stage.answer(&lists, failed(FailureKind::ServerError, 503));
    assert_eq!(calls(&stage), []);
    assert_eq!(doers(&stage), []);
}

/// The controller leaves a checkpoint at these of its bindings.
fn touch(stage: &mut Stage, bindings: std::ops::Range<usize>, at: f64) {
    if let Some(front) = &mut stage.front {
        for binding in &mut front.bindings[bindings] {
            binding.checkpoint = Some(wall(at));
        }
    }
}

#[test]
fn a_controller_that_has_moved_is_waited_for_until_it_has_stood_still_for_ten_seconds() {
    let mut stage = labelled(untouched(20), 120.0);
    touch(&mut stage, 0..1, 43.0);
    stage.forward_to(45.0);
    let moved = look(&arn("web-0"));
    assert_eq!(calls(&stage), std::slice::from_ref(&moved));
    stage.answer(&moved, found(TargetState::NotRegistered));
    // Eight seconds would be all that twenty groups take.
    stage.forward_to(49.9);
    assert!(calls(&stage).is_empty());
    while calls(&stage).iter().all(|call| *call == moved) {
        stage.forward_to_next_due();
        if calls(&stage).contains(&moved) {
            stage.answer(&moved, found(TargetState::NotRegistered));
        }
    }
    assert!((stage.at - 55.0).abs() < 1e-6, "{}", stage.at);
}

#[test]
fn a_checkpoint_of_work_that_began_before_the_label_leaves_the_group_to_the_controller() {
    let mut stage = labelled(untouched(20), 120.0);
    touch(&mut stage, 0..2, 41.0);
    let looks = [look(&arn("web-0")), look(&arn("web-1"))];
    first_call(&mut stage);
    for look in &looks {
        stage.answer(look, found(TargetState::Registered));
    }
    assert!(calls(&stage).is_empty(), "{:?}", calls(&stage));
    touch(&mut stage, 0..1, 47.0);
    first_call(&mut stage);
    assert_eq!(calls(&stage), [looks[0].clone()]);
    stage.answer(&looks[0], found(TargetState::Draining));
    assert_eq!(doers(&stage), [(Deregistrar::Controller, 0)]);
}

#[test]
fn believed_is_only_a_checkpoint_that_is_later_than_work_under_way() {
    let mut stage = labelled(untouched(30), 120.0);
    touch(&mut stage, 0..30, 42.0);
    stage.forward_to(45.0);
    assert!(doers(&stage).is_empty(), "{:?}", doers(&stage));
}

fn throttled() -> Outcome {
    failed(FailureKind::Throttled(None), 400)
}

#[test]
fn what_the_controller_says_is_believed_when_looks_are_throttled() {
    let mut stage = labelled(untouched(30), 120.0);
    touch(&mut stage, 0..30, 43.0);
    stage.forward_to(45.0);
    let under_way = calls(&stage);
    assert_eq!((under_way.len(), doers(&stage).len()), (4, 10));
    stage.answer(&under_way[0], throttled());
    // The three that are under way still count.
    assert_eq!(calls(&stage), under_way[1..]);
    assert_eq!(doers(&stage), vec![(Deregistrar::Controller, 0); 27]);
}

#[test]
fn a_doubtful_group_whose_look_is_throttled_is_looked_at_after_the_next_listing() {
    let mut stage = labelled(untouched(20), 120.0);
    touch(&mut stage, 0..1, 41.0);
    stage.forward_to(45.0);
    let doubtful = look(&arn("web-0"));
    stage.answer(&doubtful, throttled());
    assert_eq!(doers(&stage), []);
    assert!((first_call(&mut stage) - 10.0).abs() < 1e-6, "{}", stage.at);
    assert_eq!(calls(&stage), [doubtful]);
}

#[test]
fn a_review_that_is_throttled_is_left_out_with_those_that_wait_for_a_call() {
    let mut stage = labelled(untouched(20), 120.0);
    touch(&mut stage, 0..20, 43.0);
    stage.forward_to(45.0);
    while let Some(call) = calls(&stage).first().cloned() {
        stage.answer(&call, found(TargetState::Draining));
    }
    stage.forward_to(50.0);
    let under_way = calls(&stage);
    assert_eq!(under_way.len(), 4);
    stage.answer(&under_way[0], throttled());
    assert_eq!(calls(&stage), under_way[1..]);
    for call in &under_way[1..] {
        stage.answer(call, found(TargetState::Draining));
    }
    stage.forward_to(64.9);
    assert_eq!(calls(&stage), []);
    stage.forward_to(65.0);
    assert_eq!(calls(&stage).len(), 4);
}

/// Thirty groups, all of which the controller has passed at 50 s, and one of which it was seen at work on at 45 s.
fn seen_at_work_on_the_last() -> Stage {
    let mut stage = labelled(untouched(30), 120.0);
    touch(&mut stage, 0..1, 43.0);
    if let Some(front) = &mut stage.front {
        front.bindings[29].checkpoint = None;
    }
    stage.forward_to(45.0);
    stage.answer(&look(&arn("web-0")), found(TargetState::Draining));
    touch(&mut stage, 1..30, 48.0);
    stage.forward_to(50.0);
    stage
}

#[test]
fn a_group_that_the_controller_was_seen_at_work_on_is_not_believed_without_a_look() {
    let stage = seen_at_work_on_the_last();
    // Nineteen more are looked at, and of the other ten that one is not believed.
    assert_eq!(doers(&stage), vec![(Deregistrar::Controller, 0); 1 + 9]);
}

#[test]
fn a_group_that_the_controller_was_seen_at_work_on_is_not_believed_at_the_next_listing_either() {
    let mut stage = seen_at_work_on_the_last();
    for _ in 0..40 {
        let looks: Vec<Request> = calls(&stage);
        for call in looks {
            stage.answer(&call, failed(FailureKind::Throttled(None), 400));
        }
    }
    // All others are believed now, and that one is not, however often its checkpoint is read.
    stage.forward_to(55.0);
    let believed = doers(&stage).len();
    assert_eq!(believed, 29, "{:?}", doers(&stage));
    assert_eq!(calls(&stage), [look(&arn("web-29"))]);
}

#[test]
fn the_bindings_of_a_group_that_goes_back_to_its_controller_are_listed_on() {
    let mut stage = labelled(untouched(15), 120.0);
    touch(&mut stage, 0..15, 41.0);
    stage.forward_to(45.5);
    while let Some(call) = calls(&stage).first() {
        let seen = if *call == look(&arn("web-3")) {
            TargetState::Registered
        } else {
            TargetState::Draining
        };
        stage.answer(call, found(seen));
    }
    touch(&mut stage, 3..4, 46.0);
    stage.forward_to(50.6);
    // The others are looked at again by then.
    let is_another = |call: &&Request| **call != look(&arn("web-3"));
    while let Some(call) = calls(&stage).iter().find(is_another) {
        stage.answer(call, found(TargetState::Draining));
    }
    assert_eq!(calls(&stage), [look(&arn("web-3"))]);
}

#[test]
fn the_bindings_are_listed_on_for_an_agent_that_learns_late_which_instance_it_is() {
    let mut stage = noticed(unidentified(untouched(30)), 120.0);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    stage.answer_first(is_cordon, Outcome::Node(node()));
    stage.answer(&first_list(), pods(vec![]));
    while !stage.open_requests().contains(&&Request::ReadIdentity) {
        stage.forward_to_next_due();
    }
    let mut stage = stage.identified();
    let learned = stage.at;
    touch(&mut stage, 3..4, learned + 1.0);
    stage.forward_to(learned + 6.0);
    assert_eq!(calls(&stage), [look(&arn("web-3"))]);
}
