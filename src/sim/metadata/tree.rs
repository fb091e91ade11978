//! What the metadata service tells of an instance, path by path, and the listings that EC2 makes of the paths
//! (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html>).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::{Answer, Instance, rfc3339};
use crate::plan::time::{Now, WallTime};

/// The role whose credentials it hands out; they mean nothing.
const ROLE: &str = "simulated";

const IMAGE: &str = "ami-0abcdef1234567890";
const MAC: &str = "0a:1b:2c:3d:4e:5f";

/// What there is of an instance, by its path without a slash at either end.
pub(super) struct Tree(BTreeMap<String, Answer>);

impl Tree {
    /// Everything that does not depend on an interruption.
    pub(super) fn of(instance: &Instance, now: Now) -> Self {
        let mut tree = Self(BTreeMap::new());
        tree.add_machine(instance);
        tree.add_place(instance);
        tree.add_network(instance);
        tree.add_identity(instance, now);
        tree
    }

    /// Adds an answer below `latest/meta-data`.
    pub(super) fn add(&mut self, path: &str, answer: Answer) {
        self.0.insert(format!("latest/meta-data/{path}"), answer);
    }

    /// What is at this path, or a listing of what is below it.
    pub(super) fn answer(&self, path: &str) -> Answer {
        let path = path.trim_matches('/');
        match self.0.get(path) {
            Some(answer) => answer.clone(),
            None => self.listing(path),
        }
    }

    /// One name a line, with a slash where more is below it. The three highest levels have no slashes, as EC2 has it.
    fn listing(&self, path: &str) -> Answer {
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let names: BTreeSet<String> = self
            .0
            .keys()
            .filter_map(|known| known.strip_prefix(&prefix))
            .map(|below| match below.split_once('/') {
                Some((name, _)) if matches!(path, "" | "latest") => name.to_owned(),
                Some((name, _)) => format!("{name}/"),
                None => below.to_owned(),
            })
            .collect();
        if names.is_empty() {
            return Answer::NotFound;
        }
        let names: Vec<String> = names.into_iter().collect();
        Answer::Text(names.join("\n"))
    }

    fn add_texts(&mut self, texts: &[(&str, &str)]) {
        for (path, text) in texts {
            self.add(path, Answer::Text((*text).to_owned()));
        }
    }

    fn add_machine(&mut self, instance: &Instance) {
        self.add_texts(&[
            ("ami-id", IMAGE),
            ("ami-launch-index", "0"),
            ("ami-manifest-path", "(unknown)"),
            ("autoscaling/target-lifecycle-state", "InService"),
            ("block-device-mapping/ami", "/dev/xvda"),
            ("block-device-mapping/root", "/dev/xvda"),
            // They are always there, and empty without a scheduled event.
            ("events/maintenance/history", "[]"),
            ("events/maintenance/scheduled", "[]"),
            ("instance-action", "none"),
            ("instance-id", instance.id.as_str()),
            ("instance-life-cycle", "spot"),
            ("instance-type", &instance.kind),
            ("profile", "default-hvm"),
            ("reservation-id", "r-0abcdef1234567890"),
            ("system", "nitro"),
            ("tags/instance/Name", &instance.hostname()),
        ]);
    }

    fn add_place(&mut self, instance: &Instance) {
        self.add_texts(&[
            ("placement/availability-zone", &instance.zone),
            ("placement/availability-zone-id", &instance.zone_id()),
            ("placement/region", instance.region()),
            ("services/domain", "amazonaws.com"),
            ("services/partition", "aws"),
        ]);
    }

    fn add_network(&mut self, instance: &Instance) {
        let hostname = instance.hostname();
        self.add_texts(&[
            ("hostname", &hostname),
            ("local-hostname", &hostname),
            ("local-ipv4", &instance.address),
            ("mac", MAC),
            ("security-groups", "simulated"),
        ]);
        for (name, text) in [
            ("device-number", "0"),
            ("interface-id", "eni-0abcdef1234567890"),
            ("local-hostname", &hostname),
            ("local-ipv4s", &instance.address),
            ("mac", MAC),
            ("network-card", "0"),
            ("owner-id", &instance.account),
            ("security-group-ids", "sg-0abcdef1234567890"),
            ("security-groups", "simulated"),
            ("subnet-id", "subnet-0abcdef1234567890"),
            ("subnet-ipv4-cidr-block", "10.0.0.0/19"),
            ("vpc-id", "vpc-0abcdef1234567890"),
            ("vpc-ipv4-cidr-block", "10.0.0.0/16"),
            ("vpc-ipv4-cidr-blocks", "10.0.0.0/16"),
        ] {
            let path = format!("network/interfaces/macs/{MAC}/{name}");
            self.add(&path, Answer::Text(text.to_owned()));
        }
    }

    fn add_identity(&mut self, instance: &Instance, now: Now) {
        let role = format!("arn:aws:iam::{}:instance-profile/{ROLE}", instance.account);
        let info = json!({
            "Code": "Success",
            "LastUpdated": rfc3339(now.wall),
            "InstanceProfileArn": role,
            "InstanceProfileId": "AIPASIMULATED0000000",
        });
        self.add("iam/info", Answer::Text(info.to_string()));
        self.add(
            &format!("iam/security-credentials/{ROLE}"),
            credentials(now.wall),
        );
        let launched = now.wall - now.at.since_origin();
        for (path, text) in [
            ("fws/instance-monitoring", "disabled".to_owned()),
            (
                "instance-identity/document",
                instance.identity_document(launched),
            ),
            ("instance-identity/pkcs7", "c2ltdWxhdGVk".to_owned()),
            ("instance-identity/signature", "c2ltdWxhdGVk".to_owned()),
        ] {
            self.0
                .insert(format!("latest/dynamic/{path}"), Answer::Text(text));
        }
    }
}

impl Instance {
    fn region(&self) -> &str {
        self.zone
            .trim_end_matches(|letter: char| letter.is_ascii_lowercase())
    }

    /// `euw1-az1` of `eu-west-1a`. Which letter is which number differs from account to account.
    fn zone_id(&self) -> String {
        let mut id = String::new();
        for part in self.region().split('-') {
            let short = match part {
                "northeast" => "ne",
                "northwest" => "nw",
                "southeast" => "se",
                "southwest" => "sw",
                "north" | "south" | "east" | "west" | "central" => &part[..1],
                whole => whole,
            };
            id.push_str(short);
        }
        let number = match self.zone.bytes().last() {
            Some(letter @ b'a'..=b'z') => letter - b'a' + 1,
            Some(_) | None => 1,
        };
        format!("{id}-az{number}")
    }

    fn hostname(&self) -> String {
        let address = self.address.replace('.', "-");
        format!("ip-{address}.{}.compute.internal", self.region())
    }

    fn identity_document(&self, launched: WallTime) -> String {
        let document = json!({
            "accountId": self.account,
            "architecture": "x86_64",
            "availabilityZone": self.zone,
            "imageId": IMAGE,
            "instanceId": self.id.as_str(),
            "instanceType": self.kind,
            "pendingTime": rfc3339(launched),
            "privateIp": self.address,
            "region": self.region(),
            "version": "2017-09-30",
        });
        format!("{document:#}")
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
