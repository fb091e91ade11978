//! The API server of the world and the kubelet of its one node: typed questions, typed answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::budget::{Budget, Observation};
use super::node::{Node, NodePatch};
use super::pod::{Deleted, Phase, Pod, Way};
use super::refused::Refused;
use crate::plan::id::{NodeName, PodUid};
use crate::plan::time::{Moment, Now};

/// What an eviction of a running pod takes inside the server, whatever the load (measured on 1.36.4).
const EVICTION_TAKES: Duration = Duration::from_millis(100);

/// Pending, finished and terminating pods need no budget, and go faster (measured).
const EVICTION_WITHOUT_BUDGET_TAKES: Duration = Duration::from_millis(5);

/// Where no budget is asked, the server tries a wrong UID 20 times, 500 ms apart, before it says so (measured).
const WRONG_UID_WITHOUT_BUDGET_TAKES: Duration = Duration::from_secs(10);

/// Deletions take next to nothing (measured).
const DELETION_TAKES: Duration = Duration::from_millis(3);

/// No cluster is new.
const FIRST_VERSION: u64 = 1_000;

/// How many changes a watch can go back.
const KEPT_CHANGES: usize = 4_096;

/// Everything the API server stores, and the kubelet's part in it.
#[derive(Clone, Debug)]
pub struct Cluster {
    node: Node,
    pods: BTreeMap<PodKey, Pod>,
    departed: Vec<Pod>,
    budgets: Vec<Budget>,
    terminating_namespaces: BTreeSet<String>,
    dry_run_namespaces: BTreeSet<String>,
    events: BTreeMap<(String, String), Event>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    version: u64,
    history: Vec<Change>,
    forgotten: u64,
    cache_lag: usize,
    has_lagged: bool,
}

/// How new a LIST has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtLeast {
    /// As the server's cache has it.
    Cached,
    /// Of this version or a later one.
    Version(u64),
    /// As it is.
    #[default]
    Newest,
}

/// How long a server waits for its cache before it says that a version is too large (measured).
pub const CACHE_WAIT: Duration = Duration::from_secs(3);

/// Namespace and name.
type PodKey = (String, String);

/// An event that somebody published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
}

/// One change of a pod, as a watch tells it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version that the change made.
    pub version: u64,
    /// What kind of change it was.
    pub kind: ChangeKind,
    /// The pod after it; of a deletion, the pod as it last was.
    pub pod: Pod,
}

/// `type` of a watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// ADDED.
    Added,
    /// MODIFIED.
    Modified,
    /// DELETED.
    Deleted,
}

/// What comes with an eviction or a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// `preconditions.uid`.
    pub uid: Option<PodUid>,
    /// `gracePeriodSeconds`.
    pub grace: Option<i64>,
    /// `dryRun`.
    pub writes: Writes,
}

/// Whether a write takes effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    /// It does.
    #[default]
    Real,
    /// It is only checked.
    DryRun,
}

impl DeleteOptions {
    /// The grace period that is asked for; the server makes 1 of a negative one (measured).
    fn grace(&self) -> Option<u32> {
        self.grace
            .map(|seconds| u32::try_from(seconds.max(-1)).unwrap_or(1))
    }
}

impl Cluster {
    /// A cluster of this node, without pods.
    #[must_use]
    pub fn new(node: Node) -> Self {
        let mut cluster = Self {
            node,
            pods: BTreeMap::new(),
            departed: Vec::new(),
            budgets: Vec::new(),
            terminating_namespaces: BTreeSet::new(),
            dry_run_namespaces: BTreeSet::new(),
            events: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            version: FIRST_VERSION,
            history: Vec::new(),
            forgotten: FIRST_VERSION,
            cache_lag: 0,
            has_lagged: false,
        };
        cluster.node.version = cluster.version;
        cluster
    }

    /// Its node.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Its version: every change makes it larger.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The pods that exist.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    /// The pods that exist, and those that did.
    pub fn everyone(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values().chain(&self.departed)
    }

    /// The pod of this UID, whether it exists still or not.
    #[must_use]
    pub fn whoever(&self, uid: &PodUid) -> Option<&Pod> {
        self.everyone().find(|pod| pod.uid == *uid)
    }

    /// The budgets.
    #[must_use]
    pub fn budgets(&self) -> &[Budget] {
        &self.budgets
    }

    /// What was published.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.values()
    }

    /// Adds a pod; one of the same name is replaced, as a controller does once it is gone.
    pub fn add_pod(&mut self, pod: Pod) {
        let key = (pod.namespace.clone(), pod.name.clone());
        if let Some(former) = self.pods.remove(&key) {
            self.departed.push(former);
        }
        self.pods.insert(key.clone(), pod);
        self.note(&key, ChangeKind::Added);
    }

    /// Adds a budget.
    pub fn add_budget(&mut self, budget: Budget) {
        self.budgets.push(budget);
    }

    /// Annotates a namespace.
    pub fn annotate_namespace(&mut self, namespace: &str, key: &str, value: &str) {
        let annotations = self.namespaces.entry(namespace.to_owned()).or_default();
        annotations.insert(key.to_owned(), value.to_owned());
    }

    /// The annotations of a namespace.
    #[must_use]
    pub fn namespace_annotations(&self, namespace: &str) -> BTreeMap<String, String> {
        self.namespaces.get(namespace).cloned().unwrap_or_default()
    }

    /// Somebody deletes a namespace.
    pub fn terminate_namespace(&mut self, namespace: &str) {
        self.terminating_namespaces.insert(namespace.to_owned());
    }

    /// Whether a namespace is being deleted.
    #[must_use]
    pub fn is_terminating(&self, namespace: &str) -> bool {
        self.terminating_namespaces.contains(namespace)
    }

    /// Somebody installs a webhook that makes a dry run of every eviction in a namespace.
    pub fn force_dry_run(&mut self, namespace: &str) {
        self.dry_run_namespaces.insert(namespace.to_owned());
    }

    /// Whether evictions in this namespace are answered with success and have no effect.
    #[must_use]
    pub fn forces_dry_run(&self, namespace: &str) -> bool {
        self.dry_run_namespaces.contains(namespace)
    }

    /// The disruption controller allows one more disruption under the budget of that place in the list, if there is one.
    pub fn open_budget(&mut self, index: usize) {
        if let Some(budget) = self.budgets.get_mut(index) {
            budget.allowed += 1;
            budget.observation = Observation::Current;
        }
    }

    /// A controller puts a pod of the same name onto another node, if the first is gone.
    pub fn replace_elsewhere(&mut self, uid: &PodUid) {
        let former = self.departed.iter().find(|pod| pod.uid == *uid);
        let Some(former) = former else {
            return;
        };
        let mut pod = Pod::new(
            &former.namespace,
            &former.name,
            PodUid::new(format!("{uid}.2")),
            NodeName::new("elsewhere"),
        );
        pod.labels.clone_from(&former.labels);
        pod.owner.clone_from(&former.owner);
        if !self.pods.contains_key(&key(&pod.namespace, &pod.name)) {
            self.add_pod(pod);
        }
    }

    /// Another drainer evicts a pod, if its budget lets it.
    pub fn evict_for_another(&mut self, uid: &PodUid, now: Now) {
        let pod = self.pods.values().find(|pod| pod.uid == *uid);
        if let Some((namespace, name)) = pod.map(|pod| (pod.namespace.clone(), pod.name.clone())) {
            let options = DeleteOptions::default();
            // What becomes of it is the other's concern.
            let _ = self.evict(&namespace, &name, &options, now);
        }
    }

    /// Somebody changes the node.
    pub fn change_node(&mut self, change: impl FnOnce(&mut Node)) {
        change(&mut self.node);
        self.version += 1;
        self.node.version = self.version;
    }

    /// Lets time pass: the kubelet reports what has ended, budgets recover.
    pub fn advance(&mut self, now: Now) {
        for budget in &mut self.budgets {
            budget.advance(now.at);
        }
        let due: Vec<PodKey> = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.reported_at().is_some_and(|at| at <= now.at))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            if let Some(pod) = self.pods.get_mut(&key) {
                pod.finish();
                self.note(&key, ChangeKind::Modified);
                self.remove(&key, Way::Deletion, now);
            }
        }
    }

    /// When something next happens by itself.
    #[must_use]
    pub fn next_change(&self) -> Option<Moment> {
        let budgets = self.budgets.iter().filter_map(Budget::next_change);
        self.pods
            .values()
            .filter_map(Pod::reported_at)
            .chain(budgets)
            .min()
    }

    /// PATCHes the node.
    ///
    /// # Errors
    /// When the patch insists on another version.
    pub fn patch_node(
        &mut self,
        name: &str,
        patch: &NodePatch,
        writes: Writes,
    ) -> Result<Node, Refused> {
        if self.node.name.as_str() != name {
            return Err(Refused::NoNode(name.to_owned()));
        }
        let is_stale = patch
            .expected_version()
            .is_some_and(|expected| expected != self.node.version.to_string());
        if is_stale {
            return Err(Refused::StaleNode(name.to_owned()));
        }
        let mut patched = self.node.clone();
        // A patch that changes nothing writes nothing (measured).
        if patched.apply(patch) && writes == Writes::Real {
            self.version += 1;
            patched.version = self.version;
            self.node = patched.clone();
        }
        Ok(patched)
    }

    /// GETs the node.
    ///
    /// # Errors
    /// When it is another.
    pub fn get_node(&self, name: &str) -> Result<&Node, Refused> {
        if self.node.name.as_str() == name {
            Ok(&self.node)
        } else {
            Err(Refused::NoNode(name.to_owned()))
        }
    }

    /// How long the server takes to answer an eviction.
    #[must_use]
    pub fn eviction_takes(&self, namespace: &str, name: &str, options: &DeleteOptions) -> Duration {
        let Some(pod) = self.pods.get(&key(namespace, name)) else {
            return DELETION_TAKES;
        };
        if !pod.needs_no_budget() {
            EVICTION_TAKES
        } else if options.uid.as_ref().is_some_and(|uid| *uid != pod.uid) {
            WRONG_UID_WITHOUT_BUDGET_TAKES
        } else {
            EVICTION_WITHOUT_BUDGET_TAKES
        }
    }

    /// How long it takes to answer a deletion.
    #[must_use]
    pub const fn deletion_takes() -> Duration {
        DELETION_TAKES
    }

    /// POSTs an eviction, in the order of the real server's `eviction.go`: the namespace, the pod, the budget, which is
    /// charged, and only then the UID.
    ///
    /// # Errors
    /// When it is refused.
    pub fn evict(
        &mut self,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
        now: Now,
    ) -> Result<(), Refused> {
        self.advance(now);
        let writes = if self.forces_dry_run(namespace) {
            Writes::DryRun
        } else {
            options.writes
        };
        if self.terminating_namespaces.contains(namespace) {
            return Err(Refused::NamespaceTerminating {
                namespace: namespace.to_owned(),
                pod: name.to_owned(),
            });
        }
        let key = key(namespace, name);
        let pod = self.pod(&key)?;
        let asks_budget = !pod.needs_no_budget();
        if asks_budget {
            self.charge(&key, writes, now.at)?;
        }
        self.check_uid(&key, options)?;
        if writes == Writes::DryRun {
            return Ok(());
        }
        if let Some(pod) = self.pods.get_mut(&key) {
            pod.disruption_target = Some("EvictionByEvictionAPI".to_owned());
            self.note(&key, ChangeKind::Modified);
        }
        self.terminate(&key, options, Way::Eviction, now);
        Ok(())
    }

    /// DELETEs a pod, which asks no budget.
    ///
    /// # Errors
    /// When it is not there, or is another.
    pub fn delete(
        &mut self,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
        now: Now,
    ) -> Result<Pod, Refused> {
        self.advance(now);
        let key = key(namespace, name);
        self.pod(&key)?;
        self.check_uid(&key, options)?;
        let before = self.pod(&key)?.clone();
        if options.writes == Writes::DryRun {
            return Ok(before);
        }
        self.terminate(&key, options, Way::Deletion, now);
        let after = self.pods.get(&key).or_else(|| self.departed.last());
        Ok(after.cloned().unwrap_or(before))
    }

    /// PATCHes the condition `DisruptionTarget` into a pod's status.
    ///
    /// # Errors
    /// When the pod is not there, or is another.
    pub fn mark_disruption_target(
        &mut self,
        namespace: &str,
        name: &str,
        uid: Option<&PodUid>,
        reason: &str,
    ) -> Result<Pod, Refused> {
        let key = key(namespace, name);
        let found = &self.pod(&key)?.uid;
        if let Some(patched) = uid.filter(|uid| *uid != found) {
            return Err(Refused::ImmutableUid {
                name: name.to_owned(),
                patched: patched.clone(),
            });
        }
        if let Some(pod) = self.pods.get_mut(&key) {
            pod.disruption_target = Some(reason.to_owned());
            self.note(&key, ChangeKind::Modified);
        }
        self.pod(&key).cloned()
    }

    /// POSTs an event.
    ///
    /// # Errors
    /// When one of that name is there.
    pub fn publish(&mut self, namespace: &str, name: &str, event: Event) -> Result<(), Refused> {
        let key = (namespace.to_owned(), name.to_owned());
        if self.events.contains_key(&key) {
            return Err(Refused::EventExists(name.to_owned()));
        }
        self.events.insert(key, event);
        Ok(())
    }

    /// What has changed since `version`.
    ///
    /// # Errors
    /// When that is too long ago.
    pub fn changes_since(&self, version: u64) -> Result<&[Change], Refused> {
        if version < self.forgotten {
            return Err(Refused::Expired {
                asked: version,
                oldest: self.forgotten,
            });
        }
        let start = self
            .history
            .partition_point(|change| change.version <= version);
        Ok(&self.history[start..])
    }

    /// The pods as a LIST has them, and the version they are of. The server's cache may lag behind.
    ///
    /// # Errors
    /// When the cache has not come as far as it should have.
    pub fn listed(&self, at_least: AtLeast) -> Result<(Vec<Pod>, u64), Refused> {
        self.reaches(at_least)?;
        let (start, cached) = self.cached();
        let Some(start) = start.filter(|_| at_least != AtLeast::Newest) else {
            return Ok((self.pods.values().cloned().collect(), self.version));
        };
        let mut pods: BTreeMap<PodKey, Pod> = BTreeMap::new();
        for change in &self.history[..start] {
            let key = (change.pod.namespace.clone(), change.pod.name.clone());
            match change.kind {
                ChangeKind::Added | ChangeKind::Modified => pods.insert(key, change.pod.clone()),
                ChangeKind::Deleted => pods.remove(&key),
            };
        }
        Ok((pods.into_values().collect(), cached))
    }

    /// Whether the server's cache has come as far as a LIST wants it.
    ///
    /// # Errors
    /// When it has not.
    pub fn reaches(&self, at_least: AtLeast) -> Result<(), Refused> {
        let (_, current) = self.cached();
        match at_least {
            AtLeast::Version(asked) if asked > current => {
                Err(Refused::VersionTooLarge { asked, current })
            }
            AtLeast::Version(_) | AtLeast::Cached | AtLeast::Newest => Ok(()),
        }
    }

    /// The place in the history of the first change that the server's cache lacks, if it lacks any, and its version.
    fn cached(&self) -> (Option<usize>, u64) {
        let start = self.history.len().saturating_sub(self.cache_lag);
        let is_whole = self.forgotten == FIRST_VERSION;
        match self.history.get(start).filter(|_| is_whole) {
            Some(next) => (Some(start), next.version - 1),
            None => (None, self.version),
        }
    }

    /// Has the server's cache lag behind by so many changes, or not any more.
    pub const fn lag(&mut self, changes: usize) {
        self.cache_lag = changes;
        self.has_lagged |= changes > 0;
    }

    /// Whether it ever did.
    #[must_use]
    pub const fn has_lagged(&self) -> bool {
        self.has_lagged
    }

    /// Forgets all changes so far, as a server does that compacts: watches from before get a 410.
    pub fn forget_history(&mut self) {
        self.cache_lag = 0;
        self.history.clear();
        self.version += 1;
        self.forgotten = self.version;
    }

    fn pod(&self, key: &PodKey) -> Result<&Pod, Refused> {
        self.pods
            .get(key)
            .ok_or_else(|| Refused::NoPod(key.1.clone()))
    }

    fn check_uid(&self, key: &PodKey, options: &DeleteOptions) -> Result<(), Refused> {
        let pod = self.pod(key)?;
        match &options.uid {
            Some(expected) if *expected != pod.uid => Err(Refused::WrongUid {
                name: pod.name.clone(),
                expected: expected.clone(),
                found: pod.uid.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Asks the budget that covers the pod, and charges it.
    fn charge(&mut self, key: &PodKey, writes: Writes, now: Moment) -> Result<(), Refused> {
        let pod = self.pod(key)?;
        let is_ready = pod.phase == Phase::Ready;
        let covering: Vec<usize> = (0..self.budgets.len())
            .filter(|index| self.budgets[*index].covers(&pod.namespace, &pod.labels))
            .collect();
        let budget = match covering[..] {
            [] => return Ok(()),
            [index] => &mut self.budgets[index],
            [_, _, ..] => return Err(Refused::TwoBudgets),
        };
        if !is_ready && budget.spares_unready() {
            return Ok(());
        }
        if budget.observation == Observation::Lagging {
            return Err(Refused::BudgetUnobserved(budget.name.clone()));
        }
        match budget.allowed {
            ..0 => Err(Refused::BudgetNegative {
                budget: budget.name.clone(),
                pod: key.1.clone(),
            }),
            0 => Err(Refused::Budget {
                budget: budget.name.clone(),
                needs: budget.desired,
                has: budget.healthy,
            }),
            1.. => {
                if writes == Writes::Real {
                    budget.spend(now);
                }
                Ok(())
            }
        }
    }

    fn terminate(&mut self, key: &PodKey, options: &DeleteOptions, way: Way, now: Now) {
        let Some(pod) = self.pods.get_mut(key) else {
            return;
        };
        let was_terminating = pod.deletion.is_some();
        match pod.terminate(options.grace(), way, now) {
            Deleted::Unchanged => {}
            Deleted::Stopping => self.note(key, ChangeKind::Modified),
            Deleted::Removed => {
                // A shorter grace is stored before the object goes (measured).
                if was_terminating {
                    self.note(key, ChangeKind::Modified);
                }
                self.leave(key, now);
            }
        }
    }

    /// The kubelet's last DELETE, with grace 0: the server stores that grace, and then removes the object.
    fn remove(&mut self, key: &PodKey, way: Way, now: Now) {
        let Some(pod) = self.pods.get_mut(key) else {
            return;
        };
        pod.terminate(Some(0), way, now);
        self.note(key, ChangeKind::Modified);
        self.leave(key, now);
    }

    /// Removes the object, unless a finalizer holds it.
    fn leave(&mut self, key: &PodKey, now: Now) {
        let is_held = self
            .pods
            .get(key)
            .is_none_or(|pod| !pod.finalizers.is_empty());
        if is_held {
            return;
        }
        self.note(key, ChangeKind::Deleted);
        if let Some(pod) = self.pods.remove(key) {
            if pod.comes_back {
                self.add_pod(pod.successor(now));
            }
            self.departed.push(pod);
        }
    }

    fn note(&mut self, key: &PodKey, kind: ChangeKind) {
        self.version += 1;
        let version = self.version;
        if let Some(pod) = self.pods.get_mut(key) {
            pod.version = version;
            let pod = pod.clone();
            self.history.push(Change { version, kind, pod });
        }
        if self.history.len() > 2 * KEPT_CHANGES {
            self.cache_lag = 0;
            self.history.drain(..KEPT_CHANGES);
            self.forgotten = self.history[0].version - 1;
        }
    }
}

fn key(namespace: &str, name: &str) -> PodKey {
    (namespace.to_owned(), name.to_owned())
}

#[cfg(test)]
mod tests;
