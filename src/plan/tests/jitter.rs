//! Where the small chances come from.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::task::{Agenda, doubled};

#[test]
fn the_numbers_are_those_of_the_reference_implementation() {
    let mut agenda = Agenda::new(0);
    // SplitMix64 from seed 0, as Java's SplittableRandom and every port of it gives them.
    for expected in [
        0xe220_a839_7b1d_cdaf,
        0x6e78_9e6a_a1b9_65f4,
        0x06c4_5d18_8009_454f,
    ] {
        assert_eq!(agenda.jitter().next(), expected);
    }
}

#[test]
fn a_wait_is_anything_up_to_its_duration_or_a_fifth_around_it() {
    const TEN: Duration = Duration::from_secs(10);
    // The first number of seed 0 is 0.883 of the whole range.
    let up_to = Agenda::new(0).jitter().up_to(TEN);
    assert_eq!(up_to.as_millis(), 8_833);
    let around = Agenda::new(0).jitter().around(TEN);
    assert_eq!(around.as_millis(), 11_533);
    let mut agenda = Agenda::new(1);
    for _ in 0..1_000 {
        assert!(agenda.jitter().up_to(TEN) < TEN);
        let around = agenda.jitter().around(TEN).as_secs_f64();
        assert!((8.0..12.0).contains(&around), "{around} s");
    }
}

#[test]
fn every_order_of_three_comes_up_as_often_as_every_other() {
    let mut counts: BTreeMap<[u8; 3], u32> = BTreeMap::new();
    let mut agenda = Agenda::new(0);
    for _ in 0..6_000 {
        let mut items = [1, 2, 3];
        agenda.jitter().shuffle(&mut items);
        *counts.entry(items).or_default() += 1;
    }
    assert_eq!(counts.len(), 6, "{counts:?}");
    assert!(
        counts.values().all(|count| (900..1_100).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn a_wait_doubles_with_each_failure_after_the_first_up_to_the_longest() {
    let waits: Vec<u64> = (0..7)
        .map(|failures| doubled(Duration::from_secs(1), failures, Duration::from_secs(20)))
        .map(|wait| wait.as_secs())
        .collect();
    assert_eq!(waits, [1, 1, 2, 4, 8, 16, 20]);
    let longest = Duration::from_secs(8);
    assert_eq!(doubled(Duration::from_secs(1), u32::MAX, longest), longest);
}
