//! The command `mock-imds`: the metadata service of the simulated world alone, with orders taken while it runs.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::plan::notice::InterruptionAction;
use crate::plan::time::{Moment, Now, WallTime};
use crate::sim::World;
use crate::sim::journal::Journal;
use crate::sim::loopback::MetadataServer;
use crate::sim::metadata::{Manners, ScheduledNotice};
use crate::sim::scenario::{Scenario, ScenarioError};
use crate::sim::stage::Stage;

/// Some hours of an agent that asks every five seconds.
const JOURNAL: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// What is to be served.
#[derive(Debug)]
pub struct MockConfig {
    /// Where.
    pub address: SocketAddr,
    /// The port of 127.0.0.1 that takes orders.
    pub control_port: u16,
    /// The scenario whose instance and notice it is; a bare instance without.
    pub scenario: Option<String>,
    /// The notice, as far as it is not the scenario's.
    pub notice: NoticeOrder,
    /// When it is recommended to move to another instance.
    pub recommendation: Option<Appearance>,
    /// How it deals with whoever asks.
    pub manners: Manners,
}

/// A notice as far as it was ordered; with nothing of it there is none of its own.
#[derive(Debug)]
pub struct NoticeOrder {
    /// When it appears; at once.
    pub appears: Option<Appearance>,
    /// What EC2 does; terminate.
    pub action: Option<InterruptionAction>,
    /// When EC2 does it: 120 s after the notice appears.
    pub acts: Option<Appearance>,
}

/// When something appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appearance {
    /// So long after what comes before it.
    After(Duration),
    /// At this time, or at once when that has passed.
    At(WallTime),
}

impl Appearance {
    fn moment(self, before: Moment, now: Now) -> Moment {
        match self {
            Self::After(span) => before + span,
            Self::At(time) => before.max(now.at + time.since(now.wall)),
        }
    }
}

/// Why it could not be served.
#[derive(Debug, thiserror::Error)]
pub enum MockError {
    /// There is no such scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// An address could not be listened on.
    #[error("listening on {0}")]
    Address(SocketAddr, #[source] io::Error),
    /// What it is doing could not be told.
    #[error("telling what is served")]
    Output(#[source] io::Error),
}

/// Serves metadata until a stop is asked for, and tells `out` where, and when the notice is there.
///
/// # Errors
/// When the scenario cannot be read or an address cannot be listened on.
pub async fn serve(
    config: &MockConfig,
    mut stops: mpsc::Receiver<()>,
    mut out: impl Write,
) -> Result<(), MockError> {
    let clock = Clock::real();
    let world = world(config, clock.now())?;
    let notice = world.metadata.notice().copied();
    let stage = Stage::new(world, clock.clone());
    let servers = listen(config, &stage, &mut out).await?;
    let mut say = |line: String| writeln!(out, "{line}").map_err(MockError::Output);
    let Some(notice) = notice else {
        say("there is no notice; --notice-after 30s has one appear, or POST /notice to the control port".to_owned())?;
        stops.recv().await;
        return Ok(());
    };
    let wait = notice.appears.seconds_from(clock.now().at).ceil();
    say(format!("the notice appears in {wait} s"))?;
    tokio::select! {
        _ = stops.recv() => return Ok(()),
        () = clock.sleep_until(notice.appears) => {}
    }
    // An order may have replaced or withdrawn it meanwhile.
    if stage.with(|world, _| world.metadata.notice() == Some(&notice)) {
        say(format!(
            "the notice is there: EC2 would {} this instance in {:.0} s",
            notice.action.as_str(),
            notice.warning.as_secs_f64()
        ))?;
    }
    stops.recv().await;
    drop(servers);
    Ok(())
}

async fn listen(
    config: &MockConfig,
    stage: &Arc<Stage>,
    out: &mut impl Write,
) -> Result<MetadataServer, MockError> {
    let mut server = MetadataServer::serve(stage, config.address)
        .await
        .map_err(|cause| MockError::Address(config.address, cause))?;
    let control = server
        .take_orders(stage, config.control_port)
        .await
        .map_err(|cause| {
            let address = SocketAddr::from(([127, 0, 0, 1], config.control_port));
            MockError::Address(address, cause)
        })?;
    let url = format!("http://{}", server.address);
    writeln!(
        out,
        "metadata service: {url}\n\
         control: http://{control}\n\
         try: spot-interrupt-handler run --imds-endpoint {url} --node-name NAME"
    )
    .map_err(MockError::Output)?;
    Ok(server)
}

fn world(config: &MockConfig, now: Now) -> Result<World, ScenarioError> {
    let scenario = match &config.scenario {
        Some(name) => Scenario::load(name)?,
        None => Scenario::bare()?,
    };
    let mut world = scenario.world(now.at);
    world.journal = Journal::of_the_latest(JOURNAL);
    world.metadata.behave(config.manners);
    let stated = world.metadata.notice().copied();
    match config
        .notice
        .after(now, stated.filter(|_| config.scenario.is_some()))
    {
        Some(notice) => world.metadata.schedule(notice),
        None => world.metadata.withdraw(),
    }
    if let Some(appearance) = config.recommendation {
        let at = appearance.moment(now.at, now);
        world.metadata.recommend_rebalance(at);
    }
    Ok(world)
}

impl NoticeOrder {
    /// The notice of this order, on top of the one that the scenario states.
    fn after(&self, now: Now, stated: Option<ScheduledNotice>) -> Option<ScheduledNotice> {
        let is_ordered = self.appears.is_some() || self.action.is_some() || self.acts.is_some();
        let base = match stated {
            Some(stated) => stated,
            None if is_ordered => ScheduledNotice::appearing_at(now.at),
            None => return None,
        };
        let appears = self
            .appears
            .map_or(base.appears, |appearance| appearance.moment(now.at, now));
        let warning = self.acts.map_or(base.warning, |appearance| {
            appearance.moment(appears, now).since(appears)
        });
        Some(ScheduledNotice {
            appears,
            warning,
            action: self.action.unwrap_or(base.action),
        })
    }
}
