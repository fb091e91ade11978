//! A watch's lines, one event each, read no faster than the caller takes them.

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;

use super::answer::{self, Status};
use super::object::Pod;
use super::pod;
use crate::plan::action::WatchEvent;
use crate::plan::id::{PodUid, ResourceVersion};
use crate::ports::ClusterError;

/// etcd takes objects of 1.5 MiB by default, and JSON may be longer than what it stores; nothing beyond is a pod.
const LINE_LIMIT: usize = 4 * 1024 * 1024;

/// One line of a watch. The server writes `type` first, so the object is read straight into its type.
#[derive(Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
enum Line {
    Added(Box<Pod>),
    Modified(Box<Pod>),
    Deleted(Box<Pod>),
    Bookmark(Marker),
    Error(Status),
}

/// The object of a bookmark: it stands for nothing but its version.
#[derive(Deserialize)]
struct Marker {
    metadata: MarkerMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MarkerMetadata {
    resource_version: String,
}

/// A watch that stopped where no event ends.
#[derive(Debug, thiserror::Error)]
enum Torn {
    #[error("the watch ended in the middle of an event")]
    MidLine,
    #[error("an event of the watch is longer than {LINE_LIMIT} bytes")]
    TooLong,
}

/// The events of a watch whose answer has begun. An error is the last item.
pub(super) fn events(
    body: Body,
) -> impl Stream<Item = Result<WatchEvent, ClusterError>> + Send + 'static {
    let lines = Lines {
        chunks: body
            .into_data_stream()
            .map(|chunk| chunk.map_err(answer::below_kube))
            .boxed(),
        pending: BytesMut::new(),
        searched: 0,
        is_over: false,
    };
    stream::unfold(lines, |mut lines| async move {
        let event = lines.next_event().await?;
        lines.is_over |= event.is_err();
        Some((event, lines))
    })
}

struct Lines {
    chunks: BoxStream<'static, Result<Bytes, crate::ports::Cause>>,
    pending: BytesMut,
    /// So many bytes of `pending` are known to hold no end of line: a long line must not be searched again per chunk.
    searched: usize,
    is_over: bool,
}

impl Lines {
    async fn next_event(&mut self) -> Option<Result<WatchEvent, ClusterError>> {
        loop {
            let event = match self.next_line().await? {
                Ok(line) => read_event(&line),
                Err(error) => Err(error),
            };
            if let Some(event) = event.transpose() {
                return Some(event);
            }
        }
    }

    async fn next_line(&mut self) -> Option<Result<Bytes, ClusterError>> {
        if self.is_over {
            return None;
        }
        loop {
            if let Some(line) = self.take_line() {
                return Some(Ok(line));
            }
            if self.pending.len() > LINE_LIMIT {
                return Some(Err(ClusterError::Unreadable(Box::new(Torn::TooLong))));
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.pending.extend_from_slice(&chunk),
                Some(Err(cause)) => return Some(Err(ClusterError::Lost(cause))),
                None if self.pending.is_empty() => return None,
                None => return Some(Err(ClusterError::Lost(Box::new(Torn::MidLine)))),
            }
        }
    }

    fn take_line(&mut self) -> Option<Bytes> {
        let end = self.pending[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n');
        let Some(end) = end else {
            self.searched = self.pending.len();
            return None;
        };
        let line = self.pending.split_to(self.searched + end + 1);
        self.searched = 0;
        Some(line.freeze())
    }
}

/// What a line of a watch says; nothing when it is about a pod that cannot be named, and so cannot be acted upon.
///
/// # Errors
/// [`ClusterError::Unreadable`] when it is no event, and what the server says in an event of type `ERROR`.
pub fn read_event(line: &[u8]) -> Result<Option<WatchEvent>, ClusterError> {
    match answer::decode(line)? {
        Line::Added(pod) | Line::Modified(pod) => {
            let version = version(&pod);
            Ok(pod::view(*pod).map(|view| WatchEvent::Seen(view, version)))
        }
        Line::Deleted(pod) => {
            let version = version(&pod);
            let uid = pod.metadata.and_then(|metadata| metadata.uid);
            let uid = uid.map(PodUid::new);
            Ok(uid.map(|uid| WatchEvent::Gone(uid, version)))
        }
        Line::Bookmark(marker) => Ok(Some(WatchEvent::Bookmark(ResourceVersion::new(
            marker.metadata.resource_version,
        )))),
        Line::Error(status) => Err(status.into_error()),
    }
}

/// Every object of a server has one.
fn version(pod: &Pod) -> ResourceVersion {
    let metadata = pod.metadata.as_ref();
    let version = metadata.and_then(|metadata| metadata.resource_version.clone());
    ResourceVersion::new(version.unwrap_or_default())
}
