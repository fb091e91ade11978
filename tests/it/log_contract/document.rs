//! `docs/logs.md` against the schema: what the page has to show, and whether it does.

use std::fmt::Write;

use serde_json::Value;

use crate::log_schema::{breaches, schema};

const PAGE: &str = include_str!("../../../docs/logs.md");

/// What the page lacks or has wrong.
pub fn faults() -> Vec<String> {
    let mut faults = Vec::new();
    let common = [("every line", schema())];
    let definitions = ["pod", "target", "counts"].map(|name| (name, &schema()["$defs"][name]));
    for (place, schema) in common.into_iter().chain(definitions) {
        let table = table(schema).expect("fields");
        if !PAGE.contains(&table) {
            faults.push(format!("the table of {place} should be\n{table}"));
        }
    }
    let branches = schema()["oneOf"].as_array().expect("branches");
    let events: Vec<&str> = branches
        .iter()
        .filter_map(|branch| branch["title"].as_str())
        .collect();
    let sections = sections();
    let shown: Vec<&str> = sections.iter().map(|(event, _)| *event).collect();
    if shown != events {
        faults.push(format!(
            "the page shows {shown:?}, and the events are {events:?}"
        ));
    }
    for (event, section) in sections {
        let Some(branch) = branches.iter().find(|branch| branch["title"] == event) else {
            continue;
        };
        faults.extend(faults_of(event, section, branch));
    }
    faults
}

/// The sections of the page that are about an event, by its name.
fn sections() -> Vec<(&'static str, &'static str)> {
    PAGE.split("\n### ")
        .skip(1)
        .map(|section| {
            let (heading, text) = section.split_once('\n').unwrap_or_default();
            let end = text.find("\n## ").unwrap_or(text.len());
            (heading.trim_matches('`'), &text[..end])
        })
        .collect()
}

fn faults_of(event: &str, section: &str, branch: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let level = branch["properties"]["level"]["const"].as_str();
    let description = branch["description"].as_str().unwrap_or_default();
    let mut head = format!(
        "\nLevel `{}`.\n{}\n",
        level.unwrap_or_default(),
        description.replace(". ", ".\n")
    );
    if let Some(table) = table(branch) {
        write!(head, "\n{table}").expect("a text");
    }
    if !section.starts_with(&format!("{head}\n```json\n")) {
        faults.push(format!("{event} should begin with\n{head}"));
    }
    let lines: Vec<&str> = section
        .lines()
        .filter(|line| line.starts_with('{'))
        .collect();
    let [line] = lines[..] else {
        faults.push(format!("{event} has {} lines", lines.len()));
        return faults;
    };
    faults.extend(
        breaches(line)
            .into_iter()
            .map(|breach| format!("{event}: {breach}")),
    );
    if !line.contains(&format!(r#""event":"{event}""#)) {
        faults.push(format!("{event} shows another event's line"));
    }
    faults
}

/// The fields of a schema as the page shows them; none when it has none of its own.
fn table(schema: &Value) -> Option<String> {
    let required = schema["required"].as_array();
    let is_required =
        |name: &str| required.is_some_and(|required| required.iter().any(|one| one == name));
    let mut rows = String::new();
    for (name, field) in schema["properties"].as_object()? {
        if field["description"].is_null() {
            continue;
        }
        let mark = if is_required(name) { "" } else { "?" };
        let meaning = field["description"].as_str().unwrap_or_default();
        writeln!(rows, "| `{name}`{mark} | {} | {meaning} |", values(field)).expect("a text");
    }
    let head = "| field | value | meaning |\n|---|---|---|\n";
    (!rows.is_empty()).then(|| format!("{head}{rows}"))
}

/// What a field may be, in words.
fn values(field: &Value) -> String {
    if let Some(cases) = field["enum"].as_array() {
        let cases: Vec<String> = cases.iter().filter_map(Value::as_str).map(code).collect();
        return cases.join(", ");
    }
    if !field["const"].is_null() {
        return code(&field["const"].to_string());
    }
    let name = match field["$ref"].as_str() {
        Some("#/$defs/text") => "text",
        Some("#/$defs/time") => "time",
        Some("#/$defs/seconds") => "seconds",
        Some("#/$defs/count") => "whole number",
        _ => match field["type"].as_str() {
            Some("integer") => "whole number",
            Some("number") => "seconds",
            Some("boolean") => "`true` or `false`",
            Some("array") => "list of texts",
            _ => panic!("{field}"),
        },
    };
    name.to_owned()
}

fn code(text: &str) -> String {
    format!("`{text}`")
}
