//! What is done about pods whose eviction is refused: their condition, and whether they may be deleted in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::passage::{Course, Mark, Pod};
use super::{Drain, OnBlocked};
use crate::plan::action::{Outcome, Request};
use crate::plan::cordon::CALL_TIMEOUT;
use crate::plan::id::PodUid;
use crate::plan::pod::BlockedWish;
use crate::plan::task::{Agenda, Task, doubled};
use crate::plan::time::Moment;

/// So long before its deletion a pod gets the condition that tells its controller why: what the watchers of a pod hear
/// in two messages, they should not hear in one.
const MARK_BEFORE_DELETION: Duration = Duration::from_secs(1);

/// So long a deletion that is due waits to hear whether the namespace forbids it.
const PATIENCE_WITH_NAMESPACE: Duration = Duration::from_secs(2);

/// What is known of the namespaces in which something was refused.
#[derive(Debug, Default)]
pub(super) struct Namespaces(BTreeMap<String, Namespace>);

#[derive(Clone, Copy, Debug)]
enum Namespace {
    /// It has been asked for, so many times in vain.
    Asked {
        since: Moment,
        failures: u32,
    },
    Known(BlockedWish),
}

impl Namespaces {
    /// What the namespace wants, if that is known.
    pub(super) fn wish(&self, name: &str) -> BlockedWish {
        match self.0.get(name) {
            Some(Namespace::Known(wish)) => *wish,
            Some(Namespace::Asked { .. }) | None => BlockedWish::AsConfigured,
        }
    }

    /// Until when a deletion waits for the namespace's word. The first refusal in it asks.
    fn patience(&mut self, name: &str, agenda: &mut Agenda, now: Moment) -> Option<Moment> {
        let namespace = self.0.entry(name.to_owned()).or_insert_with(|| {
            read(name, agenda, now);
            Namespace::Asked {
                since: now,
                failures: 0,
            }
        });
        match namespace {
            Namespace::Asked { since, .. } => Some(*since + PATIENCE_WITH_NAMESPACE),
            Namespace::Known(_) => None,
        }
    }
}

fn read(name: &str, agenda: &mut Agenda, now: Moment) {
    agenda.attempt(
        Task::Namespace(name.to_owned()),
        Request::ReadNamespace(name.to_owned()),
        Some(now + CALL_TIMEOUT),
    );
}

/// A pod was refused: its namespace may have something to say about what follows, and its condition has a time.
pub(super) fn note_refusal(
    pod: &mut Pod,
    namespaces: &mut Namespaces,
    agenda: &mut Agenda,
    now: Moment,
) {
    if pod.on_blocked == OnBlocked::Wait {
        return;
    }
    pod.record.delete_not_before = namespaces.patience(&pod.view.pod.namespace, agenda, now);
    if pod.record.mark == Mark::Unasked {
        pod.record.mark = Mark::Asked;
        let mark = (pod.window.last_start - MARK_BEFORE_DELETION).max(now);
        agenda.wait(Task::Mark(pod.view.pod.uid.clone()), mark);
    }
}

impl Drain {
    /// A namespace is to be asked for again.
    pub(in crate::plan) fn handle_namespace_due(name: &str, agenda: &mut Agenda, now: Moment) {
        read(name, agenda, now);
    }

    /// A namespace has been read, or not.
    pub(in crate::plan) fn handle_namespace(
        &mut self,
        name: &str,
        outcome: &Outcome,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        if let Outcome::Namespace(wish) = outcome {
            self.namespaces
                .0
                .insert(name.to_owned(), Namespace::Known(*wish));
            for (uid, pod) in &mut self.pods {
                if pod.view.pod.namespace != name {
                    continue;
                }
                pod.heed(*wish, agenda);
                let has_waited = pod.record.delete_not_before.take().is_some();
                if has_waited && pod.course == Course::Waiting && now >= pod.window.last_start {
                    agenda.wait(Task::Pod(uid.clone()), now);
                }
            }
            return;
        }
        if let Some(Namespace::Asked { failures, .. }) = self.namespaces.0.get_mut(name) {
            *failures += 1;
            let wait = doubled(
                Duration::from_millis(500),
                *failures,
                Duration::from_secs(5),
            );
            let wait = agenda.jitter().around(wait);
            agenda.wait(Task::Namespace(name.to_owned()), now + wait);
        }
    }

    /// A pod that is going to be deleted gets its condition.
    pub(in crate::plan) fn handle_mark_due(&self, uid: &PodUid, agenda: &mut Agenda, now: Moment) {
        let Some(pod) = self.pods.get(uid) else {
            return;
        };
        let is_waiting = matches!(pod.course, Course::Waiting | Course::Calling { .. });
        if is_waiting && pod.on_blocked == OnBlocked::Delete {
            agenda.attempt(
                Task::Mark(uid.clone()),
                Request::MarkDisruption(pod.view.pod.clone()),
                Some((now + CALL_TIMEOUT).min(self.deadline)),
            );
        }
    }
}

impl Pod {
    /// From when on it may be deleted although its eviction was refused.
    pub(super) fn delete_from(&self) -> Moment {
        let last_start = self.window.last_start;
        self.record
            .delete_not_before
            .map_or(last_start, |patience| patience.max(last_start))
    }

    /// Takes to heart what the pod's owner, or that of its namespace, wants.
    pub(super) fn heed(&mut self, wish: BlockedWish, agenda: &mut Agenda) {
        if wish == BlockedWish::Wait {
            self.on_blocked = OnBlocked::Wait;
            agenda.close(&Task::Mark(self.view.pod.uid.clone()));
        }
    }
}
