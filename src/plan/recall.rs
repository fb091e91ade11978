//! What a restarted agent finds: a notice that is not new, and the record of it on the node.

use std::time::Duration;

use super::id::{InstanceId, NoticeId};
use super::node::{Annotation, InterruptionRecord, NodeView};
use super::notice::{Announcement, Interruption, InterruptionAction, Machine, Origin};
use super::time::{Now, WallTime};

/// How long a restarted agent waits to hear from the node's annotation before it acts without.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// A record whose deadline is this long past is of an interruption that EC2 did not carry out.
const RECORD_LIFETIME: Duration = Duration::from_mins(5);

/// A notice that was there from the start, while the node's annotation is being read.
#[derive(Debug)]
pub(super) struct Recall {
    pub(super) announcement: Announcement,
    pub(super) seen: Now,
    pub(super) node: RecalledNode,
}

/// What has been heard of the node.
#[derive(Debug)]
pub(super) enum RecalledNode {
    Unread,
    Unreadable,
    Read(Box<NodeView>),
}

/// The interruption that a notice first seen at `seen` announces: as the node's record of it has it, else a new one.
pub(super) fn interruption(
    machine: Machine<'_>,
    announcement: &Announcement,
    seen: Now,
    view: Option<&NodeView>,
    now: Now,
) -> Interruption {
    let action = announcement.action.planned();
    let server_now = announcement.server_now(seen) + now.at.since(seen.at);
    if let Some(record) = view.and_then(|view| matching_record(machine, view, announcement, seen)) {
        return Interruption {
            id: record.notice_id.clone(),
            action,
            time: record.time,
            first_seen: seen.at,
            deadline: if record.deadline > server_now {
                now.at + record.deadline.since(server_now)
            } else {
                now.at - server_now.since(record.deadline)
            },
            deadline_wall: record.deadline,
            origin: Origin::Resumed,
        };
    }
    let deadline = announcement.deadline(seen);
    Interruption {
        id: NoticeId::of(machine, action, announcement.time),
        action,
        time: announcement.time,
        first_seen: seen.at,
        deadline,
        deadline_wall: announcement.server_now(seen) + deadline.since(seen.at),
        origin: Origin::Begun,
    }
}

/// The record of this very interruption, if the node carries it.
fn matching_record<'a>(
    machine: Machine<'_>,
    view: &'a NodeView,
    announcement: &Announcement,
    seen: Now,
) -> Option<&'a InterruptionRecord> {
    let instance = match machine {
        Machine::Instance(instance) => Some(instance),
        Machine::Node(_) => None,
    };
    let action = announcement.action.planned();
    own_record(view, action, instance, announcement.server_now(seen))
}

/// The record on the node, if it is of this action on this instance in this boot, as far as they are known, and not of
/// one that by `around` has long failed to happen. The time and with it the id may differ: some mocks let it slide.
pub(super) fn own_record<'a>(
    view: &'a NodeView,
    action: InterruptionAction,
    instance: Option<&InstanceId>,
    around: WallTime,
) -> Option<&'a InterruptionRecord> {
    let Annotation::Record(record) = &view.annotation else {
        return None;
    };
    let is_same = record.action == action
        && agree(record.instance_id.as_ref(), instance)
        && agree(record.boot_id.as_ref(), view.boot_id.as_ref())
        && around.since(record.deadline) < RECORD_LIFETIME;
    is_same.then_some(record)
}

/// The record of any earlier interruption: of this instance, or of an older one whose Node object outlived it. What was
/// ours then still is.
pub(super) const fn earlier_record(view: &NodeView) -> Option<&InterruptionRecord> {
    match &view.annotation {
        Annotation::Record(record) => Some(record),
        Annotation::Absent | Annotation::Unknown(_) => None,
    }
}

/// Whether the record is of another instance, which had a node of this name before.
pub(super) fn is_of_another(record: &InterruptionRecord, instance: Option<&InstanceId>) -> bool {
    !agree(record.instance_id.as_ref(), instance)
}

/// Whether two readings say the same, as far as both are there.
fn agree<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other,
        (None, _) | (_, None) => true,
    }
}
