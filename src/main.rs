//! Parse, build, run, exit code.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::Uri;
use spot_interrupt_handler::agent::Agent;
use spot_interrupt_handler::args::{self, Command, DEFAULT_METADATA, LogLevel, Output, RunConfig};
use spot_interrupt_handler::attempt::Ports;
use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::check::{self, Asking, Subject};
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::cluster::{KubeCluster, Source, Writes};
use spot_interrupt_handler::imds::Imds;
use spot_interrupt_handler::plan::Planner;
use spot_interrupt_handler::plan::fact::Fact;
use spot_interrupt_handler::plan::{Effect, Mode};
use spot_interrupt_handler::report::{self, Base, Configuration, Level, Reporter, Standing};
use spot_interrupt_handler::sim::loopback::MetadataServer;
use spot_interrupt_handler::sim::metadata::ScheduledNotice;
use spot_interrupt_handler::sim::scenario::Scenario;
use spot_interrupt_handler::sim::stage::Stage;
use spot_interrupt_handler::simulate::{self, Played};
use spot_interrupt_handler::telemetry::{self, Stdout};
use spot_interrupt_handler::watchdog::{self, Patience};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::level_filters::LevelFilter;

/// `EX_USAGE` of sysexits: the command line, or what it names, cannot be used.
const USAGE: u8 = 64;

/// A check found something that is worth a look, and nothing that is wrong.
const WARNINGS: u8 = 3;

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
        Command::Check {
            config,
            rehearsal,
            output,
        } => runtime.block_on(check_node(*config, rehearsal, output)),
        Command::Simulate { scenario, speed } => {
            let scenario = match Scenario::load(&scenario) {
                Ok(scenario) => scenario,
                Err(error) => {
                    eprintln!("spot-interrupt-handler: {:#}", anyhow::Error::new(error));
                    return Ok(ExitCode::from(USAGE));
                }
            };
            let played = runtime.block_on(simulate::play(&scenario, speed, io::stdout()))?;
            Ok(exit_code(played))
        }
        Command::SimulateRandom { count, seed } => {
            let played = simulate::random::play_random(count, seed, &mut io::stdout())
                .context("telling what happened")?;
            Ok(exit_code(played))
        }
        Command::MockImds {
            bind,
            port,
            notice_after,
        } => {
            let address = SocketAddr::new(bind, port);
            runtime.block_on(serve_metadata(address, notice_after))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn exit_code(played: Played) -> ExitCode {
    match played {
        Played::AsStated => ExitCode::SUCCESS,
        Played::Otherwise => ExitCode::FAILURE,
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
            mode: config.policy.mode,
            effect: config.policy.effect,
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
    let writes = match config.policy.effect {
        Effect::Real => Writes::Real,
        Effect::Rehearsed => Writes::Rehearsed,
    };
    let source = source(config.policy.mode, config.context);
    let ports = Ports {
        metadata: Imds::new(&config.metadata, clock.clone())?,
        cluster: KubeCluster::connect(source, config.node.clone(), writes, clock.clone()).await?,
        balancer: Elbv2::new(),
    };
    // The only randomness of the agent: which of the agents that were started together tries again first.
    let seed = RandomState::new().hash_one(config.node.as_str());
    let mut planner = Planner::new(config.policy, config.node, config.agent, seed, clock.now());
    planner.look_over_permissions();
    let agent = Agent::new(planner, ports, clock.clone(), reporter.clone());
    watchdog::watch(agent.pulse(), Patience::default(), reporter, clock)
        .context("starting the watchdog")?;
    agent.run(stop_requests()?).await;
    Ok(())
}

/// Where the API server is found.
fn source(mode: Mode, context: Option<String>) -> Source {
    match mode {
        Mode::Full | Mode::DeregisterOnly => Source::Surroundings { context },
        // It is never asked for anything, and may not be there at all.
        Mode::Observe => Source::Plain(Uri::from_static("http://127.0.0.1:1")),
    }
}

/// What a check says in its exit code: 0 fine, 1 errors, 3 warnings.
async fn check_node(
    config: RunConfig,
    rehearsal: Asking,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let clock = Clock::real();
    telemetry::diagnose(levels(config.log_level).1);
    let source = source(config.policy.mode, config.context);
    let node = config.node.clone();
    let ports = Ports {
        metadata: Imds::new(&config.metadata, clock.clone())?,
        cluster: KubeCluster::connect(source, node, Writes::Rehearsed, clock.clone()).await?,
        balancer: Elbv2::new(),
    };
    let subject = Subject {
        node: config.node,
        agent: config.agent,
        policy: config.policy,
        rehearsal,
    };
    let findings = check::check(&subject, &ports, &clock).await;
    let told = match output {
        Output::Text => check::text(&findings),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&findings)?),
    };
    // Whoever reads it may have read enough.
    let _ = io::stdout().write_all(told.as_bytes());
    Ok(match findings.outcome {
        check::finding::Level::Ok | check::finding::Level::Note => ExitCode::SUCCESS,
        check::finding::Level::Warning => ExitCode::from(WARNINGS),
        check::finding::Level::Error => ExitCode::FAILURE,
    })
}

/// The metadata service alone, until it is asked to stop.
async fn serve_metadata(address: SocketAddr, notice_after: Option<Duration>) -> anyhow::Result<()> {
    let clock = Clock::real();
    let mut world = Scenario::bare()?.world(clock.now().at);
    let appears = notice_after.map(|after| clock.now().at + after);
    match appears {
        Some(appears) => world
            .metadata
            .schedule(ScheduledNotice::appearing_at(appears)),
        None => world.metadata.withdraw(),
    }
    let stage = Stage::new(world, clock.clone());
    let server = MetadataServer::serve(&stage, address)
        .await
        .with_context(|| format!("listening on {address}"))?;
    let mut stops = stop_requests()?;
    let url = format!("http://{}", server.address);
    say(&format!("metadata service: {url}"));
    say(&format!(
        "try: spot-interrupt-handler run --imds-endpoint {url} --node-name NAME"
    ));
    let Some(appears) = appears else {
        say("there is no notice; --notice-after 30s has one appear");
        stops.recv().await;
        return Ok(());
    };
    say(&format!(
        "the notice appears in {} s",
        appears.seconds_from(clock.now().at).ceil()
    ));
    tokio::select! {
        _ = stops.recv() => return Ok(()),
        () = clock.sleep_until(appears) => {}
    }
    say("the notice is there: EC2 would terminate this instance in 120 s");
    stops.recv().await;
    Ok(())
}

/// A line for whoever started the metadata service; nobody has to read it.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
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
