//! Scenario files, right and wrong.

use super::*;
use crate::sim::pod::{Phase, Volume};

const SMALL: &str = r#"
description = "one pod"

[expect]
verdict = "completed"

[[pod]]
name = "web"
owner = "ReplicaSet/web"
grace = "5s"
claim = true
phase = "pending"
expect = "evicted"
"#;

fn message(text: &str) -> String {
    Scenario::parse("test.toml", text)
        .map(|scenario| panic!("a scenario: {scenario:?}"))
        .map_err(|error| error.to_string())
        .unwrap_or_else(|message| message)
}

#[test]
fn the_built_in_scenarios_can_be_read() {
    for (name, text) in BUILT_IN {
        assert!(Scenario::parse(name, text).is_ok(), "{name}");
    }
    assert!(Scenario::bare().is_ok());
}

#[test]
fn what_a_file_does_not_say_is_as_kubernetes_has_it() {
    let scenario = Scenario::parse("test.toml", SMALL).expect("a scenario");
    let [(pod, PodOutcome::Evicted)] = &scenario.pods[..] else {
        panic!("one pod");
    };
    assert_eq!((pod.namespace.as_str(), pod.grace), ("default", 5));
    assert_eq!((pod.phase, pod.volume), (Phase::Pending, Volume::Claim));
    let owner = pod.owner.as_ref().expect("an owner");
    assert_eq!(owner.api_version, "apps/v1");
    assert_eq!(scenario.warning, Duration::from_secs(120));
}

#[test]
fn a_mistake_is_told_with_its_file_line_field_and_value() {
    for (wrong, right, told) in [
        (
            "grace = \"5 minutes\"",
            "grace = \"5s\"",
            "\"5 minutes\" is not a duration",
        ),
        (
            "owner = \"web\"",
            "owner = \"ReplicaSet/web\"",
            "\"web\" is not an owner",
        ),
        ("colour = \"red\"", "claim = true", "unknown field `colour`"),
        (
            "phase = \"tired\"",
            "phase = \"pending\"",
            "unknown variant `tired`",
        ),
        (
            "claim = 3",
            "claim = true",
            "invalid type: integer `3`, expected a boolean",
        ),
    ] {
        assert!(SMALL.contains(right), "{right}");
        let text = SMALL.replace(right, wrong);
        let line = 1 + text[..text.find(wrong).expect("the mistake")]
            .matches('\n')
            .count();
        let message = message(&text);
        assert!(message.starts_with("scenario test.toml: "), "{message}");
        assert!(message.contains(&format!("line {line}")), "{message}");
        assert!(message.contains(wrong), "{message}");
        assert!(message.contains(told), "{message}");
    }
}

#[test]
fn two_pods_of_one_name_are_refused_with_the_line_of_the_second() {
    let twin = "\n[[pod]]\nname = \"web\"\nexpect = \"left\"\n";
    let message = message(&format!("{SMALL}{twin}"));
    assert_eq!(
        message,
        "scenario test.toml: line 16, name = \"web\": a second pod of this name and namespace"
    );
}

#[test]
fn a_target_group_needs_an_arn() {
    let group = "\n[[target_group]]\narn = \"web\"\nports = [80]\n";
    assert!(message(&format!("{SMALL}{group}")).contains("\"web\" is not of the form arn:"));
}

#[test]
fn a_name_that_is_neither_built_in_nor_a_file_is_told_with_what_there_is() {
    let error = Scenario::load("defualt").expect_err("no such scenario");
    assert!(
        error.to_string().starts_with("scenario \"defualt\": "),
        "{error}"
    );
    assert!(error.to_string().contains("(default)"), "{error}");
}

#[test]
fn the_documented_scenario_can_be_read() {
    let page = include_str!("../../../docs/simulation.md");
    let example = page
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("an example");
    Scenario::parse("docs/simulation.md", example).expect("a scenario");
}
