//! The instance metadata service of the world: IMDSv2 with the paths that agents and the AWS SDK read.

mod tree;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::plan::id::InstanceId;
use crate::plan::notice::InterruptionAction;
use crate::plan::time::{Moment, Now, WallTime};
use tree::Tree;

/// The longest life of a token, in seconds
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html>).
const LONGEST_TOKEN_LIFE: u32 = 21_600;

/// How long before it carries one out EC2 announces an interruption.
const WARNING: Duration = Duration::from_secs(120);

/// The metadata of one instance.
#[derive(Clone, Debug)]
pub struct MetadataService {
    instance: Instance,
    manners: Manners,
    notice: Option<ScheduledNotice>,
    recommendation: Option<Moment>,
    fault: Option<(Fault, Moment)>,
    tokens: BTreeMap<String, Moment>,
    issued: u64,
}

/// How it deals with whoever asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manners {
    /// Whether it answers without a token.
    pub tokens: Tokens,
    /// Which time a notice says.
    pub deadline: Deadline,
}

/// Whether a request needs a token (`HttpTokens` of an instance's metadata options).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tokens {
    /// `IMDSv2` alone.
    #[default]
    Required,
    /// `IMDSv1` too. A token that is not valid is refused all the same.
    Optional,
}

/// Which time a notice says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deadline {
    /// The same at every request, as EC2 does.
    #[default]
    Fixed,
    /// So long after each request, as the metadata mock of AWS does.
    Sliding,
}

/// A way in which it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every request is answered 500.
    Internal,
    /// Every request is answered 503.
    Unavailable,
    /// No request is answered.
    Silence,
    /// Every connection is reset when its request has come.
    Reset,
    /// Every token is refused; new ones are given.
    Unauthorized,
    /// Every answer comes late.
    Slow,
}

impl Fault {
    /// The fault of that name, if it is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "500" => Some(Self::Internal),
            "503" => Some(Self::Unavailable),
            "timeout" => Some(Self::Silence),
            "reset" => Some(Self::Reset),
            "401" => Some(Self::Unauthorized),
            "slow" => Some(Self::Slow),
            _ => None,
        }
    }
}

/// What the instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its type.
    pub kind: String,
    /// Its availability zone.
    pub zone: String,
    /// Its account, twelve digits.
    pub account: String,
    /// Its private address.
    pub address: String,
}

/// A notice that appears by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduledNotice {
    /// When it appears.
    pub appears: Moment,
    /// How long after that EC2 acts.
    pub warning: Duration,
    /// What EC2 does.
    pub action: InterruptionAction,
}

impl ScheduledNotice {
    /// A notice as EC2 gives it: to terminate, two minutes ahead.
    #[must_use]
    pub const fn appearing_at(appears: Moment) -> Self {
        Self {
            appears,
            warning: WARNING,
            action: InterruptionAction::Terminate,
        }
    }

    /// When EC2 acts.
    #[must_use]
    pub fn takes_effect(&self) -> Moment {
        self.appears + self.warning
    }

    /// `time`: when EC2 acts, in whole seconds, and the same at every request although it is worked out anew.
    #[must_use]
    pub fn time(&self, now: Now) -> WallTime {
        let left = self.takes_effect().seconds_from(now.at);
        #[allow(clippy::cast_possible_truncation)] // two minutes in milliseconds
        let millis = now.wall.millis() + (left * 1e3).round() as i64;
        WallTime::from_millis((millis + 500).div_euclid(1_000) * 1_000)
    }
}

/// A request for metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question<'a> {
    /// PUT of a token, with the life it is to have as its header says it.
    Token {
        /// `X-aws-ec2-metadata-token-ttl-seconds`.
        life: Option<&'a str>,
    },
    /// GET of a path.
    Path {
        /// The path, without a slash at its end.
        path: &'a str,
        /// `X-aws-ec2-metadata-token`.
        token: Option<&'a str>,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200 with text.
    Text(String),
    /// 200 with JSON.
    Json(String),
    /// 200 with a token that lives so many seconds.
    Token {
        /// The token.
        token: String,
        /// Its life.
        life: u32,
    },
    /// 400: the request is not complete.
    Incomplete,
    /// 401: no token, or none that is valid.
    Unauthorized,
    /// 404: there is no such thing, now.
    NotFound,
}

impl Answer {
    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Text(_) | Self::Json(_) | Self::Token { .. } => 200,
            Self::Incomplete => 400,
            Self::Unauthorized => 401,
            Self::NotFound => 404,
        }
    }
}

impl MetadataService {
    /// The metadata of this spot instance, without a notice.
    #[must_use]
    pub const fn new(instance: Instance) -> Self {
        Self {
            instance,
            manners: Manners {
                tokens: Tokens::Required,
                deadline: Deadline::Fixed,
            },
            notice: None,
            recommendation: None,
            fault: None,
            tokens: BTreeMap::new(),
            issued: 0,
        }
    }

    /// The instance.
    #[must_use]
    pub const fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Has it deal with whoever asks in this way.
    pub const fn behave(&mut self, manners: Manners) {
        self.manners = manners;
    }

    /// Has EC2 recommend at `at` to move to another instance.
    pub const fn recommend_rebalance(&mut self, at: Moment) {
        self.recommendation = Some(at);
    }

    /// Has it fail until then; a fault before it is over.
    pub const fn fail(&mut self, fault: Fault, until: Moment) {
        self.fault = Some((fault, until));
    }

    /// How it fails now.
    #[must_use]
    pub fn fault(&self, now: Moment) -> Option<Fault> {
        self.fault
            .filter(|(_, until)| now < *until)
            .map(|(fault, _)| fault)
    }

    /// Has a notice appear.
    pub const fn schedule(&mut self, notice: ScheduledNotice) {
        self.notice = Some(notice);
    }

    /// Takes the notice back.
    pub const fn withdraw(&mut self) {
        self.notice = None;
    }

    /// The notice that has appeared, or will.
    #[must_use]
    pub const fn notice(&self) -> Option<&ScheduledNotice> {
        self.notice.as_ref()
    }

    /// Answers one request.
    pub fn answer(&mut self, question: &Question<'_>, now: Now) -> Answer {
        match question {
            Question::Token { life } => self.issue(*life, now.at),
            Question::Path { path, token } => {
                if self.admits(*token, now.at) {
                    self.tree(now).answer(path)
                } else {
                    Answer::Unauthorized
                }
            }
        }
    }

    fn admits(&self, token: Option<&str>, now: Moment) -> bool {
        if self.fault(now) == Some(Fault::Unauthorized) {
            return false;
        }
        match (token, self.manners.tokens) {
            (Some(token), _) => self.tokens.get(token).is_some_and(|expires| now < *expires),
            (None, Tokens::Optional) => true,
            (None, Tokens::Required) => false,
        }
    }

    fn issue(&mut self, life: Option<&str>, now: Moment) -> Answer {
        let life = life
            .and_then(|text| text.trim().parse::<u32>().ok())
            .filter(|life| (1..=LONGEST_TOKEN_LIFE).contains(life));
        let Some(life) = life else {
            return Answer::Incomplete;
        };
        self.tokens.retain(|_, expires| now < *expires);
        self.issued += 1;
        // As long as a real one, and different each time; secrecy is not its purpose.
        let token = format!("{:0>54}==", self.issued);
        self.tokens
            .insert(token.clone(), now + Duration::from_secs(life.into()));
        Answer::Token { token, life }
    }

    fn tree(&self, now: Now) -> Tree {
        let mut tree = Tree::of(&self.instance, now);
        if let Some(notice) = self.visible_notice(now) {
            let time = rfc3339(self.time_of(notice, now));
            let action = json!({ "action": notice.action.as_str(), "time": time });
            tree.add("spot/instance-action", Answer::Json(action.to_string()));
            // There is one only before a termination
            // (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>).
            if notice.action == InterruptionAction::Terminate {
                tree.add("spot/termination-time", Answer::Text(time));
            }
        }
        if let Some(at) = self.recommendation.filter(|at| *at <= now.at) {
            let noticed = now.wall - now.at.since(at);
            let body = json!({ "noticeTime": rfc3339(noticed) });
            let path = "events/recommendations/rebalance";
            tree.add(path, Answer::Json(body.to_string()));
        }
        tree
    }

    /// The `time` of a notice.
    #[must_use]
    pub fn time_of(&self, notice: &ScheduledNotice, now: Now) -> WallTime {
        match self.manners.deadline {
            Deadline::Fixed => notice.time(now),
            Deadline::Sliding => now.wall + notice.warning,
        }
    }

    /// The notice, if it has appeared by now.
    #[must_use]
    pub fn visible_notice(&self, now: Now) -> Option<&ScheduledNotice> {
        self.notice
            .as_ref()
            .filter(|notice| notice.appears <= now.at)
    }
}

/// Whole seconds in UTC, as EC2 writes times.
pub(super) fn rfc3339(time: WallTime) -> String {
    let timestamp = Timestamp::from_millisecond(time.millis()).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{timestamp:.0}")
}

#[cfg(test)]
mod tests;
