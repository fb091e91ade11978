//! What the API server's answers mean.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::header::{HeaderMap, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ports::{Cause, ClusterError, Refusal};

/// So much of a body that is no Status is repeated in the error.
const SHOWN_BYTES: usize = 200;

/// A `meta/v1` Status, as far as it decides something.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    kind: String,
    message: Option<String>,
    code: Option<u16>,
    details: Option<Details>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    causes: Option<Vec<StatusCause>>,
    retry_after_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct StatusCause {
    reason: Option<String>,
    message: Option<String>,
}

/// A success whose body is something else than what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the body that begins with {beginning:?} is not what was asked for")]
struct Garbled {
    beginning: String,
    #[source]
    cause: serde_json::Error,
}

/// A body that does not end.
#[derive(Debug, thiserror::Error)]
#[error("the body is longer than {limit} bytes")]
struct TooLong {
    limit: usize,
}

/// Reads a body to its end.
///
/// # Errors
/// [`ClusterError::Unreadable`] beyond `limit` bytes, [`ClusterError::Lost`] when the connection breaks.
pub(super) async fn whole_body(body: Body, limit: usize) -> Result<Vec<u8>, ClusterError> {
    let mut bytes = Vec::new();
    read_into(&mut bytes, body, limit).await?;
    Ok(bytes)
}

/// Reads a body as far as it comes, so that what came before an error is not lost.
async fn read_into(bytes: &mut Vec<u8>, body: Body, limit: usize) -> Result<(), ClusterError> {
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| ClusterError::Lost(below_kube(error)))?;
        if bytes.len() + chunk.len() > limit {
            return Err(ClusterError::Unreadable(Box::new(TooLong { limit })));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(())
}

/// kube's wrapper prints its cause and names it as source besides; the cause alone says it once.
pub(super) fn below_kube(error: kube::Error) -> Cause {
    if let kube::Error::Service(cause) = error {
        cause
    } else {
        Box::new(error)
    }
}

/// Reads the object that a success carries.
///
/// # Errors
/// [`ClusterError::Unreadable`] with the beginning of what came instead.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClusterError> {
    serde_json::from_slice(body).map_err(|cause| {
        ClusterError::Unreadable(Box::new(Garbled {
            beginning: beginning(body),
            cause,
        }))
    })
}

/// Reads an answer that is no success. The status alone is enough where the body breaks off.
pub(super) async fn refused(response: Response<Body>, limit: usize) -> ClusterError {
    let (head, body) = response.into_parts();
    let mut bytes = Vec::new();
    let _ = read_into(&mut bytes, body, limit).await;
    read_refusal(head.status, &head.headers, &bytes)
}

/// What an answer that is no success says. The status alone is enough where the body says nothing.
#[must_use]
pub fn read_refusal(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> ClusterError {
    let status = serde_json::from_slice::<Status>(body)
        .ok()
        .filter(Status::is_status);
    let message = status
        .as_ref()
        .and_then(Status::told)
        .unwrap_or_else(|| beginning(body));
    ClusterError::Refused {
        refusal: refusal(code, retry_after(headers), status.as_ref()),
        status: code.as_u16(),
        message,
    }
}

impl Status {
    /// Any JSON object could be taken for a Status, all of whose fields are optional; its kind tells.
    fn is_status(&self) -> bool {
        self.kind == "Status"
    }

    /// The error that the object of an ERROR event of a watch stands for.
    pub(super) fn into_error(self) -> ClusterError {
        let code = self
            .code
            .and_then(|code| StatusCode::from_u16(code).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        ClusterError::Refused {
            refusal: refusal(code, None, Some(&self)),
            status: code.as_u16(),
            message: self.message.unwrap_or_default(),
        }
    }

    /// Its message; a budget's refusal names the budget only in the cause.
    fn told(&self) -> Option<String> {
        let message = self.message.clone()?;
        let mut causes = self
            .details
            .iter()
            .flat_map(|details| details.causes.iter().flatten());
        let budget = causes
            .find(|cause| cause.reason.as_deref() == Some("DisruptionBudget"))
            .and_then(|cause| cause.message.as_deref());
        Some(match budget {
            Some(budget) => format!("{message} {budget}"),
            None => message,
        })
    }

    fn has_cause(&self, reason: &str) -> bool {
        self.details
            .iter()
            .flat_map(|details| details.causes.iter().flatten())
            .any(|cause| cause.reason.as_deref() == Some(reason))
    }

    fn message_contains(&self, text: &str) -> bool {
        self.message
            .as_ref()
            .is_some_and(|message| message.contains(text))
    }

    fn retry_after(&self) -> Option<Duration> {
        let seconds = self.details.as_ref()?.retry_after_seconds?;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}

/// Which refusal a status code is, with what its body adds (`pkg/registry/core/pod/storage/eviction.go` and
/// `staging/src/k8s.io/apiserver/pkg/server/filters/priority-and-fairness.go` of Kubernetes 1.36).
fn refusal(code: StatusCode, retry_after: Option<Duration>, status: Option<&Status>) -> Refusal {
    let has_cause = |reason| status.is_some_and(|status| status.has_cause(reason));
    match code.as_u16() {
        401 => Refusal::Unauthenticated,
        403 if has_cause("NamespaceTerminating") => Refusal::NamespaceTerminating,
        403 => Refusal::Forbidden,
        404 => Refusal::NotFound,
        409 => Refusal::Conflict,
        410 => Refusal::Expired,
        // Whatever it says about waiting: ten seconds, for a budget that has not been looked at yet.
        429 if has_cause("DisruptionBudget") => Refusal::Budget,
        429 => Refusal::Throttled(retry_after.or_else(|| status.and_then(Status::retry_after))),
        400..=499 => Refusal::Invalid,
        // It has no reason and no cause to tell it by.
        500 if status
            .is_some_and(|status| status.message_contains("more than one PodDisruptionBudget")) =>
        {
            Refusal::TwoBudgets
        }
        _ => Refusal::ServerError,
    }
}

/// `Retry-After` in seconds; API servers send no dates.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

fn beginning(body: &[u8]) -> String {
    let shown = &body[..body.len().min(SHOWN_BYTES)];
    String::from_utf8_lossy(shown).into_owned()
}
