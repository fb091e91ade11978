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
const LARGE: [(usize, usize); 3] = [(10, 50), (50, 20), (50, 300)];

/// The longest that the death of a controller may cost.
const PATIENCE: Duration = Duration::from_secs(12);

/// What the account lets through in that time.
const LOST: usize = 4 * 12;

/// The node port of the Service behind this group.
fn node_port(index: usize) -> u16 {
    30_000 + u16::try_from(index).expect("few groups")
}

#[test]
#[ignore = "takes minutes: make fleet"]
fn print_the_tables_and_draw_the_picture() {
    println!("{}", page::request_table());
    std::fs::write(page::path(page::PICTURE), picture::draw()).expect("a picture");
    let rows = page::fleet_table(&[&SMALL[..], &LARGE].concat());
    println!("{rows}");
    let page = page::text();
    for row in rows.lines() {
        assert!(page.contains(row), "the page has another row: {row}");
    }
}

#[test]
#[ignore = "takes minutes: make fleet"]
fn nodes_that_go_together_are_all_draining_by_eighty_seconds_with_one_call_for_each_group() {
    for (nodes, groups) in LARGE {
        for seed in 1..=3 {
            let course = Storm {
                seed,
                ..Storm::of(nodes, groups, Drainer::Agent, Keeper::Alive)
            }
            .play();
            println!(
                "{seed}: {}",
                page::fleet_row(nodes, groups, "alive", &course)
            );
            let is_in_time = course.last() <= Some(Duration::from_secs(80));
            assert!(course.left == 0 && is_in_time, "{:?}", course.last());
            assert!(
                course.changed.made <= calls_for(groups),
                "{:?}",
                course.changed
            );
            assert_eq!(course.mistaken, 0);
        }
    }
}

#[test]
#[ignore = "takes minutes: make fleet"]
fn whenever_the_controller_of_a_fleet_dies_it_costs_twelve_seconds_at_most() {
    for (nodes, groups, step) in [
        (1, 20, 1),
        (4, 20, 1),
        (10, 50, 2),
        (50, 20, 5),
        (50, 300, 20),
    ] {
        let late = latest_of_deaths(nodes, groups, step);
        println!(
            "{nodes} × {groups}: {:.1} s later at most",
            late.as_secs_f64()
        );
    }
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
fn ten_nodes_behind_a_controller_that_works_make_no_call_of_their_own() {
    let course = Storm::of(10, 50, Drainer::Agent, Keeper::Alive).play();
    let is_in_time = course.last() <= Some(Duration::from_secs(15));
    assert!(course.left == 0 && is_in_time, "{:?}", course.last());
    assert!(course.changed.made <= calls_for(50), "{:?}", course.changed);
    assert_eq!(course.mistaken, 0);
}

#[test]
fn a_controller_that_dies_costs_twelve_seconds_at_most() {
    for (nodes, groups) in [(1, 20), (4, 20)] {
        latest_of_deaths(nodes, groups, 5);
    }
}

/// One call for each group and one in ten more; but the first that the controller turns to when it hears of the first
/// node, one for each of its workers, are done before it has heard of the last.
fn calls_for(groups: usize) -> usize {
    groups + (groups / 10).max(controller::WORKERS)
}

/// Has the controller die at these seconds of the first minute and a half, and says by how much a target was later
/// than with direct calls from the start.
fn latest_of_deaths(nodes: usize, groups: usize, step: usize) -> Duration {
    let direct = Storm::of(nodes, groups, Drainer::Directly, Keeper::Absent).play();
    let deaths = (0..=90).step_by(step).map(|dies| {
        let keeper = Keeper::Dies(Duration::from_secs(dies));
        let course = Storm::of(nodes, groups, Drainer::Agent, keeper).play();
        later_than(&course, &direct, dies)
    });
    deaths.max().unwrap_or_default()
}

/// At every moment as many targets are draining as with direct calls so much earlier. What those reach in the last
/// seconds would be later than the end: the account lets so many fewer through.
fn later_than(course: &Course, direct: &Course, dies: u64) -> Duration {
    let is_complete = direct.left == 0;
    let more = course.left.saturating_sub(direct.left);
    assert!(
        more == 0 || !is_complete && more <= LOST,
        "dead at {dies} s: {} left, directly {}",
        course.left,
        direct.left
    );
    let pairs = course.drained.iter().zip(&direct.drained);
    let late = pairs.map(|(ours, theirs)| ours.saturating_sub(*theirs));
    let late = late.max().unwrap_or_default();
    assert!(late <= PATIENCE, "dead at {dies} s: {late:?} later");
    late
}
