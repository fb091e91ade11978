//! The real agent in thousands of different worlds, in virtual time: no rule may be broken in any of them.

use spot_interrupt_handler::attempt::Ports;
use spot_interrupt_handler::report::Outlet;
use spot_interrupt_handler::sim::ports::{SimBalancer, SimCluster, SimMetadata, Way};
use spot_interrupt_handler::sim::setting::Setting;
use spot_interrupt_handler::simulate::interruption::{Cast, Honest, Telling, play, play_with};

use crate::log_schema::{Breaches, Witness};

/// The broken rules of these seeds, each with what re-runs it.
fn broken(seeds: impl Iterator<Item = u64>) -> Vec<String> {
    seeds
        .flat_map(|seed| {
            let ending = play(&Setting::of(seed), Telling::Dropped);
            ending.violations.into_iter().map(move |violation| {
                format!(
                    "{} ({}): cargo run -- simulate --random 1 --seed {seed}",
                    violation.rule, violation.detail
                )
            })
        })
        .collect()
}

/// The honest cast, every line of which is held against the log's contract.
#[derive(Default)]
struct Witnessed(Breaches);

impl Cast for Witnessed {
    type Metadata = SimMetadata;
    type Cluster = SimCluster;
    type Balancer = SimBalancer;

    fn ports(&self, way: &Way, setting: &Setting) -> Ports<SimMetadata, SimCluster, SimBalancer> {
        Honest.ports(way, setting)
    }

    fn outlet(&self, outlet: Box<dyn Outlet>) -> Box<dyn Outlet> {
        Box::new(Witness {
            outlet,
            breaches: self.0.clone(),
        })
    }
}

#[test]
fn no_line_of_a_hundred_interruptions_breaks_the_contract_of_the_log() {
    let witnessed = Witnessed::default();
    for seed in 0..100 {
        let ending = play_with(&witnessed, &Setting::of(seed), Telling::Dropped);
        assert!(ending.violations.is_empty(), "seed {seed}");
    }
    assert_eq!(witnessed.0.found(), Vec::<String>::new());
}

#[test]
fn no_rule_is_broken_in_two_thousand_interruptions() {
    assert_eq!(broken(0..2_000), Vec::<String>::new());
}

/// Seeds that once broke a rule, with what was wrong.
const FOUND: [(u64, &str); 16] = [
    (
        4,
        "the verdict said completed although no pod had ever been listed",
    ),
    (
        13,
        "a restarted agent that did not know its instance yet forgot that the cordon was its own",
    ),
    (
        753,
        "a record under another time was taken for another interruption's, and its ownership lost",
    ),
    (921, "the notice was first seen after its time"),
    (
        4_633,
        "another drainer's eviction and ours met in the server",
    ),
    (
        5_612,
        "connections that were lost one after another were answered with two calls a second",
    ),
    (
        8_075,
        "a list that lagged behind was believed before the watch had completed it",
    ),
    (9_828, "the same, with a pod that needs no grace"),
    (20_791, "a deadline was tightened between two processes"),
    (
        50_025,
        "A second LIST came from a cache that had fallen behind, and a pod seemed to be gone.",
    ),
    (
        54_196,
        "A WATCH was never answered, and nobody noticed for a minute.",
    ),
    (
        146_770,
        "Each of a hundred pods whose evictions did nothing had its own LIST.",
    ),
    (
        103,
        "A restarted agent did not count what a controller put back onto the cordoned node.",
    ),
    (
        2_583,
        "A termination without a grace period was hurried with one of a second.",
    ),
    (
        2_610,
        "A termination was hurried again and again while answers could not be read.",
    ),
    (
        867_698,
        "The judge held a signal against an agent long after what had excused it was over.",
    ),
];

#[test]
fn what_was_once_found_stays_mended() {
    let seeds = FOUND.iter().map(|(seed, _)| *seed);
    assert_eq!(broken(seeds), Vec::<String>::new());
}

#[test]
fn a_seed_has_one_story() {
    for seed in 0..20 {
        let setting = Setting::of(seed);
        let (one, other) = (play(&setting, Telling::Kept), play(&setting, Telling::Kept));
        let differs = one.story.iter().zip(&other.story).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.story.len(), other.story.len(), "seed {seed}");
        assert!(!one.story.is_empty());
    }
}
