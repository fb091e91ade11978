//! The real agent in a thousand different worlds, in virtual time: no rule may be broken in any of them.

use spot_interrupt_handler::sim::setting::Setting;
use spot_interrupt_handler::simulate::interruption::{Telling, play};

#[test]
fn no_rule_is_broken_in_two_thousand_interruptions() {
    let count: u64 = std::env::var("SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2_000);
    let first: u64 = std::env::var("FIRST")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let mut broken = std::collections::BTreeMap::<&str, Vec<(u64, String)>>::new();
    for seed in first..first + count {
        let ending = play(&Setting::of(seed), Telling::Dropped);
        for violation in ending.violations {
            broken
                .entry(violation.rule)
                .or_default()
                .push((seed, violation.detail));
        }
    }
    for (rule, seeds) in &broken {
        eprintln!("{rule}: {} times", seeds.len());
        for (seed, detail) in seeds.iter().take(5) {
            eprintln!("   seed {seed}: {detail}");
        }
    }
    assert!(broken.is_empty());
}
