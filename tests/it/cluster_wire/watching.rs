//! The watch: its events, its ends and its pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json as object;
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::plan::action::WatchEvent;
use spot_interrupt_handler::plan::id::{PodUid, ResourceVersion};
use spot_interrupt_handler::ports::{Cluster, ClusterError, Refusal};
use tokio::sync::mpsc::unbounded_channel;

use super::{cluster_at, refusal};
use crate::scripted::{Reply, Server, json};

const BOOKMARK: &str = r#"{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"80","creationTimestamp":null},"spec":{"containers":null},"status":{}}}"#;

fn line(kind: &str, uid: &str) -> String {
    let event = object!({
        "type": kind,
        "object": {
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"namespace": "shop", "name": "web-0", "uid": uid, "resourceVersion": "79"},
            "spec": {"nodeName": super::NODE, "containers": [{"name": "main", "image": "x"}]},
            "status": {"phase": "Running"},
        },
    });
    format!("{event}\n")
}

/// Every item of a watch whose answer is this reply, in a few words.
async fn watched(reply: Reply) -> Vec<String> {
    let server = Server::replying([reply]).await;
    let cluster = cluster_at(&server.url).await;
    let watch = cluster
        .watch(&ResourceVersion::new("78"))
        .await
        .expect("a watch");
    watch.map(|item| in_words(&item)).collect().await
}

fn in_words(item: &Result<WatchEvent, ClusterError>) -> String {
    match item {
        Ok(WatchEvent::Seen(view, _)) => format!("seen {}", view.pod.uid),
        Ok(WatchEvent::Gone(uid, _)) => format!("gone {uid}"),
        Ok(WatchEvent::Opened) => unreachable!("the stream itself says so"),
        Ok(WatchEvent::Bookmark(_)) => "bookmark".to_owned(),
        Err(ClusterError::Refused {
            refusal, status, ..
        }) => format!("{refusal:?} {status}"),
        Err(ClusterError::Unreadable(_)) => "unreadable".to_owned(),
        Err(ClusterError::Lost(_)) => "lost".to_owned(),
        Err(ClusterError::Unreachable(_)) => "unreachable".to_owned(),
    }
}

#[tokio::test]
async fn a_watch_brings_pods_seen_pods_gone_and_bookmarks_and_ends_with_the_server() {
    let body = [
        line("ADDED", "a"),
        line("MODIFIED", "a"),
        format!("{BOOKMARK}\n"),
        line("DELETED", "a"),
    ]
    .concat();
    assert_eq!(
        watched(json(200, body)).await,
        ["seen a", "seen a", "bookmark", "gone a"]
    );
    assert_eq!(watched(json(200, "")).await, [""; 0]);
}

#[tokio::test]
async fn events_arrive_as_they_are_sent_however_they_are_cut() {
    let (sender, pieces) = unbounded_channel();
    let server = Server::replying([Reply::Pieces(pieces)]).await;
    let cluster = cluster_at(&server.url).await;
    let watch = cluster
        .watch(&ResourceVersion::new("78"))
        .await
        .expect("a watch");
    let mut watch = std::pin::pin!(watch);
    let two = [line("ADDED", "a"), line("DELETED", "a")].concat();
    for (from, to) in [(0, 1), (1, 90), (90, two.len() - 1)] {
        sender.send(two[from..to].to_owned()).expect("a server");
    }
    assert_eq!(
        watch.next().await.map(|item| in_words(&item)),
        Some("seen a".to_owned())
    );
    sender.send("\n".to_owned()).expect("a server");
    assert!(matches!(
        watch.next().await,
        Some(Ok(WatchEvent::Gone(uid, _))) if uid == PodUid::new("a")
    ));
    drop(sender);
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_version_that_is_too_old_is_expired_as_an_answer_and_as_an_event_alike() {
    let status = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1 (80)","reason":"Expired","code":410}"#;
    let server = Server::replying([json(410, status)]).await;
    let cluster = cluster_at(&server.url).await;
    let answer = cluster.watch(&ResourceVersion::new("1")).await.map(|_| ());
    assert_eq!(
        refusal(answer),
        (
            Refusal::Expired,
            410,
            "too old resource version: 1 (80)".to_owned()
        )
    );
    let event = format!("{{\"type\":\"ERROR\",\"object\":{status}}}\n");
    let body = [line("ADDED", "a"), event, line("DELETED", "a")].concat();
    assert_eq!(watched(json(200, body)).await, ["seen a", "Expired 410"]);
}

#[tokio::test]
async fn an_error_event_of_another_kind_keeps_its_code() {
    for (object, expected) in [
        (r#"{"kind":"Status","code":500}"#, "ServerError 500"),
        (r#"{"kind":"Status","code":429}"#, "Throttled(None) 429"),
        (r#"{"kind":"Status"}"#, "ServerError 500"),
        (r#"{"kind":"Status","code":0}"#, "ServerError 500"),
        ("null", "unreadable"),
    ] {
        let body = format!("{{\"type\":\"ERROR\",\"object\":{object}}}\n");
        assert_eq!(watched(json(200, body)).await, [expected], "{object}");
    }
}

#[tokio::test]
async fn a_line_that_cannot_be_read_ends_the_watch_as_unreadable() {
    for garbage in [
        "nonsense\n",
        "\n",
        "{\"type\":\"RENAMED\",\"object\":{}}\n",
        "{\"type\":\"ADDED\"}\n",
        "{\"type\":\"ADDED\",\"object\":{\"kind\":\"Node\",\"apiVersion\":\"v1\"}}\n",
        "{\"kind\":\"Status\",\"code\":500}\n",
    ] {
        let body = [line("ADDED", "a"), garbage.to_owned(), line("ADDED", "b")].concat();
        assert_eq!(
            watched(json(200, body)).await,
            ["seen a", "unreadable"],
            "{garbage}"
        );
    }
}

#[tokio::test]
async fn a_watch_that_ends_in_the_middle_of_a_line_is_lost() {
    let whole = line("ADDED", "a");
    let half = &line("DELETED", "a")[..40];
    let ended = json(200, format!("{whole}{half}"));
    assert_eq!(watched(ended).await, ["seen a", "lost"]);
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
    let torn = Reply::Torn(format!("{head}{whole}{half}"));
    assert_eq!(watched(torn).await, ["seen a", "lost"]);
    let torn_between = Reply::Torn(format!("{head}{whole}"));
    assert_eq!(watched(torn_between).await, ["seen a", "lost"]);
}

#[tokio::test]
async fn a_pod_that_cannot_be_named_is_passed_over() {
    let nameless =
        r#"{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"uid":"x"}}}"#;
    let deleted = r#"{"type":"DELETED","object":{"kind":"Pod","apiVersion":"v1","metadata":{}}}"#;
    let body = format!("{nameless}\n{deleted}\n{BOOKMARK}\n");
    assert_eq!(watched(json(200, body)).await, ["bookmark"]);
}

#[tokio::test]
async fn a_line_without_end_is_refused_and_not_held() {
    let reply = Reply::Flood("x".repeat(64 * 1024), Arc::default());
    assert_eq!(watched(reply).await, ["unreadable"]);
}

#[tokio::test]
async fn a_watch_takes_no_more_from_the_server_than_its_caller_reads() {
    let written = Arc::new(AtomicUsize::new(0));
    let many = format!("{BOOKMARK}\n").repeat(400);
    let server = Server::replying([Reply::Flood(many, written.clone())]).await;
    let cluster = cluster_at(&server.url).await;
    let watch = cluster
        .watch(&ResourceVersion::new("78"))
        .await
        .expect("a watch");
    let mut watch = std::pin::pin!(watch);
    watch.next().await.expect("an event").expect("a bookmark");
    let clock = Clock::real();
    let mut before = usize::MAX;
    while before != written.load(Ordering::Relaxed) {
        before = written.load(Ordering::Relaxed);
        assert!(before < 64 * 1024 * 1024, "the server is never held back");
        clock.sleep(Duration::from_millis(200)).await;
    }
    watch.next().await.expect("an event").expect("a bookmark");
}
