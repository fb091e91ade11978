//! The instance metadata service of the world: IMDSv2 with the paths that agents and the AWS SDK read.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::plan::id::InstanceId;
use crate::plan::notice::InterruptionAction;
use crate::plan::time::{Moment, Now, WallTime};

/// The longest life of a token, in seconds
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html>).
const LONGEST_TOKEN_LIFE: u32 = 21_600;

/// How long before it carries one out EC2 announces an interruption.
const WARNING: Duration = Duration::from_secs(120);

/// The role whose credentials it hands out; they mean nothing.
const ROLE: &str = "simulated";

/// The metadata of one instance.
#[derive(Clone, Debug)]
pub struct MetadataService {
    instance: Instance,
    notice: Option<ScheduledNotice>,
    tokens: BTreeMap<String, Moment>,
    issued: u64,
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
            notice: None,
            tokens: BTreeMap::new(),
            issued: 0,
        }
    }

    /// The instance.
    #[must_use]
    pub const fn instance(&self) -> &Instance {
        &self.instance
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
                let is_valid = token
                    .and_then(|token| self.tokens.get(token))
                    .is_some_and(|expires| now.at < *expires);
                if is_valid {
                    self.look_up(path, now)
                } else {
                    Answer::Unauthorized
                }
            }
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

    fn look_up(&self, path: &str, now: Now) -> Answer {
        let instance = &self.instance;
        let text = |text: &str| Answer::Text(text.to_owned());
        match path {
            "/latest/meta-data" => text(
                "ami-id\nevents/\nhostname\niam/\ninstance-id\ninstance-life-cycle\ninstance-type\nlocal-hostname\nlocal-ipv4\n\
                 placement/\nservices/\nspot/",
            ),
            "/latest/meta-data/ami-id" => text("ami-0abcdef1234567890"),
            "/latest/meta-data/instance-id" => text(instance.id.as_str()),
            "/latest/meta-data/instance-type" => text(&instance.kind),
            "/latest/meta-data/instance-life-cycle" => text("spot"),
            "/latest/meta-data/local-ipv4" => text(&instance.address),
            "/latest/meta-data/hostname" | "/latest/meta-data/local-hostname" => {
                Answer::Text(instance.hostname())
            }
            "/latest/meta-data/placement" => text("availability-zone\nregion"),
            "/latest/meta-data/placement/availability-zone" => text(&instance.zone),
            "/latest/meta-data/placement/region" => text(instance.region()),
            "/latest/meta-data/services" => text("domain\npartition"),
            "/latest/meta-data/services/domain" => text("amazonaws.com"),
            "/latest/meta-data/services/partition" => text("aws"),
            "/latest/meta-data/iam/security-credentials" => text(ROLE),
            "/latest/meta-data/iam/security-credentials/simulated" => credentials(now.wall),
            "/latest/dynamic/instance-identity/document" => instance.identity_document(now.wall),
            "/latest/meta-data/spot/instance-action" => self.instance_action(now),
            "/latest/meta-data/spot/termination-time" => self.termination_time(now),
            _ => Answer::NotFound,
        }
    }

    /// The notice, if it has appeared by now.
    #[must_use]
    pub fn visible_notice(&self, now: Now) -> Option<&ScheduledNotice> {
        self.notice
            .as_ref()
            .filter(|notice| notice.appears <= now.at)
    }

    fn instance_action(&self, now: Now) -> Answer {
        self.visible_notice(now).map_or(Answer::NotFound, |notice| {
            let body = json!({
                "action": notice.action.as_str(),
                "time": rfc3339(notice.time(now)),
            });
            Answer::Json(body.to_string())
        })
    }

    /// There is one only before a termination
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>).
    fn termination_time(&self, now: Now) -> Answer {
        match self.visible_notice(now) {
            Some(notice) if notice.action == InterruptionAction::Terminate => {
                Answer::Text(rfc3339(notice.time(now)))
            }
            Some(_) | None => Answer::NotFound,
        }
    }
}

impl Instance {
    fn region(&self) -> &str {
        self.zone
            .trim_end_matches(|letter: char| letter.is_ascii_lowercase())
    }

    fn hostname(&self) -> String {
        let address = self.address.replace('.', "-");
        format!("ip-{address}.{}.compute.internal", self.region())
    }

    fn identity_document(&self, now: WallTime) -> Answer {
        let document = json!({
            "accountId": self.account,
            "architecture": "x86_64",
            "availabilityZone": self.zone,
            "imageId": "ami-0abcdef1234567890",
            "instanceId": self.id.as_str(),
            "instanceType": self.kind,
            "pendingTime": rfc3339(now),
            "privateIp": self.address,
            "region": self.region(),
            "version": "2017-09-30",
        });
        Answer::Text(format!("{document:#}"))
    }
}

fn credentials(now: WallTime) -> Answer {
    let body = json!({
        "Code": "Success",
        "LastUpdated": rfc3339(now),
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIASIMULATED0000000",
        "SecretAccessKey": "simulated",
        "Token": "simulated",
        "Expiration": rfc3339(now + Duration::from_secs(6 * 3_600)),
    });
    Answer::Text(body.to_string())
}

/// Whole seconds in UTC, as EC2 writes times.
fn rfc3339(time: WallTime) -> String {
    let timestamp = Timestamp::from_millisecond(time.millis()).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{timestamp:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> MetadataService {
        MetadataService::new(Instance {
            id: InstanceId::new("i-0123456789abcdef0"),
            kind: "m6i.large".to_owned(),
            zone: "eu-west-1a".to_owned(),
            account: "111122223333".to_owned(),
            address: "10.0.1.23".to_owned(),
        })
    }

    fn after_millis(millis: u64) -> Now {
        let elapsed = Duration::from_millis(millis);
        Now {
            at: Moment::after_origin(elapsed),
            wall: WallTime::from_millis(1_800_000_000_123) + elapsed,
        }
    }

    fn token(service: &mut MetadataService, life: &str, now: Now) -> Answer {
        service.answer(&Question::Token { life: Some(life) }, now)
    }

    fn get(service: &mut MetadataService, path: &str, now: Now) -> Answer {
        let Answer::Token { token, .. } = token(service, "60", now) else {
            panic!("a token");
        };
        let question = Question::Path {
            path,
            token: Some(&token),
        };
        service.answer(&question, now)
    }

    #[test]
    fn a_token_lives_as_long_as_it_was_asked_to_and_no_longer() {
        let mut service = service();
        let Answer::Token { token, life: 60 } = token(&mut service, "60", after_millis(0)) else {
            panic!("a token of 60 s");
        };
        let question = Question::Path {
            path: "/latest/meta-data/instance-id",
            token: Some(&token),
        };
        let id = Answer::Text("i-0123456789abcdef0".to_owned());
        assert_eq!(service.answer(&question, after_millis(59_999)), id);
        assert_eq!(
            service.answer(&question, after_millis(60_000)),
            Answer::Unauthorized
        );
    }

    #[test]
    fn a_token_needs_a_life_of_one_second_to_six_hours() {
        for life in ["0", "21601", "-1", "six hours", ""] {
            assert_eq!(
                token(&mut service(), life, after_millis(0)),
                Answer::Incomplete,
                "{life}"
            );
        }
        assert_eq!(
            service().answer(&Question::Token { life: None }, after_millis(0)),
            Answer::Incomplete
        );
        assert_eq!(
            token(&mut service(), "21600", after_millis(0)).status(),
            200
        );
    }

    #[test]
    fn without_a_valid_token_nothing_is_told() {
        for token in [None, Some("made-up")] {
            let question = Question::Path {
                path: "/latest/meta-data/instance-id",
                token,
            };
            assert_eq!(
                service().answer(&question, after_millis(0)),
                Answer::Unauthorized
            );
        }
    }

    #[test]
    fn a_notice_appears_at_its_moment_and_says_the_same_time_from_then_on() {
        let mut service = service();
        service.schedule(ScheduledNotice::appearing_at(Moment::at_secs(5)));
        let path = "/latest/meta-data/spot/instance-action";
        assert_eq!(
            get(&mut service, path, after_millis(4_999)),
            Answer::NotFound
        );
        let notice =
            Answer::Json(r#"{"action":"terminate","time":"2027-01-15T08:02:05Z"}"#.to_owned());
        for millis in [5_000, 5_400, 5_999, 60_000] {
            assert_eq!(
                get(&mut service, path, after_millis(millis)),
                notice,
                "{millis}"
            );
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in [
            "/",
            "/latest/meta-data/spot/termination-time",
            "/latest/meta-data/events/recommendations/rebalance",
        ] {
            assert_eq!(
                get(&mut service(), path, after_millis(0)),
                Answer::NotFound,
                "{path}"
            );
        }
    }
}
