//! Every wait of the agent on one page: the tasks, when each is due, and the attempts under way for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::action::{Action, AttemptId, NodeEventKind, Outcome, Port, Request};
use super::discovery::Topic;
use super::fact::{Fact, Requests};
use super::id::PodUid;
use super::time::Moment;

/// Something to be done at its time, one attempt at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// When the metadata service is asked for a notice again.
    Poll,
    /// When the machine's identity is asked for again, until it is known.
    Identify,
    /// When the next sign of life is given.
    Heartbeat,
    /// When the API server is asked again about a permission.
    Preflight,
    /// When the agent stops waiting to hear whether an earlier process began this interruption.
    Recall,
    /// When the node is read or patched again, until it is out of service.
    Cordon,
    /// When the pods are listed again; while one is under way, the attempt is the LIST or the WATCH.
    See,
    /// When a watch that brings nothing is given up.
    WatchSilence,
    /// When the pods are listed a second time beside a LIST that is not answered; while that is under way, the attempt.
    Glance,
    /// When a server that answers no call for a pod is asked again whether it is back.
    Probe,
    /// When the next call for this pod is due, or what it answered is looked for.
    Pod(PodUid),
    /// When the call under way for this pod is given up sooner than it was told: the deadline has moved closer.
    GiveUp(PodUid),
    /// When this pod gets the condition that tells why it is deleted.
    Mark(PodUid),
    /// When this namespace is asked again what it wants done about blocked pods.
    Namespace(String),
    /// When the critical pods follow the others.
    SecondWave,
    /// When the next call for this target group is due; the number is its place in the list.
    Group(usize),
    /// When the next deregistration may be asked for, after some were throttled.
    Turn,
    /// When what this target group's load balancer had sent has had its time.
    Settling(usize),
    /// When the controller of target groups has had its time.
    Controller,
    /// When this is asked about again.
    Discover(Topic),
    /// When the load balancer's credentials are asked for again.
    Warm,
    /// When this event is published again, until it is.
    Publish(NodeEventKind),
    /// When the progress is told again.
    Progress,
    /// When the verdict is due.
    Verdict,
    /// When the deadline comes.
    Deadline,
    /// When the writes go on after a wake, although not everybody has been heard.
    Wake,
    /// When the node is read again after a wake.
    Reread,
    /// When the node is read again to undo what an interruption left.
    Undo,
}

impl Task {
    /// Whether it may lead to a write, so that after a wake it waits until it is known what the time is.
    pub(super) const fn may_write(&self) -> bool {
        match self {
            Self::Poll
            | Self::Heartbeat
            | Self::Recall
            | Self::Progress
            | Self::Verdict
            | Self::Deadline
            | Self::Wake
            | Self::Reread
            | Self::Settling(_)
            | Self::Warm
            | Self::Preflight => false,
            Self::Cordon
            | Self::See
            | Self::WatchSilence
            | Self::Pod(_)
            | Self::Mark(_)
            | Self::Namespace(_)
            | Self::SecondWave
            | Self::Group(_)
            | Self::Turn
            | Self::Controller
            | Self::Discover(_)
            | Self::Identify
            | Self::GiveUp(_)
            | Self::Glance
            | Self::Probe
            | Self::Publish(_)
            | Self::Undo => true,
        }
    }
}

/// Whether tasks that may lead to a write come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    Go,
    Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Due(Moment),
    Trying(AttemptId),
}

/// The table of tasks, and what is to leave the core: requests to the shell, and facts.
///
/// A task that is not in the table is closed: the outcome of an attempt made for it is ignored when it comes late.
#[derive(Debug)]
pub struct Agenda {
    table: BTreeMap<Task, Progress>,
    due: BTreeSet<(Moment, Task)>,
    trying: BTreeMap<AttemptId, Task>,
    next_attempt: u64,
    actions: VecDeque<Action>,
    facts: VecDeque<Fact>,
    requests: Requests,
    writes: Writes,
    jitter: Jitter,
}

impl Agenda {
    /// An empty agenda whose jitter comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            table: BTreeMap::new(),
            due: BTreeSet::new(),
            trying: BTreeMap::new(),
            next_attempt: 0,
            actions: VecDeque::new(),
            facts: VecDeque::new(),
            requests: Requests::default(),
            writes: Writes::Go,
            jitter: Jitter(seed),
        }
    }

    /// Lets `task` come up at `moment`. A wait that was set before is replaced; an attempt under way for it is abandoned.
    pub fn wait(&mut self, task: Task, moment: Moment) {
        self.close(&task);
        self.due.insert((moment, task.clone()));
        self.table.insert(task, Progress::Due(moment));
    }

    /// Starts an attempt for `task`, in place of a wait or of an attempt under way, which is abandoned.
    ///
    /// While the writes wait, the event of a verdict waits with them.
    pub fn attempt(&mut self, task: Task, request: Request, give_up_at: Option<Moment>) {
        if self.writes == Writes::Wait && matches!(task, Task::Publish(_)) {
            self.wait(task, Moment::ORIGIN);
            return;
        }
        self.close(&task);
        let attempt = AttemptId(self.next_attempt);
        self.next_attempt += 1;
        match request.port() {
            Port::Metadata => self.requests.imds += 1,
            Port::Cluster => self.requests.api += 1,
            Port::Balancer => self.requests.elb += 1,
        }
        self.trying.insert(attempt, task.clone());
        self.table.insert(task, Progress::Trying(attempt));
        self.actions.push_back(Action::Try {
            attempt,
            request,
            give_up_at,
        });
    }

    /// Ends `task`: nothing of it comes up any more, and its attempt, if one is under way, is abandoned.
    pub fn close(&mut self, task: &Task) {
        match self.table.remove(task) {
            None => {}
            Some(Progress::Due(moment)) => {
                self.due.remove(&(moment, task.clone()));
            }
            Some(Progress::Trying(attempt)) => {
                self.trying.remove(&attempt);
                self.actions.push_back(Action::Abandon(attempt));
            }
        }
    }

    /// Ends every task but those that `keep` picks.
    pub fn close_all_but(&mut self, keep: impl Fn(&Task) -> bool) {
        let ending: Vec<Task> = self
            .table
            .keys()
            .filter(|task| !keep(task))
            .cloned()
            .collect();
        for task in &ending {
            self.close(task);
        }
    }

    /// Takes the outcome of an attempt: the task it was made for, unless that has been closed since.
    pub fn finish(&mut self, attempt: AttemptId, outcome: &Outcome) -> Option<Task> {
        let task = self.trying.remove(&attempt)?;
        self.table.remove(&task);
        if let Outcome::Failed(failure) = outcome
            && failure.http_status == Some(429)
            && !matches!(
                task,
                Task::Poll
                    | Task::Identify
                    | Task::Group(_)
                    | Task::Discover(Topic::Groups)
                    | Task::Warm
            )
        {
            self.requests.api_429 += 1;
        }
        Some(task)
    }

    /// The task an attempt is under way for, unless that has been closed.
    #[must_use]
    pub fn task_of(&self, attempt: AttemptId) -> Option<&Task> {
        self.trying.get(&attempt)
    }

    /// Takes the earliest task that is due at `now`, out of the table: whoever handles it says what comes next.
    pub fn take_due(&mut self, now: Moment) -> Option<Task> {
        let entry = self
            .earliest()
            .filter(|(moment, _)| *moment <= now)?
            .clone();
        self.due.remove(&entry);
        let (_, task) = entry;
        self.table.remove(&task);
        Some(task)
    }

    /// Keeps every task that may lead to a write from coming up.
    pub fn hold_writes(&mut self) {
        self.writes = Writes::Wait;
    }

    /// Lets them come up again.
    pub fn release_writes(&mut self) {
        self.writes = Writes::Go;
    }

    fn earliest(&self) -> Option<&(Moment, Task)> {
        let holds = self.writes == Writes::Wait;
        self.due
            .iter()
            .find(|(_, task)| !(holds && task.may_write()))
    }

    /// When the earliest task comes up.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        self.earliest().map(|(moment, _)| *moment)
    }

    /// Whether `task` waits or is under way.
    #[must_use]
    pub fn is_open(&self, task: &Task) -> bool {
        self.table.contains_key(task)
    }

    /// Whether `task` waits for this very moment.
    #[must_use]
    pub fn waits_until(&self, task: &Task, moment: Moment) -> bool {
        matches!(self.table.get(task), Some(Progress::Due(due)) if *due == moment)
    }

    /// Whether any task that `pick` picks waits or is under way.
    pub fn has_open(&self, pick: impl Fn(&Task) -> bool) -> bool {
        self.table.keys().any(pick)
    }

    /// Whether an attempt is under way for `task`.
    #[must_use]
    pub fn is_trying(&self, task: &Task) -> bool {
        matches!(self.table.get(task), Some(Progress::Trying(_)))
    }

    /// Tells a fact.
    pub fn tell(&mut self, fact: Fact) {
        self.facts.push_back(fact);
    }

    /// Tells a fact if there is one.
    pub fn tell_if(&mut self, fact: Option<Fact>) {
        self.facts.extend(fact);
    }

    /// The next request to the shell.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next fact to report.
    pub fn next_fact(&mut self) -> Option<Fact> {
        self.facts.pop_front()
    }

    /// The requests made since [`Self::count_anew`].
    #[must_use]
    pub const fn requests(&self) -> Requests {
        self.requests
    }

    /// Counts requests from here on.
    pub const fn count_anew(&mut self) {
        self.requests = Requests {
            api: 0,
            api_429: 0,
            elb: 0,
            imds: 0,
        };
    }

    /// Where the randomness of retries comes from.
    pub const fn jitter(&mut self) -> &mut Jitter {
        &mut self.jitter
    }
}

/// A seeded source of small random choices (SplitMix64, Steele, Lea and Flood 2014): the same seed gives the same run.
#[derive(Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A fraction from 0 up to but not including 1.
    fn fraction(&mut self) -> f64 {
        const STEPS: u64 = 1 << 53;
        // The upper 53 bits fill a double's mantissa exactly.
        #[allow(clippy::cast_precision_loss)]
        let fraction = (self.next() >> 11) as f64 / STEPS as f64;
        fraction
    }

    /// `duration`, up to 20 % shorter or longer.
    pub fn around(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(0.8 + 0.4 * self.fraction())
    }

    /// Anything from nothing up to `duration` ("full jitter").
    pub fn up_to(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(self.fraction())
    }

    /// Puts `items` into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let bound = last as u64 + 1;
            // The remainder is below `items.len()`, which is a usize.
            #[allow(clippy::cast_possible_truncation)]
            let chosen = (self.next() % bound) as usize;
            items.swap(last, chosen);
        }
    }
}

/// `first`, doubled with each failure after the first one, up to `longest`.
#[must_use]
pub fn doubled(first: Duration, failures: u32, longest: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (first * (1 << doublings)).min(longest)
}
