//! What `docs/alerting.md` says of the alerts.

use super::{ALERTS, TRUTH, table, vocabulary};

const PAGE: &str = include_str!("../../../docs/alerting.md");

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
