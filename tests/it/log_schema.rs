//! The contract of the log, `docs/log.schema.json`, and what breaks it.

use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;
use spot_interrupt_handler::report::{Line, Outlet};

/// Container runtimes split longer ones at 16 KiB, and wrap each in some text of their own.
const LONGEST_LINE: usize = 8 * 1024;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../docs/log.schema.json")).expect("the schema is JSON")
});

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(&SCHEMA)
        .expect("the schema is one")
});

/// The schema itself.
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// What breaks the contract in this line, which comes without its line break.
pub fn breaches(line: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    if line.len() >= LONGEST_LINE {
        breaches.push(format!("{} bytes long", line.len() + 1));
    }
    match serde_json::from_str::<Value>(line) {
        Ok(value) if VALIDATOR.is_valid(&value) => {}
        Ok(value) => breaches.extend(breaches_of(&value)),
        Err(error) => breaches.push(format!("not JSON: {error}")),
    }
    breaches
}

/// Reads a line of the agent, which has to keep the contract.
pub fn read(line: &str) -> Value {
    let breaches = breaches(line);
    assert!(breaches.is_empty(), "{breaches:#?} in the line {line}");
    serde_json::from_str(line).expect("JSON")
}

/// What the branch of the line's own event says: of the others each has something to say.
fn breaches_of(line: &Value) -> Vec<String> {
    let branches = SCHEMA["oneOf"].as_array().expect("a branch for each event");
    let branch = branches
        .iter()
        .position(|branch| branch["title"] == line["event"]);
    let mut breaches = Vec::new();
    let mut fields_left_over = Vec::new();
    for error in VALIDATOR.iter_errors(line) {
        if let ValidationErrorKind::OneOfNotValid { context } = error.kind() {
            match branch {
                Some(branch) => breaches.extend(context[branch].iter().map(told)),
                None => breaches.push(format!("{} is no event", line["event"])),
            }
        } else if let ValidationErrorKind::UnevaluatedProperties { .. } = error.kind() {
            // Where no branch fits, no field of any of them does.
            fields_left_over.push(error.to_string());
        } else {
            breaches.push(told(&error));
        }
    }
    if breaches.is_empty() {
        breaches = fields_left_over;
    }
    breaches
}

fn told(error: &ValidationError<'_>) -> String {
    format!("{}: {error}", error.instance_path())
}

/// Everything that broke the contract, gathered from wherever lines go.
#[derive(Clone, Debug, Default)]
pub struct Breaches(Arc<Mutex<Vec<String>>>);

impl Breaches {
    /// Looks at a line on its way.
    pub fn look_at(&self, line: &Line) {
        let json = line.to_json();
        let found = breaches(&json);
        if !found.is_empty() {
            let mut all = self.0.lock().expect("no panic");
            all.push(format!("{found:?} in the line {json}"));
        }
    }

    /// What was found.
    pub fn found(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

/// Looks at every line before it goes where it goes.
pub struct Witness {
    pub outlet: Box<dyn Outlet>,
    pub breaches: Breaches,
}

impl Outlet for Witness {
    fn put(&self, line: &Line) {
        self.breaches.look_at(line);
        self.outlet.put(line);
    }

    fn dropped(&self) -> u64 {
        self.outlet.dropped()
    }
}
