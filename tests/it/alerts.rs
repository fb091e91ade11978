//! The alerts under `deploy/alerts`: what each says of what happens to a node, by the lines of the real agent.

mod cloudwatch;
mod expression;
mod faults;
mod page;
mod pattern;
pub mod programs;
mod scenario;
mod vocabulary;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cloudwatch::Wrapping;
use scenario::Scenario;

/// The events that alert.
pub const ALERTING_EVENTS: [&str; 6] = [
    "interruption.notice",
    "drain.incomplete",
    "targets.deregister_failed",
    "imds.unreachable",
    "preflight.failed",
    "agent.heartbeat",
];

/// The alerts in the order of the table, as people, CloudFormation, and Loki or Prometheus call them. EC2's warnings are only
/// in CloudWatch.
const ALERTS: [(&str, &str, &str); 7] = [
    ("noticed", "InterruptionNoticed", "SpotInterruptionNoticed"),
    ("incomplete", "DrainIncomplete", "SpotDrainIncomplete"),
    (
        "deregistration",
        "DeregistrationFailed",
        "SpotDeregistrationFailed",
    ),
    ("metadata", "MetadataUnreachable", "SpotImdsUnreachable"),
    ("preflight", "PreflightFailed", "SpotPreflightFailed"),
    ("silent", "AgentSilent", "SpotHandlerSilent"),
    ("warned", "WarnedButSilent", ""),
];

/// How often each alert begins in each scenario.
const TRUTH: [(&str, [usize; 7]); 16] = [
    ("quiet", [0, 0, 0, 0, 0, 0, 0]),
    ("good drain", [1, 0, 0, 0, 0, 0, 0]),
    ("closed budget", [1, 0, 0, 0, 0, 0, 0]),
    ("closed budget that is waited for", [1, 1, 0, 0, 0, 0, 0]),
    (
        "the same, and the agent killed after its verdict",
        [1, 1, 0, 0, 0, 0, 0],
    ),
    ("agent killed in mid-drain", [1, 0, 0, 0, 0, 0, 0]),
    ("agent killed before it could write", [1, 0, 0, 0, 0, 0, 0]),
    ("API server away", [1, 1, 0, 0, 0, 0, 0]),
    ("load balancer denies", [1, 0, 1, 0, 0, 0, 0]),
    ("metadata service fails once", [0, 0, 0, 0, 0, 0, 0]),
    ("metadata service down", [0, 0, 0, 1, 0, 0, 0]),
    ("permission missing", [0, 0, 0, 0, 1, 0, 0]),
    ("agent dead", [0, 0, 0, 0, 0, 1, 0]),
    ("agent dead when EC2 warns", [0, 0, 0, 0, 0, 0, 1]),
    ("scaled to zero", [0, 0, 0, 0, 0, 0, 0]),
    ("scaled up from zero", [0, 0, 0, 0, 0, 0, 0]),
];

/// The table for people.
fn table(rows: &[(&str, [usize; 7])]) -> String {
    let mut text = String::from("| what happens |");
    for (alert, _, _) in ALERTS {
        let _ = write!(text, " {alert} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(ALERTS.len()));
    for (name, cells) in rows {
        let _ = write!(text, "\n| {name} |");
        for cell in cells {
            let cell = if *cell == 0 {
                "·".to_owned()
            } else {
                cell.to_string()
            };
            let _ = write!(text, " {cell} |");
        }
    }
    text.push('\n');
    text
}

fn row(pages: &BTreeMap<String, usize>, name: fn(&(&str, &str, &str)) -> String) -> [usize; 7] {
    ALERTS.map(|alert| pages.get(&name(&alert)).copied().unwrap_or_default())
}

fn cloudwatch_rows(scenarios: &[Scenario], wrapping: Wrapping) -> Vec<(&'static str, [usize; 7])> {
    let mut resources = cloudwatch::resources("alarms.yaml");
    resources.extend(cloudwatch::resources("cross-check.yaml"));
    let rows = scenarios.iter().map(|scenario| {
        let pages = cloudwatch::pages(&resources, scenario, wrapping);
        (
            scenario.name,
            row(&pages, |(_, alarm, _)| (*alarm).to_owned()),
        )
    });
    rows.collect()
}

#[test]
fn each_alarm_of_cloudwatch_goes_off_where_it_should_once_and_nowhere_else() {
    let scenarios = scenario::all();
    for wrapping in [Wrapping::ContainerInsights, Wrapping::Plain] {
        let rows = cloudwatch_rows(scenarios, wrapping);
        println!("CloudWatch, {wrapping:?}:\n{}", table(&rows));
        assert_eq!(rows, TRUTH, "{wrapping:?}");
    }
}

const LOKI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/alerts/loki.yaml");
const PROMETHEUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/alerts/prometheus.yaml");
const HEARD: &str = "spot_interrupt_handler:agents_heard:count5m";

#[test]
fn each_rule_of_loki_and_prometheus_fires_where_it_should_once_and_nowhere_else() {
    let scenarios = scenario::all();
    let Some(outcomes) = programs::loki(LOKI, scenarios) else {
        return;
    };
    let outcomes = outcomes.expect("rules that Loki takes");
    let mut rows = Vec::new();
    for (scenario, outcomes) in scenarios.iter().zip(&outcomes) {
        let mut pages: BTreeMap<String, usize> = outcomes
            .iter()
            .map(|(rule, alerts)| (rule.clone(), alerts.len()))
            .collect();
        let Some(is_silent) = programs::is_silent(PROMETHEUS, scenario, &outcomes[HEARD]) else {
            return;
        };
        pages.insert("SpotHandlerSilent".to_owned(), usize::from(is_silent));
        rows.push((
            scenario.name,
            row(&pages, |(_, _, rule)| (*rule).to_owned()),
        ));
    }
    println!("Loki and Prometheus:\n{}", table(&rows));
    let mut expected = TRUTH;
    for (_, cells) in &mut expected {
        // EC2's warnings do not come to Loki.
        cells[6] = 0;
    }
    assert_eq!(rows, expected);
}

#[test]
fn an_alert_of_loki_says_which_node_it_is_about() {
    let scenarios = scenario::all();
    let Some(outcomes) = programs::loki(LOKI, scenarios) else {
        return;
    };
    let node = scenarios[0].lines[0].1["node"].as_str().expect("a name");
    for outcomes in outcomes.expect("rules that Loki takes") {
        for (rule, alerts) in outcomes.iter().filter(|(rule, _)| *rule != HEARD) {
            for alert in alerts {
                assert_eq!(alert["labels"]["cluster"], "production", "{rule}");
                let summary = alert["annotations"]["summary"].as_str().expect("a summary");
                let is_of_the_cluster = rule == "SpotPreflightFailed";
                assert_eq!(
                    summary.contains(node),
                    !is_of_the_cluster,
                    "{rule}: {summary}"
                );
            }
        }
    }
}

#[test]
fn loki_refuses_rules_that_are_none() {
    let silence = [scenario::silence()];
    for (from, to) in [
        ("| event = `drain.incomplete`", "| event = drain.incomplete"),
        ("sum by (cluster, node, notice_id)", "sum by cluster, node"),
        ("        annotations:", "        anotations:"),
        ("[15m]", "[15 minutes]"),
    ] {
        let text = std::fs::read_to_string(LOKI).expect("the rules");
        assert!(text.contains(from), "{from}");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("loki.yaml");
        std::fs::write(&path, text.replacen(from, to, 1)).expect("a file");
        let path = path.to_str().expect("a path");
        let Some(taken) = programs::loki(path, &silence) else {
            return;
        };
        assert!(taken.is_err(), "{to}");
    }
}

#[test]
fn the_rules_of_prometheus_pass_the_tests_of_promtool() {
    let tests = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/rules/prometheus.test.yaml"
    );
    if let Some(passed) = programs::promtool_tests(tests) {
        passed.unwrap_or_else(|told| panic!("{told}"));
    }
}

/// What makes the scenarios hard, so that the table is about it.
#[test]
fn the_scenarios_hold_the_lines_that_they_are_about() {
    let all = scenario::all();
    let said = |name: &str, event: &str| {
        let of_name = all.iter().find(|scenario| scenario.name == name);
        let lines = &of_name.expect("a scenario").lines;
        let of_event = lines.iter().filter(|(_, line)| line["event"] == event);
        of_event.map(|(_, line)| line.clone()).collect::<Vec<_>>()
    };
    let twice = "the same, and the agent killed after its verdict";
    let verdicts = said(twice, "drain.incomplete");
    assert_eq!(verdicts.len(), 2);
    assert_eq!(verdicts[0]["notice_id"], verdicts[1]["notice_id"]);
    assert_eq!(said(twice, "interruption.summary").len(), 2);
    let unwritten = "agent killed before it could write";
    assert_eq!(said(unwritten, "interruption.notice").len(), 2);
    assert_eq!(
        said("agent killed in mid-drain", "interruption.resumed").len(),
        1
    );
    assert_eq!(
        said("API server away", "drain.incomplete")[0]["pods_remaining"],
        0
    );
    assert_eq!(said("closed budget", "pod.deleted").len(), 1);
    assert_eq!(
        said("metadata service fails once", "imds.unreachable").len(),
        1
    );
    let failures = said("metadata service down", "imds.unreachable");
    assert!(failures.len() > 6, "ever more seldom: {}", failures.len());
    assert_eq!(
        said("agent dead when EC2 warns", "interruption.notice").len(),
        0
    );
    assert!(said("agent dead", "agent.heartbeat").len() < 11);
}
