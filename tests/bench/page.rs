//! The tables, and where they stand in the pages.

use std::fmt::Write as _;

use crate::drain::{Contender, Course, Size};
use crate::figure::{Sizes, count, median, number, number_or_dash};
use crate::idle::Idle;
use crate::place::{PERFORMANCE, README, replace};
use crate::{Courses, FULL, sizes};

/// The lines of aws-node-termination-handler, which is not measured here: as it comes, and with its client's limits
/// lifted. [`PERFORMANCE`] says where they are from.
const NTH: [(&str, usize, &str, &str, &str, &str); 4] = [
    (
        "aws-node-termination-handler",
        110,
        "1.1",
        "22.4",
        "145",
        "62",
    ),
    ("the same, tuned", 110, "1.1", "1.5", "731", "70"),
    (
        "aws-node-termination-handler",
        250,
        "1.1",
        "50.4",
        "288",
        "68",
    ),
    ("the same, tuned", 250, "1.1", "1.9", "932", "77"),
];

/// What a run has measured, as Markdown.
#[derive(Clone, Debug)]
pub struct Tables {
    pub drains: String,
    pub rest: String,
    beside: String,
}

impl Tables {
    /// `load` is that of the machine before the run.
    pub fn of(courses: &Courses, idle: &Idle, sizes: &Sizes, load: &str) -> Self {
        let said = format!("\nThe machine's load was {load} before this run.\n");
        Self {
            drains: drains(courses) + &said,
            rest: rest(idle, sizes),
            beside: beside(courses),
        }
    }

    /// Puts them into the pages.
    pub fn write(&self) {
        replace(PERFORMANCE, "drains", &self.drains);
        replace(PERFORMANCE, "rest", &self.rest);
        replace(README, "beside", &self.beside);
        replace(README, "rest", &self.rest);
    }
}

/// Puts what was measured of an agent at rest into the pages, and gives it back.
pub fn write_rest(idle: &Idle, sizes: &Sizes) -> String {
    let table = rest(idle, sizes);
    replace(PERFORMANCE, "rest", &table);
    replace(README, "rest", &table);
    table
}

fn what(size: &Size) -> String {
    let millis = size.round_trip.as_millis();
    match size.refused {
        0 => format!("{} pods, {millis} ms", size.pods),
        refused => format!("{} pods, {millis} ms, {refused} % refused", size.pods),
    }
}

fn name(contender: Contender) -> &'static str {
    match contender {
        Contender::Agent => "this agent",
        Contender::Kubectl => "`kubectl drain`",
        Contender::Floor => "floor",
    }
}

/// The aims for the agent's last eviction, in seconds.
fn aim(size: &Size) -> &'static str {
    match (size.pods, size.round_trip.as_millis(), size.refused) {
        (110, 20, 0) => "0.7",
        (250, 20, 0) => "1",
        (250, 100, 0) => "1.5",
        (110, 300, 10) => "10",
        _ => "",
    }
}

fn of(courses: &[Course], figure: impl Fn(&Course) -> Option<f64>) -> Option<f64> {
    median(courses.iter().filter_map(figure))
}

fn last(course: &Course) -> Option<f64> {
    course.evictions.last().copied()
}

fn extremes(courses: &[Course]) -> String {
    let mut lasts: Vec<f64> = courses.iter().filter_map(last).collect();
    lasts.sort_by(f64::total_cmp);
    match lasts[..] {
        [first, .., last] => format!(" ({} to {})", number(first), number(last)),
        [_] | [] => String::new(),
    }
}

fn drains(courses: &Courses) -> String {
    let mut table = String::from(
        "| pods, added round trip | who | to the cordon, s | to the last eviction, s | aim | times the floor | requests | \
         aim | CPU, s | peak RSS, MiB |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let contenders = [Contender::Agent, Contender::Kubectl, Contender::Floor];
    for size in sizes().chain([FULL]) {
        let floor = courses.get(&(size, Contender::Floor));
        let floor = floor.and_then(|courses| of(courses, last));
        for contender in contenders {
            let Some(courses) = courses.get(&(size, contender)) else {
                continue;
            };
            let is_agent = contender == Contender::Agent;
            let taken = of(courses, last);
            let ratio = floor.zip(taken).map(|(floor, taken)| taken / floor);
            let most = match (is_agent, size.refused) {
                (true, 0) => (size.pods + 12).to_string(),
                _ => String::new(),
            };
            let _ = writeln!(
                table,
                "| {} | {} | {} | {}{} | {} | {} | {} | {most} | {} | {} |",
                what(&size),
                name(contender),
                number_or_dash(of(courses, |course| course.cordon)),
                number_or_dash(taken),
                extremes(courses),
                if is_agent { aim(&size) } else { "" },
                ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.1}")),
                number_or_dash(of(courses, |course| Some(count(course.requests)))),
                number_or_dash(of(courses, |course| course.processor)),
                number_or_dash(of(courses, |course| course.memory)),
            );
        }
    }
    table
}

fn rest(idle: &Idle, sizes: &Sizes) -> String {
    let mut table = String::from("| at rest | | aim |\n|---|--:|--:|\n");
    let start = median(idle.starts.iter().copied());
    for (figure, value, aim) in [
        ("binary, MiB", number(sizes.binary), ""),
        (
            "image (binary and CA bundle), MiB",
            number(sizes.image),
            "12",
        ),
        (
            "start to first poll answered, ms",
            number_or_dash(start),
            "",
        ),
        ("requests to the API server", idle.requests.to_string(), "0"),
        (
            "requests to the metadata service per poll",
            number(idle.asked),
            "1",
        ),
        ("RSS, MiB", number(idle.memory), "10"),
        ("threads", idle.threads.to_string(), ""),
        ("processor time in a day, s", number(idle.processor), "2"),
        (
            "the same of bare sockets in the agent's place, s",
            number(idle.bare),
            "",
        ),
    ] {
        let _ = writeln!(table, "| {figure} | {value} | {aim} |");
    }
    table
}

/// The lines of the README: 20 ms, beside the others.
fn beside(courses: &Courses) -> String {
    let mut table = String::from(
        "| | pods | to the cordon, s | to the last eviction, s | requests to the API server | peak RSS, MiB |\n\
         |---|--:|--:|--:|--:|--:|\n",
    );
    for pods in [110, 250] {
        let of_pods = |size: &Size| size.pods == pods && size.round_trip.as_millis() == 20;
        let size = sizes().find(of_pods).expect("a size");
        for (who, _, cordon, evictions, requests, memory) in
            NTH.iter().filter(|line| line.1 == pods)
        {
            let _ = writeln!(
                table,
                "| {who} | {pods} | {cordon} | {evictions} | {requests} | {memory} |"
            );
        }
        for contender in [Contender::Kubectl, Contender::Agent, Contender::Floor] {
            let courses = &courses[&(size, contender)];
            let _ = writeln!(
                table,
                "| {} | {pods} | {} | {} | {} | {} |",
                name(contender),
                number_or_dash(of(courses, |course| course.cordon)),
                number_or_dash(of(courses, last)),
                number_or_dash(of(courses, |course| Some(count(course.requests)))),
                number_or_dash(of(courses, |course| course.memory)),
            );
        }
    }
    table
}
