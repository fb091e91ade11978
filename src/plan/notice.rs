//! The interruption notice: what EC2 announced, and the deadline made of it.

use std::fmt;
use std::time::Duration;

use super::budget::{LONGEST_NOTICE, SHORTEST_PLAN, UNTOLD_NOTICE};
use super::id::{InstanceId, NodeName, NoticeId};
use super::time::{Moment, Now, WallTime};

/// What EC2 will do with the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InterruptionAction {
    /// The instance ends for good.
    Terminate,
    /// The instance is stopped, and may start again.
    Stop,
    /// The instance is hibernated, and may wake again.
    Hibernate,
}

impl InterruptionAction {
    /// The action of that name, if it is one we know.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "terminate" => Some(Self::Terminate),
            "stop" => Some(Self::Stop),
            "hibernate" => Some(Self::Hibernate),
            _ => None,
        }
    }

    /// The name EC2 uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Terminate => "terminate",
            Self::Stop => "stop",
            Self::Hibernate => "hibernate",
        }
    }
}

/// A notice as one reply of the metadata service gave it (`spot/instance-action`,
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// What is announced.
    pub action: AnnouncedAction,
    /// T, when EC2 begins; none when the reply lacks a readable one.
    pub time: Option<WallTime>,
    /// The `Date` header of that very reply; none when it lacks a readable one.
    pub server_date: Option<WallTime>,
}

/// The `action` of a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnouncedAction {
    /// One that EC2 documents.
    Known(InterruptionAction),
    /// A word that EC2 does not document; it is treated as `terminate`.
    Unknown(String),
}

impl AnnouncedAction {
    /// The action to plan for.
    #[must_use]
    pub fn planned(&self) -> InterruptionAction {
        match self {
            Self::Known(action) => *action,
            Self::Unknown(_) => InterruptionAction::Terminate,
        }
    }
}

impl Announcement {
    /// The time at the server when it replied: its own `Date`, else the node's clock.
    #[must_use]
    pub fn server_now(&self, now: Now) -> WallTime {
        self.server_date.unwrap_or(now.wall)
    }

    /// By how much the node's clock is ahead of the server's, when that is more than a skew of two seconds: `Date` has
    /// whole seconds, and the reply took its time.
    #[must_use]
    pub fn clock_skew_seconds(&self, now: Now) -> Option<f64> {
        let skew = now.wall.seconds_after(self.server_date?);
        (skew.abs() > 2.0).then_some(skew)
    }

    /// D: the time left as the server sees it, put on the monotonic clock. At least 20 s and at most 120 s from now,
    /// because a plan needs some time and EC2 never gives more; 100 s where the notice does not say.
    #[must_use]
    pub fn deadline(&self, now: Now) -> Moment {
        let remaining = match self.time {
            Some(time) => time
                .since(self.server_now(now))
                .clamp(SHORTEST_PLAN, LONGEST_NOTICE),
            None => UNTOLD_NOTICE,
        };
        now.at + remaining
    }

    /// Whether T had passed so long ago, as the server sees it, that the notice is not believed enough to break a budget.
    #[must_use]
    pub fn is_stale(&self, now: Now) -> bool {
        self.time
            .is_some_and(|time| self.server_now(now).since(time) > STALE_AFTER)
    }
}

/// A notice whose time is this long past has not been carried out.
const STALE_AFTER: Duration = Duration::from_mins(5);

impl NoticeId {
    /// The id of the notice that was first seen with this time: 64-bit FNV-1a
    /// (draft-eastlake-fnv) over instance, action and time, in hex. It must be the same in every version of
    /// the agent, and nobody gains by forging it.
    #[must_use]
    pub fn of(
        machine: Machine<'_>,
        action: InterruptionAction,
        first_time: Option<WallTime>,
    ) -> Self {
        let time = first_time.map_or_else(String::new, |time| time.millis().to_string());
        let name = match machine {
            Machine::Instance(id) => id.as_str(),
            Machine::Node(name) => name.as_str(),
        };
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for part in [name, action.as_str(), &time] {
            for byte in part.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        Self::new(format!("{hash:016x}"))
    }
}

/// Whose notice it is: the instance, or the node as long as the instance's id is not known.
#[derive(Clone, Copy, Debug)]
pub enum Machine<'a> {
    /// The EC2 instance.
    Instance(&'a InstanceId),
    /// The Kubernetes node, when the identity document could not be read.
    Node(&'a NodeName),
}

/// An interruption under way: the notice as it was first seen, with the deadline in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interruption {
    /// Its id, the same after a restart.
    pub id: NoticeId,
    /// What EC2 will do.
    pub action: InterruptionAction,
    /// T as first seen; none when the notice did not say.
    pub time: Option<WallTime>,
    /// When this process first saw it.
    pub first_seen: Moment,
    /// D on the monotonic clock.
    pub deadline: Moment,
    /// D in the server's time.
    pub deadline_wall: WallTime,
    /// Whether this process began it or found it begun.
    pub origin: Origin,
}

/// Who began an interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This process saw the notice first.
    Begun,
    /// An earlier process did: the node carries its annotation.
    Resumed,
}

impl Interruption {
    /// T on the monotonic clock; D where the notice did not say it.
    #[must_use]
    pub fn acts_at(&self) -> Moment {
        let time = self.time.unwrap_or(self.deadline_wall);
        self.deadline + time.since(self.deadline_wall) - self.deadline_wall.since(time)
    }

    /// Whether this process found it begun.
    #[must_use]
    pub const fn is_resumed(&self) -> bool {
        matches!(self.origin, Origin::Resumed)
    }
}

impl fmt::Display for InterruptionAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now {
        at: Moment::at_secs(1_000),
        wall: WallTime::from_millis(1_800_000_000_000),
    };

    fn announcement(seconds_to_t: Option<i64>, date_behind_node: i64) -> Announcement {
        let server = WallTime::from_millis(NOW.wall.millis() - date_behind_node * 1_000);
        Announcement {
            action: AnnouncedAction::Known(InterruptionAction::Terminate),
            time: seconds_to_t
                .map(|seconds| WallTime::from_millis(server.millis() + seconds * 1_000)),
            server_date: Some(server),
        }
    }

    #[test]
    fn the_deadline_is_what_the_server_says_is_left_between_20_and_120_seconds() {
        for (to_t, left) in [
            (120, 120),
            (115, 115),
            (20, 20),
            (5, 20),
            (-60, 20),
            (9_999, 120),
        ] {
            assert_eq!(
                announcement(Some(to_t), 0).deadline(NOW),
                NOW.at + Duration::from_secs(left),
                "{to_t}"
            );
        }
    }

    #[test]
    fn a_clock_that_is_five_minutes_off_either_way_changes_nothing() {
        for behind in [-300, 300] {
            assert_eq!(
                announcement(Some(100), behind).deadline(NOW),
                NOW.at + Duration::from_secs(100)
            );
        }
        assert_eq!(
            announcement(Some(100), 300).clock_skew_seconds(NOW),
            Some(300.0)
        );
        assert_eq!(announcement(Some(100), 2).clock_skew_seconds(NOW), None);
    }

    #[test]
    fn a_notice_without_a_readable_time_leaves_100_seconds() {
        assert_eq!(
            announcement(None, 0).deadline(NOW),
            NOW.at + Duration::from_secs(100)
        );
    }

    #[test]
    fn only_a_notice_more_than_five_minutes_past_is_stale() {
        assert!(!announcement(Some(-300), 0).is_stale(NOW));
        assert!(announcement(Some(-301), 0).is_stale(NOW));
        assert!(!announcement(None, 0).is_stale(NOW));
    }

    #[test]
    fn the_notice_id_depends_on_instance_action_and_time_and_on_nothing_else() {
        let instance = InstanceId::new("i-0123456789abcdef0");
        let of = |action, time| NoticeId::of(Machine::Instance(&instance), action, time);
        let time = Some(WallTime::from_millis(1_800_000_000_000));
        assert_eq!(
            of(InterruptionAction::Terminate, time).as_str(),
            "3fc7635cbb384adf"
        );
        assert_ne!(
            of(InterruptionAction::Terminate, time),
            of(InterruptionAction::Stop, time)
        );
        assert_ne!(
            of(InterruptionAction::Terminate, time),
            of(InterruptionAction::Terminate, None)
        );
    }
}
