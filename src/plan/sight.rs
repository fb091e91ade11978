//! Seeing the pods of the node: one LIST, then a WATCH from there, again from the start whenever that breaks.

use std::time::Duration;

use super::action::{Failure, FailureKind, Freshness, Request, Route};
use super::id::ResourceVersion;
use super::task::{Agenda, Task, doubled};
use super::time::Moment;

/// A LIST of 250 pods is 1.4 MB (measured) and comes from the server's cache; past this the server is in trouble.
const LIST_TIMEOUT: Duration = Duration::from_secs(12);

/// A LIST from the cache takes milliseconds, so one that takes this long may have been lost with a server that hung: a
/// second is sent beside it, and again as long as neither is answered. The first keeps its time, because in a server
/// that is merely full it may be next in line.
pub(super) const LIST_PATIENCE: Duration = Duration::from_secs(3);

/// From one of those to the next.
const GLANCE_INTERVAL: Duration = Duration::from_secs(2);

/// A server that is full is asked this often: three seconds after it has room again, every pod has been evicted.
const LONGEST_WAIT: Duration = Duration::from_millis(1_500);

/// Lists that nobody has to have at once are this far apart.
const LIST_INTERVAL: Duration = Duration::from_secs(1);

/// The server answers a WATCH at once, before there is anything to tell.
const OPENING: Duration = Duration::from_secs(12);

/// The server sends a bookmark about once a minute; five more seconds for it to arrive.
const SILENCE: Duration = Duration::from_secs(65);

/// A list from the server's cache may be a little old, and the watch brings the rest within milliseconds.
const SETTLING: Duration = Duration::from_secs(1);

/// What is under way to see the pods.
///
/// ```text
///   Listing ──pods──▶ Watching ──ended, silent──▶ wait ──▶ Listing …
/// ```
#[derive(Debug)]
pub(super) struct Sight {
    /// How often a LIST or WATCH broke since one last brought something.
    breaks: u32,
    listed: Listed,
    /// The newest version seen: no later LIST may be older.
    newest: Option<ResourceVersion>,
    /// Whether the server's cache has been asked for that version in vain.
    cache: Cache,
    /// When the LIST that is under way, or the last one, was asked for.
    asked: Moment,
    /// When the second one beside it was.
    glanced: Moment,
}

/// Whether the server's cache is worth asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cache {
    Current,
    Behind,
}

/// Whether the pods were ever seen: as long as they were not, nobody can say that all are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    Never,
    /// So recently that the watch may still bring what the server's cache had not heard of.
    Lately(Moment),
    Settled,
}

impl Sight {
    /// Starts with a LIST.
    pub(super) fn begin(agenda: &mut Agenda, now: Moment) -> Self {
        let mut sight = Self {
            listed: Listed::Never,
            ..Self::averted(now)
        };
        sight.list(Route::Shared, agenda, now);
        sight
    }

    /// Looks at nothing: the pods are another's business.
    pub(super) fn averted(now: Moment) -> Self {
        Self {
            breaks: 0,
            listed: Listed::Settled,
            newest: None,
            cache: Cache::Current,
            asked: now,
            glanced: now,
        }
    }

    /// Lists again, in place of the watch; a LIST that is under way is left to come. When one was asked for only just now,
    /// the answer is when to ask again: many pods may have the same doubt within a second.
    pub(super) fn list_again(
        &mut self,
        route: Route,
        agenda: &mut Agenda,
        now: Moment,
    ) -> Option<Moment> {
        let is_listing = agenda.is_trying(&Task::See) && !Self::is_watching(agenda);
        let next = self.asked + LIST_INTERVAL;
        if is_listing {
            return None;
        }
        if now < next {
            return Some(next);
        }
        self.list(route, agenda, now);
        None
    }

    /// Lists, in place of whatever is under way.
    pub(super) fn list(&mut self, route: Route, agenda: &mut Agenda, now: Moment) {
        self.asked = now;
        agenda.close(&Task::WatchSilence);
        agenda.attempt(
            Task::See,
            Request::ListPods(self.freshness(), route),
            Some(now + LIST_TIMEOUT),
        );
        if !agenda.is_open(&Task::Glance) {
            agenda.wait(Task::Glance, now + LIST_PATIENCE);
        }
    }

    fn freshness(&self) -> Freshness {
        match (&self.newest, self.cache) {
            (None, _) => Freshness::Cached,
            (Some(version), Cache::Current) => Freshness::NotOlderThan(version.clone()),
            (Some(_), Cache::Behind) => Freshness::Newest,
        }
    }

    /// Lists a second time, beside what is not answered.
    pub(super) fn glance(&mut self, agenda: &mut Agenda, now: Moment) {
        // The first goes the way of the LIST it is beside: the server may only be slow. From the second on a server that
        // hangs is left, where there are several behind one address.
        let route = if self.glanced > self.asked {
            Route::New
        } else {
            Route::Shared
        };
        self.glanced = now;
        agenda.attempt(
            Task::Glance,
            Request::ListPods(self.freshness(), route),
            Some(now + GLANCE_INTERVAL),
        );
    }

    /// The second LIST was answered first: it takes the place of the other.
    pub(super) fn take_glance(&mut self, agenda: &mut Agenda) {
        self.asked = self.glanced;
        agenda.close(&Task::See);
    }

    /// The second LIST has failed. An answer that is none to the first means that the first was lost.
    pub(super) fn handle_failed_glance(
        &mut self,
        failure: &Failure,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        if failure.was_answered() {
            if agenda.is_trying(&Task::See) {
                agenda.close(&Task::See);
                self.handle_break(Some(failure), agenda, now);
            }
        } else {
            agenda.wait(Task::Glance, (self.glanced + GLANCE_INTERVAL).max(now));
        }
    }

    /// The LIST has come: goes on with a WATCH.
    pub(super) fn handle_list(
        &mut self,
        version: ResourceVersion,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        if self.listed == Listed::Never {
            self.listed = Listed::Lately(now);
        }
        self.cache = Cache::Current;
        self.newest = Some(version.clone());
        agenda.close(&Task::Glance);
        agenda.attempt(Task::See, Request::WatchPods(version), None);
        agenda.wait(Task::WatchSilence, now + OPENING);
    }

    /// The watch has brought something.
    pub(super) fn handle_event(
        &mut self,
        version: Option<&ResourceVersion>,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        self.breaks = 0;
        if let Some(version) = version {
            self.newest = Some(version.clone());
        }
        agenda.wait(Task::WatchSilence, now + SILENCE);
    }

    /// The LIST failed, or the WATCH ended, by the server's will or by an error.
    pub(super) fn handle_break(
        &mut self,
        failure: Option<&Failure>,
        agenda: &mut Agenda,
        now: Moment,
    ) {
        // Too large a resource version is answered so.
        if failure.is_some_and(|failure| failure.http_status == Some(504)) {
            self.cache = Cache::Behind;
        }
        agenda.close(&Task::WatchSilence);
        // Who was told something, be it that the connection has ended, needs no second LIST to find that out.
        if failure.is_none_or(|failure| failure.kind != FailureKind::TimedOut) {
            agenda.close(&Task::Glance);
        }
        self.breaks += 1;
        let wait = doubled(Duration::from_millis(100), self.breaks, LONGEST_WAIT);
        let wait = agenda.jitter().around(wait);
        agenda.wait(Task::See, now + wait);
    }

    /// When the list that has just come was asked for.
    pub(super) fn asked(&self) -> Moment {
        self.asked
    }

    fn is_watching(agenda: &Agenda) -> bool {
        agenda.is_open(&Task::WatchSilence)
    }

    /// Whether the pods were seen at least once.
    pub(super) fn has_listed(&self) -> bool {
        self.listed != Listed::Never
    }

    /// When the first list will have been followed by whatever it lacked; none when it was not, or has been.
    pub(super) fn settles_at(&self) -> Option<Moment> {
        match self.listed {
            Listed::Lately(at) => Some(at + SETTLING),
            Listed::Never | Listed::Settled => None,
        }
    }

    /// Lets the first list settle when its time has come.
    pub(super) fn settle(&mut self, now: Moment) {
        if self.settles_at().is_some_and(|at| at <= now) {
            self.listed = Listed::Settled;
        }
    }

    /// Whether all that is here was seen, as far as anybody can say.
    pub(super) fn has_settled(&self) -> bool {
        self.listed == Listed::Settled
    }
}
