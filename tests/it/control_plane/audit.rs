//! The API server's own account of who asked it for what.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::ControlPlane;

const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// A place in the audit log; a test reads from the one it took before it began.
#[derive(Debug, Clone, Copy)]
pub struct AuditMark(u64);

/// One call that was answered, or, with `stage` `ResponseStarted`, a watch that is being answered.
#[derive(Debug, Clone)]
pub struct AuditEvent {
    pub user: String,
    /// The node that the caller's token names.
    pub token_node: Option<String>,
    pub verb: String,
    /// `nodes`, `pods`, `events` …; empty for a path that is no resource.
    pub resource: String,
    /// `eviction`, `status` or empty.
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub uri: String,
    pub code: u16,
    pub received: Timestamp,
    pub stage: String,
    /// What was sent with it.
    pub request: Option<Value>,
}

impl ControlPlane {
    /// The end of the audit log as it is now.
    pub fn audit_mark(&self) -> AuditMark {
        let log = self.audit_log();
        AuditMark(log.metadata().expect("the audit log has a length").len())
    }

    /// Every finished call since `mark` whose answer has arrived before this one is asked. The log is shared by all
    /// tests: select by node, namespace or user.
    pub async fn audit_events(&self, mark: AuditMark) -> Vec<AuditEvent> {
        let mut events = self.audit_events_of_all_stages(mark).await;
        events.retain(|event| event.stage == "ResponseComplete");
        events
    }

    /// The same with the start of each watch, whose end may be far.
    pub async fn audit_events_of_all_stages(&self, mark: AuditMark) -> Vec<AuditEvent> {
        self.audit_caught_up().await;
        self.audit_lines(mark)
            .iter()
            .map(|line| parse(line))
            .collect()
    }

    /// The lines of the log since `mark`, complete ones only.
    pub fn audit_lines(&self, mark: AuditMark) -> Vec<String> {
        let mut log = self.audit_log();
        log.seek(SeekFrom::Start(mark.0))
            .expect("the audit log can be read from its middle");
        let mut text = Vec::new();
        log.read_to_end(&mut text)
            .expect("the audit log can be read");
        let complete = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |last| last + 1);
        String::from_utf8_lossy(&text[..complete])
            .lines()
            .map(ToOwned::to_owned)
            .collect()
    }

    /// A line may be written a moment after its answer was sent: waits for the line of a call made now.
    async fn audit_caught_up(&self) {
        let mark = self.audit_mark();
        let probe = format!("audit-probe-{}", mark.0);
        let namespaces: Api<Namespace> = Api::all(self.admin().await);
        namespaces
            .get_opt(&probe)
            .await
            .expect("the server answers");
        let until = Instant::now() + WRITTEN_WITHIN;
        while !self
            .audit_lines(mark)
            .iter()
            .any(|line| line.contains(&probe))
        {
            assert!(
                Instant::now() < until,
                "no line for a call within {WRITTEN_WITHIN:?}"
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn audit_log(&self) -> File {
        File::open(self.server.directory.join("audit.log"))
            .expect("a ready server has an audit log")
    }
}

fn parse(line: &str) -> AuditEvent {
    let line: Line = serde_json::from_str(line).expect("a line of the audit log is an audit event");
    let reference = line.object_ref.unwrap_or_default();
    AuditEvent {
        token_node: line.user.extra.node_names.into_iter().next(),
        user: line.user.username,
        verb: line.verb,
        resource: reference.resource,
        subresource: reference.subresource,
        namespace: reference.namespace,
        name: reference.name,
        uri: line.request_uri,
        code: line.response_status.code,
        received: line.request_received_timestamp,
        stage: line.stage,
        request: line.request_object,
    }
}

/// `audit.k8s.io/v1` Event, the part that tests ask for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    object_ref: Option<ObjectRef>,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: Timestamp,
    request_object: Option<Value>,
}

#[derive(Deserialize)]
struct User {
    /// Empty for whoever was not recognised, and answered 401.
    #[serde(default)]
    username: String,
    #[serde(default)]
    extra: Extra,
}

#[derive(Deserialize, Default)]
struct Extra {
    #[serde(rename = "authentication.kubernetes.io/node-name", default)]
    node_names: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}
