//! What the values of flags may be; a message says what is wrong with one.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::PictureFile;
use crate::duration;
use crate::picture::Form;
use crate::plan::action::Ports;
use crate::plan::binding::GroupTag;
use crate::plan::id::{NodeName, TargetGroupArn};
use crate::plan::targets::ConfiguredGroup;

/// A Node's name is a DNS subdomain
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names>). An empty one
/// would select the pods that have no node.
pub(super) fn node_name(text: &str) -> Result<NodeName, String> {
    let is_label = |label: &str| {
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        ends(label.as_bytes().first()) && ends(label.as_bytes().last())
    };
    let is_name = text.len() <= 253
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)
        })
        && text.split('.').all(is_label);
    if is_name {
        Ok(NodeName::new(text))
    } else {
        Err("not the name of a Node: lower case letters, digits, '-' and '.' are".to_owned())
    }
}

fn between(text: &str, shortest: Duration, longest: Duration) -> Result<Duration, String> {
    let duration = duration::parse(text).map_err(|error| error.to_string())?;
    if (shortest..=longest).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!(
            "must be from {}s to {}s",
            shortest.as_secs(),
            longest.as_secs()
        ))
    }
}

/// The metadata mock of AWS takes bare seconds.
pub(super) fn span_or_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map(Duration::from_secs);
    seconds.or_else(|_| duration::parse(text).map_err(|error| error.to_string()))
}

pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| "not a time as in 2027-01-15T08:00:00Z".to_owned())
}

pub(super) fn poll_interval(text: &str) -> Result<Duration, String> {
    between(text, Duration::from_secs(1), Duration::from_secs(10))
}

pub(super) fn up_to_a_minute(text: &str) -> Result<Duration, String> {
    between(text, Duration::ZERO, Duration::from_mins(1))
}

pub(super) fn at_least_a_second(text: &str) -> Result<Duration, String> {
    between(text, Duration::from_secs(1), Duration::from_hours(24))
}

/// Faster than this, a loopback call takes long in simulated time and the story is about the machine.
const HIGHEST_SPEED: f64 = 60.0;

pub(super) fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.1..=HIGHEST_SPEED).contains(&speed) => Ok(speed),
        Ok(_) | Err(_) => Err(format!("must be a number from 0.1 to {HIGHEST_SPEED}")),
    }
}

pub(super) fn picture(text: &str) -> Result<PictureFile, String> {
    let path = PathBuf::from(text);
    let form = match path.extension().and_then(OsStr::to_str) {
        Some("html" | "htm") => Form::Html,
        Some("svg") => Form::Svg,
        Some(_) | None => return Err("must end with .html or .svg".to_owned()),
    };
    Ok(PictureFile { path, form })
}

pub(super) fn target_group(text: &str) -> Result<ConfiguredGroup, String> {
    let (arn, ports) = match text.rsplit_once(':') {
        Some((arn, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port = match port.parse::<u16>() {
                Ok(port) if port > 0 => port,
                Ok(_) | Err(_) => return Err(format!("{port} is not a port")),
            };
            (arn, Ports::Only(port))
        }
        Some(_) | None => (text, Ports::All),
    };
    let arn = TargetGroupArn::parse(arn).map_err(|error| error.to_string())?;
    Ok(ConfiguredGroup { arn, ports })
}

/// A key may not be empty, a value may
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Tag.html>).
pub(super) fn group_tag(text: &str) -> Result<GroupTag, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(GroupTag {
            key: key.to_owned(),
            value: value.to_owned(),
        }),
        Some(_) | None => Err("not a tag: KEY=VALUE is".to_owned()),
    }
}
