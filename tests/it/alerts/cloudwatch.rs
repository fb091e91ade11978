//! CloudWatch as far as the templates use it: metric filters make metrics of log events, alarms look at the metrics once a
//! minute over a window that slides, composite alarms at the alarms.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::expression;
use super::pattern::Pattern;
use super::scenario::{DAY, Scenario, UNTIL};

const MINUTE: i64 = 60_000;

/// How a log event carries a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// As it is.
    Plain,
    /// As Fluent Bit of Container Insights sends it, with `Merge_Log_Key log_processed`.
    ContainerInsights,
}

impl Wrapping {
    /// The event of this line of that container.
    pub fn wrap(self, line: &Value, container: &str) -> Value {
        match self {
            Self::Plain => line.clone(),
            Self::ContainerInsights => json!({
                "time": "2027-01-15T08:00:00.000000000Z", "stream": "stdout", "_p": "F",
                "log": line.to_string(), "log_processed": line,
                "kubernetes": {"pod_name": format!("{container}-x7k2p"), "namespace_name": "kube-system",
                    "host": "ip-10-0-1-23.eu-west-1.compute.internal", "container_name": container},
            }),
        }
    }
}

/// The resources of a template.
pub fn resources(template: &str) -> BTreeMap<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/alerts/cloudformation")
        .join(template);
    resources_of(&fs::read_to_string(path).expect("a template"))
}

pub fn resources_of(template: &str) -> BTreeMap<String, Value> {
    let template: Value = serde_saphyr::from_str(template).expect("YAML");
    let resources = template["Resources"].as_object().expect("resources");
    resources.clone().into_iter().collect()
}

/// The properties of the resources of a type, by their names.
pub fn of_type<'r>(
    resources: &'r BTreeMap<String, Value>,
    kind: &str,
) -> Vec<(&'r str, &'r Value)> {
    let of_type = resources.iter().filter(|(_, one)| one["Type"] == kind);
    of_type
        .map(|(name, one)| (name.as_str(), &one["Properties"]))
        .collect()
}

type Datapoints = Vec<(i64, f64)>;

/// Namespace and name of a metric. Its dimensions tell nothing more: what we make has none.
fn metric_name(metric: &Value) -> (String, String) {
    let namespace = metric
        .get("Namespace")
        .unwrap_or(&metric["MetricNamespace"]);
    (namespace.to_string(), metric["MetricName"].to_string())
}

/// The metrics of this scenario.
fn metrics(
    resources: &BTreeMap<String, Value>,
    scenario: &Scenario,
    wrapping: Wrapping,
) -> BTreeMap<(String, String), Datapoints> {
    let agents = events(scenario, wrapping);
    let mut metrics: BTreeMap<(String, String), Datapoints> = BTreeMap::new();
    for (name, filter) in of_type(resources, "AWS::Logs::MetricFilter") {
        let text = filter["FilterPattern"].as_str().expect("a pattern");
        let pattern = Pattern::parse(text).unwrap_or_else(|why| panic!("{name}: {why}"));
        let events = match filter["LogGroupName"]["Ref"].as_str() {
            Some("LogGroupName") => &agents,
            Some("Warnings") => &scenario.warnings,
            other => panic!("{name}: a filter of {other:?}"),
        };
        for transformation in filter["MetricTransformations"].as_array().expect("some") {
            assert_eq!(transformation.get("Dimensions"), None, "{name}");
            assert_eq!(transformation.get("DefaultValue"), None, "{name}");
            let value = transformation["MetricValue"].as_str().expect("a value");
            let value: f64 = value.parse().expect("a number");
            let matching = events.iter().filter(|(_, event)| pattern.matches(event));
            let datapoints = metrics.entry(metric_name(transformation)).or_default();
            datapoints.extend(matching.map(|(at, _)| (*at, value)));
        }
    }
    // What Container Insights says of the DaemonSet. That a pod is available does not make it speak.
    for (name, value) in [("available", 1.0), ("unavailable", 0.0)] {
        let (from, until) = scenario.desired;
        let minutes = (0..).map(|minute| from + minute * MINUTE);
        let datapoints = minutes.take_while(|at| *at < until).map(|at| (at, value));
        let name = format!("\"daemonset_status_number_{name}\"");
        metrics.insert(
            ("\"ContainerInsights\"".to_owned(), name),
            datapoints.collect(),
        );
    }
    metrics
}

/// What is in the log group: the agents' lines, and what others say that reads like them.
fn events(scenario: &Scenario, wrapping: Wrapping) -> Vec<(i64, Value)> {
    let lines = scenario.lines.iter();
    let mut events: Vec<(i64, Value)> = lines
        .map(|(at, line)| (*at, wrapping.wrap(line, "spot-interrupt-handler")))
        .collect();
    for event in super::ALERTING_EVENTS {
        let said = json!({"msg": format!("an alert for {event}"), "event": "page.sent"});
        events.push((DAY + MINUTE, wrapping.wrap(&said, "shop")));
        let same = json!({"event": event, "consecutive_failures": 9});
        if wrapping == Wrapping::ContainerInsights {
            events.push((DAY + MINUTE, wrapping.wrap(&same, "shop")));
        }
    }
    events
}

/// Whether each alarm is in the state ALARM, minute by minute.
type States = BTreeMap<String, Vec<bool>>;

fn states(resources: &BTreeMap<String, Value>, scenario: &Scenario, wrapping: Wrapping) -> States {
    let metrics = metrics(resources, scenario, wrapping);
    let minutes = || (DAY..=UNTIL).step_by(usize::try_from(MINUTE).expect("small"));
    let mut states: States = of_type(resources, "AWS::CloudWatch::Alarm")
        .into_iter()
        .map(|(name, alarm)| {
            let alarm = Alarm::read(name, alarm);
            let states = minutes().map(|now| alarm.is_in_alarm(&metrics, now));
            (name.to_owned(), states.collect())
        })
        .collect();
    for (name, composite) in of_type(resources, "AWS::CloudWatch::CompositeAlarm") {
        let rule = composite["AlarmRule"]["Fn::Sub"].as_str().expect("a rule");
        let held = (0..minutes().count()).map(|minute| {
            let now = states
                .iter()
                .map(|(name, states)| (format!("${{{name}}}"), states[minute]));
            expression::rule(rule, &now.collect())
        });
        let held = held.collect();
        states.insert(name.to_owned(), held);
    }
    states
}

/// How often each alarm that has actions took them.
pub fn pages(
    resources: &BTreeMap<String, Value>,
    scenario: &Scenario,
    wrapping: Wrapping,
) -> BTreeMap<String, usize> {
    let states = states(resources, scenario, wrapping);
    let acting = resources
        .iter()
        .filter(|(_, one)| one["Properties"].get("AlarmActions").is_some());
    acting
        .map(|(name, alarm)| {
            let own = &states[name];
            let suppressor = alarm["Properties"]["ActionsSuppressor"]["Fn::GetAtt"][0].as_str();
            let pages = match suppressor {
                Some(suppressor) => unsuppressed(own, &states[suppressor], &alarm["Properties"]),
                None => begins(own).len(),
            };
            (name.clone(), pages)
        })
        .collect()
}

/// The minutes in which an alarm goes off.
fn begins(states: &[bool]) -> Vec<usize> {
    (0..states.len())
        .filter(|minute| states[*minute] && (*minute == 0 || !states[minute - 1]))
        .collect()
}

/// A composite alarm waits with its actions for its suppressor, and takes them if that does not come, or goes away first.
fn unsuppressed(own: &[bool], suppressor: &[bool], alarm: &Value) -> usize {
    let minutes = |name: &str| {
        let seconds = alarm[name].as_u64().expect("seconds");
        usize::try_from(seconds.div_ceil(60)).expect("small")
    };
    let wait = minutes("ActionsSuppressorWaitPeriod");
    let extension = minutes("ActionsSuppressorExtensionPeriod");
    let mut pages = 0;
    for begin in begins(own) {
        let end = (begin..own.len())
            .find(|minute| !own[*minute])
            .unwrap_or(own.len());
        // How long it may still stay silent.
        let mut patience = wait;
        for is_suppressed in &suppressor[begin..end] {
            if *is_suppressed {
                patience = extension;
            } else if patience == 0 {
                pages += 1;
                break;
            } else {
                patience -= 1;
            }
        }
    }
    pages
}

struct Alarm {
    name: String,
    /// By their ids, the metrics with the statistic over each period.
    metrics: BTreeMap<String, ((String, String), String)>,
    expression: String,
    period: i64,
    periods: i64,
    breaching_periods: usize,
    threshold: f64,
    comparison: String,
    missing: String,
}

impl Alarm {
    fn read(name: &str, alarm: &Value) -> Self {
        let mut metrics = BTreeMap::new();
        let mut expression = "metric".to_owned();
        let mut periods = Vec::new();
        if let Some(several) = alarm["Metrics"].as_array() {
            for metric in several {
                let id = metric["Id"].as_str().expect("an id").to_owned();
                if let Some(text) = metric["Expression"].as_str() {
                    assert_eq!(metric["ReturnData"], true, "{name}");
                    text.clone_into(&mut expression);
                } else {
                    assert_eq!(metric["ReturnData"], false, "{name}");
                    let stat = &metric["MetricStat"];
                    periods.push(stat["Period"].as_i64().expect("a period"));
                    let statistic = stat["Stat"].as_str().expect("a statistic").to_owned();
                    metrics.insert(id, (metric_name(&stat["Metric"]), statistic));
                }
            }
        } else {
            periods.push(alarm["Period"].as_i64().expect("a period"));
            let statistic = alarm["Statistic"].as_str().expect("a statistic").to_owned();
            metrics.insert(expression.clone(), (metric_name(alarm), statistic));
        }
        periods.dedup();
        let [period] = periods[..] else {
            panic!("{name}: one period, not {periods:?}");
        };
        assert!(period >= 60 && period % 60 == 0, "{name}: {period} s");
        let evaluated = alarm["EvaluationPeriods"].as_u64().expect("a number");
        let breaching = alarm["DatapointsToAlarm"].as_u64().unwrap_or(evaluated);
        assert!(breaching >= 1 && breaching <= evaluated, "{name}");
        Self {
            name: name.to_owned(),
            metrics,
            expression,
            period: period * 1_000,
            periods: i64::try_from(evaluated).expect("small"),
            breaching_periods: usize::try_from(breaching).expect("small"),
            threshold: alarm["Threshold"].as_f64().expect("a threshold"),
            comparison: alarm["ComparisonOperator"]
                .as_str()
                .expect("one")
                .to_owned(),
            missing: alarm["TreatMissingData"].as_str().expect("told").to_owned(),
        }
    }

    fn is_in_alarm(&self, metrics: &BTreeMap<(String, String), Datapoints>, now: i64) -> bool {
        let breaching = (0..self.periods).filter(|back| {
            let until = now - back * self.period;
            let from = until - self.period;
            let values = self.metrics.iter().map(|(id, (metric, statistic))| {
                let datapoints = metrics
                    .get(metric)
                    .unwrap_or_else(|| panic!("{}: nobody makes {metric:?}", self.name));
                let inside = datapoints
                    .iter()
                    .filter(|(at, _)| (from..until).contains(at))
                    .map(|(_, value)| *value);
                (
                    id.clone(),
                    aggregate(statistic, &inside.collect::<Vec<_>>()),
                )
            });
            let value = expression::value(&self.expression, &values.collect());
            match (value, self.missing.as_str()) {
                (Some(value), _) => self.breaches(value),
                (None, "breaching") => true,
                (None, "notBreaching") => false,
                (None, other) => panic!("{}: TreatMissingData {other}", self.name),
            }
        });
        breaching.count() >= self.breaching_periods
    }

    fn breaches(&self, value: f64) -> bool {
        match self.comparison.as_str() {
            "GreaterThanOrEqualToThreshold" => value >= self.threshold,
            "GreaterThanThreshold" => value > self.threshold,
            "LessThanThreshold" => value < self.threshold,
            "LessThanOrEqualToThreshold" => value <= self.threshold,
            other => panic!("{}: {other}", self.name),
        }
    }
}

fn aggregate(statistic: &str, values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    Some(match statistic {
        "Sum" => values.iter().sum(),
        "Minimum" => values.iter().copied().fold(f64::INFINITY, f64::min),
        "Maximum" => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        other => panic!("the statistic {other}"),
    })
}
