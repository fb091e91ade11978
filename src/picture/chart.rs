//! A story as a chart: rows of bars and points, in seconds since its first line.

use std::collections::BTreeMap;

use super::story::{Pod, Stop, Story, Target};
use crate::plan::time::WallTime;

/// With more pods than this, those of an owner that went as they should share a row.
pub const MOST_SINGLE_ROWS: usize = 60;

/// What there is to draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Where the axis ends, in seconds since the first line.
    pub end: f64,
    /// The deadline, in seconds since the first line.
    pub deadline: f64,
    /// T, where it is not the deadline.
    pub notice_time: Option<f64>,
    /// V, and whether it was one of completion.
    pub verdict: Option<(f64, bool)>,
    /// The rows, by what they are about.
    pub sections: Vec<Section>,
}

/// Rows of a kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// What kind.
    pub title: String,
    /// The rows.
    pub rows: Vec<Row>,
}

/// One line of the chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it is about.
    pub label: String,
    /// What became of it, in few words.
    pub told: String,
    /// The same in more words.
    pub details: String,
    /// What it stands for.
    pub subject: Subject,
    /// From where to where it was what.
    pub bars: Vec<Bar>,
    /// What happened at one moment.
    pub points: Vec<Point>,
}

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The node.
    Node,
    /// A registration.
    Target,
    /// A pod.
    Pod,
    /// So many pods of one owner.
    Pods(usize),
}

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    /// From, in seconds since the first line.
    pub from: f64,
    /// Until.
    pub until: f64,
    /// What it was.
    pub look: Look,
}

/// What something was for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// It took new pods, or new requests.
    Serving,
    /// It took no new ones.
    Draining,
    /// Its eviction was refused.
    Blocked,
    /// It was stopping, and then gone.
    Gone,
    /// It was stopping when the log ended, or when EC2 took the node.
    Stopping,
    /// It had less than its own grace period.
    Cut,
    /// It got no stop signal, or could not be deregistered.
    Failed,
}

impl Look {
    /// All of them, in the order of a legend.
    pub const ALL: [Self; 7] = [
        Self::Serving,
        Self::Draining,
        Self::Blocked,
        Self::Gone,
        Self::Stopping,
        Self::Cut,
        Self::Failed,
    ];

    /// As a class of the style sheet.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Blocked => "blocked",
            Self::Gone => "gone",
            Self::Stopping => "stopping",
            Self::Cut => "cut",
            Self::Failed => "failed",
        }
    }

    /// For a legend.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Serving => "in service",
            Self::Draining => "out of service",
            Self::Blocked => "eviction refused",
            Self::Gone => "stopping, then gone",
            Self::Stopping => "stopping, end not seen",
            Self::Cut => "given less than its own grace",
            Self::Failed => "left, or failed",
        }
    }
}

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When, in seconds since the first line.
    pub at: f64,
    /// What happened.
    pub sign: Sign,
}

/// What happened at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// A pod was deleted over its budget.
    Deleted,
    /// A registration came back.
    Reregistered,
    /// The agent was started again.
    Restarted,
}

impl Sign {
    /// All of them, in the order of a legend.
    pub const ALL: [Self; 3] = [Self::Deleted, Self::Reregistered, Self::Restarted];

    /// For a legend.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Deleted => "deleted over its budget",
            Self::Reregistered => "registered again",
            Self::Restarted => "agent restarted",
        }
    }

    /// As a class of the style sheet.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Reregistered => "reregistered",
            Self::Restarted => "restarted",
        }
    }
}

/// The times of one story.
struct Times {
    begins: WallTime,
    end: f64,
}

impl Times {
    fn at(&self, moment: WallTime) -> f64 {
        moment.seconds_after(self.begins).clamp(0.0, self.end)
    }

    fn bar(&self, from: WallTime, until: WallTime, look: Look) -> Bar {
        Bar {
            from: self.at(from),
            until: self.at(until),
            look,
        }
    }
}

impl Chart {
    /// The chart of a story.
    #[must_use]
    pub fn of(story: &Story) -> Self {
        let last = story.ends.max(story.deadline);
        let times = Times {
            begins: story.begins,
            end: last.seconds_after(story.begins).max(1.0),
        };
        let deadline = times.at(story.deadline);
        let notice_time = story.notice_time.map(|time| times.at(time));
        let mut sections = vec![Section {
            title: "Node".to_owned(),
            rows: vec![node_row(story, &times)],
        }];
        if !story.targets.is_empty() {
            let rows = story.targets.iter();
            sections.push(Section {
                title: "Target groups".to_owned(),
                rows: rows
                    .map(|target| target_row(story, target, &times))
                    .collect(),
            });
        }
        sections.extend(waves(story, &times));
        Self {
            end: times.end,
            deadline,
            // T in whole seconds is the deadline as far as anybody can see.
            notice_time: notice_time.filter(|time| (time - deadline).abs() > 1.5),
            verdict: story.verdict.map(|(at, complete)| (times.at(at), complete)),
            sections,
        }
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.sections.iter().map(|section| section.rows.len()).sum()
    }
}

fn node_row(story: &Story, times: &Times) -> Row {
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

fn target_row(story: &Story, target: &Target, times: &Times) -> Row {
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
fn waves(story: &Story, times: &Times) -> Vec<Section> {
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
            title: match many {
                true => format!("Pods, wave {wave}: {count}"),
                false => format!("Pods: {count}"),
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
    let mut details = format!(
        "{}/{}: {told}; grace {} s",
        pod.namespace, pod.name, pod.grace
    );
    if let Some(owner) = &pod.owner {
        details.push_str(&format!("; of {owner}"));
    }
    if let Some((_, reason)) = &pod.blocked {
        details.push_str(&format!("; refused: {}", words(reason)));
    }
    details
}

/// A word of the log as people write it.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// Seconds, with a tenth.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}
