//! How the two neighbours that are always needed are doing, told when it changes and then ever less often.

use std::time::Duration;

use super::action::{ConnectFailure, Failure, FailureKind};
use super::fact::{Fact, MetadataCause};
use super::time::Moment;

/// The metadata service: polled for ever, whatever it answers.
#[derive(Debug, Default)]
pub(super) struct MetadataHealth {
    pub(super) polls: u64,
    pub(super) failures: u64,
    pub(super) consecutive_failures: u64,
    failing_since: Option<Moment>,
}

impl MetadataHealth {
    /// A poll was answered. Tells of it when the one before was not.
    pub(super) fn handle_success(&mut self, now: Moment) -> Option<Fact> {
        self.polls += 1;
        let failures = std::mem::take(&mut self.consecutive_failures);
        let since = self.failing_since.take()?;
        Some(Fact::MetadataRecovered {
            failures,
            since: now.since(since),
        })
    }

    /// A poll failed. Tells of the first failure in a row, of the third, and then of each doubling.
    pub(super) fn handle_failure(&mut self, failure: &Failure, now: Moment) -> Option<Fact> {
        self.polls += 1;
        self.failures += 1;
        self.consecutive_failures += 1;
        let since = *self.failing_since.get_or_insert(now);
        is_worth_telling(self.consecutive_failures).then(|| Fact::MetadataUnreachable {
            consecutive_failures: self.consecutive_failures,
            since: now.since(since),
            cause: MetadataCause::of(failure),
            http_status: failure.http_status,
            error: failure.text.clone(),
        })
    }
}

/// 1, 3, 6, 12, 24, …
const fn is_worth_telling(failures: u64) -> bool {
    failures == 1 || (failures.is_multiple_of(3) && (failures / 3).is_power_of_two())
}

impl MetadataCause {
    /// The likely cause of a failed call to the metadata service.
    #[must_use]
    pub const fn of(failure: &Failure) -> Self {
        match failure.kind {
            FailureKind::Forbidden => MetadataCause::Disabled,
            FailureKind::HopLimit => MetadataCause::HopLimit,
            FailureKind::Unreachable(ConnectFailure::Refused) => MetadataCause::Refused,
            FailureKind::Unreachable(ConnectFailure::Other) | FailureKind::TimedOut => {
                MetadataCause::Timeout
            }
            FailureKind::Unreadable | FailureKind::Lost => MetadataCause::Body,
            FailureKind::BlockedByBudget
            | FailureKind::TwoBudgets
            | FailureKind::Throttled(_)
            | FailureKind::Unauthenticated
            | FailureKind::NamespaceTerminating
            | FailureKind::NotFound
            | FailureKind::Conflict
            | FailureKind::Expired
            | FailureKind::Invalid
            | FailureKind::ServerError
            | FailureKind::Panicked => MetadataCause::Status,
        }
    }
}

/// A single lost call is the network's daily bread; this long without an answer is worth a line.
const SILENCE_WORTH_TELLING: Duration = Duration::from_secs(3);

/// The API server: called only in an interruption.
#[derive(Debug, Default)]
pub(super) enum ApiHealth {
    /// Its last answer came, or it was never asked.
    #[default]
    Answering,
    /// Calls have failed without an answer since then.
    Silent(Moment),
    /// The same, and it has been told.
    ToldSilent(Moment),
}

impl ApiHealth {
    /// Something of it has come: an answer of any kind, or a watch event.
    pub(super) fn handle_answer(&mut self, now: Moment) -> Option<Fact> {
        let before = std::mem::take(self);
        match before {
            Self::Answering | Self::Silent(_) => None,
            Self::ToldSilent(since) => Some(Fact::ApiRecovered {
                since: now.since(since),
            }),
        }
    }

    /// A call got no answer.
    pub(super) fn handle_silence(&mut self, failure: &Failure, now: Moment) -> Option<Fact> {
        match *self {
            Self::Answering => {
                *self = Self::Silent(now);
                None
            }
            Self::Silent(since) if now >= since + SILENCE_WORTH_TELLING => {
                *self = Self::ToldSilent(since);
                Some(Fact::ApiUnreachable {
                    since: now.since(since),
                    error: failure.text.clone(),
                })
            }
            Self::Silent(_) | Self::ToldSilent(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_at_one_three_and_each_doubling() {
        let told: Vec<u64> = (1..=100)
            .filter(|failures| is_worth_telling(*failures))
            .collect();
        assert_eq!(told, [1, 3, 6, 12, 24, 48, 96]);
    }
}
