//! The judge is judged: agents with a defect each, and the rule that has to notice it.

mod cast;

use spot_interrupt_handler::sim::setting::Setting;
use spot_interrupt_handler::simulate::interruption::{Telling, play_with};

use cast::{Crooked, Defect};

/// Each is noticed much sooner; the contract allows ten thousand.
const SEEDS: u64 = 1_000;

/// The first seed in which this defect breaks this rule.
fn noticed(defect: Defect, rule: &str) -> Option<u64> {
    (0..SEEDS).find(|seed| {
        let ending = play_with(&Crooked(defect), &Setting::of(*seed), Telling::Dropped);
        ending.violations.iter().any(|broken| broken.rule == rule)
    })
}

#[test]
fn every_planted_defect_is_noticed_by_the_rule_it_breaks() {
    let mut missed = Vec::new();
    for (defect, rule) in cast::DEFECTS {
        match noticed(defect, rule) {
            Some(seed) => println!("{defect:?}: seed {seed}, {rule}"),
            None => missed.push(format!("{defect:?}: {rule}")),
        }
    }
    assert_eq!(missed, Vec::<String>::new());
}

#[test]
fn the_documentation_names_every_planted_defect() {
    let page = include_str!("../../docs/simulation.md");
    for (defect, rule) in cast::DEFECTS {
        let row = format!("| {} | {rule} |", defect.sentence());
        assert!(page.contains(&row), "{row}");
    }
}
