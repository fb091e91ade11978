//! What a storm was: for the API server, for its drainers, and for everybody else.

use jiff::Timestamp;

use crate::control_plane::AuditEvent;
use crate::figure::{count, median, quantile};
use crate::probe::{Question, Sample};
use crate::round::Who;
use crate::server::Look;

/// A storm, in seconds after its beginning.
#[derive(Clone, Debug)]
pub struct Course {
    pub who: Who,
    pub nodes: usize,
    /// When each request of a drainer arrived.
    pub requests: Vec<f64>,
    /// Those of them that were evictions.
    pub evictions: Vec<f64>,
    /// How many requests were answered 429.
    pub refused: usize,
    /// From each node's first eviction to its last, in order.
    pub own: Vec<f64>,
    /// What the probe felt: when it asked, and how long that took, in milliseconds.
    pub gets: Vec<(f64, f64)>,
    pub lists: Vec<(f64, f64)>,
    /// Processors that the API server used, at each look.
    pub processors: Vec<(f64, f64)>,
    /// The API server's memory before and at the most, in MiB.
    pub memory: (f64, f64),
    /// The memory of all drainers together, at the most of each, in MiB.
    pub clients_memory: Option<f64>,
}

/// Reads it off the server's audit log and what was seen beside it.
pub fn of(
    who: Who,
    nodes: usize,
    begins: Timestamp,
    user: &str,
    calls: &[AuditEvent],
    samples: &[Sample],
    looks: &[Look],
) -> Course {
    let after = |at: Timestamp| {
        let span = (at - begins).total(jiff::Unit::Second);
        span.expect("a time")
    };
    let own: Vec<&AuditEvent> = calls
        .iter()
        .filter(|call| call.user == user)
        .filter(|call| {
            call.stage == "ResponseComplete"
                || call.verb == "watch" && call.stage == "ResponseStarted"
        })
        .collect();
    let evictions: Vec<&&AuditEvent> = own
        .iter()
        .filter(|call| call.subresource == "eviction" && call.verb == "create")
        .collect();
    let mut by_namespace = std::collections::BTreeMap::<&str, (f64, f64)>::new();
    for call in &evictions {
        let at = after(call.received);
        let (first, last) = by_namespace.entry(&call.namespace).or_insert((at, at));
        *first = first.min(at);
        *last = last.max(at);
    }
    let sorted = |values: Vec<f64>| {
        let mut values = values;
        values.sort_by(f64::total_cmp);
        values
    };
    let felt = |question: Question| {
        let asked = samples.iter().filter(|sample| sample.question == question);
        asked
            .map(|sample| (after(sample.asked), sample.took))
            .collect()
    };
    let processors = looks.windows(2).map(|pair| {
        let seconds = after(pair[1].at) - after(pair[0].at);
        (
            after(pair[1].at),
            (pair[1].processor - pair[0].processor) / seconds,
        )
    });
    let most = looks.iter().map(|look| look.memory).fold(0.0, f64::max);
    Course {
        who,
        nodes,
        requests: sorted(own.iter().map(|call| after(call.received)).collect()),
        refused: own.iter().filter(|call| call.code == 429).count(),
        own: sorted(
            by_namespace
                .values()
                .map(|(first, last)| last - first)
                .collect(),
        ),
        evictions: sorted(evictions.iter().map(|call| after(call.received)).collect()),
        gets: felt(Question::Get),
        lists: felt(Question::List),
        processors: processors.collect(),
        memory: (looks.first().map_or(0.0, |look| look.memory), most),
        clients_memory: None,
    }
}

impl Course {
    /// From the first to the last eviction.
    pub fn span(&self) -> (f64, f64) {
        let first = self.evictions.first().copied().unwrap_or_default();
        (first, self.evictions.last().copied().unwrap_or_default())
    }

    /// The most requests of a second.
    pub fn busiest(&self) -> usize {
        let begins = self.requests.iter().copied();
        begins
            .map(|from| {
                let second = self.requests.iter();
                second.filter(|at| (from..from + 1.0).contains(*at)).count()
            })
            .max()
            .unwrap_or_default()
    }

    /// Median and 99th percentile of what was felt before the storm and between its first and last eviction.
    pub fn felt(&self, samples: &[(f64, f64)]) -> [Option<f64>; 4] {
        let (first, last) = self.span();
        let of = |from: f64, until: f64| {
            let within = samples
                .iter()
                .filter(move |(at, _)| (from..until).contains(at));
            within.map(|(_, took)| *took).collect::<Vec<f64>>()
        };
        let (before, during) = (of(-10.0, 0.0), of(first, last));
        [
            median(before.iter().copied()),
            quantile(before, 0.99),
            median(during.iter().copied()),
            quantile(during, 0.99),
        ]
    }

    /// Processors that the server used on the whole between first and last eviction, as a mean.
    pub fn processors_used(&self) -> f64 {
        let (first, last) = self.span();
        let used: Vec<f64> = self
            .processors
            .iter()
            .filter(|(at, _)| (first..last + 0.25).contains(at))
            .map(|(_, used)| *used)
            .collect();
        used.iter().sum::<f64>() / count(used.len().max(1))
    }
}
