//! Names and sentences that people and other programs read.

use crate::plan::action::{Failure, FailureKind, NodeEventKind};
use crate::plan::fact::{Sighting, Tally};
use crate::plan::id::{NotATargetGroupArn, TargetGroupArn};
use crate::plan::notice::InterruptionAction;
use crate::plan::time::Moment;

#[test]
fn an_action_has_the_name_that_ec2_gives_it_both_ways() {
    for (action, name) in [
        (InterruptionAction::Terminate, "terminate"),
        (InterruptionAction::Stop, "stop"),
        (InterruptionAction::Hibernate, "hibernate"),
    ] {
        assert_eq!(InterruptionAction::named(name), Some(action));
        assert_eq!(action.to_string(), name);
    }
    assert_eq!(InterruptionAction::named("rebalance"), None);
}

#[test]
fn an_event_has_a_reason_and_warns_unless_it_is_good() {
    for (kind, reason, severity) in [
        (
            NodeEventKind::SpotInterruption,
            "SpotInterruption",
            "Warning",
        ),
        (
            NodeEventKind::SpotDrainCompleted,
            "SpotDrainCompleted",
            "Normal",
        ),
        (
            NodeEventKind::SpotDrainIncomplete,
            "SpotDrainIncomplete",
            "Warning",
        ),
        (
            NodeEventKind::TargetDeregistrationFailed,
            "TargetDeregistrationFailed",
            "Warning",
        ),
    ] {
        assert_eq!((kind.reason(), kind.severity()), (reason, severity));
    }
}

#[test]
fn an_arn_is_shown_as_it_was_written_and_what_is_none_is_told_the_form() {
    let text = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123";
    let arn = TargetGroupArn::parse(text).expect("a well-formed ARN");
    assert_eq!(arn.to_string(), text);
    assert_eq!(
        NotATargetGroupArn.to_string(),
        "not of the form arn:PARTITION:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID"
    );
}

#[test]
fn a_failure_is_shown_by_its_text() {
    let failure = Failure {
        kind: FailureKind::Lost,
        http_status: None,
        text: "connection reset by peer".to_owned(),
    };
    assert_eq!(failure.to_string(), "connection reset by peer");
}

#[test]
fn a_moment_is_shown_in_milliseconds_since_the_start() {
    let moment = Moment::at_secs(12) + std::time::Duration::from_micros(345_600);
    assert_eq!(moment.to_string(), "12.346s");
    assert_eq!(moment.since_origin().as_micros(), 12_345_600);
    assert_eq!(Moment::at_secs(-1).since_origin().as_micros(), 0);
}

#[test]
fn a_tally_sums_the_pods_that_were_to_go_and_is_complete_without_a_left_one() {
    let tally = Tally {
        gone: 2,
        stopping: 3,
        cut: 5,
        left: 7,
        blocked: 100,
        deleted: 100,
        ignored: 100,
        sighting: Sighting::Listed,
    };
    assert_eq!(tally.total(), 17);
    assert!(!tally.is_complete());
    let without_left = Tally { left: 0, ..tally };
    assert!(without_left.is_complete());
    let unseen = Tally {
        sighting: Sighting::Never,
        ..without_left
    };
    assert!(!unseen.is_complete());
}
