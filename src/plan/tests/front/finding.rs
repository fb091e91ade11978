//! Which target groups are this node's, and how that is found out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::stage::{
    Front, Stage, failed, first_list, instance, node, own, pod, pods, policy, seen,
};
use super::{NODE_PORT, arn, binding, by_bindings, calls, front, labels, named, news, web};
use crate::plan::action::{FailureKind, Finding, Inquiry, Outcome, Ports, Request};
use crate::plan::binding::{
    Account, Binding, BindingApi, GroupTag, ListedGroup, Marker, Selector, TargetId, TargetType,
    TrafficPolicy,
};
use crate::plan::fact::{Fact, SkipReason, Source, TargetNews};
use crate::plan::id::TargetGroupArn;
use crate::plan::node::NodeView;
use crate::plan::pod::{Owner, PodView};
use crate::plan::{Discover, Policy};

/// The questions that are open.
fn questions(stage: &Stage) -> Vec<Inquiry> {
    let requests = stage.open_requests().into_iter();
    requests
        .filter_map(|request| match request {
            Request::Find(inquiry) => Some(inquiry.clone()),
            _ => None,
        })
        .collect()
}

fn answer(stage: &mut Stage, inquiry: Inquiry, outcome: Outcome) {
    stage.answer(&Request::Find(inquiry), outcome);
}

/// An agent that has polled for `seconds` and seen nothing.
fn idle(policy: Policy, front: Option<Front>, seconds: f64) -> Stage {
    let mut stage = Stage::before(policy, front).identified();
    while stage.at < seconds {
        if stage.open_requests().contains(&&Request::ReadNotice) {
            stage.answer(&Request::ReadNotice, Outcome::Notice(None));
        }
        stage.forward_to(stage.at + 5.0);
    }
    stage
}

fn interrupt(stage: &mut Stage) {
    let notice = stage.notice(120.0);
    stage.answer(&Request::ReadNotice, notice);
}

fn with_bindings(bindings: Vec<Binding>) -> Front {
    front(bindings, TrafficPolicy::Cluster)
}

#[test]
fn bindings_are_listed_within_thirty_seconds_of_the_start_and_what_they_name_is_told_once() {
    let stage = idle(by_bindings(), Some(with_bindings(vec![binding()])), 300.0);
    let told = news(&stage);
    assert_eq!(told.len(), 1);
    let (target, told) = told[0];
    assert_eq!(*told, TargetNews::Resolved);
    assert_eq!(target.port, Some(NODE_PORT));
    assert_eq!(target.source, Source::Binding);
    assert_eq!(target.binding, Some(named("web")));
}

#[test]
fn without_the_api_of_bindings_nothing_is_found_and_nothing_is_said() {
    let mut stage = Stage::before(by_bindings(), None).identified();
    for _ in BindingApi::ALL {
        let inquiry = next_question(&mut stage);
        answer(&mut stage, inquiry, failed(FailureKind::NotFound, 404));
    }
    stage.forward_to(300.0);
    assert_eq!(questions(&stage), []);
    let is_warning = |fact: &Fact| matches!(fact, Fact::TargetsUnresolved { .. });
    assert_eq!(stage.count(is_warning), 0);
}

#[test]
fn what_may_not_be_listed_is_told_once_and_not_asked_for_again_until_a_notice_comes() {
    let mut stage = Stage::before(by_bindings(), None).identified();
    for _ in BindingApi::ALL {
        let inquiry = next_question(&mut stage);
        answer(&mut stage, inquiry, failed(FailureKind::Forbidden, 403));
    }
    let is_warning = |fact: &Fact| matches!(fact, Fact::TargetsUnresolved { .. });
    assert_eq!(stage.count(is_warning), 1);
    assert_eq!(questions(&stage), []);
}

#[test]
fn an_api_server_that_is_away_is_asked_again_until_it_answers() {
    let mut stage = idle(by_bindings(), None, 30.0);
    let mut asked = 0;
    while stage.at < 1_000.0 {
        for inquiry in questions(&stage) {
            asked += 1;
            answer(&mut stage, inquiry, failed(FailureKind::ServerError, 500));
        }
        if stage.open_requests().contains(&&Request::ReadNotice) {
            stage.answer(&Request::ReadNotice, Outcome::Notice(None));
        }
        stage.forward_to_next_due();
    }
    assert!((16..40).contains(&asked), "{asked}");
}

#[test]
fn what_was_known_is_dealt_with_at_once_when_the_api_server_is_away_at_the_notice() {
    let mut stage = idle(by_bindings(), Some(with_bindings(vec![binding()])), 40.0);
    stage.front = None;
    interrupt(&mut stage);
    while calls(&stage).is_empty() {
        stage.forward_to_next_due();
    }
    let look = Request::DescribeTargets(binding().group, own(), Ports::Only(NODE_PORT));
    assert_eq!(calls(&stage), [look]);
}

#[test]
fn a_binding_that_is_new_at_the_notice_joins_the_others() {
    let mut stage = idle(by_bindings(), Some(with_bindings(vec![])), 40.0);
    stage.front = Some(with_bindings(vec![binding()]));
    interrupt(&mut stage);
    while calls(&stage).is_empty() {
        stage.forward_to_next_due();
    }
    assert_eq!(calls(&stage).len(), 1);
}

#[test]
fn a_binding_without_its_service_has_the_group_asked_for_our_ports() {
    let orphan = Binding {
        service: named("gone"),
        ..binding()
    };
    let mut stage = idle(by_bindings(), Some(with_bindings(vec![orphan])), 40.0);
    interrupt(&mut stage);
    while calls(&stage).is_empty() {
        stage.forward_to_next_due();
    }
    let look = Request::DescribeTargets(binding().group, own(), Ports::All);
    assert_eq!(calls(&stage), [look]);
}

#[test]
fn bindings_of_other_nodes_of_other_accounts_and_of_addresses_are_not_ours() {
    let elsewhere = Binding {
        name: named("elsewhere"),
        group: arn("elsewhere"),
        node_selector: Selector::of_labels(&labels(&[("pool", "other")])),
        ..binding()
    };
    let foreign = Binding {
        name: named("foreign"),
        group: arn("foreign"),
        account: Account::Other,
        ..binding()
    };
    let by_address = Binding {
        name: named("by-address"),
        group: arn("by-address"),
        target_type: TargetType::Ip,
        ..binding()
    };
    let bindings = vec![elsewhere, foreign, by_address];
    let mut stage = idle(by_bindings(), Some(with_bindings(bindings)), 40.0);
    interrupt(&mut stage);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    stage.answer_first(
        |request| matches!(request, Request::Cordon(_)),
        Outcome::Node(NodeView {
            labels: labels(&[("pool", "spot")]),
            ..node()
        }),
    );
    stage.answer(&super::super::stage::first_list(), pods(vec![web("a", 30)]));
    let skipped: Vec<TargetGroupArn> = news(&stage)
        .into_iter()
        .filter(|(_, news)| **news == TargetNews::Skipped(SkipReason::OtherAccount))
        .map(|(target, _)| target.group.clone())
        .collect();
    assert_eq!(skipped, [arn("foreign")]);
    let address = |call: &Request| matches!(call, Request::DescribeTargets(group, ..) if *group == arn("by-address"));
    stage.forward_to(stage.at + 9.0);
    assert!(!calls(&stage).iter().any(address));
}

#[test]
fn a_node_that_names_another_instance_stops_everything_at_the_load_balancer() {
    let mut policy = super::super::stage::with_group(Ports::All);
    policy.discover = BTreeSet::new();
    let mut stage = idle(policy, Some(Front::default()), 5.0);
    interrupt(&mut stage);
    assert_eq!(calls(&stage).len(), 1);
    let other = crate::plan::id::InstanceId::new("i-0fedcba9876543210");
    let theirs = NodeView {
        provider: Some(other.clone()),
        ..node()
    };
    stage.answer(&Request::ReadNode, Outcome::Node(theirs));
    let told = |fact: &Fact| {
        *fact
            == Fact::NodeMismatch {
                expected: instance(),
                found: other.clone(),
            }
    };
    assert_eq!(stage.count(told), 1);
    assert_eq!(calls(&stage), []);
    stage.forward_to(125.0);
    assert_eq!(calls(&stage), []);
    assert_eq!(stage.summary().targets.failed, 1);
}

/// An interruption where one group is bound to pods by their addresses, before the first list of pods has come.
fn bound_by_address() -> Stage {
    let by_address = Binding {
        target_type: TargetType::Ip,
        ..binding()
    };
    let mut stage = idle(by_bindings(), Some(with_bindings(vec![by_address])), 40.0);
    interrupt(&mut stage);
    stage
}

/// The pod of a DaemonSet that the binding means.
fn gateway() -> PodView {
    PodView {
        owner: Some(Owner {
            kind: "DaemonSet".to_owned(),
            name: "gateway".to_owned(),
        }),
        address: Some(address()),
        ..web("gateway", 30)
    }
}

fn address() -> IpAddr {
    "10.0.1.7".parse().expect("an address")
}

fn look_at_the_gateway() -> Request {
    let target = TargetId::Address(address());
    Request::DescribeTargets(binding().group, target, Ports::Only(8080))
}

#[test]
fn the_address_of_a_daemon_set_pod_is_deregistered_by_us() {
    let mut stage = bound_by_address();
    let plain = PodView {
        address: "10.0.1.8".parse().ok(),
        ..web("plain", 30)
    };
    stage.answer(
        &first_list(),
        pods(vec![gateway(), plain, pod("other", 30)]),
    );
    assert_eq!(calls(&stage), [look_at_the_gateway()]);
}

#[test]
fn the_address_of_a_daemon_set_pod_is_known_too_when_the_second_list_brings_it() {
    let mut stage = bound_by_address();
    // The first list is not answered, and after two seconds there is another beside it.
    let later = stage.at + 3.5;
    stage.forward_to(later);
    stage.answer_youngest_list(pods(vec![gateway(), pod("other", 30)]));
    assert_eq!(calls(&stage), [look_at_the_gateway()]);
}

#[test]
fn a_daemon_set_pod_that_gets_its_address_later_is_deregistered_then() {
    let mut stage = bound_by_address();
    let without = PodView {
        address: None,
        ..gateway()
    };
    stage.answer(&first_list(), pods(vec![without, pod("other", 30)]));
    assert_eq!(calls(&stage), []);
    stage.watch(seen(gateway()));
    assert_eq!(calls(&stage), [look_at_the_gateway()]);
}

fn by_tag() -> Policy {
    Policy {
        discover: BTreeSet::from([Discover::Tag]),
        ..policy()
    }
}

fn listed(name: &str, target_type: TargetType) -> ListedGroup {
    ListedGroup {
        arn: arn(name),
        target_type,
        kind: None,
    }
}

fn page(names: &[String], next: Option<&str>) -> Outcome {
    let groups = names.iter().map(|name| listed(name, TargetType::Instance));
    let next = next.map(|marker| Marker(marker.to_owned()));
    Outcome::Found(Finding::Groups(groups.collect(), next))
}

fn enabled(key: &str) -> GroupTag {
    GroupTag {
        key: key.to_owned(),
        value: "true".to_owned(),
    }
}

/// Plays until a question is open, and takes it.
fn next_question(stage: &mut Stage) -> Inquiry {
    loop {
        if let Some(inquiry) = questions(stage).first() {
            return inquiry.clone();
        }
        if stage.open_requests().contains(&&Request::ReadNotice) {
            stage.answer(&Request::ReadNotice, Outcome::Notice(None));
        }
        stage.forward_to_next_due();
    }
}

#[test]
fn groups_with_a_tag_are_found_page_by_page_and_twenty_at_a_time() {
    let mut stage = Stage::before(by_tag(), None).identified();
    let first: Vec<String> = (0..15).map(|index| format!("a-{index}")).collect();
    let second: Vec<String> = (0..10).map(|index| format!("b-{index}")).collect();
    assert_eq!(next_question(&mut stage), Inquiry::Groups(None));
    assert!(stage.at <= 300.0, "{} s", stage.at);
    answer(&mut stage, Inquiry::Groups(None), page(&first, Some("2")));
    let two = Inquiry::Groups(Some(Marker("2".to_owned())));
    assert_eq!(next_question(&mut stage), two);
    answer(&mut stage, two, page(&second, None));
    let mut sizes = Vec::new();
    for _ in 0..2 {
        let Inquiry::Tags(asked) = next_question(&mut stage) else {
            panic!("{:?}", questions(&stage));
        };
        sizes.push(asked.len());
        let tags = asked.iter().map(|group| {
            let tag = match group.as_str() {
                one if one.contains("/a-3/") => vec![enabled("interrupt-handler/enabled")],
                other if other.contains("/b-9/") => {
                    vec![enabled("x"), enabled("spot-interrupt-handler/enabled")]
                }
                _ => vec![enabled("x")],
            };
            (group.clone(), tag)
        });
        let tags = Outcome::Found(Finding::Tags(tags.collect()));
        answer(&mut stage, Inquiry::Tags(asked), tags);
    }
    assert_eq!(sizes, [20, 5]);
    let found: Vec<&TargetGroupArn> = news(&stage)
        .into_iter()
        .filter(|(target, _)| target.source == Source::Tag)
        .map(|(target, _)| &target.group)
        .collect();
    assert_eq!(found, [&arn("a-3"), &arn("b-9")]);
}

#[test]
fn groups_whose_targets_live_on_no_node_are_not_asked_for_their_tags() {
    let mut stage = Stage::before(by_tag(), None).identified();
    next_question(&mut stage);
    let groups = vec![
        listed("pods", TargetType::Ip),
        listed("lambda", TargetType::Elsewhere),
    ];
    let page = Outcome::Found(Finding::Groups(groups, None));
    answer(&mut stage, Inquiry::Groups(None), page);
    assert_eq!(questions(&stage), []);
}

#[test]
fn a_listing_that_goes_round_in_circles_ends() {
    let mut stage = Stage::before(by_tag(), None).identified();
    next_question(&mut stage);
    let names = ["web".to_owned()];
    answer(&mut stage, Inquiry::Groups(None), page(&names, Some("2")));
    let two = Inquiry::Groups(Some(Marker("2".to_owned())));
    answer(&mut stage, two, page(&names, Some("2")));
    assert!(matches!(questions(&stage)[..], [Inquiry::Tags(_)]));
}

#[test]
fn nothing_is_finished_as_long_as_groups_may_still_be_found() {
    let mut stage = Stage::before(by_bindings(), None).identified();
    let notice = stage.notice(120.0);
    stage.answer(&Request::ReadNotice, notice);
    stage.answer(&Request::ReadNode, Outcome::Node(node()));
    stage.answer_first(
        |request| matches!(request, Request::Cordon(_)),
        Outcome::Node(node()),
    );
    stage.answer(&super::super::stage::first_list(), pods(vec![]));
    let verdicts = |stage: &Stage| stage.count(|fact| matches!(fact, Fact::Verdict(..)));
    answer(
        &mut stage,
        Inquiry::Bindings(BindingApi::AutoMode),
        failed(FailureKind::NotFound, 404),
    );
    stage.forward_to(4.0);
    assert_eq!(verdicts(&stage), 0);
    answer(
        &mut stage,
        Inquiry::Bindings(BindingApi::Controller),
        failed(FailureKind::NotFound, 404),
    );
    assert_eq!(verdicts(&stage), 1);
}

#[test]
fn a_group_that_is_gone_hides_the_tags_of_no_other() {
    let mut stage = Stage::before(by_tag(), None).identified();
    next_question(&mut stage);
    let names = ["a", "gone", "b"].map(str::to_owned);
    answer(&mut stage, Inquiry::Groups(None), page(&names, None));
    while let Some(Inquiry::Tags(asked)) = questions(&stage).first().cloned() {
        let outcome = if asked.contains(&arn("gone")) {
            failed(FailureKind::NotFound, 400)
        } else {
            let tags = asked.iter().map(|group| {
                let tag = enabled("interrupt-handler/enabled");
                (group.clone(), vec![tag])
            });
            Outcome::Found(Finding::Tags(tags.collect()))
        };
        answer(&mut stage, Inquiry::Tags(asked), outcome);
    }
    let found: Vec<&TargetGroupArn> = news(&stage)
        .into_iter()
        .map(|(target, _)| &target.group)
        .collect();
    assert_eq!(found, [&arn("a"), &arn("b")]);
}

#[test]
fn two_pages_that_name_each_other_end_too() {
    let mut stage = Stage::before(by_tag(), None).identified();
    let mut pages = 0;
    while let Inquiry::Groups(from) = next_question(&mut stage) {
        pages += 1;
        let next = if pages % 2 == 0 { "1" } else { "2" };
        let names = ["web".to_owned()];
        answer(&mut stage, Inquiry::Groups(from), page(&names, Some(next)));
    }
    assert!((70..80).contains(&pages), "{pages} pages");
}

#[test]
fn a_port_that_the_operator_named_stays_the_only_one() {
    let named = Policy {
        discover: by_bindings().discover,
        ..super::super::stage::with_group(Ports::Only(8080))
    };
    let mut stage = idle(named, Some(with_bindings(vec![binding()])), 40.0);
    interrupt(&mut stage);
    while calls(&stage).is_empty() {
        stage.forward_to_next_due();
    }
    let look = Request::DescribeTargets(binding().group, own(), Ports::Only(8080));
    assert_eq!(calls(&stage), [look]);
}

#[test]
fn the_services_are_listed_once_at_the_notice_however_often_the_bindings_are() {
    let bindings = (0..100)
        .map(|index| super::numbered(index, super::super::stage::wall(-9.0)))
        .collect();
    let mut stage = idle(by_bindings(), Some(with_bindings(bindings)), 40.0);
    stage.front = None;
    interrupt(&mut stage);
    let mut services = 0;
    while stage.at < 60.0 {
        for inquiry in questions(&stage) {
            let outcome = match &inquiry {
                Inquiry::Services => {
                    services += 1;
                    Outcome::Found(Finding::Services(Vec::new()))
                }
                Inquiry::Bindings(BindingApi::Controller) => {
                    Outcome::Found(Finding::Bindings(vec![binding()]))
                }
                _ => failed(FailureKind::NotFound, 404),
            };
            answer(&mut stage, inquiry, outcome);
        }
        stage.forward_to(stage.at + 0.5);
    }
    assert_eq!(services, 1);
}

#[test]
fn without_the_instances_id_groups_that_bindings_name_are_told_at_the_deadline_too() {
    let mut stage = Stage::before(by_bindings(), Some(with_bindings(vec![binding()])));
    stage.answer(&Request::ReadNotice, Outcome::Notice(None));
    while stage.at < 40.0 {
        stage.forward_to(stage.at + 5.0);
        if stage.open_requests().contains(&&Request::ReadNotice) {
            stage.answer(&Request::ReadNotice, Outcome::Notice(None));
        }
    }
    while !stage.open_requests().contains(&&Request::ReadNotice) {
        stage.forward_to_next_due();
    }
    interrupt(&mut stage);
    stage.forward_to(stage.at + 121.0);
    let failed = |(_, news): &(_, &TargetNews)| matches!(news, TargetNews::Failed { .. });
    assert_eq!(news(&stage).iter().filter(|news| failed(news)).count(), 1);
}
