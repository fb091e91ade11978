//! The page that is left: what was promised and seen, above the pictures that `report` draws of all nodes.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use spot_interrupt_handler::picture::markup::escaped;

use crate::evidence::{Day, Finding, Round, seconds};
use crate::instance::PROGRAM;

/// Of each receipt these figures.
const FIGURES: [(&str, &str); 8] = [
    ("pods_total", "pods"),
    ("pods_blocked", "refused at first"),
    ("cordoned_after_seconds", "cordoned"),
    ("last_target_after_seconds", "target draining"),
    ("last_eviction_after_seconds", "last eviction"),
    ("all_gone_after_seconds", "all gone"),
    ("api_requests", "API requests"),
    ("elb_requests", "ELB requests"),
];

/// Over what the page below has for its own tables.
const STYLE: &str = "\
section.day { max-width: 64rem; margin: 1rem auto; font: 15px/1.4 system-ui, sans-serif; }\
section.day table { border-collapse: collapse; table-layout: auto; width: 100%; margin: 1rem 0; }\
section.day th, section.day td { border: 1px solid #8886; padding: .25rem .5rem; width: auto; text-align: left; \
vertical-align: top; overflow-wrap: normal; }\
section.day table.promises td:first-child { width: 45%; }\
section.day td.yes, section.day td.no { white-space: nowrap; }\
section.day td.yes { color: #176d36; } section.day td.no { color: #b3261e; font-weight: bold; }";

/// Writes page, log and table to `target/game-day/`, prints the table, and says whether everything holds.
pub fn write(day: &Day, observes: bool) -> bool {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../game-day");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    let folder = folder.canonicalize().expect("it is there");
    let name = if observes { "observed" } else { "game-day" };
    let [log, html] = ["log", "html"].map(|kind| folder.join(format!("{name}.{kind}")));
    fs::write(&log, day.log.lines().join("\n") + "\n").expect("the log can be written");
    let drawn = Command::new(PROGRAM)
        .arg("report")
        .arg(&log)
        .arg("--output")
        .arg(&html)
        .status()
        .expect("report runs");
    // Agents that look on have no story.
    let pictures = if drawn.success() {
        fs::read_to_string(&html).expect("what it has drawn")
    } else {
        "<!doctype html>\n<html lang=\"en\">\n<body>\n</body>\n</html>\n".to_owned()
    };
    let findings = day.findings();
    let section = section(day, &findings);
    let page = pictures.replacen("<body>", &format!("<body>\n{section}"), 1);
    fs::write(&html, page).expect("the page can be written");
    print(day, &findings);
    println!(
        "\nthe page: {}\nthe agents' lines: {}",
        html.display(),
        log.display()
    );
    findings.iter().all(|finding| finding.holds)
}

fn section(day: &Day, findings: &[Finding]) -> String {
    let mut text = format!("<style>{STYLE}</style>\n<section class=\"day\">\n<h1>Game day</h1>\n");
    let count = day
        .rounds
        .iter()
        .map(|round| round.nodes.len())
        .sum::<usize>();
    let mut add = |line: String| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    add(format!(
        "<p>{:.0}: {count} spot nodes of a cluster of {} interrupted in {} rounds.</p>",
        day.begins,
        day.nodes,
        day.rounds.len()
    ));
    add("<table class=\"promises\"><tr><th>promise</th><th>seen</th><th></th></tr>".to_owned());
    for finding in findings {
        let (class, word) = if finding.holds {
            ("yes", "holds")
        } else {
            ("no", "does not hold")
        };
        add(format!(
            "<tr><td>{}</td><td>{}</td><td class=\"{class}\">{word}</td></tr>",
            escaped(finding.promise),
            escaped(&finding.seen)
        ));
    }
    add("</table>".to_owned());
    for rows in [rounds(day), receipts(day)] {
        add("<table>".to_owned());
        for (index, row) in rows.iter().enumerate() {
            let tag = if index == 0 { "th" } else { "td" };
            let cells = row
                .iter()
                .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)));
            add(format!("<tr>{}</tr>", cells.collect::<String>()));
        }
        add("</table>".to_owned());
    }
    add("</section>".to_owned());
    text
}

/// The rounds, with a heading.
fn rounds(day: &Day) -> Vec<Vec<String>> {
    let heading = [
        "round",
        "nodes",
        "pods to move",
        "full strength after, s",
        "taken after, s",
        "requests until replaced",
        "failed",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let of_round = |(index, round): (usize, &Round)| {
        let (sent, failed) = round.requests(&day.traffic);
        let recovery = round.recovery().map(|after| format!("{after:.1}"));
        vec![
            (index + 1).to_string(),
            round.nodes.len().to_string(),
            round.doomed(day).len().to_string(),
            recovery.unwrap_or("never".to_owned()),
            format!("{:.0}", seconds(round.notice, round.taken)),
            sent.to_string(),
            failed.to_string(),
        ]
    };
    rows.extend(day.rounds.iter().enumerate().map(of_round));
    rows
}

/// The receipts, with a heading.
fn receipts(day: &Day) -> Vec<Vec<String>> {
    let mut heading = vec!["round".to_owned(), "node".to_owned()];
    heading.extend(FIGURES.iter().map(|(field, words)| {
        let unit = if field.ends_with("_seconds") {
            " after, s"
        } else {
            ""
        };
        format!("{words}{unit}")
    }));
    let mut rows = vec![heading];
    for (index, round) in day.rounds.iter().enumerate() {
        for receipt in &round.receipts {
            let node = receipt["node"].as_str().unwrap_or_default().to_owned();
            let mut row = vec![(index + 1).to_string(), node];
            row.extend(FIGURES.iter().map(|(field, _)| match &receipt[field] {
                Value::Null => String::new(),
                figure @ (Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Object(_)) => figure.to_string(),
            }));
            rows.push(row);
        }
    }
    rows
}

/// The same as text.
fn print(day: &Day, findings: &[Finding]) {
    for table in [rounds(day), receipts(day)] {
        println!();
        for (index, row) in table.iter().enumerate() {
            println!("| {} |", row.join(" | "));
            if index == 0 {
                println!("|{}", "--:|".repeat(row.len()));
            }
        }
    }
    println!("\n| promise | seen | |\n|---|---|---|");
    for finding in findings {
        let word = if finding.holds {
            "holds"
        } else {
            "DOES NOT HOLD"
        };
        println!("| {} | {} | {word} |", finding.promise, finding.seen);
    }
}
