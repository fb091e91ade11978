//! When a pod's eviction may begin: ordinary pods at once, or a little later before a server that has others to serve,
//! critical ones when those are gone, late ones as late as they want; and each in time for a refusal to be repeated.

use std::time::Duration;

use super::passage::{Course, Pod, Registered};
use super::{Drain, Pace, Terms};
use crate::plan::budget::Window;
use crate::plan::front::{BEFORE_LAST_START, Hold};
use crate::plan::id::PodUid;
use crate::plan::pod::{PodView, Wave};
use crate::plan::task::{Agenda, Task};
use crate::plan::time::Moment;

/// The tries at 0, 1, 3, 7 and 15 s fit in before the last useful moment.
const LEAD: Duration = Duration::from_secs(20);

/// Whether the critical pods have been let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecondWave {
    Held,
    Begun,
}

impl Terms {
    /// The window of a pod.
    pub(super) fn window(&self, view: &PodView, deadline: Moment) -> Window {
        let window = Window::before(deadline, view.grace, view.mounts_claim, &self.margins);
        match self.pace {
            Pace::ToTheDeadline => window,
            Pace::AtOnce => window.without_end(),
        }
    }

    /// When the first call for a pod is due as far as its own wish goes; none when that is at once.
    fn own_start(&self, pod: &Pod) -> Option<Moment> {
        (pod.view.begins_late(self.job_pods) && self.pace == Pace::ToTheDeadline)
            .then(|| pod.window.last_start - LEAD)
    }

    /// When it is due as far as the ways in to it go; none when that is at once.
    fn start_behind(&self, hold: Hold, pod: &Pod) -> Option<Moment> {
        let at_latest = match self.pace {
            Pace::ToTheDeadline => pod.window.last_start - BEFORE_LAST_START,
            Pace::AtOnce => return None,
        };
        match hold {
            Hold::Free => None,
            Hold::Until(until) => Some(until.min(at_latest)),
            Hold::ToTheLast => Some(at_latest),
        }
    }
}

impl Drain {
    /// Puts a pod that nothing was done for yet where it belongs: into the line, or among those that wait.
    pub(super) fn line_up(&mut self, uid: &PodUid, agenda: &mut Agenda, now: Moment) {
        let Some(pod) = self.pods.get_mut(uid) else {
            return;
        };
        pod.registered = Registered::of(self.fronts.registers_by_address(&pod.view));
        let task = Task::Pod(uid.clone());
        if self.second_wave == SecondWave::Held && pod.view.wave() == Wave::Critical {
            self.held.insert(uid.clone());
            return;
        }
        let hold = self.fronts.hold(&pod.view);
        let start = self
            .terms
            .own_start(pod)
            .max(self.terms.start_behind(hold, pod))
            .max(pod.put_off_to);
        match start {
            Some(start) if start > now => agenda.wait(task, start),
            Some(_) | None => {
                agenda.close(&task);
                self.ready.insert((pod.urgency(), uid.clone()));
            }
        }
    }

    /// Begins the second wave when the first is gone, or when the first of its own pods must not wait any longer: one
    /// pod with a long grace period starves nobody.
    pub(super) fn begin_second_wave_if_due(&mut self, agenda: &mut Agenda, now: Moment) {
        let Some(at_latest) = self.second_wave_at_latest() else {
            agenda.close(&Task::SecondWave);
            return;
        };
        let due = self
            .first_wave_is_gone_at(now)
            .map_or(at_latest, |gone| gone.min(at_latest));
        if due > now {
            if !agenda.waits_until(&Task::SecondWave, due) {
                agenda.wait(Task::SecondWave, due);
            }
            return;
        }
        agenda.close(&Task::SecondWave);
        self.second_wave = SecondWave::Begun;
        for uid in std::mem::take(&mut self.held) {
            self.line_up(&uid, agenda, now);
        }
    }

    fn second_wave_at_latest(&self) -> Option<Moment> {
        let held = self.held.iter().filter_map(|uid| self.pods.get(uid));
        held.map(|pod| pod.window.last_start - LEAD).min()
    }

    /// When no pod of the first wave is in the way any more, as far as that can be told now.
    fn first_wave_is_gone_at(&self, now: Moment) -> Option<Moment> {
        let first = self
            .pods
            .values()
            .filter(|pod| pod.view.wave() == Wave::Ordinary);
        first
            .map(|pod| match &pod.course {
                Course::Exempt(_) | Course::Finished | Course::Gone(_) => Some(now),
                Course::Stopping { ends, .. } => Some(self.moment_of(*ends)),
                Course::Waiting | Course::Calling { .. } | Course::Answered { .. } => None,
            })
            .try_fold(now, |latest, gone| Some(gone?.max(latest)))
    }
}
