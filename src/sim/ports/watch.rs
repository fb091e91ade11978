//! A watch as the weather lets it through.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::Stream;

use super::answers::{cluster_refusal, pod_view};
use super::{Cause, Weather};
use crate::plan::action::WatchEvent;
use crate::plan::id::{NodeName, ResourceVersion};
use crate::plan::time::Moment;
use crate::ports::ClusterError;
use crate::sim::cluster::ChangeKind;
use crate::sim::stage::{Changes, Stage};

/// A real server sends bookmarks about once a minute.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// From the watch's server to its client.
const LATENCY: Duration = Duration::from_millis(2);

struct Cursor {
    stage: Arc<Stage>,
    weather: Arc<Mutex<Weather>>,
    changes: Changes,
    node: NodeName,
    version: u64,
    opened: Moment,
    bookmark_at: Moment,
    events: VecDeque<WatchEvent>,
    is_over: bool,
}

/// The events of a watch from `version`.
pub(super) fn stream(
    stage: Arc<Stage>,
    weather: Arc<Mutex<Weather>>,
    node: NodeName,
    version: u64,
) -> impl Stream<Item = Result<WatchEvent, ClusterError>> + Send + 'static {
    let now = stage.clock().now().at;
    let cursor = Cursor {
        changes: stage.changes(),
        stage,
        weather,
        node,
        version,
        opened: now,
        bookmark_at: now + BOOKMARK_INTERVAL,
        events: VecDeque::new(),
        is_over: false,
    };
    futures_util::stream::unfold(cursor, |mut cursor| async move {
        let event = cursor.next().await?;
        cursor.is_over |= event.is_err();
        Some((event, cursor))
    })
}

impl Cursor {
    async fn next(&mut self) -> Option<Result<WatchEvent, ClusterError>> {
        if self.is_over {
            return None;
        }
        let clock = self.stage.clock().clone();
        loop {
            let now = clock.now().at;
            let (breaks_at, mute_until) = {
                let weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
                (
                    weather.watch_breaks_at(self.opened),
                    weather.mute_until(now),
                )
            };
            if breaks_at.is_some_and(|at| at <= now) {
                let cause = Cause("broke the watch");
                return Some(Err(ClusterError::Lost(Box::new(cause))));
            }
            if let Some(until) = mute_until {
                clock
                    .sleep_until(until.min(breaks_at.unwrap_or(until)))
                    .await;
                continue;
            }
            if let Err(error) = self.collect() {
                return Some(Err(error));
            }
            if let Some(event) = self.events.pop_front() {
                return Some(Ok(event));
            }
            if now >= self.bookmark_at {
                self.bookmark_at = now + BOOKMARK_INTERVAL;
                return Some(Ok(WatchEvent::Bookmark(version(self.version))));
            }
            let due = breaks_at.map_or(self.bookmark_at, |at| at.min(self.bookmark_at));
            let mute_from = {
                let weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
                weather.mute_from(now)
            };
            let due = mute_from.map_or(due, |from| from.min(due));
            tokio::select! {
                biased;
                () = self.changes.changed() => clock.sleep(LATENCY).await,
                () = clock.sleep_until(due) => {}
            }
        }
    }

    fn collect(&mut self) -> Result<(), ClusterError> {
        self.changes.mark_unchanged();
        let stage = self.stage.clone();
        stage.look(|world| {
            let changes = world
                .cluster
                .changes_since(self.version)
                .map_err(|refused| cluster_refusal(&refused))?;
            let own = changes
                .iter()
                .filter(|change| change.pod.node == self.node)
                .map(|change| match change.kind {
                    ChangeKind::Added | ChangeKind::Modified => {
                        WatchEvent::Seen(pod_view(&change.pod), version(change.version))
                    }
                    ChangeKind::Deleted => {
                        WatchEvent::Gone(change.pod.uid.clone(), version(change.version))
                    }
                });
            self.events.extend(own);
            self.version = changes.last().map_or(self.version, |change| change.version);
            Ok(())
        })
    }
}

fn version(number: u64) -> ResourceVersion {
    ResourceVersion::new(number.to_string())
}
