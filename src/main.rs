//! Parse, build, run, exit code.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use http::Uri;
use spot_interrupt_handler::agent::Agent;
use spot_interrupt_handler::args::{
    self, Command, DEFAULT_METADATA, LogLevel, Output, PictureFile, RunConfig,
};
use spot_interrupt_handler::attempt::Ports;
use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::check::{self, Asking, Subject};
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::cluster::{KubeCluster, Source, Writes};
use spot_interrupt_handler::imds::Imds;
use spot_interrupt_handler::mock_imds::{self, MockError};
use spot_interrupt_handler::picture::{self, Form, Log};
use spot_interrupt_handler::plan::Planner;
use spot_interrupt_handler::plan::fact::Fact;
use spot_interrupt_handler::plan::{Effect, Mode};
use spot_interrupt_handler::report::{self, Base, Configuration, Level, Reporter, Standing};
use spot_interrupt_handler::sim::scenario::{Scenario, ScenarioError};
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
        Command::Simulate {
            scenario,
            speed,
            report,
        } => {
            let scenario = match Scenario::load(&scenario) {
                Ok(scenario) => scenario,
                Err(error) => return Ok(unusable(error)),
            };
            let performance = runtime.block_on(simulate::play(&scenario, speed, io::stdout()))?;
            if let Some(file) = report {
                let mut log = Log::default();
                performance.lines.iter().for_each(|line| log.read(line));
                draw(&log, &file)?;
            }
            Ok(exit_code(performance.played))
        }
        Command::SimulateRandom { count, seed } => {
            let played = simulate::random::play_random(count, seed, &mut io::stdout())
                .context("telling what happened")?;
            Ok(exit_code(played))
        }
        Command::Report { log, output } => {
            report(&log, &output)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::MockImds(config) => {
            let served = runtime.block_on(async {
                Ok::<_, anyhow::Error>(
                    mock_imds::serve(&config, stop_requests()?, io::stdout()).await,
                )
            })?;
            match served {
                Ok(()) => Ok(ExitCode::SUCCESS),
                Err(MockError::Scenario(error)) => Ok(unusable(error)),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// Draws the interruptions of a log.
fn report(path: &Path, output: &PictureFile) -> anyhow::Result<()> {
    let mut log = Log::default();
    let reading = || format!("reading {}", path.display());
    let mut source: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).with_context(reading)?;
        Box::new(BufReader::new(file))
    };
    let mut line = Vec::new();
    // What others have written between the lines may be no text.
    while source.read_until(b'\n', &mut line).with_context(reading)? > 0 {
        log.read(&String::from_utf8_lossy(&line));
        line.clear();
    }
    let stories = log.stories().len();
    if stories == 0 {
        anyhow::bail!(
            "{}: no interruption in it; of its {} lines {} are the agent's",
            path.display(),
            log.lines(),
            log.own_lines()
        );
    }
    draw(&log, output)?;
    if output.form == Form::Svg && stories > 1 {
        let left_out = stories - 1;
        eprintln!(
            "spot-interrupt-handler: {left_out} later interruptions are left out: an SVG shows one"
        );
    }
    Ok(())
}

fn draw(log: &Log, output: &PictureFile) -> anyhow::Result<()> {
    let picture = picture::draw(&log.stories(), output.form);
    std::fs::write(&output.path, picture)
        .with_context(|| format!("writing {}", output.path.display()))
}

/// What the command line names cannot be used.
fn unusable(error: ScenarioError) -> ExitCode {
    eprintln!("spot-interrupt-handler: {:#}", anyhow::Error::new(error));
    ExitCode::from(USAGE)
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
        configuration: Configuration::of(&config.policy, &config.metadata),
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
        balancer: Elbv2::new(config.proxy),
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
        balancer: Elbv2::new(config.proxy),
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
