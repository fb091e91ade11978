//! Loki's engine, promtool and actionlint, built once from Go modules (`tests/rules/build.sh`).

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::scenario::{DAY, Scenario, UNTIL};

/// Exit code of `build.sh` for "no Go, and no path of such a program".
const NO_GO: i32 = 3;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

const MINUTE: i64 = 60_000;

/// What Loki's ruler makes of a rule: alerts that began to fire, or samples.
pub type Outcomes = BTreeMap<String, Vec<Value>>;

/// The program; none where it cannot be built, which under CI is a failure.
pub fn program(name: &str) -> Option<PathBuf> {
    // Its progress goes past libtest, which would keep it back.
    let output = Command::new(format!("{ROOT}/tests/rules/build.sh"))
        .arg(name)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("bash is installed");
    if output.status.code() == Some(NO_GO) {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "no Go and no {name}: under CI it has to run");
        return None;
    }
    assert!(
        output.status.success(),
        "tests/rules/build.sh {name} failed"
    );
    let printed = String::from_utf8(output.stdout).expect("text");
    Some(PathBuf::from(printed.lines().last().expect("a path")))
}

/// What the rules in this file make of each scenario, or the engine's complaint about them.
pub fn loki(rules: &str, scenarios: &[Scenario]) -> Option<Result<Vec<Outcomes>, String>> {
    let program = program("logql")?;
    let worlds: Vec<Value> = scenarios.iter().map(world).collect();
    let mut running = Command::new(program)
        .arg(rules)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = running.stdin.take().expect("its input is piped");
    // One that has found its rules wrong reads no further.
    let _ = input.write_all(json!(worlds).to_string().as_bytes());
    drop(input);
    let output = running.wait_with_output().expect("it ends");
    Some(if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).expect("JSON"))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    })
}

/// The stream of the agents, in which something else may be said too: a line that names an event without being one, and
/// text that is no JSON.
fn world(scenario: &Scenario) -> Value {
    let mut lines: Vec<Value> = scenario
        .lines
        .iter()
        .map(|(at, line)| json!({"at": at, "text": line.to_string()}))
        .collect();
    for event in super::ALERTING_EVENTS {
        for text in [
            json!({"msg": event, "event": "page.sent", "node": "n"}).to_string(),
            format!("thread 'main' panicked at {event}"),
        ] {
            lines.push(json!({"at": DAY + MINUTE, "text": text}));
        }
    }
    json!({
        "labels": {"container": "spot-interrupt-handler", "cluster": "production"},
        "lines": lines, "from": DAY, "until": UNTIL,
    })
}

/// Whether `SpotHandlerSilent` fires, by promtool: `heard` are the samples that Loki's ruler wrote.
pub fn is_silent(rules: &str, scenario: &Scenario, heard: &[Value]) -> Option<bool> {
    let promtool = program("promtool")?;
    let says = |expected: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("test.yaml");
        let test = promtool_test(rules, scenario, heard, expected);
        fs::write(&path, test).expect("a file");
        let run = Command::new(&promtool)
            .args(["test", "rules"])
            .arg(&path)
            .output();
        run.expect("promtool runs")
    };
    let silent = says("[{labels: '{}', value: 1}]");
    let quiet = says("[]");
    match (silent.status.success(), quiet.status.success()) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        _ => panic!("{}: {}", scenario.name, told(&silent)),
    }
}

/// Runs the tests in this file.
pub fn promtool_tests(path: &str) -> Option<Result<(), String>> {
    let run = Command::new(program("promtool")?)
        .args(["test", "rules", path])
        .output()
        .expect("promtool runs");
    Some(if run.status.success() {
        Ok(())
    } else {
        Err(told(&run))
    })
}

fn told(run: &Output) -> String {
    [&run.stdout, &run.stderr]
        .map(|text| String::from_utf8_lossy(text))
        .join("")
}

/// A test in promtool's own format: the samples of this scenario, and whether it ever fires.
fn promtool_test(rules: &str, scenario: &Scenario, heard: &[Value], expected: &str) -> String {
    let minutes = || (DAY..=UNTIL).step_by(usize::try_from(MINUTE).expect("small"));
    let heard: BTreeMap<i64, f64> = heard
        .iter()
        .map(|sample| {
            let at = sample["at"].as_i64().expect("a time");
            (at, sample["value"].as_f64().expect("a number"))
        })
        .collect();
    let heard: Vec<String> = minutes()
        .map(|at| heard.get(&at).map_or("_".to_owned(), ToString::to_string))
        .collect();
    let (from, until) = scenario.desired;
    let desired: Vec<&str> = minutes()
        .map(|at| {
            if (from..until).contains(&at) {
                "1"
            } else {
                "0"
            }
        })
        .collect();
    let (heard, desired) = (heard.join(" "), desired.join(" "));
    let labels =
        r#"cluster="production", namespace="kube-system", daemonset="spot-interrupt-handler""#;
    format!(
        "rule_files: ['{rules}']\n\
         evaluation_interval: 1m\n\
         tests:\n\
         - interval: 1m\n\
         \x20 input_series:\n\
         \x20 - series: 'kube_daemonset_status_desired_number_scheduled{{{labels}}}'\n\
         \x20   values: '{desired}'\n\
         \x20 - series: 'spot_interrupt_handler:agents_heard:count5m{{cluster=\"production\"}}'\n\
         \x20   values: '{heard}'\n\
         \x20 promql_expr_test:\n\
         \x20 - expr: count(max_over_time(ALERTS{{alertname=\"SpotHandlerSilent\", alertstate=\"firing\"}}[75m]))\n\
         \x20   eval_time: 75m\n\
         \x20   exp_samples: {expected}\n"
    )
}
