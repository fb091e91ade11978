//! What an interruption costs a fleet's account and its users, in virtual time.
//!
//! The tests hold the aims, and the tables and the picture of `docs/load-balancer.md`; `make fleet` prints and draws them.

mod account;
mod controller;
mod naive;
mod node;
mod page;
mod picture;
mod requests;
mod storm;

use std::time::Duration;

use storm::{Course, Drainer, Keeper, Storm};

/// What the table shows that every run of the tests makes anew.
const SMALL: [(usize, usize); 1] = [(1, 20)];

/// And what takes minutes: `make fleet`.
const LARGE: [(usize, usize); 2] = [(10, 50), (50, 20)];

/// The node port of the Service behind this group.
fn node_port(index: usize) -> u16 {
    30_000 + u16::try_from(index).expect("few groups")
}

#[test]
#[ignore = "takes minutes: make fleet"]
fn print_the_tables_and_draw_the_picture() {
    println!("{}", page::fleet_table(&SMALL));
    println!("{}", page::request_table());
    std::fs::write(page::path(page::PICTURE), picture::draw()).expect("a picture");
    println!("{}", page::fleet_table(&LARGE));
}

#[test]
#[ignore = "takes minutes: make fleet"]
fn fifty_nodes_in_three_hundred_groups_are_all_draining_before_the_reclaim() {
    let course = Storm::of(50, 300, Drainer::Agent, Keeper::Alive).play();
    println!("{}", page::fleet_row(50, 300, page::FLEETS[0].0, &course));
    assert_eq!(course.left, 0);
    assert!(page::per_group(&course, 300) <= 1.2, "{:?}", course.changed);
    assert_eq!(course.mistaken, 0);
}

#[test]
fn no_request_fails_when_the_agent_drains_the_node_and_some_do_when_pods_are_evicted_first() {
    for (policy, traffic) in page::POLICIES {
        for (who, drainer, keeper) in page::DRAINERS {
            for seed in 1..=5 {
                let outcome = requests::play(drainer, keeper, traffic, seed);
                let fails = outcome.lost() > 0;
                assert_eq!(
                    fails,
                    drainer == Drainer::EvictFirst,
                    "{policy}, {who}, {seed}"
                );
            }
        }
    }
}

#[test]
fn the_page_and_its_picture_show_what_is_measured() {
    let page = page::text();
    let rows = page::fleet_table(&SMALL);
    for row in page::request_table().lines().chain(rows.lines()) {
        assert!(
            page.contains(row),
            "{row}: make fleet says what is true now"
        );
    }
    let drawn = std::fs::read_to_string(page::path(page::PICTURE)).expect("the picture");
    assert!(drawn == picture::draw(), "make fleet draws it anew");
}

#[test]
fn ten_nodes_behind_a_controller_that_works_make_hardly_a_call_of_their_own() {
    let course = Storm::of(10, 50, Drainer::Agent, Keeper::Alive).play();
    assert!(
        course
            .last()
            .is_some_and(|last| last < Duration::from_secs(30)),
        "{course:?}"
    );
    // The controller begins anew with each node that it hears of within the five seconds.
    assert!(page::per_group(&course, 50) <= 2.5, "{:?}", course.changed);
}

#[test]
fn a_controller_that_dies_costs_twelve_seconds_at_most() {
    for (nodes, groups) in [(1, 20), (4, 20)] {
        let direct = Storm::of(nodes, groups, Drainer::Directly, Keeper::Absent).play();
        for dies in (0..=60).step_by(5) {
            let keeper = Keeper::Dies(Duration::from_secs(dies));
            let course = Storm::of(nodes, groups, Drainer::Agent, keeper).play();
            assert_not_later(&course, &direct, Duration::from_secs(12), dies);
        }
    }
}

/// At every moment as many targets are draining as with direct calls so much earlier.
fn assert_not_later(course: &Course, direct: &Course, by: Duration, dies: u64) {
    assert!(
        course.left <= direct.left,
        "dead at {dies} s: {} left",
        course.left
    );
    for (place, (ours, theirs)) in course.drained.iter().zip(&direct.drained).enumerate() {
        assert!(
            *ours <= *theirs + by,
            "dead at {dies} s: target {place} after {ours:?}, directly after {theirs:?}"
        );
    }
}
