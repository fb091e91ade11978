//! The command line: what the flags are called, where their values come from, and what they may be.
//!
//! A flag wins over its `SIH_` variable, that over the variable of AWS or of the downward API, that over the default;
//! an empty variable counts as unset. Nothing else of the program reads the environment.

mod value;

use std::ffi::OsString;
use std::net::IpAddr;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::check::Asking;
use crate::duration;
use crate::imds;
use crate::plan::budget::Margins;
use crate::plan::drain::{JobPods, OnBlocked};
use crate::plan::id::{NodeName, PodUid};
use crate::plan::targets::ConfiguredGroup;
use crate::plan::{Effect, Mode, Policy};
use crate::telemetry::LogFormat;

/// Where EC2 serves the metadata of an instance.
pub const DEFAULT_METADATA: &str = "http://169.254.169.254";

/// The same over IPv6, on instances that have it switched on.
const DEFAULT_METADATA_IPV6: &str = "http://[fd00:ec2::254]";

/// Drains an EC2 spot node of a Kubernetes cluster before EC2 takes it.
#[derive(Debug, Parser)]
#[command(name = "spot-interrupt-handler", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// The agent: watches for a notice, then cordons, drains and deregisters this node.
    Run(Box<RunArgs>),
    /// Looks whether everything is in place for an interruption, and plans one for this node; changes nothing.
    Check(Box<CheckArgs>),
    /// Plays an interruption on loopback, with a metadata service, a Kubernetes API and a load balancer of its own.
    Simulate(SimulateArgs),
    /// Serves instance metadata with a notice, for trying the agent on a machine that is no EC2 instance.
    MockImds(MockImdsArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
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
struct CheckArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Asks the API server about each eviction, by one that changes nothing.
    #[arg(long, env = "SIH_REHEARSE")]
    rehearse: bool,
    /// A text for people, or JSON for machines.
    #[arg(long, env = "SIH_OUTPUT", value_enum, default_value = "text")]
    output: Output,
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

#[derive(Debug, Args)]
struct SimulateArgs {
    /// A built-in scenario's name or a scenario file.
    #[arg(
        long,
        env = "SIH_SCENARIO",
        value_name = "NAME or FILE",
        default_value = "default"
    )]
    scenario: String,
    /// How many seconds pass in each real one, for agent and world alike.
    #[arg(long, env = "SIH_SPEED", value_name = "N", default_value = "6", value_parser = value::speed)]
    speed: f64,
    /// Plays so many interruptions drawn from seeds instead, in virtual time, and judges them by every rule; one is told in full.
    #[arg(long, env = "SIH_RANDOM", value_name = "N", conflicts_with_all = ["scenario", "speed"], value_parser = clap::value_parser!(u64).range(1..))]
    random: Option<u64>,
    /// The first of the seeds.
    #[arg(
        long,
        env = "SIH_SEED",
        value_name = "N",
        requires = "random",
        default_value = "0"
    )]
    seed: u64,
}

#[derive(Debug, Args)]
struct MockImdsArgs {
    /// Where to listen.
    #[arg(
        long,
        env = "SIH_BIND",
        value_name = "ADDRESS",
        default_value = "127.0.0.1"
    )]
    bind: IpAddr,
    /// The port to listen on; 0 takes a free one and prints it.
    #[arg(long, env = "SIH_PORT", value_name = "PORT", default_value = "1338")]
    port: u16,
    /// How long after the start the notice appears.
    #[arg(long, env = "SIH_NOTICE_AFTER", value_name = "DURATION", value_parser = duration::parse)]
    notice_after: Option<Duration>,
}

/// The lowest level of what is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Only what is worth waking someone.
    Error,
    /// And what is worth a look tomorrow.
    Warn,
    /// Every event.
    Info,
    /// And the libraries' diagnostics.
    Debug,
    /// All of them.
    Trace,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    Full,
    DeregisterOnly,
    Observe,
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

/// The form of what a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For machines; `docs/check.schema.json` is its contract.
    Json,
}

/// What is to be done, checked.
#[derive(Debug)]
pub enum Command {
    /// Be the agent.
    Run(Box<RunConfig>),
    /// Look whether everything is in place for an interruption.
    Check {
        /// For this agent.
        config: Box<RunConfig>,
        /// Whether the API server is asked about each eviction.
        rehearsal: Asking,
        /// How it is told.
        output: Output,
    },
    /// Play an interruption.
    Simulate {
        /// Which one.
        scenario: String,
        /// How fast.
        speed: f64,
    },
    /// Play interruptions drawn from seeds.
    SimulateRandom {
        /// How many.
        count: u64,
        /// The first seed.
        seed: u64,
    },
    /// Serve metadata.
    MockImds {
        /// Where.
        bind: IpAddr,
        /// On which port.
        port: u16,
        /// When the notice appears.
        notice_after: Option<Duration>,
    },
}

/// The agent's configuration.
#[derive(Debug)]
pub struct RunConfig {
    /// The node.
    pub node: NodeName,
    /// The agent's own pod.
    pub agent: Option<PodUid>,
    /// Where the metadata service is.
    pub metadata: String,
    /// What the planner is told.
    pub policy: Policy,
    /// The cluster's name.
    pub cluster: Option<String>,
    /// The kubeconfig context.
    pub context: Option<String>,
    /// The form of the log.
    pub log_format: LogFormat,
    /// The lowest level of it.
    pub log_level: LogLevel,
}

/// Reads the command line and the environment.
///
/// # Errors
/// A message for stderr, or a text that was asked for (`--help`, `--version`).
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, clap::Error> {
    let mut cli = Cli::command();
    for subcommand in cli.get_subcommands_mut() {
        forget_empty_variables(subcommand, &environment);
    }
    let matches = cli.try_get_matches_from_mut(arguments)?;
    match Cli::from_arg_matches(&matches)?.command {
        CliCommand::Run(args) => {
            run_config(*args, &environment).map(|config| Command::Run(Box::new(config)))
        }
        CliCommand::Check(args) => {
            let CheckArgs {
                run,
                rehearse,
                output,
            } = *args;
            run_config(run, &environment).map(|config| Command::Check {
                config: Box::new(config),
                rehearsal: if rehearse {
                    Asking::Asked
                } else {
                    Asking::Unasked
                },
                output,
            })
        }
        CliCommand::Simulate(args) => Ok(match args.random {
            Some(count) => Command::SimulateRandom {
                count,
                seed: args.seed,
            },
            None => Command::Simulate {
                scenario: args.scenario,
                speed: args.speed,
            },
        }),
        CliCommand::MockImds(MockImdsArgs {
            bind,
            port,
            notice_after,
        }) => Ok(Command::MockImds {
            bind,
            port,
            notice_after,
        }),
    }
}

/// `FOO=` in a manifest means that nobody filled it in.
fn forget_empty_variables(
    command: &mut clap::Command,
    environment: &impl Fn(&str) -> Option<OsString>,
) {
    let empty: Vec<String> = command
        .get_arguments()
        .filter(|argument| {
            argument
                .get_env()
                .and_then(|name| environment(&name.to_string_lossy()))
                .is_some_and(|value| value.is_empty())
        })
        .map(|argument| argument.get_id().to_string())
        .collect();
    for id in empty {
        *command = std::mem::take(command).mut_arg(id, |argument| argument.env(Resettable::Reset));
    }
}

fn run_config(
    args: RunArgs,
    environment: &impl Fn(&str) -> Option<OsString>,
) -> Result<RunConfig, clap::Error> {
    let variable = |name: &str| {
        environment(name)
            .map(|value| value.to_string_lossy().into_owned())
            .filter(|value| !value.is_empty())
    };
    let node = match (args.node_name, variable("NODE_NAME")) {
        (Some(node), _) => node,
        (None, Some(text)) => value::node_name(&text)
            .map_err(|error| usage(format!("invalid value '{text}' of NODE_NAME: {error}")))?,
        (None, None) => {
            return Err(usage(
                "the node's name is not known: give --node-name, SIH_NODE_NAME or NODE_NAME"
                    .to_owned(),
            ));
        }
    };
    let metadata = args
        .imds_endpoint
        .or_else(|| variable("AWS_EC2_METADATA_SERVICE_ENDPOINT"))
        .unwrap_or_else(
            || match variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE") {
                Some(mode) if mode.eq_ignore_ascii_case("ipv6") => DEFAULT_METADATA_IPV6.to_owned(),
                Some(_) | None => DEFAULT_METADATA.to_owned(),
            },
        );
    let is_local = imds::endpoint_is_local(&metadata).map_err(|error| {
        usage(format!(
            "invalid value '{metadata}' for '--imds-endpoint <URL>': {error}"
        ))
    })?;
    if !is_local && !args.allow_remote_imds {
        return Err(usage(format!(
            "refused value '{metadata}' for '--imds-endpoint <URL>': it is neither link-local nor on this machine, and whoever \
             serves it can have this node drained; --allow-remote-imds allows it"
        )));
    }
    Ok(RunConfig {
        node,
        agent: args
            .pod_uid
            .or_else(|| variable("POD_UID"))
            .map(PodUid::new),
        metadata,
        policy: Policy {
            mode: match args.mode {
                ModeArg::Full => Mode::Full,
                ModeArg::DeregisterOnly => Mode::DeregisterOnly,
                ModeArg::Observe => Mode::Observe,
            },
            effect: if args.dry_run {
                Effect::Rehearsed
            } else {
                Effect::Real
            },
            poll_interval: args.poll_interval,
            heartbeat_interval: args.heartbeat_interval,
            margins: Margins {
                end: args.end_margin,
                volume: args.volume_margin,
                kept_grace: args.kept_grace,
            },
            on_blocked: match args.on_blocked {
                OnBlockedArg::Delete => OnBlocked::Delete,
                OnBlockedArg::Wait => OnBlocked::Wait,
            },
            job_pods: match args.job_pods {
                JobPodsArg::Now => JobPods::Now,
                JobPodsArg::Late => JobPods::Late,
            },
            max_in_flight: args.max_in_flight.into(),
            groups: args.target_group_arn,
        },
        cluster: args.cluster_name,
        context: args.context,
        log_format: args.log.log_format.unwrap_or_else(LogFormat::for_stdout),
        log_level: args.log.log_level,
    })
}

fn usage(message: String) -> clap::Error {
    Cli::command().error(clap::error::ErrorKind::ValueValidation, message)
}
