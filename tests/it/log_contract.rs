//! The log keeps its contract, `docs/log.schema.json`: what the report can say, what runs do say, and what the
//! documentation shows.

mod document;
mod facts;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::plan::action::MachineIdentity;
use spot_interrupt_handler::plan::fact::{Fact, InterruptionContext};
use spot_interrupt_handler::plan::id::InstanceId;
use spot_interrupt_handler::plan::notice::InterruptionAction;
use spot_interrupt_handler::plan::time::{Moment, Now, WallTime};
use spot_interrupt_handler::plan::{Discover, Effect, Mode};
use spot_interrupt_handler::report::{
    Base, Configuration, Level, Line, Outlet, Reporter, Standing, report_panics,
};
use spot_interrupt_handler::sim::loopback::Loopback;
use spot_interrupt_handler::sim::scenario::Scenario;
use spot_interrupt_handler::sim::stage::Stage;
use spot_interrupt_handler::telemetry::{LogFormat, Stdout};

use crate::agent_process::AgentProcess;
use crate::log_schema::{breaches, schema};

const NOW: Now = Now {
    at: Moment::ORIGIN,
    wall: WallTime::from_millis(1_800_000_000_123),
};

/// Lines as they would leave the process.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl Outlet for Kept {
    fn put(&self, line: &Line) {
        self.0.lock().expect("no panic").push(line.to_json());
    }

    fn dropped(&self) -> u64 {
        7
    }
}

impl Kept {
    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

fn base(cluster: Option<&str>) -> Base {
    Base {
        node: "ip-10-0-1-2.eu-west-1.compute.internal".to_owned(),
        cluster: cluster.map(str::to_owned),
        configuration: Configuration {
            mode: Mode::Full,
            effect: Effect::Real,
            poll_interval_seconds: 5.0,
            imds_endpoint: "http://169.254.169.254".to_owned(),
            discover: BTreeSet::from([Discover::Bindings, Discover::Tag]),
            target_groups: 2,
        },
    }
}

fn identity(is_whole: bool) -> MachineIdentity {
    MachineIdentity {
        instance_id: InstanceId::new("i-0123456789abcdef0"),
        instance_type: is_whole.then(|| "m6g.large".to_owned()),
        zone: is_whole.then(|| "eu-west-1a".to_owned()),
        life_cycle: None,
    }
}

fn interruption(action: InterruptionAction, seconds_left: f64) -> InterruptionContext {
    InterruptionContext {
        notice_id: "3fc7635cbb384adf".to_owned(),
        action,
        deadline: WallTime::from_millis(1_800_000_120_000),
        seconds_left,
    }
}

/// Every fact, in every standing in which it may be reported, as lines.
fn every_line_of_the_report() -> Vec<String> {
    let kept = Kept::default();
    let [whole, bare] = [identity(true), identity(false)];
    for cluster in [None, Some("production")] {
        let outlet = Box::new(kept.clone());
        let mut unchanging = base(cluster);
        if cluster.is_none() {
            unchanging.configuration.discover.clear();
        }
        let reporter = Reporter::new(unchanging, Level::Info, outlet, NOW.at);
        reporter.report_panic("index out of bounds", "src/plan.rs:1:1", NOW);
        reporter.report_standstill(Duration::from_secs(60), NOW);
        for identity in [None, Some(&whole), Some(&bare)] {
            let idle = Standing {
                identity,
                ..Standing::default()
            };
            let mut standings = vec![idle];
            for (action, left) in [
                (InterruptionAction::Terminate, 116.5),
                (InterruptionAction::Stop, 0.0),
                (InterruptionAction::Hibernate, -30.25),
            ] {
                standings.push(Standing {
                    identity,
                    interruption: Some(interruption(action, left)),
                    is_resumed: left < 0.0,
                });
            }
            for standing in &standings {
                let mut facts = facts::of_the_agent();
                if standing.interruption.is_some() {
                    facts.extend(facts::of_an_interruption());
                }
                for fact in &facts {
                    reporter.report(fact, standing, NOW);
                }
                reporter.report_panic("index out of bounds", "src/plan.rs:1:1", NOW);
            }
        }
    }
    kept.lines()
}

#[test]
fn whatever_the_report_can_say_keeps_the_contract() {
    let mut wrong = BTreeMap::new();
    for line in every_line_of_the_report() {
        let found = breaches(&line);
        if !found.is_empty() {
            wrong.insert(found, line);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The words between quotation marks in these sources that may be names or values of a line.
fn words_of_the_report() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut words = BTreeSet::new();
    for file in [
        "report.rs",
        "report/headline.rs",
        "report/fields.rs",
        "report/names.rs",
    ] {
        let text = fs::read_to_string(root.join("src").join(file)).expect("a source");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim().starts_with("//")) {
            let quoted = line.split('"').skip(1).step_by(2);
            let is_word = |word: &&str| {
                !word.is_empty()
                    && word
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || b"_.-0123456789".contains(&byte))
            };
            words.extend(quoted.filter(is_word).map(str::to_owned));
        }
    }
    for other in ["unknown", "base", "lowest"] {
        words.remove(other);
    }
    assert!(words.len() > 100, "{words:?}");
    words
}

/// What holds the test before to be about everything: a fact, a field or a case that is added has to be among its lines.
#[test]
fn no_event_field_or_case_of_the_report_is_missing_among_the_lines_that_are_held_against_the_contract()
 {
    let mut said = BTreeSet::new();
    for line in every_line_of_the_report() {
        let Ok(Value::Object(line)) = serde_json::from_str(&line) else {
            panic!("no object: {line}");
        };
        for (name, value) in line {
            said.insert(name);
            said.extend(value.as_str().map(str::to_owned));
        }
    }
    let unsaid: Vec<String> = words_of_the_report().difference(&said).cloned().collect();
    assert_eq!(unsaid, Vec::<String>::new());
}

#[test]
fn when_a_pod_is_deleted_is_told_on_the_scale_of_seconds_left() {
    let kept = Kept::default();
    let reporter = Reporter::new(base(None), Level::Info, Box::new(kept.clone()), NOW.at);
    let standing = Standing {
        interruption: Some(interruption(InterruptionAction::Terminate, 116.0)),
        ..Standing::default()
    };
    for fact in facts::of_an_interruption() {
        reporter.report(&fact, &standing, NOW);
    }
    let lines = kept.lines();
    let blocked = lines
        .iter()
        .find(|line| line.contains("pod.blocked"))
        .expect("a blocked pod");
    assert!(blocked.contains("deleted in 83 s"), "{blocked}");
    assert!(
        blocked.contains(r#""delete_at_seconds_left":32.8"#),
        "{blocked}"
    );
}

#[test]
fn a_panic_in_an_interruption_names_it_and_the_instance() {
    let kept = Kept::default();
    let reporter = Reporter::new(base(None), Level::Info, Box::new(kept.clone()), NOW.at);
    let whole = identity(true);
    let standing = Standing {
        identity: Some(&whole),
        interruption: Some(interruption(InterruptionAction::Terminate, 116.0)),
        is_resumed: false,
    };
    let fact = Fact::ApiRecovered {
        since: Duration::ZERO,
    };
    reporter.report(&fact, &standing, NOW);
    let later = Now {
        at: NOW.at + Duration::from_secs(2),
        ..NOW
    };
    reporter.report_panic("index out of bounds", "src/plan.rs:1:1", later);
    let lines = kept.lines();
    let panicked: Value = serde_json::from_str(&lines[1]).expect("JSON");
    assert_eq!(panicked["notice_id"], "3fc7635cbb384adf", "{panicked}");
    assert_eq!(panicked["instance_id"], "i-0123456789abcdef0");
    assert_eq!(panicked["seconds_left"], 114.0);
}

/// Names this test's process as the one that is to panic.
const PANICS: &str = "SIH_TEST_PANICS";

/// The hook is the whole process's, so the panics are those of a process of their own: this test, run once more.
#[test]
fn a_panic_is_one_line_that_keeps_the_contract() {
    if std::env::var_os(PANICS).is_some() {
        panic_in_every_way();
        return;
    }
    let this = "log_contract::a_panic_is_one_line_that_keeps_the_contract";
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", this, "--nocapture"])
        .env(PANICS, "yes")
        .output()
        .expect("this test starts");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(lines.len(), 3, "{said}");
    for line in lines {
        assert_eq!(breaches(line), Vec::<String>::new(), "{line}");
        assert!(line.contains(r#""event":"agent.panicked""#), "{line}");
    }
    let complaints = String::from_utf8(output.stderr).expect("text");
    assert!(!complaints.contains("panicked"), "{complaints}");
}

fn panic_in_every_way() {
    let clock = Clock::real();
    let (outlet, _flushed_on_drop) = Stdout::start(LogFormat::Json);
    let reporter = Reporter::new(base(None), Level::Info, Box::new(outlet), clock.now().at);
    report_panics(Arc::new(reporter), clock);
    // The name of a test that libtest has begun to print stands on a line that has not ended.
    std::io::stdout().write_all(b"\n").expect("an output");
    let long = "\"a\nb\u{1b}".repeat(10_000);
    let panics: [Box<dyn FnOnce() + Send>; 3] = [
        Box::new(|| panic!("on purpose")),
        Box::new(move || panic!("{long}")),
        Box::new(|| std::panic::panic_any(7)),
    ];
    for panic in panics {
        let panicked = std::thread::spawn(panic).join();
        assert!(panicked.is_err());
    }
}

/// A line that keeps the contract.
fn good_line() -> Value {
    json!({
        "ts": "2027-01-15T08:00:00.123Z", "level": "info", "event": "pod.gone", "msg": "shop/cart-0 has stopped", "v": 1,
        "node": "n", "version": "0.1.0",
        "notice_id": "3fc7635cbb384adf", "action": "terminate", "deadline": "2027-01-15T08:02:00.000Z", "seconds_left": 99.5,
        "namespace": "shop", "pod": "cart-0", "uid": "7c4f7a4e", "grace_seconds": 60, "elapsed_seconds": 20.5,
        "outcome": "gone", "stopped_after_seconds": 18.0,
    })
}

#[test]
fn a_line_that_breaks_the_contract_is_refused_for_what_it_breaks() {
    assert_eq!(breaches(&good_line().to_string()), Vec::<String>::new());
    for (field, value, complaint) in [
        ("level", json!("warn"), "\"info\" was expected"),
        ("level", json!("debug"), "\"info\" was expected"),
        ("event", json!("pod.went"), "\"pod.went\" is no event"),
        ("event", json!("pod.left"), "\"warn\" was expected"),
        ("outcome", json!("fled"), "is not one of"),
        ("pod", json!(""), "is shorter than 1"),
        ("pod", Value::Null, "is not of type"),
        ("grace_seconds", json!("60"), "is not of type"),
        ("grace_seconds", json!(0.5), "is not of type"),
        ("grace_seconds", json!(-1), "is less than the minimum"),
        ("stopped_after_seconds", json!("18"), "is not of type"),
        ("ts", json!("2027-01-15 08:00:00"), "does not match"),
        ("ts", json!("2027-01-15T08:00:00Z"), "does not match"),
        (
            "ts",
            json!("2027-13-15T08:00:00.000Z"),
            "is not a \"date-time\"",
        ),
        ("v", json!(2), "1 was expected"),
        ("dry_run", json!(false), "true was expected"),
        ("time", json!("now"), "'time' was unexpected"),
        ("wave", json!(1), "'wave' was unexpected"),
        ("labels", json!({"app": "cart"}), "'labels' was unexpected"),
    ] {
        let mut line = good_line();
        line[field] = value.clone();
        let found = breaches(&line.to_string());
        let is_named = found.iter().any(|breach| breach.contains(complaint));
        assert!(is_named, "{field}: {value}: {found:#?}");
    }
    for field in [
        "ts", "level", "event", "msg", "v", "node", "version", "pod", "outcome", "deadline",
    ] {
        let mut line = good_line();
        line.as_object_mut().expect("an object").remove(field);
        let found = breaches(&line.to_string());
        assert!(!found.is_empty(), "without {field}");
    }
    for text in ["", "[]", "panicked at src/plan.rs", "\u{1b}[31m{}"] {
        assert!(!breaches(text).is_empty(), "{text:?}");
    }
    let mut long = good_line();
    long["msg"] = json!("x".repeat(8 * 1024));
    assert!(!breaches(&long.to_string()).is_empty());
}

/// Every schema of a field, with where it stands.
fn fields() -> Vec<(String, String, &'static Value)> {
    let branches = schema()["oneOf"].as_array().expect("branches");
    let mut places = vec![("every line".to_owned(), schema())];
    places.extend(
        branches
            .iter()
            .map(|branch| (branch["title"].to_string(), branch)),
    );
    let definitions = schema()["$defs"].as_object().expect("definitions");
    places.extend(
        definitions
            .iter()
            .map(|(name, definition)| (name.clone(), definition)),
    );
    let mut fields = Vec::new();
    for (place, schema) in places {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            fields.push((place.clone(), name.clone(), field));
        }
    }
    fields
}

/// The JSON type of a field.
fn type_of(field: &Value) -> String {
    if let Some(definition) = field["$ref"].as_str() {
        let name = definition.trim_start_matches("#/$defs/");
        return type_of(&schema()["$defs"][name]);
    }
    match (field["type"].as_str(), &field["enum"][0], &field["const"]) {
        // To whoever stores lines, a whole number is a number.
        (Some("integer"), _, _) | (_, _, Value::Number(_)) => "number".to_owned(),
        (Some(name), _, _) => name.to_owned(),
        (None, Value::String(_), _) | (None, _, Value::String(_)) => "string".to_owned(),
        _ => panic!("no type: {field}"),
    }
}

#[test]
fn the_schema_is_one_and_each_event_has_its_level_and_each_field_its_description() {
    assert!(jsonschema::draft202012::meta::is_valid(schema()));
    let mut events = BTreeSet::new();
    for branch in schema()["oneOf"].as_array().expect("branches") {
        assert_eq!(branch["title"], branch["properties"]["event"]["const"]);
        let levels = &schema()["properties"]["level"]["enum"];
        let level = &branch["properties"]["level"]["const"];
        assert!(
            levels.as_array().expect("levels").contains(level),
            "{branch}"
        );
        assert!(branch["description"].is_string(), "{branch}");
        assert!(events.insert(branch["title"].to_string()), "{branch}");
    }
    let undescribed: Vec<String> = fields()
        .into_iter()
        .filter(|(place, name, field)| {
            let is_fixed = ["event", "level"].contains(&name.as_str()) && place != "every line";
            !is_fixed && !field["description"].is_string()
        })
        .map(|(place, name, _)| format!("{name} of {place}"))
        .collect();
    assert_eq!(undescribed, Vec::<String>::new());
}

/// Stores of logs keep one type for each field, and some wrap a line in fields of their own.
#[test]
fn a_field_has_one_type_wherever_it_stands_and_no_name_that_collectors_use() {
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    for (place, name, field) in fields() {
        let one = types.entry(name.clone()).or_insert_with(|| type_of(field));
        assert_eq!(*one, type_of(field), "{name} of {place}");
        assert_ne!(*one, "object", "{name} of {place}: a line is flat");
        assert!(!["log", "stream", "time", "kubernetes", "_p"].contains(&name.as_str()));
    }
}

#[test]
fn the_documentation_shows_every_event_with_its_fields_and_a_line_that_keeps_the_contract() {
    assert_eq!(document::faults(), Vec::<String>::new());
}

const SCENARIO: &str = r#"
description = "a pod that stops, one behind a closed budget, one that lasts, and a group with a port"
[notice]
after = "3s"
warning = "30s"
[expect]
verdict = "completed"
[[pod]]
name = "web-0"
owner = "ReplicaSet/web"
expect = "evicted"
[[pod]]
name = "cart-0"
owner = "StatefulSet/cart"
grace = "60s"
stops_after = "50s"
expect = "cut"
[[pod]]
name = "db-0"
labels = { app = "db" }
grace = "5s"
expect = "deleted"
[[budget]]
name = "db"
select = { app = "db" }
allowed = 0
[[target_group]]
arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/73e2d6bc24d8a067"
ports = [30443]
"#;

/// The program itself, from its start to its end, without a cluster: its lines are held against the contract as they are
/// read, in this test as in every other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_the_program_from_its_start_to_its_end_keeps_the_contract() {
    let scenario = Scenario::parse("log", SCENARIO).expect("a scenario");
    let clock = Clock::real();
    let stage = Stage::new(scenario.world(clock.now().at), clock.clone());
    let loopback = Loopback::serve(&stage).await.expect("loopback");
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("kubeconfig");
    let content = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": format!("http://{}", loopback.kubernetes)}}],
        "users": [{"name": "it", "user": {}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    fs::write(&kubeconfig, content.to_string()).expect("a file");
    let metadata = format!("http://{}", loopback.metadata);
    let balancer = format!("http://{}", loopback.balancer);
    let mut agent = AgentProcess::start_with(
        &kubeconfig,
        &[
            "--node-name",
            scenario.node_name().as_str(),
            "--imds-endpoint",
            &metadata,
            "--poll-interval",
            "1s",
            "--heartbeat-interval",
            "5s",
            "--cluster-name",
            "production",
            "--target-group-arn",
            scenario.groups[0].arn.as_str(),
        ],
        &[
            ("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", &balancer),
            ("AWS_ACCESS_KEY_ID", "none"),
            ("AWS_SECRET_ACCESS_KEY", "none"),
        ],
    );
    agent.line_of("interruption.summary").await;
    agent.terminate().await;
    assert_eq!(agent.exit_code().await, Some(0));
    let said: BTreeSet<&str> = agent
        .seen
        .iter()
        .filter_map(|line| line["event"].as_str())
        .collect();
    for event in [
        "imds.overridden",
        "agent.started",
        "agent.heartbeat",
        "interruption.notice",
        "node.cordoned",
        "pod.evicted",
        "pod.blocked",
        "pod.deleted",
        "pod.gone",
        "targets.deregistered",
        "drain.progress",
        "drain.completed",
        "interruption.summary",
        "agent.stopping",
    ] {
        assert!(said.contains(event), "{event} is not among {said:?}");
    }
}
