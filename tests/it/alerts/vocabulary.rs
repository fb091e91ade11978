//! What the rules call events and fields, held against the schema of the log: a rule that names what is no more would never
//! fire again, and nobody would notice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::pattern::{Pattern, Test};
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
