//! What each fact is called, how loud it is, what it says to people, and its fields.

use serde_json::{Value, json};

use super::line::rfc3339;
use super::{Configuration, Level, Standing, rounded, seconds, state_name};
use crate::plan::fact::{
    BlockReason, DeleteReason, DeregisteredState, Deregistrar, Fact, GoneOutcome, LeftReason,
    MetadataCause, NoticeChange, NoticeFact, PodFact, PodNews, StopReason, Summary, Tally,
    TargetErrorKind, TargetFact, TargetNews,
};

type Fields = Vec<(&'static str, Value)>;

/// The event's name, its level, and a sentence.
#[allow(clippy::too_many_lines)] // one arm per event of a closed list
pub(super) fn headline(fact: &Fact) -> (&'static str, Level, String) {
    use Level::{Error, Info, Warn};
    let (event, level, msg) = match fact {
        Fact::Started { .. } => (
            "agent.started",
            Info,
            "watching for a spot interruption notice".to_owned(),
        ),
        Fact::MetadataOverridden { endpoint } => (
            "imds.overridden",
            Warn,
            format!("the metadata service is not EC2's own: {endpoint}"),
        ),
        Fact::Heartbeat { .. } => ("agent.heartbeat", Info, "alive".to_owned()),
        Fact::NotSpot { life_cycle } => (
            "agent.not_spot",
            Warn,
            format!("this instance is {life_cycle}, not spot: it will get no notice"),
        ),
        Fact::Stopping { .. } => ("agent.stopping", Info, "stopping as asked".to_owned()),
        Fact::MetadataUnreachable { cause, .. } => {
            ("imds.unreachable", Warn, metadata_advice(*cause).to_owned())
        }
        Fact::MetadataRecovered { .. } => (
            "imds.recovered",
            Info,
            "the metadata service can be read again".to_owned(),
        ),
        Fact::ApiUnreachable { .. } => (
            "api.unreachable",
            Warn,
            "the API server does not answer".to_owned(),
        ),
        Fact::ApiRecovered { .. } => (
            "api.recovered",
            Info,
            "the API server answers again".to_owned(),
        ),
        Fact::AnnotationUnknown { .. } => (
            "node.annotation_unknown",
            Warn,
            "the node's annotation is not of this version and is left alone".to_owned(),
        ),
        Fact::InterruptionNoticed(notice) => (
            "interruption.notice",
            Info,
            format!(
                "EC2 takes this node in {:.0} s",
                notice.remaining.as_secs_f64()
            ),
        ),
        Fact::InterruptionResumed(notice) => (
            "interruption.resumed",
            Info,
            format!(
                "carrying on an interruption that an earlier process began; {:.0} s are left",
                notice.remaining.as_secs_f64()
            ),
        ),
        Fact::InterruptionChanged { reason, .. } => {
            ("interruption.changed", Warn, change_text(reason))
        }
        Fact::NodeCordoned { .. } => (
            "node.cordoned",
            Info,
            "the node takes no new pods".to_owned(),
        ),
        Fact::CordonFailed { .. } => (
            "node.cordon_failed",
            Warn,
            "the node could not be cordoned yet; the drain goes on".to_owned(),
        ),
        Fact::Pod(pod, news) => pod_headline(pod, news),
        Fact::Target(target, TargetNews::Deregistered { .. }) => (
            "targets.deregistered",
            Info,
            format!("{} sends no new requests here", group_name(target)),
        ),
        Fact::Target(target, TargetNews::Failed { .. }) => (
            "targets.deregister_failed",
            Error,
            format!("{} may still send requests here", group_name(target)),
        ),
        Fact::DrainProgress {
            pods_gone,
            pods_total,
        } => (
            "drain.progress",
            Info,
            format!("{pods_gone} of {pods_total} pods are gone"),
        ),
        Fact::Verdict(tally, _) if tally.is_complete() => (
            "drain.completed",
            Info,
            format!("all {} pods got their stop signal", tally.total()),
        ),
        Fact::Verdict(tally, _) => (
            "drain.incomplete",
            Error,
            format!(
                "{} of {} pods got no stop signal",
                tally.left,
                tally.total()
            ),
        ),
        Fact::Summary(summary) => ("interruption.summary", Info, summary_text(summary)),
    };
    (event, level, msg)
}

fn pod_headline(pod: &PodFact, news: &PodNews) -> (&'static str, Level, String) {
    use Level::{Info, Warn};
    let name = format!("{}/{}", pod.pod.namespace, pod.pod.name);
    match news {
        PodNews::Evicted { .. } => ("pod.evicted", Info, format!("{name} is stopping")),
        PodNews::Blocked {
            delete_in: Some(left),
            ..
        } => (
            "pod.blocked",
            Info,
            format!("{name} may not be evicted yet; deleted in {left:.0} s at the latest"),
        ),
        PodNews::Blocked {
            delete_in: None, ..
        } => (
            "pod.blocked",
            Info,
            format!("{name} may not be evicted yet"),
        ),
        PodNews::Deleted { .. } => (
            "pod.deleted",
            Info,
            format!("{name} was deleted: evicting it was not possible"),
        ),
        PodNews::Gone {
            outcome: GoneOutcome::Gone,
            ..
        } => ("pod.gone", Info, format!("{name} has stopped")),
        PodNews::Gone {
            outcome: GoneOutcome::Cut,
            ..
        } => (
            "pod.gone",
            Info,
            format!("{name} was stopped before its own grace period ended"),
        ),
        PodNews::Left { .. } => ("pod.left", Warn, format!("{name} got no stop signal")),
    }
}

/// The event's own fields.
#[allow(clippy::too_many_lines)] // one arm per event of a closed list
pub(super) fn of(fact: &Fact, standing: &Standing<'_>, configuration: &Configuration) -> Fields {
    let resumed = json!(standing.is_resumed);
    match fact {
        Fact::Started { origin } => vec![
            ("mode", json!("full")),
            ("dry_run", json!(false)),
            (
                "poll_interval_seconds",
                rounded(configuration.poll_interval_seconds),
            ),
            ("imds_endpoint", json!(configuration.imds_endpoint)),
            ("target_groups", json!(configuration.target_groups)),
            (
                "resumed",
                json!(*origin == crate::plan::notice::Origin::Resumed),
            ),
        ],
        Fact::MetadataOverridden { endpoint } => vec![("imds_endpoint", json!(endpoint))],
        Fact::Heartbeat {
            state,
            polls,
            failures,
            consecutive_failures,
        } => vec![
            ("state", json!(state_name(*state))),
            ("polls", json!(polls)),
            ("failures", json!(failures)),
            ("consecutive_failures", json!(consecutive_failures)),
        ],
        Fact::NotSpot { life_cycle } => vec![("life_cycle", json!(life_cycle))],
        Fact::Stopping { reason } => vec![("reason", json!(stop_reason(*reason)))],
        Fact::MetadataUnreachable {
            consecutive_failures,
            since,
            cause,
            http_status,
            error,
        } => with(
            vec![
                ("consecutive_failures", json!(consecutive_failures)),
                ("since_seconds", seconds(*since)),
                ("cause", json!(metadata_cause(*cause))),
                ("error", json!(error)),
            ],
            "http_status",
            *http_status,
        ),
        Fact::MetadataRecovered { failures, since } => {
            vec![
                ("failures", json!(failures)),
                ("since_seconds", seconds(*since)),
            ]
        }
        Fact::ApiUnreachable { since, error } => {
            vec![("since_seconds", seconds(*since)), ("error", json!(error))]
        }
        Fact::ApiRecovered { since } => vec![("since_seconds", seconds(*since))],
        Fact::AnnotationUnknown { found } => vec![("found", json!(found))],
        Fact::InterruptionNoticed(notice) | Fact::InterruptionResumed(notice) => {
            notice_fields(notice)
        }
        Fact::InterruptionChanged {
            reason,
            notice_time,
        } => with(
            vec![("reason", json!(change_reason(reason)))],
            "notice_time",
            notice_time.map(rfc3339),
        ),
        Fact::NodeCordoned {
            cordoned_by_us,
            already_cordoned,
            label_set,
            elapsed,
        } => vec![
            ("cordoned_by_us", json!(cordoned_by_us)),
            ("already_cordoned", json!(already_cordoned)),
            ("label_set", json!(label_set)),
            ("elapsed_seconds", seconds(*elapsed)),
        ],
        Fact::CordonFailed {
            attempt,
            http_status,
            error,
        } => with(
            vec![("attempt", json!(attempt)), ("error", json!(error))],
            "http_status",
            *http_status,
        ),
        Fact::Pod(pod, news) => pod_fields(pod, news),
        Fact::Target(target, news) => target_fields(target, news),
        Fact::DrainProgress {
            pods_gone,
            pods_total,
        } => {
            vec![
                ("pods_gone", json!(pods_gone)),
                ("pods_total", json!(pods_total)),
            ]
        }
        Fact::Verdict(tally, duration) => {
            let mut fields = tally_fields(tally);
            fields.push(("duration_seconds", seconds(*duration)));
            fields.push(("resumed", resumed));
            fields
        }
        Fact::Summary(summary) => {
            let mut fields = summary_fields(summary);
            fields.push(("resumed", resumed));
            fields
        }
    }
}

fn notice_fields(notice: &NoticeFact) -> Fields {
    let fields = vec![("remaining_seconds", seconds(notice.remaining))];
    let fields = with(fields, "notice_time", notice.notice_time.map(rfc3339));
    with(
        fields,
        "clock_skew_seconds",
        notice.clock_skew_seconds.map(rounded),
    )
}

fn pod_fields(pod: &PodFact, news: &PodNews) -> Fields {
    let mut fields = vec![
        ("namespace", json!(pod.pod.namespace)),
        ("pod", json!(pod.pod.name)),
        ("uid", json!(pod.pod.uid.as_str())),
    ];
    if let Some(owner) = &pod.owner {
        fields.push(("owner_kind", json!(owner.kind)));
        fields.push(("owner", json!(owner.name)));
    }
    fields.push(("grace_seconds", json!(pod.grace.as_secs())));
    fields.push(("elapsed_seconds", seconds(pod.elapsed)));
    match news {
        PodNews::Evicted {
            attempts,
            grace_given,
        } => fields.extend([
            ("attempts", json!(attempts)),
            ("grace_given_seconds", json!(grace_given.as_secs())),
            ("wave", json!(1)),
            ("capped", json!(*grace_given < pod.grace)),
        ]),
        PodNews::Blocked {
            reason,
            attempts,
            delete_in,
        } => {
            fields.extend([
                ("reason", json!(block_reason(*reason))),
                ("attempts", json!(attempts)),
            ]);
            fields = with(fields, "delete_at_seconds_left", delete_in.map(rounded));
        }
        PodNews::Deleted {
            reason,
            attempts,
            grace_given,
        } => fields.extend([
            ("reason", json!(delete_reason(*reason))),
            ("attempts", json!(attempts)),
            ("grace_given_seconds", json!(grace_given.as_secs())),
        ]),
        PodNews::Gone {
            outcome,
            stopped_after,
        } => fields.extend([
            ("outcome", json!(gone_outcome(*outcome))),
            ("stopped_after_seconds", seconds(*stopped_after)),
        ]),
        PodNews::Left { reason, error } => {
            fields.push(("reason", json!(left_reason(*reason))));
            fields = with(fields, "error", error.as_deref());
        }
    }
    fields
}

fn target_fields(target: &TargetFact, news: &TargetNews) -> Fields {
    let fields = vec![
        ("target_group_arn", json!(target.group.as_str())),
        ("source", json!("arn")),
    ];
    let mut fields = with(fields, "target_port", target.port);
    match news {
        TargetNews::Deregistered {
            state,
            by,
            attempts,
            elapsed,
        } => fields.extend([
            ("state", json!(deregistered_state(*state))),
            ("by", json!(deregistrar(*by))),
            ("attempts", json!(attempts)),
            ("elapsed_seconds", seconds(*elapsed)),
        ]),
        TargetNews::Failed {
            kind,
            error,
            attempts,
        } => fields.extend([
            ("error_kind", json!(target_error(*kind))),
            ("error", json!(error)),
            ("attempts", json!(attempts)),
        ]),
    }
    fields
}

const fn gone_outcome(outcome: GoneOutcome) -> &'static str {
    match outcome {
        GoneOutcome::Gone => "gone",
        GoneOutcome::Cut => "cut",
    }
}

const fn left_reason(reason: LeftReason) -> &'static str {
    match reason {
        LeftReason::Wait => "wait",
        LeftReason::Forbidden => "forbidden",
        LeftReason::Unreachable => "unreachable",
    }
}

const fn deregistered_state(state: DeregisteredState) -> &'static str {
    match state {
        DeregisteredState::Draining => "draining",
        DeregisteredState::NotRegistered => "not_registered",
        DeregisteredState::GroupGone => "group_gone",
    }
}

const fn deregistrar(by: Deregistrar) -> &'static str {
    match by {
        Deregistrar::Us => "us",
        Deregistrar::Other => "other",
    }
}

fn tally_fields(tally: &Tally) -> Fields {
    vec![
        ("pods_total", json!(tally.total())),
        ("pods_gone", json!(tally.gone)),
        ("pods_stopping", json!(tally.stopping)),
        ("pods_cut", json!(tally.cut)),
        ("pods_left", json!(tally.left)),
        ("pods_remaining", json!(tally.left)),
        ("pods_blocked", json!(tally.blocked)),
        ("pods_deleted", json!(tally.deleted)),
    ]
}

fn summary_fields(summary: &Summary) -> Fields {
    let targets = summary.targets;
    let mut fields = tally_fields(&summary.pods);
    fields.extend([
        ("pods_ignored", json!(summary.pods.ignored)),
        (
            "targets_total",
            json!(targets.draining + targets.gone + targets.failed + targets.pending),
        ),
        ("targets_draining", json!(targets.draining)),
        ("targets_gone", json!(targets.gone)),
        ("targets_failed", json!(targets.failed)),
        ("targets_reregistered", json!(0)),
        ("grace_given_seconds", json!(summary.grace_given_seconds)),
        ("grace_cut_seconds", json!(summary.grace_cut_seconds)),
        ("api_requests", json!(summary.requests.api)),
        ("api_429", json!(summary.requests.api_429)),
        ("elb_requests", json!(summary.requests.elb)),
        ("imds_requests", json!(summary.requests.imds)),
        ("duration_seconds", seconds(summary.duration)),
        ("outcome", json!(outcome(summary))),
        ("mode", json!("full")),
        ("dry_run", json!(false)),
    ]);
    for (name, after) in [
        ("cordoned_after_seconds", summary.cordoned_after),
        ("last_eviction_after_seconds", summary.last_eviction_after),
        ("last_target_after_seconds", summary.last_target_after),
        ("all_gone_after_seconds", summary.all_gone_after),
    ] {
        fields = with(fields, name, after.map(seconds));
    }
    fields
}

fn with<T: Into<Value>>(mut fields: Fields, name: &'static str, value: Option<T>) -> Fields {
    if let Some(value) = value {
        fields.push((name, value.into()));
    }
    fields
}

fn outcome(summary: &Summary) -> &'static str {
    if summary.pods.is_complete() {
        "completed"
    } else {
        "incomplete"
    }
}

fn summary_text(summary: &Summary) -> String {
    let pods = &summary.pods;
    format!(
        "{}: of {} pods {} gone, {} stopping, {} cut, {} left; of the targets {} draining, {} gone, {} failed",
        outcome(summary),
        pods.total(),
        pods.gone,
        pods.stopping,
        pods.cut,
        pods.left,
        summary.targets.draining,
        summary.targets.gone,
        summary.targets.failed
    )
}

fn group_name(target: &TargetFact) -> String {
    let group = target.group.as_str().split('/').nth(1).unwrap_or_default();
    match target.port {
        Some(port) => format!("target group {group} (port {port})"),
        None => format!("target group {group}"),
    }
}

const fn metadata_advice(cause: MetadataCause) -> &'static str {
    match cause {
        MetadataCause::Disabled => "the metadata service is switched off for this instance",
        MetadataCause::HopLimit => {
            "the metadata service gives no token: use the host network, or a hop limit of 2 for this instance"
        }
        MetadataCause::Refused => {
            "the metadata service refuses connections: a firewall may be in the way"
        }
        MetadataCause::Timeout => "the metadata service does not answer in time",
        MetadataCause::Status => "the metadata service answers with an unexpected status",
        MetadataCause::Body => "the metadata service answers something that cannot be read",
    }
}

const fn metadata_cause(cause: MetadataCause) -> &'static str {
    match cause {
        MetadataCause::Disabled => "disabled",
        MetadataCause::HopLimit => "hop_limit",
        MetadataCause::Refused => "refused",
        MetadataCause::Timeout => "timeout",
        MetadataCause::Status => "status",
        MetadataCause::Body => "body",
    }
}

fn change_text(reason: &NoticeChange) -> String {
    match reason {
        NoticeChange::UnknownAction(action) => {
            format!("the notice's action is {action:?}: planning for terminate")
        }
        NoticeChange::BadTime => "the notice says no readable time: planning for 100 s".to_owned(),
        NoticeChange::Tightened => "the notice now says an earlier time".to_owned(),
        NoticeChange::Withdrawn => "the notice has disappeared; the plan stands".to_owned(),
    }
}

const fn change_reason(reason: &NoticeChange) -> &'static str {
    match reason {
        NoticeChange::UnknownAction(_) => "unknown_action",
        NoticeChange::BadTime => "bad_time",
        NoticeChange::Tightened => "tightened",
        NoticeChange::Withdrawn => "withdrawn",
    }
}

const fn stop_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Asked => "asked",
        StopReason::Drained => "drained",
        StopReason::Deadline => "deadline",
    }
}

const fn block_reason(reason: BlockReason) -> &'static str {
    match reason {
        BlockReason::Budget => "budget",
        BlockReason::TwoBudgets => "two_budgets",
        BlockReason::Unacknowledged => "unacknowledged",
        BlockReason::Forbidden => "forbidden",
    }
}

const fn delete_reason(reason: DeleteReason) -> &'static str {
    match reason {
        DeleteReason::Deadline => "deadline",
        DeleteReason::NamespaceTerminating => "namespace_terminating",
    }
}

const fn target_error(kind: TargetErrorKind) -> &'static str {
    match kind {
        TargetErrorKind::Denied => "denied",
        TargetErrorKind::Throttled => "throttled",
        TargetErrorKind::Unreachable => "unreachable",
        TargetErrorKind::BadArn => "bad_arn",
        TargetErrorKind::ExpiredToken => "expired_token",
    }
}
