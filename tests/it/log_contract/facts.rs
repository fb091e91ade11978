//! One of each fact, in every case and with and without what may be unknown.

use std::time::Duration;

use spot_interrupt_handler::plan::Policy;
use spot_interrupt_handler::plan::binding::NamespacedName;
use spot_interrupt_handler::plan::budget::Grace;
use spot_interrupt_handler::plan::fact::{
    AgentState, BlockReason, DeleteReason, DeregisteredState, Deregistrar, Fact, GoneOutcome,
    LeftReason, MetadataCause, NoticeChange, NoticeFact, PodFact, PodNews, Requests, Sighting,
    SkipReason, Source, StopReason, Summary, Tally, TargetErrorKind, TargetFact, TargetNews,
    TargetTally,
};
use spot_interrupt_handler::plan::id::{InstanceId, PodRef, PodUid, TargetGroupArn};
use spot_interrupt_handler::plan::notice::Origin;
use spot_interrupt_handler::plan::pod::{Owner, Wave};
use spot_interrupt_handler::plan::preflight::permissions_needed;
use spot_interrupt_handler::plan::time::WallTime;

const TIME: WallTime = WallTime::from_millis(1_800_000_120_000);
const ELAPSED: Duration = Duration::from_millis(1_234);

/// Facts that an agent may report before there is a notice, as well as afterwards.
pub fn of_the_agent() -> Vec<Fact> {
    let error = || "listing the pods: the connection was lost".to_owned();
    let mut facts = vec![
        Fact::MetadataOverridden {
            endpoint: "http://127.0.0.1:1338".to_owned(),
        },
        Fact::NotSpot {
            life_cycle: "on-demand".to_owned(),
        },
        Fact::MetadataRecovered {
            failures: 3,
            since: ELAPSED,
        },
        Fact::ApiUnreachable {
            since: ELAPSED,
            error: error(),
        },
        Fact::ApiRecovered { since: ELAPSED },
        Fact::PreflightPassed,
    ];
    let needed = permissions_needed(&Policy::default());
    let forbidden = || Some("not even to ask".to_owned());
    facts.extend(
        [
            (needed.clone(), None),
            (needed, forbidden()),
            (Vec::new(), forbidden()),
        ]
        .map(|(missing, reason)| Fact::PreflightFailed { missing, reason }),
    );
    facts.extend([Origin::Begun, Origin::Resumed].map(|origin| Fact::Started { origin }));
    let states = [AgentState::Idle, AgentState::Draining, AgentState::After];
    facts.extend(states.map(|state| Fact::Heartbeat {
        state,
        polls: 12,
        failures: 3,
        consecutive_failures: 0,
    }));
    let reasons = [StopReason::Asked, StopReason::Drained, StopReason::Deadline];
    facts.extend(reasons.map(|reason| Fact::Stopping { reason }));
    let causes = [
        MetadataCause::Disabled,
        MetadataCause::HopLimit,
        MetadataCause::Refused,
        MetadataCause::Timeout,
        MetadataCause::Status,
        MetadataCause::Body,
    ];
    facts.extend(causes.map(|cause| Fact::MetadataUnreachable {
        consecutive_failures: 3,
        since: ELAPSED,
        cause,
        http_status: (cause == MetadataCause::Disabled).then_some(403),
        error: error(),
    }));
    facts.extend(["{\"v\":2}", ""].map(|found| Fact::AnnotationUnknown {
        found: found.to_owned(),
    }));
    facts.extend(findings());
    facts
}

/// Facts that belong to an interruption.
pub fn of_an_interruption() -> Vec<Fact> {
    [notices(), node(), pods(), targets(), verdicts()].concat()
}

fn notices() -> Vec<Fact> {
    let known = NoticeFact {
        notice_time: Some(TIME),
        remaining: Duration::from_secs(117),
        clock_skew_seconds: Some(-3.25),
    };
    let unknown = NoticeFact {
        notice_time: None,
        clock_skew_seconds: None,
        ..known.clone()
    };
    let mut facts = Vec::new();
    for notice in [known, unknown] {
        facts.push(Fact::InterruptionNoticed(notice.clone()));
        facts.push(Fact::InterruptionResumed(notice));
    }
    let changes = [
        NoticeChange::UnknownAction("rest".to_owned()),
        NoticeChange::BadTime,
        NoticeChange::Tightened,
        NoticeChange::Withdrawn,
    ];
    for notice_time in [Some(TIME), None] {
        facts.extend(
            changes
                .iter()
                .cloned()
                .map(|reason| Fact::InterruptionChanged {
                    reason,
                    notice_time,
                }),
        );
    }
    facts
}

fn node() -> Vec<Fact> {
    let mut facts = vec![
        Fact::NodeCordoned {
            cordoned_by_us: true,
            already_cordoned: false,
            label_set: true,
            elapsed: ELAPSED,
        },
        Fact::NodeUncordoned {
            cordoned_by_us: true,
            already_cordoned: false,
            label_set: true,
            elapsed: ELAPSED,
        },
        Fact::NodeUncordoned {
            cordoned_by_us: false,
            already_cordoned: true,
            label_set: false,
            elapsed: ELAPSED,
        },
    ];
    facts.extend([Some(409), None].map(|http_status| Fact::CordonFailed {
        attempt: 1,
        http_status,
        error: "patching the node: conflict".to_owned(),
    }));
    facts.extend([Some(403), None].map(|http_status| Fact::UncordonFailed {
        attempt: 2,
        http_status,
        error: "patching the node: forbidden".to_owned(),
    }));
    facts
}

fn pods() -> Vec<Fact> {
    let owned = PodFact {
        pod: PodRef {
            namespace: "shop".to_owned(),
            name: "cart-0".to_owned(),
            uid: PodUid::new("7c4f7a4e-0000-4000-8000-000000000000"),
        },
        owner: Some(Owner {
            kind: "StatefulSet".to_owned(),
            name: "cart".to_owned(),
        }),
        grace: Grace::from_secs(60),
        elapsed: ELAPSED,
    };
    let alone = PodFact {
        owner: None,
        ..owned.clone()
    };
    let mut news: Vec<PodNews> = [Wave::Ordinary, Wave::Critical]
        .map(|wave| PodNews::Evicted {
            attempts: 1,
            grace_given: Grace::from_secs(42),
            wave,
        })
        .to_vec();
    let blocks = [
        BlockReason::Budget,
        BlockReason::TwoBudgets,
        BlockReason::Unacknowledged,
        BlockReason::Forbidden,
    ];
    for delete_in in [Some(83.2), None] {
        news.extend(blocks.map(|reason| PodNews::Blocked {
            reason,
            attempts: 2,
            delete_in,
        }));
    }
    let deletions = [DeleteReason::Deadline, DeleteReason::NamespaceTerminating];
    news.extend(deletions.map(|reason| PodNews::Deleted {
        reason,
        attempts: 7,
        grace_given: Grace::from_secs(42),
    }));
    let outcomes = [GoneOutcome::Gone, GoneOutcome::Cut];
    news.extend(outcomes.map(|outcome| PodNews::Gone {
        outcome,
        stopped_after: ELAPSED,
    }));
    let reasons = [
        LeftReason::Wait,
        LeftReason::Forbidden,
        LeftReason::Unreachable,
    ];
    for error in [Some("evicting the pod: no".to_owned()), None] {
        news.extend(reasons.map(|reason| PodNews::Left {
            reason,
            error: error.clone(),
        }));
    }
    let of_both = |news: PodNews| [&owned, &alone].map(|pod| Fact::Pod(pod.clone(), news.clone()));
    news.into_iter().flat_map(of_both).collect()
}

fn targets() -> Vec<Fact> {
    let mut news = Vec::new();
    let states = [
        DeregisteredState::Draining,
        DeregisteredState::NotRegistered,
        DeregisteredState::GroupGone,
    ];
    for by in [Deregistrar::Us, Deregistrar::Controller, Deregistrar::Other] {
        news.extend(states.map(|state| TargetNews::Deregistered {
            state,
            by,
            attempts: 1,
            elapsed: ELAPSED,
        }));
    }
    let kinds = [
        TargetErrorKind::Denied,
        TargetErrorKind::Throttled,
        TargetErrorKind::Unreachable,
        TargetErrorKind::BadArn,
        TargetErrorKind::ExpiredToken,
    ];
    news.extend(kinds.map(|kind| TargetNews::Failed {
        kind,
        error: "deregistering: no".to_owned(),
        attempts: 3,
    }));
    news.push(TargetNews::Settled);
    news.push(TargetNews::Reregistered { count: 2 });
    of_every_target(&news)
}

/// What is found out about target groups at any time.
fn findings() -> Vec<Fact> {
    let news = [
        TargetNews::Resolved,
        TargetNews::Skipped(SkipReason::DryRun),
        TargetNews::Skipped(SkipReason::OtherAccount),
    ];
    let mut facts = of_every_target(&news);
    facts.extend(
        [Source::Binding, Source::Tag].map(|source| Fact::TargetsUnresolved {
            source,
            error: "the API server answered HTTP 403: no".to_owned(),
        }),
    );
    facts.push(Fact::NodeMismatch {
        expected: InstanceId::new("i-0123456789abcdef0"),
        found: InstanceId::new("i-0fedcba9876543210"),
    });
    facts
}

/// These news of targets that are known in every way, with and without a port.
fn of_every_target(news: &[TargetNews]) -> Vec<Fact> {
    let arn =
        "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/73e2d6bc24d8a067";
    let binding = NamespacedName {
        namespace: "shop".to_owned(),
        name: "k8s-shop-web".to_owned(),
    };
    let mut facts = Vec::new();
    for news in news {
        for port in [Some(30_443), None] {
            for (source, binding) in [
                (Source::Arn, None),
                (Source::Binding, Some(binding.clone())),
                (Source::Tag, None),
            ] {
                let target = TargetFact {
                    group: TargetGroupArn::parse(arn).expect("an ARN"),
                    port,
                    source,
                    binding,
                };
                facts.push(Fact::Target(target, news.clone()));
            }
        }
    }
    facts
}

fn verdicts() -> Vec<Fact> {
    let complete = Tally {
        gone: 3,
        stopping: 1,
        cut: 1,
        left: 0,
        blocked: 2,
        deleted: 1,
        ignored: 4,
        sighting: Sighting::Listed,
    };
    let left = Tally {
        left: 2,
        ..complete
    };
    let unseen = Tally {
        sighting: Sighting::Never,
        ..Tally::default()
    };
    let mut facts = vec![
        Fact::DrainSpread {
            listed_in: ELAPSED,
            over: ELAPSED,
        },
        Fact::DrainProgress {
            pods_gone: 3,
            pods_total: 5,
        },
    ];
    for pods in [complete, left, unseen] {
        facts.push(Fact::Verdict(pods, ELAPSED));
        for after in [Some(ELAPSED), None] {
            facts.push(Fact::Summary(Box::new(summary(pods, after))));
        }
    }
    facts
}

fn summary(pods: Tally, after: Option<Duration>) -> Summary {
    Summary {
        pods,
        targets: TargetTally {
            draining: 2,
            gone: 1,
            failed: 1,
            pending: 0,
            reregistered: 2,
        },
        requests: Requests {
            api: 14,
            api_429: 3,
            elb: 6,
            imds: 8,
        },
        grace_given_seconds: 210,
        grace_cut_seconds: 18,
        cordoned_after: after,
        last_eviction_after: after,
        last_target_after: after,
        all_gone_after: after,
        duration: ELAPSED,
    }
}
