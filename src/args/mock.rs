//! The flags of `mock-imds`. Those that the metadata mock of AWS has too take its names as well, and its bare seconds.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::value;
use crate::mock_imds::{Appearance, MockConfig, NoticeOrder};
use crate::plan::notice::InterruptionAction;
use crate::sim::metadata::{Deadline, Manners, Tokens};

#[derive(Debug, Args)]
pub(super) struct MockImdsArgs {
    /// Where to listen.
    #[arg(
        long,
        short = 'n',
        visible_alias = "hostname",
        env = "SIH_BIND",
        value_name = "ADDRESS",
        default_value = "127.0.0.1"
    )]
    bind: IpAddr,
    /// The port to listen on; 0 takes a free one and prints it.
    #[arg(
        long,
        short = 'p',
        env = "SIH_PORT",
        value_name = "PORT",
        default_value = "1338"
    )]
    port: u16,
    /// The port of 127.0.0.1 that takes orders while it runs; 0 takes a free one and prints it.
    #[arg(
        long,
        env = "SIH_CONTROL_PORT",
        value_name = "PORT",
        default_value = "1339"
    )]
    control_port: u16,
    /// A built-in scenario's name or a scenario file: its instance and its notice are served.
    #[arg(long, env = "SIH_SCENARIO", value_name = "NAME or FILE")]
    scenario: Option<String>,
    /// How long after the start the notice appears. Without this and what follows there is none, unless a scenario has one.
    #[arg(long, short = 'd', visible_alias = "mock-delay-sec", env = "SIH_NOTICE_AFTER", value_name = "DURATION", value_parser = value::span_or_seconds)]
    notice_after: Option<Duration>,
    /// When the notice appears, as in 2027-01-15T08:00:00Z.
    #[arg(long, visible_alias = "mock-trigger-time", env = "SIH_NOTICE_AT", value_name = "TIME", value_parser = value::time, conflicts_with = "notice_after")]
    notice_at: Option<Timestamp>,
    /// What the notice says that EC2 does [default: terminate].
    #[arg(long, short = 'a', env = "SIH_ACTION", value_enum)]
    action: Option<ActionArg>,
    /// How long after the notice EC2 acts [default: 120s].
    #[arg(long, env = "SIH_WARNING", value_name = "DURATION", value_parser = value::span_or_seconds)]
    warning: Option<Duration>,
    /// When EC2 acts, instead: the time that the notice says.
    #[arg(long, short = 't', env = "SIH_TIME", value_name = "TIME", value_parser = value::time, conflicts_with_all = ["warning", "sliding"])]
    time: Option<Timestamp>,
    /// Has the notice say at each request that EC2 acts so long after that request.
    #[arg(long, env = "SIH_SLIDING")]
    sliding: bool,
    /// How long after the start a rebalance recommendation appears.
    #[arg(long, visible_alias = "rebalance-delay-sec", env = "SIH_REBALANCE_AFTER", value_name = "DURATION", value_parser = value::span_or_seconds)]
    rebalance_after: Option<Duration>,
    /// When it appears, instead.
    #[arg(long, visible_alias = "rebalance-trigger-time", env = "SIH_REBALANCE_AT", value_name = "TIME", value_parser = value::time, conflicts_with = "rebalance_after")]
    rebalance_at: Option<Timestamp>,
    /// Whether a request needs a token.
    #[arg(long, env = "SIH_TOKENS", value_enum, default_value = "required")]
    tokens: TokensArg,
    /// The same as --tokens required.
    #[arg(long, short = 'I', env = "SIH_IMDSV2", overrides_with = "tokens")]
    imdsv2: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ActionArg {
    Terminate,
    Stop,
    Hibernate,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TokensArg {
    Required,
    Optional,
}

impl MockImdsArgs {
    pub(super) fn config(self) -> MockConfig {
        let tokens = match self.tokens {
            TokensArg::Optional if !self.imdsv2 => Tokens::Optional,
            TokensArg::Required | TokensArg::Optional => Tokens::Required,
        };
        MockConfig {
            address: SocketAddr::new(self.bind, self.port),
            control_port: self.control_port,
            scenario: self.scenario,
            notice: NoticeOrder {
                appears: appearance(self.notice_after, self.notice_at),
                action: self.action.map(|action| match action {
                    ActionArg::Terminate => InterruptionAction::Terminate,
                    ActionArg::Stop => InterruptionAction::Stop,
                    ActionArg::Hibernate => InterruptionAction::Hibernate,
                }),
                acts: appearance(self.warning, self.time),
            },
            recommendation: appearance(self.rebalance_after, self.rebalance_at),
            manners: Manners {
                tokens,
                deadline: if self.sliding {
                    Deadline::Sliding
                } else {
                    Deadline::Fixed
                },
            },
        }
    }
}

/// Of the two at most one is given.
fn appearance(after: Option<Duration>, at: Option<Timestamp>) -> Option<Appearance> {
    after.map(Appearance::After).or(at.map(|at| {
        Appearance::At(crate::plan::time::WallTime::from_millis(
            at.as_millisecond(),
        ))
    }))
}
