//! The command line: what the flags are called, where their values come from, and what they may be.
//!
//! A flag wins over its `SIH_` variable, that over the variable of AWS or of the downward API, that over the default;
//! an empty variable counts as unset. Nothing else of the program reads the environment.

mod mock;
mod run;
mod value;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::balancer::Proxy;
use crate::check::Asking;
use crate::mock_imds::MockConfig;
use crate::picture::Form;
use crate::plan::Policy;
use crate::plan::id::{NodeName, PodUid};
use crate::telemetry::LogFormat;
use mock::MockImdsArgs;

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
    Run(Box<run::RunArgs>),
    /// Looks whether everything is in place for an interruption, and plans one for this node; changes nothing.
    Check(Box<CheckArgs>),
    /// Plays an interruption on loopback, with a metadata service, a Kubernetes API and a load balancer of its own.
    Simulate(SimulateArgs),
    /// Draws the interruptions of a log: their pods, target groups, counts and warnings, on one page.
    Report(ReportArgs),
    /// Serves instance metadata with a notice, for trying the agent on a machine that is no EC2 instance.
    MockImds(MockImdsArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    run: run::RunArgs,
    /// Asks the API server about each eviction, by one that changes nothing.
    #[arg(long, env = "SIH_REHEARSE")]
    rehearse: bool,
    /// A text for people, or JSON for machines.
    #[arg(long, env = "SIH_OUTPUT", value_enum, default_value = "text")]
    output: Output,
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
    /// Draws the interruption too, into this file: a page (.html) or the picture alone (.svg).
    #[arg(long, env = "SIH_REPORT", value_name = "FILE.html", value_parser = value::picture)]
    report: Option<PictureFile>,
    /// Plays so many interruptions drawn from seeds instead, in virtual time, and judges them by every rule; one is told in full.
    #[arg(long, env = "SIH_RANDOM", value_name = "N", conflicts_with_all = ["scenario", "speed", "report"], value_parser = clap::value_parser!(u64).range(1..))]
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
struct ReportArgs {
    /// The log: the agent's lines as they were printed, or as a collector has wrapped them; - reads standard input.
    #[arg(value_name = "FILE.log")]
    log: PathBuf,
    /// The file to draw into: a page (.html) or the first picture alone (.svg).
    #[arg(long, env = "SIH_OUTPUT", value_name = "FILE.html", value_parser = value::picture)]
    output: PictureFile,
}

/// A file for a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureFile {
    /// Where.
    pub path: PathBuf,
    /// As what.
    pub form: Form,
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
        /// Where it is drawn.
        report: Option<PictureFile>,
    },
    /// Draw interruptions.
    Report {
        /// Their log; `-` is standard input.
        log: PathBuf,
        /// Where they are drawn.
        output: PictureFile,
    },
    /// Play interruptions drawn from seeds.
    SimulateRandom {
        /// How many.
        count: u64,
        /// The first seed.
        seed: u64,
    },
    /// Serve metadata.
    MockImds(MockConfig),
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
    /// The way to AWS.
    pub proxy: Option<Proxy>,
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
        CliCommand::Run(args) => args
            .config(&environment)
            .map(|config| Command::Run(Box::new(config))),
        CliCommand::Check(args) => {
            let CheckArgs {
                run,
                rehearse,
                output,
            } = *args;
            run.config(&environment).map(|config| Command::Check {
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
                report: args.report,
            },
        }),
        CliCommand::Report(ReportArgs { log, output }) => Ok(Command::Report { log, output }),
        CliCommand::MockImds(args) => Ok(Command::MockImds(args.config())),
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

fn usage(message: String) -> clap::Error {
    Cli::command().error(clap::error::ErrorKind::ValueValidation, message)
}
