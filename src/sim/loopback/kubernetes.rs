//! The Kubernetes API over HTTP: the paths that an agent on a node uses, and no others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Body, Read, objects, text};
use crate::plan::id::PodUid;
use crate::plan::time::Moment;
use crate::sim::cluster::{self, AtLeast, CACHE_WAIT, Cluster, DeleteOptions, Writes};
use crate::sim::journal::Service;
use crate::sim::node::NodePatch;
use crate::sim::refused::Refused;
use crate::sim::stage::{Changes, Stage};

/// A real server sends bookmarks about once a minute.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// A real server ends a watch after five to ten minutes.
const WATCH_ENDS_AFTER: Duration = Duration::from_secs(300);

pub(super) async fn answer(stage: Arc<Stage>, request: Read) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let query = Query::of(request.uri().query().unwrap_or_default());
    let method = request.method().clone();
    let (verb, object) = (verb(&method, &segments, &query), object(&segments));
    let result = match (&method, &segments[..]) {
        (&Method::GET, ["api", "v1", "nodes", name]) => {
            stage.with(|world, _| world.cluster.get_node(name).map(|node| ok(&node.to_json())))
        }
        (&Method::PATCH, ["api", "v1", "nodes", name]) => {
            patch_node(&stage, &request, name, query.writes)
        }
        (&Method::GET, ["api", "v1", "pods"]) if query.is_watch => Ok(watch(&stage, &query)),
        (&Method::GET, ["api", "v1", "pods"]) => list(&stage, &query).await,
        (
            &Method::POST,
            [
                "api",
                "v1",
                "namespaces",
                namespace,
                "pods",
                name,
                "eviction",
            ],
        ) => evict(&stage, &request, namespace, name, query.writes).await,
        (&Method::DELETE, ["api", "v1", "namespaces", namespace, "pods", name]) => {
            delete(&stage, &request, namespace, name).await
        }
        (&Method::PATCH, ["api", "v1", "namespaces", namespace, "pods", name, "status"]) => {
            patch_status(&stage, &request, namespace, name)
        }
        (&Method::GET, ["api", "v1", "namespaces", name]) => {
            let annotations = stage.look(|world| world.cluster.namespace_annotations(name));
            Ok(ok(&objects::namespace(name, &annotations)))
        }
        (&Method::POST, ["api", "v1", "namespaces", namespace, "events"]) => {
            publish(&stage, &request, namespace)
        }
        (
            &Method::POST,
            [
                "apis",
                "authorization.k8s.io",
                "v1",
                "selfsubjectaccessreviews",
            ],
        ) => Ok(review(&request)),
        (
            _,
            ["api", "v1", "nodes", _]
            | ["api", "v1", "pods"]
            | ["api", "v1", "namespaces", _, "pods", _, ..]
            | ["api", "v1", "namespaces", _, "events"],
        ) => Err(Refused::NoMethod),
        _ => Err(Refused::NoResource),
    };
    let response = result.unwrap_or_else(|refused| refusal(&refused));
    stage.record(
        Service::Kubernetes,
        verb,
        object,
        response.status().as_u16(),
        None,
    );
    response
}

fn verb(method: &Method, segments: &[&str], query: &Query) -> &'static str {
    match (method.as_str(), segments) {
        ("GET", [.., "pods"]) if query.is_watch => "watch pods",
        ("GET", [.., "pods"]) => "list pods",
        ("GET", [.., "nodes", _]) => "get node",
        ("GET", [_, _, "namespaces", _]) => "get namespace",
        ("PATCH", [.., "nodes", _]) => "patch node",
        ("POST", [.., "eviction"]) => "evict pod",
        ("DELETE", [.., "pods", _]) => "delete pod",
        ("PATCH", [.., "status"]) => "patch pod status",
        ("POST", [.., "events"]) => "create event",
        ("POST", [.., "selfsubjectaccessreviews"]) => "review access",
        _ => "other",
    }
}

fn object(segments: &[&str]) -> String {
    match segments {
        [_, _, "namespaces", namespace, _, name, ..] => format!("{namespace}/{name}"),
        [_, _, "nodes" | "namespaces", name] => (*name).to_owned(),
        _ => segments.join("/"),
    }
}

/// What matters of a query string.
#[derive(Default)]
struct Query {
    is_watch: bool,
    writes: Writes,
    node: Option<String>,
    version: Option<u64>,
    timeout: Option<Duration>,
}

impl Query {
    fn of(text: &str) -> Self {
        let mut query = Self::default();
        for (key, value) in url::form_urlencoded::parse(text.as_bytes()) {
            match key.as_ref() {
                "watch" => query.is_watch = matches!(value.as_ref(), "true" | "1"),
                "dryRun" if value == "All" => query.writes = Writes::DryRun,
                "fieldSelector" => {
                    query.node = value.strip_prefix("spec.nodeName=").map(str::to_owned);
                }
                "timeoutSeconds" => query.timeout = value.parse().ok().map(Duration::from_secs),
                "resourceVersion" => query.version = value.parse().ok(),
                _ => {}
            }
        }
        query
    }

    fn selects(&self, pod: &cluster::Change) -> bool {
        self.selects_node(pod.pod.node.as_str())
    }

    fn selects_node(&self, node: &str) -> bool {
        self.node.as_ref().is_none_or(|wanted| wanted == node)
    }
}

fn patch_node(
    stage: &Stage,
    request: &Read,
    name: &str,
    writes: Writes,
) -> Result<Response<Body>, Refused> {
    let patch: NodePatch = body(request)?;
    stage.with(|world, _| {
        let node = world.cluster.patch_node(name, &patch, writes)?;
        Ok(ok(&node.to_json()))
    })
}

/// Everybody may do everything here.
fn review(request: &Read) -> Response<Body> {
    let mut review: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    review["status"] = json!({ "allowed": true });
    let mut response = ok(&review);
    *response.status_mut() = StatusCode::CREATED;
    response
}

async fn list(stage: &Stage, query: &Query) -> Result<Response<Body>, Refused> {
    let at_least = match query.version {
        None => AtLeast::Newest,
        Some(0) => AtLeast::Cached,
        Some(version) => AtLeast::Version(version),
    };
    if stage.look(|world| world.cluster.reaches(at_least).is_err()) {
        stage.clock().sleep(CACHE_WAIT).await;
    }
    let (pods, version) = stage.look(|world| world.cluster.listed(at_least))?;
    let selected = pods
        .iter()
        .filter(|pod| query.selects_node(pod.node.as_str()));
    Ok(ok(&objects::list(selected, version)))
}

/// `deleteOptions` of an eviction, and the body of a deletion.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DeleteOptionsBody {
    grace_period_seconds: Option<i64>,
    preconditions: PreconditionsBody,
    dry_run: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PreconditionsBody {
    uid: Option<String>,
}

impl DeleteOptionsBody {
    fn read(self, writes: Writes) -> DeleteOptions {
        let is_dry = writes == Writes::DryRun || self.dry_run.iter().any(|value| value == "All");
        DeleteOptions {
            uid: self.preconditions.uid.map(PodUid::new),
            grace: self.grace_period_seconds,
            writes: if is_dry { Writes::DryRun } else { Writes::Real },
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EvictionBody {
    #[serde(default)]
    metadata: NamedBody,
    #[serde(default)]
    delete_options: DeleteOptionsBody,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedBody {
    name: String,
    uid: Option<String>,
}

async fn evict(
    stage: &Stage,
    request: &Read,
    namespace: &str,
    name: &str,
    writes: Writes,
) -> Result<Response<Body>, Refused> {
    let eviction: EvictionBody = body(request)?;
    if eviction.metadata.name != name {
        return Err(Refused::Malformed(
            "name in URL does not match name in Eviction object".to_owned(),
        ));
    }
    let options = eviction.delete_options.read(writes);
    let takes = stage.with(|world, _| world.cluster.eviction_takes(namespace, name, &options));
    stage.clock().sleep(takes).await;
    stage.with(|world, now| world.cluster.evict(namespace, name, &options, now))?;
    let success = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "code": 201,
    });
    Ok(json_answer(StatusCode::CREATED, &success))
}

async fn delete(
    stage: &Stage,
    request: &Read,
    namespace: &str,
    name: &str,
) -> Result<Response<Body>, Refused> {
    // With a body, the server does not heed the query (measured).
    let options: DeleteOptionsBody = if request.body().is_empty() {
        DeleteOptionsBody::default()
    } else {
        body(request)?
    };
    let options = options.read(Writes::Real);
    stage.clock().sleep(Cluster::deletion_takes()).await;
    let pod = stage.with(|world, now| world.cluster.delete(namespace, name, &options, now))?;
    Ok(ok(&objects::pod(&pod)))
}

#[derive(Deserialize)]
struct StatusPatch {
    #[serde(default)]
    metadata: NamedBody,
    status: ConditionsPatch,
}

#[derive(Deserialize)]
struct ConditionsPatch {
    conditions: Vec<ConditionPatch>,
}

#[derive(Deserialize)]
struct ConditionPatch {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    reason: String,
}

fn patch_status(
    stage: &Stage,
    request: &Read,
    namespace: &str,
    name: &str,
) -> Result<Response<Body>, Refused> {
    let patch: StatusPatch = body(request)?;
    let uid = patch.metadata.uid.map(PodUid::new);
    let target = patch
        .status
        .conditions
        .iter()
        .find(|condition| condition.kind == "DisruptionTarget")
        .ok_or_else(|| Refused::Malformed("no condition DisruptionTarget".to_owned()))?;
    stage.with(|world, _| {
        let cluster = &mut world.cluster;
        let pod = cluster.mark_disruption_target(namespace, name, uid.as_ref(), &target.reason)?;
        Ok(ok(&objects::pod(&pod)))
    })
}

#[derive(Deserialize)]
struct EventBody {
    metadata: NamedBody,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

fn publish(stage: &Stage, request: &Read, namespace: &str) -> Result<Response<Body>, Refused> {
    let event: EventBody = body(request)?;
    let published = cluster::Event {
        reason: event.reason,
        message: event.message,
    };
    stage.with(|world, _| {
        world
            .cluster
            .publish(namespace, &event.metadata.name, published)
    })?;
    let echo: Value = body(request)?;
    Ok(json_answer(StatusCode::CREATED, &echo))
}

/// A watch: what has changed since its version, and from then on whatever changes.
fn watch(stage: &Arc<Stage>, query: &Query) -> Response<Body> {
    let mut cursor = Cursor {
        stage: stage.clone(),
        changes: stage.changes(),
        query: Query {
            node: query.node.clone(),
            ..Query::default()
        },
        version: query.version.unwrap_or_default(),
        lines: VecDeque::new(),
        bookmark_at: stage.clock().now().at + BOOKMARK_INTERVAL,
        ends_at: stage.clock().now().at + query.timeout.unwrap_or(WATCH_ENDS_AFTER),
    };
    cursor.collect();
    let frames = futures_util::stream::unfold(cursor, |mut cursor| async move {
        let line = cursor.next().await?;
        Some((Ok(Frame::data(Bytes::from(line))), cursor))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

struct Cursor {
    stage: Arc<Stage>,
    changes: Changes,
    query: Query,
    version: u64,
    lines: VecDeque<String>,
    bookmark_at: Moment,
    ends_at: Moment,
}

impl Cursor {
    /// Takes what has changed since the last time. A refusal is a line, the last one, even of a watch that has not brought
    /// anything yet (`newErrWatcher` of the server's watch cache).
    fn collect(&mut self) {
        self.changes.mark_unchanged();
        let stage = self.stage.clone();
        stage.look(|world| match world.cluster.changes_since(self.version) {
            Ok(changes) => {
                let selected = changes.iter().filter(|change| self.query.selects(change));
                self.lines.extend(selected.map(objects::change));
                self.version = changes.last().map_or(self.version, |change| change.version);
            }
            Err(refused) => {
                self.ends_at = stage.clock().now().at;
                self.lines
                    .push_back(objects::line("ERROR", &refused.status()));
            }
        });
    }

    /// The next line; none when the watch ends.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            let clock = self.stage.clock().clone();
            tokio::select! {
                biased;
                () = self.changes.changed() => {}
                () = clock.sleep_until(self.bookmark_at.min(self.ends_at)) => {}
            }
            let now = clock.now().at;
            if now >= self.ends_at {
                return None;
            }
            if now >= self.bookmark_at {
                self.bookmark_at = now + BOOKMARK_INTERVAL;
                let bookmark = self.stage.look(|world| objects::bookmark(&world.cluster));
                self.lines.push_back(bookmark);
            }
            self.collect();
        }
    }
}

fn body<T: DeserializeOwned>(request: &Read) -> Result<T, Refused> {
    serde_json::from_slice(request.body())
        .map_err(|error| Refused::Malformed(format!("the body cannot be decoded: {error}")))
}

fn ok(object: &Value) -> Response<Body> {
    json_answer(StatusCode::OK, object)
}

fn json_answer(status: StatusCode, object: &Value) -> Response<Body> {
    text(status, "application/json", object.to_string())
}

fn refusal(refused: &Refused) -> Response<Body> {
    let status = StatusCode::from_u16(refused.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_answer(status, &refused.status());
    if let Some(seconds) = refused.retry_after() {
        response
            .headers_mut()
            .insert(http::header::RETRY_AFTER, seconds.into());
    }
    response
}
