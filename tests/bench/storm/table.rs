//! The tables of the storms.

use std::fmt::Write as _;

use crate::course::Course;
use crate::crowd::{self, Answer};
use crate::figure::{count, number, number_or_dash, quantile};
use crate::growth::Cost;
use crate::round::Who;

/// A column for each storm.
pub fn storms(courses: &[Course]) -> String {
    let mut table = String::from("| |");
    for course in courses {
        let who = match course.who {
            Who::Agents => "agents",
            Who::Kubectls => "`kubectl drain`",
        };
        let _ = write!(table, " {} {who} |", course.nodes);
    }
    table.push_str("\n|---|");
    table.push_str(&"--:|".repeat(courses.len()));
    table.push('\n');
    let mut line = |name: &str, figure: &dyn Fn(&Course) -> String| {
        let _ = write!(table, "| {name} |");
        for course in courses {
            let _ = write!(table, " {} |", figure(course));
        }
        table.push('\n');
    };
    line("evictions", &|course| course.evictions.len().to_string());
    line("last eviction, s after the first notice", &|course| {
        number(course.span().1)
    });
    line(
        "from a node's first eviction to its last, median, s",
        &|course| number_or_dash(quantile(course.own.iter().copied(), 0.5)),
    );
    line("the same of the slowest node, s", &|course| {
        number_or_dash(course.own.last().copied())
    });
    line("requests", &|course| course.requests.len().to_string());
    line("requests for a node", &|course| {
        number(count(course.requests.len()) / count(course.nodes))
    });
    line("requests in the busiest second", &|course| {
        course.busiest().to_string()
    });
    line(
        "evictions a second, from the first to the last",
        &|course| {
            let (first, last) = course.span();
            number(count(course.evictions.len()) / (last - first).max(0.001))
        },
    );
    line("answered 429", &|course| {
        let share = count(course.refused) / count(course.requests.len().max(1)) * 100.0;
        format!("{} ({share:.1} %)", course.refused)
    });
    line("processors the API server used meanwhile", &|course| {
        number(course.processors_used())
    });
    line(
        "API server's memory before and at the most, MiB",
        &|course| format!("{:.0}, {:.0}", course.memory.0, course.memory.1),
    );
    for (name, samples) in [
        (
            "another client's GET",
            (|course: &Course| course.gets.clone()) as fn(&Course) -> Vec<(f64, f64)>,
        ),
        ("another client's LIST of 50 pods", |course| {
            course.lists.clone()
        }),
    ] {
        line(
            &format!("{name}: median before and during, ms"),
            &|course| {
                let [before, _, during, _] = course.felt(&samples(course));
                let times = before.zip(during).map(|(before, during)| during / before);
                format!(
                    "{}, {} (× {})",
                    number_or_dash(before),
                    number_or_dash(during),
                    times.map_or("–".to_owned(), |times| format!("{times:.1}"))
                )
            },
        );
        line(
            &format!("{name}: 99th percentile before and during, ms"),
            &|course| {
                let [_, before, _, during] = course.felt(&samples(course));
                format!("{}, {}", number_or_dash(before), number_or_dash(during))
            },
        );
    }
    table
}

/// Seconds of virtual time in a row.
const STEP: f64 = 4.0;

/// The storm in virtual time.
pub fn crowd(course: &crowd::Course) -> String {
    let mut table = String::from(
        "| s after the first notice | requests served a second | answered 429 a second | nodes drained at the end |\n\
         |--:|--:|--:|--:|\n",
    );
    let drained: Vec<f64> = course.drained.iter().flatten().copied().collect();
    let last = drained.iter().copied().fold(0.0, f64::max);
    let mut second = 0.0;
    while second < last.ceil() {
        let within = |answer: Answer| {
            let asked = course.asked.iter().filter(|asked| asked.answer == answer);
            let within = asked.filter(|asked| (second..second + STEP).contains(&asked.at));
            number((count(within.count()) / STEP).round())
        };
        let done = drained.iter().filter(|at| **at <= second + STEP).count();
        let _ = writeln!(
            table,
            "| {second} to {} | {} | {} | {done} |",
            second + STEP,
            within(Answer::Served),
            within(Answer::Refused)
        );
        second += STEP;
    }
    let left = course.drained.iter().filter(|at| at.is_none()).count();
    let served = course
        .asked
        .iter()
        .filter(|asked| asked.answer == Answer::Served);
    let _ = writeln!(
        table,
        "\n{} requests of which {} were served; the last pod was told to stop {last:.1} s after the first notice, {left} nodes \
         have one that was not.",
        course.asked.len(),
        served.count()
    );
    table
}

/// What an interruption costs as the cluster grows.
pub fn growth(costs: &[Cost]) -> String {
    let mut table = String::from(
        "| pods on other nodes | requests | bytes on the wire | the agent's CPU, s | last eviction, s after the notice was seen |\n\
         |--:|--:|--:|--:|--:|\n",
    );
    for cost in costs {
        let _ = writeln!(
            table,
            "| {} | {} | {} | {:.3} | {:.2} |",
            cost.others, cost.requests, cost.bytes, cost.processor, cost.last
        );
    }
    table
}
