//! The fields of each fact's line.

use serde_json::{Value, json};

use super::line::rfc3339;
use super::names::{
    block_reason, change_reason, delete_reason, deregistered_state, deregistrar, discover_words,
    gone_outcome, left_reason, metadata_cause, outcome, skip_reason, source_name, state_name,
    stop_reason, target_error, wave_number,
};
use super::{Configuration, Standing, rounded, seconds};
use crate::plan::Effect;
use crate::plan::fact::{
    Fact, NoticeFact, PodFact, PodNews, Summary, Tally, TargetFact, TargetNews,
};
use crate::plan::notice::Origin;

type Fields = Vec<(&'static str, Value)>;

/// The event's own fields.
#[allow(clippy::too_many_lines)] // one arm per event of a closed list
pub(super) fn of(fact: &Fact, standing: &Standing<'_>, configuration: &Configuration) -> Fields {
    let resumed = json!(standing.is_resumed);
    match fact {
        Fact::Started { origin } => vec![
            ("mode", json!(configuration.mode.as_str())),
            ("dry_run", json!(configuration.effect == Effect::Rehearsed)),
            (
                "poll_interval_seconds",
                rounded(configuration.poll_interval_seconds),
            ),
            ("imds_endpoint", json!(configuration.imds_endpoint)),
            ("discover", json!(discover_words(&configuration.discover))),
            ("target_groups", json!(configuration.target_groups)),
            ("resumed", json!(*origin == Origin::Resumed)),
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
        Fact::PreflightPassed => Vec::new(),
        Fact::PreflightFailed { missing, reason } => {
            let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
            let list = Some(names).filter(|names| !names.is_empty());
            with(
                with(Vec::new(), "missing", list),
                "reason",
                reason.as_deref(),
            )
        }
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
        // An annotation may well be empty; a field is not.
        Fact::AnnotationUnknown { found } => {
            let found = Some(found.as_str()).filter(|found| !found.is_empty());
            with(Vec::new(), "found", found)
        }
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
        }
        | Fact::NodeUncordoned {
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
        }
        | Fact::UncordonFailed {
            attempt,
            http_status,
            error,
        } => with(
            vec![("attempt", json!(attempt)), ("error", json!(error))],
            "http_status",
            *http_status,
        ),
        Fact::Pod(pod, news) => pod_fields(pod, news, standing),
        Fact::Target(target, news) => target_fields(target, news),
        Fact::TargetsUnresolved { source, error } => vec![
            ("source", json!(source_name(*source))),
            ("reason", json!(error)),
        ],
        Fact::NodeMismatch { expected, found } => vec![
            ("expected", json!(expected.as_str())),
            ("found", json!(found.as_str())),
        ],
        Fact::DrainSpread { listed_in, over } => vec![
            ("list_seconds", seconds(*listed_in)),
            ("over_seconds", seconds(*over)),
        ],
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
            let mut fields = summary_fields(summary, configuration);
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

fn pod_fields(pod: &PodFact, news: &PodNews, standing: &Standing<'_>) -> Fields {
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
            wave,
        } => fields.extend([
            ("attempts", json!(attempts)),
            ("grace_given_seconds", json!(grace_given.as_secs())),
            ("wave", json!(wave_number(*wave))),
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
            // On the scale of the line's own `seconds_left`, so that the two can be compared.
            let left = standing.interruption.as_ref().map(|it| it.seconds_left);
            let delete_at = left.zip(*delete_in).map(|(left, after)| left - after);
            fields = with(fields, "delete_at_seconds_left", delete_at.map(rounded));
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
        ("source", json!(source_name(target.source))),
    ];
    let fields = with(fields, "target_port", target.port);
    let binding = target.binding.as_ref().map(ToString::to_string);
    let mut fields = with(fields, "binding", binding);
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
        TargetNews::Resolved | TargetNews::Settled => {}
        TargetNews::Reregistered { count } => fields.push(("count", json!(count))),
        TargetNews::Skipped(reason) => fields.push(("reason", json!(skip_reason(*reason)))),
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

fn summary_fields(summary: &Summary, configuration: &Configuration) -> Fields {
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
        ("targets_reregistered", json!(targets.reregistered)),
        ("grace_given_seconds", json!(summary.grace_given_seconds)),
        ("grace_cut_seconds", json!(summary.grace_cut_seconds)),
        ("api_requests", json!(summary.requests.api)),
        ("api_429", json!(summary.requests.api_429)),
        ("elb_requests", json!(summary.requests.elb)),
        ("imds_requests", json!(summary.requests.imds)),
        ("duration_seconds", seconds(summary.duration)),
        ("outcome", json!(outcome(summary))),
        ("mode", json!(configuration.mode.as_str())),
        ("dry_run", json!(configuration.effect == Effect::Rehearsed)),
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
