//! Which target groups send requests to this node: those the operator named, those that bindings name, and those with a tag.
//!
//! It is found out at the start, long before it is needed, and again when a notice comes. What is known is used at once,
//! and what is learnt later joins it.

mod tags;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use self::tags::TagSearch;

use super::action::{Failure, FailureKind, Finding, Inquiry, Outcome, Ports, Request};
use super::binding::{
    Account, BalancerKind, Binding, BindingApi, GroupTag, Labels, ListedGroup, NamespacedName,
    Service, TargetId, TargetType,
};
use super::fact::{Fact, SkipReason, Source, TargetFact, TargetNews};
use super::id::{InstanceId, TargetGroupArn};
use super::pod::PodView;
use super::policy::{Discover, Policy};
use super::targets::ConfiguredGroup;
use super::task::{Agenda, Task, doubled};
use super::time::Moment;

/// A whole cluster's bindings or Services come from the API server's cache; a page of target groups takes a second at most.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The agents of a cluster that starts its nodes together do not all ask in the same second.
const SPREAD_OF_BINDINGS: Duration = Duration::from_secs(30);

/// The tags of 3,000 groups, which an account may have, are 150 calls; 100 agents make 15,000 of them, and the account has
/// 50 a second: five minutes
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/api-throttling.html>).
const SPREAD_OF_TAGS: Duration = Duration::from_mins(5);

/// Credentials of an hour are renewed at most this late after they have expired.
const WARMING_INTERVAL: Duration = Duration::from_mins(5);

/// What cannot be found out while nothing happens is tried again at this pace, …
const LONGEST_IDLE_WAIT: Duration = Duration::from_mins(5);

/// … and at this one once a notice is there.
const LONGEST_URGENT_WAIT: Duration = Duration::from_secs(4);

/// As long as a controller is left to do its part, its bindings are looked at this often.
pub(super) const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The bindings of this API.
    Bindings(BindingApi),
    /// The Services.
    Services,
    /// The account's target groups, and then their tags.
    Groups,
}

/// Whether somebody waits for the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// Nothing happens.
    Idle,
    /// An interruption is under way.
    Urgent,
}

/// Whether an answer is from before the notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// It is not, or the question has been put again.
    Fresh,
    /// It is.
    Stale,
}

/// A registration that is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownGroup {
    pub(super) arn: TargetGroupArn,
    pub(super) target: TargetId,
    pub(super) ports: Ports,
    pub(super) source: Source,
    pub(super) binding: Option<NamespacedName>,
    pub(super) care: Care,
    pub(super) kind: Option<BalancerKind>,
}

/// Who ends a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Nobody but us.
    Ours,
    /// The controller of this API, when it sees the exclusion label: for all the nodes that go at that moment in one call.
    Controller(BindingApi),
}

/// What is known so far.
#[derive(Debug)]
pub(super) struct Discovery {
    configured: Vec<ConfiguredGroup>,
    discover: BTreeSet<Discover>,
    tags: TagSearch,
    bindings: BTreeMap<BindingApi, Vec<Binding>>,
    /// In the order of their names.
    services: Option<Vec<Service>>,
    services_age: Age,
    node_labels: Option<Labels>,
    haste: Haste,
    failures: BTreeMap<Topic, u32>,
    told: BTreeSet<(TargetGroupArn, TargetId)>,
    warned: BTreeSet<Source>,
}

impl Discovery {
    /// Begins to look, unless there is nothing to look for.
    pub(super) fn begin(policy: &Policy, agenda: &mut Agenda, now: Moment) -> Self {
        let discovery = Self::of(policy);
        for topic in discovery.topics() {
            let spread = match topic {
                Topic::Bindings(_) | Topic::Services => SPREAD_OF_BINDINGS,
                Topic::Groups => SPREAD_OF_TAGS,
            };
            let wait = agenda.jitter().up_to(spread);
            agenda.wait(Task::Discover(topic), now + wait);
        }
        if !discovery.configured.is_empty() {
            let wait = agenda.jitter().up_to(SPREAD_OF_BINDINGS);
            agenda.wait(Task::Warm, now + wait);
        }
        discovery
    }

    fn of(policy: &Policy) -> Self {
        Self {
            configured: policy.groups.clone(),
            discover: policy.discover.clone(),
            tags: TagSearch::of(policy),
            bindings: BTreeMap::new(),
            services: None,
            services_age: Age::Fresh,
            node_labels: None,
            haste: Haste::Idle,
            failures: BTreeMap::new(),
            told: BTreeSet::new(),
            warned: BTreeSet::new(),
        }
    }

    /// Nothing is looked for.
    pub(super) fn none() -> Self {
        let policy = Policy {
            groups: Vec::new(),
            discover: BTreeSet::new(),
            ..Policy::default()
        };
        Self::of(&policy)
    }

    /// A notice is there: whatever may have changed is asked for again, and what was never known at last.
    pub(super) fn hurry(&mut self, agenda: &mut Agenda, now: Moment) {
        self.haste = Haste::Urgent;
        self.services_age = Age::Stale;
        self.failures.clear();
        for topic in self.topics() {
            if topic != Topic::Groups || !self.tags.is_done() {
                self.ask(topic, agenda, now);
            }
        }
        agenda.close(&Task::Warm);
    }

    /// The interruption is over.
    pub(super) fn rest(&mut self, agenda: &mut Agenda, now: Moment) {
        self.haste = Haste::Idle;
        for topic in self.topics() {
            agenda.close(&Task::Discover(topic));
        }
        agenda.close(&Task::Discover(Topic::Services));
        self.keep_warm(agenda, now);
    }

    /// What the policy has us look for by itself; the Services are only asked for when something leads to them.
    fn topics(&self) -> Vec<Topic> {
        let mut topics = Vec::new();
        if self.discover.contains(&Discover::Bindings) {
            topics.extend(BindingApi::ALL.map(Topic::Bindings));
        }
        if self.discover.contains(&Discover::Tag) {
            topics.push(Topic::Groups);
        }
        if !self.configured.is_empty() {
            topics.push(Topic::Services);
        }
        topics
    }

    /// The time to ask has come.
    pub(super) fn handle_due(&mut self, topic: Topic, agenda: &mut Agenda, now: Moment) {
        self.ask(topic, agenda, now);
    }

    fn ask(&mut self, topic: Topic, agenda: &mut Agenda, now: Moment) {
        let inquiry = match topic {
            Topic::Bindings(api) => Inquiry::Bindings(api),
            Topic::Services => {
                self.services_age = Age::Fresh;
                Inquiry::Services
            }
            Topic::Groups => match self.tags.next_inquiry() {
                Some(inquiry) => inquiry,
                None => return,
            },
        };
        agenda.attempt(
            Task::Discover(topic),
            Request::Find(inquiry),
            Some(now + CALL_TIMEOUT),
        );
    }

    /// Takes an answer.
    pub(super) fn handle_outcome(
        &mut self,
        topic: Topic,
        outcome: &Outcome,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        match outcome {
            Outcome::Found(finding) => {
                self.failures.remove(&topic);
                self.take(topic, finding, agenda, now);
            }
            Outcome::Failed(failure) => self.handle_failure(topic, failure, agenda, now),
            Outcome::Notice(_)
            | Outcome::Identity(_)
            | Outcome::Node(_)
            | Outcome::Namespace(_)
            | Outcome::Pods { .. }
            | Outcome::Targets(_)
            | Outcome::Access(_)
            | Outcome::Done => {}
        }
    }

    fn take(&mut self, topic: Topic, finding: &Finding, agenda: &mut Agenda, now: Moment) {
        match (topic, finding) {
            (Topic::Bindings(api), Finding::Bindings(bindings)) => {
                self.bindings.insert(api, bindings.clone());
                self.ask_for_services(agenda, now);
            }
            (Topic::Services, Finding::Services(services)) => {
                self.services = Some(by_name(services.clone()));
            }
            (Topic::Groups, Finding::Groups(..) | Finding::Tags(_)) => {
                self.tags.take(finding);
                self.go_on_with_tags(agenda, now);
            }
            // An answer to another question than the one that was asked.
            (
                Topic::Bindings(_) | Topic::Services | Topic::Groups,
                Finding::Bindings(_)
                | Finding::Services(_)
                | Finding::Groups(..)
                | Finding::Tags(_),
            ) => {}
        }
        self.keep_warm(agenda, now);
    }

    fn go_on_with_tags(&mut self, agenda: &mut Agenda, now: Moment) {
        if self.tags.is_done() {
            self.ask_for_services(agenda, now);
        } else {
            self.ask(Topic::Groups, agenda, now);
        }
    }

    /// The Services tell the node ports of bindings, and which pods must not go before their targets.
    fn ask_for_services(&mut self, agenda: &mut Agenda, now: Moment) {
        let is_led_to = self.own_bindings().next().is_some() || !self.tags.found().is_empty();
        let task = Task::Discover(Topic::Services);
        let is_wanted = self.services.is_none() || self.services_age == Age::Stale;
        if is_led_to && is_wanted && !agenda.is_open(&task) {
            self.ask(Topic::Services, agenda, now);
        }
    }

    fn is_urgent(&self) -> bool {
        self.haste == Haste::Urgent
    }

    fn handle_failure(
        &mut self,
        topic: Topic,
        failure: &Failure,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        match (failure.kind, topic) {
            (FailureKind::NotFound, Topic::Groups) if self.tags.is_reading() => {
                self.tags.take_absence();
                self.go_on_with_tags(agenda, now);
                return;
            }
            // The API is not installed: nobody keeps bindings here.
            (FailureKind::NotFound, _) => {
                self.give_up(topic);
                return;
            }
            (FailureKind::Forbidden | FailureKind::Invalid, _) => {
                self.warn(topic, failure, agenda);
                self.give_up(topic);
                self.ask_for_services(agenda, now);
                return;
            }
            // It may be more than can be read, and then that stays so; a notice has it asked for once more.
            (FailureKind::Unreadable, _) => {
                self.warn(topic, failure, agenda);
                if self.haste == Haste::Idle {
                    return;
                }
            }
            _ => {}
        }
        let failures = self.failures.entry(topic).or_default();
        *failures += 1;
        let longest = match self.haste {
            Haste::Idle => LONGEST_IDLE_WAIT,
            Haste::Urgent => LONGEST_URGENT_WAIT,
        };
        let wait = doubled(Duration::from_millis(500), *failures, longest);
        let wait = agenda.jitter().around(wait);
        agenda.wait(Task::Discover(topic), now + wait);
    }

    /// Nothing is to be found there.
    fn give_up(&mut self, topic: Topic) {
        match topic {
            Topic::Bindings(api) => {
                self.bindings.entry(api).or_default();
            }
            Topic::Services => {
                self.services.get_or_insert_default();
            }
            Topic::Groups => self.tags.give_up(),
        }
    }

    fn warn(&mut self, topic: Topic, failure: &Failure, agenda: &mut Agenda) {
        let source = match topic {
            Topic::Bindings(_) | Topic::Services => Source::Binding,
            Topic::Groups => Source::Tag,
        };
        if self.warned.insert(source) {
            agenda.tell(Fact::TargetsUnresolved {
                source,
                error: failure.text.clone(),
            });
        }
    }

    /// The node was read: which bindings mean it is known from here on.
    pub(super) fn handle_node(&mut self, labels: &Labels) {
        self.node_labels = Some(labels.clone());
    }

    /// Credentials are asked for now, before they are needed.
    pub(super) fn warm(agenda: &mut Agenda, now: Moment) {
        agenda.attempt(Task::Warm, Request::WarmBalancer, Some(now + CALL_TIMEOUT));
    }

    /// They are there, or are not to be had.
    pub(super) fn handle_warmed(agenda: &mut Agenda, now: Moment) {
        let wait = agenda.jitter().around(WARMING_INTERVAL);
        agenda.wait(Task::Warm, now + wait);
    }

    fn keep_warm(&self, agenda: &mut Agenda, now: Moment) {
        let is_needed = !self.configured.is_empty()
            || !self.tags.found().is_empty()
            || self.own_bindings().next().is_some();
        if is_needed && !self.is_urgent() && !agenda.is_open(&Task::Warm) {
            Self::warm(agenda, now);
        }
    }

    /// Whether an answer is missing that may name pods which must not be evicted yet.
    pub(super) fn is_in_the_dark(&self, agenda: &Agenda) -> bool {
        let asked = |topic| agenda.is_open(&Task::Discover(topic));
        let bindings_missing = BindingApi::ALL
            .iter()
            .any(|api| !self.bindings.contains_key(api) && asked(Topic::Bindings(*api)));
        bindings_missing || self.services.is_none() && asked(Topic::Services)
    }

    /// Whether target groups may still be found that nobody has named yet.
    pub(super) fn may_find_more(&self, agenda: &Agenda) -> bool {
        self.is_in_the_dark(agenda) || agenda.is_open(&Task::Discover(Topic::Groups))
    }

    /// The registrations of an instance whose id nobody knows; no request is ever made with its name.
    pub(super) fn unnamed(&self) -> Vec<KnownGroup> {
        self.known(&InstanceId::new(String::new()))
    }

    /// The Services, as far as they are known.
    pub(super) fn services(&self) -> &[Service] {
        self.services.as_deref().unwrap_or_default()
    }

    /// The bindings of a listing that has just come.
    pub(super) fn bindings(&self, api: BindingApi) -> &[Binding] {
        self.bindings.get(&api).map_or(&[], Vec::as_slice)
    }

    /// The bindings that may concern this node: those of its own account.
    fn own_bindings(&self) -> impl Iterator<Item = (BindingApi, &Binding)> {
        self.bindings
            .iter()
            .flat_map(|(api, bindings)| bindings.iter().map(|binding| (*api, binding)))
            .filter(|(_, binding)| binding.account == Account::Own)
    }

    /// The Services whose pods are registered by their own addresses.
    pub(super) fn services_by_address(&self) -> impl Iterator<Item = &Service> {
        self.own_bindings()
            .filter(|(_, binding)| binding.target_type == TargetType::Ip)
            .filter_map(|(_, binding)| self.service(&binding.service))
    }

    fn service(&self, name: &NamespacedName) -> Option<&Service> {
        let services = self.services();
        let place = services.binary_search_by(|service| service.name.cmp(name));
        services.get(place.ok()?)
    }

    /// The registrations of the instance.
    pub(super) fn known(&self, instance: &InstanceId) -> Vec<KnownGroup> {
        let mut known = Known::default();
        let target = TargetId::Instance(instance.clone());
        for configured in &self.configured {
            known.join(KnownGroup {
                arn: configured.arn.clone(),
                target: target.clone(),
                ports: configured.ports,
                source: Source::Arn,
                binding: None,
                care: Care::Ours,
                kind: None,
            });
        }
        for (api, binding) in self.own_bindings() {
            if binding.target_type == TargetType::Instance && self.means_this_node(binding) {
                known.join(self.bound(api, binding, &target));
            }
        }
        for group in self.tags.found() {
            let tagged = KnownGroup {
                arn: group.arn.clone(),
                target: target.clone(),
                ports: Ports::All,
                source: Source::Tag,
                binding: None,
                care: Care::Ours,
                kind: group.kind,
            };
            known.join(tagged);
        }
        known.groups
    }

    fn means_this_node(&self, binding: &Binding) -> bool {
        // As long as the labels are not known: deregistering what is not registered does nothing.
        self.node_labels
            .as_ref()
            .is_none_or(|labels| binding.node_selector.matches(labels))
    }

    fn bound(&self, api: BindingApi, binding: &Binding, target: &TargetId) -> KnownGroup {
        let node_port = self
            .service(&binding.service)
            .and_then(|service| service.port(&binding.port)?.node_port);
        KnownGroup {
            arn: binding.group.clone(),
            target: target.clone(),
            // Without its Service the group itself says which ports are ours.
            ports: node_port.map_or(Ports::All, Ports::Only),
            source: Source::Binding,
            binding: Some(binding.name.clone()),
            care: Care::Controller(api),
            kind: binding.kind,
        }
    }

    /// The registrations of this pod's own address. Only for pods that stay to the end: with every other the controller
    /// deregisters the address as soon as the pod is terminating, and undoes what is done earlier.
    pub(super) fn known_by_address(&self, pod: &PodView) -> Vec<KnownGroup> {
        let Some(address) = pod.address else {
            return Vec::new();
        };
        self.own_bindings()
            .filter(|(_, binding)| binding.target_type == TargetType::Ip)
            .filter_map(|(_, binding)| {
                let service = self.service(&binding.service)?;
                if !service.selects(&pod.pod.namespace, &pod.labels) {
                    return None;
                }
                let port = service.port(&binding.port)?;
                Some(KnownGroup {
                    arn: binding.group.clone(),
                    target: TargetId::Address(address),
                    ports: pod.port(&port.target).map_or(Ports::All, Ports::Only),
                    source: Source::Binding,
                    binding: Some(binding.name.clone()),
                    care: Care::Ours,
                    kind: binding.kind,
                })
            })
            .collect()
    }

    /// Tells what has been found since this was last asked.
    pub(super) fn tell(&mut self, instance: &InstanceId, agenda: &mut Agenda) {
        let lacks_ports =
            self.services.is_none() && agenda.is_open(&Task::Discover(Topic::Services));
        for group in self.known(instance) {
            if lacks_ports && group.source == Source::Binding {
                continue;
            }
            let is_new = self.told.insert((group.arn.clone(), group.target.clone()));
            if is_new && group.source != Source::Arn {
                agenda.tell(Fact::Target(group.fact(), TargetNews::Resolved));
            }
        }
        self.tell_other_accounts(instance, agenda);
    }

    fn tell_other_accounts(&mut self, instance: &InstanceId, agenda: &mut Agenda) {
        let target = TargetId::Instance(instance.clone());
        for binding in self.bindings.values().flatten() {
            let is_skipped = binding.account == Account::Other
                && binding.target_type == TargetType::Instance
                && self.means_this_node(binding);
            if is_skipped && self.told.insert((binding.group.clone(), target.clone())) {
                let fact = TargetFact {
                    group: binding.group.clone(),
                    port: None,
                    source: Source::Binding,
                    binding: Some(binding.name.clone()),
                };
                agenda.tell(Fact::Target(
                    fact,
                    TargetNews::Skipped(SkipReason::OtherAccount),
                ));
            }
        }
    }
}

/// What leads requests to a node, as one look at the cluster has it.
#[derive(Clone, Debug, Default)]
pub struct Front {
    /// The bindings of each API that is installed.
    pub bindings: BTreeMap<BindingApi, Vec<Binding>>,
    /// The Services.
    pub services: Vec<Service>,
    /// The node's labels, if they are known.
    pub node_labels: Option<Labels>,
    /// The groups that carry a tag that is looked for.
    pub tagged: Vec<ListedGroup>,
    /// The tags that are looked for.
    pub group_tags: Vec<GroupTag>,
}

impl Front {
    /// The answer to a question about it.
    #[must_use]
    pub fn answer(&self, inquiry: &Inquiry) -> Outcome {
        let finding = match inquiry {
            Inquiry::Bindings(api) => {
                Finding::Bindings(self.bindings.get(api).cloned().unwrap_or_default())
            }
            Inquiry::Services => Finding::Services(self.services.clone()),
            Inquiry::Groups(_) => Finding::Groups(self.tagged.clone(), None),
            Inquiry::Tags(groups) => {
                let carried = |group: &TargetGroupArn| (group.clone(), self.group_tags.clone());
                Finding::Tags(groups.iter().map(carried).collect())
            }
        };
        Outcome::Found(finding)
    }
}

/// The target groups that an interruption of a node behind this front would be about.
#[must_use]
pub fn groups_behind(policy: &Policy, front: &Front) -> Vec<ConfiguredGroup> {
    let discovery = Discovery {
        bindings: front.bindings.clone(),
        services: Some(by_name(front.services.clone())),
        node_labels: front.node_labels.clone(),
        tags: TagSearch::which_found(policy, front.tagged.clone()),
        ..Discovery::of(policy)
    };
    // Whichever instance it is: all of them have the same.
    discovery
        .unnamed()
        .into_iter()
        .map(|group| ConfiguredGroup {
            arn: group.arn,
            ports: group.ports,
        })
        .collect()
}

fn by_name(mut services: Vec<Service>) -> Vec<Service> {
    services.sort_by(|one, other| one.name.cmp(&other.name));
    services
}

/// The registrations of one instance.
#[derive(Default)]
struct Known {
    groups: Vec<KnownGroup>,
    /// Where each group is.
    places: BTreeMap<TargetGroupArn, usize>,
}

impl Known {
    /// A group that is known already gets what the other source knows of it: its keeper, its kind.
    fn join(&mut self, group: KnownGroup) {
        let place = self.places.get(&group.arn).copied();
        let Some(twin) = place.and_then(|place| self.groups.get_mut(place)) else {
            self.places.insert(group.arn.clone(), self.groups.len());
            self.groups.push(group);
            return;
        };
        twin.binding = twin.binding.take().or(group.binding);
        twin.kind = twin.kind.or(group.kind);
        if twin.care == Care::Ours {
            twin.care = group.care;
        }
        // One Service each, or named twice: the group holds both ports. But a port that the operator named alone stays
        // the only one.
        let is_named = twin.source == Source::Arn
            && group.source != Source::Arn
            && matches!(twin.ports, Ports::Only(_));
        if twin.ports != group.ports && !is_named {
            twin.ports = Ports::All;
        }
    }
}

impl KnownGroup {
    /// How facts name it.
    pub(super) fn fact(&self) -> TargetFact {
        TargetFact {
            group: self.arn.clone(),
            port: match self.ports {
                Ports::All => None,
                Ports::Only(port) => Some(port),
            },
            source: self.source,
            binding: self.binding.clone(),
        }
    }
}
