//! The simulated load balancer, asked by the real adapter: which target groups there are, and what they are tagged with.

use std::collections::BTreeMap;
use std::time::Duration;

use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::plan::binding::{BalancerKind, GroupTag, TargetId, TargetType};
use spot_interrupt_handler::plan::id::{InstanceId, TargetGroupArn};
use spot_interrupt_handler::ports::Balancer;
use spot_interrupt_handler::sim::balancer::{Group, NamedTarget, NoGroup};
use spot_interrupt_handler::sim::loopback::Loopback;
use spot_interrupt_handler::sim::scenario::Scenario;
use spot_interrupt_handler::sim::stage::Stage;

fn arn(name: &str) -> TargetGroupArn {
    let text = format!(
        "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/{name}/0123456789abcdef"
    );
    TargetGroupArn::parse(&text).expect("an ARN")
}

#[tokio::test]
async fn the_groups_of_the_account_are_listed_with_their_tags() {
    let clock = Clock::real();
    let mut world = Scenario::bare().expect("a scenario").world(clock.now().at);
    for name in ["cart", "web"] {
        let group = Group {
            default_port: 80,
            deregistration_delay: Duration::from_secs(60),
            targets: BTreeMap::new(),
        };
        world.balancer.add_group(arn(name), group);
    }
    world.balancer.tag(arn("web"), "team", "a & b");
    let stage = Stage::new(world, clock);
    let servers = Loopback::serve(&stage).await.expect("free ports");
    let balancer = Elbv2::at(format!("http://{}", servers.balancer));

    let (groups, next) = balancer.groups(None).await.expect("a page");
    let listed: Vec<_> = groups
        .iter()
        .map(|group| (&group.arn, group.target_type, group.kind))
        .collect();
    let instances = |arn| (arn, TargetType::Instance, Some(BalancerKind::Application));
    assert_eq!(listed, [instances(&arn("cart")), instances(&arn("web"))]);
    assert_eq!(next, None);

    let tags = balancer
        .tags(&[arn("web"), arn("cart")])
        .await
        .expect("tags");
    let team = GroupTag {
        key: "team".to_owned(),
        value: "a & b".to_owned(),
    };
    assert_eq!(tags, [(arn("web"), vec![team]), (arn("cart"), vec![])]);
    assert!(balancer.tags(&[arn("gone")]).await.is_err());
}

#[test]
fn what_is_registered_gets_requests_until_it_is_deregistered() {
    let clock = Clock::real();
    let mut world = Scenario::bare().expect("a scenario").world(clock.now().at);
    let target = NamedTarget {
        id: TargetId::Instance(InstanceId::new("i-1")),
        port: Some(80),
    };
    let nowhere = world.balancer.register(&arn("web"), &target);
    assert_eq!(nowhere, Err(NoGroup));
    let group = Group {
        default_port: 8080,
        deregistration_delay: Duration::from_secs(60),
        targets: BTreeMap::new(),
    };
    world.balancer.add_group(arn("web"), group);
    let registered = world.balancer.register(&arn("web"), &target);
    assert_eq!(registered, Ok(()));
    let healths = world
        .balancer
        .describe(&arn("web"), &[])
        .expect("the group");
    assert_eq!(healths.len(), 1);
    assert_eq!(healths[0].target.port, 80);
}
