//! The account's target groups and their tags.

use std::collections::BTreeMap;

use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::plan::binding::{
    BalancerKind, GroupTag, ListedGroup, Marker, TargetType,
};
use spot_interrupt_handler::plan::id::TargetGroupArn;
use spot_interrupt_handler::ports::{Balancer, BalancerError};

use super::{ARN, answered, form, group, refused};
use crate::scripted::{Reply, Server};

fn page(members: &str, rest: &str) -> Reply {
    let list = format!("<TargetGroups>{members}</TargetGroups>{rest}");
    answered("DescribeTargetGroups", &list)
}

fn listed(arn: &str, rest: &str) -> String {
    format!(
        "<member><TargetGroupArn>{arn}</TargetGroupArn><TargetGroupName>web</TargetGroupName>\
         <HealthCheckPort>traffic-port</HealthCheckPort>{rest}</member>"
    )
}

fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn a_page_has_the_type_and_the_kind_of_each_group_that_can_be_named() {
    let typed = |target_type: &str, protocol: &str| {
        let target_type = format!("<TargetType>{target_type}</TargetType>");
        let protocol = format!("<Protocol>{protocol}</Protocol>");
        listed(ARN, &(target_type + &protocol))
    };
    let members = [
        typed("instance", "HTTP"),
        typed("ip", "HTTPS"),
        typed("instance", "TCP_UDP"),
        typed("instance", "GENEVE"),
        typed("alb", "TCP"),
        listed(ARN, "<TargetType>lambda</TargetType>"),
        typed("a-type-of-next-year", "A-PROTOCOL"),
        listed(ARN, ""),
        listed(
            "arn:aws:elasticloadbalancing:eu-west-1:1:loadbalancer/app/web/73e2",
            "",
        ),
        "<member/>".to_owned(),
    ]
    .concat();
    let server = Server::replying([page(&members, "")]).await;
    let (groups, next) = Elbv2::at(&server.url).groups(None).await.expect("a page");
    let application = Some(BalancerKind::Application);
    let network = Some(BalancerKind::Network);
    let expected = [
        (TargetType::Instance, application),
        (TargetType::Ip, application),
        (TargetType::Instance, network),
        (TargetType::Instance, network),
        (TargetType::Elsewhere, network),
        (TargetType::Elsewhere, None),
        (TargetType::Elsewhere, None),
        (TargetType::Elsewhere, None),
    ]
    .map(|(target_type, kind)| ListedGroup {
        arn: group(),
        target_type,
        kind,
    });
    assert_eq!(groups, expected);
    assert_eq!(next, None);
    let asked = [
        ("Action", "DescribeTargetGroups"),
        ("Version", "2015-12-01"),
        ("PageSize", "400"),
    ];
    assert_eq!(form(&server.only()), fields(&asked));
}

/// Whether a listing goes round in circles is seen by the core, which remembers what it asked for.
#[tokio::test]
async fn a_marker_is_handed_on_as_it_came_even_if_it_is_the_same_again() {
    let marker = "eyJ0ZXN0IjoiJiZhbXA7PSJ9 +/=";
    let next = |marker: &str| format!("<NextMarker>{marker}</NextMarker>");
    let server = Server::replying([
        page(&listed(ARN, ""), &next(marker)),
        page("", &next(marker)),
        page("", &next("")),
    ])
    .await;
    let balancer = Elbv2::at(&server.url);
    let mut from = None;
    for groups in [1, 0] {
        let (listed, next) = balancer.groups(from.as_ref()).await.expect("a page");
        assert_eq!(listed.len(), groups);
        assert_eq!(next, Some(Marker(marker.to_owned())));
        from = next;
    }
    let (_, last) = balancer.groups(from.as_ref()).await.expect("a page");
    assert_eq!(last, None, "an empty marker leads nowhere");
    let markers: Vec<Option<String>> = server
        .received()
        .iter()
        .map(|request| form(request).remove("Marker"))
        .collect();
    let same = Some(marker.to_owned());
    assert_eq!(markers, [None, same.clone(), same]);
}

fn arn(region: &str, name: &str) -> TargetGroupArn {
    let account = "elasticloadbalancing:region:111122223333".replace("region", region);
    let text = format!("arn:aws-us-gov:{account}:targetgroup/{name}/73e2d6bc24d8a067");
    TargetGroupArn::parse(&text).expect("an ARN")
}

#[tokio::test]
async fn the_tags_of_twenty_groups_are_one_request_in_their_region() {
    let groups: Vec<TargetGroupArn> = (0..20)
        .map(|number| arn("us-gov-west-1", &format!("web-{number}")))
        .collect();
    let tag = |key: &str, value: &str| format!("<member><Key>{key}</Key>{value}</member>");
    let described = |arn: &str, tags: &str| {
        format!("<member><ResourceArn>{arn}</ResourceArn><Tags>{tags}</Tags></member>")
    };
    let tags = [
        tag("interrupt-handler/enabled", "<Value>true</Value>"),
        tag("empty", "<Value/>"),
        tag("absent", ""),
    ]
    .concat();
    let list = [
        described(groups[3].as_str(), &tags),
        described(groups[0].as_str(), ""),
        described("web", &tags),
    ]
    .concat();
    let list = format!("<TagDescriptions>{list}</TagDescriptions>");
    let server = Server::replying([answered("DescribeTags", &list)]).await;
    let found = Elbv2::at(&server.url).tags(&groups).await.expect("tags");
    let tag = |key: &str, value: &str| GroupTag {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let expected = vec![
        tag("interrupt-handler/enabled", "true"),
        tag("empty", ""),
        tag("absent", ""),
    ];
    assert_eq!(
        found,
        [(groups[3].clone(), expected), (groups[0].clone(), vec![])]
    );
    let request = server.only();
    let mut asked = form(&request);
    assert_eq!(asked.remove("Action").as_deref(), Some("DescribeTags"));
    assert_eq!(asked.remove("Version").as_deref(), Some("2015-12-01"));
    let named = groups.iter().enumerate().map(|(index, group)| {
        let field = format!("ResourceArns.member.{}", index + 1);
        (field, group.as_str().to_owned())
    });
    assert_eq!(asked, named.collect());
    let signature = request.header("authorization").expect("a signature");
    assert!(signature.contains("/us-gov-west-1/"), "{signature}");
}

#[tokio::test]
async fn the_tags_of_nothing_are_not_asked_for() {
    let server = Server::replying([]).await;
    let tags = Elbv2::at(&server.url).tags(&[]).await.expect("no tags");
    assert_eq!(tags, []);
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn a_listing_that_is_refused_says_how() {
    let replies = || {
        [
            refused(403, "AccessDenied"),
            refused(400, "Throttling"),
            refused(400, "TargetGroupNotFound"),
            refused(500, "InternalFailure"),
        ]
    };
    let name = |error: &BalancerError| match error {
        BalancerError::Denied { .. } => "denied",
        BalancerError::Throttled { .. } => "throttled",
        BalancerError::GroupGone => "gone",
        BalancerError::ServerError { status: 500, .. } => "failed",
        BalancerError::ServerError { .. }
        | BalancerError::Unreachable(_)
        | BalancerError::NoCredentials(_)
        | BalancerError::NoRegion
        | BalancerError::Lost(_)
        | BalancerError::ExpiredToken { .. }
        | BalancerError::Invalid { .. } => panic!("{error:?}"),
    };
    let expected = ["denied", "throttled", "gone", "failed"];
    let server = Server::replying(replies().into_iter().chain(replies())).await;
    let balancer = Elbv2::at(&server.url);
    for expected in expected {
        let error = balancer.groups(None).await.expect_err("no page");
        assert_eq!(name(&error), expected);
    }
    for expected in expected {
        let error = balancer.tags(&[group()]).await.expect_err("no tags");
        assert_eq!(name(&error), expected);
    }
    assert_eq!(server.received().len(), 8, "one attempt each");
}
