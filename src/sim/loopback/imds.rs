//! The metadata service over HTTP, with EC2's manners: a `Date` of its own clock, and the connection closed after each reply.

use std::sync::Arc;

use http::header::{CONNECTION, DATE};
use http::{HeaderValue, Method, Response, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::{Body, Read, text};
use crate::plan::time::WallTime;
use crate::sim::journal::Service;
use crate::sim::metadata::{Answer, Question};
use crate::sim::stage::Stage;

const TOKEN_PATH: &str = "/latest/api/token";
const TOKEN_HEADER: &str = "X-aws-ec2-metadata-token";
const LIFE_HEADER: &str = "X-aws-ec2-metadata-token-ttl-seconds";
const FORWARDED_HEADER: &str = "X-Forwarded-For";

pub(super) async fn answer(stage: Arc<Stage>, request: Read) -> Response<Body> {
    let path = request.uri().path().trim_end_matches('/').to_owned();
    let header = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let is_forwarded = request.headers().contains_key(FORWARDED_HEADER);
    let question = match *request.method() {
        // A request that came through a proxy must not get a token.
        Method::PUT if path == TOKEN_PATH && is_forwarded => None,
        Method::PUT if path == TOKEN_PATH => Some(Question::Token {
            life: header(LIFE_HEADER),
        }),
        Method::GET => Some(Question::Path {
            path: &path,
            token: header(TOKEN_HEADER),
        }),
        _ => None,
    };
    let (answer, wall) = stage.with(|world, now| {
        let answer = question.map(|question| world.metadata.answer(&question, now));
        (answer, now.wall)
    });
    let verb = if request.method() == Method::PUT {
        "PUT"
    } else {
        "GET"
    };
    let mut response = match answer {
        Some(answer) => render(answer),
        None if is_forwarded => error(StatusCode::FORBIDDEN),
        None => error(StatusCode::METHOD_NOT_ALLOWED),
    };
    stage.record(Service::Metadata, verb, path, response.status().as_u16());
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert("Server", HeaderValue::from_static("EC2ws"));
    if let Some(date) = date(wall) {
        headers.insert(DATE, date);
    }
    response
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
