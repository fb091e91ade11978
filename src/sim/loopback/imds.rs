//! The metadata service over HTTP, with EC2's manners: a `Date` of its own clock, and the connection closed after each reply.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, DATE};
use http::{HeaderValue, Method, Response, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::{Body, Read, asker, text};
use crate::plan::time::WallTime;
use crate::sim::journal::Service;
use crate::sim::metadata::{Answer, Fault, Question};
use crate::sim::stage::Stage;

const TOKEN_PATH: &str = "/latest/api/token";
const TOKEN_HEADER: &str = "X-aws-ec2-metadata-token";
const LIFE_HEADER: &str = "X-aws-ec2-metadata-token-ttl-seconds";
const FORWARDED_HEADER: &str = "X-Forwarded-For";

/// What a slow service takes for each answer: less than the two seconds a client of the AWS SDKs waits.
const SLOWNESS: Duration = Duration::from_millis(1_500);

pub(super) async fn answer(stage: Arc<Stage>, request: Read) -> Option<Response<Body>> {
    let verb = verb(request.method());
    let path = request.uri().path().trim_end_matches('/').to_owned();
    let from = asker(&request);
    let record = |status| stage.record(Service::Metadata, verb, path.clone(), status, from);
    let response = match stage.with(|world, now| world.metadata.fault(now.at)) {
        Some(Fault::Internal) => error(StatusCode::INTERNAL_SERVER_ERROR),
        Some(Fault::Unavailable) => error(StatusCode::SERVICE_UNAVAILABLE),
        Some(Fault::Silence) => {
            record(0);
            std::future::pending().await
        }
        Some(Fault::Reset) => {
            record(0);
            return None;
        }
        Some(Fault::Slow) => {
            let late = stage.clock().now().at + SLOWNESS;
            stage.clock().sleep_until(late).await;
            respond(&stage, &request, &path)
        }
        Some(Fault::Unauthorized) | None => respond(&stage, &request, &path),
    };
    record(response.status().as_u16());
    Some(as_ec2_does(response, stage.clock().now().wall))
}

/// What it answers when nothing is wrong with it.
fn respond(stage: &Stage, request: &Read, path: &str) -> Response<Body> {
    let header = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let question = match *request.method() {
        // A request that came through a proxy must not get a token.
        Method::PUT if path == TOKEN_PATH && request.headers().contains_key(FORWARDED_HEADER) => {
            return error(StatusCode::FORBIDDEN);
        }
        Method::PUT if path == TOKEN_PATH => Question::Token {
            life: header(LIFE_HEADER),
        },
        Method::GET | Method::HEAD if path != TOKEN_PATH => Question::Path {
            path,
            token: header(TOKEN_HEADER),
        },
        _ => return error(StatusCode::METHOD_NOT_ALLOWED),
    };
    render(stage.with(|world, now| world.metadata.answer(&question, now)))
}

/// Its date and name, and the connection closed.
fn as_ec2_does(mut response: Response<Body>, wall: WallTime) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert("Server", HeaderValue::from_static("EC2ws"));
    if let Some(date) = date(wall) {
        headers.insert(DATE, date);
    }
    response
}

/// The method, as a journal has it.
const fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn render(answer: Answer) -> Response<Body> {
    match answer {
        Answer::Text(body) => text(StatusCode::OK, "text/plain", body),
        Answer::Json(body) => text(StatusCode::OK, "application/json", body),
        Answer::Token { token, life } => {
            let mut response = text(StatusCode::OK, "text/plain", token);
            response.headers_mut().insert(LIFE_HEADER, life.into());
            response
        }
        Answer::Incomplete => error(StatusCode::BAD_REQUEST),
        Answer::Unauthorized => error(StatusCode::UNAUTHORIZED),
        Answer::NotFound => error(StatusCode::NOT_FOUND),
    }
}

/// EC2 answers errors with a page, which no client should try to read.
fn error(status: StatusCode) -> Response<Body> {
    let title = format!(
        "{} - {}",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default()
    );
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<html><head><title>{title}</title></head>\
         <body><h1>{title}</h1></body></html>\n"
    );
    text(status, "text/html", page)
}

fn date(wall: WallTime) -> Option<HeaderValue> {
    let timestamp = Timestamp::from_millisecond(wall.millis()).ok()?;
    let text = rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&timestamp)
        .ok()?;
    text.parse().ok()
}
