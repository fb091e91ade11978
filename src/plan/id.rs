//! Names and identifiers, each a type of its own so that none is taken for another.

use std::fmt;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is.
            #[must_use]
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identifier! {
    /// The name of a Kubernetes Node.
    NodeName
}
identifier! {
    /// The UID of a pod: it never comes back, a name does.
    PodUid
}
identifier! {
    /// An EC2 instance id, `i-…`.
    InstanceId
}
identifier! {
    /// The boot id of a kernel, as the kubelet reports it in `status.nodeInfo.bootID`.
    BootId
}
identifier! {
    /// A Kubernetes resource version: opaque, only ever given back to the server.
    ResourceVersion
}
identifier! {
    /// The id of one interruption notice; see [`NoticeId::of`].
    NoticeId
}

/// Which pod is meant: by UID, with the names that its URL needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodRef {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`: every call that changes a pod carries it as a precondition.
    pub uid: PodUid,
}

/// The ARN of a target group, its form checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetGroupArn(String);

/// What is wrong with a text that should be a target group's ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotATargetGroupArn;

impl fmt::Display for NotATargetGroupArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not of the form arn:PARTITION:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID",
        )
    }
}

impl std::error::Error for NotATargetGroupArn {}

impl TargetGroupArn {
    /// Checks the form of `text`: six colon-separated fields, the service `elasticloadbalancing`, a region, an
    /// account of twelve digits and `targetgroup/NAME/ID`. The partition is free: `aws`, `aws-cn`, `aws-us-gov`, ….
    ///
    /// # Errors
    /// When the text has another form.
    pub fn parse(text: &str) -> Result<Self, NotATargetGroupArn> {
        let fields: Vec<&str> = text.split(':').collect();
        let [arn, partition, service, region, account, resource] = fields[..] else {
            return Err(NotATargetGroupArn);
        };
        let mut resource = resource.split('/');
        let whole = arn == "arn"
            && partition.starts_with("aws")
            && service == "elasticloadbalancing"
            && is_word(region)
            && account.len() == 12
            && account.bytes().all(|byte| byte.is_ascii_digit())
            && resource.next() == Some("targetgroup")
            && resource.next().is_some_and(is_word)
            && resource.next().is_some_and(is_word)
            && resource.next().is_none();
        if whole {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotATargetGroupArn)
        }
    }

    /// The ARN itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The region the group lives in: the fourth field.
    #[must_use]
    pub fn region(&self) -> &str {
        self.0.split(':').nth(3).unwrap_or_default()
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

impl fmt::Display for TargetGroupArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_group_arn_of_any_partition_is_taken_and_gives_its_region() {
        for (partition, region) in [
            ("aws", "eu-west-1"),
            ("aws-cn", "cn-north-1"),
            ("aws-us-gov", "us-gov-west-1"),
        ] {
            let text = format!(
                "arn:{partition}:elasticloadbalancing:{region}:123456789012:targetgroup/web/0123abcd"
            );
            let arn = TargetGroupArn::parse(&text).expect("a well-formed ARN");
            assert_eq!((arn.as_str(), arn.region()), (text.as_str(), region));
        }
    }

    #[test]
    fn what_is_not_a_target_group_is_refused() {
        for text in [
            "",
            "web",
            "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/web/0123",
            "arn:aws:elasticloadbalancing:eu-west-1:1234:targetgroup/web/0123",
            "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web",
            "arn:aws:elasticloadbalancing::123456789012:targetgroup/web/0123",
            "arn:aws:ec2:eu-west-1:123456789012:targetgroup/web/0123",
            "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123/4",
        ] {
            assert_eq!(
                TargetGroupArn::parse(text),
                Err(NotATargetGroupArn),
                "{text}"
            );
        }
    }
}
