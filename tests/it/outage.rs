//! An API server that is away when the notice comes: what happens when it is back, to the tenth of a second, in virtual
//! time.

use std::time::Duration;

use spot_interrupt_handler::plan::drain::OnBlocked;
use spot_interrupt_handler::plan::id::PodUid;
use spot_interrupt_handler::plan::notice::InterruptionAction;
use spot_interrupt_handler::plan::time::Moment;
use spot_interrupt_handler::plan::{Effect, Mode};
use spot_interrupt_handler::sim::faults::{Spell, Trouble};
use spot_interrupt_handler::sim::journal::Service;
use spot_interrupt_handler::sim::metadata::ScheduledNotice;
use spot_interrupt_handler::sim::node::Node;
use spot_interrupt_handler::sim::pod::Pod;
use spot_interrupt_handler::sim::setting::Setting;
use spot_interrupt_handler::simulate::interruption::{Telling, play};

/// The agent's first poll sees the notice.
const NOTICED: Moment = Moment::ORIGIN;

/// A notice at the start, this many ordinary pods, a round trip of 20 ms, and nothing else.
fn setting(pods: usize) -> Setting {
    let seed = Setting::of(0);
    let pod = |index| {
        let uid = PodUid::new(format!("shop.web-{index}"));
        Pod::new("shop", &format!("web-{index}"), uid, seed.node_name())
    };
    Setting {
        seed: pods as u64,
        node: Node {
            unschedulable: false,
            ..seed.node.clone()
        },
        pods: (0..pods).map(pod).collect(),
        budgets: Vec::new(),
        groups: Vec::new(),
        notice: ScheduledNotice {
            appears: NOTICED,
            warning: Duration::from_secs(120),
            action: InterruptionAction::Terminate,
        },
        spells: Vec::new(),
        latency: Duration::from_millis(20),
        happenings: Vec::new(),
        skew_millis: 0,
        on_blocked: OnBlocked::Delete,
        mode: Mode::Full,
        effect: Effect::Real,
        ..seed
    }
}

/// How long after the end of this trouble the last pod was told to stop; all of them have to be.
fn late(pods: usize, from: Moment, until: Moment, trouble: Trouble) -> f64 {
    let setting = Setting {
        spells: vec![Spell {
            service: Service::Kubernetes,
            from,
            until,
            trouble,
            percent: 100,
        }],
        ..setting(pods)
    };
    let what = format!("{pods} pods, {trouble:?} from {from} until {until}");
    let ending = play(&setting, Telling::Dropped);
    assert_eq!(ending.violations, [], "{what}");
    assert_eq!(ending.outcome.as_deref(), Some("completed"), "{what}");
    let last = ending.last_signal_after.expect("a stop signal");
    (NOTICED + last).seconds_from(until)
}

#[test]
fn three_seconds_after_an_api_server_that_hung_or_was_full_is_back_every_pod_has_been_evicted() {
    let troubles = [
        Trouble::Throttled,
        Trouble::Silence,
        Trouble::Status(503),
        Trouble::LostRequest,
    ];
    let mut too_late = Vec::new();
    for trouble in troubles {
        for pods in [1, 2, 5, 30, 110, 250] {
            // From the start, and beginning when the pods have been listed and their evictions are on their way.
            for from in [Moment::ORIGIN, Moment::ORIGIN + Duration::from_millis(35)] {
                for seconds in [7, 13, 20] {
                    let late = late(pods, from, Moment::at_secs(seconds), trouble);
                    if late > 3.0 {
                        too_late.push(format!(
                            "{pods} pods, {trouble:?} from {from} to {seconds} s: {late:.1} s"
                        ));
                    }
                }
            }
        }
    }
    assert_eq!(too_late, Vec::<String>::new());
}

#[test]
fn evictions_that_each_take_ten_seconds_are_let_through() {
    for pods in [1, 2, 5, 30, 110] {
        let until = Moment::at_secs(115);
        let slow = Trouble::Slow(Duration::from_secs(10));
        let from = Moment::ORIGIN + Duration::from_millis(35);
        let late = late(pods, from, until, slow);
        // 115 s less than the 82 that leave each pod its grace period.
        assert!(late < -33.0, "{pods} pods: {late} s");
    }
}
