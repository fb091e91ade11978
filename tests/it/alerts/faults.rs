//! Alarms with a fault each, to see that the table is about what it seems to be.

use std::collections::BTreeMap;

use super::cloudwatch::{self, Wrapping};
use super::{TRUTH, row, scenario};

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
