//! The way from the account's target groups to those with a tag: page by page, then twenty at a time.

use crate::plan::action::{Finding, Inquiry};
use crate::plan::binding::{GroupTag, ListedGroup, Marker, TargetType};
use crate::plan::id::TargetGroupArn;
use crate::plan::policy::Policy;

/// A listing of more pages than this is going round in circles: an account has 3,000 target groups, 400 to the page, and
/// may have been given ten times as many.
const MOST_PAGES: u32 = 75;

/// How far it has come.
#[derive(Debug)]
pub struct TagSearch {
    wanted: Vec<GroupTag>,
    step: Step,
    pages: u32,
    unread: Vec<ListedGroup>,
    /// So many of the next are asked for one by one: one of them is gone, which fails a call about all.
    singly: usize,
    found: Vec<ListedGroup>,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Listing(Option<Marker>),
    Reading,
    Done,
}

impl TagSearch {
    /// One that has not asked for anything yet.
    #[must_use]
    pub fn of(policy: &Policy) -> Self {
        Self {
            wanted: policy.group_tags.clone(),
            step: Step::Listing(None),
            pages: 0,
            unread: Vec::new(),
            singly: 0,
            found: Vec::new(),
        }
    }

    /// One that has come to its end with these.
    pub(super) fn which_found(policy: &Policy, found: Vec<ListedGroup>) -> Self {
        Self {
            step: Step::Done,
            found,
            ..Self::of(policy)
        }
    }

    /// What is to be asked next; none when all is known.
    #[must_use]
    pub fn next_inquiry(&self) -> Option<Inquiry> {
        match &self.step {
            Step::Listing(from) => Some(Inquiry::Groups(from.clone())),
            Step::Reading => {
                let next = self.unread.iter().take(self.batch());
                Some(Inquiry::Tags(next.map(|group| group.arn.clone()).collect()))
            }
            Step::Done => None,
        }
    }

    /// Takes the answer to what was asked last.
    pub fn take(&mut self, finding: &Finding) {
        match finding {
            Finding::Groups(groups, next) => self.take_page(groups, next.clone()),
            Finding::Tags(tags) => self.take_tags(tags),
            Finding::Bindings(_) | Finding::Services(_) => {}
        }
    }

    /// One of the groups whose tags were asked for is not there any more.
    pub fn take_absence(&mut self) {
        let asked = self.unread.len().min(self.batch());
        if asked > 1 {
            self.singly = asked;
        } else {
            self.take_tags(&[]);
        }
    }

    /// The groups that carry a tag, as far as they are known.
    #[must_use]
    pub fn found(&self) -> &[ListedGroup] {
        &self.found
    }

    /// Whether it is tags that are asked for, not groups.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.step == Step::Reading
    }

    pub(super) fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    pub(super) fn give_up(&mut self) {
        self.step = Step::Done;
    }

    fn take_page(&mut self, groups: &[ListedGroup], next: Option<Marker>) {
        let on_nodes = groups
            .iter()
            .filter(|group| group.target_type == TargetType::Instance);
        self.unread.extend(on_nodes.cloned());
        self.pages += 1;
        let goes_round = next.is_some() && self.step == Step::Listing(next.clone());
        self.step = match next {
            Some(next) if !goes_round && self.pages < MOST_PAGES => Step::Listing(Some(next)),
            Some(_) | None if self.unread.is_empty() => Step::Done,
            Some(_) | None => Step::Reading,
        };
    }

    fn batch(&self) -> usize {
        match self.singly {
            0 => Inquiry::GROUPS_PER_CALL,
            _ => 1,
        }
    }

    fn take_tags(&mut self, tags: &[(TargetGroupArn, Vec<GroupTag>)]) {
        let read = self.unread.len().min(self.batch());
        self.singly = self.singly.saturating_sub(1);
        for group in self.unread.drain(..read) {
            let carries = |(arn, carried): &(TargetGroupArn, Vec<GroupTag>)| {
                *arn == group.arn && self.wanted.iter().any(|tag| carried.contains(tag))
            };
            if tags.iter().any(carries) {
                self.found.push(group);
            }
        }
        if self.unread.is_empty() {
            self.step = Step::Done;
        }
    }
}
