//! The words that stand in fields for the cases of the core's enums: a part of the log's contract.

use std::collections::BTreeSet;

use crate::plan::Discover;
use crate::plan::fact::{
    AgentState, BlockReason, DeleteReason, DeregisteredState, Deregistrar, GoneOutcome, LeftReason,
    MetadataCause, NoticeChange, SkipReason, Source, StopReason, Summary, TargetErrorKind,
};
use crate::plan::pod::Wave;

pub(super) const fn wave_number(wave: Wave) -> u8 {
    match wave {
        Wave::Ordinary => 1,
        Wave::Critical => 2,
    }
}

pub(super) const fn gone_outcome(outcome: GoneOutcome) -> &'static str {
    match outcome {
        GoneOutcome::Gone => "gone",
        GoneOutcome::Cut => "cut",
    }
}

pub(super) const fn left_reason(reason: LeftReason) -> &'static str {
    match reason {
        LeftReason::Wait => "wait",
        LeftReason::Forbidden => "forbidden",
        LeftReason::Unreachable => "unreachable",
    }
}

pub(super) const fn deregistered_state(state: DeregisteredState) -> &'static str {
    match state {
        DeregisteredState::Draining => "draining",
        DeregisteredState::NotRegistered => "not_registered",
        DeregisteredState::GroupGone => "group_gone",
    }
}

pub(super) const fn deregistrar(by: Deregistrar) -> &'static str {
    match by {
        Deregistrar::Us => "us",
        Deregistrar::Controller => "controller",
        Deregistrar::Other => "other",
    }
}

pub(super) const fn metadata_cause(cause: MetadataCause) -> &'static str {
    match cause {
        MetadataCause::Disabled => "disabled",
        MetadataCause::HopLimit => "hop_limit",
        MetadataCause::Refused => "refused",
        MetadataCause::Timeout => "timeout",
        MetadataCause::Status => "status",
        MetadataCause::Body => "body",
    }
}

pub(super) const fn change_reason(reason: &NoticeChange) -> &'static str {
    match reason {
        NoticeChange::UnknownAction(_) => "unknown_action",
        NoticeChange::BadTime => "bad_time",
        NoticeChange::Tightened => "tightened",
        NoticeChange::Withdrawn => "withdrawn",
    }
}

pub(super) const fn stop_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Asked => "asked",
        StopReason::Drained => "drained",
        StopReason::Deadline => "deadline",
    }
}

pub(super) const fn block_reason(reason: BlockReason) -> &'static str {
    match reason {
        BlockReason::Budget => "budget",
        BlockReason::TwoBudgets => "two_budgets",
        BlockReason::Unacknowledged => "unacknowledged",
        BlockReason::Forbidden => "forbidden",
    }
}

pub(super) const fn delete_reason(reason: DeleteReason) -> &'static str {
    match reason {
        DeleteReason::Deadline => "deadline",
        DeleteReason::NamespaceTerminating => "namespace_terminating",
    }
}

/// In the order of the command line's documentation, with commas between.
pub(super) fn discover_words(places: &BTreeSet<Discover>) -> String {
    if places.is_empty() {
        return "none".to_owned();
    }
    let words: Vec<&str> = places.iter().map(|place| place.as_str()).collect();
    words.join(",")
}

pub(super) const fn source_name(source: Source) -> &'static str {
    match source {
        Source::Arn => "arn",
        Source::Binding => "binding",
        Source::Tag => "tag",
    }
}

pub(super) const fn skip_reason(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::DryRun => "dry_run",
        SkipReason::OtherAccount => "other_account",
    }
}

pub(super) const fn target_error(kind: TargetErrorKind) -> &'static str {
    match kind {
        TargetErrorKind::Denied => "denied",
        TargetErrorKind::Throttled => "throttled",
        TargetErrorKind::Unreachable => "unreachable",
        TargetErrorKind::BadArn => "bad_arn",
        TargetErrorKind::ExpiredToken => "expired_token",
    }
}

pub(super) fn outcome(summary: &Summary) -> &'static str {
    if summary.pods.is_complete() {
        "completed"
    } else {
        "incomplete"
    }
}

pub(super) const fn state_name(state: AgentState) -> &'static str {
    match state {
        AgentState::Idle => "idle",
        AgentState::Draining => "draining",
        AgentState::After => "after",
    }
}
