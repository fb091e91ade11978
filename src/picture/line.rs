//! Finding the agent's object in a line, whatever a collector has put around it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::plan::time::WallTime;

type Object = Map<String, Value>;

/// Where collectors put a line: container runtimes and Fluent Bit `log`, its parser `log_processed`, Loki `line`, others
/// `message`.
const WRAPPINGS: [&str; 4] = ["log_processed", "log", "message", "line"];

/// So often is one wrapped into the other at most.
const DEEPEST: usize = 4;

/// A prefix (`kubectl logs --timestamps --prefix`) has no more braces than this.
const MOST_BRACES: usize = 8;

/// An interruption takes minutes; what claims to be further away is not about one.
const FURTHEST: f64 = 86_400.0;

/// The agent's object in this line, if there is one.
pub(super) fn own(line: &str) -> Option<Object> {
    search(line, DEEPEST)
}

fn search(text: &str, depth: usize) -> Option<Object> {
    let braces = text.match_indices('{').take(MOST_BRACES);
    let mut objects = braces.filter_map(|(place, _)| object_at(&text[place..]));
    objects.find_map(|object| unwrapped(object, depth))
}

/// The object that the text begins with; what follows it is nobody's business.
fn object_at(text: &str) -> Option<Object> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Object>();
    values.next()?.ok()
}

fn unwrapped(mut object: Object, depth: usize) -> Option<Object> {
    if is_own(&object) {
        return Some(object);
    }
    let depth = depth.checked_sub(1)?;
    WRAPPINGS
        .iter()
        .find_map(|name| match object.remove(*name)? {
            Value::String(text) => search(&text, depth),
            Value::Object(inner) => unwrapped(inner, depth),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
        })
}

fn is_own(object: &Object) -> bool {
    let is_text = |name| object.get(name).is_some_and(Value::is_string);
    is_text("event") && is_text("level") && is_text("node")
}

/// A line about an interruption, placed in time.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// When, on EC2's clock: the deadline less what was left. The node's own clock may be wrong.
    pub(super) at: WallTime,
    /// The deadline, as the agent knew it then.
    pub(super) deadline: WallTime,
    object: Object,
}

impl Entry {
    /// The line, with its node and its notice's id; none when it is not about an interruption.
    pub(super) fn of(object: Object) -> Option<((String, String), Self)> {
        let text = |name| object.get(name).and_then(Value::as_str);
        let key = (text("node")?.to_owned(), text("notice_id")?.to_owned());
        let deadline = time(text("deadline")?)?;
        let left = object.get("seconds_left")?.as_f64()?;
        if !(-FURTHEST..=FURTHEST).contains(&left) {
            return None;
        }
        let distance = Duration::from_secs_f64(left.abs());
        let at = if left < 0.0 {
            deadline + distance
        } else {
            deadline - distance
        };
        let entry = Self {
            at,
            deadline,
            object,
        };
        Some((key, entry))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.object.get(name).and_then(Value::as_str)
    }

    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.object.get(name).and_then(Value::as_f64)
    }

    pub(super) fn count(&self, name: &str) -> Option<u64> {
        self.object.get(name).and_then(Value::as_u64)
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.object.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// A moment that is given as what is then left until the deadline.
    pub(super) fn moment_left(&self, name: &str) -> Option<WallTime> {
        let left = self.number(name)?;
        let distance = Duration::try_from_secs_f64(left.abs().min(FURTHEST)).ok()?;
        Some(if left < 0.0 {
            self.deadline + distance
        } else {
            self.deadline - distance
        })
    }

    pub(super) fn time(&self, name: &str) -> Option<WallTime> {
        time(self.text(name)?)
    }

    /// The event's own numbers, in the order of the line.
    pub(super) fn numbers(&self) -> Vec<(String, f64)> {
        let fields = self.object.iter();
        let numbers = fields.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)));
        numbers
            .filter(|(name, _)| name != "v" && name != "seconds_left")
            .collect()
    }
}

fn time(text: &str) -> Option<WallTime> {
    let timestamp: Timestamp = text.parse().ok()?;
    Some(WallTime::from_millis(timestamp.as_millisecond()))
}
