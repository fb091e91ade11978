//! What the bodies and headers of the metadata service say.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::plan::action::MachineIdentity;
use crate::plan::id::InstanceId;
use crate::plan::notice::{AnnouncedAction, Announcement, InterruptionAction};
use crate::plan::time::WallTime;

/// How much of a body is told.
const SHOWN_OF_BODY: usize = 200;

/// What we need of the instance identity document
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html>).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityDocument {
    instance_id: String,
    instance_type: Option<String>,
    availability_zone: Option<String>,
}

/// The notice in the body of a reply of that `Date`: a JSON object with a string `action`, and nothing else is one.
#[must_use]
pub fn read_notice(body: &[u8], server_date: Option<WallTime>) -> Option<Announcement> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let fields = body.as_object()?;
    let action = fields.get("action")?.as_str()?;
    let time = fields.get("time").and_then(Value::as_str);
    Some(Announcement {
        action: InterruptionAction::named(action).map_or_else(
            || AnnouncedAction::Unknown(shown(action.as_bytes())),
            AnnouncedAction::Known,
        ),
        time: time.and_then(|time| Some(wall_time(time.parse().ok()?))),
        server_date,
    })
}

/// The machine that an identity document is about, without its life cycle, which the document does not tell.
#[must_use]
pub fn read_identity(body: &[u8]) -> Option<MachineIdentity> {
    let document: IdentityDocument = serde_json::from_slice(body).ok()?;
    Some(MachineIdentity {
        instance_id: InstanceId::new(document.instance_id),
        instance_type: document.instance_type,
        zone: document.availability_zone,
        life_cycle: None,
    })
}

/// A `Date` header: RFC 9110 writes it as RFC 2822 does, but with `GMT`.
#[must_use]
pub fn read_date(text: &str) -> Option<WallTime> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(wall_time(zoned.timestamp()))
}

fn wall_time(timestamp: Timestamp) -> WallTime {
    WallTime::from_millis(timestamp.as_millisecond())
}

/// The beginning of what came, safe to print.
pub(super) fn shown(body: &[u8]) -> String {
    let start = &body[..body.len().min(SHOWN_OF_BODY)];
    String::from_utf8_lossy(start)
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}
