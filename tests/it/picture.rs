//! The picture of an interruption, by the commands that draw one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use spot_interrupt_handler::picture::{Form, Log, draw};
use spot_interrupt_handler::sim::scenario::Scenario;
use spot_interrupt_handler::simulate;

use crate::log_schema;

/// Runs the program to its end, with this on its standard input: its exit code, and everything it said.
fn outcome(arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_spot-interrupt-handler"))
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // It may end without reading it.
    let _ = child
        .stdin
        .take()
        .expect("its input is piped")
        .write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("text"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// The agent's lines of a played interruption.
async fn lines() -> Vec<String> {
    let scenario = Scenario::load("default").expect("the built-in scenario");
    let performance = simulate::play(&scenario, 20.0, Vec::new()).await;
    performance.expect("it can be played").lines
}

/// The value of the first attribute of that name.
fn attribute<'t>(element: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = element.split_once(&format!(" {name}=\""))?;
    Some(rest.split_once('"')?.0)
}

/// Each row's class and label, with the looks of its bars and signs in order.
fn rows(drawn: &str) -> BTreeMap<(String, String), Vec<String>> {
    let rows = drawn.split("<g class=\"row ").skip(1).map(|row| {
        let row = row.split("</g>").next().expect("its end");
        let class = row.split('"').next().expect("a class").to_owned();
        let label = attribute(row, "data-label").expect("a label").to_owned();
        let shapes = row.split('<').filter(|element| {
            element.starts_with("rect class=\"bar ") || element.starts_with("path ")
        });
        let looks = shapes.filter_map(|shape| attribute(shape, "class"));
        ((class, label), looks.map(str::to_owned).collect())
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_a_simulation_has_the_pods_and_the_numbers_of_its_log() {
    let lines = lines().await;
    let mut log = Log::default();
    for line in &lines {
        log.read(line);
    }
    let page = draw(&log.stories(), Form::Html);
    let lines: Vec<Value> = lines.iter().map(|line| log_schema::read(line)).collect();

    let summary = lines
        .iter()
        .find(|line| line["event"] == "interruption.summary");
    let summary = summary.and_then(Value::as_object).expect("a summary");
    let mut told = 0;
    for (field, value) in summary.iter().filter(|(_, value)| value.is_number()) {
        // These are of every line, or of the verdict.
        if ["v", "seconds_left", "duration_seconds", "pods_remaining"].contains(&field.as_str()) {
            continue;
        }
        let cell = format!(
            "data-field=\"{field}\">{}<",
            value.as_f64().expect("a number")
        );
        assert!(page.contains(&cell), "{cell} is not in the page");
        told += 1;
    }
    assert!(told > 20, "{told} numbers");

    let stopped: BTreeSet<String> = lines
        .iter()
        .filter(|line| line["event"] == "pod.evicted" || line["event"] == "pod.deleted")
        .map(|line| format!("{}/{}", line["namespace"], line["pod"]).replace('"', ""))
        .collect();
    let drawn: BTreeSet<String> = rows(&page)
        .into_keys()
        .filter(|(class, _)| class == "pod")
        .map(|(_, label)| label)
        .collect();
    assert_eq!(drawn, stopped);
    assert_eq!(summary["pods_total"], stopped.len());
}

#[test]
fn the_picture_in_the_documents_is_what_its_command_draws() {
    let page = include_str!("../../docs/simulation.md");
    let file = "docs/pictures/interruption.svg";
    let command = format!("$ spot-interrupt-handler simulate --speed 1 --report {file}");
    assert!(page.lines().any(|line| line == command), "{command}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("interruption.svg");
    // The same command, only faster.
    let (code, said) = outcome(&["simulate", "--speed", "20", "--report", text(&path)], "");
    assert_eq!(code, Some(0), "{said}");
    let drawn = std::fs::read_to_string(&path).expect("a picture");
    let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let shown = std::fs::read_to_string(shown).expect("the picture of the documents");
    let (drawn_rows, shown_rows) = (rows(&drawn), rows(&shown));
    assert!(drawn_rows.keys().eq(shown_rows.keys()), "{drawn_rows:?}");
    assert!(drawn_rows.len() > 10, "{drawn_rows:?}");
    // Which of two pods behind one budget goes first is a matter of luck.
    let looks = |rows: BTreeMap<(String, String), Vec<String>>| {
        let looks = rows.into_iter().map(|((class, _), looks)| (class, looks));
        let mut looks: Vec<_> = looks.collect();
        looks.sort();
        looks
    };
    assert_eq!(looks(drawn_rows), looks(shown_rows));
    let style = |svg: &str| {
        let (_, rest) = svg.split_once("<style>").expect("a style");
        rest.split("</style>").next().map(str::to_owned)
    };
    assert_eq!(style(&drawn), style(&shown));
    let words = |svg: &str| {
        let quiet = svg.split("<text class=\"quiet\"").skip(1);
        let texts =
            quiet.filter_map(|text| Some(text.split_once('>')?.1.split('<').next()?.to_owned()));
        // The second says how many requests it took, which is never quite the same.
        texts.filter(|text| !text.contains('·')).collect::<Vec<_>>()
    };
    assert_eq!(words(&drawn), words(&shown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_drawn_however_it_was_collected_and_wherever_it_breaks_off() {
    let lines = lines().await;
    let folder = tempfile::tempdir().expect("a folder");
    let page = |name: &str, log: &str| {
        let source = folder.path().join(format!("{name}.log"));
        std::fs::write(&source, log).expect("a file");
        let file = folder.path().join(format!("{name}.html"));
        let (code, said) = outcome(&["report", text(&source), "--output", text(&file)], "");
        assert_eq!((code, said.as_str()), (Some(0), ""), "{name}");
        std::fs::read_to_string(&file).expect("a page")
    };
    let plain = page("plain", &lines.join("\n"));
    let stamped: Vec<String> = lines
        .iter()
        .map(|line| format!("2026-11-21T11:00:00.000000001Z {line}\nI1121 another's line {{"))
        .collect();
    assert_eq!(page("stamped", &stamped.join("\n")), plain);
    let wrapped: Vec<String> = lines
        .iter()
        .map(|line| {
            serde_json::json!({ "log": format!("{line}\n"), "stream": "stdout" }).to_string()
        })
        .collect();
    assert_eq!(page("wrapped", &wrapped.join("\n")), plain);
    let mut broken = lines.join("\n");
    broken.push_str("\n{\"ts\":\"2026-11-21T11:0");
    assert_eq!(page("broken", &broken), plain);

    let file = folder.path().join("piped.html");
    let (code, said) = outcome(&["report", "-", "--output", text(&file)], &lines.join("\n"));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(std::fs::read_to_string(&file).expect("a page"), plain);

    let other: Vec<String> = lines
        .iter()
        .map(|line| line.replace("\"node\":\"ip-", "\"node\":\"other-"))
        .collect();
    let both = [lines.join("\n"), other.join("\n")].join("\n");
    assert_eq!(page("both", &both).matches("<article").count(), 2);
}

#[test]
fn what_cannot_be_drawn_is_told_with_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("page.html");
    let (code, said) = outcome(
        &["report", "no/such/file.log", "--output", text(&output)],
        "",
    );
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("reading no/such/file.log"), "{said}");

    let quiet = folder.path().join("quiet.log");
    let line = r#"{"level":"info","event":"agent.started","node":"n"}"#;
    std::fs::write(&quiet, format!("something else\n{line}\n")).expect("a file");
    let (code, said) = outcome(&["report", text(&quiet), "--output", text(&output)], "");
    assert_eq!(code, Some(1), "{said}");
    let told = format!(
        "{}: no interruption in it; of its 2 lines 1 are the agent's",
        quiet.display()
    );
    assert!(said.contains(&told), "{said}");
    assert!(!output.exists());

    for arguments in [
        &["report", "x.log", "--output", "page.pdf"][..],
        &["simulate", "--report", "page.pdf"],
    ] {
        let (code, said) = outcome(arguments, "");
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains("'page.pdf' for '--"), "{said}");
        assert!(said.contains(".html or .svg"), "{said}");
    }
    let (code, said) = outcome(&["report", "x.log"], "");
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("--output"), "{said}");
}
