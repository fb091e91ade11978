//! The instance metadata service as [`Metadata`]: IMDSv2 over plain HTTP, one attempt a call.
//!
//! EC2 closes the connection after each reply, so nothing is kept alive. The time limit of a call is
//! its caller's; only connecting and the token request have one of their own, because their silence means something.
//!
//! This is all the agent does on a quiet day, seventeen thousand times: a connection is made, used and dropped in the
//! caller's own task, without a pool that would never have anything in it.

mod answer;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{DATE, HOST, HeaderMap};
use http::{Request, Response, StatusCode, request};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use url::{Host, Url};

use answer::shown;
pub use answer::{read_date, read_identity, read_notice};

use crate::clock::Clock;
use crate::plan::action::MachineIdentity;
use crate::plan::notice::Announcement;
use crate::plan::time::{Moment, WallTime};
use crate::ports::{Metadata, MetadataError};

/// The longest life EC2 gives a token, six hours
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html>).
const TOKEN_LIFE: Duration = Duration::from_hours(6);

const TOKEN_LIFE_HEADER: &str = "X-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "X-aws-ec2-metadata-token";

/// Less than a poll's two seconds: a token reply that is lost to the hop limit must show as that, and
/// not as a poll that took too long. More than a connection may take: one that does not come about
/// is no matter of hops.
const TOKEN_TIMEOUT: Duration = Duration::from_millis(1_500);

/// A token that could not be renewed is good for hours more: the next attempt may wait for some polls.
const RENEWAL_RETRY: Duration = Duration::from_secs(60);

/// A second question within the time of one poll, of which the first may have taken the larger part.
const LIFE_CYCLE_TIMEOUT: Duration = Duration::from_millis(500);

/// The service is on the same host: a connection is made at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// An identity document has one kilobyte, a notice a hundred bytes.
const BODY_LIMIT: usize = 64 * 1024;

const NOTICE: &str = "/latest/meta-data/spot/instance-action";
const LIFE_CYCLE: &str = "/latest/meta-data/instance-life-cycle";
const IDENTITY: &str = "/latest/dynamic/instance-identity/document";
const TOKEN: &str = "/latest/api/token";

/// The metadata service of this instance.
#[derive(Debug)]
pub struct Imds {
    endpoint: Endpoint,
    clock: Clock,
    /// Held while a token is fetched, so that two calls do not fetch two.
    token: Mutex<Option<Token>>,
}

/// Why an endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// It is no URL.
    #[error("not a URL")]
    NotAUrl(#[source] url::ParseError),
    /// It is none of a metadata service.
    #[error("a metadata service is spoken to over plain http, at a host, without path and query")]
    NotPlainHttp,
}

/// Where the service is.
#[derive(Debug)]
struct Endpoint {
    place: Place,
    /// As the `Host` header has it.
    authority: String,
}

#[derive(Debug)]
enum Place {
    Address(SocketAddr),
    Named(String, u16),
}

impl Endpoint {
    fn of(url: &Url) -> Option<Self> {
        let port = url.port_or_known_default()?;
        let place = match url.host()? {
            Host::Ipv4(address) => Place::Address((address, port).into()),
            Host::Ipv6(address) => Place::Address((address, port).into()),
            Host::Domain(name) => Place::Named(name.to_owned(), port),
        };
        Some(Self {
            place,
            authority: url.authority().to_owned(),
        })
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        match &self.place {
            Place::Address(address) => TcpStream::connect(address).await,
            Place::Named(name, port) => TcpStream::connect((name.as_str(), *port)).await,
        }
    }
}

/// A secret of the metadata service: never printed.
#[derive(Clone)]
struct Token {
    text: String,
    renew_at: Moment,
    expires_at: Moment,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("renew_at", &self.renew_at)
            .finish_non_exhaustive()
    }
}

/// Whether a metadata service at `endpoint` can only be one of this machine or of EC2: an address in
/// 169.254.0.0/16, fe80::/10, fd00:ec2::/32 or on loopback, or the name `localhost`.
///
/// # Errors
/// When the endpoint is no plain `http` URL of a host.
pub fn endpoint_is_local(endpoint: &str) -> Result<bool, EndpointError> {
    let url = endpoint_url(endpoint)?;
    Ok(match url.host() {
        Some(url::Host::Ipv4(address)) => is_local(IpAddr::V4(address)),
        Some(url::Host::Ipv6(address)) => is_local(IpAddr::V6(address)),
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    })
}

fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_loopback(),
        IpAddr::V6(address) => {
            address.is_unicast_link_local()
                || address.is_loopback()
                || address.segments()[..2] == [0xfd00, 0x0ec2]
        }
    }
}

fn endpoint_url(endpoint: &str) -> Result<Url, EndpointError> {
    let url = Url::parse(endpoint).map_err(EndpointError::NotAUrl)?;
    let is_plain = url.scheme() == "http"
        && url.has_host()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty();
    if is_plain {
        Ok(url)
    } else {
        Err(EndpointError::NotPlainHttp)
    }
}

impl Imds {
    /// A client of the service at `endpoint`, for instance `http://169.254.169.254`. Connects to
    /// nobody yet. No proxy is asked: the metadata of its host would be the proxy's.
    ///
    /// # Errors
    /// When the endpoint is no plain `http` URL of a host.
    pub fn new(endpoint: &str, clock: Clock) -> Result<Self, EndpointError> {
        let url = endpoint_url(endpoint)?;
        Ok(Self {
            endpoint: Endpoint::of(&url).ok_or(EndpointError::NotPlainHttp)?,
            clock,
            token: Mutex::new(None),
        })
    }

    /// The service's time: the `Date` of a reply.
    ///
    /// # Errors
    /// As every call's.
    pub async fn date(&self) -> Result<Option<WallTime>, MetadataError> {
        Ok(self.get(LIFE_CYCLE).await?.date)
    }

    /// Sends one request over a connection of its own, and reads the reply to its end.
    async fn ask(&self, request: request::Builder) -> Result<Reply, MetadataError> {
        let request = request
            .header(HOST, &self.endpoint.authority)
            .body(Empty::<Bytes>::new())
            .map_err(|error| MetadataError::Unreachable(error.into()))?;
        let limit = self.clock.now().at + CONNECT_TIMEOUT;
        let stream = self
            .clock
            .until(limit, self.endpoint.connect())
            .await
            .map_err(|elapsed| MetadataError::Unreachable(elapsed.into()))?
            .map_err(|error| MetadataError::Unreachable(error.into()))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        let mut connection = pin!(connection);
        let mut exchange = pin!(async {
            let response = sender.send_request(request).await.map_err(lost)?;
            Reply::read(response).await
        });
        tokio::select! {
            biased;
            reply = &mut exchange => reply,
            // What it has read before its end, or why it ended, is told by the exchange.
            _ = &mut connection => exchange.await,
        }
    }

    /// GETs a path with a token. A token that is refused is replaced once: the service may have
    /// restarted.
    async fn get(&self, path: &str) -> Result<Reply, MetadataError> {
        for _ in 0..2 {
            let token = self.token().await?;
            let request = Request::get(path).header(TOKEN_HEADER, &token.text);
            let reply = self.ask(request).await?;
            if reply.status != StatusCode::UNAUTHORIZED {
                return Ok(reply);
            }
            self.forget(&token).await;
        }
        Err(MetadataError::TokenRefused)
    }

    async fn token(&self) -> Result<Token, MetadataError> {
        let mut kept = self.token.lock().await;
        let now = self.clock.now().at;
        if let Some(token) = kept.as_ref().filter(|token| now < token.renew_at) {
            return Ok(token.clone());
        }
        let fetched = self
            .clock
            .until(now + TOKEN_TIMEOUT, self.fetch_token(now))
            .await
            .map_err(|elapsed| MetadataError::TokenUnanswered(elapsed.into()))
            .flatten();
        match (fetched, kept.as_mut()) {
            (Ok(token), _) => Ok(kept.insert(token).clone()),
            (Err(_), Some(token)) if now < token.expires_at => {
                token.renew_at = now + RENEWAL_RETRY;
                Ok(token.clone())
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn fetch_token(&self, now: Moment) -> Result<Token, MetadataError> {
        let request = Request::put(TOKEN).header(TOKEN_LIFE_HEADER, TOKEN_LIFE.as_secs());
        let reply = self.ask(request).await?;
        let life = reply
            .token_life
            .map_or(TOKEN_LIFE, Duration::from_secs)
            .min(TOKEN_LIFE);
        let reply = reply.successful()?;
        let text = reply.text().trim().to_owned();
        let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_token {
            return Err(reply.unreadable("a token"));
        }
        Ok(Token {
            text,
            renew_at: now + life / 2,
            expires_at: now + life,
        })
    }

    /// Drops this token, unless another call has replaced it already.
    async fn forget(&self, refused: &Token) {
        let mut kept = self.token.lock().await;
        if kept
            .as_ref()
            .is_some_and(|token| token.text == refused.text)
        {
            *kept = None;
        }
    }
}

impl Metadata for Imds {
    async fn notice(&self) -> Result<Option<Announcement>, MetadataError> {
        let reply = self.get(NOTICE).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let reply = reply.successful()?;
        read_notice(&reply.body, reply.date)
            .map(Some)
            .ok_or_else(|| reply.unreadable("a notice"))
    }

    async fn identity(&self) -> Result<MachineIdentity, MetadataError> {
        let reply = self.get(IDENTITY).await?.successful()?;
        let machine =
            read_identity(&reply.body).ok_or_else(|| reply.unreadable("an identity document"))?;
        // It only decides about a warning: not worth failing for.
        let until = self.clock.now().at + LIFE_CYCLE_TIMEOUT;
        let life_cycle = match self.clock.until(until, self.get(LIFE_CYCLE)).await {
            Ok(Ok(reply)) if reply.status == StatusCode::OK => {
                Some(shown(reply.text().trim().as_bytes())).filter(|text| !text.is_empty())
            }
            Ok(Ok(_) | Err(_)) | Err(_) => None,
        };
        Ok(MachineIdentity {
            life_cycle,
            ..machine
        })
    }
}

/// A reply, read to its end.
struct Reply {
    status: StatusCode,
    date: Option<WallTime>,
    /// How many seconds a token lives, where the reply says so.
    token_life: Option<u64>,
    body: Vec<u8>,
}

impl Reply {
    async fn read(response: Response<Incoming>) -> Result<Self, MetadataError> {
        let status = response.status();
        let date = date(response.headers());
        let token_life = response
            .headers()
            .get(TOKEN_LIFE_HEADER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let mut frames = response.into_body();
        let mut body = Vec::new();
        while let Some(frame) = frames.frame().await {
            let Ok(chunk) = frame.map_err(lost)?.into_data() else {
                continue;
            };
            body.extend_from_slice(&chunk);
            if body.len() > BODY_LIMIT {
                return Err(MetadataError::Body {
                    what: "a body that is far too long and",
                    body: shown(&body),
                });
            }
        }
        Ok(Self {
            status,
            date,
            token_life,
            body,
        })
    }

    /// The reply itself when its status is 200.
    fn successful(self) -> Result<Self, MetadataError> {
        match self.status {
            StatusCode::OK => Ok(self),
            StatusCode::FORBIDDEN => Err(MetadataError::Disabled),
            status => Err(MetadataError::Status {
                status: status.as_u16(),
                body: shown(&self.body),
            }),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn unreadable(&self, what: &'static str) -> MetadataError {
        MetadataError::Body {
            what,
            body: shown(&self.body),
        }
    }
}

fn date(headers: &HeaderMap) -> Option<WallTime> {
    read_date(headers.get(DATE)?.to_str().ok()?)
}

fn lost(error: hyper::Error) -> MetadataError {
    MetadataError::Lost(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_and_of_ec2_are_local() {
        for endpoint in [
            "http://169.254.169.254",
            "http://127.0.0.1:1338",
            "http://localhost:1338/",
            "http://[::1]:1338",
            "http://[fd00:ec2::254]",
            "http://[fe80::1]",
        ] {
            assert!(endpoint_is_local(endpoint).expect("a URL"), "{endpoint}");
        }
        for endpoint in [
            "http://10.0.0.1",
            "http://metadata.example",
            "http://localhost.example",
            "http://[fd00:ec3::254]",
            "http://[2001:db8::1]",
        ] {
            assert!(!endpoint_is_local(endpoint).expect("a URL"), "{endpoint}");
        }
    }

    #[test]
    fn what_is_no_plain_http_endpoint_is_refused() {
        for endpoint in [
            "",
            "169.254.169.254",
            "https://169.254.169.254",
            "http://169.254.169.254/latest",
            "http://user@127.0.0.1",
            "file:///etc/passwd",
        ] {
            assert!(endpoint_is_local(endpoint).is_err(), "{endpoint}");
        }
    }
}
