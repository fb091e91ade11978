//! What each fact is called, how loud it is, and what it says to people.

use super::Level;
use super::names::outcome;
use crate::plan::fact::{
    Fact, GoneOutcome, MetadataCause, NoticeChange, PodFact, PodNews, Sighting, SkipReason,
    Summary, TargetFact, TargetNews,
};
use crate::plan::preflight::Permission;

/// The event's name, its level, and a sentence.
#[allow(clippy::too_many_lines)] // one arm per event of a closed list
pub(super) fn of(fact: &Fact) -> (&'static str, Level, String) {
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
        Fact::PreflightPassed => (
            "preflight.passed",
            Info,
            "every permission is there".to_owned(),
        ),
        Fact::PreflightFailed { missing, .. } => ("preflight.failed", Warn, missing_text(missing)),
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
        Fact::NodeUncordoned {
            already_cordoned, ..
        } => (
            "node.uncordoned",
            Info,
            if *already_cordoned {
                "what was ours on the node is undone; it stays cordoned".to_owned()
            } else {
                "the node takes new pods again".to_owned()
            },
        ),
        Fact::CordonFailed { .. } => (
            "node.cordon_failed",
            Warn,
            "the node could not be cordoned yet; the drain goes on".to_owned(),
        ),
        Fact::UncordonFailed { .. } => (
            "node.uncordon_failed",
            Warn,
            "what was ours on the node could not be undone yet; it stays out of service".to_owned(),
        ),
        Fact::Pod(pod, news) => pod_headline(pod, news),
        Fact::NodeMismatch { expected, found } => (
            "node.mismatch",
            Error,
            format!(
                "the Node is {found}, but this machine is {expected}: no target group is touched"
            ),
        ),
        Fact::Target(target, news) => target_headline(target, news),
        Fact::TargetsUnresolved { .. } => (
            "targets.warned",
            Warn,
            "target groups could not be looked for".to_owned(),
        ),
        Fact::DrainSpread { .. } => (
            "drain.spread",
            Info,
            "the API server has others to serve: evictions that can wait are spread".to_owned(),
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
        Fact::Verdict(tally, _) if tally.sighting == Sighting::Never => (
            "drain.incomplete",
            Error,
            "the API server did not say which pods are here: none got a stop signal".to_owned(),
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

fn missing_text(missing: &[Permission]) -> String {
    if missing.is_empty() {
        return "nobody says which permissions are there".to_owned();
    }
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
    format!("permissions are missing: {}", names.join(", "))
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

fn target_headline(target: &TargetFact, news: &TargetNews) -> (&'static str, Level, String) {
    use Level::{Error, Info, Warn};
    let group = group_name(target);
    match news {
        TargetNews::Resolved => (
            "targets.resolved",
            Info,
            format!("{group} is to let go of this node when it is interrupted"),
        ),
        TargetNews::Deregistered { .. } => (
            "targets.deregistered",
            Info,
            format!("{group} sends no new requests here"),
        ),
        TargetNews::Settled => (
            "targets.settled",
            Info,
            format!("{group} has nothing under way to this node any more: its pods may stop"),
        ),
        TargetNews::Reregistered { .. } => (
            "targets.reregistered",
            Warn,
            format!("somebody registered this node in {group} again"),
        ),
        TargetNews::Skipped(SkipReason::DryRun) => (
            "targets.skipped",
            Info,
            format!("{group} would be deregistered"),
        ),
        TargetNews::Skipped(SkipReason::OtherAccount) => (
            "targets.skipped",
            Info,
            format!("{group} is another account's, and left to its controller"),
        ),
        TargetNews::Failed { .. } => (
            "targets.deregister_failed",
            Error,
            format!("{group} may still send requests here"),
        ),
    }
}

fn group_name(target: &TargetFact) -> String {
    let group = target.group.as_str().split('/').nth(1).unwrap_or_default();
    match target.port {
        Some(port) => format!("target group {group} (port {port})"),
        None => format!("target group {group}"),
    }
}

/// What a cause means, in words.
#[must_use]
pub const fn metadata_advice(cause: MetadataCause) -> &'static str {
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
