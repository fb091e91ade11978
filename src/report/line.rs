//! A line of the log, as JSON for machines and as text for a terminal.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::plan::time::WallTime;

/// The version of the line's form.
const FORM: u32 = 1;

/// Texts that come from outside are cut where they would take more room than this in JSON, so that no line is longer
/// than 8 KiB: container runtimes split at 16 KiB, and a line has at most four of them.
const LONGEST_TEXT: usize = 1_500;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A change that a user sees.
    Info,
    /// Worth a look tomorrow.
    Warn,
    /// Worth waking someone.
    Error,
}

impl Level {
    /// As it stands in the line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One line: flat, its names stable, its numbers numbers.
#[derive(Clone, Debug)]
pub struct Line {
    /// The event's name.
    pub event: &'static str,
    /// Its level.
    pub level: Level,
    /// A sentence for people.
    pub msg: String,
    /// When.
    pub at: WallTime,
    fields: Vec<(&'static str, Value)>,
}

impl Line {
    /// A line without fields of its own.
    #[must_use]
    pub fn new(event: &'static str, level: Level, msg: String, at: WallTime) -> Self {
        Self {
            event,
            level,
            msg: shortened(msg),
            at,
            fields: Vec::new(),
        }
    }

    /// Adds a field; one that is there already gets this value.
    pub fn add(&mut self, name: &'static str, value: Value) {
        let value = match value {
            Value::String(text) => Value::String(shortened(text)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => value,
        };
        match self.fields.iter_mut().find(|(key, _)| *key == name) {
            Some((_, there)) => *there = value,
            None => self.fields.push((name, value)),
        }
    }

    /// Adds a field if its value is known.
    pub fn add_if(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.add(name, json!(value));
        }
    }

    /// Adds fields.
    pub fn add_all(&mut self, fields: impl IntoIterator<Item = (&'static str, Value)>) {
        for (name, value) in fields {
            self.add(name, value);
        }
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let (_, value) = self.fields.iter().find(|(key, _)| *key == name)?;
        Some(value)
    }

    /// As one JSON object without a line break.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut object = Map::new();
        object.insert("ts".to_owned(), json!(rfc3339(self.at)));
        object.insert("level".to_owned(), json!(self.level.as_str()));
        object.insert("event".to_owned(), json!(self.event));
        object.insert("msg".to_owned(), json!(self.msg));
        object.insert("v".to_owned(), json!(FORM));
        let fields = self.fields.iter().cloned();
        object.extend(fields.map(|(name, value)| (name.to_owned(), value)));
        Value::Object(object).to_string()
    }

    /// As text for a terminal: no contract.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "{} {:5} {:24} {}",
            rfc3339(self.at),
            self.level.as_str().to_ascii_uppercase(),
            self.event,
            self.msg
        );
        for (name, value) in &self.fields {
            if IDENTITY_FIELDS.contains(name) {
                continue;
            }
            text.push(' ');
            text.push_str(name);
            text.push('=');
            match value.as_str() {
                Some(word) if !word.contains([' ', '"']) => text.push_str(word),
                Some(_) | None => text.push_str(&value.to_string()),
            }
        }
        text
    }
}

/// Fields that are the same on every line of a process: on a terminal they only take room.
const IDENTITY_FIELDS: [&str; 6] = [
    "node",
    "instance_id",
    "instance_type",
    "az",
    "cluster",
    "version",
];

/// A time as RFC 3339 in UTC with milliseconds.
pub(super) fn rfc3339(time: WallTime) -> String {
    let timestamp = Timestamp::from_millisecond(time.millis()).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{timestamp:.3}")
}

fn shortened(mut text: String) -> String {
    let mut room = LONGEST_TEXT;
    let end = text.char_indices().find_map(|(place, character)| {
        let taken = match character {
            '"' | '\\' => 2,
            // As \u00XX.
            _ if character.is_control() => 6,
            _ => character.len_utf8(),
        };
        let left = room.checked_sub(taken);
        room = left.unwrap_or_default();
        left.is_none().then_some(place)
    });
    if let Some(end) = end {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_flat_json_object_with_the_common_fields_first() {
        let mut line = Line::new(
            "node.cordoned",
            Level::Info,
            "a \"quoted\"\nword".to_owned(),
            WallTime::from_millis(1_800_000_000_123),
        );
        line.add("node", json!("n"));
        line.add_if("cluster", None);
        line.add_if("az", Some(""));
        assert_eq!(
            line.to_json(),
            r#"{"ts":"2027-01-15T08:00:00.123Z","level":"info","event":"node.cordoned","msg":"a \"quoted\"\nword","v":1,"node":"n"}"#
        );
    }

    #[test]
    fn a_line_stays_below_eight_kib_whatever_its_texts_are() {
        for piece in ["é", "\"", "\\", "\u{1}", "x"] {
            let long = piece.repeat(100_000);
            let at = WallTime::from_millis(0);
            let mut line = Line::new("pod.left", Level::Warn, long.clone(), at);
            line.add("error", json!(long));
            line.add("pod", json!(long));
            line.add("namespace", json!(long));
            let length = line.to_json().len();
            assert!(length < 8 * 1024, "{piece:?}: {length}");
            assert!(length > 4 * 1024, "{piece:?}: {length}");
        }
    }
}
