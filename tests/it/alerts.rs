//! The alerts under `deploy/alerts`: what each says of what happens to a node, by the lines of the real agent.

mod cloudwatch;
mod expression;
mod pattern;
mod programs;
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
        let rows = cloudwatch_rows(&scenarios, wrapping);
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
    let Some(outcomes) = programs::loki(LOKI, &scenarios) else {
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
    let Some(outcomes) = programs::loki(LOKI, &scenarios) else {
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

/// Every rule with what it names, by the system and its name.
fn vocabularies() -> BTreeMap<String, vocabulary::Names> {
    let mut all = BTreeMap::new();
    for template in ["alarms.yaml", "queries.yaml"] {
        let resources = cloudwatch::resources(template);
        for (name, filter) in cloudwatch::of_type(&resources, "AWS::Logs::MetricFilter") {
            let pattern = filter["FilterPattern"].as_str().expect("a pattern");
            all.insert(
                format!("{template} {name}"),
                vocabulary::of_pattern(pattern),
            );
        }
        for (name, query) in cloudwatch::of_type(&resources, "AWS::Logs::QueryDefinition") {
            let text = query["QueryString"].as_str().expect("a query");
            all.insert(format!("{template} {name}"), vocabulary::of_insights(text));
        }
    }
    let text = std::fs::read_to_string(LOKI).expect("the rules");
    let rules: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
    for rule in rules["groups"][0]["rules"].as_array().expect("rules") {
        let name = rule.get("alert").unwrap_or(&rule["record"]);
        let expr = rule["expr"].as_str().expect("an expression");
        all.insert(format!("loki.yaml {name}"), vocabulary::of_logql(expr));
    }
    all
}

#[test]
fn every_rule_names_events_and_fields_that_the_log_has() {
    let all = vocabularies();
    assert_eq!(all.len(), 6 + 9 + 6, "{all:#?}");
    let mut wrong: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (rule, names) in &all {
        // One interruption is every event of it.
        let mut faults = names.faults();
        faults.retain(|fault| !(rule.ends_with("OneInterruption") && fault == "it names no event"));
        if !faults.is_empty() {
            wrong.insert(rule, faults);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_rule_that_names_what_the_log_lacks_is_found() {
    for (names, fault) in [
        (
            vocabulary::of_pattern(r#"{ $.log_processed.event = "drain.failed" }"#),
            "drain.failed is no event",
        ),
        (
            vocabulary::of_pattern(r#"{ $.event = "drain.incomplete" && $.pods_missing > 0 }"#),
            "drain.incomplete has no field pods_missing",
        ),
        (
            vocabulary::of_pattern(r#"{ $.event = "drain.incomplete" && $.cause = "x" }"#),
            "drain.incomplete has no field cause",
        ),
        (
            vocabulary::of_insights(
                r#"fields coalesce(log_processed.evnt, event) as what | filter what = "pod.left""#,
            ),
            "pod.left has no field evnt",
        ),
        (
            vocabulary::of_insights(
                r#"fields coalesce(log_processed.event, event) as what | filter what = "pod.lost""#,
            ),
            "pod.lost is no event",
        ),
        (
            vocabulary::of_logql("{a=`pod.left`} | json event=\"event\", x=\"nod\" [5m]"),
            "pod.left has no field nod",
        ),
        (
            vocabulary::of_logql("{} |~ `imds\\.away|agent\\.heartbeat`"),
            "imds.away is no event",
        ),
        (
            vocabulary::of_logql("{} |= `pod.left` | unwrap wave [5m]"),
            "pod.left has no field wave",
        ),
        (
            vocabulary::of_datadog("@event:pod.left @wave:>0"),
            "pod.left has no field wave",
        ),
        (
            vocabulary::of_pattern("{ $.node = * }"),
            "it names no event",
        ),
    ] {
        assert_eq!(names.faults(), [fault], "{names:?}");
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

/// Something right in a template, a fault in its place, and a scenario whose row it changes.
const FAULTS: [(&str, &str, &str); 12] = [
    (
        r#"= "drain.incomplete")) }"#,
        r#"= "drain.complete")) }"#,
        "API server away",
    ),
    (
        r#"($.log_processed.event = "drain.incomplete")) }"#,
        r#"($.log_processed.event = "drain.incomplete") && ($.log_processed.pods_remaining > 0)) }"#,
        "API server away",
    ),
    (
        "($.log_processed.consecutive_failures >= 3)",
        "($.log_processed.consecutive_failures >= 1)",
        "metadata service fails once",
    ),
    (
        r#"(($.log_processed.event = "imds.unreachable") || ($.log_processed.event = "agent.heartbeat"))"#,
        r#"($.log_processed.event = "imds.unreachable")"#,
        "metadata service down",
    ),
    (
        r#"($.kubernetes.container_name = "spot-interrupt-handler") && ($.log_processed.event = "preflight.failed")"#,
        r#"$.log_processed.event = "preflight.failed""#,
        "quiet",
    ),
    (r#"ALARM(\"${AgentsDesired}\") AND "#, "", "scaled to zero"),
    (
        "      EvaluationPeriods: 3\n      DatapointsToAlarm: 3\n      Threshold: 1\n      ComparisonOperator: GreaterThanOrEqualToThreshold\n      TreatMissingData: notBreaching\n  NoHeartbeats:",
        "      EvaluationPeriods: 1\n      Threshold: 1\n      ComparisonOperator: GreaterThanOrEqualToThreshold\n      TreatMissingData: notBreaching\n  NoHeartbeats:",
        "scaled up from zero",
    ),
    (
        "      TreatMissingData: breaching\n",
        "      TreatMissingData: notBreaching\n",
        "agent dead",
    ),
    (
        "        - Id: desired\n          Expression: available + unavailable",
        "        - Id: desired\n          Expression: unavailable - available",
        "agent dead",
    ),
    (
        "      ActionsSuppressorWaitPeriod: 180",
        "      ActionsSuppressorWaitPeriod: 0",
        "good drain",
    ),
    (
        "Expression: IF(noticed >= warned, 1, 0)",
        "Expression: IF(noticed > warned, 1, 0)",
        "good drain",
    ),
    (
        "            Period: 900\n",
        "            Period: 120\n",
        "good drain",
    ),
];

#[test]
fn a_fault_in_an_alarm_changes_the_table() {
    let scenarios = scenario::all();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/alerts/cloudformation");
    let read =
        |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).expect("a template");
    let templates = ["alarms.yaml", "cross-check.yaml"].map(read);
    for (right, wrong, changed) in FAULTS {
        assert!(templates.iter().any(|text| text.contains(right)), "{right}");
        let mut resources = BTreeMap::new();
        for text in &templates {
            resources.extend(cloudwatch::resources_of(&text.replace(right, wrong)));
        }
        let index = TRUTH.iter().position(|(name, _)| *name == changed);
        let index = index.expect("a scenario");
        let pages = cloudwatch::pages(&resources, &scenarios[index], Wrapping::ContainerInsights);
        let row = row(&pages, |(_, alarm, _)| (*alarm).to_owned());
        assert_ne!(row, TRUTH[index].1, "{wrong}");
    }
}

const PAGE: &str = include_str!("../../docs/alerting.md");

#[test]
fn the_documentation_has_the_table_and_every_alert() {
    let table = table(&TRUTH);
    assert!(PAGE.contains(&table), "not in docs/alerting.md:\n{table}");
    for (_, alarm, rule) in ALERTS {
        for name in [alarm, rule].into_iter().filter(|name| !name.is_empty()) {
            assert!(PAGE.contains(&format!("`{name}`")), "{name}");
        }
    }
}

#[test]
fn the_documentation_maps_and_queries_events_and_fields_that_the_log_has() {
    let (mapping, queries) = PAGE
        .split_once("| field | Datadog |")
        .and_then(|(_, rest)| rest.split_once("| alert | Datadog, log monitor |"))
        .expect("two tables");
    let fields = mapping
        .lines()
        .filter_map(|row| row.strip_prefix("| `")?.split('`').next());
    let fields: Vec<&str> = fields.collect();
    assert_eq!(fields.len(), 15, "{fields:?}");
    for field in fields {
        assert!(vocabulary::is_field(field), "{field}");
    }
    let rows: Vec<&str> = queries
        .lines()
        .skip(2)
        .filter(|row| row.starts_with('|'))
        .collect();
    assert_eq!(rows.len(), 6, "{rows:?}");
    for row in rows {
        let cells: Vec<&str> = row.split('|').collect();
        let names = vocabulary::of_datadog(&cells[2].replace('`', " "));
        assert_eq!(names.faults(), Vec::<String>::new(), "{row}");
        let asked = cells[3].split('"').nth(1).expect("an event");
        assert!(names.events.contains(asked), "{row}");
    }
    // Any event that the page speaks of is one.
    for name in PAGE.split('`').skip(1).step_by(2) {
        let families = [
            "agent.",
            "drain.",
            "imds.",
            "interruption.",
            "pod.",
            "preflight.",
            "targets.",
        ];
        if families.iter().any(|family| name.starts_with(family)) {
            assert!(vocabulary::is_event(name), "{name}");
        }
    }
}
