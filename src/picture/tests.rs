//! Stories from lines, and what is drawn of them.

// Lines are written where they are read.
#![allow(clippy::needless_pass_by_value)]

use std::time::Duration;

use serde_json::{Value, json};

use super::chart::{Bar, Chart, Look, MOST_SINGLE_ROWS, Point, Row, Sign, Subject};
use super::story::{Pod, Stop, Story, Target};
use super::{Form, Log, MOST_PICTURES, MOST_WARNINGS, draw};
use crate::plan::time::WallTime;

/// 2027-01-15T08:02:00Z.
const DEADLINE: WallTime = WallTime::from_millis(1_800_000_120_000);

/// When so many seconds are left.
fn left(seconds: f64) -> WallTime {
    DEADLINE - Duration::from_secs_f64(seconds)
}

fn line(event: &str, left: f64, fields: Value) -> Value {
    let mut line = json!({
        "ts": "2027-01-15T08:00:00.000Z", "level": "info", "event": event, "msg": "told", "v": 1,
        "node": "node-1", "version": "0.1.0", "instance_id": "i-1",
        "notice_id": "n1", "action": "terminate", "deadline": "2027-01-15T08:02:00.000Z", "seconds_left": left,
    });
    let object = line.as_object_mut().expect("an object");
    object.extend(fields.as_object().expect("an object").clone());
    line
}

fn pod_line(event: &str, left: f64, name: &str, fields: Value) -> Value {
    let mut pod = json!({
        "namespace": "shop", "pod": name, "uid": name, "owner_kind": "ReplicaSet", "owner": "web",
        "grace_seconds": 30, "elapsed_seconds": 0.0,
    });
    let object = pod.as_object_mut().expect("an object");
    object.extend(fields.as_object().expect("an object").clone());
    line(event, left, pod)
}

fn evicted(left: f64, name: &str) -> Value {
    let fields = json!({ "attempts": 1, "grace_given_seconds": 30, "wave": 1, "capped": false });
    pod_line("pod.evicted", left, name, fields)
}

fn gone(left: f64, name: &str) -> Value {
    let fields = json!({ "outcome": "gone", "stopped_after_seconds": 1.0 });
    pod_line("pod.gone", left, name, fields)
}

fn notice() -> Value {
    let fields = json!({ "notice_time": "2027-01-15T08:02:00.000Z", "remaining_seconds": 120.0 });
    line("interruption.notice", 120.0, fields)
}

fn log(lines: &[Value]) -> Log {
    let mut log = Log::default();
    for line in lines {
        log.read(&line.to_string());
    }
    log
}

fn story(lines: &[Value]) -> Story {
    let mut stories = log(lines).stories();
    assert_eq!(stories.len(), 1, "{stories:#?}");
    stories.remove(0)
}

/// The rows of the pods.
fn pod_rows(story: &Story) -> Vec<Row> {
    let sections = Chart::of(story).sections.into_iter();
    let rows = sections.flat_map(|section| section.rows);
    rows.filter(|row| matches!(row.subject, Subject::Pod | Subject::Pods(_)))
        .collect()
}

#[test]
fn lines_become_the_story_they_tell() {
    let arn =
        "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop-web/73e2d6bc24d8a067";
    let target = json!({ "target_group_arn": arn, "target_port": 80, "source": "arn" });
    let with = |more: Value| {
        let mut fields = target.clone();
        let object = fields.as_object_mut().expect("an object");
        object.extend(more.as_object().expect("an object").clone());
        fields
    };
    let told = story(&[
        notice(),
        line("node.cordoned", 119.0, json!({ "cordoned_by_us": true })),
        pod_line(
            "pod.blocked",
            118.0,
            "db",
            json!({ "reason": "budget", "attempts": 1, "delete_at_seconds_left": 38.0 }),
        ),
        line(
            "targets.deregistered",
            117.5,
            with(json!({ "state": "draining", "by": "us" })),
        ),
        line("targets.reregistered", 100.0, with(json!({ "count": 1 }))),
        pod_line(
            "pod.deleted",
            38.0,
            "db",
            json!({ "reason": "deadline", "grace_given_seconds": 30 }),
        ),
        pod_line(
            "pod.gone",
            30.0,
            "db",
            json!({ "outcome": "cut", "stopped_after_seconds": 8.0 }),
        ),
        line("drain.completed", 30.0, json!({ "pods_total": 1 })),
        line(
            "interruption.summary",
            30.0,
            json!({ "pods_total": 1, "outcome": "completed" }),
        ),
    ]);
    let expected = Story {
        node: "node-1".to_owned(),
        notice: "n1".to_owned(),
        instance: [Some("i-1".to_owned()), None, None],
        action: "terminate".to_owned(),
        is_rehearsal: false,
        begins: left(120.0),
        ends: left(30.0),
        deadline: DEADLINE,
        notice_time: Some(DEADLINE),
        resumed: vec![],
        cordoned: Some(left(119.0)),
        pods: vec![Pod {
            namespace: "shop".to_owned(),
            name: "db".to_owned(),
            uid: "db".to_owned(),
            owner: Some("web".to_owned()),
            grace: 30.0,
            wave: None,
            blocked: Some((left(118.0), "budget".to_owned())),
            last_moment: Some(left(38.0)),
            stop: Some(Stop {
                at: left(38.0),
                grace_given: 30.0,
                is_deletion: true,
            }),
            gone: Some((left(30.0), true)),
            left: None,
        }],
        targets: vec![Target {
            group: arn.to_owned(),
            port: Some(80),
            deregistered: Some((left(117.5), "draining".to_owned())),
            reregistered: vec![left(100.0)],
            failed: None,
            skipped: None,
        }],
        verdict: Some((left(30.0), true)),
        summary: vec![("pods_total".to_owned(), 1.0)],
        warnings: vec![],
    };
    assert_eq!(told, expected);
}

#[test]
fn a_story_is_the_same_in_any_order_and_with_lines_that_came_twice() {
    let lines = [
        notice(),
        evicted(119.0, "a"),
        evicted(118.0, "b"),
        gone(110.0, "a"),
        gone(100.0, "b"),
    ];
    let mut shuffled: Vec<Value> = lines.iter().rev().cloned().collect();
    shuffled.extend(lines.iter().cloned());
    assert_eq!(story(&shuffled), story(&lines));
}

#[test]
fn lines_are_found_in_what_collectors_make_of_them() {
    let plain = evicted(119.0, "a").to_string();
    let wrapped = json!({ "log": plain, "stream": "stdout" }).to_string();
    let processed = json!({ "log_processed": evicted(119.0, "a"), "kubernetes": {} }).to_string();
    let twice = json!({ "message": wrapped }).to_string();
    for text in [
        plain.clone(),
        format!("{plain}\r\n"),
        format!("2027-01-15T08:00:01.000000001Z {plain}"),
        format!("2027-01-15T08:00:01.000000001Z stdout F {plain}"),
        format!("[pod/spot-interrupt-handler-x/{{odd}}] {plain}"),
        wrapped,
        processed,
        twice,
    ] {
        let mut log = Log::default();
        log.read(&text);
        assert_eq!(log.own_lines(), 1, "{text}");
        assert_eq!(log.stories()[0].pods[0].name, "a", "{text}");
    }
}

#[test]
fn what_is_no_line_of_ours_is_counted_and_left_alone() {
    let whole = notice().to_string();
    let mut log = Log::default();
    for text in [
        "",
        "E1121 10:00:00 something else {",
        r#"{"level":"info","msg":"another program"}"#,
        r#"{"log":"{\"event\":5}"}"#,
        "{{{{{{{{{{{{{{{{",
        &whole[..whole.len() - 5],
        &whole,
    ] {
        log.read(text);
    }
    assert_eq!((log.lines(), log.own_lines()), (7, 1));
    assert_eq!(log.stories().len(), 1);
}

#[test]
fn a_line_of_ours_that_is_far_from_its_deadline_or_has_none_is_about_no_interruption() {
    let mut far = notice();
    far["seconds_left"] = json!(1e9);
    let mut never = notice();
    never["deadline"] = json!("soon");
    let log = log(&[far, never]);
    assert_eq!(log.own_lines(), 2);
    assert!(log.stories().is_empty());
}

#[test]
fn each_node_and_each_notice_has_its_own_story_the_earliest_first() {
    let mut other_node = notice();
    other_node["node"] = json!("node-2");
    other_node["seconds_left"] = json!(119.0);
    let mut other_notice = notice();
    other_notice["notice_id"] = json!("n2");
    other_notice["deadline"] = json!("2027-01-15T07:00:00.000Z");
    let stories = log(&[notice(), other_node, other_notice]).stories();
    let told: Vec<(&str, &str)> = stories
        .iter()
        .map(|story| (story.node.as_str(), story.notice.as_str()))
        .collect();
    assert_eq!(told, [("node-1", "n2"), ("node-1", "n1"), ("node-2", "n1")]);
}

#[test]
fn a_pod_is_a_bar_from_its_stop_signal_until_it_is_gone() {
    let rows = pod_rows(&story(&[notice(), evicted(115.0, "a"), gone(103.5, "a")]));
    let bar = Bar {
        from: 5.0,
        until: 16.5,
        look: Look::Gone,
    };
    assert_eq!(rows[0].bars, [bar]);
    assert_eq!(rows[0].told, "gone in 11.5 s");
}

#[test]
fn a_refused_pod_is_a_refused_bar_and_then_a_stopping_one_with_its_deletion() {
    let blocked = json!({ "reason": "budget", "attempts": 1, "delete_at_seconds_left": 40.0 });
    let deleted = json!({ "reason": "deadline", "attempts": 9, "grace_given_seconds": 30 });
    let rows = pod_rows(&story(&[
        notice(),
        pod_line("pod.blocked", 118.0, "a", blocked),
        pod_line("pod.deleted", 40.0, "a", deleted),
    ]));
    let bars = [(2.0, 80.0, Look::Blocked), (80.0, 110.0, Look::Stopping)];
    let bars = bars.map(|(from, until, look)| Bar { from, until, look });
    assert_eq!(rows[0].bars, bars);
    let deletion = Point {
        at: 80.0,
        sign: Sign::Deleted,
    };
    assert_eq!(rows[0].points, [deletion]);
}

#[test]
fn a_pod_that_would_outlive_its_node_ends_with_it() {
    let capped = json!({ "attempts": 1, "grace_given_seconds": 200, "wave": 1, "capped": true, "grace_seconds": 600 });
    let rows = pod_rows(&story(&[
        notice(),
        pod_line("pod.evicted", 118.0, "a", capped),
    ]));
    let bar = Bar {
        from: 2.0,
        until: 120.0,
        look: Look::Cut,
    };
    assert_eq!(rows[0].bars, [bar]);
    assert_eq!(rows[0].told, "200 of 600 s given");
}

#[test]
fn a_pod_that_is_left_is_so_until_the_end() {
    let blocked = json!({ "reason": "budget", "attempts": 1 });
    let rows = pod_rows(&story(&[
        notice(),
        pod_line("pod.blocked", 118.0, "a", blocked),
        pod_line("pod.left", 20.0, "a", json!({ "reason": "wait" })),
    ]));
    let bars = [(2.0, 100.0, Look::Blocked), (100.0, 120.0, Look::Failed)];
    let bars = bars.map(|(from, until, look)| Bar { from, until, look });
    assert_eq!(rows[0].bars, bars);
    assert_eq!(rows[0].told, "left: wait");
}

#[test]
fn pods_are_in_the_order_of_their_first_lines_wave_by_wave() {
    let mut critical = evicted(60.0, "dns");
    critical["wave"] = json!(2);
    let story = story(&[notice(), critical, evicted(117.0, "b"), evicted(118.0, "a")]);
    let sections = Chart::of(&story).sections;
    let told: Vec<(&str, Vec<&str>)> = sections[1..]
        .iter()
        .map(|section| {
            let labels = section.rows.iter().map(|row| row.label.as_str());
            (section.title.as_str(), labels.collect())
        })
        .collect();
    let expected = [
        ("Pods, wave 1: 2", vec!["shop/a", "shop/b"]),
        ("Pods, wave 2: 1", vec!["shop/dns"]),
    ];
    assert_eq!(told, expected);
}

/// The value of each attribute of that name, in the order of the text.
fn attributes(text: &str, name: &str) -> Vec<String> {
    let start = format!(" {name}=\"");
    let values = text.split(&start).skip(1);
    values
        .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
        .collect()
}

#[test]
fn every_pod_of_many_has_one_bar_where_its_lines_say() {
    // So few rows that each is drawn, with ends that are worked out here and not by the chart.
    let count = MOST_SINGLE_ROWS;
    let mut lines = vec![notice()];
    for index in 0..count {
        let begins = 118.0 - f64::from(u32::try_from(index).expect("small"));
        lines.push(evicted(begins, &format!("pod-{index}")));
        lines.push(gone(begins - 12.0, &format!("pod-{index}")));
    }
    let svg = draw(&log(&lines).stories(), Form::Svg);
    let pods = svg.split("<g class=\"row pod\"").skip(1);
    let mut seen = 0;
    for (index, pod) in pods.enumerate() {
        let pod = pod.split("</g>").next().expect("its end");
        assert_eq!(attributes(pod, "data-label"), [format!("shop/pod-{index}")]);
        let bars: Vec<&str> = pod.split("<rect ").skip(1).collect();
        assert_eq!(bars.len(), 1, "{pod}");
        let number = |name: &str| -> f64 {
            let values = attributes(bars[0], name);
            values[0].parse().expect("a number")
        };
        // The axis has 120 s between x = 276 and x = 818.
        let seconds = (818.0 - 276.0) / 120.0;
        let begins = 2.0 + f64::from(u32::try_from(index).expect("small"));
        assert!(
            (number("x") - (276.0 + begins * seconds)).abs() < 0.06,
            "{pod}"
        );
        assert!((number("width") - 12.0 * seconds).abs() < 0.06, "{pod}");
        seen += 1;
    }
    assert_eq!(seen, count);
}

#[test]
fn in_a_crowd_the_calm_pods_of_an_owner_share_a_row_and_the_others_do_not() {
    let mut lines = vec![notice()];
    for index in 0..250 {
        let name = format!("pod-{index}");
        lines.push(evicted(119.0, &name));
        lines.push(gone(100.0, &name));
    }
    let blocked = json!({ "reason": "budget", "attempts": 1 });
    lines.push(pod_line("pod.blocked", 118.5, "pod-7", blocked));
    let rows = pod_rows(&story(&lines));
    let told: Vec<(&str, Subject)> = rows
        .iter()
        .map(|row| (row.label.as_str(), row.subject))
        .collect();
    let expected = [
        ("249 × shop/web", Subject::Pods(249)),
        ("shop/pod-7", Subject::Pod),
    ];
    assert_eq!(told, expected);
    let bar = Bar {
        from: 1.0,
        until: 20.0,
        look: Look::Gone,
    };
    assert_eq!(rows[0].bars, [bar]);
}

#[test]
fn nothing_that_a_line_says_is_markup() {
    let evil = "<script>alert(1)</script>\"' onload='x'&\u{202e}\u{0}";
    let evil_arn = format!("{evil}/{evil}/{evil}");
    let mut lines = vec![
        pod_line(
            "pod.blocked",
            118.0,
            evil,
            json!({ "reason": evil, "owner": evil, "namespace": evil }),
        ),
        pod_line(
            "pod.left",
            90.0,
            evil,
            json!({ "level": "warn", "reason": evil, "error": evil }),
        ),
        line(
            "targets.deregister_failed",
            80.0,
            json!({ "level": "error", "msg": evil, "target_group_arn": evil_arn, "error_kind": evil }),
        ),
        line(
            "interruption.summary",
            15.0,
            json!({ "pods_total": 1, "outcome": evil, evil: 5 }),
        ),
        evicted(119.0, "plain"),
    ];
    for line in &mut lines {
        for field in [
            "node",
            "notice_id",
            "action",
            "instance_id",
            "instance_type",
            "az",
        ] {
            line[field] = json!(evil);
        }
    }
    let stories = log(&lines).stories();
    for form in [Form::Html, Form::Svg] {
        let drawn = draw(&stories, form);
        assert!(
            drawn.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;"),
            "{drawn}"
        );
        for raw in ["<script", "alert(1)<", "onload='", "\u{202e}", "\u{0}"] {
            assert!(!drawn.contains(raw), "{raw:?} in {drawn}");
        }
    }
}

#[test]
fn a_page_needs_nothing_but_itself() {
    let page = draw(&log(&[notice(), evicted(119.0, "a")]).stories(), Form::Html);
    // The name of the form is the only address in it.
    let addresses = page.matches("://").count();
    assert_eq!(
        addresses,
        page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count()
    );
    for outside in ["<script", "<link", "<img", "@import", "src="] {
        assert!(!page.contains(outside), "{outside}");
    }
    // What refers to a place on the page finds it.
    for place in page.split("url(#").skip(1) {
        let id = place.split(')').next().expect("its end");
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
    }
}

#[test]
fn a_page_says_what_it_leaves_out() {
    let mut lines = Vec::new();
    for index in 0..MOST_PICTURES + 3 {
        let mut line = notice();
        line["node"] = json!(format!("node-{index}"));
        lines.push(line);
    }
    for index in 0..MOST_WARNINGS + 4 {
        let mut line = line(
            "node.cordon_failed",
            110.0,
            json!({ "error": index.to_string() }),
        );
        line["node"] = json!("node-0");
        line["level"] = json!("warn");
        lines.push(line);
    }
    let page = draw(&log(&lines).stories(), Form::Html);
    assert_eq!(page.matches("<article").count(), MOST_PICTURES);
    assert!(
        page.contains("3 later interruptions are left out"),
        "{page}"
    );
    assert!(page.contains("4 more are left out"), "{page}");
}

#[test]
fn a_page_has_every_count_of_the_summary() {
    let fields = json!({
        "pods_total": 9, "pods_gone": 8, "targets_failed": 1, "api_requests": 33, "elb_requests": 6, "api_429": 2,
        "cordoned_after_seconds": 0.4, "outcome": "incomplete",
    });
    let page = draw(
        &log(&[notice(), line("interruption.summary", 15.0, fields.clone())]).stories(),
        Form::Html,
    );
    for (field, value) in fields.as_object().expect("an object") {
        let told = format!("data-field=\"{field}\">{value}<");
        assert_eq!(page.contains(&told), value.is_number(), "{told}");
    }
    assert!(page.contains(">incomplete<"), "{page}");
}

#[test]
fn a_notice_time_that_is_not_the_deadline_has_a_mark_of_its_own() {
    let mut late = notice();
    late["notice_time"] = json!("2027-01-15T08:01:40.000Z");
    assert_eq!(Chart::of(&story(&[late])).notice_time, Some(100.0));
    assert_eq!(Chart::of(&story(&[notice()])).notice_time, None);
}

#[test]
fn lines_after_the_deadline_lengthen_the_axis() {
    let story = story(&[notice(), evicted(119.0, "a"), gone(-30.0, "a")]);
    let chart = Chart::of(&story);
    assert_eq!((chart.end, chart.deadline), (150.0, 120.0));
    let svg = draw(&[story], Form::Svg);
    let ticks = svg.matches("class=\"tick\"").count();
    assert!((6..=16).contains(&ticks), "{ticks} ticks");
}
