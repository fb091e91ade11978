//! The metadata service: its tokens, its notice, its paths.

use super::*;

fn service() -> MetadataService {
    MetadataService::new(Instance {
        id: InstanceId::new("i-0123456789abcdef0"),
        kind: "m6i.large".to_owned(),
        zone: "eu-west-1a".to_owned(),
        account: "111122223333".to_owned(),
        address: "10.0.1.23".to_owned(),
    })
}

fn after_millis(millis: u64) -> Now {
    let elapsed = Duration::from_millis(millis);
    Now {
        at: Moment::after_origin(elapsed),
        wall: WallTime::from_millis(1_800_000_000_123) + elapsed,
    }
}

fn token(service: &mut MetadataService, life: &str, now: Now) -> Answer {
    service.answer(&Question::Token { life: Some(life) }, now)
}

fn get(service: &mut MetadataService, path: &str, now: Now) -> Answer {
    let Answer::Token { token, .. } = token(service, "60", now) else {
        panic!("a token");
    };
    let question = Question::Path {
        path,
        token: Some(&token),
    };
    service.answer(&question, now)
}

#[test]
fn a_token_lives_as_long_as_it_was_asked_to_and_no_longer() {
    let mut service = service();
    let Answer::Token { token, life: 60 } = token(&mut service, "60", after_millis(0)) else {
        panic!("a token of 60 s");
    };
    let question = Question::Path {
        path: "/latest/meta-data/instance-id",
        token: Some(&token),
    };
    let id = Answer::Text("i-0123456789abcdef0".to_owned());
    assert_eq!(service.answer(&question, after_millis(59_999)), id);
    assert_eq!(
        service.answer(&question, after_millis(60_000)),
        Answer::Unauthorized
    );
}

#[test]
fn a_token_needs_a_life_of_one_second_to_six_hours() {
    for life in ["0", "21601", "-1", "six hours", ""] {
        assert_eq!(
            token(&mut service(), life, after_millis(0)),
            Answer::Incomplete,
            "{life}"
        );
    }
    assert_eq!(
        service().answer(&Question::Token { life: None }, after_millis(0)),
        Answer::Incomplete
    );
    assert_eq!(
        token(&mut service(), "21600", after_millis(0)).status(),
        200
    );
}

#[test]
fn without_a_valid_token_nothing_is_told() {
    for token in [None, Some("made-up")] {
        let question = Question::Path {
            path: "/latest/meta-data/instance-id",
            token,
        };
        assert_eq!(
            service().answer(&question, after_millis(0)),
            Answer::Unauthorized
        );
    }
}

#[test]
fn a_notice_appears_at_its_moment_and_says_the_same_time_from_then_on() {
    let mut service = service();
    service.schedule(ScheduledNotice::appearing_at(Moment::at_secs(5)));
    let path = "/latest/meta-data/spot/instance-action";
    assert_eq!(
        get(&mut service, path, after_millis(4_999)),
        Answer::NotFound
    );
    let notice = Answer::Json(r#"{"action":"terminate","time":"2027-01-15T08:02:05Z"}"#.to_owned());
    for millis in [5_000, 5_400, 5_999, 60_000] {
        assert_eq!(
            get(&mut service, path, after_millis(millis)),
            notice,
            "{millis}"
        );
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    for path in [
        "/2021-01-03",
        "/latest/meta-data/public-ipv4",
        "/latest/meta-data/spot",
        "/latest/meta-data/spot/termination-time",
        "/latest/meta-data/events/recommendations/rebalance",
    ] {
        assert_eq!(
            get(&mut service(), path, after_millis(0)),
            Answer::NotFound,
            "{path}"
        );
    }
}

#[test]
fn a_path_above_others_lists_them_with_a_slash_where_there_is_more() {
    let mut service = service();
    let listing = |service: &mut MetadataService, path| {
        let Answer::Text(text) = get(service, path, after_millis(0)) else {
            panic!("{path} is no listing");
        };
        text
    };
    assert_eq!(listing(&mut service, "/"), "latest");
    assert_eq!(listing(&mut service, "/latest"), "dynamic\nmeta-data");
    assert_eq!(
        listing(&mut service, "/latest/dynamic"),
        "fws/\ninstance-identity/"
    );
    assert_eq!(
        listing(&mut service, "/latest/meta-data/iam"),
        "info\nsecurity-credentials/"
    );
    assert_eq!(
        listing(&mut service, "/latest/meta-data/iam/security-credentials/"),
        "simulated"
    );
    let all = listing(&mut service, "/latest/meta-data");
    let of_spot = |all: &str| all.lines().filter(|line| *line == "spot/").count();
    assert_eq!(of_spot(&all), 0, "{all}");
    service.schedule(ScheduledNotice::appearing_at(Moment::at_secs(0)));
    let all = listing(&mut service, "/latest/meta-data");
    assert_eq!(of_spot(&all), 1, "{all}");
    for line in all.lines() {
        let path = format!("/latest/meta-data/{line}");
        assert_eq!(
            get(&mut service, &path, after_millis(0)).status(),
            200,
            "{line}"
        );
    }
}

#[test]
fn what_an_instance_is_called_agrees_with_itself() {
    let mut service = service();
    for (path, text) in [
        ("placement/availability-zone", "eu-west-1a"),
        ("placement/availability-zone-id", "euw1-az1"),
        ("placement/region", "eu-west-1"),
        ("local-hostname", "ip-10-0-1-23.eu-west-1.compute.internal"),
        ("instance-life-cycle", "spot"),
        ("events/maintenance/scheduled", "[]"),
        (
            "network/interfaces/macs/0a:1b:2c:3d:4e:5f/owner-id",
            "111122223333",
        ),
    ] {
        let path = format!("/latest/meta-data/{path}");
        let answer = get(&mut service, &path, after_millis(0));
        assert_eq!(answer, Answer::Text(text.to_owned()), "{path}");
    }
    let path = "/latest/dynamic/instance-identity/document";
    let document = get(&mut service, path, after_millis(0));
    assert_eq!(get(&mut service, path, after_millis(90_000)), document);
}

#[test]
fn with_optional_tokens_none_is_needed_and_a_wrong_one_is_refused() {
    let mut service = service();
    service.behave(Manners {
        tokens: Tokens::Optional,
        ..Manners::default()
    });
    let mut ask = |token| {
        let path = "/latest/meta-data/instance-id";
        service.answer(&Question::Path { path, token }, after_millis(0))
    };
    assert_eq!(ask(None).status(), 200);
    assert_eq!(ask(Some("made-up")), Answer::Unauthorized);
}

#[test]
fn a_sliding_notice_says_each_time_that_its_warning_is_left() {
    let mut service = service();
    service.behave(Manners {
        deadline: Deadline::Sliding,
        ..Manners::default()
    });
    service.schedule(ScheduledNotice::appearing_at(Moment::at_secs(0)));
    let path = "/latest/meta-data/spot/termination-time";
    for (millis, time) in [
        (0, "2027-01-15T08:02:00Z"),
        (30_000, "2027-01-15T08:02:30Z"),
    ] {
        let answer = get(&mut service, path, after_millis(millis));
        assert_eq!(answer, Answer::Text(time.to_owned()));
    }
}

#[test]
fn a_rebalance_recommendation_appears_at_its_moment_and_keeps_its_time() {
    let mut service = service();
    service.recommend_rebalance(Moment::at_secs(5));
    let path = "/latest/meta-data/events/recommendations/rebalance";
    assert_eq!(
        get(&mut service, path, after_millis(4_999)),
        Answer::NotFound
    );
    for millis in [5_000, 90_000] {
        let answer = get(&mut service, path, after_millis(millis));
        let body = r#"{"noticeTime":"2027-01-15T08:00:05Z"}"#;
        assert_eq!(answer, Answer::Json(body.to_owned()));
    }
}

#[test]
fn a_fault_ends_by_itself() {
    let mut service = service();
    service.fail(Fault::Unauthorized, Moment::at_secs(10));
    let path = "/latest/meta-data/instance-id";
    assert_eq!(
        get(&mut service, path, after_millis(9_999)),
        Answer::Unauthorized
    );
    assert_eq!(get(&mut service, path, after_millis(10_000)).status(), 200);
    assert_eq!(service.fault(Moment::at_secs(10)), None);
}
