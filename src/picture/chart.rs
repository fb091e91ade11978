//! A story as a chart: rows of bars and points, in seconds since its first line.

mod rows;

use super::story::Story;
use rows::Times;

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
            rows: vec![rows::node_row(story, &times)],
        }];
        if !story.targets.is_empty() {
            let rows = story.targets.iter();
            sections.push(Section {
                title: "Target groups".to_owned(),
                rows: rows
                    .map(|target| rows::target_row(story, target, &times))
                    .collect(),
            });
        }
        sections.extend(rows::waves(story, &times));
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

/// Seconds, with a tenth.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}
