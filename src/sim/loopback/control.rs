//! Orders to a metadata service while it runs: a notice, a rebalance recommendation, a fault; and what it was asked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::ORIGIN;
use http::{Method, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Body, Read, text};
use crate::duration;
use crate::plan::notice::InterruptionAction;
use crate::plan::time::{Now, WallTime};
use crate::sim::journal::{Call, Service};
use crate::sim::metadata::{Fault, ScheduledNotice, rfc3339};
use crate::sim::stage::Stage;

/// What can be ordered, for whoever asks for something else.
const ORDERS: &str = r#"POST /notice {"action":"terminate|stop|hibernate","in":"120s"}; DELETE /notice; POST /rebalance; \
                        POST /fault {"kind":"500|503|timeout|reset|401|slow","for":"30s"}; GET /journal"#;

/// No test of a fault or notice is longer.
const LONGEST: Duration = Duration::from_hours(24);

pub(super) async fn answer(stage: Arc<Stage>, request: Read) -> Response<Body> {
    // A page in a browser may send requests to this machine; a browser says whose they are.
    if request.headers().contains_key(ORIGIN) {
        return refuse(StatusCode::FORBIDDEN, "orders are not taken from web pages");
    }
    let body = request.body();
    let done = match (request.method(), request.uri().path()) {
        (&Method::POST, "/notice") => announce(&stage, body),
        (&Method::DELETE, "/notice") => Ok(withdraw(&stage)),
        (&Method::POST, "/rebalance") => recommend(&stage, body),
        (&Method::POST, "/fault") => fail(&stage, body),
        (&Method::GET, "/journal") => return journal(&stage),
        (_, "/notice" | "/rebalance" | "/fault" | "/journal") => {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, ORDERS);
        }
        _ => return refuse(StatusCode::NOT_FOUND, ORDERS),
    };
    match done {
        Ok(told) => text(StatusCode::OK, "application/json", format!("{told}\n")),
        Err(mistake) => refuse(StatusCode::BAD_REQUEST, &mistake),
    }
}

fn refuse(status: StatusCode, error: &str) -> Response<Body> {
    let told = json!({ "error": error });
    text(status, "application/json", format!("{told}\n"))
}

fn announce(stage: &Stage, body: &Bytes) -> Result<Value, String> {
    let mut fields = Fields::read(body)?;
    let action = fields.take("action", |text| {
        InterruptionAction::named(text)
            .ok_or_else(|| format!("{text:?} is none of terminate, stop, hibernate"))
    })?;
    let warning = fields.take("in", span)?;
    fields.end(&["action", "in"])?;
    Ok(stage.with(|world, now| {
        let usual = ScheduledNotice::appearing_at(now.at);
        let notice = ScheduledNotice {
            warning: warning.unwrap_or(usual.warning),
            action: action.unwrap_or(usual.action),
            ..usual
        };
        world.metadata.schedule(notice);
        let time = rfc3339(world.metadata.time_of(&notice, now));
        json!({ "action": notice.action.as_str(), "time": time })
    }))
}

fn withdraw(stage: &Stage) -> Value {
    stage.with(|world, _| {
        let was_there = world.metadata.notice().is_some();
        world.metadata.withdraw();
        json!({ "withdrawn": was_there })
    })
}

fn recommend(stage: &Stage, body: &Bytes) -> Result<Value, String> {
    Fields::read(body)?.end(&[])?;
    Ok(stage.with(|world, now| {
        world.metadata.recommend_rebalance(now.at);
        json!({ "noticeTime": rfc3339(now.wall) })
    }))
}

fn fail(stage: &Stage, body: &Bytes) -> Result<Value, String> {
    let mut fields = Fields::read(body)?;
    let kind = fields.take("kind", |text| {
        let fault = Fault::named(text)
            .ok_or_else(|| format!("{text:?} is none of 500, 503, timeout, reset, 401, slow"))?;
        Ok((fault, text.to_owned()))
    })?;
    let span = fields.take("for", span)?;
    fields.end(&["kind", "for"])?;
    let (fault, name) = kind.ok_or("field \"kind\" is missing")?;
    let span = span.ok_or("field \"for\" is missing")?;
    Ok(stage.with(|world, now| {
        world.metadata.fail(fault, now.at + span);
        json!({ "kind": name, "until": rfc3339(now.wall + span) })
    }))
}

fn journal(stage: &Stage) -> Response<Body> {
    let lines: Vec<String> = stage.with(|world, now| {
        let calls = world.journal.calls().iter();
        calls
            .filter(|call| call.service == Service::Metadata)
            .map(|call| line(call, now).to_string() + "\n")
            .collect()
    });
    let lines = lines.concat();
    text(StatusCode::OK, "application/x-ndjson", lines)
}

fn line(call: &Call, now: Now) -> Value {
    let at = now.wall - now.at.since(call.at);
    let mut line = Map::new();
    line.insert("ts".to_owned(), millis(at).into());
    line.insert("method".to_owned(), call.verb.into());
    line.insert("path".to_owned(), call.object.as_str().into());
    if call.status != 0 {
        line.insert("status".to_owned(), call.status.into());
    }
    if let Some(port) = call.from {
        line.insert("source_port".to_owned(), port.into());
    }
    line.into()
}

fn millis(time: WallTime) -> String {
    let timestamp = Timestamp::from_millisecond(time.millis()).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{timestamp:.3}")
}

fn span(text: &str) -> Result<Duration, String> {
    let span = duration::parse(text).map_err(|error| error.to_string())?;
    if span > LONGEST {
        return Err(format!("{text:?} is more than a day"));
    }
    Ok(span)
}

/// The fields of an order that have not been read yet.
struct Fields(Map<String, Value>);

impl Fields {
    /// An order may have no body at all.
    fn read(body: &Bytes) -> Result<Self, String> {
        if body.trim_ascii().is_empty() {
            return Ok(Self(Map::new()));
        }
        let read = serde_json::from_slice(body).map(Self);
        read.map_err(|error| format!("the body is not a JSON object: {error}"))
    }

    /// What this field says, when it is there.
    fn take<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let told = |mistake| format!("field {name:?}: {mistake}");
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => read(&text).map(Some).map_err(told),
            Some(other) => Err(told(format!("{other} is not a text"))),
        }
    }

    /// Refuses what is left.
    fn end(&self, known: &[&str]) -> Result<(), String> {
        match self.0.iter().next() {
            None => Ok(()),
            Some((name, value)) => {
                let known = known.join(", ");
                Err(format!(
                    "field {name:?}: unknown, with value {value}; known: {known}"
                ))
            }
        }
    }
}
