//! The command `simulate`: the real agent with its real adapters in a simulated world, told as it happens.

pub mod interruption;
pub mod random;
mod receipt;
mod story;

use std::io::{self, Write};
use std::sync::Arc;

use tokio::sync::mpsc;

use self::receipt::Receipt;
use self::story::Story;
use crate::agent::Agent;
use crate::attempt::Ports;
use crate::balancer::Elbv2;
use crate::clock::Clock;
use crate::cluster::{ConnectError, KubeCluster, Source, Writes};
use crate::imds::{EndpointError, Imds};
use crate::plan::action::Ports as TargetPorts;
use crate::plan::targets::ConfiguredGroup;
use crate::plan::time::Moment;
use crate::plan::{Planner, Policy};
use crate::report::{Base, Configuration, Level, Reporter, report_panics};
use crate::sim::loopback::Loopback;
use crate::sim::scenario::Scenario;
use crate::sim::stage::Stage;

/// Jitter is drawn from this: two runs of a scenario try again at the same moments.
const SEED: u64 = 1;

/// How an interruption was played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Played {
    /// Its outcome is the one that the scenario states.
    AsStated,
    /// It is another.
    Otherwise,
}

/// An interruption that was played.
#[derive(Clone, Debug)]
pub struct Performance {
    /// How it went.
    pub played: Played,
    /// The lines of the agent, as it prints them.
    pub lines: Vec<String>,
}

/// Why an interruption could not be played.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The world could not be served.
    #[error("serving the simulated world on loopback")]
    Loopback(#[source] io::Error),
    /// The agent's metadata client could not be made.
    #[error("making the agent's metadata client")]
    Metadata(#[source] EndpointError),
    /// The agent's Kubernetes client could not be made.
    #[error("making the agent's Kubernetes client")]
    Kubernetes(#[source] ConnectError),
    /// The address of a server is no URL.
    #[error("addressing the simulated API server")]
    Address(#[source] http::uri::InvalidUri),
    /// The agent's loop ended although nobody asked it to.
    #[error("the agent ended before EC2 took its node")]
    AgentEnded,
    /// The story could not be written.
    #[error("telling the story")]
    Output(#[source] io::Error),
}

/// Plays the scenario, `speed` seconds of it in each real one, and tells it to `out`.
///
/// # Errors
/// When it cannot be played; an outcome that is not as stated is no error.
pub async fn play(
    scenario: &Scenario,
    speed: f64,
    mut out: impl Write + Send + 'static,
) -> Result<Performance, PlayError> {
    let clock = Clock::at_speed(speed);
    let begins = clock.now().at;
    let appears = begins + scenario.notice_after;
    let deadline = appears + scenario.warning;
    story::introduce(&mut out, scenario, speed).map_err(PlayError::Output)?;
    let story = Arc::new(Story::new(Box::new(out)));
    let stage = Stage::new(scenario.world(begins), clock.clone());
    let loopback = Loopback::serve(&stage).await.map_err(PlayError::Loopback)?;
    let policy = policy(scenario);
    let margins = policy.margins;
    let agent = agent(scenario, policy, &loopback, &clock, &story).await?;

    // Held to the end: an agent nobody can ask to stop would be no agent.
    let (_stops, stop_requests) = mpsc::channel(1);
    let mut running = std::pin::pin!(agent.run(stop_requests));
    tokio::select! {
        () = &mut running => return Err(PlayError::AgentEnded),
        () = clock.sleep_until(appears) => {}
    }
    story.ec2(
        scenario.warning.as_secs_f64(),
        &format!(
            "announces to {} this instance in {:.0} s",
            scenario.action.as_str(),
            scenario.warning.as_secs_f64()
        ),
    );
    tokio::select! {
        () = &mut running => return Err(PlayError::AgentEnded),
        () = clock.sleep_until(deadline) => {}
    }
    story.ec2(0.0, "takes the instance");
    let receipt = stage.with(|world, _| Receipt::of(scenario, world, deadline, &margins));
    let played = conclude(&story, &receipt, scenario)?;
    Ok(Performance {
        played,
        lines: story.lines(),
    })
}

fn conclude(story: &Story, receipt: &Receipt, scenario: &Scenario) -> Result<Played, PlayError> {
    let mut surprises = receipt.surprises.clone();
    let verdict = story.verdict();
    if verdict.as_deref() != Some(scenario.verdict.as_str()) {
        surprises.push(format!(
            "the agent's verdict: {} was stated, and it said {}",
            scenario.verdict.as_str(),
            verdict.as_deref().unwrap_or("nothing")
        ));
    }
    story
        .conclude(receipt, &surprises)
        .map_err(PlayError::Output)?;
    Ok(if surprises.is_empty() {
        Played::AsStated
    } else {
        Played::Otherwise
    })
}

/// The agent's defaults, with the scenario's target groups.
fn policy(scenario: &Scenario) -> Policy {
    Policy {
        groups: scenario
            .groups
            .iter()
            .map(|group| ConfiguredGroup {
                arn: group.arn.clone(),
                ports: TargetPorts::All,
            })
            .collect(),
        ..Policy::default()
    }
}

async fn agent(
    scenario: &Scenario,
    policy: Policy,
    loopback: &Loopback,
    clock: &Clock,
    story: &Arc<Story>,
) -> Result<Agent<Imds, KubeCluster, Elbv2>, PlayError> {
    let metadata = format!("http://{}", loopback.metadata);
    let kubernetes = format!("http://{}", loopback.kubernetes)
        .parse()
        .map_err(PlayError::Address)?;
    let node = scenario.node_name().clone();
    let ports = Ports {
        metadata: Imds::new(&metadata, clock.clone()).map_err(PlayError::Metadata)?,
        cluster: KubeCluster::connect(
            Source::Plain(kubernetes),
            node.clone(),
            Writes::Real,
            clock.clone(),
        )
        .await
        .map_err(PlayError::Kubernetes)?,
        balancer: Elbv2::at(format!("http://{}", loopback.balancer)),
    };
    let base = Base {
        node: node.to_string(),
        cluster: None,
        configuration: Configuration::of(&policy, metadata),
    };
    let now = clock.now();
    let outlet = Box::new(story.clone());
    let reporter = Arc::new(Reporter::new(base, Level::Info, outlet, now.at));
    report_panics(reporter.clone(), clock.clone());
    let planner = Planner::new(policy, node, scenario.agent.clone(), SEED, now);
    Ok(Agent::new(planner, ports, clock.clone(), reporter))
}

/// Seconds left before `deadline` at `moment`.
fn left(deadline: Moment, moment: Moment) -> f64 {
    deadline.seconds_from(moment)
}
