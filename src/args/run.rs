//! What `run` takes, and what its configuration becomes.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{DEFAULT_METADATA, DEFAULT_METADATA_IPV6, LogLevel, RunConfig, usage, value};
use crate::balancer::Proxy;
use crate::duration;
use crate::imds;
use crate::plan::binding::{GroupTag, Settling};
use crate::plan::budget::Margins;
use crate::plan::drain::{JobPods, OnBlocked};
use crate::plan::id::{NodeName, PodUid};
use crate::plan::targets::ConfiguredGroup;
use crate::plan::{Discover, Effect, Mode, Policy};
use crate::telemetry::LogFormat;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The node the agent runs on [env also: NODE_NAME].
    #[arg(long, env = "SIH_NODE_NAME", value_name = "NAME", value_parser = value::node_name)]
    node_name: Option<NodeName>,
    /// The UID of the pod the agent runs in, so that it never evicts itself [env also: POD_UID].
    #[arg(long, env = "SIH_POD_UID")]
    pod_uid: Option<String>,
    /// The metadata service [env also: AWS_EC2_METADATA_SERVICE_ENDPOINT; default: http://169.254.169.254].
    #[arg(long, env = "SIH_IMDS_ENDPOINT", value_name = "URL")]
    imds_endpoint: Option<String>,
    /// Allows a metadata service that is neither link-local nor on this machine.
    #[arg(long, env = "SIH_ALLOW_REMOTE_IMDS")]
    allow_remote_imds: bool,
    /// How often the metadata service is asked for a notice, 1s to 10s.
    #[arg(long, env = "SIH_POLL_INTERVAL", value_name = "DURATION", default_value = "5s", value_parser = value::poll_interval)]
    poll_interval: Duration,
    /// A target group that is to let go of this instance, with PORT only of that port of it. May be repeated.
    #[arg(long, env = "SIH_TARGET_GROUP_ARN", value_name = "ARN[:PORT]", value_delimiter = ',', value_parser = value::target_group)]
    target_group_arn: Vec<ConfiguredGroup>,
    /// Where other target groups are looked for: bindings, those of the AWS Load Balancer Controller and of EKS Auto
    /// Mode; tag, all groups of the account; or none.
    #[arg(
        long,
        env = "SIH_DISCOVER",
        value_name = "WHERE",
        value_enum,
        value_delimiter = ',',
        default_value = "bindings"
    )]
    discover: Vec<DiscoverArg>,
    /// A tag by which --discover tag finds a target group; any one suffices. May be repeated.
    #[arg(long, env = "SIH_TARGET_GROUP_TAG", value_name = "KEY=VALUE", value_delimiter = ',', default_value = "interrupt-handler/enabled=true,spot-interrupt-handler/enabled=true", value_parser = value::group_tag)]
    target_group_tag: Vec<GroupTag>,
    /// How long pods that serve through this node only go on after an Application Load Balancer let go, up to 60s.
    #[arg(long, env = "SIH_SETTLE_ALB", value_name = "DURATION", default_value = "25s", value_parser = value::up_to_a_minute)]
    settle_alb: Duration,
    /// The same after a Network Load Balancer, or one of which that is not known, up to 60s.
    #[arg(long, env = "SIH_SETTLE_NLB", value_name = "DURATION", default_value = "30s", value_parser = value::up_to_a_minute)]
    settle_nlb: Duration,
    /// How long before the deadline every pod should have stopped, up to 60s.
    #[arg(long, env = "SIH_END_MARGIN", value_name = "DURATION", default_value = "8s", value_parser = value::up_to_a_minute)]
    end_margin: Duration,
    /// The same for a pod that mounts a volume claim, up to 60s.
    #[arg(long, env = "SIH_VOLUME_MARGIN", value_name = "DURATION", default_value = "15s", value_parser = value::up_to_a_minute)]
    volume_margin: Duration,
    /// The most of a pod's grace period that is insisted on against a disruption budget.
    #[arg(long, env = "SIH_KEPT_GRACE", value_name = "DURATION", default_value = "60s", value_parser = duration::parse)]
    kept_grace: Duration,
    /// How much of an interruption is answered: everything; beside another drainer the load balancers alone; or nothing.
    #[arg(long, env = "SIH_MODE", value_enum, default_value = "full")]
    mode: ModeArg,
    /// Has the API server check every write without doing it, and leaves target groups alone.
    #[arg(long, env = "SIH_DRY_RUN")]
    dry_run: bool,
    /// What happens at the last useful moment to a pod whose budget allows no eviction.
    #[arg(long, env = "SIH_ON_BLOCKED", value_enum, default_value = "delete")]
    on_blocked: OnBlockedArg,
    /// When the pods of Jobs are evicted: now, with the others, or late, so that their work may still end.
    #[arg(long, env = "SIH_JOB_PODS", value_enum, default_value = "now")]
    job_pods: JobPodsArg,
    /// How many evictions are in flight at most, 1 to 90.
    #[arg(long, env = "SIH_MAX_IN_FLIGHT", value_name = "N", default_value = "64", value_parser = clap::value_parser!(u8).range(1..=90))]
    max_in_flight: u8,
    /// How often a line says that the agent is alive.
    #[arg(long, env = "SIH_HEARTBEAT_INTERVAL", value_name = "DURATION", default_value = "60s", value_parser = value::at_least_a_second)]
    heartbeat_interval: Duration,
    /// The cluster's name, for the log.
    #[arg(long, env = "SIH_CLUSTER_NAME")]
    cluster_name: Option<String>,
    /// The kubeconfig context, outside a cluster.
    #[arg(long, env = "SIH_CONTEXT")]
    context: Option<String>,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Args)]
struct LogArgs {
    /// The form of the log [default: text on a terminal, else json].
    #[arg(long, env = "SIH_LOG_FORMAT", value_enum)]
    log_format: Option<LogFormat>,
    /// The lowest level that is logged; debug and trace add the libraries' diagnostics on stderr.
    #[arg(long, env = "SIH_LOG_LEVEL", value_enum, default_value = "info")]
    log_level: LogLevel,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    Full,
    DeregisterOnly,
    Observe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DiscoverArg {
    Bindings,
    Tag,
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum JobPodsArg {
    Now,
    Late,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnBlockedArg {
    Delete,
    Wait,
}

/// A variable that says something.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

impl RunArgs {
    pub(super) fn config(
        self,
        environment: &impl Fn(&str) -> Option<OsString>,
    ) -> Result<RunConfig, clap::Error> {
        let variable = |name: &str| {
            environment(name)
                .map(|value| value.to_string_lossy().into_owned())
                .filter(|value| !value.is_empty())
        };
        Ok(RunConfig {
            node: self.node(&variable)?,
            agent: self
                .pod_uid
                .clone()
                .or_else(|| variable("POD_UID"))
                .map(PodUid::new),
            metadata: self.metadata(&variable)?,
            proxy: proxy(&variable)?,
            cluster: self.cluster_name.clone(),
            context: self.context.clone(),
            log_format: self.log.log_format.unwrap_or_else(LogFormat::for_stdout),
            log_level: self.log.log_level,
            policy: self.policy()?,
        })
    }

    fn node(&self, variable: Variable<'_>) -> Result<NodeName, clap::Error> {
        match (&self.node_name, variable("NODE_NAME")) {
            (Some(node), _) => Ok(node.clone()),
            (None, Some(text)) => value::node_name(&text)
                .map_err(|error| usage(format!("invalid value '{text}' of NODE_NAME: {error}"))),
            (None, None) => Err(usage(
                "the node's name is not known: give --node-name, SIH_NODE_NAME or NODE_NAME"
                    .to_owned(),
            )),
        }
    }

    fn metadata(&self, variable: Variable<'_>) -> Result<String, clap::Error> {
        let metadata = self
            .imds_endpoint
            .clone()
            .or_else(|| variable("AWS_EC2_METADATA_SERVICE_ENDPOINT"))
            .unwrap_or_else(
                || match variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE") {
                    Some(mode) if mode.eq_ignore_ascii_case("ipv6") => {
                        DEFAULT_METADATA_IPV6.to_owned()
                    }
                    Some(_) | None => DEFAULT_METADATA.to_owned(),
                },
            );
        let is_local = imds::endpoint_is_local(&metadata).map_err(|error| {
            usage(format!(
                "invalid value '{metadata}' for '--imds-endpoint <URL>': {error}"
            ))
        })?;
        if !is_local && !self.allow_remote_imds {
            return Err(usage(format!(
                "refused value '{metadata}' for '--imds-endpoint <URL>': it is neither link-local nor on this machine, and whoever \
                 serves it can have this node drained; --allow-remote-imds allows it"
            )));
        }
        Ok(metadata)
    }

    fn policy(self) -> Result<Policy, clap::Error> {
        Ok(Policy {
            mode: match self.mode {
                ModeArg::Full => Mode::Full,
                ModeArg::DeregisterOnly => Mode::DeregisterOnly,
                ModeArg::Observe => Mode::Observe,
            },
            effect: if self.dry_run {
                Effect::Rehearsed
            } else {
                Effect::Real
            },
            poll_interval: self.poll_interval,
            heartbeat_interval: self.heartbeat_interval,
            margins: Margins {
                end: self.end_margin,
                volume: self.volume_margin,
                kept_grace: self.kept_grace,
            },
            on_blocked: match self.on_blocked {
                OnBlockedArg::Delete => OnBlocked::Delete,
                OnBlockedArg::Wait => OnBlocked::Wait,
            },
            job_pods: match self.job_pods {
                JobPodsArg::Now => JobPods::Now,
                JobPodsArg::Late => JobPods::Late,
            },
            max_in_flight: self.max_in_flight.into(),
            groups: self.target_group_arn,
            discover: discover(&self.discover)?,
            group_tags: self.target_group_tag,
            settling: Settling {
                application: self.settle_alb,
                network: self.settle_nlb,
            },
        })
    }
}

/// The places that are named, or nowhere.
fn discover(places: &[DiscoverArg]) -> Result<BTreeSet<Discover>, clap::Error> {
    let named = places.iter().filter_map(|place| match place {
        DiscoverArg::Bindings => Some(Discover::Bindings),
        DiscoverArg::Tag => Some(Discover::Tag),
        DiscoverArg::None => None,
    });
    let named: BTreeSet<Discover> = named.collect();
    if places.contains(&DiscoverArg::None) && !named.is_empty() {
        let words = places.iter().filter_map(ValueEnum::to_possible_value);
        let words: Vec<String> = words.map(|value| value.get_name().to_owned()).collect();
        return Err(usage(format!(
            "invalid value '{}' for '--discover <WHERE>': none stands alone",
            words.join(",")
        )));
    }
    Ok(named)
}

/// As the AWS tools read it, which know the lower case too.
fn proxy(variable: Variable<'_>) -> Result<Option<Proxy>, clap::Error> {
    let either = |name: &str| variable(name).or_else(|| variable(&name.to_lowercase()));
    let Some(url) = either("HTTPS_PROXY") else {
        return Ok(None);
    };
    match Proxy::parse(&url, either("NO_PROXY").as_deref()) {
        Ok(proxy) => Ok(Some(proxy)),
        Err(error) => {
            // What stands before the host may be a password.
            let shown = url.rsplit_once('@').map_or(&*url, |(_, host)| host);
            Err(usage(format!(
                "invalid value '{shown}' of HTTPS_PROXY: {error}"
            )))
        }
    }
}
