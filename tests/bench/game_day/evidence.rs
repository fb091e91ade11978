//! What was seen on the day, and whether it is what was promised.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::agents::Log;
use crate::audit::Account;
use crate::balancer::Traffic;
use crate::cast::BUILDS;
use crate::witness::{BudgetSeen, PodSeen};

/// As `workloads.yaml` wants them.
const COMPLETIONS: i32 = 36;

/// Everything that was seen.
pub struct Day {
    pub begins: Timestamp,
    /// By UID.
    pub pods: BTreeMap<String, PodSeen>,
    pub budgets: BTreeMap<(String, String), BudgetSeen>,
    pub account: Account,
    pub traffic: Traffic,
    pub log: Log,
    /// How many nodes there are.
    pub nodes: usize,
    pub rounds: Vec<Round>,
    /// What the Job has done in the end.
    pub completions: i32,
    /// How the agents ended whose nodes were spared.
    pub codes: Vec<Option<i32>>,
}

/// One time that EC2 took nodes.
pub struct Round {
    pub nodes: Vec<String>,
    pub notice: Timestamp,
    /// When the instances were gone.
    pub taken: Timestamp,
    pub receipts: Vec<Value>,
    /// When every workload had all its pods again.
    pub full_after: Option<Timestamp>,
    /// When fresh instances served in their place.
    pub settled: Timestamp,
}

/// Something that was promised, and what was seen of it.
pub struct Finding {
    pub holds: bool,
    pub promise: &'static str,
    pub seen: String,
}

impl Round {
    /// The pods that were to go with its nodes, by UID.
    pub fn doomed<'d>(&self, day: &'d Day) -> BTreeMap<&'d String, &'d PodSeen> {
        let pods = day.pods.iter().filter(|(_, pod)| {
            let was_there = pod.gone.is_none_or(|gone| gone > self.notice);
            self.nodes.contains(&pod.node) && was_there && pod.is_to_go()
        });
        pods.collect()
    }

    /// How many requests were sent until fresh instances served, and how many of them failed.
    pub fn requests(&self, traffic: &Traffic) -> (usize, usize) {
        let during = |at: &Timestamp| (self.notice..self.settled).contains(at);
        let served = traffic.served.iter().filter(|at| during(at)).count();
        let failed = traffic
            .failed
            .iter()
            .filter(|failure| during(&failure.at))
            .count();
        (served + failed, failed)
    }

    /// From the notice until every workload had all its pods again.
    pub fn recovery(&self) -> Option<f64> {
        self.full_after.map(|at| seconds(self.notice, at))
    }
}

/// From one time to another.
pub fn seconds(from: Timestamp, until: Timestamp) -> f64 {
    until.duration_since(from).as_secs_f64()
}

impl Day {
    /// Every promise.
    pub fn findings(&self) -> Vec<Finding> {
        vec![
            self.receipts(),
            self.evictions(),
            self.recoveries(),
            self.work(),
            self.healthy(),
            self.counted(),
            self.builds(),
            self.requests(),
            self.calls(),
            self.words(),
            self.ends(),
        ]
    }

    fn receipts(&self) -> Finding {
        let zero = [
            "pods_left",
            "pods_cut",
            "pods_deleted",
            "pods_stopping",
            "targets_failed",
            "targets_reregistered",
        ];
        let is_complete = |line: &&Value| {
            line["outcome"] == "completed"
                && line["pods_gone"] == line["pods_total"]
                && line["targets_draining"] == line["targets_total"]
                && line["targets_total"] == 1
                && zero.iter().all(|field| line[field] == 0)
        };
        let interrupted: usize = self.rounds.iter().map(|round| round.nodes.len()).sum();
        let receipts: Vec<&Value> = self
            .rounds
            .iter()
            .flat_map(|round| &round.receipts)
            .collect();
        let complete = receipts
            .iter()
            .copied()
            .filter(|line| is_complete(line))
            .count();
        Finding {
            holds: receipts.len() == interrupted && complete == interrupted,
            promise: "Each interrupted node gives one receipt, and each receipt is complete: every pod gone with its whole \
                      grace, none deleted or left, the target group let go.",
            seen: format!(
                "{interrupted} nodes, {} receipts, {complete} complete",
                receipts.len()
            ),
        }
    }

    fn evictions(&self) -> Finding {
        let mut doomed = 0;
        let mut amiss = Vec::new();
        for round in &self.rounds {
            for (uid, pod) in round.doomed(self) {
                doomed += 1;
                let once = self.account.accepted.get(uid) == Some(&1);
                if !once || pod.gone.is_none_or(|gone| gone >= round.taken) {
                    amiss.push(format!("{}/{}", pod.namespace, pod.name));
                }
            }
        }
        Finding {
            holds: amiss.is_empty() && doomed > 0,
            promise: "Every pod on them was evicted exactly once, and had stopped before EC2 took its node.",
            seen: told(format!("{doomed} pods"), &amiss),
        }
    }

    fn recoveries(&self) -> Finding {
        let after: Vec<_> = self.rounds.iter().map(Round::recovery).collect();
        let told = after.iter().map(|after| match after {
            Some(seconds) => format!("{seconds:.0} s after the notice"),
            None => "not before EC2 took the nodes".to_owned(),
        });
        Finding {
            holds: after.iter().all(Option::is_some),
            promise: "The controllers and the scheduler had every workload at full strength elsewhere before EC2 took the \
                      nodes.",
            seen: told.collect::<Vec<_>>().join(", "),
        }
    }

    fn work(&self) -> Finding {
        let jobs = self
            .pods
            .values()
            .filter(|pod| pod.owner.as_deref() == Some("Job"));
        Finding {
            holds: self.completions == COMPLETIONS,
            promise: "The Job did all its work, whatever of it was interrupted.",
            seen: format!(
                "{COMPLETIONS} completions wanted, {} reached with {} pods",
                self.completions,
                jobs.count()
            ),
        }
    }

    fn healthy(&self) -> Finding {
        let told = self.budgets.iter().map(|((namespace, name), budget)| {
            format!(
                "{namespace}/{name}: at least {} of {} healthy, {} wanted, closed {} times",
                budget.least_healthy, budget.expected, budget.desired, budget.closed
            )
        });
        Finding {
            holds: self.budgets.len() == 3
                && self
                    .budgets
                    .values()
                    .all(|budget| budget.least_healthy >= budget.desired),
            promise: "No disruption budget was violated: the disruption controller never counted fewer healthy pods than \
                      wanted.",
            seen: told.collect::<Vec<_>>().join("; "),
        }
    }

    fn counted(&self) -> Finding {
        let told = self.budgets.iter().map(|((namespace, name), budget)| {
            format!(
                "{namespace}/{name}: at least {}, {} wanted",
                budget.least_counted, budget.desired
            )
        });
        Finding {
            holds: self
                .budgets
                .values()
                .all(|budget| budget.least_counted >= budget.desired),
            promise: "Nor did anybody who counts the ready pods that are not terminating, at every change of any pod.",
            seen: told.collect::<Vec<_>>().join("; "),
        }
    }

    fn builds(&self) -> Finding {
        let builds: Vec<_> = self
            .pods
            .values()
            .filter(|pod| pod.namespace == BUILDS)
            .collect();
        let untouched = builds
            .iter()
            .filter(|pod| pod.told.is_none() && pod.gone.is_none());
        let untouched = untouched.count();
        Finding {
            holds: builds.len() == 2 && untouched == 2,
            promise: "The builds on Fargate run on, untouched.",
            seen: format!("{untouched} of {} builds", builds.len()),
        }
    }

    fn requests(&self) -> Finding {
        let failed = &self.traffic.failed;
        let mut answers: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for failure in failed {
            let place = (failure.instance.as_str(), failure.answer);
            *answers.entry(place).or_default() += 1;
        }
        let answers: Vec<_> = answers
            .into_iter()
            .map(|((instance, answer), count)| format!("{instance}, {count} times {answer}"))
            .collect();
        let sent = self.traffic.served.len() + failed.len();
        Finding {
            holds: failed.is_empty() && sent > 0,
            promise: "No request failed.",
            seen: told(format!("{sent} sent, {} failed", failed.len()), &answers),
        }
    }

    fn calls(&self) -> Finding {
        let account = &self.account;
        Finding {
            holds: account.strange.is_empty() && account.calls > 0,
            promise: "By the API server's audit log no agent wrote beyond its own node, was refused anything but an eviction \
                      by a budget, or called into the namespace of the builds.",
            seen: told(
                format!(
                    "{} calls, {} evictions of which budgets refused {}",
                    account.calls, account.evictions, account.refused_by_budgets
                ),
                &account.strange,
            ),
        }
    }

    fn words(&self) -> Finding {
        let lines = self.log.lines();
        let values = lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        // Of metadata that is not EC2's own every agent warns, and it is not here.
        let loud: BTreeSet<String> = values
            .filter(|line| line["level"] != "info" && line["event"] != "imds.overridden")
            .map(|line| format!("{} {}: {}", line["node"], line["event"], line["msg"]))
            .collect();
        Finding {
            holds: loud.is_empty(),
            promise: "Every line of every agent keeps the log's contract, and none is a warning or an error, but that the \
                      metadata is not EC2's own.",
            seen: told(
                format!("{} lines", lines.len()),
                &loud.into_iter().collect::<Vec<_>>(),
            ),
        }
    }

    fn ends(&self) -> Finding {
        Finding {
            holds: self.codes.iter().all(|code| *code == Some(0)) && !self.codes.is_empty(),
            promise: "The agents of the nodes that are left stop when they are asked to, with exit code 0.",
            seen: format!("{} agents", self.codes.len()),
        }
    }
}

/// A number, and the first of what is amiss.
fn told(seen: String, amiss: &[String]) -> String {
    if amiss.is_empty() {
        return seen;
    }
    let first: Vec<_> = amiss.iter().take(8).map(String::as_str).collect();
    format!("{seen}; {} amiss: {}", amiss.len(), first.join("; "))
}
