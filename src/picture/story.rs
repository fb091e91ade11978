//! What the lines of one interruption tell, in order.

use std::collections::BTreeMap;

use super::line::Entry;
use crate::plan::time::WallTime;

/// One interruption of one node. All moments are on EC2's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    /// The node.
    pub node: String,
    /// The notice's id.
    pub notice: String,
    /// The instance, its type and its zone, as far as the lines say.
    pub instance: [Option<String>; 3],
    /// What EC2 does.
    pub action: String,
    /// Whether nothing was really changed.
    pub is_rehearsal: bool,
    /// The first line.
    pub begins: WallTime,
    /// The last line.
    pub ends: WallTime,
    /// D, as it was planned in the end.
    pub deadline: WallTime,
    /// T, as the notice has it.
    pub notice_time: Option<WallTime>,
    /// When a restarted agent carried on.
    pub resumed: Vec<WallTime>,
    /// When the node was out of service.
    pub cordoned: Option<WallTime>,
    /// The pods, in the order in which they are first mentioned.
    pub pods: Vec<Pod>,
    /// The registrations, likewise.
    pub targets: Vec<Target>,
    /// V, and whether it was one of completion.
    pub verdict: Option<(WallTime, bool)>,
    /// The numbers of the summary, by the names of their fields; empty without one.
    pub summary: Vec<(String, f64)>,
    /// What was worth a warning, or worse.
    pub warnings: Vec<Warning>,
}

/// A pod that was to go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its controller.
    pub owner: Option<String>,
    /// Its own grace period, in seconds.
    pub grace: f64,
    /// Which wave it went with, as far as the lines say.
    pub wave: Option<u64>,
    /// When it was first refused, and why.
    pub blocked: Option<(WallTime, String)>,
    /// L: when it is deleted if it is refused until then.
    pub last_moment: Option<WallTime>,
    /// Its stop signal.
    pub stop: Option<Stop>,
    /// When it was gone, and whether it had been cut.
    pub gone: Option<(WallTime, bool)>,
    /// When it was given up, and why.
    pub left: Option<(WallTime, String)>,
}

/// A pod's stop signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// When.
    pub at: WallTime,
    /// The grace period it was given, in seconds.
    pub grace_given: f64,
    /// Whether it was deleted, over its budget.
    pub is_deletion: bool,
}

/// An instance's registration in a target group.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The group's ARN.
    pub group: String,
    /// The port, when there is one.
    pub port: Option<u64>,
    /// When it got no new requests any more, and how it stood.
    pub deregistered: Option<(WallTime, String)>,
    /// When somebody registered it again.
    pub reregistered: Vec<WallTime>,
    /// When it was given up, and why.
    pub failed: Option<(WallTime, String)>,
    /// Why it was left alone.
    pub skipped: Option<String>,
}

/// A line of a level above `info`.
#[derive(Clone, Debug, PartialEq)]
pub struct Warning {
    /// When.
    pub at: WallTime,
    /// Its level.
    pub level: String,
    /// Its event.
    pub event: String,
    /// Its sentence, and the error if it has one.
    pub text: String,
}

impl Pod {
    /// When it is first mentioned.
    #[must_use]
    pub fn begins(&self) -> Option<WallTime> {
        let moments = [
            self.blocked.as_ref().map(|(at, _)| *at),
            self.stop.as_ref().map(|stop| stop.at),
            self.gone.as_ref().map(|(at, _)| *at),
            self.left.as_ref().map(|(at, _)| *at),
        ];
        moments.into_iter().flatten().min()
    }

    /// Whether it stopped by itself, with its own grace period, and nothing was in the way.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let is_stopped = self.stop.as_ref().is_some_and(|stop| !stop.is_deletion);
        let is_gone = self.gone.as_ref().is_some_and(|(_, is_cut)| !is_cut);
        is_stopped && is_gone && self.blocked.is_none() && self.left.is_none()
    }
}

impl Target {
    /// The group's name and the port.
    #[must_use]
    pub fn label(&self) -> String {
        let name = self.group.split('/').nth(1).unwrap_or(&self.group);
        match self.port {
            Some(port) => format!("{name}:{port}"),
            None => name.to_owned(),
        }
    }
}

impl Story {
    /// The story of these lines, in whatever order they came and however often; none without any.
    pub(super) fn of(node: &str, notice: &str, entries: &[Entry]) -> Option<Self> {
        let mut entries: Vec<&Entry> = entries.iter().collect();
        entries.sort_by_key(|entry| entry.at);
        let (first, last) = (entries.first()?, entries.last()?);
        let mut story = Self {
            node: node.to_owned(),
            notice: notice.to_owned(),
            instance: [None, None, None],
            action: first.owned("action").unwrap_or_default(),
            is_rehearsal: first.is_true("dry_run"),
            begins: first.at,
            ends: last.at,
            deadline: last.deadline,
            notice_time: None,
            resumed: Vec::new(),
            cordoned: None,
            pods: Vec::new(),
            targets: Vec::new(),
            verdict: None,
            summary: Vec::new(),
            warnings: Vec::new(),
        };
        let mut found = Found::default();
        for entry in entries {
            story.tell(entry, &mut found);
        }
        Some(story)
    }

    fn tell(&mut self, entry: &Entry, found: &mut Found) {
        for (known, name) in self
            .instance
            .iter_mut()
            .zip(["instance_id", "instance_type", "az"])
        {
            if known.is_none() {
                *known = entry.owned(name);
            }
        }
        let event = entry.text("event").unwrap_or_default();
        match event {
            "interruption.notice" => self.notice_time = entry.time("notice_time"),
            "interruption.changed" if entry.time("notice_time").is_some() => {
                self.notice_time = entry.time("notice_time");
            }
            "interruption.resumed" => {
                self.resumed.push(entry.at);
                self.notice_time = self.notice_time.or(entry.time("notice_time"));
            }
            "node.cordoned" => {
                self.cordoned.get_or_insert(entry.at);
            }
            "drain.completed" | "drain.incomplete" => {
                self.verdict = Some((entry.at, event == "drain.completed"));
            }
            "interruption.summary" => {
                self.summary = entry.numbers();
                let is_complete = entry.text("outcome") == Some("completed");
                self.verdict.get_or_insert((entry.at, is_complete));
            }
            _ if event.starts_with("pod.") => self.tell_pod(event, entry, found),
            _ if event.starts_with("targets.") => self.tell_target(event, entry, found),
            _ => {}
        }
        if let Some(level @ ("warn" | "error")) = entry.text("level") {
            let sentence = entry.text("msg").unwrap_or_default();
            let text = match entry.text("error") {
                Some(error) => format!("{sentence}: {error}"),
                None => sentence.to_owned(),
            };
            self.warnings.push(Warning {
                at: entry.at,
                level: level.to_owned(),
                event: event.to_owned(),
                text,
            });
        }
    }

    fn tell_pod(&mut self, event: &str, entry: &Entry, found: &mut Found) {
        let Some(uid) = entry.owned("uid") else {
            return;
        };
        let index = *found.pods.entry(uid.clone()).or_insert_with(|| {
            self.pods.push(Pod {
                namespace: entry.owned("namespace").unwrap_or_default(),
                name: entry.owned("pod").unwrap_or_default(),
                uid,
                owner: entry.owned("owner"),
                grace: entry.number("grace_seconds").unwrap_or_default(),
                ..Pod::default()
            });
            self.pods.len() - 1
        });
        let pod = &mut self.pods[index];
        let reason = || entry.owned("reason").unwrap_or_default();
        match event {
            "pod.blocked" => {
                pod.blocked.get_or_insert_with(|| (entry.at, reason()));
                pod.last_moment = pod
                    .last_moment
                    .or(entry.moment_left("delete_at_seconds_left"));
            }
            "pod.evicted" | "pod.deleted" => {
                pod.wave = pod.wave.or(entry.count("wave"));
                // A second process tells of it again; the first signal is the one that counts.
                pod.stop.get_or_insert(Stop {
                    at: entry.at,
                    grace_given: entry.number("grace_given_seconds").unwrap_or(pod.grace),
                    is_deletion: event == "pod.deleted",
                });
            }
            "pod.gone" => {
                let is_cut = entry.text("outcome") == Some("cut");
                pod.gone.get_or_insert((entry.at, is_cut));
            }
            "pod.left" => {
                pod.left.get_or_insert_with(|| (entry.at, reason()));
            }
            _ => {}
        }
    }

    fn tell_target(&mut self, event: &str, entry: &Entry, found: &mut Found) {
        let Some(group) = entry.owned("target_group_arn") else {
            return;
        };
        let key = (group.clone(), entry.count("target_port"));
        let index = *found.targets.entry(key).or_insert_with(|| {
            self.targets.push(Target {
                group,
                port: entry.count("target_port"),
                deregistered: None,
                reregistered: Vec::new(),
                failed: None,
                skipped: None,
            });
            self.targets.len() - 1
        });
        let target = &mut self.targets[index];
        let text = |name| entry.owned(name).unwrap_or_default();
        match event {
            "targets.deregistered" => {
                target
                    .deregistered
                    .get_or_insert_with(|| (entry.at, text("state")));
            }
            "targets.reregistered" => target.reregistered.push(entry.at),
            "targets.deregister_failed" => {
                target
                    .failed
                    .get_or_insert_with(|| (entry.at, text("error_kind")));
            }
            "targets.skipped" => target.skipped = Some(text("reason")),
            _ => {}
        }
    }
}

/// Where in the story what was mentioned is.
#[derive(Default)]
struct Found {
    pods: BTreeMap<String, usize>,
    targets: BTreeMap<(String, Option<u64>), usize>,
}
