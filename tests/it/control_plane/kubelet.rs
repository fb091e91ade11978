//! What a kubelet does with terminating pods, and a count of how often each was told to terminate.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Preconditions, WatchEvent, WatchParams};
use kube::{Api, Client};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// How many seconds a pod takes to stop; 1 without it.
pub const TERMINATE_SECONDS: &str = "test/terminate-seconds";

/// One graceful termination as the kubelet was told it: a second one for a pod is a shortened first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Termination {
    pub deletion_timestamp: Timestamp,
    pub grace_seconds: i64,
}

type Terminations = Arc<Mutex<BTreeMap<String, BTreeSet<Termination>>>>;

/// Stops the terminating pods of one node until it is dropped. A pod is gone after what it takes to stop or after the
/// grace it was given, whichever is shorter.
#[derive(Debug)]
pub struct FakeKubelet {
    terminations: Terminations,
    task: JoinHandle<()>,
}

impl FakeKubelet {
    /// Returns at once; the pods that terminate already are found by the first LIST.
    pub fn start(client: Client, node: &str) -> Self {
        let terminations = Terminations::default();
        let kubelet = Kubelet {
            pods: Api::all(client.clone()),
            client,
            selector: format!("spec.nodeName={node}"),
            terminations: Arc::clone(&terminations),
            stopping: BTreeMap::new(),
        };
        Self {
            terminations,
            task: tokio::spawn(kubelet.run()),
        }
    }

    /// Each termination that the pod with this UID was told, by time; empty for one that never was.
    pub fn terminations(&self, uid: &str) -> Vec<Termination> {
        let all = self
            .terminations
            .lock()
            .expect("nothing panics while it holds the lock");
        all.get(uid).into_iter().flatten().copied().collect()
    }
}

impl Drop for FakeKubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Kubelet {
    client: Client,
    pods: Api<Pod>,
    selector: String,
    terminations: Terminations,
    /// By UID: the pods that were told to stop and are not gone.
    stopping: BTreeMap<String, Stopping>,
}

struct Stopping {
    namespace: String,
    name: String,
    /// When its main process would have ended by itself.
    ends: Instant,
    /// `ends`, or the end of the shortest grace it was given.
    gone: Instant,
}

impl Kubelet {
    async fn run(mut self) {
        loop {
            if let Err(error) = self.watch().await {
                eprintln!("fake kubelet ({}): {error}; listing again", self.selector);
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// One LIST and the WATCH from there, until that ends.
    async fn watch(&mut self) -> kube::Result<()> {
        let list = self
            .pods
            .list(&ListParams::default().fields(&self.selector))
            .await?;
        for pod in &list.items {
            self.see(pod);
        }
        let version = list.metadata.resource_version.unwrap_or_default();
        let pods = self.pods.clone();
        let mut events = pin!(
            pods.watch(&WatchParams::default().fields(&self.selector), &version)
                .await?
        );
        loop {
            let next = self.stopping.values().map(|pod| pod.gone).min();
            tokio::select! {
                event = events.try_next() => match event? {
                    Some(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => self.see(&pod),
                    Some(WatchEvent::Deleted(pod)) => {
                        self.stopping.remove(&pod.metadata.uid.unwrap_or_default());
                    }
                    Some(WatchEvent::Bookmark(_)) => {}
                    Some(WatchEvent::Error(status)) => return Err(kube::Error::Api(status)),
                    None => return Ok(()),
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => self.remove_gone().await?,
            }
        }
    }

    /// Notes a termination that is new or shorter than before.
    fn see(&mut self, pod: &Pod) {
        let metadata = &pod.metadata;
        let (Some(uid), Some(at)) = (&metadata.uid, &metadata.deletion_timestamp) else {
            return;
        };
        let grace_seconds = metadata.deletion_grace_period_seconds.unwrap_or_default();
        if grace_seconds == 0 {
            // The end of a termination, by us or by force: no signal that a process could act on.
            return;
        }
        let told = Termination {
            deletion_timestamp: at.0,
            grace_seconds,
        };
        let new = {
            let mut all = self
                .terminations
                .lock()
                .expect("nothing panics while it holds the lock");
            all.entry(uid.clone()).or_default().insert(told)
        };
        if !new {
            return;
        }
        let now = Instant::now();
        let stopping = self.stopping.entry(uid.clone()).or_insert_with(|| {
            let ends = now + stops_after(pod);
            Stopping {
                namespace: metadata.namespace.clone().unwrap_or_default(),
                name: metadata.name.clone().unwrap_or_default(),
                ends,
                gone: ends,
            }
        });
        let killed = now + Duration::from_secs(grace_seconds.unsigned_abs());
        stopping.gone = stopping.ends.min(stopping.gone).min(killed);
    }

    /// Deletes what has stopped, as the kubelet does: at once, and only that very pod.
    async fn remove_gone(&mut self) -> kube::Result<()> {
        let now = Instant::now();
        let gone: Vec<_> = self
            .stopping
            .extract_if(.., |_, pod| pod.gone <= now)
            .collect();
        for (uid, pod) in gone {
            let only_this = Preconditions {
                uid: Some(uid),
                resource_version: None,
            };
            let at_once = DeleteParams::default()
                .grace_period(0)
                .preconditions(only_this);
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
            match pods.delete(&pod.name, &at_once).await {
                Ok(_) => {}
                // Gone by itself, or a successor of that name.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn stops_after(pod: &Pod) -> Duration {
    let annotation = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(TERMINATE_SECONDS));
    let seconds = annotation.map_or(1.0, |text| {
        text.parse()
            .expect("test/terminate-seconds is a number of seconds")
    });
    Duration::from_secs_f64(seconds)
}
