//! Parse, build, run, exit code.

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use spot_interrupt_handler::agent::Agent;
use spot_interrupt_handler::args::{self, Command, DEFAULT_METADATA, LogLevel, RunConfig};
use spot_interrupt_handler::attempt::Ports;
use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::cluster::{KubeCluster, Source, Writes};
use spot_interrupt_handler::imds::Imds;
use spot_interrupt_handler::plan::Planner;
use spot_interrupt_handler::plan::fact::Fact;
use spot_interrupt_handler::report::{self, Base, Configuration, Level, Reporter, Standing};
use spot_interrupt_handler::telemetry::{self, Stdout};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::level_filters::LevelFilter;

/// `EX_USAGE` of sysexits: the command line, or what it names, cannot be used.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    // The one place where the environment is read.
    #[allow(clippy::disallowed_methods)]
    let parsed = args::parse(std::env::args_os(), |name| std::env::var_os(name));
    let command = match parsed {
        Ok(command) => command,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match perform(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("spot-interrupt-handler: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One thread is enough: the agent waits for others nearly all the time.
fn perform(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    match command {
        Command::Run(config) => {
            runtime.block_on(run(*config))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Simulate { .. } | Command::MockImds { .. } => Ok(ExitCode::FAILURE),
    }
}

/// The agent, until it is asked to stop.
async fn run(config: RunConfig) -> anyhow::Result<()> {
    let clock = Clock::real();
    let (outlet, _flushed_on_drop) = Stdout::start(config.log_format);
    let base = Base {
        node: config.node.to_string(),
        cluster: config.cluster,
        configuration: Configuration {
            poll_interval_seconds: config.policy.poll_interval.as_secs_f64(),
            imds_endpoint: config.metadata.clone(),
            target_groups: config.policy.groups.len(),
        },
    };
    let (lowest, diagnostics) = levels(config.log_level);
    telemetry::diagnose(diagnostics);
    let now = clock.now();
    let reporter = Arc::new(Reporter::new(base, lowest, Box::new(outlet), now.at));
    report::report_panics(reporter.clone(), clock.clone());
    if config.metadata != DEFAULT_METADATA {
        let fact = Fact::MetadataOverridden {
            endpoint: config.metadata.clone(),
        };
        reporter.report(&fact, &Standing::default(), now);
    }
    let source = Source::Surroundings {
        context: config.context,
    };
    let ports = Ports {
        metadata: Imds::new(&config.metadata, clock.clone())?,
        cluster: KubeCluster::connect(source, config.node.clone(), Writes::Real, clock.clone())
            .await?,
        balancer: Elbv2::new(),
    };
    // The only randomness of the agent: which of the agents that were started together tries again first.
    let seed = RandomState::new().hash_one(config.node.as_str());
    let planner = Planner::new(config.policy, config.node, config.agent, seed, clock.now());
    Agent::new(planner, ports, clock, reporter)
        .run(stop_requests()?)
        .await;
    Ok(())
}

/// SIGTERM and SIGINT alike.
fn stop_requests() -> anyhow::Result<mpsc::Receiver<()>> {
    let (requests, receiver) = mpsc::channel(2);
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).context("listening for signals")?;
        let requests = requests.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if requests.send(()).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}

/// What a level lets through of the log, and of the libraries' diagnostics.
fn levels(level: LogLevel) -> (Level, LevelFilter) {
    match level {
        LogLevel::Error => (Level::Error, LevelFilter::OFF),
        LogLevel::Warn => (Level::Warn, LevelFilter::OFF),
        LogLevel::Info => (Level::Info, LevelFilter::OFF),
        LogLevel::Debug => (Level::Info, LevelFilter::DEBUG),
        LogLevel::Trace => (Level::Info, LevelFilter::TRACE),
    }
}
