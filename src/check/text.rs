//! A check for people: findings by section, then the plan as a table.

use std::fmt::Write as _;

use super::finding::{Finding, Findings, Level, PodRow, Section};

const SECTIONS: [Section; 6] = [
    Section::Permissions,
    Section::Instance,
    Section::Clocks,
    Section::Node,
    Section::Targets,
    Section::Pods,
];

/// The whole text.
#[must_use]
pub fn text(findings: &Findings) -> String {
    let mut text = String::new();
    for section in SECTIONS {
        let mut of_section = findings
            .findings
            .iter()
            .filter(|finding| finding.section == section)
            .peekable();
        if of_section.peek().is_some() {
            // Writing into a String cannot fail, here and below.
            let _ = writeln!(text, "{}", section.heading());
        }
        for Finding {
            level, text: told, ..
        } in of_section
        {
            let _ = writeln!(text, "  {:<8} {told}", mark(*level));
        }
    }
    if let Some(pods) = &findings.pods {
        let _ = writeln!(text, "\nif {} were interrupted now", findings.node);
        text.push_str(&table(pods));
    }
    let _ = writeln!(text, "\n{}", conclusion(findings));
    text
}

const fn mark(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

fn conclusion(findings: &Findings) -> String {
    let count = |level| {
        let of_level = findings
            .findings
            .iter()
            .filter(|finding| finding.level == level);
        of_level.count()
    };
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    match findings.outcome {
        Level::Ok | Level::Note => "fine".to_owned(),
        Level::Warning => format!("warnings: {warnings}"),
        Level::Error => format!("errors: {errors}, warnings: {warnings}"),
    }
}

/// Columns as wide as they have to be. Seconds count from the notice; the pod should have stopped by the one before the last.
fn table(pods: &[PodRow]) -> String {
    let head = [
        "pod",
        "grace",
        "told after",
        "at the latest",
        "stopped by",
        "what",
        "why",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(pods.iter().map(row));
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let lengths = rows.iter().map(|row| row[column].chars().count());
            lengths.max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::from(" ");
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let is_number = (1..=4).contains(&column);
            let _ = if is_number {
                write!(line, " {cell:>width$}")
            } else {
                write!(line, " {cell:<width$}")
            };
            line.push(' ');
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(pod: &PodRow) -> [String; 7] {
    let is_to_go = ["evicted", "deleted", "left"].contains(&pod.fate);
    let window = |seconds: f64| {
        if is_to_go {
            format!("{seconds:.0} s")
        } else {
            String::new()
        }
    };
    [
        format!("{}/{}", pod.namespace, pod.pod),
        format!("{} s", pod.grace_seconds),
        pod.told_after_seconds
            .map_or_else(String::new, |seconds| format!("{seconds:.0} s")),
        window(pod.last_start_seconds),
        window(pod.stop_by_seconds),
        pod.fate.replace('_', " "),
        pod.why.clone(),
    ]
}
