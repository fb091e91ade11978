//! `docs/operations.md`: what to do about every event, and a receipt that is one.

use crate::log_schema::{breaches, schema};

const PAGE: &str = include_str!("../../docs/operations.md");

#[test]
fn the_page_says_what_to_do_about_every_event_and_about_no_other() {
    let branches = schema()["oneOf"].as_array().expect("branches");
    let mut events: Vec<&str> = branches
        .iter()
        .filter_map(|branch| branch["title"].as_str())
        .collect();
    let (_, runbook) = PAGE
        .split_once("\n## What to do about each line\n")
        .expect("the runbook");
    let mut rows: Vec<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    events.sort_unstable();
    rows.sort_unstable();
    assert_eq!(rows, events);
}

#[test]
fn the_receipt_on_the_page_keeps_the_contract() {
    let receipts: Vec<&str> = PAGE.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(receipts.len(), 1);
    assert_eq!(breaches(receipts[0]), Vec::<String>::new());
}
