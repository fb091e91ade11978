//! What becomes a row, and what it says.

use std::collections::BTreeMap;

use super::{Bar, Look, MOST_SINGLE_ROWS, Point, Row, Section, Sign, Subject, seconds};
use crate::picture::story::{Pod, Stop, Story, Target};
use crate::plan::time::WallTime;

/// The times of one story.
pub(super) struct Times {
    pub(super) begins: WallTime,
    pub(super) end: f64,
}

impl Times {
    pub(super) fn at(&self, moment: WallTime) -> f64 {
        moment.seconds_after(self.begins).clamp(0.0, self.end)
    }

    pub(super) fn bar(&self, from: WallTime, until: WallTime, look: Look) -> Bar {
        Bar {
            from: self.at(from),
            until: self.at(until),
            look,
        }
    }
}

pub(super) fn node_row(story: &Story, times: &Times) -> Row {
    let (bars, told) = match story.cordoned {
        Some(at) => (
            vec![
                times.bar(story.begins, at, Look::Serving),
                times.bar(at, story.deadline.max(at), Look::Draining),
            ],
            format!("cordoned after {}", seconds(times.at(at))),
        ),
        None => (
            vec![times.bar(story.begins, story.deadline, Look::Serving)],
            "not cordoned".to_owned(),
        ),
    };
    let restarts = story.resumed.iter().map(|at| Point {
        at: times.at(*at),
        sign: Sign::Restarted,
    });
    Row {
        label: story.node.clone(),
        details: format!("{}: {told}", story.node),
        told,
        subject: Subject::Node,
        bars,
        points: restarts.collect(),
    }
}

pub(super) fn target_row(story: &Story, target: &Target, times: &Times) -> Row {
    let end = story.deadline.max(story.ends);
    let (bars, told) = match (&target.deregistered, &target.failed) {
        (Some((at, state)), _) => (
            vec![
                times.bar(story.begins, *at, Look::Serving),
                times.bar(*at, end, Look::Draining),
            ],
            format!("{} after {}", words(state), seconds(times.at(*at))),
        ),
        (None, Some((at, kind))) => (
            vec![
                times.bar(story.begins, *at, Look::Serving),
                times.bar(*at, end, Look::Failed),
            ],
            format!("failed: {}", words(kind)),
        ),
        (None, None) => {
            let why = target.skipped.as_deref().map(words);
            let told = why.map_or_else(
                || "registered".to_owned(),
                |why| format!("left alone: {why}"),
            );
            (vec![times.bar(story.begins, end, Look::Serving)], told)
        }
    };
    let again = target.reregistered.iter().map(|at| Point {
        at: times.at(*at),
        sign: Sign::Reregistered,
    });
    Row {
        label: target.label(),
        details: format!("{}: {told}", target.group),
        told,
        subject: Subject::Target,
        bars,
        points: again.collect(),
    }
}

/// The pods by wave. Where only one is told of, it is no heading.
pub(super) fn waves(story: &Story, times: &Times) -> Vec<Section> {
    let mut waves: BTreeMap<u64, Vec<&Pod>> = BTreeMap::new();
    let told: Vec<u64> = story.pods.iter().filter_map(|pod| pod.wave).collect();
    let first = told.iter().min().copied().unwrap_or(1);
    for pod in &story.pods {
        // A pod whose lines do not say it never got so far as to have one.
        waves
            .entry(pod.wave.unwrap_or(first))
            .or_default()
            .push(pod);
    }
    let many = waves.len() > 1;
    let crowded = story.pods.len() > MOST_SINGLE_ROWS;
    let sections = waves.into_iter().map(|(wave, mut pods)| {
        pods.sort_by_key(|pod| pod.begins());
        let count = pods.len();
        Section {
            title: if many {
                format!("Pods, wave {wave}: {count}")
            } else {
                format!("Pods: {count}")
            },
            rows: rows(story, &pods, crowded, times),
        }
    });
    sections.collect()
}

/// One row for each pod; in a crowd one for the calm pods of each owner, where there are several.
fn rows(story: &Story, pods: &[&Pod], crowded: bool, times: &Times) -> Vec<Row> {
    let mut crowds: BTreeMap<(&str, &str), Vec<&Pod>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| crowded && pod.is_calm()) {
        if let Some(owner) = &pod.owner {
            let key = (pod.namespace.as_str(), owner.as_str());
            crowds.entry(key).or_default().push(pod);
        }
    }
    crowds.retain(|_, pods| pods.len() > 1);
    let mut rows = Vec::new();
    for pod in pods {
        let owner = pod.owner.as_deref().filter(|_| crowded && pod.is_calm());
        let key = owner.map(|owner| (pod.namespace.as_str(), owner));
        match key.filter(|key| crowds.contains_key(key)) {
            // The crowd stands where its first one would.
            Some(key) => {
                let crowd = crowds.get_mut(&key).map(std::mem::take).unwrap_or_default();
                if !crowd.is_empty() {
                    rows.push(crowd_row(key, &crowd, times));
                }
            }
            None => rows.push(pod_row(story, pod, times)),
        }
    }
    rows
}

fn crowd_row((namespace, owner): (&str, &str), pods: &[&Pod], times: &Times) -> Row {
    let from = pods.iter().filter_map(|pod| pod.begins()).min();
    let gone = pods.iter().filter_map(|pod| pod.gone.as_ref());
    let until = gone.map(|(at, _)| *at).max();
    let bars = from
        .zip(until)
        .map(|(from, until)| times.bar(from, until, Look::Gone));
    let told = bars.map_or_else(String::new, |bar| {
        format!("all gone in {}", seconds(bar.until - bar.from))
    });
    let label = format!("{} × {namespace}/{owner}", pods.len());
    Row {
        details: format!("{label}: {told}"),
        label,
        told,
        subject: Subject::Pods(pods.len()),
        bars: bars.into_iter().collect(),
        points: Vec::new(),
    }
}

fn pod_row(story: &Story, pod: &Pod, times: &Times) -> Row {
    let mut bars = Vec::new();
    let end = story.deadline.max(story.ends);
    if let Some((at, _)) = &pod.blocked {
        let until = pod.stop.as_ref().map(|stop| stop.at);
        let until = until
            .or(pod.left.as_ref().map(|(at, _)| *at))
            .unwrap_or(end);
        bars.push(times.bar(*at, until.max(*at), Look::Blocked));
    }
    if let Some(stop) = &pod.stop {
        bars.push(stopping(pod, stop, end, times));
    } else if let Some((at, _)) = &pod.left {
        bars.push(times.bar(*at, end, Look::Failed));
    }
    let deletion = pod.stop.as_ref().filter(|stop| stop.is_deletion);
    let told = told(pod, times);
    Row {
        label: format!("{}/{}", pod.namespace, pod.name),
        details: details(pod, &told),
        told,
        subject: Subject::Pod,
        bars,
        points: deletion
            .map(|stop| Point {
                at: times.at(stop.at),
                sign: Sign::Deleted,
            })
            .into_iter()
            .collect(),
    }
}

/// From the stop signal until the pod was gone, or until its grace period would be over.
fn stopping(pod: &Pod, stop: &Stop, end: WallTime, times: &Times) -> Bar {
    let is_short = stop.grace_given < pod.grace;
    let (until, look) = match &pod.gone {
        Some((at, true)) => (times.at(*at), Look::Cut),
        Some((at, false)) => (times.at(*at), Look::Gone),
        None => {
            let over = times.at(stop.at) + stop.grace_given.max(0.0);
            let look = if is_short { Look::Cut } else { Look::Stopping };
            (over.min(times.at(end)), look)
        }
    };
    let from = times.at(stop.at);
    Bar {
        from,
        until: until.max(from),
        look,
    }
}

fn told(pod: &Pod, times: &Times) -> String {
    let Some(stop) = &pod.stop else {
        return match (&pod.left, &pod.blocked) {
            (Some((_, reason)), _) => format!("left: {}", words(reason)),
            (None, Some((_, reason))) => format!("refused: {}", words(reason)),
            (None, None) => "gone by itself".to_owned(),
        };
    };
    let how = if stop.is_deletion { "deleted, " } else { "" };
    match &pod.gone {
        Some((at, is_cut)) => {
            let took = times.at(*at) - times.at(stop.at);
            if *is_cut {
                return format!("{how}cut after {took:.1} of {} s", pod.grace);
            }
            if took < 0.05 {
                return format!("{how}gone at once");
            }
            format!("{how}gone in {}", seconds(took))
        }
        None if stop.grace_given < pod.grace => {
            format!("{how}{} of {} s given", stop.grace_given, pod.grace)
        }
        None => format!("{how}stopping, up to {} s", stop.grace_given),
    }
}

fn details(pod: &Pod, told: &str) -> String {
    let mut details = vec![
        format!("{}/{}: {told}", pod.namespace, pod.name),
        format!("grace {} s", pod.grace),
    ];
    details.extend(pod.owner.as_ref().map(|owner| format!("of {owner}")));
    let blocked = pod.blocked.as_ref();
    details.extend(blocked.map(|(_, reason)| format!("refused: {}", words(reason))));
    details.join("; ")
}

/// A word of the log as people write it.
fn words(name: &str) -> String {
    name.replace('_', " ")
}
