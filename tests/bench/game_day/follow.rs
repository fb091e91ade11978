//! A LIST and the WATCH from there, again and again.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

/// What is to be known of a kind of objects.
pub enum Change<K> {
    /// These are all there are.
    All(Vec<K>),
    /// It is new, or has changed.
    Applied(K),
    Deleted(K),
}

/// Tells of every change, until it is dropped.
pub async fn follow<K>(objects: Api<K>, see: impl Fn(Change<K>))
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    loop {
        if let Err(error) = once(&objects, &see).await {
            eprintln!("watching: {error}; listing again");
            sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn once<K>(objects: &Api<K>, see: &impl Fn(Change<K>)) -> kube::Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let list = objects.list(&ListParams::default()).await?;
    let version = list.metadata.resource_version.unwrap_or_default();
    see(Change::All(list.items));
    let events = objects.watch(&WatchParams::default(), &version).await?;
    let mut events = pin!(events);
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                see(Change::Applied(object));
            }
            WatchEvent::Deleted(object) => see(Change::Deleted(object)),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
    }
    Ok(())
}
