//! What the rules call events and fields, held against the schema of the log: a rule that names what is no more would never
//! fire again, and nobody would notice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::pattern::{Pattern, Test};
use super::{LOKI, cloudwatch};
use crate::log_schema::schema;

/// What a rule names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub events: BTreeSet<String>,
    pub fields: BTreeSet<String>,
}

/// Every event with its fields.
fn events() -> BTreeMap<String, BTreeSet<String>> {
    let branches = schema()["oneOf"].as_array().expect("branches");
    let fields_of = |branch: &Value| {
        let mut fields = properties(schema());
        gather(branch, &mut fields);
        fields
    };
    branches
        .iter()
        .map(|branch| {
            let event = branch["title"].as_str().expect("a title");
            (event.to_owned(), fields_of(branch))
        })
        .collect()
}

fn properties(schema: &Value) -> BTreeSet<String> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties.map(|(name, _)| name.clone()).collect()
}

/// The fields of a branch, and of what it refers to.
fn gather(branch: &Value, fields: &mut BTreeSet<String>) {
    fields.extend(properties(branch));
    let several = branch["allOf"].as_array().into_iter().flatten();
    for part in several.chain([branch]) {
        if let Some(definition) = part["$ref"].as_str() {
            let name = definition.trim_start_matches("#/$defs/");
            gather(&schema()["$defs"][name], fields);
        }
        if !std::ptr::eq(part, branch) {
            fields.extend(properties(part));
        }
    }
}

impl Names {
    /// What is wrong: an event that is none, a field that no event of the rule has, or a rule that names nothing.
    pub fn faults(&self) -> Vec<String> {
        let known = events();
        let mut faults = Vec::new();
        if self.events.is_empty() {
            faults.push("it names no event".to_owned());
        }
        for event in &self.events {
            match known.get(event) {
                None => faults.push(format!("{event} is no event")),
                Some(fields) => faults.extend(
                    self.fields
                        .difference(fields)
                        .map(|field| format!("{event} has no field {field}")),
                ),
            }
        }
        faults
    }
}

/// Whether any event has this field.
pub fn is_field(name: &str) -> bool {
    events().values().any(|fields| fields.contains(name))
}

/// Whether this is an event.
pub fn is_event(name: &str) -> bool {
    events().contains_key(name)
}

/// What a filter pattern of CloudWatch names; what only the collector adds is no field of ours.
pub fn of_pattern(text: &str) -> Names {
    let pattern = Pattern::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
    let mut names = Names::default();
    for (selector, test) in pattern.comparisons() {
        let field = match selector.names()[..] {
            ["kubernetes", "container_name"] => continue,
            ["log_processed", field] | [field] => field,
            ref other => panic!("{text}: the field {other:?}"),
        };
        names.fields.insert(field.to_owned());
        if let (true, Test::Text { glob, .. }) = (field == "event", test) {
            names.events.insert(glob.clone());
        }
    }
    names
}

/// What a query of Logs Insights names: `coalesce(log_processed.NAME, NAME)`, and the values that are compared.
pub fn of_insights(query: &str) -> Names {
    let mut names = Names::default();
    for call in query.split("coalesce(").skip(1) {
        let arguments = call.split(')').next().unwrap_or_default();
        for argument in arguments.split(',') {
            let field = argument.trim().trim_start_matches("log_processed.");
            if field != "`detail.instance-id`" {
                names.fields.insert(field.to_owned());
            }
        }
    }
    names.events = quoted(query, '"')
        .filter(|text| text.contains('.'))
        .collect();
    names
}

/// What a query of Loki names: `NAME="NAME"` behind `json`, and every text between backticks.
pub fn of_logql(query: &str) -> Names {
    let mut names = Names::default();
    for stage in query.split('|').map(str::trim) {
        if let Some(fields) = stage.strip_prefix("json ") {
            names.fields.extend(quoted(fields, '"'));
        }
        if let Some(field) = stage.strip_prefix("unwrap ") {
            let field = field.split([' ', '[']).next().unwrap_or_default();
            names.fields.insert(field.to_owned());
        }
    }
    for text in quoted(query, '`') {
        let plain = text.replace('\\', "");
        names.events.extend(plain.split('|').map(str::to_owned));
    }
    names
}

/// What a query in the documentation names, of a system whose fields are ours behind an `@`.
pub fn of_datadog(query: &str) -> Names {
    let mut names = Names::default();
    for word in query.split(|c: char| c.is_whitespace() || "()\",{}".contains(c)) {
        if let Some((field, value)) = word.strip_prefix('@').and_then(|rest| rest.split_once(':')) {
            names.fields.insert(field.to_owned());
            if field == "event" {
                names.events.insert(value.to_owned());
            }
        } else if let Some(field) = word.strip_prefix('@') {
            names.fields.insert(field.to_owned());
        }
    }
    names
}

/// The texts between pairs of this mark.
fn quoted(text: &str, mark: char) -> impl Iterator<Item = String> + '_ {
    text.split(mark).skip(1).step_by(2).map(str::to_owned)
}

/// Every rule with what it names, by the system and its name.
fn vocabularies() -> BTreeMap<String, Names> {
    let mut all = BTreeMap::new();
    for template in ["alarms.yaml", "queries.yaml"] {
        let resources = cloudwatch::resources(template);
        for (name, filter) in cloudwatch::of_type(&resources, "AWS::Logs::MetricFilter") {
            let pattern = filter["FilterPattern"].as_str().expect("a pattern");
            all.insert(format!("{template} {name}"), of_pattern(pattern));
        }
        for (name, query) in cloudwatch::of_type(&resources, "AWS::Logs::QueryDefinition") {
            let text = query["QueryString"].as_str().expect("a query");
            all.insert(format!("{template} {name}"), of_insights(text));
        }
    }
    let text = std::fs::read_to_string(LOKI).expect("the rules");
    let rules: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
    for rule in rules["groups"][0]["rules"].as_array().expect("rules") {
        let name = rule.get("alert").unwrap_or(&rule["record"]);
        let expr = rule["expr"].as_str().expect("an expression");
        all.insert(format!("loki.yaml {name}"), of_logql(expr));
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
            of_pattern(r#"{ $.log_processed.event = "drain.failed" }"#),
            "drain.failed is no event",
        ),
        (
            of_pattern(r#"{ $.event = "drain.incomplete" && $.pods_missing > 0 }"#),
            "drain.incomplete has no field pods_missing",
        ),
        (
            of_pattern(r#"{ $.event = "drain.incomplete" && $.cause = "x" }"#),
            "drain.incomplete has no field cause",
        ),
        (
            of_insights(
                r#"fields coalesce(log_processed.evnt, event) as what | filter what = "pod.left""#,
            ),
            "pod.left has no field evnt",
        ),
        (
            of_insights(
                r#"fields coalesce(log_processed.event, event) as what | filter what = "pod.lost""#,
            ),
            "pod.lost is no event",
        ),
        (
            of_logql("{a=`pod.left`} | json event=\"event\", x=\"nod\" [5m]"),
            "pod.left has no field nod",
        ),
        (
            of_logql("{} |~ `imds\\.away|agent\\.heartbeat`"),
            "imds.away is no event",
        ),
        (
            of_logql("{} |= `pod.left` | unwrap wave [5m]"),
            "pod.left has no field wave",
        ),
        (
            of_datadog("@event:pod.left @wave:>0"),
            "pod.left has no field wave",
        ),
        (of_pattern("{ $.node = * }"), "it names no event"),
    ] {
        assert_eq!(names.faults(), [fault], "{names:?}");
    }
}
